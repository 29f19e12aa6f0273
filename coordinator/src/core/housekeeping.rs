//! What time brings, and the end.
//!
//! One sweep a second looks at every time-out, so that the machine has one deadline however many links it has; a time-out is
//! late by at most that second.

use std::time::Duration;

use common::machine::Action;

use super::links::Party;
use super::refusals::Refusal;
use super::{Coordinator, Turn};

/// How often time-outs are looked at.
const SWEEP: Duration = Duration::from_secs(1);

impl Coordinator {
    pub(super) fn sweep(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.time;
        self.next_sweep = now + SWEEP;
        for (link, overdue) in self.links.overdue(now) {
            self.overdue(turn, link, overdue);
        }
        self.expire_holds(turn);
        self.placement.expire(now);
        self.remove_silent(turn);
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + self.config.limits.heartbeat;
            self.beat(turn);
        }
    }

    /// Stops accepting, says goodbye to everybody but those who wait for the disk and the workers that must hear its answer, and
    /// ends when it has come.
    pub(super) fn drain(&mut self, turn: &mut Turn<'_>) {
        if self.draining {
            return;
        }
        tracing::info!("shutting down");
        self.draining = true;
        turn.actions.push(Action::StopAccepting);
        self.release_unhashed(turn);
        for link in self.links.which(|party| !matches!(party, Party::Worker(_))) {
            match self.links.get(link).map(|known| &known.party) {
                Some(Party::Verifying { purpose, .. }) => {
                    let asked = purpose.asked();
                    self.refuse(turn, link, asked, &Refusal::Draining);
                }
                _ if self.registry.is_awaited(link) => {}
                _ => self.close(turn, link, None),
            }
        }
        self.finish_drain(turn);
    }

    /// Ends, where this process is draining and nothing waits for the disk.
    pub(super) fn finish_drain(&mut self, turn: &mut Turn<'_>) {
        if self.draining && !self.registry.is_writing() {
            for link in self.links.which(|_| true) {
                self.close(turn, link, None);
            }
            turn.actions.push(Action::Exit(Ok(())));
        }
    }
}
