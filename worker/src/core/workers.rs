//! The conversation with the workers beside: getting to know each other, and passing activities on.

use common::epoch::Epoch;
use common::id::{Incarnation, LinkId, ServerId};
use common::machine::Action;
use common::position::Position;
use common::time::Now;
use common::wire::{
    Authenticate, AuthenticateSuccess, AuthenticationFail, Double, Message, Neighbours, ServerEntry,
};

use super::{Actions, Link, Worker};

/// Ranges of what we hold in one message: some 20 bytes each.
const RANGES_TOLD: usize = 16_384;

/// Activities with several ids in one message: some 40 KB.
const DOUBLES_TOLD: usize = 256;

impl Worker {
    /// A link to the worker `id` stands: says who we are.
    pub(super) fn greet_neighbour(&mut self, now: Now, link: LinkId, id: ServerId, out: &mut Actions) {
        if self.roster.dialled(&id).is_none() {
            // Meanwhile it was removed, or it came to us by itself.
            return out.push(Action::Close { link, farewell: Vec::new() });
        }
        self.links.insert(link, Link::Neighbour);
        self.neighbours.dialled(now.time, link, id.clone());
        let greeting = self.encode(Authenticate { to: Some(id), ..self.authenticate() });
        self.tell_neighbour(now, link, &greeting, out);
    }

    /// Somebody who connected says that it is a worker.
    pub(super) fn admit_neighbour(
        &mut self,
        now: Now,
        link: LinkId,
        theirs: Authenticate,
        epoch: Option<&Epoch>,
        out: &mut Actions,
    ) {
        if !self.is_fresh(now, link, "AUTHENTICATE", out) {
            return;
        }
        let refusal = match () {
            () if !self.config.secret.equals(&theirs.secret) => Some("wrong network secret".to_owned()),
            () if theirs.id == self.config.id => Some(format!("{} is my own id; choose another", theirs.id)),
            () => theirs
                .to
                .filter(|to| *to != self.config.id)
                .map(|to| format!("this is {}, not {to}", self.config.id))
                .or_else(|| self.absurdity(epoch)),
        };
        let taken = refusal.is_none() && self.neighbours.has_twin(&theirs.id, theirs.incarnation);
        let refusal =
            refusal.or_else(|| taken.then(|| format!("a worker called {} lives already", theirs.id)));
        if let Some(info) = refusal {
            tracing::warn!(id = %theirs.id, address = %theirs.address, %info, "refused a worker");
            let retry_after = taken.then(|| self.retry_after());
            let fail = AuthenticationFail { info, retry_after, taken };
            return self.close(now, link, Some(fail.into()), out);
        }
        self.hear_epoch(epoch);
        let ours = AuthenticateSuccess {
            id: self.config.id.clone(),
            incarnation: Some(self.config.incarnation),
            network: None,
            token_key: None,
            servers: Vec::new(),
            seen: Default::default(),
        };
        self.links.insert(link, Link::Neighbour);
        let server = ServerEntry { id: theirs.id, address: theirs.address };
        self.neighbour_established(now, link, (server, theirs.incarnation), Some(ours), out);
    }

    /// The worker that we dialled answers our AUTHENTICATE.
    fn neighbour_answered(
        &mut self,
        now: Now,
        link: LinkId,
        message: Message,
        epoch: Option<&Epoch>,
        out: &mut Actions,
    ) {
        let expected = self.neighbours.greeted(link).expect("it was not established").clone();
        match message {
            Message::AuthenticateSuccess(AuthenticateSuccess {
                id, incarnation: Some(incarnation), ..
            }) => {
                let Some(address) = self.roster.address(&id).cloned().filter(|_| id == expected) else {
                    let info = format!("{expected} was dialled here, and {id} answered");
                    tracing::warn!("{info}");
                    return self.refuse(now, link, info, out);
                };
                self.hear_epoch(epoch);
                let server = ServerEntry { id, address };
                self.neighbour_established(now, link, (server, incarnation), None, out);
            }
            Message::InvalidMessage(_) | Message::AuthenticationFail(_) => {
                self.server_refused(now, link, &message, out)
            }
            _ => {
                self.refuse(now, link, format!("{} before AUTHENTICATE was answered", message.command()), out)
            }
        }
    }

    /// Both sides know each other: this link takes the place of an older one to the same worker, and starts with our NEIGHBOURS, after
    /// `answer` where the worker came to us.
    fn neighbour_established(
        &mut self,
        now: Now,
        link: LinkId,
        (server, incarnation): (ServerEntry, Incarnation),
        answer: Option<AuthenticateSuccess>,
        out: &mut Actions,
    ) {
        if let Some(old) = self.neighbours.other_link(&server.id, link) {
            self.close(now, old, None, out);
        }
        tracing::info!(id = %server.id, address = %server.address, "linked with a worker");
        self.neighbours.established(now.time, link, server.id.clone(), incarnation);
        self.reports.linked(now.time, &server.id, incarnation);
        self.roster.linked(now.time, server);
        let mut first_words = answer.map(|answer| self.encode(answer)).unwrap_or_default();
        self.catch_up.linked(link);
        self.introduce(now, &mut first_words);
        self.tell_neighbour(now, link, &first_words, out);
        self.see_who_is_reachable(now);
    }

    pub(super) fn neighbour_said(
        &mut self,
        now: Now,
        link: LinkId,
        message: Message,
        epoch: Option<&Epoch>,
        out: &mut Actions,
    ) {
        if !self.neighbours.heard(now.time, link) {
            return self.neighbour_answered(now, link, message, epoch, out);
        }
        self.hear_epoch(epoch);
        match message {
            Message::ActivityBroadcast(broadcast) => self.take_from_worker(now, link, broadcast, out),
            Message::Neighbours(Neighbours {
                links,
                holds,
                past,
                presence,
                doubles,
                recovering,
                need_reply,
                ..
            }) => {
                let first = self.neighbours.told(link, links);
                self.see_who_is_reachable(now);
                if first {
                    self.announce(now, out);
                }
                if let Some(past) = past {
                    self.flood.learn(&past, self.log.holds());
                }
                for Double { session, activity_seq, ids } in doubles {
                    self.doubles.learn((session, activity_seq), ids);
                }
                if let Some(holds) = holds {
                    if let Some(id) = self.neighbours.id(link) {
                        self.roster.recovers(id, recovering);
                    }
                    self.neighbour_holds(now, link, holds, out);
                }
                self.neighbour_knows(now, link, presence, out);
                if need_reply && self.links.contains_key(link) {
                    let digest = self.encode(self.digest(now));
                    self.tell_neighbour(now, link, &digest, out);
                }
            }
            Message::ActivitySuccInfo(counts) => self.neighbour_counted(now, link, counts, out),
            Message::ActivityRetrieve(ask) => self.neighbour_asks(now, link, ask, out),
            Message::ActivityRetrieved(answer) => self.neighbour_answers(now, link, answer, out),
            Message::NewClient(came) => self.neighbour_said_who_came(now, link, came, out),
            Message::ClientDisconnect(left) => self.neighbour_said_who_left(now, link, left, out),
            Message::Who(who) => self.neighbour_asks_who(now, link, &who, out),
            Message::WhoAnswer(answer) => self.neighbour_answers_who(now, link, answer, out),
            Message::Quit(_) => {
                let id = self.neighbours.id(link).expect("it stands").clone();
                tracing::info!(%id, "a worker is leaving");
                self.roster.leaves(now.time, &id);
            }
            Message::InvalidMessage(_) | Message::AuthenticationFail(_) => {
                self.server_refused(now, link, &message, out)
            }
            _ => self.refuse(now, link, format!("{} is not for a neighbour", message.command()), out),
        }
    }

    /// Tells all neighbours whom we hear.
    pub(super) fn announce(&mut self, now: Now, out: &mut Actions) {
        let frame = self.encode(self.neighbours.message(self.flood.next_seq()));
        self.tell_all_neighbours(now, &frame, out);
    }

    /// What neighbours are told regularly: whom we hear, that we live, what we hold, and of whom we know who is online.
    pub(super) fn digest(&self, now: Now) -> Neighbours {
        let mut holds = self.log.holds().clone();
        // As much as fits into a line. Who asks for what lies in a hole that is closed here is told that there is nothing.
        holds.bound(RANGES_TOLD);
        Neighbours {
            holds: Some(holds),
            presence: self.presence.known(now.time),
            recovering: self.is_recovering(),
            ..self.neighbours.message(self.flood.next_seq())
        }
    }

    /// What a new neighbour is told besides: what it cannot get any more, so that nobody who begins to listen there is said to lack it, and
    /// which activities have several ids.
    fn introduce(&self, now: Now, first_words: &mut Vec<u8>) {
        let past = self.flood.owed(&Position::default(), &self.ordering.waiting()).without(self.log.holds());
        let past = Some(past).filter(|past| !past.is_empty());
        first_words.extend(self.encode(Neighbours { past, ..self.digest(now) }));
        self.doubles_told(self.doubles.all()).for_each(|piece| first_words.extend(piece));
    }

    /// Finds out under which ids we hold what came under others, too, and tells our neighbours what has become known of that.
    pub(super) fn tell_doubles(&mut self, now: Now, out: &mut Actions) {
        for (activity, id) in self.log.parted() {
            self.doubles.parted(activity, id);
        }
        self.look_doubles_up();
        let news = self.doubles.news();
        if !news.is_empty() {
            self.remember_doubles(out);
        }
        let pieces: Vec<_> = self.doubles_told(news).collect();
        for piece in pieces {
            self.tell_all_neighbours(now, &piece, out);
        }
    }

    pub(super) fn look_doubles_up(&mut self) {
        let sought = self.doubles.seek(|(session, seq)| self.ordering.waits(session, *seq));
        for (activity, id) in self.log.find(sought) {
            self.doubles.learn(activity, [id]);
        }
    }

    /// In pieces of bounded size.
    fn doubles_told(&self, doubles: Vec<Double>) -> impl Iterator<Item = Vec<u8>> {
        let message = self.neighbours.message(self.flood.next_seq());
        let pieces: Vec<_> = doubles.chunks(DOUBLES_TOLD).map(<[_]>::to_vec).collect();
        pieces.into_iter().map(move |doubles| self.encode(Neighbours { doubles, ..message.clone() }))
    }

    /// Tells all workers to which an established link stands.
    pub(super) fn tell_all_neighbours(&mut self, now: Now, frame: &[u8], out: &mut Actions) {
        let full = self.neighbours.push_to_all(now.time, frame);
        self.flush_neighbours(now, full, out);
    }

    /// Something was queued for neighbours, and could not be for those that lag too far behind.
    pub(super) fn flush_neighbours(&mut self, now: Now, full: Vec<LinkId>, out: &mut Actions) {
        out.extend(self.neighbours.all().into_iter().map(Action::Flush));
        self.cut_off(now, full, out);
    }

    /// Closes the links to neighbours that lag too far behind. They are dialled again.
    pub(super) fn cut_off(&mut self, now: Now, lagging: Vec<LinkId>, out: &mut Actions) {
        for link in lagging {
            if let Some(id) = self.neighbours.id(link) {
                let limit = self.config.limits.server_outbox_bytes;
                tracing::warn!(%id, "cut off a worker: more than {limit} bytes wait for it");
                self.close(now, link, None, out);
            }
        }
    }

    pub(super) fn neighbour_gone(&mut self, now: Now, link: LinkId, out: &mut Actions) -> Vec<u8> {
        let (id, named, rest) = self.neighbours.remove(link).expect("the link stood");
        self.intake.forget(link);
        self.catch_up.lost(link);
        self.presence.lost(link);
        tracing::info!(%id, "a link to a worker is gone");
        self.roster.lost(now.time, &id, &mut self.rng);
        self.see_who_is_reachable(now);
        if named && self.drain.is_none() {
            self.announce(now, out);
        }
        self.ask_who(now, out);
        self.replays_lost(now, link, out);
        self.ask_on(now, out);
        rest
    }

    pub(super) fn tell_neighbour(&mut self, now: Now, link: LinkId, frames: &[u8], out: &mut Actions) {
        match self.neighbours.push(now.time, link, frames) {
            Ok(()) => out.push(Action::Flush(link)),
            Err(_) => self.cut_off(now, vec![link], out),
        }
    }
}
