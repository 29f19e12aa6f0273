//! What happens without anybody speaking: attempts that are due, a sweep every second, and heartbeats.

use common::id::LinkId;
use common::limits::WORKER_DOUBT;
use common::machine::{Action, DialId};
use common::time::{Now, Time};
use common::wire::{Address, InvalidMessage};

use super::draining::Drain;
use super::recovering::Recovery;
use super::session::Overdue;
use super::{Actions, Dial, Link, Worker};

impl Worker {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let drain = match self.drain {
            Some(Drain::Done) => return None,
            Some(_) => self.drain_deadline(),
            None => [self.upstream.deadline(), self.roster.deadline()].into_iter().flatten().min(),
        };
        let activities = [
            self.give_up_at(),
            self.catch_up.deadline(),
            self.deliveries.deadline(),
            self.reports_deadline(),
        ];
        let recovery = self.recovery.as_ref().map(Recovery::deadline);
        [
            Some(self.next_sweep),
            self.intake.deadline(),
            drain,
            recovery,
            activities.into_iter().flatten().min(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn deadline_passed(&mut self, now: Now, out: &mut Actions) {
        self.catch_up.give_up(now.time);
        self.give_up_waiting(now, out);
        self.ask_on(now, out);
        self.count_deliveries(now, out);
        self.send_reports(now, out);
        if self.drain.is_none() {
            if let Some(reason) = self.upstream.overdue(now.time) {
                self.give_up_coordinator(now, reason, out);
            }
            if let Some(address) = self.upstream.due(now.time) {
                self.dial(Dial::Upstream, address, out);
            }
            for (id, address) in self.roster.due(now.time) {
                self.dial(Dial::Neighbour(id), address, out);
            }
        }
        if now.time >= self.next_sweep {
            self.next_sweep = now.time + self.config.limits.sweep;
            self.log.sweep(now.time);
            self.remember_changes(out);
            self.flood.tidy();
            self.see_what_is_lost(now);
            self.put_questions_off(now, out);
            self.reports.sweep(now.time);
            self.replays_overdue(now, out);
            if !self.is_waking(now.time) {
                self.sweep_clients(now, out);
            }
            self.sweep_servers(now, out);
            if self.drain.is_none() {
                self.tell_lists(now, out);
            }
        }
    }

    /// Notices that this process was stopped, or its machine: what should have been done long ago has not been. What clients did meanwhile
    /// comes only now; and to others it may be gone.
    pub(super) fn notice_sleep(&mut self, now: Time) {
        if self.next_sweep + WORKER_DOUBT <= now {
            self.waking = Some(now + WORKER_DOUBT);
        }
    }

    pub(super) fn is_waking(&self, now: Time) -> bool {
        self.waking.is_some_and(|until| now < until)
    }

    fn dial(&mut self, purpose: Dial, address: Address, out: &mut Actions) {
        let dial = DialId(self.next_dial);
        self.next_dial += 1;
        self.dials.insert(dial, purpose);
        out.push(Action::Dial { dial, address });
    }

    fn sweep_clients(&mut self, now: Now, out: &mut Actions) {
        let stall = self.config.limits.write_stall;
        let overdue: Vec<_> = self
            .links
            .iter_mut()
            .filter_map(|(link, kind)| match kind {
                Link::Client(session) => Some((link, session.overdue(now.time, &self.log, stall)?)),
                Link::Upstream | Link::Neighbour => None,
            })
            .collect();
        for (link, why) in overdue {
            match why {
                Overdue::Login => self.login_too_late(now, link, out),
                Overdue::Answer => self.answer_too_late(now, link, out),
                Overdue::Silent => self.close(now, link, None, out),
                Overdue::FellBehind => {
                    self.counters.fell_behind += 1;
                    self.drop_slow(now, link, "you fell behind what this server keeps", out);
                }
                Overdue::Stalled => {
                    self.counters.stalled += 1;
                    self.drop_slow(now, link, "you read nothing for too long", out);
                }
            }
        }
        for link in self.registrations.expired(now.time) {
            self.registration_unanswered(now, link, out);
        }
    }

    fn drop_slow(&mut self, now: Now, link: LinkId, reason: &str, out: &mut Actions) {
        tracing::info!(?link, reason, "dropped a client");
        self.close(now, link, Some(InvalidMessage { info: reason.to_owned() }.into()), out);
    }

    fn sweep_servers(&mut self, now: Now, out: &mut Actions) {
        for overdue in self.neighbours.overdue(now.time) {
            if let Some(id) = self.neighbours.id(overdue.link) {
                tracing::warn!(%id, reason = overdue.reason, "giving up a link to a worker");
                self.close(now, overdue.link, None, out);
            }
        }
        self.roster.forget_unlisted(now.time);
        self.sweep_presence(now, out);
        let digest = self.encode(self.digest(now));
        self.tell_all_neighbours(now, &digest, out);
        self.tell_doubles(now, out);
        self.tell_load(now, out);
    }
}
