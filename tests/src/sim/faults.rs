//! What goes wrong, and how it is put right again.

use std::time::Duration;

use super::cast::Role;
use super::control::Crash;
use super::node::Node;
use super::scenario::{Own, Scenario};
use super::{ConnId, ProcessId};

/// How far a clock is off at the most, either way, that jumps.
pub(super) const CLOCK_JUMP: Duration = Duration::from_secs(3);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    CoordinatorDies,
    WorkerDies,
    CoordinatorPauses,
    WorkerPauses,
    ConnectionBreaks,
    ConnectionStalls,
    ServersCutOff,
    ClientCutOff,
    /// A client stops reading for a while.
    SlowReader,
    ClientVanishes,
    DiskFails,
    DiskIsSlow,
    ClockJumps,
    WorkerDrains,
    CoordinatorDrains,
    /// The main coordinator is told to leave, and a backup takes its place.
    Handover,
    EverythingDrains,
    /// All coordinators at once; the one with the oldest state returns first.
    AllCoordinatorsDie,
    /// A coordinator is gone until everything heals.
    CoordinatorStaysAway,
    CoordinatorsCutOff,
    /// One coordinator hears another, and is not heard.
    CoordinatorsCutOneWay,
    /// The way between two coordinators comes and goes.
    LinkFlaps,
    /// The way between a coordinator and all servers but one at most comes and goes.
    LooseContact,
    /// The network falls into parts, with clients and workers in each.
    Partition,
    CoordinatorClockJumps,
    /// All workers, one after the other, are told to leave, and come back.
    WorkersRoll,
}

impl Kind {
    /// Those that any network knows.
    pub const ALL: [Kind; 15] = [
        Kind::CoordinatorDies,
        Kind::WorkerDies,
        Kind::CoordinatorPauses,
        Kind::WorkerPauses,
        Kind::ConnectionBreaks,
        Kind::ConnectionStalls,
        Kind::ServersCutOff,
        Kind::ClientCutOff,
        Kind::SlowReader,
        Kind::ClientVanishes,
        Kind::DiskFails,
        Kind::DiskIsSlow,
        Kind::ClockJumps,
        Kind::WorkerDrains,
        Kind::CoordinatorDrains,
    ];

    /// Those that it takes several coordinators for, and some that are worse with them.
    pub const OF_GROUP: [Kind; 12] = [
        Kind::CoordinatorDies,
        Kind::CoordinatorPauses,
        Kind::Handover,
        Kind::EverythingDrains,
        Kind::AllCoordinatorsDie,
        Kind::CoordinatorStaysAway,
        Kind::CoordinatorsCutOff,
        Kind::CoordinatorsCutOneWay,
        Kind::LinkFlaps,
        Kind::LooseContact,
        Kind::Partition,
        Kind::CoordinatorClockJumps,
    ];

    /// Those that leave one coordinator with what the others never heard of.
    pub const OF_QUORUM: [Kind; 11] = [
        Kind::CoordinatorDies,
        Kind::CoordinatorPauses,
        Kind::DiskIsSlow,
        Kind::DiskFails,
        Kind::Handover,
        Kind::AllCoordinatorsDie,
        Kind::CoordinatorStaysAway,
        Kind::CoordinatorsCutOff,
        Kind::CoordinatorsCutOneWay,
        Kind::LooseContact,
        Kind::Partition,
    ];

    /// Those that make activities take other ways.
    pub const OF_STREAM: [Kind; 9] = [
        Kind::WorkerDies,
        Kind::WorkerPauses,
        Kind::WorkerDrains,
        Kind::WorkersRoll,
        Kind::ServersCutOff,
        Kind::ClientCutOff,
        Kind::ClientVanishes,
        Kind::ConnectionBreaks,
        Kind::Partition,
    ];
}

/// What ends a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repair {
    Start(ProcessId),
    Resume(ProcessId),
    Read(ProcessId),
    Mend(ProcessId, ProcessId),
    Reunite,
    Disk(ProcessId),
}

impl Scenario {
    /// Lets one fault of the plan's kinds happen.
    pub(super) fn inflict(&mut self) {
        let Some(&kind) = self.rng.choice(&self.plan.faults) else { return };
        let (coordinator, worker) = (self.some_coordinator(), self.cast.any_worker());
        let client = self.any_user();
        match kind {
            Kind::CoordinatorDies => self.kill(coordinator, "coordinators killed"),
            Kind::WorkerDies => self.kill(worker, "workers killed"),
            Kind::ClientVanishes => self.kill(client, "clients vanished"),
            Kind::CoordinatorPauses => self.pause(coordinator),
            Kind::WorkerPauses => self.pause(worker),
            Kind::ConnectionBreaks => self.break_one(),
            Kind::ConnectionStalls => self.stall_one(),
            Kind::ServersCutOff => {
                let other = if self.rng.u8(..3) == 0 { coordinator } else { self.cast.any_worker() };
                self.cut(worker, other, "servers cut off from each other");
            }
            Kind::ClientCutOff => self.cut(client, worker, "clients cut off"),
            Kind::SlowReader => {
                let span = self.span();
                self.world.set_reading(client, false);
                self.repair(span, Repair::Read(client));
                self.fault(
                    "clients that stopped reading",
                    format_args!("{client:?} reads nothing for {span:?}"),
                );
            }
            Kind::DiskFails => {
                self.disks.of_mut(coordinator).fails = true;
                let span = Duration::from_millis(500);
                self.trouble(coordinator, span);
                self.repair(span, Repair::Disk(coordinator));
                self.fault("failures of the disk", format_args!("the disk of {coordinator:?} fails"));
            }
            Kind::DiskIsSlow => {
                self.disks.of_mut(coordinator).delay = Duration::from_secs(3);
                let span = self.span();
                self.trouble(coordinator, span + Duration::from_secs(3));
                self.repair(span, Repair::Disk(coordinator));
                self.fault("slow disks", format_args!("the disk of {coordinator:?} is slow for {span:?}"));
            }
            Kind::ClockJumps => {
                let id = if self.rng.bool() { coordinator } else { worker };
                self.skew(id, CLOCK_JUMP);
            }
            Kind::CoordinatorClockJumps => self.skew(coordinator, Duration::from_secs(7 * 24 * 3_600)),
            Kind::WorkerDrains => self.drain(worker, "servers drained"),
            Kind::CoordinatorDrains => self.drain(coordinator, "servers drained"),
            Kind::Handover => {
                if let Some(main) = self.scene().main() {
                    self.drain(main, "main coordinators told to leave");
                }
            }
            Kind::EverythingDrains => {
                for id in self.cast.coordinators.clone() {
                    self.drain(id, "coordinators told to leave all at once");
                }
            }
            Kind::AllCoordinatorsDie => self.kill_all_coordinators(),
            Kind::CoordinatorStaysAway => self.send_away(coordinator),
            Kind::CoordinatorsCutOff => {
                let other = self.cast.any_coordinator();
                self.cut(coordinator, other, "coordinators cut off from each other");
            }
            Kind::CoordinatorsCutOneWay => self.cut_one_way(coordinator),
            Kind::LinkFlaps => {
                let (other, times) = (self.cast.any_coordinator(), self.rng.u32(2..12));
                if coordinator != other {
                    self.coverage.add("ways between coordinators that came and went", 1);
                    self.flap(coordinator, other, times);
                }
            }
            Kind::LooseContact => {
                let (spared, times) = (self.cast.any_coordinator(), self.rng.u32(2..12));
                self.coverage.add("coordinators with a loose contact", 1);
                self.loosen(coordinator, spared, times);
            }
            Kind::Partition => self.divide(),
            Kind::WorkersRoll => {
                self.coverage.add("rolling restarts", 1);
                self.roll(0);
            }
        }
    }

    /// The worker of this number is told to leave as soon as the one before is back, and so on to the last.
    pub(super) fn roll(&mut self, number: usize) {
        let Some(&worker) = self.cast.workers.get(number) else { return };
        let previous = number.checked_sub(1).map(|previous| self.cast.workers[previous]);
        let is_back = |id: ProcessId| {
            self.world[id].machine.as_ref().and_then(Node::worker).is_some_and(|it| !it.recovers())
        };
        let next = if previous.is_none_or(is_back) {
            self.drain(worker, "servers drained");
            number + 1
        } else {
            number
        };
        self.own.push(self.world.now() + Duration::from_millis(500), Own::Roll(next));
    }

    /// Ends one fault.
    pub(super) fn put_right(&mut self, repair: Repair) {
        self.world.trace.note(self.world.now(), format_args!("repair: {repair:?}"));
        let now = self.world.now();
        match repair {
            Repair::Start(id) if !self.world[id].is_up() => self.start(id),
            Repair::Start(_) => {}
            Repair::Resume(id) => {
                self.ways.trouble_with(id, now);
                if self.cast.role(id) == Role::Coordinator
                    && self.scene().main().is_some_and(|main| main != id)
                {
                    let was_main = self.scene().role_of(id) == Some(common::wire::Role::Main);
                    self.coverage
                        .add("main coordinators that returned to find another one", u64::from(was_main));
                }
                self.world.resume(id);
            }
            Repair::Read(id) => self.world.set_reading(id, true),
            Repair::Mend(one, other) => {
                self.ways.trouble_between(one, other, now);
                self.world.mend(one, other);
            }
            Repair::Reunite => {
                self.ways.trouble_everywhere(now);
                self.world.reunite();
            }
            Repair::Disk(id) => {
                let disk = self.disks.of_mut(id);
                (disk.fails, disk.delay) = (false, Duration::ZERO);
            }
        }
    }

    /// Starts a process that is down.
    pub(super) fn start(&mut self, id: ProcessId) {
        self.ways.trouble_with(id, self.world.now());
        if let Some(user) = self.cast.users.get_mut(&id) {
            user.away = false;
        }
        self.cast.start(&mut self.world, id, &self.disks);
    }

    /// Ends everything that goes wrong at once.
    pub(super) fn heal(&mut self) {
        self.plan.faults.clear();
        self.own.retain(|own| !matches!(own, Own::Repair(_)));
        for id in self.cast.coordinators.clone() {
            self.put_right(Repair::Disk(id));
        }
        self.world.trace.note(self.world.now(), format_args!("everything heals"));
        self.ways.trouble_everywhere(self.world.now());
        self.world.heal();
        let mut down: Vec<ProcessId> =
            self.world.processes().filter(|(_, process)| !process.is_up()).map(|(id, _)| id).collect();
        self.rng.shuffle(&mut down);
        for id in down {
            let user_stays_out =
                self.cast.role(id).is_honest_client() && !self.cast.should_be_live(id, &self.disks);
            if !user_stays_out {
                self.start(id);
            }
        }
    }

    pub(super) fn kill(&mut self, id: ProcessId, what: &'static str) {
        if !self.world[id].is_up() {
            return;
        }
        let silent = self.rng.u8(..4) == 0;
        let crash = if silent { Crash::PowerLoss { noticed: Duration::from_secs(15) } } else { Crash::Kill };
        self.fault(what, format_args!("{id:?} dies: {crash:?}"));
        self.harvest(id);
        self.world.crash(id, crash);
        self.ended(id);
        let span = self.span();
        self.repair(span, Repair::Start(id));
    }

    /// A process is gone; what it leaves behind.
    pub(super) fn ended(&mut self, id: ProcessId) {
        let now = self.world.now();
        self.watch.ledger.died(id, now);
        self.ways.trouble_with(id, now);
        if self.cast.role(id) == Role::Coordinator {
            let interrupted = self.disks.crash(id, &mut self.rng);
            self.coverage.add_interrupted(interrupted);
        }
    }

    fn pause(&mut self, id: ProcessId) {
        let span = self.span();
        self.pause_for(id, span);
    }

    pub(super) fn pause_for(&mut self, id: ProcessId, span: Duration) {
        self.world.pause(id);
        self.trouble(id, span);
        self.repair(span, Repair::Resume(id));
        self.fault("servers paused", format_args!("{id:?} pauses for {span:?}"));
    }

    fn break_one(&mut self) {
        let Some((conn, one, other)) = self.any_connection() else { return };
        let noticed = self.notice();
        self.ways.trouble_between(one, other, self.world.now() + noticed);
        let lost = self.world.break_connection(conn, noticed);
        self.fault("connections broken", format_args!("{conn:?} breaks, noticed within {noticed:?}"));
        self.coverage.add("connections broken with bytes on their way", u64::from(lost));
    }

    fn stall_one(&mut self) {
        let Some((conn, one, other)) = self.any_connection() else { return };
        let until = self.world.now() + self.span();
        self.ways.trouble_between(one, other, until);
        self.world.stall(conn, until);
        self.fault("connections stalled", format_args!("{conn:?} stalls until {until}"));
    }

    pub(super) fn cut(&mut self, one: ProcessId, other: ProcessId, what: &'static str) {
        if one == other {
            return;
        }
        let (span, noticed) = (self.span(), self.notice());
        self.ways.trouble_between(one, other, self.world.now() + noticed);
        self.world.cut(one, other, noticed);
        self.repair(span, Repair::Mend(one, other));
        self.fault(
            what,
            format_args!("{one:?} and {other:?} are cut off for {span:?}, noticed within {noticed:?}"),
        );
    }

    fn skew(&mut self, id: ProcessId, most: Duration) {
        let most = most.as_millis() as i64;
        let skew = self.rng.i64(-most..most);
        self.world.skew_clock(id, skew);
        self.fault("clocks that jumped", format_args!("the clock of {id:?} is {skew} ms off"));
    }

    /// Something is wrong with a process for so long.
    fn trouble(&mut self, id: ProcessId, span: Duration) {
        self.ways.trouble_with(id, self.world.now() + span);
    }

    /// Some coordinator; often the main one, where there is one.
    fn some_coordinator(&mut self) -> ProcessId {
        let main = self.scene().main();
        if self.rng.bool() { main.unwrap_or(self.cast.coordinators[0]) } else { self.cast.any_coordinator() }
    }

    pub(super) fn fault(&mut self, what: &'static str, words: std::fmt::Arguments<'_>) {
        self.coverage.add(what, 1);
        self.world.trace.note(self.world.now(), format_args!("fault: {words}"));
    }

    pub(super) fn repair(&mut self, after: Duration, repair: Repair) {
        self.own.push(self.world.now() + after, Own::Repair(repair));
    }

    fn any_connection(&mut self) -> Option<(ConnId, ProcessId, ProcessId)> {
        let busy = self.world.busy();
        let only_busy = !busy.is_empty() && self.rng.bool();
        let standing = self.world.connections().filter(|(conn, ..)| !only_busy || busy.contains(conn));
        let standing: Vec<_> = standing.collect();
        self.rng.choice(standing)
    }

    /// How long something lasts: mostly moments, sometimes longer than any time-out.
    pub(super) fn span(&mut self) -> Duration {
        let most = if self.rng.u8(..5) == 0 { 25_000 } else { 4_000 };
        Duration::from_millis(self.rng.u64(10..most))
    }

    /// How long until a break is noticed.
    pub(super) fn notice(&mut self) -> Duration {
        let most = if self.rng.u8(..4) == 0 { 12_000 } else { 50 };
        Duration::from_millis(self.rng.u64(0..most))
    }
}
