//! Small worlds, explored: two coordinators, two workers and two registrations, in every order of events that differs from the usual one in
//! a few places, and with one fault at every possible moment.
//!
//! The network takes no time here, nor do disks and hashes, so that whatever is under way may happen next. One run follows a [`Schedule`]:
//! a list of decisions, each saying what to do at which step instead of the oldest that waits. From what was possible in a run follow the
//! schedules with one decision more, later than all of it. So each schedule is run once, those with the fewest decisions first
//! (delay-bounded scheduling: Emmi, Qadeer, Rakamarić, 2011). Runs are repeated from the start: machines cannot be copied.
//!
//! The checkers are those of the large runs, and so are the cores. In the end the group must be whole and both registrations answered.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::control::Crash;
use super::errand::Wish;
use super::faults::Repair;
use super::plan::Plan;
use super::scenario::{Own, Scenario};
use super::{ProcessId, Telling, Weather};
use crate::check::whole;
use common::user::Secret;

/// Steps in which decisions are made. What comes later follows the usual order.
const STEPS: usize = 160;

/// How long a small world may take to come to rest, in its own time.
const PATIENCE: Duration = Duration::from_secs(30);

/// What goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The main coordinator is killed, and what it was writing is lost or kept by lot; it returns a second later.
    MainDies,
    /// The backup is killed; it returns a second later.
    BackupDies,
    /// The two coordinators are cut off from each other for five seconds, and notice at once.
    Cut,
    /// The main coordinator is alone for five seconds.
    MainCutOff,
    /// The main coordinator stops for five seconds.
    MainPauses,
    /// The main coordinator is told to leave.
    Handover,
}

const FAULTS: [Fault; 6] =
    [Fault::MainDies, Fault::BackupDies, Fault::Cut, Fault::MainCutOff, Fault::MainPauses, Fault::Handover];

/// A departure from the usual order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Of all that could happen now, this comes first.
    Pick(usize),
    Fault(Fault),
}

/// The departures of one run, each with its step.
#[derive(Clone, Debug, Default)]
pub struct Schedule(Vec<(usize, Decision)>);

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// What was possible in a run.
#[derive(Debug, Default)]
struct Possible {
    /// How much could have happened at each step.
    widths: Vec<usize>,
    /// How many steps there were before both registrations were answered.
    busy: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Explored {
    /// How many schedules were run, by the number of their decisions.
    pub schedules: Vec<usize>,
    /// How many more were known when the budget was spent.
    pub left: usize,
}

/// Runs at most `budget` schedules of at most `decisions` decisions, on as many threads as there are cores.
///
/// # Errors
/// What did not hold, and in which schedule: of those that fail with the fewest decisions, the first.
pub fn explore(budget: usize, decisions: usize) -> Result<Explored, String> {
    let mut explored = Explored::default();
    let (mut level, mut left) = (vec![Schedule::default()], budget);
    for length in 0..=decisions {
        let now = level.len().min(left);
        let mut next = Vec::new();
        for (schedule, possible) in level[..now].iter().zip(run_all(&level[..now])) {
            let possible = possible.map_err(|why| {
                // Once more, with every event.
                drop(run(schedule, Telling::Everything));
                format!("the schedule {schedule} fails: {why}")
            })?;
            if length < decisions && next.len() <= left {
                next.extend(successors(schedule, &possible));
            }
        }
        explored.schedules.push(now);
        explored.left = level.len() - now;
        left -= now;
        level = next;
    }
    Ok(explored)
}

/// Runs schedules on all cores.
fn run_all(schedules: &[Schedule]) -> Vec<Result<Possible, String>> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(schedule) = schedules.get(at) else { return done };
            done.push((at, run(schedule, Telling::Nothing)));
        }
    };
    let mut done: Vec<(usize, Result<Possible, String>)> = std::thread::scope(|scope| {
        let working: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        working.into_iter().flat_map(|thread| thread.join().expect("a run catches its panics")).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, possible)| possible).collect()
}

/// The schedules with one decision more.
fn successors<'a>(schedule: &'a Schedule, possible: &'a Possible) -> impl Iterator<Item = Schedule> + 'a {
    let first = schedule.0.last().map_or(0, |(step, _)| step + 1);
    let has_fault = schedule.0.iter().any(|(_, decision)| matches!(decision, Decision::Fault(_)));
    let with = |step: usize, decision: Decision| {
        let mut longer = schedule.clone();
        longer.0.push((step, decision));
        longer
    };
    let steps = possible.widths.iter().enumerate().skip(first);
    steps.flat_map(move |(step, &width)| {
        let faults = if has_fault || step > possible.busy { &[][..] } else { &FAULTS[..] };
        let picks = (1..width).map(Decision::Pick);
        faults
            .iter()
            .map(|&fault| Decision::Fault(fault))
            .chain(picks)
            .map(move |decision| with(step, decision))
    })
}

fn run(schedule: &Schedule, telling: Telling) -> Result<Possible, String> {
    let mut scenario = Scenario::of_plan(1, Plan::small());
    scenario.trace().set_telling(telling);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scenario.follow(schedule)))
        .unwrap_or_else(|panic| Err(super::run::words(&*panic)))
}

impl Scenario {
    fn follow(&mut self, schedule: &Schedule) -> Result<Possible, String> {
        self.come_up()?;
        for number in 0..2 {
            let wish = Wish::Register {
                username: format!("name-{number}").parse().expect("it is short and plain"),
                secret: Secret::new(format!("key of {number}")),
            };
            self.cast.add_errand(&mut self.world, wish);
        }
        let mut possible = Possible::default();
        let give_up = self.world.now() + PATIENCE;
        let mut decisions = schedule.0.iter().peekable();
        loop {
            self.look()?;
            let still = self.somebody_is_on_an_errand().or_else(|| whole(&self.scene()).err());
            let repaired = !self.own.iter().any(|own| matches!(own, Own::Repair(_)));
            if repaired && still.is_none() {
                break;
            }
            if self.world.now() > give_up {
                return Err(format!("no rest within {PATIENCE:?}: {}", still.unwrap_or_default()));
            }
            let Some(width) = self.width() else { continue };
            let step = possible.widths.len();
            if step >= STEPS {
                self.happens(0);
                continue;
            }
            let decision = decisions.next_if(|(at, _)| *at == step).map(|(_, decision)| *decision);
            possible.widths.push(width);
            if self.somebody_is_on_an_errand().is_some() {
                possible.busy = step;
            }
            match decision {
                Some(Decision::Fault(fault)) => self.goes_wrong(fault),
                Some(Decision::Pick(which)) => self.happens(which),
                None => self.happens(0),
            }
        }
        let scene = crate::check::Scene::new(&self.world, &self.cast, &self.disks, &self.ways, self.health);
        self.watch.finish(&scene)?;
        Ok(possible)
    }

    /// How many things may happen next. None: something has just happened that leaves no choice.
    fn width(&mut self) -> Option<usize> {
        let (world, own) = (self.world.next(), self.own.next());
        let next = [world, own].into_iter().flatten().min()?;
        self.world.wait_until(next);
        if world == Some(next) && self.world.step_without_choice() {
            return None;
        }
        if own == Some(next)
            && self.own.first().is_some_and(|own| matches!(own, Own::Glance | Own::Repair(_)))
        {
            let (_, own) = self.own.pop()?;
            self.happen(own);
            return None;
        }
        let of_world = if world == Some(next) { self.world.choices() } else { 0 };
        let of_own = if own == Some(next) { self.own.simultaneous() } else { 0 };
        Some(of_world + of_own)
    }

    /// Of all that may happen next, this does.
    fn happens(&mut self, which: usize) {
        let (world, own) = (self.world.next(), self.own.next());
        let next = [world, own].into_iter().flatten().min();
        let of_world = if world == next { self.world.choices() } else { 0 };
        if which < of_world {
            self.world.step_nth(which);
        } else if let Some((_, own)) = self.own.pop_nth(which - of_world) {
            self.happen(own);
        }
    }

    fn goes_wrong(&mut self, fault: Fault) {
        let now = self.world.now();
        self.world.trace.note(now, format_args!("fault: {fault:?}"));
        self.health = Default::default();
        let Some(main) = self.scene().main() else { return };
        let backup = self.cast.coordinators.iter().copied().find(|&id| id != main).unwrap_or(main);
        let (moment, while_) = (Duration::from_secs(1), Duration::from_secs(5));
        self.ways.trouble_everywhere(now + while_);
        let mut dies = |id: ProcessId| {
            self.world.crash(id, Crash::Kill);
            self.ended(id);
            self.own.push(now + moment, Own::Repair(Repair::Start(id)));
        };
        match fault {
            Fault::MainDies => dies(main),
            Fault::BackupDies => dies(backup),
            Fault::Cut => {
                self.world.cut(main, backup, Duration::ZERO);
                self.own.push(now + while_, Own::Repair(Repair::Mend(main, backup)));
            }
            Fault::MainCutOff => {
                for other in self.cast.workers.clone().into_iter().chain([backup]) {
                    self.world.cut(main, other, while_);
                    self.own.push(now + while_, Own::Repair(Repair::Mend(main, other)));
                }
            }
            Fault::MainPauses => {
                self.world.pause(main);
                self.own.push(now + while_, Own::Repair(Repair::Resume(main)));
            }
            Fault::Handover => self.drain(main, "main coordinators told to leave"),
        }
    }
}

impl Plan {
    /// The plan of a small world: nothing takes time, and nothing goes wrong but what a schedule says.
    fn small() -> Plan {
        let mut rng = fastrand::Rng::with_seed(1);
        let instantly = Weather {
            delay: (Duration::ZERO, Duration::ZERO),
            jitter: Duration::ZERO,
            window: (1 << 20, 1 << 20),
            split: 0.0,
        };
        Plan {
            coordinators: 2,
            namings: vec![(0, 1), (1, 0)],
            staggered: false,
            clocks: vec![0, 0],
            workers: 2,
            missing_links: Vec::new(),
            clients: 0,
            classics: 0,
            races: 0,
            weather: instantly,
            faults: Vec::new(),
            require_backups: 0,
            instant: true,
            feed: None,
            ..Plan::draw(&mut rng)
        }
    }
}
