//! One run: a network comes up, everybody arrives, things go wrong for a while, everything heals, and then all must be well.

use std::time::Duration;

use common::machine::JobId;
use common::wire::{ActivityBroadcast, Message};

use super::cast::{Cast, Role};
use super::coverage::Coverage;
use super::disk::Disk;
use super::faults::Repair;
use super::node::{Effect, Input, Node};
use super::plan::Plan;
use super::{ProcessId, Queue, Seen, World};
use crate::check::{Health, Scene, Tag, Watch};

/// How often conditions are looked at while waiting for them.
pub(super) const GLANCE: Duration = Duration::from_millis(100);

/// Everything of one run.
pub struct Scenario {
    pub(super) world: World<Node>,
    pub(super) cast: Cast,
    pub(super) disk: Disk,
    pub(super) disk_fails: bool,
    pub(super) disk_delay: Duration,
    pub(super) plan: Plan,
    pub(super) own: Queue<Own>,
    pub(super) watch: Watch,
    pub(super) rng: fastrand::Rng,
    pub(super) published: u64,
    /// Clients go about their business, and things go wrong.
    pub(super) going: bool,
    /// What has happened.
    pub coverage: Coverage,
    pub(super) health: Health,
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
        run: u32,
        job: JobId,
    },
    Publish(ProcessId),
    /// Somebody publishes one activity more.
    PublishOnce,
    Return(ProcessId),
    Leave,
    Misbehave,
    Newcomer,
    Fault,
    /// The coordinator dies while this run of it waits for its disk.
    DieWriting(u32),
    Repair(Repair),
}

impl Scenario {
    /// The run that `seed` stands for.
    pub fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let mut world = World::new(rng.u64(..), plan.weather.clone());
        let cast = Cast::new(&mut world, &plan, rng.u64(..));
        Scenario {
            world,
            cast,
            disk: Disk::default(),
            disk_fails: false,
            disk_delay: Duration::ZERO,
            watch: Watch::new(&plan),
            plan,
            own: Queue::default(),
            rng,
            published: 0,
            going: false,
            coverage: Coverage::default(),
            health: Health::default(),
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
        if !calm {
            self.health = Health::default();
        }
        self.heal();
        self.settle()?;
        self.finale()?;
        self.goodbye()?;
        self.alone()?;
        if !calm {
            self.clients_return_to_their_workers()?;
        }
        self.together_again()?;
        let ids: Vec<ProcessId> = self.world.processes().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.harvest(id));
        let scene = Scene::new(&self.world, &self.cast, &self.disk, self.health);
        self.watch.finish(&scene)
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
    fn look(&mut self) -> Result<(), String> {
        for seen in self.world.seen() {
            self.note(&seen);
            let scene = Scene::new(&self.world, &self.cast, &self.disk, self.health);
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
        let now = self.world.now();
        let name = |id: ProcessId| self.world[id].name.clone();
        let line = match seen {
            Seen::Received { at, from, conn, message } => {
                format!("{} <- {} #{}: {}", name(*at), name(*from), conn.0, in_short(message))
            }
            Seen::Malformed { at, from, conn, error } => {
                format!("{} <- {} #{}: {error}", name(*at), name(*from), conn.0)
            }
            Seen::Closed { by, to, conn } => format!("{} closes #{} to {}", name(*by), conn.0, name(*to)),
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

    fn happen(&mut self, own: Own) {
        let now = self.world.now();
        let going = self.going;
        match own {
            Own::Answer { to, run, input } => self.world.input(to, run, input),
            Own::Written { run, job } => self.written(run, job),
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
            Own::Fault if going => {
                self.inflict();
                self.own.push(now + self.plan.between_faults.mul_f64(2.0 * self.rng.f64()), Own::Fault);
            }
            Own::DieWriting(run) if self.world[self.cast.coordinator].run == run => {
                self.kill(self.cast.coordinator, "coordinators killed");
            }
            Own::DieWriting(_) => {}
            Own::Publish(_) | Own::PublishOnce | Own::Misbehave | Own::Leave | Own::Newcomer | Own::Fault => {
            }
        }
    }

    fn exited(&mut self, at: ProcessId, outcome: Result<(), String>) -> Result<(), String> {
        self.ended(at);
        match (self.cast.role(at), outcome) {
            (Role::Coordinator | Role::Worker, Err(why)) => Err(format!("{at:?} gave up: {why}")),
            (Role::Client, Err(why)) if self.cast.should_be_live(at, &self.disk) => {
                Err(format!("{at:?} gave up although it could log in: {why}"))
            }
            (Role::Coordinator | Role::Worker, Ok(())) => {
                let after = Duration::from_millis(self.rng.u64(10..5_000));
                self.own.push(self.world.now() + after, Own::Repair(Repair::Start(at)));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A message for the trace: activities are long and alike, and their bytes are in its hash anyway.
fn in_short(message: &Message) -> String {
    match message {
        Message::ActivityBroadcast(ActivityBroadcast { id: Some(id), activity }) => {
            format!("ACTIVITY_BROADCAST {id} {:?}", Tag::of(activity))
        }
        Message::ActivityMessage(message) => format!("ACTIVITY_MESSAGE {:?}", Tag::of(&message.activity)),
        message => String::from_utf8_lossy(&message.encode()).trim_end().to_owned(),
    }
}
