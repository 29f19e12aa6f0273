//! The way of a change to the disk and back: a registration, a new secret, a removal.
//!
//! What is asked for goes to disk with whatever else waits; when the disk has confirmed it, every worker is told before whoever asked.

use common::id::LinkId;
use common::machine::JobId;
use common::user::{PasswordHash, Stamp, Username};
use common::wire::{
    ChangeSecretSuccess, Durability, LockAllowed, LockDenied, RegisterSuccess, RemoveUserSuccess,
};
use tracing::{debug, info};

use super::jobs::HashJob;
use super::links::Proven;
use super::refusals::{Asked, Refusal};
use super::registry::{Asker, Done, Unavailable};
use super::secrets::Digest;
use super::{Coordinator, Turn};

impl Coordinator {
    /// The hash of a secret that is to be stored has come.
    pub(super) fn hashed(&mut self, turn: &mut Turn<'_>, job: JobId, hash: PasswordHash) {
        match self.jobs.finish(job) {
            Some(HashJob::Hash { username, .. }) => self.registry.hashed(username, job, hash),
            Some(HashJob::Verify(_)) => unreachable!("what is verified is not hashed"),
            None => {}
        }
        self.propose_next(turn);
    }

    /// The batch is written: who asked for a registration and has the name is told of it by LOCK_ALLOWED and needs to hear it only once.
    pub(super) fn settling(&mut self) {
        self.standbys.settled();
        self.upload_again();
        self.done = self.registry.settle();
        for Done { record, asker, .. } in self.done.iter().filter(|done| done.is_the_user) {
            if let Asker::Worker { link } = asker
                && let Some(worker) = self.links.worker_mut(*link)
            {
                worker.cursor.told_apart(record.written().clone(), self.config.limits.sync_users);
            }
        }
    }

    /// The batch counts, and every server has been told: now whoever asked.
    pub(super) fn settled(&mut self, turn: &mut Turn<'_>) {
        for done in std::mem::take(&mut self.done) {
            if done.is_the_user {
                self.confirm(turn, done);
            } else {
                let refusal = self.taken_meanwhile(&done.username);
                self.deny(turn, done.username, &done.asker, &refusal);
            }
        }
        self.imports_settled(turn);
        self.list_ready(turn);
    }

    /// The name was to be had when it was asked for, and is not any more.
    pub(super) fn taken_meanwhile(&self, username: &Username) -> Refusal {
        match self.registry.get(username) {
            // It may be the same client's own, made at another coordinator: repeated, the secret decides.
            Some(_) => Refusal::Changed(username.clone()),
            None => Refusal::NotRegistered(username.clone()),
        }
    }

    /// What an acknowledgement promises now.
    fn durability(&self) -> Durability {
        if self.batch_copies > 0 { Durability::Replicated } else { Durability::Local }
    }

    fn confirm(&mut self, turn: &mut Turn<'_>, done: Done) {
        let Done { username, record, asker, .. } = done;
        let durability = self.durability();
        match asker {
            Asker::Worker { link } => {
                debug!(%username, "registered");
                self.say(turn, link, LockAllowed { username, user: record, durability });
            }
            Asker::Client { link, digest } => {
                debug!(%username, "registered");
                self.confirm_registration(turn, link, username, record.changed, digest, false);
            }
            Asker::Owner { link, digest } => {
                info!(%username, "the secret is changed");
                let info = format!("the secret of {username} is changed; log in with the new one");
                self.remember(turn, link, Proven { username, changed: record.changed, secret: digest });
                self.say(turn, link, ChangeSecretSuccess { info, durability });
            }
            Asker::Operator { link } => {
                info!(%username, "removed");
                let info = format!("{username} is removed");
                self.say(turn, link, RemoveUserSuccess { info, durability });
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
        // One that was registered before is as safe as everything that counts; it may have come from another server a moment ago.
        let replicated = if existing { self.backups_hold_everything() } else { self.batch_copies > 0 };
        let durability = if replicated { Durability::Replicated } else { Durability::Local };
        self.remember(turn, link, Proven { username, changed, secret });
        self.say(turn, link, RegisterSuccess { info, durability: Some(durability), existing });
    }

    /// The disk takes nothing: whoever waits for it is told to try again.
    pub(super) fn not_stored(&mut self, turn: &mut Turn<'_>) {
        self.deny_waiting(turn, &Refusal::NotStored);
        self.finish_drain(turn);
    }

    /// Whoever waits for a change to be made is told that it is not, as far as is known.
    pub(super) fn deny_waiting(&mut self, turn: &mut Turn<'_>, refusal: &Refusal) {
        for (username, asker) in self.registry.disown() {
            self.deny(turn, username, &asker, refusal);
        }
        self.fail_imports(turn, refusal);
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
