//! How a client becomes a session: anonymously, by token, or by secret against the record of its user.

use common::id::LinkId;
use common::machine::{Action, JobId};
use common::password;
use common::time::Now;
use common::user::{PasswordHash, Secret, Username};
use common::wire::{Login, LoginFailed, LoginSuccess, NewClient, UserQuery};

use super::clients::{BUSY, LEAVING};
use super::secrets::Digest;
use super::session::Phase;
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
