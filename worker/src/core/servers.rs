//! The conversation with other servers: the coordinator above, and the workers beside.

use common::id::{Incarnation, LinkId, ServerId};
use common::machine::Action;
use common::time::Now;
use common::wire::{
    ActivityBroadcast, Authenticate, AuthenticateSuccess, AuthenticationFail, Message, Neighbours,
    ServerEntry, ServerLoad,
};

use super::flood::Novelty;
use super::{Actions, Link, Worker};

impl Worker {
    /// A link to the coordinator stands: says who we are.
    pub(super) fn greet_coordinator(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        self.links.insert(link, Link::Upstream);
        self.upstream.dialled(now.time, link);
        let users_after = self.users.told_up_to().cloned();
        let greeting = Authenticate { load: Some(self.load), users_after, ..self.authenticate() };
        self.upstream.push(now.time, &greeting.into()).expect("an empty outbox takes a greeting");
        out.push(Action::Flush(link));
    }

    pub(super) fn coordinator_said(&mut self, now: Now, link: LinkId, message: Message, out: &mut Actions) {
        if !self.upstream.is_established() {
            return self.coordinator_answered(now, link, message, out);
        }
        self.upstream.heard(now.time);
        match message {
            Message::SyncUser(sync) => {
                for (username, record) in sync.users {
                    self.users.follow(username, record);
                }
            }
            Message::UserRegisterResult(result) => self.users.follow(result.username, result.user),
            Message::UserAnswer(answer) => {
                if let Some(record) = answer.user {
                    self.users.upsert(answer.username.clone(), record);
                }
                self.query_over(&answer.username, out);
            }
            Message::LockAllowed(allowed) => self.lock_allowed(now, allowed, out),
            Message::LockDenied(denied) => self.lock_denied(now, denied, out),
            Message::SynchronisedNewServer(new) => self.roster.joined(now.time, new.server),
            Message::RemoveServer(removed) => self.roster.removed(now.time, &removed.id),
            Message::BackupList(list) => self.upstream.learn(list.servers),
            Message::InvalidMessage(_) | Message::AuthenticationFail(_) => {
                self.server_refused(now, link, &message, out)
            }
            _ => self.refuse(now, link, format!("{} is not for a worker", message.command()), out),
        }
    }

    /// What came back on our AUTHENTICATE.
    fn coordinator_answered(&mut self, now: Now, link: LinkId, message: Message, out: &mut Actions) {
        match message {
            Message::AuthenticateSuccess(AuthenticateSuccess {
                network: Some(network),
                token_key: Some(token_key),
                servers,
                id,
                ..
            }) => {
                tracing::info!(coordinator = %self.upstream.address(), %id, "joined the network");
                self.upstream.established(now.time);
                self.users.join(network, token_key);
                self.roster.listed(now.time, servers);
                self.tell_coordinator(now, ServerLoad { load: self.load }, out);
            }
            Message::AuthenticateSuccess(_) => self.refuse(now, link, "only a coordinator can let a worker in", out),
            Message::AuthenticationFail(fail) => out.push(Action::Exit(Err(format!(
                "the coordinator at {} refused this worker: {}. If it is the network secret, give both the same one, with \
                 --secret-file or {}",
                self.upstream.address(),
                fail.info,
                common::network_secret::VARIABLE
            )))),
            Message::InvalidMessage(_) => self.server_refused(now, link, &message, out),
            _ => self.refuse(now, link, format!("{} before AUTHENTICATE was answered", message.command()), out),
        }
    }

    /// Tells the coordinator, where one listens. One that lags too far behind is cut off; it is dialled again.
    pub(super) fn tell_coordinator(&mut self, now: Now, message: impl Into<Message>, out: &mut Actions) {
        if !self.upstream.is_established() {
            return;
        }
        match self.upstream.push(now.time, &message.into()) {
            Ok(link) => out.push(Action::Flush(link)),
            Err(full) => {
                tracing::warn!(coordinator = %self.upstream.address(), reason = %full, "cut off the coordinator");
                let link = self.upstream.link().expect("it is established");
                self.close(now, link, None, out);
            }
        }
    }

    /// The link to the coordinator is gone; so are the answers that were expected from it.
    pub(super) fn coordinator_gone(&mut self, now: Now, out: &mut Actions) -> Vec<u8> {
        let reason = format!("the connection to {} is gone", self.upstream.address());
        let rest = self.upstream.lost(now.time, &mut self.rng, &reason);
        for link in self.registrations.coordinator_lost() {
            self.registration_unanswered(now, link, out);
        }
        let unanswered: Vec<_> = self.queries.keys().cloned().collect();
        for username in unanswered {
            self.query_over(&username, out);
        }
        rest
    }

    /// A link to the worker `id` stands: says who we are.
    pub(super) fn greet_neighbour(&mut self, now: Now, link: LinkId, id: ServerId, out: &mut Actions) {
        if self.roster.dialled(&id).is_none() {
            // Meanwhile it was removed, or it came to us by itself.
            return out.push(Action::Close { link, farewell: Vec::new() });
        }
        self.links.insert(link, Link::Neighbour);
        self.neighbours.dialled(now.time, link, id);
        let greeting = Message::from(self.authenticate()).encode();
        self.tell_neighbour(now, link, &greeting, out);
    }

    /// Somebody who connected says that it is a worker.
    pub(super) fn admit_neighbour(
        &mut self,
        now: Now,
        link: LinkId,
        theirs: Authenticate,
        out: &mut Actions,
    ) {
        if !self.is_fresh(now, link, "AUTHENTICATE", out) {
            return;
        }
        let refusal = match () {
            () if !self.config.secret.equals(&theirs.secret) => Some("wrong network secret".to_owned()),
            () if theirs.id == self.config.id => Some(format!("{} is my own id; choose another", theirs.id)),
            () => None,
        };
        if let Some(info) = refusal {
            tracing::warn!(id = %theirs.id, address = %theirs.address, %info, "refused a worker");
            return self.close(now, link, Some(AuthenticationFail { info }.into()), out);
        }
        let ours = AuthenticateSuccess {
            id: self.config.id.clone(),
            incarnation: Some(self.config.incarnation),
            network: None,
            token_key: None,
            servers: Vec::new(),
        };
        self.links.insert(link, Link::Neighbour);
        let server = ServerEntry { id: theirs.id, address: theirs.address };
        self.neighbour_established(now, link, server, theirs.incarnation, Some(ours), out);
    }

    /// The worker that we dialled answers our AUTHENTICATE.
    fn neighbour_answered(&mut self, now: Now, link: LinkId, message: Message, out: &mut Actions) {
        let expected = self.neighbours.greeted(link).expect("it was not established").clone();
        match message {
            Message::AuthenticateSuccess(AuthenticateSuccess {
                id, incarnation: Some(incarnation), ..
            }) => {
                let Some(address) = self.roster.dialled(&id).cloned().filter(|_| id == expected) else {
                    let info = format!("{expected} was dialled here, and {id} answered");
                    tracing::warn!("{info}");
                    return self.refuse(now, link, info, out);
                };
                self.neighbour_established(now, link, ServerEntry { id, address }, incarnation, None, out);
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
        server: ServerEntry,
        incarnation: Incarnation,
        answer: Option<AuthenticateSuccess>,
        out: &mut Actions,
    ) {
        if let Some(old) = self.neighbours.other_link(&server.id, link) {
            self.close(now, old, None, out);
        }
        tracing::info!(id = %server.id, address = %server.address, "linked with a worker");
        self.neighbours.established(now.time, link, server.id.clone(), incarnation);
        self.roster.linked(now.time, server);
        let mut first_words = answer.map(|answer| Message::from(answer).encode()).unwrap_or_default();
        self.neighbours.message(self.flood.next_seq()).encode_into(&mut first_words);
        self.tell_neighbour(now, link, &first_words, out);
    }

    pub(super) fn neighbour_said(&mut self, now: Now, link: LinkId, message: Message, out: &mut Actions) {
        if !self.neighbours.heard(now.time, link) {
            return self.neighbour_answered(now, link, message, out);
        }
        match message {
            Message::ActivityBroadcast(broadcast) => self.take_broadcast(now, link, broadcast, out),
            Message::Neighbours(Neighbours { links, next }) => {
                let (first, incarnation) = self.neighbours.told(link, links);
                let id = self.neighbours.id(link).expect("it stands").clone();
                self.flood.announced(now.time, &id, incarnation, next);
                self.deliver_ready();
                if first {
                    self.roster.working(&id);
                    self.announce(now, out);
                }
            }
            Message::InvalidMessage(_) | Message::AuthenticationFail(_) => {
                self.server_refused(now, link, &message, out)
            }
            _ => self.refuse(now, link, format!("{} is not for a neighbour", message.command()), out),
        }
    }

    /// An activity from elsewhere: passed on at once if it is new, delivered when its turn has come.
    fn take_broadcast(&mut self, now: Now, link: LinkId, broadcast: ActivityBroadcast, out: &mut Actions) {
        let Some(id) = broadcast.id.clone() else {
            return self.refuse(now, link, "ACTIVITY_BROADCAST between workers needs an id", out);
        };
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        Message::from(broadcast).encode_into(&mut frame);
        let novelty = self.flood.offer(now.time, &id, &frame);
        if novelty == Novelty::Next {
            self.append(&frame);
        }
        self.deliver_ready();
        let mut full = Vec::new();
        if novelty == Novelty::Seen {
            self.counters.duplicates += 1;
        } else {
            full = self.neighbours.relay(now.time, &frame, link, &id.origin);
            self.flush_all = true;
        }
        self.frame = frame;
        self.cut_off(now, full, out);
    }

    /// Appends what waited for its turn and has it now.
    pub(super) fn deliver_ready(&mut self) {
        while let Some(frame) = self.flood.next_ready() {
            self.append(&frame);
        }
    }

    /// Tells all neighbours whom we hear, and that we live.
    pub(super) fn announce(&mut self, now: Now, out: &mut Actions) {
        let frame = self.neighbours.message(self.flood.next_seq()).encode();
        let full = self.neighbours.push_to_all(now.time, &frame);
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
        tracing::info!(%id, "a link to a worker is gone");
        self.roster.lost(now.time, &id, &mut self.rng);
        if named && self.drain.is_none() {
            self.announce(now, out);
        }
        rest
    }

    fn tell_neighbour(&mut self, now: Now, link: LinkId, frames: &[u8], out: &mut Actions) {
        match self.neighbours.push(now.time, link, frames) {
            Ok(()) => out.push(Action::Flush(link)),
            Err(_) => self.cut_off(now, vec![link], out),
        }
    }

    /// The other side says that it will not have us, or did not understand us.
    fn server_refused(&mut self, now: Now, link: LinkId, message: &Message, out: &mut Actions) {
        let info = match message {
            Message::InvalidMessage(message) => &message.info,
            Message::AuthenticationFail(fail) => &fail.info,
            _ => unreachable!("only refusals come here"),
        };
        let who = match self.neighbours.id(link) {
            Some(id) => id.to_string(),
            None => format!("the coordinator at {}", self.upstream.address()),
        };
        tracing::warn!(%who, %info, "{} from a server", message.command());
        self.close(now, link, None, out);
    }

    fn authenticate(&self) -> Authenticate {
        Authenticate {
            id: self.config.id.clone(),
            address: self.config.address.clone(),
            secret: self.config.secret.clone(),
            incarnation: self.config.incarnation,
            load: None,
            users_after: None,
        }
    }
}
