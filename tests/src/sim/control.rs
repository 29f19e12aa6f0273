//! What can be done to a [`World`] from outside: everything that goes wrong, and its repair.

use std::time::Duration;

use common::machine::Machine;
use common::time::Time;

use super::network::{ConnId, Side, Sides, State};
use super::{Due, ProcessId, World};

/// How a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// `kill -9`: the system closes its connections, so its peers learn of it at once.
    Kill,
    /// The machine loses power: nobody says anything, and peers find out when they have waited for long enough.
    PowerLoss {
        /// How long until their systems give up.
        noticed: Duration,
    },
}

impl<M: Machine> World<M> {
    /// Kills a process: its memory is gone, and some of what it wrote last may never arrive.
    pub fn crash(&mut self, id: ProcessId, crash: Crash) {
        match crash {
            Crash::Kill => {
                for (conn, _) in self.network.of(id) {
                    if self.rng.bool() {
                        self.break_connection(conn, Duration::from_millis(5));
                    }
                }
            }
            Crash::PowerLoss { noticed } => {
                for (conn, _) in self.network.of(id) {
                    self.break_connection(conn, noticed);
                }
            }
        }
        self[id].dark = matches!(crash, Crash::PowerLoss { .. });
        self.end(id, false);
    }

    /// A process ends. Connections that are closing still say their farewell where it ends in `order`.
    pub(super) fn end(&mut self, id: ProcessId, in_order: bool) {
        self[id].end();
        for (conn, side) in self.network.of(id) {
            let Some(connection) = self.network.get(conn) else { continue };
            match connection.end(side).state {
                State::Gone => {}
                State::Closing(_) if in_order => {}
                State::Opening | State::Open(_) | State::Closing(_) => self.abandon(conn, side),
            }
        }
        // What waited for the process falls to the kernel now.
        for due in std::mem::take(&mut self[id].parked) {
            self.queue.push(self.now, due);
        }
    }

    /// Stops a process as SIGSTOP does: its connections stay, and nothing moves.
    pub fn pause(&mut self, id: ProcessId) {
        self[id].paused = true;
    }

    /// Lets a paused process go on; what has come meanwhile comes now.
    pub fn resume(&mut self, id: ProcessId) {
        self[id].paused = false;
        self.unpark(id);
    }

    /// Has a process read its connections no more, or read them again.
    pub fn set_reading(&mut self, id: ProcessId, reading: bool) {
        self[id].reading = reading;
        if reading {
            self.unpark(id);
        }
    }

    /// Sets a process's wall clock off by `millis`.
    pub fn skew_clock(&mut self, id: ProcessId, millis: i64) {
        self[id].skew(millis);
    }

    /// Shows what a process says as soon as it says it, in all its runs.
    pub fn set_overheard(&mut self, id: ProcessId) {
        self[id].overheard = true;
    }

    fn unpark(&mut self, id: ProcessId) {
        for due in std::mem::take(&mut self[id].parked) {
            self.queue.push(self.now, due);
        }
    }

    /// The connections that stand, with their dialler and acceptor.
    pub fn connections(&self) -> impl Iterator<Item = (ConnId, ProcessId, ProcessId)> {
        self.network.standing()
    }

    /// The connections that stand and that something is on its way on.
    pub fn busy(&self) -> Vec<ConnId> {
        self.network.busy()
    }

    /// Whether somebody has not noticed yet that a connection is broken.
    pub fn deceives(&self) -> bool {
        self.network.deceives()
    }

    /// Breaks a connection: some of what is on its way is lost, and each end finds out in its own time, within `noticed`. Says
    /// whether bytes were lost.
    pub fn break_connection(&mut self, conn: ConnId, noticed: Duration) -> bool {
        let Some(connection) = self.network.get(conn).filter(|connection| !connection.broken) else {
            return false;
        };
        connection.broken = true;
        let mut lost = false;
        for side in [Side::Dialler, Side::Acceptor] {
            lost |= connection.end(side).pipe.sever(&mut self.rng);
            let at = self.now + noticed.mul_f64(self.rng.f64());
            self.queue.push(at, Due::Broken(conn, side));
        }
        lost
    }

    /// Lets nothing through on a connection, either way or both, until `until`.
    pub fn stall(&mut self, conn: ConnId, until: Time) {
        let Some(connection) = self.network.get(conn) else { return };
        for side in [Side::Dialler, Side::Acceptor] {
            if self.rng.u8(..4) > 0 {
                connection.end(side).pipe.stall(until);
            }
        }
    }

    /// Cuts the way between two processes: connections break, unnoticed for up to `noticed`, and new ones fail.
    pub fn cut(&mut self, one: ProcessId, other: ProcessId, noticed: Duration) {
        self.network.cut(one, other);
        self.network.cut(other, one);
        for conn in self.network.between(one, other) {
            self.break_connection(conn, noticed);
        }
    }

    /// Lets nothing through from `from` to `to` until the way is mended. What `to` says arrives, and new connections fail.
    pub fn cut_one_way(&mut self, from: ProcessId, to: ProcessId) {
        self.network.cut(from, to);
        for conn in self.network.between(from, to) {
            let Some(connection) = self.network.get(conn) else { continue };
            for side in [Side::Dialler, Side::Acceptor] {
                if connection.process(side) == from {
                    connection.end(side).pipe.stall(Time::from_micros(u64::MAX));
                }
            }
        }
    }

    /// Divides the network into sides with no way between them: connections across break, unnoticed for up to `noticed`.
    pub fn divide(&mut self, sides: Sides, noticed: Duration) {
        for conn in self.network.divide(Some(sides)) {
            self.break_connection(conn, noticed);
        }
    }

    /// Makes a network one again that was divided.
    pub fn reunite(&mut self) {
        self.network.divide(None);
    }

    /// The sides of a network that is divided.
    pub fn sides(&self) -> Option<&Sides> {
        self.network.sides()
    }

    /// Whether there is no way between two processes.
    pub fn is_cut(&self, one: ProcessId, other: ProcessId) -> bool {
        self.network.is_cut(one, other)
    }

    /// Mends the way between two processes; what was held back arrives.
    pub fn mend(&mut self, one: ProcessId, other: ProcessId) {
        self.network.mend(one, other);
        for conn in self.network.between(one, other) {
            self.attend(conn, Side::Dialler);
            self.attend(conn, Side::Acceptor);
        }
    }

    /// Mends every way, lets go what is held back, resumes who is paused and has everybody read.
    pub fn heal(&mut self) {
        for conn in self.network.heal() {
            self.attend(conn, Side::Dialler);
            self.attend(conn, Side::Acceptor);
        }
        for index in 0..self.processes.len() {
            self.processes[index].paused = false;
            self.set_reading(ProcessId(index), true);
        }
    }
}
