//! The conversation with clients: who they are, what they register, what they publish.

use common::id::LinkId;
use common::machine::{Action, JobId};
use common::password;
use common::time::Now;
use common::user::{PasswordHash, Secret, Username};
use common::wire::{
    ActivityBroadcast, ActivityMessage, AuthenticationFail, DeLoad, LockAllowed, LockDenied, LockRequest,
    Login, LoginFailed, LoginSuccess, Message, NewClient, Register, RegisterFailed, RegisterSuccess,
    UserQuery, WireError,
};

use super::secrets::Digest;
use super::session::{Phase, Session};
use super::{Actions, Effect, Job, Link, Worker};

/// What is said of a name that does not exist, and of a secret that is not its: the same.
const WRONG: &str = "wrong name or secret";
const BUSY: &str = "too many log-ins and registrations at once; try again in a moment";
const LEAVING: &str = "this server is shutting down; try another";

impl Worker {
    pub(super) fn client_said(&mut self, now: Now, link: LinkId, message: Message, out: &mut Actions) {
        match message {
            Message::Login(login) => self.login(now, link, login, out),
            Message::Register(register) => self.register(now, link, register, out),
            Message::ActivityMessage(message) => self.publish(now, link, &message, out),
            Message::Logout(_) => self.close(now, link, None, out),
            Message::Authenticate(authenticate) => self.admit_neighbour(now, link, authenticate, out),
            Message::InvalidMessage(_) | Message::AuthenticationFail(_) => self.close(now, link, None, out),
            Message::RegisterSuccess(_)
            | Message::RegisterFailed(_)
            | Message::LoginSuccess(_)
            | Message::LoginFailed(_)
            | Message::Redirect(_) => {
                self.refuse(now, link, format!("{} is an answer; nobody asked", message.command()), out);
            }
            Message::Status(_) => self.refuse(now, link, "STATUS is for coordinators; this is a worker", out),
            _ => self.refuse(
                now,
                link,
                format!("{} is for servers: authenticate first", message.command()),
                out,
            ),
        }
    }

    /// Whether this client may start something, because nothing is under way. Else it is told so and closed.
    pub(super) fn is_fresh(&mut self, now: Now, link: LinkId, command: &str, out: &mut Actions) -> bool {
        let info = match self.session(link).phase() {
            Phase::Fresh { .. } => return true,
            Phase::LoggedIn { .. } => {
                format!("{command} after LOGIN_SUCCESS: this connection is logged in already")
            }
            Phase::Asking { .. } | Phase::Verifying { .. } => format!("{command} before LOGIN was answered"),
            Phase::Registering { .. } => format!("{command} before REGISTER was answered"),
        };
        self.refuse(now, link, info, out);
        false
    }

    fn login(&mut self, now: Now, link: LinkId, login: Login, out: &mut Actions) {
        if !self.is_fresh(now, link, "LOGIN", out) {
            return;
        }
        if self.drain.is_some() {
            return self.deny_login(now, link, LEAVING, true, out);
        }
        let username = match login.username.parse::<Username>() {
            Ok(username) => username,
            Err(error) => return self.deny_login(now, link, error.to_string(), false, out),
        };
        if username.is_anonymous() {
            return self.welcome(now, link, username, None, out);
        }
        let mut info = "a log-in needs a secret or a token".to_owned();
        if let Some(token) = &login.token {
            match self.users.check_token(token, &username, now.wall) {
                Ok(()) => return self.welcome(now, link, username, None, out),
                Err(reason) => info = reason,
            }
        }
        match login.secret {
            None => self.deny_login(now, link, info, false, out),
            Some(secret) if !secret.is_acceptable() => self.deny_login(now, link, WRONG, false, out),
            Some(_) if self.is_busy() => self.deny_login(now, link, BUSY, true, out),
            Some(secret) => match self.users.get(&username).map(|record| record.secret.clone()) {
                Some(hash) => self.verify(link, username, secret, hash, out),
                None if self.upstream.is_established() => self.ask_for(now, link, username, secret, out),
                None => self.verify(link, username, secret, password::decoy(), out),
            },
        }
    }

    /// Asks the coordinator for a user's record, once for all who wait for it.
    fn ask_for(&mut self, now: Now, link: LinkId, username: Username, secret: Secret, out: &mut Actions) {
        let until = now.time + self.config.limits.answer;
        self.session(link).enter(Phase::Asking { until, username: username.clone(), secret });
        let waiting = self.queries.entry(username.clone()).or_default();
        waiting.push(link);
        if waiting.len() == 1 {
            self.tell_coordinator(now, UserQuery { username }, out);
        }
    }

    /// There is an answer about `username`, or there will be none: those who waited are verified against what is known now.
    pub(super) fn query_over(&mut self, username: &Username, out: &mut Actions) {
        for link in self.queries.remove(username).unwrap_or_default() {
            let Phase::Asking { username, secret, .. } = self.session(link).phase() else {
                unreachable!("who waits for an answer is asking")
            };
            let (username, secret) = (username.clone(), secret.clone());
            let hash = self.users.get(&username).map_or_else(password::decoy, |record| record.secret.clone());
            self.verify(link, username, secret, hash, out);
        }
    }

    fn verify(
        &mut self,
        link: LinkId,
        username: Username,
        secret: Secret,
        hash: PasswordHash,
        out: &mut Actions,
    ) {
        let digest = self.digests.of(&secret);
        self.session(link).enter(Phase::Verifying { username, digest });
        let job = self.start_job(Job::Login(link));
        out.push(Action::Effect(Effect::Verify { job, secret, hash }));
    }

    pub(super) fn verified(&mut self, now: Now, job: JobId, matches: bool, out: &mut Actions) {
        let Some(Job::Login(link)) = self.jobs.remove(&job) else { panic!("{job:?} verifies nothing") };
        let Some(Link::Client(session)) = self.links.get(link) else { return };
        let Phase::Verifying { username, digest } = session.phase() else {
            unreachable!("a session goes nowhere while it is verified")
        };
        if matches {
            let (username, digest) = (username.clone(), *digest);
            self.welcome(now, link, username, Some(digest), out);
        } else {
            self.deny_login(now, link, WRONG, false, out);
        }
    }

    fn welcome(
        &mut self,
        now: Now,
        link: LinkId,
        username: Username,
        digest: Option<Digest>,
        out: &mut Actions,
    ) {
        let end = self.log.end();
        self.session(link).log_in(username.clone(), digest, end);
        self.load += 1;
        tracing::debug!(?link, %username, load = self.load, "logged in");
        let info = format!("logged in as {username}");
        self.tell_coordinator(now, NewClient { username, load: self.load }, out);
        self.reply(now, link, LoginSuccess { info, server: Some(self.config.id.clone()) }, out);
    }

    fn deny_login(
        &mut self,
        now: Now,
        link: LinkId,
        info: impl Into<String>,
        again: bool,
        out: &mut Actions,
    ) {
        let retry_after = again.then_some(self.config.limits.retry_after.into());
        self.close(now, link, Some(LoginFailed { info: info.into(), retry_after }.into()), out);
    }

    /// Its time to log in is over.
    pub(super) fn login_too_late(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        let info = format!("no log-in within {:?}", self.config.limits.login_deadline);
        self.deny_login(now, link, info, false, out);
    }

    /// The coordinator does not answer: what was asked for whoever waits on `link` is taken not to exist.
    pub(super) fn answer_too_late(&mut self, link: LinkId, out: &mut Actions) {
        if let Phase::Asking { username, .. } = self.session(link).phase() {
            let username = username.clone();
            self.query_over(&username, out);
        }
    }

    fn register(&mut self, now: Now, link: LinkId, register: Register, out: &mut Actions) {
        if !self.is_fresh(now, link, "REGISTER", out) {
            return;
        }
        let username = match register.username.parse::<Username>() {
            Ok(username) => username,
            Err(error) => return self.deny_registration(now, link, error.to_string(), false, out),
        };
        let refusal = match () {
            () if self.drain.is_some() => Some((LEAVING.to_owned(), true)),
            () if username.is_anonymous() => {
                Some(("anonymous is everybody's and cannot be registered".to_owned(), false))
            }
            () if !register.secret.is_acceptable() => Some(("a secret has 1 to 256 bytes".to_owned(), false)),
            () if self.users.get(&username).is_some() => Some((format!("{username} is registered"), false)),
            () if self.registrations.is_held(&username) => {
                Some((format!("{username} is being registered"), true))
            }
            () if !self.upstream.is_established() => {
                Some(("no coordinator can be reached, and a name needs one; try again".to_owned(), true))
            }
            () if self.is_busy() => Some((BUSY.to_owned(), true)),
            () => None,
        };
        if let Some((info, again)) = refusal {
            return self.deny_registration(now, link, info, again, out);
        }
        let job = self.start_job(Job::Registration(username.clone()));
        assert!(
            self.registrations.hold(username.clone(), link, job),
            "a name that is held was refused above"
        );
        self.session(link).enter(Phase::Registering { username });
        out.push(Action::Effect(Effect::Hash { job, secret: register.secret }));
    }

    pub(super) fn hashed(&mut self, now: Now, job: JobId, hash: PasswordHash, out: &mut Actions) {
        let Some(Job::Registration(username)) = self.jobs.remove(&job) else {
            panic!("{job:?} hashes nothing")
        };
        let until = now.time + self.config.limits.answer;
        if !self.registrations.hashed(&username, job, until) {
            return;
        }
        if self.upstream.is_established() {
            self.tell_coordinator(now, LockRequest { username, secret: hash }, out);
        } else {
            let link = self.registrations.answered(&username).expect("it is held");
            self.registration_unanswered(now, link, out);
        }
    }

    pub(super) fn lock_allowed(&mut self, now: Now, allowed: LockAllowed, out: &mut Actions) {
        let LockAllowed { username, user, durability } = allowed;
        self.users.upsert(username.clone(), user);
        let Some(link) = self.registrations.answered(&username) else { return };
        let until = now.time + self.config.limits.login_deadline;
        if let Some(Link::Client(session)) = self.links.get_mut(link) {
            session.enter(Phase::Fresh { until });
            let info = format!("{username} is registered");
            self.reply(now, link, RegisterSuccess { info, durability: Some(durability) }, out);
        }
    }

    pub(super) fn lock_denied(&mut self, now: Now, denied: LockDenied, out: &mut Actions) {
        if let Some(link) = self.registrations.answered(&denied.username) {
            let LockDenied { info, retry_after, .. } = denied;
            self.close(now, link, Some(RegisterFailed { info, retry_after }.into()), out);
        }
    }

    /// The coordinator will not say whether the name was registered.
    pub(super) fn registration_unanswered(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        let info =
            "the coordinator did not answer; try again: the name may have been registered, then log in";
        self.deny_registration(now, link, info, true, out);
    }

    fn deny_registration(
        &mut self,
        now: Now,
        link: LinkId,
        info: impl Into<String>,
        again: bool,
        out: &mut Actions,
    ) {
        let retry_after = again.then_some(self.config.limits.retry_after.into());
        self.close(now, link, Some(RegisterFailed { info: info.into(), retry_after }.into()), out);
    }

    fn publish(&mut self, now: Now, link: LinkId, message: &ActivityMessage, out: &mut Actions) {
        let Some(Link::Client(session)) = self.links.get(link) else { unreachable!("a client spoke") };
        let activity = match session.author(message, &self.digests) {
            Ok(username) => message.activity.authenticated(username),
            Err(info) => {
                let last = AuthenticationFail { info: info.to_owned() };
                return self.close(now, link, Some(last.into()), out);
            }
        };
        let limit = self.config.limits.activity_bytes;
        if message.activity.get().len() > limit {
            return self.refuse(now, link, WireError::TooLong { limit }.to_string(), out);
        }
        if self.drain.is_some() {
            // As if it had come after the close that is imminent.
            return;
        }
        let broadcast = ActivityBroadcast { id: Some(self.flood.next_id()), activity };
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        Message::from(broadcast).encode_into(&mut frame);
        self.append(&frame);
        let full = self.neighbours.push_to_all(now.time, &frame);
        self.frame = frame;
        self.cut_off(now, full, out);
    }

    /// Queues a private reply; who lets too many wait is dropped.
    fn reply(&mut self, now: Now, link: LinkId, message: impl Into<Message>, out: &mut Actions) {
        match self.session(link).reply(now.time, &message.into()) {
            Ok(()) => out.push(Action::Flush(link)),
            Err(full) => {
                tracing::info!(?link, reason = %full, "dropped a client");
                self.counters.stalled += 1;
                self.close(now, link, None, out);
            }
        }
    }

    pub(super) fn client_gone(
        &mut self,
        now: Now,
        link: LinkId,
        session: Session,
        last: Option<&Message>,
        out: &mut Actions,
    ) -> Vec<u8> {
        match session.phase() {
            Phase::LoggedIn { .. } => {
                self.load -= 1;
                self.tell_coordinator(now, DeLoad { load: self.load }, out);
            }
            Phase::Asking { username, .. } => {
                if let Some(waiting) = self.queries.get_mut(username) {
                    waiting.retain(|other| *other != link);
                    if waiting.is_empty() {
                        self.queries.remove(username);
                    }
                }
            }
            Phase::Registering { username } => self.registrations.abandoned(username, link),
            Phase::Fresh { .. } | Phase::Verifying { .. } => {}
        }
        session.farewell(&self.log, self.config.limits.client_outbox_bytes, last)
    }

    fn is_busy(&self) -> bool {
        let limit = self.config.limits.hash_queue;
        self.pending_logins() >= limit || self.registrations.len() >= limit
    }

    pub(super) fn session(&mut self, link: LinkId) -> &mut Session {
        match self.links.get_mut(link) {
            Some(Link::Client(session)) => session,
            _ => unreachable!("only clients have sessions"),
        }
    }
}
