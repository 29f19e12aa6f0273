//! REGISTER, and LOCK_REQUEST, which is the same for a client of a worker.
//!
//! A client's secret is hashed first (a worker has done so itself); then both ways are one: the record goes to disk with others,
//! and when the disk has confirmed it, every worker is told before whoever asked.

use common::id::LinkId;
use common::machine::{Action, JobId};
use common::password;
use common::user::{PasswordHash, Username};
use common::wire::{
    Durability, LockAllowed, LockDenied, LockRequest, Register, RegisterFailed, RegisterSuccess,
};
use tracing::{debug, error};

use super::config::Effect;
use super::jobs::HashJob;
use super::links::{JustRegistered, Party};
use super::registry::{Asker, Registered, Unavailable};
use super::secrets::Digest;
use super::{Coordinator, Turn};

/// Why a name is not registered.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Denied {
    #[error("{0}")]
    Unacceptable(String),
    #[error("anonymous is for everybody: log in with it, or choose another name to register")]
    Anonymous,
    #[error("{0}")]
    Unavailable(#[from] Unavailable),
    #[error("too many log-ins and registrations are waiting; try again in a moment")]
    Busy,
    #[error("this coordinator is shutting down; try again in a moment")]
    Draining,
    #[error("the secret could not be hashed in time; try again in a moment")]
    TooSlow,
    #[error("the registration could not be stored; try again in a moment")]
    NotStored,
}

impl Denied {
    /// Whether the same request may succeed later.
    fn is_passing(&self) -> bool {
        match self {
            Denied::Unacceptable(_) | Denied::Anonymous | Denied::Unavailable(Unavailable::Registered(_)) => {
                false
            }
            Denied::Unavailable(_)
            | Denied::Busy
            | Denied::Draining
            | Denied::TooSlow
            | Denied::NotStored => true,
        }
    }
}

impl Coordinator {
    pub(super) fn register(&mut self, turn: &mut Turn<'_>, link: LinkId, request: Register) {
        let username = match self.may_register(&request) {
            Ok(username) => username,
            Err(denied) => return self.deny_client(turn, link, &denied),
        };
        let asker = Asker::Client { link, digest: Digest::of(&request.secret) };
        let job = self.jobs.start(HashJob::Register { username: username.clone() });
        self.registry.hold(turn.now.time, username, asker, job);
        if let Some(known) = self.links.get_mut(link) {
            known.party = Party::Registering;
        }
        turn.actions.push(Action::Effect(Effect::Hash { job, secret: request.secret }));
    }

    fn may_register(&self, request: &Register) -> Result<Username, Denied> {
        let username: Username = request
            .username
            .parse()
            .map_err(|error: common::user::UsernameError| Denied::Unacceptable(error.to_string()))?;
        if username.is_anonymous() {
            return Err(Denied::Anonymous);
        }
        if !request.secret.is_acceptable() {
            return Err(Denied::Unacceptable(super::logging_in::SECRET_RULE.to_owned()));
        }
        self.registry.check(&username)?;
        if self.jobs.hashes() >= self.config.limits.hash_queue {
            return Err(Denied::Busy);
        }
        Ok(username)
    }

    pub(super) fn lock_request(&mut self, turn: &mut Turn<'_>, link: LinkId, request: LockRequest) {
        let LockRequest { username, secret } = request;
        match self.may_lock(&username, &secret) {
            Ok(()) => {
                self.registry.hold_hashed(username, Asker::Worker { link }, secret);
                self.write_next(turn);
            }
            Err(denied) => self.deny(turn, username, &Asker::Worker { link }, &denied),
        }
    }

    fn may_lock(&self, username: &Username, secret: &PasswordHash) -> Result<(), Denied> {
        if self.draining {
            return Err(Denied::Draining);
        }
        if username.is_anonymous() {
            return Err(Denied::Anonymous);
        }
        if !password::is_well_formed(secret) {
            return Err(Denied::Unacceptable(
                "the secret of LOCK_REQUEST is not an Argon2id hash".to_owned(),
            ));
        }
        Ok(self.registry.check(username)?)
    }

    /// The hash for a registration has come.
    pub(super) fn hashed(&mut self, turn: &mut Turn<'_>, job: JobId, hash: PasswordHash) {
        match self.jobs.finish(job) {
            HashJob::Register { username } => self.registry.hashed(username, job, hash),
            HashJob::Login { .. } => unreachable!("a log-in is verified, not hashed"),
        }
        self.write_next(turn);
    }

    /// Hands the next batch to the disk, where there is one and the disk is free.
    fn write_next(&mut self, turn: &mut Turn<'_>) {
        let job = self.jobs.number();
        if let Some(users) = self.registry.next_batch(turn.now.wall, job) {
            turn.actions.push(Action::Effect(Effect::Persist { job, users }));
        }
    }

    pub(super) fn persisted(&mut self, turn: &mut Turn<'_>, job: JobId) {
        let registered = self.registry.written(job);
        // Who asked for a registration is told of it by LOCK_ALLOWED and needs to hear it only once.
        for Registered { record, asker, .. } in &registered {
            if let Asker::Worker { link } = asker
                && let Some(worker) = self.links.worker_mut(*link)
            {
                worker.cursor.told_apart(record.changed.clone(), self.config.limits.sync_users);
            }
        }
        for link in self.placement.links() {
            self.feed(turn, link);
        }
        for done in registered {
            self.confirm(turn, done);
        }
        self.write_next(turn);
        self.finish_drain(turn);
    }

    fn confirm(&mut self, turn: &mut Turn<'_>, done: Registered) {
        let Registered { username, record, asker } = done;
        debug!(%username, "registered");
        let durability = Durability::Local;
        match asker {
            Asker::Worker { link } => {
                self.say(turn, link, LockAllowed { username, user: record, durability })
            }
            Asker::Client { link, digest } => {
                let info = format!("{username} is registered now; log in");
                let deadline = turn.now.time + self.config.limits.login_deadline;
                let Some(known) = self.links.get_mut(link) else { return };
                let registered =
                    JustRegistered { username, registration: record.registration, secret: digest };
                known.party = Party::Stranger { deadline, registered: Some(registered) };
                self.say(turn, link, RegisterSuccess { info, durability: Some(durability) });
            }
        }
    }

    pub(super) fn persist_failed(&mut self, turn: &mut Turn<'_>, job: JobId, reason: &str) {
        error!(reason, "registrations could not be stored; who asked is told to try again");
        for (username, asker) in self.registry.not_written(job) {
            self.deny(turn, username, &asker, &Denied::NotStored);
        }
        self.write_next(turn);
        self.finish_drain(turn);
    }

    /// Releases the names whose hash does not come.
    pub(super) fn expire_holds(&mut self, turn: &mut Turn<'_>) {
        for (username, asker) in self.registry.expire(turn.now.time, self.config.limits.registration_hold) {
            self.deny(turn, username, &asker, &Denied::TooSlow);
        }
    }

    /// Releases the names whose hash has not come: this process is about to end.
    pub(super) fn release_unhashed(&mut self, turn: &mut Turn<'_>) {
        for (username, asker) in self.registry.expire(turn.now.time, std::time::Duration::ZERO) {
            self.deny(turn, username, &asker, &Denied::Draining);
        }
    }

    fn deny(&mut self, turn: &mut Turn<'_>, username: Username, asker: &Asker, denied: &Denied) {
        match asker {
            Asker::Client { link, .. } => self.deny_client(turn, *link, denied),
            Asker::Worker { link } => {
                let retry_after = denied.is_passing().then(|| self.retry_after());
                self.say(turn, *link, LockDenied { username, info: denied.to_string(), retry_after });
            }
        }
    }

    fn deny_client(&mut self, turn: &mut Turn<'_>, link: LinkId, denied: &Denied) {
        let retry_after = denied.is_passing().then(|| self.retry_after());
        self.dismiss(turn, link, RegisterFailed { info: denied.to_string(), retry_after });
    }
}
