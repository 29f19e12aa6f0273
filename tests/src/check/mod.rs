//! What must hold, one promise a checker. Checkers see every message and every end of a connection as it happens, and the whole at the
//! end; they know nothing of how the cores work inside.
//!
//! | checker | holds that |
//! | --- | --- |
//! | [`duplicates`] | no activity comes twice over one connection of a client |
//! | [`order`] | what a sender sent over one connection comes in the order in which it was sent, over every connection |
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
//! | [`balance`] | loads are true once it is quiet, and even after a burst of log-ins |
//!
//! Bounds are looked at after every event, by `assert_bounds` of the machine itself ([`crate::sim::node`]).

mod authentic;
mod balance;
mod completeness;
mod copies;
mod duplicates;
mod framing;
mod ledger;
mod login;
mod order;
mod past;
mod patience;
mod placement;
mod refusals;
mod registration;

pub use balance::{evenness, loads};
pub use ledger::{Ledger, Session, Tag};

use common::time::Time;

use crate::sim::cast::{Cast, Role};
use crate::sim::coverage::Coverage;
use crate::sim::disk::Disk;
use crate::sim::node::{Effect, Node};
use crate::sim::plan::Plan;
use crate::sim::{ProcessId, Seen, World};

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
    pub disk: &'a Disk,
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
}

impl<'a> Scene<'a> {
    /// The scene at this moment.
    pub fn new(world: &'a World<Node>, cast: &'a Cast, disk: &'a Disk, health: Health) -> Self {
        Scene { now: world.now(), world, cast, disk, health }
    }

    /// What a process is.
    pub fn role(&self, id: ProcessId) -> Role {
        self.cast.role(id)
    }

    /// What the trace calls a process.
    pub fn name(&self, id: ProcessId) -> &str {
        &self.world[id].name
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
            ("copies", Box::new(copies::Copies::new(plan.workers))),
            ("registration", Box::<registration::Registration>::default()),
            ("login", Box::<login::Login>::default()),
            ("placement", Box::<placement::Placement>::default()),
            ("refusals", Box::new(refusals::Refusals::new(plan.is_calm()))),
            ("framing", Box::new(framing::Framing)),
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
