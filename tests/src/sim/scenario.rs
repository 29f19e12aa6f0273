//! One run: a network comes up, everybody arrives, things go wrong for a while, everything heals, and then all must be well.

use std::time::Duration;

use common::machine::JobId;
use common::user::{Secret, Username};
use common::wire::{ActivityBroadcast, Message};

use super::cast::{Cast, Role};
use super::coverage::Coverage;
use super::disk::Disks;
use super::faults::Repair;
use super::node::{Effect, Input, Node};
use super::plan::Plan;
use super::run::Plans;
use super::ways::Ways;
use super::{ProcessId, Queue, Seen, World};
use crate::check::{Health, Scene, Tag, Watch};

/// How often conditions are looked at while waiting for them.
pub(super) const GLANCE: Duration = Duration::from_millis(100);

/// Everything of one run.
pub struct Scenario {
    pub(super) world: World<Node>,
    pub(super) cast: Cast,
    pub(super) disks: Disks,
    pub(super) ways: Ways,
    pub(super) plan: Plan,
    pub(super) own: Queue<Own>,
    pub(super) watch: Watch,
    pub(super) rng: fastrand::Rng,
    pub(super) published: u64,
    /// Accounts that errands are about.
    pub(super) accounts: Vec<Account>,
    pub(super) accounts_opened: u64,
    /// Clients go about their business, and things go wrong.
    pub(super) going: bool,
    /// What has happened.
    pub coverage: Coverage,
    pub(super) health: Health,
    /// What the checkers did not like when they looked at the whole.
    glance_failure: Option<String>,
}

/// An account that errands are about: nobody logs in with it, so that it may change at any time.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) username: Username,
    pub(super) secret: Secret,
    /// Whoever is busy with it.
    pub(super) errand: ProcessId,
}

/// What happens beside the network.
#[derive(Debug)]
pub(super) enum Own {
    Answer {
        to: ProcessId,
        run: u32,
        input: Input,
    },
    Written {
        at: ProcessId,
        run: u32,
        job: JobId,
    },
    /// The disk of a worker has done what this run of it asked for.
    SegmentDone(ProcessId, u32),
    Publish(ProcessId),
    /// Somebody publishes one activity more.
    PublishOnce,
    Return(ProcessId),
    Leave,
    Misbehave,
    Newcomer,
    Errand,
    Fault,
    /// A coordinator dies while this run of it waits for its disk.
    DieWriting(ProcessId, u32),
    /// The way between two coordinators is cut or mended, so many times more.
    Flap(ProcessId, ProcessId, u32),
    /// The ways of a coordinator to all servers but one are cut or mended, so many times more.
    Loosen(ProcessId, ProcessId, u32),
    /// The worker of this number is told to leave, when those before it are back.
    Roll(usize),
    /// The checkers look at the whole.
    Glance,
    Repair(Repair),
}

impl Scenario {
    /// The run that `seed` stands for.
    pub fn new(plans: Plans, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = match plans {
            Plans::Any => Plan::draw(&mut rng),
            Plans::Quorum => Plan::of_quorum(&mut rng),
        };
        Self::draw(rng, plan)
    }

    /// A run of this plan.
    pub(super) fn of_plan(seed: u64, plan: Plan) -> Self {
        Self::draw(fastrand::Rng::with_seed(seed), plan)
    }

    fn draw(mut rng: fastrand::Rng, plan: Plan) -> Self {
        let mut world = World::new(rng.u64(..), plan.weather.clone());
        let mut disks = Disks::default();
        let cast = Cast::new(&mut world, &mut disks, &plan, rng.u64(..));
        Scenario {
            world,
            cast,
            disks,
            ways: Ways::default(),
            watch: Watch::new(&plan),
            plan,
            own: Queue::default(),
            rng,
            published: 0,
            accounts: Vec::new(),
            accounts_opened: 0,
            going: false,
            coverage: Coverage::default(),
            health: Health::default(),
            glance_failure: None,
        }
    }

    /// What the seed decided.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The record of the run.
    pub fn trace(&mut self) -> &mut super::Trace {
        &mut self.world.trace
    }

    /// Runs it to the end.
    ///
    /// # Errors
    /// What did not hold, in a sentence.
    pub fn run(&mut self) -> Result<(), String> {
        let calm = self.plan.is_calm();
        self.coverage.add("runs without any fault", u64::from(calm));
        self.come_up()?;
        self.arrive()?;
        self.go_about()?;
        self.heal();
        self.settle()?;
        self.finale()?;
        self.goodbye()?;
        self.succession()?;
        self.replacement()?;
        self.alone()?;
        if !calm {
            self.clients_return_to_their_workers()?;
        }
        self.together_again()?;
        let ids: Vec<ProcessId> = self.world.processes().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.harvest(id));
        let scene = Scene::new(&self.world, &self.cast, &self.disks, &self.ways, self.health);
        self.watch.finish(&scene)
    }

    /// What the checkers may look at.
    pub(super) fn scene(&self) -> Scene<'_> {
        Scene::new(&self.world, &self.cast, &self.disks, &self.ways, self.health)
    }

    /// Lets `span` pass.
    pub(super) fn advance(&mut self, span: Duration) -> Result<(), String> {
        let end = self.world.now() + span;
        loop {
            let (world, own) = (self.world.next(), self.own.next());
            let next = [world, own].into_iter().flatten().min().filter(|&next| next <= end);
            let Some(next) = next else { break };
            if world == Some(next) {
                self.world.step();
            } else if let Some((at, own)) = self.own.pop() {
                self.world.wait_until(at);
                self.happen(own);
            }
            self.look()?;
        }
        self.world.wait_until(end);
        Ok(())
    }

    /// Lets time pass until `missing` says that nothing is.
    pub(super) fn wait_for(
        &mut self,
        what: &str,
        patience: Duration,
        missing: impl Fn(&Self) -> Option<String>,
    ) -> Result<(), String> {
        let give_up = self.world.now() + patience;
        while let Some(still) = missing(self) {
            if self.world.now() >= give_up {
                return Err(format!("waited {patience:?} in vain for {what}: {still}"));
            }
            self.advance(GLANCE)?;
        }
        Ok(())
    }

    /// Shows what was seen to the checkers, and answers what machines asked for.
    pub(super) fn look(&mut self) -> Result<(), String> {
        self.glance_failure.take().map_or(Ok(()), Err)?;
        for seen in self.world.seen() {
            self.note(&seen);
            let scene = Scene::new(&self.world, &self.cast, &self.disks, &self.ways, self.health);
            self.watch.observe(&scene, &seen, &mut self.coverage)?;
            match seen {
                Seen::Effect { at, effect } => self.answer(at, effect),
                Seen::Exited { at, outcome } => self.exited(at, outcome)?,
                Seen::Received { at, from, message: Message::AuthenticateSuccess(_), .. }
                    if self.cast.role(at) == self.cast.role(from) =>
                {
                    self.publish_across_a_change();
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn note(&mut self, seen: &Seen<Effect>) {
        if !self.world.trace.has_words() {
            return;
        }
        let now = self.world.now();
        let name = |id: ProcessId| self.world[id].name.clone();
        let line = match seen {
            Seen::Received { at, from, conn, message, .. } => {
                format!("{} <- {} #{}: {}", name(*at), name(*from), conn.0, in_short(message))
            }
            // It is written down when it arrives.
            Seen::Said { .. } => return,
            Seen::Malformed { at, from, conn, error } => {
                format!("{} <- {} #{}: {error}", name(*at), name(*from), conn.0)
            }
            Seen::Closed { by, to, conn, .. } => format!("{} closes #{} to {}", name(*by), conn.0, name(*to)),
            Seen::Lost { at, from, conn, clean } => {
                format!(
                    "{} lost #{} from {}{}",
                    name(*at),
                    conn.0,
                    name(*from),
                    if *clean { "" } else { " (broken)" }
                )
            }
            Seen::Effect { effect: Effect::Client(client::core::Effect::Activity(_)), .. } => return,
            Seen::Effect { at, effect } => format!("{}: {effect:?}", name(*at)),
            Seen::Exited { at, outcome } => format!("{} exits: {outcome:?}", name(*at)),
        };
        self.world.trace.note(now, format_args!("{line}"));
    }

    pub(super) fn happen(&mut self, own: Own) {
        let now = self.world.now();
        let going = self.going;
        match own {
            Own::Answer { to, run, input } => self.world.input(to, run, input),
            Own::Written { at, run, job } => self.written(at, run, job),
            Own::SegmentDone(at, run) => self.segment_done(at, run),
            Own::Return(id) => self.returns(id),
            Own::Repair(repair) => self.put_right(repair),
            Own::Publish(id) if going => self.publishes(id),
            Own::PublishOnce if going => {
                let id = self.any_user();
                self.publish(id);
            }
            Own::Misbehave if going => {
                self.misbehave();
                self.own.push(now + self.plan.between_mischief.mul_f64(2.0 * self.rng.f64()), Own::Misbehave);
            }
            Own::Leave if going => {
                self.leaves();
                self.own.push(now + self.plan.between_leaves.mul_f64(2.0 * self.rng.f64()), Own::Leave);
            }
            Own::Newcomer if going => {
                self.newcomers();
                self.own.push(now + self.plan.between_newcomers.mul_f64(2.0 * self.rng.f64()), Own::Newcomer);
            }
            Own::Errand if going => {
                self.errands();
                self.own.push(now + self.plan.between_errands.mul_f64(2.0 * self.rng.f64()), Own::Errand);
            }
            Own::Fault if going => {
                self.inflict();
                self.own.push(now + self.plan.between_faults.mul_f64(2.0 * self.rng.f64()), Own::Fault);
            }
            Own::DieWriting(id, run) if self.world[id].run == run => self.kill(id, "coordinators killed"),
            Own::Flap(one, other, times) if going => self.flap(one, other, times),
            Own::Loosen(one, spared, times) if going => self.loosen(one, spared, times),
            Own::Roll(number) if going => self.roll(number),
            Own::Glance => {
                let scene = Scene::new(&self.world, &self.cast, &self.disks, &self.ways, self.health);
                self.glance_failure = self.watch.glance(&scene, &mut self.coverage).err();
                self.own.push(now + GLANCE, Own::Glance);
            }
            Own::DieWriting(..)
            | Own::Flap(..)
            | Own::Roll(_)
            | Own::Loosen(..)
            | Own::Publish(_)
            | Own::PublishOnce
            | Own::Misbehave => {}
            Own::Leave | Own::Newcomer | Own::Errand | Own::Fault => {}
        }
    }

    fn exited(&mut self, at: ProcessId, outcome: Result<(), String>) -> Result<(), String> {
        self.ended(at);
        match (self.cast.role(at), outcome) {
            (Role::Coordinator | Role::Worker, Err(why)) => Err(format!("{at:?} gave up: {why}")),
            // Who leaves does not wait for ever for its reports, where things go wrong.
            (Role::Client, Err(_)) if self.cast.users[&at].away && self.health.since.is_none() => Ok(()),
            (Role::Client, Err(why)) if self.everybody_knows(at) => {
                Err(format!("{at:?} gave up although it could log in: {why}"))
            }
            (Role::Coordinator | Role::Worker, Ok(())) => {
                let after = Duration::from_millis(self.rng.u64(10..5_000));
                self.ways.trouble_with(at, self.world.now());
                self.own.push(self.world.now() + after, Own::Repair(Repair::Start(at)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether every coordinator has a client's account on its disk, and knows of no other of that name.
    pub(super) fn everybody_knows(&self, id: ProcessId) -> bool {
        let user = &self.cast.users[&id];
        let secret = Secret::new(user.secret.as_str());
        let known = self.disks.iter().all(|(_, disk)| disk.holds(&user.username, &secret));
        known && !self.disks.is_contested(&user.username)
    }
}

/// A message for the trace: activities are long and alike, and their bytes are in its hash anyway.
fn in_short(message: &Message) -> String {
    match message {
        Message::ActivityBroadcast(ActivityBroadcast { id: Some(id), activity, .. }) => {
            format!("ACTIVITY_BROADCAST {id} {:?}", Tag::of(activity))
        }
        Message::ActivityMessage(message) => format!("ACTIVITY_MESSAGE {:?}", Tag::of(&message.activity)),
        message => String::from_utf8_lossy(&message.encode()).trim_end().to_owned(),
    }
}
