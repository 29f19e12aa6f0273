//! What a seed decides before anything happens: who takes part, what the network is like, and what may go wrong.

use std::time::Duration;

use super::Weather;
use super::faults::{CLOCK_JUMP, Kind};

/// The plan of a run. Swarm testing (Groce and others, 2012): a run that allows everything at once seldom goes far with anything, so
/// each seed allows a random few of the kinds of faults, at random odds.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many coordinators.
    pub coordinators: usize,
    /// Which coordinator is told of which other one at its first start; between any two there is a chain.
    pub namings: Vec<(usize, usize)>,
    /// Whether they start one after the other; else all at once.
    pub staggered: bool,
    /// How many backups must hold a change before it is acknowledged (`--require-backups`).
    pub require_backups: usize,
    /// How far the coordinators' clocks are off, in milliseconds.
    pub clocks: Vec<i64>,
    /// The mean time between two errands: registrations, changes and removals that somebody insists on.
    pub between_errands: Duration,
    /// The odds that two insist on the same name, each with a secret of its own.
    pub rivalry: f64,
    /// How many workers.
    pub workers: usize,
    /// Pairs of workers that cannot reach each other at first; everybody else reaches both.
    pub missing_links: Vec<(usize, usize)>,
    /// How many clients of ours.
    pub clients: usize,
    /// How many clients of the original protocol.
    pub classics: usize,
    /// How many names two clients want at once.
    pub races: usize,
    /// The network.
    pub weather: Weather,
    /// Whether disks and hashes take no time.
    pub instant: bool,
    /// The kinds of faults that happen. None: everything must arrive, and be carried no more often than necessary.
    pub faults: Vec<Kind>,
    /// The mean time between two faults.
    pub between_faults: Duration,
    /// The mean time between two activities of a client.
    pub between_activities: Duration,
    /// The mean time between two misbehaving peers.
    pub between_mischief: Duration,
    /// The mean time between log-outs.
    pub between_leaves: Duration,
    /// How long all this goes on.
    pub duration: Duration,
    /// Longest padding of an activity, in bytes.
    pub padding: usize,
    /// The odds that a client publishes a whole burst.
    pub bursts: f64,
    /// The mean time between two newcomers, who register while everything goes on.
    pub between_newcomers: Duration,
    /// Bytes of a worker's log, where clients are to fall behind, or history to be lost.
    pub log_bytes: Option<usize>,
    /// Whether every second worker's log is large beside the others' all the same: what one does not hold any more another one does.
    pub uneven: bool,
    /// Whether workers keep their logs on disk.
    pub worker_disks: bool,
    /// How long a worker waits for a client that takes nothing.
    pub write_stall: Option<Duration>,
    /// How many users the coordinator tells a worker of at once, and how much it lets wait for one, where that is to be little.
    pub feed: Option<(usize, usize)>,
}

/// One seed in this many is without faults.
const CALM: u8 = 4;

/// Coordinators in a run, at the most.
const COORDINATORS: usize = 3;

/// One seed in this many with several coordinators is of a group that requires backups.
const REQUIRING: u8 = 4;

/// One seed with faults in this many is about workers above all.
const STREAM: u8 = 3;

/// One seed with faults in this many has workers with small logs, so that history is lost.
const FORGETFUL: u8 = 8;

/// One seed in this many has coordinators whose clocks are hours apart.
const CLOCKS_APART: u8 = 5;

impl Plan {
    /// Draws a plan.
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        let calm = rng.u8(..CALM) == 0;
        let coordinators = [1, 2, 2, 2, 3, 3][rng.usize(..6)].min(COORDINATORS);
        let faults = if calm { Vec::new() } else { draw_faults(coordinators, rng) };
        let slow = faults.contains(&Kind::SlowReader);
        let weather = match (slow, rng.u8(..4)) {
            // What a worker reads at once is little beside its log, as it is in earnest; and connections are fast, readers slow.
            (true, _) => Weather { window: (1 << 10, 4 << 10), ..Weather::calm() },
            (false, 0) => Weather::calm(),
            (false, _) => Weather::draw(rng),
        };
        let workers = rng.usize(2..=5);
        let forgetful = !calm && !slow && rng.u8(..FORGETFUL) == 0;
        let missing_links = if calm && rng.bool() { draw_missing_links(workers, rng) } else { Vec::new() };
        Plan {
            coordinators,
            namings: draw_namings(coordinators, rng),
            staggered: rng.bool(),
            require_backups: draw_required(coordinators, rng),
            clocks: draw_clocks(coordinators, calm, rng),
            between_errands: Duration::from_millis(rng.u64(400..4_000)),
            rivalry: 0.0,
            workers,
            missing_links,
            clients: rng.usize(3..=6),
            classics: rng.usize(2..=4),
            races: rng.usize(0..=2),
            weather,
            instant: false,
            faults,
            between_faults: Duration::from_millis(rng.u64(300..4_000)),
            between_activities: Duration::from_millis(rng.u64(700..3_000)),
            between_mischief: Duration::from_millis(rng.u64(1_500..8_000)),
            between_leaves: Duration::from_millis(rng.u64(3_000..15_000)),
            duration: Duration::from_secs(rng.u64(25..45)),
            padding: if slow { rng.usize(500..2_500) } else { rng.usize(1..300) },
            bursts: if slow { 0.15 } else { 0.03 },
            between_newcomers: Duration::from_millis(rng.u64(3_000..12_000)),
            log_bytes: match slow {
                true => rng.bool().then(|| rng.usize(32 << 10..96 << 10)),
                false => forgetful.then(|| rng.usize(16 << 10..64 << 10)),
            },
            uneven: forgetful && rng.bool(),
            worker_disks: rng.bool(),
            write_stall: slow.then(|| Duration::from_millis(rng.u64(2_000..6_000))),
            feed: rng.bool().then(|| (rng.usize(1..4), rng.usize(100..1_000))),
        }
    }

    /// Draws a plan for a group of three that requires backups, in which names are wanted by two again and again, and coordinators are lost
    /// and return with what the others never heard of.
    pub fn of_quorum(rng: &mut fastrand::Rng) -> Self {
        let drawn = Plan::draw(rng);
        let mut faults = Kind::OF_QUORUM.to_vec();
        rng.shuffle(&mut faults);
        faults.truncate(rng.usize(1..=5));
        Plan {
            coordinators: COORDINATORS,
            namings: draw_namings(COORDINATORS, rng),
            require_backups: if rng.u8(..4) == 0 { 2 } else { 1 },
            clocks: draw_clocks(COORDINATORS, false, rng),
            between_errands: Duration::from_millis(rng.u64(200..1_500)),
            rivalry: 0.7,
            workers: 2,
            missing_links: Vec::new(),
            clients: 3,
            classics: 2,
            weather: if rng.bool() { Weather::calm() } else { Weather::draw(rng) },
            faults,
            between_faults: Duration::from_millis(rng.u64(300..3_000)),
            between_mischief: Duration::from_secs(60),
            padding: 20,
            bursts: 0.0,
            log_bytes: None,
            write_stall: None,
            ..drawn
        }
    }

    /// Whether changes are acknowledged while one coordinator is gone: enough are left to hold them, and to know what was acknowledged
    /// before.
    pub fn can_spare_one(&self) -> bool {
        let (all, required) = (self.coordinators, self.require_backups);
        required == 0 || all - 2 >= required.max(all - required - 1)
    }

    /// Whether nothing goes wrong.
    pub fn is_calm(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether the coordinators' clocks are hours apart.
    pub fn has_clocks_apart(&self) -> bool {
        self.clocks.iter().any(|&millis| millis != 0)
    }

    /// How far apart the coordinators' clocks are at the most, where they are right to a few seconds from beginning to end.
    pub fn clocks_apart(&self) -> Option<Duration> {
        let is_wild = self.has_clocks_apart() || self.faults.contains(&Kind::CoordinatorClockJumps);
        let jump = if self.faults.contains(&Kind::ClockJumps) { CLOCK_JUMP } else { Duration::ZERO };
        (!is_wild).then_some(2 * jump)
    }
}

/// Some faults of one sort or the other: those that any network knows, those that take several coordinators, and those that make activities
/// take other ways.
fn draw_faults(coordinators: usize, rng: &mut fastrand::Rng) -> Vec<Kind> {
    let (mut any, mut of_group) = (Kind::ALL.to_vec(), Kind::OF_GROUP.to_vec());
    rng.shuffle(&mut any);
    rng.shuffle(&mut of_group);
    if rng.u8(..STREAM) == 0 {
        let mut of_stream = Kind::OF_STREAM.to_vec();
        rng.shuffle(&mut of_stream);
        of_stream.truncate(rng.usize(1..=4));
        any.truncate(rng.usize(0..=2));
        any.extend(of_stream);
        return any;
    }
    if coordinators == 1 {
        any.truncate(rng.usize(1..=7));
        return any;
    }
    any.truncate(rng.usize(0..=4));
    of_group.truncate(rng.usize(1..=4));
    any.extend(of_group);
    any
}

/// Each coordinator but the first and one before it: one of the two names the other, or both do.
fn draw_namings(coordinators: usize, rng: &mut fastrand::Rng) -> Vec<(usize, usize)> {
    let mut namings = Vec::new();
    for one in 1..coordinators {
        let other = rng.usize(..one);
        match rng.u8(..3) {
            0 => namings.push((one, other)),
            1 => namings.push((other, one)),
            _ => namings.extend([(one, other), (other, one)]),
        }
    }
    namings
}

/// How many backups must hold a change.
fn draw_required(coordinators: usize, rng: &mut fastrand::Rng) -> usize {
    if coordinators > 1 && rng.u8(..REQUIRING) == 0 { rng.usize(1..coordinators) } else { 0 }
}

/// How far each coordinator's clock is off.
fn draw_clocks(coordinators: usize, calm: bool, rng: &mut fastrand::Rng) -> Vec<i64> {
    let apart = coordinators > 1 && !calm && rng.u8(..CLOCKS_APART) == 0;
    let mut hours = || if apart { rng.i64(-6..=6) * 3_600_000 } else { 0 };
    (0..coordinators).map(|_| hours()).collect()
}

/// Some pairs of workers, none of them with the first: so all stay connected.
fn draw_missing_links(workers: usize, rng: &mut fastrand::Rng) -> Vec<(usize, usize)> {
    let pairs = (1..workers).flat_map(|one| (one + 1..workers).map(move |other| (one, other)));
    pairs.filter(|_| rng.u8(..3) > 0).collect()
}
