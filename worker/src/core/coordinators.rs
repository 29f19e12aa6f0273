//! The conversation with the coordinator above, and what is the same towards any server.

use common::id::LinkId;
use common::machine::Action;
use common::time::Now;
use common::user::{UserRecord, Username};
use common::users::Seen;
use common::wire::{Authenticate, AuthenticateSuccess, Message, ServerLoad};

use super::{Actions, Link, Worker};

impl Worker {
    /// A link to the coordinator stands: says who we are.
    pub(super) fn greet_coordinator(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        self.links.insert(link, Link::Upstream);
        self.upstream.dialled(now.time, link);
        let users_after = self.users.told().clone();
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
                    self.follow_user(now, username, record, out);
                }
            }
            Message::UserRegisterResult(result) => self.follow_user(now, result.username, result.user, out),
            Message::UserAnswer(answer) => {
                if let Some(record) = answer.user {
                    self.learn_user(now, answer.username.clone(), record, out);
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

    /// A record has come in its turn.
    fn follow_user(&mut self, now: Now, username: Username, record: UserRecord, out: &mut Actions) {
        if self.users.follow(username.clone(), record) {
            self.end_lost_sessions(now, &username, out);
        }
    }

    /// A record has come ahead of its turn.
    pub(super) fn learn_user(&mut self, now: Now, username: Username, record: UserRecord, out: &mut Actions) {
        if self.users.merge(username.clone(), record) {
            self.end_lost_sessions(now, &username, out);
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

    /// The other side says that it will not have us, or did not understand us.
    pub(super) fn server_refused(&mut self, now: Now, link: LinkId, message: &Message, out: &mut Actions) {
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

    pub(super) fn authenticate(&self) -> Authenticate {
        Authenticate {
            id: self.config.id.clone(),
            address: self.config.address.clone(),
            secret: self.config.secret.clone(),
            incarnation: self.config.incarnation,
            to: None,
            load: None,
            users_after: Seen::default(),
        }
    }
}
