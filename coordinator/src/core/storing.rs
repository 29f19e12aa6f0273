//! The way of a change to the disk and back: a registration, a new secret, a removal.
//!
//! What is asked for goes to disk with whatever else waits; when the disk has confirmed it, every worker is told before whoever asked.

use common::id::LinkId;
use common::machine::{Action, JobId};
use common::user::{PasswordHash, Stamp, Username};
use common::wire::{
    ChangeSecretSuccess, Durability, LockAllowed, LockDenied, RegisterSuccess, RemoveUserSuccess,
};
use tracing::{debug, error, info};

use super::config::{Change, Effect};
use super::jobs::HashJob;
use super::links::Proven;
use super::refusals::{Asked, Refusal};
use super::registry::{Asker, Done, Unavailable};
use super::secrets::Digest;
use super::{Coordinator, Turn};

/// What one coordinator's disk promises.
const DURABILITY: Durability = Durability::Local;

impl Coordinator {
    /// The hash of a secret that is to be stored has come.
    pub(super) fn hashed(&mut self, turn: &mut Turn<'_>, job: JobId, hash: PasswordHash) {
        match self.jobs.finish(job) {
            HashJob::Hash { username } => self.registry.hashed(username, job, hash),
            HashJob::Verify(_) => unreachable!("what is verified is not hashed"),
        }
        self.write_next(turn);
    }

    /// Hands the next batch to the disk, where there is one and the disk is free.
    pub(super) fn write_next(&mut self, turn: &mut Turn<'_>) {
        let job = self.jobs.number();
        if let Some(users) = self.registry.next_batch(turn.now.wall, job) {
            let change = Change { users, ..Change::default() };
            turn.actions.push(Action::Effect(Effect::Persist { job, change }));
        }
    }

    pub(super) fn persisted(&mut self, turn: &mut Turn<'_>, job: JobId) {
        let done = self.registry.written(job);
        // Who asked for a registration is told of it by LOCK_ALLOWED and needs to hear it only once.
        for Done { record, asker, .. } in &done {
            if let Asker::Worker { link } = asker
                && let Some(worker) = self.links.worker_mut(*link)
            {
                worker.cursor.told_apart(record.changed.clone(), self.config.limits.sync_users);
            }
        }
        for link in self.placement.links() {
            self.feed(turn, link);
        }
        for done in done {
            self.confirm(turn, done);
        }
        self.write_next(turn);
        self.finish_drain(turn);
    }

    fn confirm(&mut self, turn: &mut Turn<'_>, done: Done) {
        let Done { username, record, asker } = done;
        match asker {
            Asker::Worker { link } => {
                debug!(%username, "registered");
                self.say(turn, link, LockAllowed { username, user: record, durability: DURABILITY });
            }
            Asker::Client { link, digest } => {
                debug!(%username, "registered");
                self.confirm_registration(turn, link, username, record.changed, digest, false);
            }
            Asker::Owner { link, digest } => {
                info!(%username, "the secret is changed");
                let info = format!("the secret of {username} is changed; log in with the new one");
                self.remember(turn, link, Proven { username, changed: record.changed, secret: digest });
                self.say(turn, link, ChangeSecretSuccess { info, durability: DURABILITY });
            }
            Asker::Operator { link } => {
                info!(%username, "removed");
                let info = format!("{username} is removed");
                self.say(turn, link, RemoveUserSuccess { info, durability: DURABILITY });
            }
        }
    }

    /// Tells a client that the name is its own, now or since long, and remembers its secret for the log-in that follows.
    pub(super) fn confirm_registration(
        &mut self,
        turn: &mut Turn<'_>,
        link: LinkId,
        username: Username,
        changed: Stamp,
        secret: Digest,
        existing: bool,
    ) {
        let info = if existing {
            format!("{username} is registered already, with this secret; log in")
        } else {
            format!("{username} is registered now; log in")
        };
        self.remember(turn, link, Proven { username, changed, secret });
        self.say(turn, link, RegisterSuccess { info, durability: Some(DURABILITY), existing });
    }

    pub(super) fn persist_failed(&mut self, turn: &mut Turn<'_>, job: JobId, reason: &str) {
        error!(reason, "changes could not be stored; who asked is told to try again");
        for (username, asker) in self.registry.not_written(job) {
            self.deny(turn, username, &asker, &Refusal::NotStored);
        }
        self.write_next(turn);
        self.finish_drain(turn);
    }

    /// Releases the names whose hash does not come.
    pub(super) fn expire_holds(&mut self, turn: &mut Turn<'_>) {
        for (username, asker) in self.registry.expire(turn.now.time, self.config.limits.registration_hold) {
            self.deny(turn, username, &asker, &Refusal::TooSlow);
        }
    }

    /// Releases the names whose hash has not come: this process is about to end.
    pub(super) fn release_unhashed(&mut self, turn: &mut Turn<'_>) {
        for (username, asker) in self.registry.expire(turn.now.time, std::time::Duration::ZERO) {
            self.deny(turn, username, &asker, &Refusal::Draining);
        }
    }

    /// Tells whoever asked for a name to be held that nothing comes of it.
    pub(super) fn deny(&mut self, turn: &mut Turn<'_>, username: Username, asker: &Asker, refusal: &Refusal) {
        let asked = match asker {
            Asker::Client { .. } => Asked::Register,
            Asker::Owner { .. } => Asked::ChangeSecret,
            Asker::Operator { .. } => Asked::RemoveUser,
            Asker::Worker { link } => return self.deny_worker(turn, *link, username, refusal),
        };
        self.refuse(turn, asker.link(), asked, refusal);
    }

    fn deny_worker(&mut self, turn: &mut Turn<'_>, link: LinkId, username: Username, refusal: &Refusal) {
        let retry_after = refusal.is_passing().then(|| self.retry_after());
        let registered = matches!(refusal, Refusal::Unavailable(Unavailable::Registered(_)));
        let user = if registered { self.registry.get(&username).cloned() } else { None };
        self.say(turn, link, LockDenied { username, info: refusal.to_string(), retry_after, user });
    }
}
