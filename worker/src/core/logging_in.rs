//! How a client becomes a session: anonymously, by token, or by secret against the record of its user.

use common::id::LinkId;
use common::machine::{Action, JobId};
use common::password;
use common::time::Now;
use common::user::{Secret, Stamp, Username};
use common::wire::{Login, LoginFailed, LoginSuccess, NewClient, UserQuery};

use super::clients::{BUSY, LEAVING};
use super::secrets::Digest;
use super::session::{Phase, Purpose};
use super::{Actions, Effect, Job, Link, Worker};

/// What is said of a name that does not exist, and of a secret that is not its: the same.
const WRONG: &str = "wrong name or secret";

impl Worker {
    pub(super) fn login(&mut self, now: Now, link: LinkId, login: Login, out: &mut Actions) {
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
            return self.welcome(now, link, username, None, None, out);
        }
        let mut info = "a log-in needs a secret or a token".to_owned();
        if let Some(token) = &login.token {
            match self.users.check_token(token, &username, now.wall) {
                Ok(registration) => return self.welcome(now, link, username, registration, None, out),
                Err(reason) => info = reason,
            }
        }
        match login.secret {
            None => self.deny_login(now, link, info, false, out),
            Some(secret) if !secret.is_acceptable() => self.deny_login(now, link, WRONG, false, out),
            Some(_) if self.is_busy() => self.deny_login(now, link, BUSY, true, out),
            Some(secret) if self.users.get(&username).is_none() && self.upstream.is_established() => {
                self.ask_for(now, link, username, secret, out);
            }
            Some(secret) => self.verify_login(link, username, secret, out),
        }
    }

    /// Asks the coordinator for a user's record, once for all who wait for it.
    fn ask_for(&mut self, now: Now, link: LinkId, username: Username, secret: Secret, out: &mut Actions) {
        let until = now.time + self.config.limits.server_answer;
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
            self.verify_login(link, username, secret, out);
        }
    }

    fn verify_login(&mut self, link: LinkId, username: Username, secret: Secret, out: &mut Actions) {
        let purpose = Purpose::LogIn(self.digests.of(&secret));
        self.verify(link, username, secret, purpose, out);
    }

    /// Has a secret verified against the user's, or a decoy where there is no such user.
    pub(super) fn verify(
        &mut self,
        link: LinkId,
        username: Username,
        secret: Secret,
        purpose: Purpose,
        out: &mut Actions,
    ) {
        let user = self.users.get(&username);
        let hash = user.and_then(|user| user.secret.clone()).unwrap_or_else(password::decoy);
        let changed = user.map(|user| user.changed.clone());
        self.session(link).enter(Phase::Verifying { username, purpose, changed });
        let job = self.start_job(Job::Verification(link));
        out.push(Action::Effect(Effect::Verify { job, secret, hash }));
    }

    pub(super) fn verified(&mut self, now: Now, job: JobId, matches: bool, out: &mut Actions) {
        let Some(Job::Verification(link)) = self.jobs.remove(&job) else {
            panic!("{job:?} verifies nothing")
        };
        let Some(Link::Client(session)) = self.links.get(link) else { return };
        let Phase::Verifying { username, purpose, changed } = session.phase() else {
            unreachable!("a session goes nowhere while it is verified")
        };
        let (username, purpose) = (username.clone(), *purpose);
        let user = self.users.get(&username);
        // An unknown name fails whatever the decoy says.
        let matches = matches && changed.is_some();
        let current = user.map(|user| &user.changed) == changed.as_ref();
        let registration = user.map(|user| user.registration.clone());
        match purpose {
            _ if matches && !current => self.deny_changed(now, link, &username, purpose, out),
            Purpose::LogIn(digest) if matches => {
                self.welcome(now, link, username, registration, Some(digest), out)
            }
            Purpose::LogIn(_) => self.deny_login(now, link, WRONG, false, out),
            Purpose::Register if matches => self.registered_already(now, link, &username, out),
            Purpose::Register => {
                self.deny_registration(now, link, format!("{username} is registered"), false, out)
            }
        }
    }

    /// The user has changed while its secret was being verified.
    fn deny_changed(
        &mut self,
        now: Now,
        link: LinkId,
        username: &Username,
        purpose: Purpose,
        out: &mut Actions,
    ) {
        let info = format!("{username} has changed just now; try again");
        match purpose {
            Purpose::LogIn(_) => self.deny_login(now, link, info, true, out),
            Purpose::Register => self.deny_registration(now, link, info, true, out),
        }
    }

    fn welcome(
        &mut self,
        now: Now,
        link: LinkId,
        username: Username,
        registration: Option<Stamp>,
        digest: Option<Digest>,
        out: &mut Actions,
    ) {
        let end = self.log.end();
        self.session(link).log_in(username.clone(), registration, digest, end);
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
        let retry_after = again.then(|| self.retry_after());
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

    /// Whether as many log-ins or registrations are under way as may be.
    pub(super) fn is_busy(&self) -> bool {
        let limits = &self.config.limits;
        self.pending_logins() >= limits.hash_queue || self.registrations.len() >= limits.under_registration
    }
}
