//! What goes wrong, and how it is put right again.

use std::time::Duration;

use super::cast::Role;
use super::control::Crash;
use super::node::Input;
use super::scenario::{Own, Scenario};
use super::{ConnId, ProcessId};

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
}

impl Kind {
    /// All of them.
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
}

/// What ends a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repair {
    Start(ProcessId),
    Resume(ProcessId),
    Read(ProcessId),
    Mend(ProcessId, ProcessId),
    Disk,
}

impl Scenario {
    /// Lets one fault of the plan's kinds happen.
    pub(super) fn inflict(&mut self) {
        let Some(&kind) = self.rng.choice(&self.plan.faults) else { return };
        let (coordinator, worker) = (self.cast.coordinator, self.cast.any_worker());
        let client = self.any_user();
        match kind {
            Kind::CoordinatorDies => self.kill(coordinator, "coordinators killed"),
            Kind::WorkerDies => self.kill(worker, "workers killed"),
            Kind::ClientVanishes => self.kill(client, "clients vanished"),
            Kind::CoordinatorPauses => self.pause(coordinator),
            Kind::WorkerPauses => self.pause(worker),
            Kind::ConnectionBreaks => {
                if let Some(conn) = self.any_connection() {
                    let noticed = self.notice();
                    let lost = self.world.break_connection(conn, noticed);
                    self.fault(
                        "connections broken",
                        format_args!("{conn:?} breaks, noticed within {noticed:?}"),
                    );
                    self.coverage.add("connections broken with bytes on their way", u64::from(lost));
                }
            }
            Kind::ConnectionStalls => {
                if let Some(conn) = self.any_connection() {
                    let until = self.world.now() + self.span();
                    self.world.stall(conn, until);
                    self.fault("connections stalled", format_args!("{conn:?} stalls until {until}"));
                }
            }
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
                self.disk_fails = true;
                self.repair(Duration::from_millis(500), Repair::Disk);
                self.fault("failures of the disk", format_args!("the disk fails"));
            }
            Kind::DiskIsSlow => {
                self.disk_delay = Duration::from_secs(3);
                let span = self.span();
                self.repair(span, Repair::Disk);
                self.fault("slow disks", format_args!("the disk is slow for {span:?}"));
            }
            Kind::ClockJumps => {
                let skew = self.rng.i64(-3_000..3_000);
                let id = if self.rng.bool() { coordinator } else { worker };
                self.world.skew_clock(id, skew);
                self.fault("clocks that jumped", format_args!("the clock of {id:?} is {skew} ms off"));
            }
            Kind::WorkerDrains => self.drain(worker),
            Kind::CoordinatorDrains => self.drain(coordinator),
        }
    }

    /// Ends one fault.
    pub(super) fn put_right(&mut self, repair: Repair) {
        self.world.trace.note(self.world.now(), format_args!("repair: {repair:?}"));
        match repair {
            Repair::Start(id) if !self.world[id].is_up() => self.cast.start(&mut self.world, id, &self.disk),
            Repair::Start(_) => {}
            Repair::Resume(id) => self.world.resume(id),
            Repair::Read(id) => self.world.set_reading(id, true),
            Repair::Mend(one, other) => self.world.mend(one, other),
            Repair::Disk => (self.disk_fails, self.disk_delay) = (false, Duration::ZERO),
        }
    }

    /// Ends everything that goes wrong at once.
    pub(super) fn heal(&mut self) {
        self.plan.faults.clear();
        self.own.retain(|own| !matches!(own, Own::Repair(_)));
        (self.disk_fails, self.disk_delay) = (false, Duration::ZERO);
        self.world.trace.note(self.world.now(), format_args!("everything heals"));
        self.world.heal();
        let down: Vec<ProcessId> =
            self.world.processes().filter(|(_, process)| !process.is_up()).map(|(id, _)| id).collect();
        for id in down {
            let user_stays_out =
                self.cast.role(id).is_honest_client() && !self.cast.should_be_live(id, &self.disk);
            if !user_stays_out {
                self.cast.start(&mut self.world, id, &self.disk);
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
        self.watch.ledger.died(id, self.world.now());
        if self.cast.role(id) == Role::Coordinator {
            let interrupted = self.disk.crash(&mut self.rng);
            self.coverage.add_interrupted(interrupted);
        }
    }

    fn pause(&mut self, id: ProcessId) {
        let span = self.span();
        self.world.pause(id);
        self.repair(span, Repair::Resume(id));
        self.fault("servers paused", format_args!("{id:?} pauses for {span:?}"));
    }

    fn cut(&mut self, one: ProcessId, other: ProcessId, what: &'static str) {
        if one == other {
            return;
        }
        let (span, noticed) = (self.span(), self.notice());
        self.world.cut(one, other, noticed);
        self.repair(span, Repair::Mend(one, other));
        self.fault(
            what,
            format_args!("{one:?} and {other:?} are cut off for {span:?}, noticed within {noticed:?}"),
        );
    }

    fn drain(&mut self, id: ProcessId) {
        if !self.world[id].is_up() {
            return;
        }
        let run = self.world[id].run;
        self.fault("servers drained", format_args!("{id:?} is told to drain"));
        self.watch.ledger.draining.insert((id, run));
        let input = match self.cast.role(id) {
            Role::Coordinator => Input::Coordinator(coordinator::core::Input::Drain),
            _ => Input::Worker(worker::core::Input::Drain),
        };
        self.world.input(id, run, input);
    }

    fn fault(&mut self, what: &'static str, words: std::fmt::Arguments<'_>) {
        self.coverage.add(what, 1);
        self.world.trace.note(self.world.now(), format_args!("fault: {words}"));
    }

    fn repair(&mut self, after: Duration, repair: Repair) {
        self.own.push(self.world.now() + after, Own::Repair(repair));
    }

    fn any_connection(&mut self) -> Option<ConnId> {
        let busy = self.world.busy();
        if !busy.is_empty() && self.rng.bool() {
            return self.rng.choice(busy);
        }
        let standing: Vec<ConnId> = self.world.connections().map(|(conn, ..)| conn).collect();
        self.rng.choice(standing)
    }

    /// How long something lasts: mostly moments, sometimes longer than any time-out.
    fn span(&mut self) -> Duration {
        let most = if self.rng.u8(..5) == 0 { 25_000 } else { 4_000 };
        Duration::from_millis(self.rng.u64(10..most))
    }

    /// How long until a break is noticed.
    fn notice(&mut self) -> Duration {
        let most = if self.rng.u8(..4) == 0 { 12_000 } else { 50 };
        Duration::from_millis(self.rng.u64(0..most))
    }
}
