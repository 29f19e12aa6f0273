//! What must hold, one promise a checker. Checkers see every message and every end of a connection as it happens, and the whole at the
//! end; they know nothing of how the cores work inside.
//!
//! | checker | holds that |
//! | --- | --- |
//! | [`duplicates`] | no activity is handed up twice by a session of a client of ours, or comes twice over a connection of a classic one |
//! | [`order`] | what a session published comes in that order, but for what is marked late, and no gap goes without a word |
//! | [`delivery`] | what some worker has held all the time reaches every client that was there before, and is still or again |
//! | [`reports`] | one report an activity, in order, that adds up and claims no more than is true; exact where nothing is wrong |
//! | [`counts`] | workers count no more than their clients were, and were given |
//! | [`gaps`] | what a client is told is lost, nobody within reach has |
//! | [`positions`] | where a client is only grows, and nothing lies behind it that it lacks |
//! | [`recovery`] | a worker lets nobody in before it has caught up |
//! | [`moving`] | who is sent to another worker has what it is to have, and said so |
//! | [`mod@logs`] | once all is well, all workers hold the same |
//! | [`authentic`] | every activity was published, and is what its sender wrote, with the right `authenticated_user` |
//! | [`completeness`] | while nothing breaks, every published activity is taken and reaches everybody who is logged in, whichever links are missing |
//! | [`past`] | nothing comes to a session that others had got before it began |
//! | [`copies`] | while no link is missing either, N workers carry N−1 copies of an activity among themselves |
//! | [`registration`] | a name has one winner, is on disk before anybody hears of it, and stays |
//! | [`login`] | nobody gets in without a registered name and its secret, or a valid token; nobody is refused for good while the name is held |
//! | [`patience`] | who is told to try again later does, and not before |
//! | [`placement`] | the coordinator sends nobody to a worker that it has no connection to |
//! | [`refusals`] | whoever is thrown out is told why first, and who keeps to the rules is not thrown out |
//! | [`framing`] | servers say nothing that is no message, and nothing new to classic clients |
//! | [`mains`] | two main coordinators that can reach each other are soon one |
//! | [`takeovers`] | nobody takes over from a main coordinator that it could have heard of, and not again and again |
//! | [`epochs`] | an epoch is on disk before anything is said in it, and is never used twice |
//! | [`fencing`] | nothing is acknowledged, and no update confirmed, at a lower epoch than one that was heard of |
//! | [`durability`] | `replicated` is on every listed disk, `local` is said only without a healthy backup, and nothing acknowledged is lost |
//! | [`quorum`] | with `--require-backups N`, N others hold what is acknowledged, nobody is refused while they are well, and no name is given twice |
//! | [`listing`] | a backup enters the BACKUP_LIST with all that was acknowledged |
//! | [`removal`] | what is removed stays so, new secrets hold, and nothing older is ever written over something newer |
//! | [`repeats`] | nobody's repetition of a registration is refused because it is registered |
//! | [`messages`] | a registration costs at most 2(n−1) messages among n servers |
//! | [`convergence`] | once all is well there is one main coordinator, with backups that know the same, and workers that are all with it |
//! | [`balance`] | loads are true once it is quiet, and even after a burst of log-ins |
//!
//! Bounds are looked at after every event, by `assert_bounds` of the machine itself ([`crate::sim::node`]).

mod authentic;
mod balance;
mod completeness;
mod convergence;
mod copies;
mod counts;
mod delivery;
mod duplicates;
mod durability;
mod epochs;
mod fencing;
mod framing;
mod gaps;
mod ledger;
mod listing;
mod login;
mod logs;
mod mains;
mod messages;
mod moving;
mod order;
mod past;
mod patience;
mod placement;
mod positions;
mod quorum;
mod recovery;
mod refusals;
mod registration;
mod removal;
mod repeats;
mod reports;
mod stream;
mod takeovers;

pub use balance::{evenness, loads, loads_but_for_expected};
pub use convergence::whole;
pub use ledger::{Ledger, Session, Tag};
pub use logs::logs;
pub use stream::{Life, Stream};

use common::time::Time;
use common::wire::{self, ActivityBroadcast, ActivityRetrieved};

use crate::sim::cast::{Cast, Role};
use crate::sim::coverage::Coverage;
use crate::sim::disk::Disks;
use crate::sim::node::{Effect, Node};
use crate::sim::plan::Plan;
use crate::sim::ways::Ways;
use crate::sim::{ProcessId, Seen, World};
use coordinator::core::Coordinator;

/// What a checker found: nothing, or what does not hold.
pub type Verdict = Result<(), String>;

/// What a checker may look at.
pub struct Scene<'a> {
    /// The time of the world.
    pub now: Time,
    /// The machines.
    pub world: &'a World<Node>,
    /// Who is who.
    pub cast: &'a Cast,
    /// What would survive a crash at this moment.
    pub disks: &'a Disks,
    /// What has been wrong lately.
    pub ways: &'a Ways,
    /// Since when nothing is wrong.
    pub health: Health,
}

/// Since when nothing is wrong; nothing where something is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    /// Since when every worker reaches every other, directly or through others, and nothing breaks, stalls or dies.
    pub since: Option<Time>,
    /// Since when, besides, every worker has a link to every other.
    pub whole_since: Option<Time>,
    /// Since when there is one main coordinator, and all others follow it.
    pub group_since: Option<Time>,
}

impl<'a> Scene<'a> {
    /// The scene at this moment.
    pub fn new(
        world: &'a World<Node>,
        cast: &'a Cast,
        disks: &'a Disks,
        ways: &'a Ways,
        health: Health,
    ) -> Self {
        Scene { now: world.now(), world, cast, disks, ways, health }
    }

    /// The coordinator that runs in a process.
    pub fn coordinator(&self, id: ProcessId) -> Option<&Coordinator> {
        self.world[id].machine.as_ref().and_then(Node::coordinator)
    }

    /// What a coordinator is, by its own word.
    pub fn role_of(&self, id: ProcessId) -> Option<wire::Role> {
        Some(self.coordinator(id)?.status(false).role)
    }

    /// The main coordinator: of several, the one of the highest epoch.
    pub fn main(&self) -> Option<ProcessId> {
        let is_main = |id: &&ProcessId| self.role_of(**id) == Some(wire::Role::Main);
        let mains = self.cast.coordinators.iter().filter(is_main);
        mains.max_by_key(|&&id| self.disks.of(id).epoch()).copied()
    }

    /// Whether a process is a coordinator.
    pub fn is_coordinator(&self, id: ProcessId) -> bool {
        self.role(id) == Role::Coordinator
    }

    /// What a process is.
    pub fn role(&self, id: ProcessId) -> Role {
        self.cast.role(id)
    }

    /// What the trace calls a process.
    pub fn name(&self, id: ProcessId) -> &str {
        &self.world[id].name
    }

    /// Of what a worker retrieved from another one, that which it has taken in. What it had asked for on behalf of a client that resumes
    /// there goes to that client alone: the worker lacks it all the same, and takes it in later, and then gives it to everybody.
    pub fn taken<'b>(
        &self,
        worker: ProcessId,
        retrieved: &'b ActivityRetrieved,
    ) -> impl Iterator<Item = &'b ActivityBroadcast> + use<'a, 'b> {
        let machine = self.world[worker].machine.as_ref().and_then(Node::worker);
        let is_taken = move |broadcast: &&ActivityBroadcast| {
            machine.zip(broadcast.id.as_ref()).is_some_and(|(machine, id)| machine.seen().contains(id))
        };
        retrieved.activities.iter().filter(is_taken)
    }

    /// Whether nothing was wrong at `time`, nor since.
    pub fn healthy_at(&self, time: Time) -> bool {
        self.health.since.is_some_and(|since| since <= time)
    }

    /// Whether, besides, the workers were all linked to each other.
    pub fn whole_at(&self, time: Time) -> bool {
        self.health.whole_since.is_some_and(|since| since <= time)
    }
}

/// One promise.
pub trait Check {
    /// Looks at something that has just happened; the ledger knows of it already.
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict;

    /// Looks at the whole now and then.
    fn glance(&mut self, _scene: &Scene<'_>, _ledger: &Ledger, _coverage: &mut Coverage) -> Verdict {
        Ok(())
    }

    /// Looks at the whole once everything is quiet.
    fn finish(&mut self, _scene: &Scene<'_>, _ledger: &Ledger) -> Verdict {
        Ok(())
    }
}

/// All checkers of a run, and what they know together.
pub struct Watch {
    /// What has happened so far.
    pub ledger: Ledger,
    checks: Vec<(&'static str, Box<dyn Check>)>,
}

impl Watch {
    /// Fresh checkers for a run.
    pub fn new(plan: &Plan) -> Self {
        let checks: Vec<(&'static str, Box<dyn Check>)> = vec![
            ("duplicates", Box::<duplicates::Duplicates>::default()),
            ("order", Box::<order::Order>::default()),
            ("authentic", Box::new(authentic::Authentic)),
            ("completeness", Box::new(completeness::Completeness::new(plan.is_calm()))),
            ("past", Box::<past::Past>::default()),
            ("patience", Box::<patience::Patience>::default()),
            ("delivery", Box::new(delivery::Delivery::new(plan.is_calm(), plan.log_bytes.is_some()))),
            ("reports", Box::new(reports::Reports::new(plan.weather.slowest() * 8, plan.workers))),
            ("counts", Box::<counts::Counts>::default()),
            ("recovery", Box::new(recovery::Recovery::new(plan.log_bytes.is_some()))),
            ("moving", Box::<moving::Moving>::default()),
            ("gaps", Box::<gaps::Gaps>::default()),
            ("positions", Box::new(positions::Positions::new(plan.log_bytes.is_some()))),
            ("copies", Box::new(copies::Copies::new(plan.workers))),
            ("registration", Box::<registration::Registration>::default()),
            ("login", Box::<login::Login>::default()),
            ("placement", Box::<placement::Placement>::default()),
            ("refusals", Box::new(refusals::Refusals::new(plan.is_calm()))),
            ("framing", Box::new(framing::Framing)),
            ("mains", Box::<mains::Mains>::default()),
            ("takeovers", Box::<takeovers::Takeovers>::default()),
            ("epochs", Box::<epochs::Epochs>::default()),
            ("fencing", Box::<fencing::Fencing>::default()),
            ("durability", Box::<durability::Durability>::default()),
            ("quorum", Box::new(quorum::Quorum::new(plan.require_backups))),
            ("listing", Box::<listing::Listing>::default()),
            ("removal", Box::new(removal::Removal::new(plan.clocks_apart()))),
            ("repeats", Box::<repeats::Repeats>::default()),
            ("messages", Box::<messages::Messages>::default()),
        ];
        Watch { ledger: Ledger::default(), checks }
    }

    /// Shows something that has just happened to everybody.
    ///
    /// # Errors
    /// What does not hold, and which checker says so.
    pub fn observe(&mut self, scene: &Scene<'_>, seen: &Seen<Effect>, coverage: &mut Coverage) -> Verdict {
        self.ledger.observe(scene, seen, coverage);
        for (name, check) in &mut self.checks {
            check.observe(scene, &self.ledger, seen, coverage).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }

    /// Has everybody look at the whole.
    ///
    /// # Errors
    /// What does not hold, and which checker says so.
    pub fn glance(&mut self, scene: &Scene<'_>, coverage: &mut Coverage) -> Verdict {
        for (name, check) in &mut self.checks {
            check.glance(scene, &self.ledger, coverage).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }

    /// Asks everybody about the whole.
    ///
    /// # Errors
    /// What does not hold, and which checker says so.
    pub fn finish(&mut self, scene: &Scene<'_>) -> Verdict {
        for (name, check) in &mut self.checks {
            check.finish(scene, &self.ledger).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }
}
