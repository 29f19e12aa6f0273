//! What time brings.
//!
//! One sweep a second looks at every time-out of clients and workers, so that the machine has one deadline however many links it has;
//! such a time-out is late by at most that second. Coordinators watch each other to the moment, for nobody registers while the main one is
//! silent.

use std::time::Duration;

use common::time::Time;

use super::reign::Reigning;
use super::{Coordinator, Turn};

/// How often time-outs are looked at.
const SWEEP: Duration = Duration::from_secs(1);

impl Coordinator {
    /// Does what is due.
    pub(super) fn attend(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.time;
        for link in self.peers.overdue(now, self.config.limits.failure_timeout) {
            self.abandon(turn, link, "nothing was heard from this coordinator for too long");
        }
        self.dial_peers(turn);
        if now >= self.next_pulse {
            self.next_pulse = now + self.config.limits.pulse;
            self.pulse(turn);
        }
        if now >= self.next_sweep {
            self.sweep(turn);
        }
        let timeout = self.config.limits.sync_timeout;
        if self.standbys.deadline(timeout).is_some_and(|at| at <= now) {
            self.delist_overdue(turn);
        }
        self.end_gathering(turn);
        self.end_merging(turn);
        self.write_waiting(turn);
        self.see_whether_the_disk_hangs(turn);
        self.hand_over(turn);
        self.decide(turn);
    }

    /// When there is something to attend to.
    pub(super) fn next_attention(&self) -> Option<Time> {
        let watches = !self.peers.is_empty() || (self.is_main() && !self.placement.links().is_empty());
        let idle = self.links.is_empty() && self.placement.is_empty() && !self.registry.has_holds();
        let reigning = match &self.reigning {
            Reigning::Seeking(seeking) => seeking.deadline().filter(|_| !self.draining),
            Reigning::Main(main) => {
                let handover = main.handover.as_ref().filter(|_| !self.draining);
                let handover = handover.map(|handover| handover.deadline(self.attended));
                [main.gathering, main.merging, handover].into_iter().flatten().min()
            }
            Reigning::Backup(_) => None,
        };
        let dials = if self.draining { None } else { self.peers.deadline() };
        [
            watches.then_some(self.next_pulse),
            (!idle).then_some(self.next_sweep),
            reigning,
            dials,
            self.peers.patience(self.config.limits.failure_timeout),
            self.leaving,
            self.standbys.deadline(self.config.limits.sync_timeout),
            self.writing.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Says that we live.
    fn pulse(&mut self, turn: &mut Turn<'_>) {
        self.announce_standing(turn);
        if matches!(self.reigning, Reigning::Backup(_)) && !self.main_is_quiet() {
            self.unpark(turn);
        }
        self.pulse_workers(turn);
        self.tell_changed_loads(turn);
        self.tell_certain(turn);
    }

    fn sweep(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.time;
        self.next_sweep = now + SWEEP;
        for (link, overdue) in self.links.overdue(now) {
            self.overdue(turn, link, overdue);
        }
        self.expire_holds(turn);
        self.placement.look(now);
        if self.is_main() {
            self.remove_silent(turn);
            self.even_out(turn);
            self.deny_without_enough(turn);
        }
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + self.config.limits.heartbeat;
            self.tell_list(turn);
        }
    }
}
