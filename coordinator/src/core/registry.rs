//! Who is registered, who is about to be, and what waits for the disk.
//!
//! A name is *held* from the first request on: while its secret is being hashed, then while its record is on the way to the disk.
//! Records are written in batches: while one is being written, the next one collects (group commit). A record counts, for
//! log-ins and for workers, when the disk has confirmed it and not before.
//!
//! **Invariants.** Of two requests for one name at most one holds it. A hold on a record that was handed to the disk ends with the
//! disk's answer alone: whether it was written is not ours to guess. Stamps grow in the order in which records are
//! confirmed, so that "everything after this stamp" is what a worker lacks.
//!
//! What is *not* here: who asks, beyond a value that is handed back; names and secrets are checked before.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use common::id::{LinkId, ServerId};
use common::machine::JobId;
use common::time::{Time, WallMillis};
use common::user::{PasswordHash, Stamp, UserRecord, Username};

use super::secrets::Digest;

/// The users and the under-registration list.
#[derive(Debug)]
pub(super) struct Registry {
    me: ServerId,
    users: BTreeMap<Username, UserRecord>,
    by_change: BTreeMap<Stamp, Username>,
    holds: BTreeMap<Username, Hold>,
    /// What the next batch will hold.
    collected: Vec<(Username, PasswordHash)>,
    /// The batch that the disk has not confirmed.
    writing: Option<Batch>,
    /// The largest stamp that was used.
    latest: Option<Stamp>,
    /// Names that may be held at once.
    limit: usize,
}

/// Who wants a name, and hears how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A client; the digest is of the secret that it registers with.
    Client { link: LinkId, digest: Digest },
    /// A worker, for a client of its own.
    Worker { link: LinkId },
}

/// Why a name is not to be had. The text is for the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("{0} is registered")]
    Registered(Username),
    #[error("{0} is being registered")]
    BeingRegistered(Username),
    #[error("too many registrations are under way; try again in a moment")]
    Crowded,
}

/// A registration that the disk has confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) username: Username,
    pub(super) record: UserRecord,
    pub(super) asker: Asker,
}

#[derive(Debug)]
struct Hold {
    asker: Asker,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The secret is being hashed by this job, since then.
    Hashing { job: JobId, since: Time },
    /// The record waits for the disk, or is on its way to it.
    Writing,
}

#[derive(Debug)]
struct Batch {
    job: JobId,
    users: Vec<(Username, UserRecord)>,
}

impl Registry {
    pub(super) fn new(me: ServerId, users: Vec<(Username, UserRecord)>, limit: usize) -> Self {
        let users: BTreeMap<_, _> = users.into_iter().collect();
        let by_change: BTreeMap<_, _> =
            users.iter().map(|(name, record)| (record.changed.clone(), name.clone())).collect();
        let latest = by_change.last_key_value().map(|(stamp, _)| stamp.clone());
        let (holds, collected, writing) = (BTreeMap::new(), Vec::new(), None);
        Registry { me, users, by_change, holds, collected, writing, latest, limit }
    }

    /// Registered users.
    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// The record of a registered user.
    pub(super) fn get(&self, username: &Username) -> Option<&UserRecord> {
        self.users.get(username)
    }

    /// Whether the name is under registration.
    pub(super) fn is_held(&self, username: &Username) -> bool {
        self.holds.contains_key(username)
    }

    /// Whether any name is under registration.
    pub(super) fn has_holds(&self) -> bool {
        !self.holds.is_empty()
    }

    /// Whether the name can be had.
    pub(super) fn check(&self, username: &Username) -> Result<(), Unavailable> {
        if self.users.contains_key(username) {
            Err(Unavailable::Registered(username.clone()))
        } else if self.is_held(username) {
            Err(Unavailable::BeingRegistered(username.clone()))
        } else if self.holds.len() >= self.limit {
            Err(Unavailable::Crowded)
        } else {
            Ok(())
        }
    }

    /// Holds an available name while `job` hashes its secret.
    pub(super) fn hold(&mut self, now: Time, username: Username, asker: Asker, job: JobId) {
        self.insert_hold(username, asker, Stage::Hashing { job, since: now });
    }

    /// The hash of a held name's secret has come: its record goes into the next batch. Nothing happens where the name is no longer
    /// held for this job.
    pub(super) fn hashed(&mut self, username: Username, job: JobId, hash: PasswordHash) {
        let hold = self.holds.get_mut(&username);
        let waiting =
            |hold: &&mut Hold| matches!(&hold.stage, Stage::Hashing { job: held, .. } if *held == job);
        if let Some(hold) = hold.filter(waiting) {
            hold.stage = Stage::Writing;
            self.collected.push((username, hash));
        }
    }

    /// Holds an available name whose secret is hashed already: its record goes into the next batch.
    pub(super) fn hold_hashed(&mut self, username: Username, asker: Asker, hash: PasswordHash) {
        self.insert_hold(username.clone(), asker, Stage::Writing);
        self.collected.push((username, hash));
    }

    /// The next batch, stamped, where there is one and the disk is free for it.
    pub(super) fn next_batch(&mut self, wall: WallMillis, job: JobId) -> Option<Vec<(Username, UserRecord)>> {
        if self.writing.is_some() || self.collected.is_empty() {
            return None;
        }
        let collected = std::mem::take(&mut self.collected);
        let users: Vec<_> =
            collected.into_iter().map(|(name, hash)| (name, self.stamp(wall, hash))).collect();
        self.writing = Some(Batch { job, users: users.clone() });
        Some(users)
    }

    /// Whether records wait for the disk or for its answer.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some() || !self.collected.is_empty()
    }

    /// The disk has confirmed the batch: its names have become users.
    pub(super) fn written(&mut self, job: JobId) -> Vec<Registered> {
        let batch = self.take_batch(job);
        let register = |(username, record): (Username, UserRecord)| {
            self.users.insert(username.clone(), record.clone());
            self.by_change.insert(record.changed.clone(), username.clone());
            Registered { asker: self.release(&username), username, record }
        };
        batch.into_iter().map(register).collect()
    }

    /// The disk has refused the batch: its names are released.
    pub(super) fn not_written(&mut self, job: JobId) -> Vec<(Username, Asker)> {
        let batch = self.take_batch(job);
        batch.into_iter().map(|(username, _)| (username.clone(), self.release(&username))).collect()
    }

    /// Releases the names whose hash has not come within `patience`.
    pub(super) fn expire(&mut self, now: Time, patience: Duration) -> Vec<(Username, Asker)> {
        let expired =
            |hold: &Hold| matches!(hold.stage, Stage::Hashing { since, .. } if now.since(since) >= patience);
        let names: Vec<Username> =
            self.holds.iter().filter(|(_, hold)| expired(hold)).map(|(name, _)| name.clone()).collect();
        names.into_iter().map(|name| (name.clone(), self.release(&name))).collect()
    }

    /// Whether some user's last change has this stamp.
    pub(super) fn knows(&self, stamp: &Stamp) -> bool {
        self.by_change.contains_key(stamp)
    }

    /// Users in the order of their last change, from after `stamp`, or from the first.
    pub(super) fn changes_after(
        &self,
        stamp: Option<&Stamp>,
    ) -> impl Iterator<Item = (&Username, &UserRecord)> {
        let from = stamp.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_change.range((from, Bound::Unbounded)).map(|(_, name)| (name, &self.users[name]))
    }

    pub(super) fn assert_bounds(&self) {
        assert!(self.holds.len() <= self.limit, "{} names are held", self.holds.len());
        let writing = self.writing.as_ref().map_or(0, |batch| batch.users.len());
        assert!(
            self.collected.len() + writing <= self.holds.len(),
            "a record is written without its name held"
        );
        assert_eq!(self.users.len(), self.by_change.len(), "every user has one last change");
    }

    fn insert_hold(&mut self, username: Username, asker: Asker, stage: Stage) {
        assert!(self.check(&username).is_ok(), "a name is held that is not to be had");
        self.holds.insert(username, Hold { asker, stage });
    }

    fn release(&mut self, username: &Username) -> Asker {
        self.holds.remove(username).expect("a name stays held until the answer").asker
    }

    fn take_batch(&mut self, job: JobId) -> Vec<(Username, UserRecord)> {
        let batch = self.writing.take().filter(|batch| batch.job == job);
        batch.expect("the disk answers the one batch that it was given").users
    }

    fn stamp(&mut self, wall: WallMillis, secret: PasswordHash) -> UserRecord {
        let stamp = Stamp::after(self.latest.as_ref(), wall, &self.me);
        self.latest = Some(stamp.clone());
        UserRecord { registration: stamp.clone(), changed: stamp, secret }
    }
}
