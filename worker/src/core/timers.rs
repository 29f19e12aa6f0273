//! What happens without anybody speaking: attempts that are due, a sweep every second, heartbeats, and the drain.

use common::id::LinkId;
use common::machine::{Action, DialId};
use common::time::{Now, Time};
use common::wire::{Address, InvalidMessage, ServerLoad};

use super::log::Position;
use super::session::Overdue;
use super::{Actions, Dial, Link, Worker};

/// A worker on its way out. The coordinator was left first, so that it sends nobody here any more; then clients leave as they
/// have been flushed, then the neighbours, which carry the clients' last activities.
#[derive(Clone, Copy, Debug)]
pub(super) enum Drain {
    /// Clients are flushed to where the log ended when the drain began.
    Flushing {
        /// The end.
        end: Position,
        /// Who has not taken it by then is left behind.
        until: Time,
    },
    /// Nothing is left to do.
    Done,
}

impl Worker {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let drain = match self.drain {
            Some(Drain::Done) => return None,
            Some(Drain::Flushing { until, .. }) => Some(until),
            None => [self.upstream.deadline(), self.roster.deadline()].into_iter().flatten().min(),
        };
        [Some(self.next_sweep), self.flood.deadline(), self.intake.deadline(), drain]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn deadline_passed(&mut self, now: Now, out: &mut Actions) {
        self.flood.give_up(now.time);
        self.deliver_ready();
        if self.drain.is_none() {
            if let Some(reason) = self.upstream.overdue(now.time) {
                tracing::warn!(coordinator = %self.upstream.address(), reason, "giving up the coordinator");
                let link = self.upstream.link().expect("only a link is overdue");
                self.close(now, link, None, out);
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
            self.sweep_clients(now, out);
            self.sweep_servers(now, out);
            if self.drain.is_none() {
                self.tell_lists(now, out);
            }
        }
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
        if now.time >= self.next_heartbeat {
            self.next_heartbeat = now.time + self.config.limits.heartbeat;
            self.tell_coordinator(now, ServerLoad { load: self.load }, out);
            self.announce(now, out);
        }
    }

    pub(super) fn start_drain(&mut self, now: Now, out: &mut Actions) {
        if self.drain.is_some() {
            return;
        }
        tracing::info!(clients = self.clients(), "draining");
        self.drain =
            Some(Drain::Flushing { end: self.log.end(), until: now.time + self.config.limits.drain });
        out.push(Action::StopAccepting);
        if let Some(link) = self.upstream.link() {
            self.close(now, link, None, out);
        }
    }

    /// Goes on with the drain after an event. `wrote_to`: that was all that happened, so only this link may be done.
    pub(super) fn continue_drain(&mut self, now: Now, wrote_to: Option<LinkId>, out: &mut Actions) {
        let Some(Drain::Flushing { end, until }) = self.drain else { return };
        let done = |kind: &Link| matches!(kind, Link::Client(session) if until <= now.time || session.is_flushed(end));
        let leaving: Vec<LinkId> = match wrote_to {
            Some(link) => self.links.get(link).filter(|kind| done(kind)).map(|_| link).into_iter().collect(),
            None => self.links.iter().filter(|(_, kind)| done(kind)).map(|(link, _)| link).collect(),
        };
        for link in leaving {
            self.close(now, link, None, out);
        }
        if self.clients() == 0 {
            self.drain = Some(Drain::Done);
            for link in self.neighbours.all() {
                self.close(now, link, None, out);
            }
            out.push(Action::Exit(Ok(())));
        }
    }
}
