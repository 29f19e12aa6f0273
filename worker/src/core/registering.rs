//! How a client registers a user through this worker: the secret is hashed here, and the coordinator is asked for the name.

use common::id::LinkId;
use common::machine::{Action, JobId};
use common::time::Now;
use common::user::{PasswordHash, Username};
use common::wire::{LockAllowed, LockDenied, LockRequest, Register, RegisterFailed, RegisterSuccess};

use super::clients::{BUSY, LEAVING};
use super::logging_in::Record;
use super::session::{Attempt, Phase, Purpose};
use super::{Actions, Effect, Job, Link, Worker};

impl Worker {
    pub(super) fn register(&mut self, now: Now, link: LinkId, register: Register, out: &mut Actions) {
        if !self.is_fresh(now, link, "REGISTER", out) {
            return;
        }
        let username = match register.username.parse::<Username>() {
            Ok(username) => username,
            Err(error) => return self.deny_registration(now, link, error.to_string(), false, out),
        };
        let presentable = username.check_presentable();
        self.release_from_ended(now, &username, out);
        let refusal = match () {
            () if self.drain.is_some() => Some((LEAVING.to_owned(), true)),
            () if username.is_anonymous() => {
                Some(("anonymous is everybody's and cannot be registered".to_owned(), false))
            }
            () if !register.secret.is_acceptable() => Some(("a secret has 1 to 256 bytes".to_owned(), false)),
            () if self.users.get(&username).is_some() => {
                if self.is_busy() {
                    return self.deny_registration(now, link, BUSY, true, out);
                }
                let attempt = Attempt {
                    username,
                    secret: register.secret,
                    purpose: Purpose::Register { was_free: false },
                };
                return self.verify(link, attempt, Record::OurCopy, out);
            }
            () if presentable.is_err() => presentable.err().map(|error| (error.to_string(), false)),
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
        let (secret, was_free) = (register.secret.clone(), self.users.are_all_here());
        let session = self.session(link);
        session.enter(Phase::Registering { username, secret, was_free });
        let from = session.peer();
        out.push(Action::Effect(Effect::Hash { job, from, secret: register.secret }));
    }

    /// A name is wanted that is held for one who says no more, and whose secret is not hashed yet: it may be the same client, which has
    /// given up and asks again. Whoever asks now is there.
    fn release_from_ended(&mut self, now: Now, username: &Username, out: &mut Actions) {
        if self.registrations.hashed_by(username).is_some() {
            let holder = self.registrations.hashing_for(username);
            if self.session(holder).has_ended() {
                self.deny_registration(now, holder, BUSY, true, out);
            }
        }
    }

    pub(super) fn hashed(&mut self, now: Now, job: JobId, hash: PasswordHash, out: &mut Actions) {
        let username = match self.jobs.remove(&job) {
            Some(Job::Registration(username)) => username,
            Some(Job::Verification(_)) => unreachable!("what is verified is not hashed"),
            // It was cancelled.
            None => return,
        };
        let until = now.time + self.config.limits.registration_hold;
        self.registrations.hashed(&username, hash.clone(), until);
        // Where no coordinator listens just now, the next one is asked when it lets us in.
        self.tell_coordinator(now, LockRequest { username, secret: hash }, out);
    }

    pub(super) fn lock_allowed(&mut self, now: Now, allowed: LockAllowed, out: &mut Actions) {
        let LockAllowed { username, user, durability } = allowed;
        let asked = self.registrations.won(&username, user.secret.as_ref());
        self.learn_user(now, username.clone(), user, out);
        let Some(link) = asked else { return };
        let info = format!("{username} is registered");
        self.confirm(now, link, RegisterSuccess { info, durability: Some(durability), existing: false }, out);
    }

    /// The name is registered already, with the secret that the client gave.
    pub(super) fn registered_already(
        &mut self,
        now: Now,
        link: LinkId,
        username: &Username,
        out: &mut Actions,
    ) {
        let info = format!("{username} is registered already, with this secret; log in");
        self.confirm(now, link, RegisterSuccess { info, durability: None, existing: true }, out);
    }

    /// Tells a client that the name is its own. It may log in next.
    fn confirm(&mut self, now: Now, link: LinkId, success: RegisterSuccess, out: &mut Actions) {
        let until = now.time + self.config.limits.login_deadline;
        if let Some(Link::Client(session)) = self.links.get_mut(link) {
            session.enter(Phase::Fresh { until });
            self.reply(now, link, success, out);
        }
    }

    /// The name is not to be had. Where that is because it is registered, the client may be the very user, who has not heard so.
    pub(super) fn lock_denied(&mut self, now: Now, denied: LockDenied, out: &mut Actions) {
        let LockDenied { username, info, retry_after, user } = denied;
        let registered = user.is_some();
        if let Some(user) = user {
            self.learn_user(now, username.clone(), user, out);
        }
        let Some(link) = self.registrations.answered(&username) else { return };
        match self.links.get(link) {
            Some(Link::Client(session)) if registered => {
                let Phase::Registering { secret, was_free, .. } = session.phase() else {
                    unreachable!("a session goes nowhere while it registers")
                };
                let purpose = Purpose::Register { was_free: *was_free };
                let attempt = Attempt { username, secret: secret.clone(), purpose };
                self.verify(link, attempt, Record::Answered, out);
            }
            _ => self.close(now, link, Some(RegisterFailed { info, retry_after }.into()), out),
        }
    }

    /// The coordinator will not say whether the name was registered.
    pub(super) fn registration_unanswered(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        let info =
            "the coordinator did not answer; try again: the name may have been registered, then log in";
        self.deny_registration(now, link, info, true, out);
    }

    pub(super) fn deny_registration(
        &mut self,
        now: Now,
        link: LinkId,
        info: impl Into<String>,
        again: bool,
        out: &mut Actions,
    ) {
        let retry_after = again.then(|| self.retry_after());
        self.close(now, link, Some(RegisterFailed { info: info.into(), retry_after }.into()), out);
    }
}
