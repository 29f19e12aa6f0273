//! How a worker leaves: it hands its clients to other workers, and goes when nothing of theirs is left with it.
//!
//! The coordinator and the other workers are told first, so that nobody is sent here any more. Then clients leave, a portion at a time and
//! each to the worker that has the fewest: a capable one is told QUIT with where to go, where it was not already, and closes when it has
//! acknowledged what it has; a classic one is sent on with REDIRECT when it has taken what was published. Last go the counts of what they
//! received, and the links to the other workers.

use std::collections::BTreeMap;
use std::time::Duration;

use common::id::{LinkId, ServerId};
use common::limits::LINGER;
use common::machine::Action;
use common::time::{Now, Time};
use common::wire::{Address, Message, MoveClients, Quit, Redirect};

use super::log::Offset;
use super::{Actions, Link, Worker};

/// How often a portion of the clients is told to leave, and into how many portions they are divided.
const PORTION: (Duration, usize) = (Duration::from_millis(20), 50);

/// How long other workers have to take what was last said to them, when the clients are gone; a quarter of the time there is, where that is
/// short.
const FLUSHING: Duration = Duration::from_secs(1);

/// A worker on its way out.
#[derive(Debug)]
pub(super) enum Drain {
    /// Clients are leaving.
    Moving(Moving),
    /// The last counts and activities are on their way to the other workers. Who has not taken them by then is left behind.
    Flushing { until: Time },
    /// Nothing is left to do.
    Done,
}

/// Who is yet to be told, who is yet to leave, and where to.
#[derive(Debug)]
pub(super) struct Moving {
    /// Who has not taken what it is to have by then is left behind.
    until: Time,
    next_portion: Time,
    portion: usize,
    untold: Vec<LinkId>,
    /// Those that leave as soon as they have taken the log up to there, and where they are sent then.
    leaving: BTreeMap<LinkId, (Offset, Option<Address>)>,
    /// How many clients each other worker had when clients were first sent there, and how many were sent since.
    loads: BTreeMap<ServerId, usize>,
}

/// Another worker that takes clients.
#[derive(Debug)]
struct Destination {
    id: ServerId,
    address: Address,
    clients: usize,
}

impl Worker {
    pub(super) fn start_drain(&mut self, now: Now, out: &mut Actions) {
        if self.drain.is_some() {
            return;
        }
        let mut untold: Vec<LinkId> = self.client_links().collect();
        self.rng.shuffle(&mut untold);
        tracing::info!(clients = untold.len(), "leaving");
        out.push(Action::StopAccepting);
        self.drain = Some(Drain::Moving(Moving {
            until: now.time + self.time_for_moving(),
            next_portion: now.time,
            portion: untold.len().div_ceil(PORTION.1).max(1),
            untold,
            leaving: BTreeMap::new(),
            loads: BTreeMap::new(),
        }));
        if let Some(link) = self.upstream.link() {
            self.close(now, link, Some(Quit::default().into()), out);
        }
        if self.displaced.is_none() {
            let quit = self.encode(Quit::default());
            self.tell_all_neighbours(now, &quit, out);
        }
    }

    /// Another worker has taken our place in the network, for example one with a copy of our data directory, while nothing was heard from
    /// us. Of two with one id, nobody could say what the clients of either have received: ours go to other workers, and we end.
    pub(super) fn give_way(&mut self, now: Now, out: &mut Actions) {
        let sentence = format!(
            "another worker called {} has taken the place of this one, which had not been heard for a while: give each an --id and a data \
             directory of its own",
            self.config.id
        );
        tracing::error!("{sentence}");
        self.displaced = Some(sentence);
        self.start_drain(now, out);
    }

    pub(super) fn drain_deadline(&self) -> Option<Time> {
        match self.drain.as_ref()? {
            Drain::Moving(moving) if moving.untold.is_empty() => Some(moving.until),
            Drain::Moving(moving) => Some(moving.next_portion),
            Drain::Flushing { until } => Some(*until),
            Drain::Done => None,
        }
    }

    /// Goes on with the drain after an event. `wrote_to`: that was all that happened, so only this link may be done.
    pub(super) fn continue_drain(&mut self, now: Now, wrote_to: Option<LinkId>, out: &mut Actions) {
        self.tell_portion(now, out);
        self.let_go(now, wrote_to, out);
        match &self.drain {
            Some(Drain::Moving(_)) if self.clients() == 0 => {
                self.count_the_rest(now, out);
                self.drain = Some(Drain::Flushing { until: now.time + self.time_for_flushing() });
                self.end_drain(now, out);
            }
            Some(Drain::Flushing { .. }) => {
                // What still comes from others is with no client of ours.
                self.count_the_rest(now, out);
                self.end_drain(now, out);
            }
            _ => {}
        }
    }

    /// What is closed at the very end still has its last words to take.
    fn time_for_moving(&self) -> Duration {
        self.config.limits.drain.saturating_sub(LINGER) - self.time_for_flushing()
    }

    fn time_for_flushing(&self) -> Duration {
        FLUSHING.min(self.config.limits.drain.saturating_sub(LINGER) / 4)
    }

    /// Tells some of the clients to leave, if it is time.
    fn tell_portion(&mut self, now: Now, out: &mut Actions) {
        loop {
            let Some(Drain::Moving(moving)) = &mut self.drain else { return };
            if moving.untold.is_empty() || moving.next_portion > now.time {
                return;
            }
            let rest = moving.untold.len().saturating_sub(moving.portion);
            // As long as there is time to tell all of them then, it is better to wait for somebody who is about to take clients.
            let may_wait = now.time + PORTION.0.mul_f64(PORTION.1 as f64) < moving.until;
            let mut destinations = self.drain_destinations();
            let waits = may_wait && destinations.is_empty() && self.roster.somebody_recovers();
            let Some(Drain::Moving(moving)) = &mut self.drain else { return };
            if waits {
                moving.next_portion = now.time + PORTION.0;
                return;
            }
            moving.next_portion = moving.next_portion + PORTION.0;
            let portion = moving.untold.split_off(rest);
            for link in portion {
                self.tell_to_leave(now, link, &mut destinations, out);
            }
        }
    }

    /// Tells a client to leave for the worker that has the fewest, if there is any.
    fn tell_to_leave(&mut self, now: Now, link: LinkId, destinations: &mut [Destination], out: &mut Actions) {
        let Some(Link::Client(session)) = self.links.get(link) else { return };
        let attachment = session.attachment();
        if attachment.is_some_and(|attachment| attachment.is_moving()) {
            // The coordinator has sent it on already. It goes by itself, when it has acknowledged what it has.
            return;
        }
        let is_capable = attachment.is_some_and(|attachment| attachment.is_capable());
        let (is_logged_in, end) = (session.is_logged_in(), self.log.end());
        let Some(Drain::Moving(moving)) = &mut self.drain else { return };
        let least = destinations.iter_mut().filter(|_| is_logged_in).min_by_key(|other| other.clients);
        let target = least.map(|other| {
            other.clients += 1;
            moving.loads.insert(other.id.clone(), other.clients);
            other.address.clone()
        });
        match target {
            Some(address) if is_capable => {
                self.sends_on(link);
                let token = self.token_for(now, link);
                self.reply(now, link, Quit::to(address, token), out);
            }
            target => drop(moving.leaving.insert(link, (end, target))),
        }
    }

    /// Where clients may go now, in a random order.
    fn drain_destinations(&mut self) -> Vec<Destination> {
        let Some(Drain::Moving(Moving { loads, .. })) = &self.drain else { return Vec::new() };
        let established = self.neighbours.established_ids();
        let online = self.presence.by_worker();
        let clients = |id: &ServerId| loads.get(id).or(online.get(id)).copied().unwrap_or_default();
        let destination = |(id, address): (&ServerId, &Address)| Destination {
            id: id.clone(),
            address: address.clone(),
            clients: clients(id),
        };
        let is_linked = |(id, _): &(&ServerId, &Address)| established.contains(id);
        let mut destinations: Vec<_> = self.roster.open().filter(is_linked).map(destination).collect();
        self.rng.shuffle(&mut destinations);
        destinations
    }

    /// Closes the connections of those who leave and have what they are to have; of all, when the time is over.
    fn let_go(&mut self, now: Now, wrote_to: Option<LinkId>, out: &mut Actions) {
        let Some(Drain::Moving(moving)) = &mut self.drain else { return };
        let is_over = moving.until <= now.time;
        let done = |link: LinkId, end: Offset| match self.links.get(link) {
            Some(Link::Client(session)) => is_over || session.is_flushed(end),
            _ => true,
        };
        let mut gone: Vec<(LinkId, Option<Address>)> = match wrote_to {
            Some(link) => {
                let leaves = moving.leaving.get(&link).filter(|(end, _)| done(link, *end));
                leaves.map(|(_, target)| (link, target.clone())).into_iter().collect()
            }
            None => {
                let leaves = moving.leaving.iter().filter(|(link, (end, _))| done(**link, *end));
                leaves.map(|(link, (_, target))| (*link, target.clone())).collect()
            }
        };
        gone.iter().for_each(|(link, _)| drop(moving.leaving.remove(link)));
        if is_over {
            gone.extend(self.client_links().map(|link| (link, None)));
        }
        for (link, target) in gone {
            let last = target.map(|address| {
                let token = self.token_for(now, link);
                Message::from(Redirect { address, token })
            });
            self.close(now, link, last, out);
        }
    }

    /// Goes when the other workers have taken everything.
    fn end_drain(&mut self, now: Now, out: &mut Actions) {
        let Some(Drain::Flushing { until }) = self.drain else { return };
        if self.neighbours.longest_queue() > 0 && now.time < until {
            return;
        }
        self.drain = Some(Drain::Done);
        for link in self.neighbours.all() {
            self.close(now, link, None, out);
        }
        self.remember_changes(out);
        out.push(Action::Exit(self.displaced.take().map_or(Ok(()), Err)));
    }

    /// The coordinator has found that another worker has fewer clients: some go there, of those that have not moved lately.
    pub(super) fn move_clients(&mut self, now: Now, order: &MoveClients, out: &mut Actions) {
        let to = self.roster.open().find(|(id, _)| **id == order.to && self.drain.is_none());
        let Some(address) = to.map(|(_, address)| address.clone()) else { return };
        let settled = |(link, party): (LinkId, &Link)| match party {
            Link::Client(session) => session.attachment()?.may_move(now.time).then_some(link),
            Link::Upstream | Link::Neighbour => None,
        };
        let mut settled: Vec<LinkId> = self.links.iter().filter_map(settled).collect();
        self.rng.shuffle(&mut settled);
        settled.truncate(usize::try_from(order.count).unwrap_or(usize::MAX));
        tracing::info!(clients = settled.len(), to = %order.to, "sending clients to another worker");
        for link in settled {
            self.session(link).attachment_mut().expect("it is logged in").told_to_move();
            self.sends_on(link);
            let token = self.token_for(now, link);
            self.reply(now, link, Quit::to(address.clone(), token), out);
        }
    }

    fn client_links(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.links.iter().filter(|(_, party)| matches!(party, Link::Client(_))).map(|(link, _)| link)
    }
}
