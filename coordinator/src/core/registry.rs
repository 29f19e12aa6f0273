//! Who is registered, which names are about to change, and what waits for the disk.
//!
//! A name is *held* while a change of it is under way: a registration from the first request on, while its secret is being hashed, then
//! while its record is on the way to the disk; a new secret or a removal from the moment at which it is granted. Records are
//! written in batches: while one is being written, the next one collects (group commit). A record counts, for log-ins and for
//! workers, when the disk has confirmed it and not before.
//!
//! **Invariants.** Of two requests for one name at most one holds it. A hold on a record that was handed to the disk ends with the
//! disk's answer alone: whether it was written is not ours to guess. The stamps that we write grow in the order in which records are
//! confirmed, so that "everything of ours after this stamp" is what a worker lacks; and a change is stamped above what it changes,
//! so that it wins.
//!
//! What is *not* here: who asks, beyond a value that is handed back; names and secrets are checked before.

use std::collections::BTreeMap;
use std::time::Duration;

use common::id::{LinkId, ServerId};
use common::machine::JobId;
use common::time::{Time, WallMillis};
use common::user::{PasswordHash, Stamp, UserRecord, Username};
use common::users::{Seen, Users};
use tracing::warn;

use super::config::Limits;
use super::secrets::Digest;

/// The users and the under-registration list.
#[derive(Debug)]
pub(super) struct Registry {
    me: ServerId,
    users: Users,
    holds: BTreeMap<Username, Hold>,
    /// What the next batch will hold: names and their new secrets; without one, a removal.
    collected: Vec<(Username, Option<PasswordHash>)>,
    /// The batch that the disk has not confirmed.
    writing: Option<Batch>,
    /// The largest stamp that ours must lie above.
    latest: Option<Stamp>,
    /// Names that may be held at once.
    limit: usize,
    /// How far ahead of our clock others' stamps are followed.
    stamp_ahead: Duration,
}

/// Who wants a change, and hears how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A client that registers; the digest is of its secret.
    Client { link: LinkId, digest: Digest },
    /// A worker, for a client of its own that registers.
    Worker { link: LinkId },
    /// A user that changes its secret; the digest is of the new one.
    Owner { link: LinkId, digest: Digest },
    /// An operator that removes a user.
    Operator { link: LinkId },
}

/// Why a name is not to be had. The text is for the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("{0} is registered")]
    Registered(Username),
    #[error("{0} is being registered")]
    BeingRegistered(Username),
    #[error("{0} is being changed; try again in a moment")]
    BeingChanged(Username),
    #[error("too many registrations are under way; try again in a moment")]
    Crowded,
}

/// A change that the disk has confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) username: Username,
    pub(super) record: UserRecord,
    pub(super) asker: Asker,
}

#[derive(Debug)]
struct Hold {
    /// The registration that is to be changed; `None` for a new one.
    of: Option<Stamp>,
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

impl Asker {
    pub(super) fn link(&self) -> LinkId {
        match self {
            Asker::Client { link, .. }
            | Asker::Worker { link }
            | Asker::Owner { link, .. }
            | Asker::Operator { link } => *link,
        }
    }
}

impl Registry {
    pub(super) fn new(me: ServerId, wall: WallMillis, users: Users, limits: &Limits) -> Self {
        let known = users.latest();
        let (holds, collected, writing) = (BTreeMap::new(), Vec::new(), None);
        let (limit, stamp_ahead) = (limits.under_registration, limits.stamp_ahead);
        let mut registry =
            Registry { me, users, holds, collected, writing, latest: None, limit, stamp_ahead };
        registry.observe(wall, &known);
        registry
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
    pub(super) fn is_being_registered(&self, username: &Username) -> bool {
        self.holds.get(username).is_some_and(|hold| hold.of.is_none())
    }

    /// Whether any name is held.
    pub(super) fn has_holds(&self) -> bool {
        !self.holds.is_empty()
    }

    /// Whether somebody on this link waits for what becomes of a held name.
    pub(super) fn is_awaited(&self, link: LinkId) -> bool {
        self.holds.values().any(|hold| hold.asker.link() == link)
    }

    /// Whether the name can be registered.
    pub(super) fn may_register(&self, username: &Username) -> Result<(), Unavailable> {
        match self.users.get(username) {
            Some(_) => Err(Unavailable::Registered(username.clone())),
            None => self.may_hold(username),
        }
    }

    /// Whether the name can be held, for whatever change.
    pub(super) fn may_hold(&self, username: &Username) -> Result<(), Unavailable> {
        match self.holds.get(username) {
            Some(hold) if hold.of.is_none() => Err(Unavailable::BeingRegistered(username.clone())),
            Some(_) => Err(Unavailable::BeingChanged(username.clone())),
            None if self.holds.len() >= self.limit => Err(Unavailable::Crowded),
            None => Ok(()),
        }
    }

    /// Holds a name while `job` hashes its secret: for a registration, or for a change of the registration `of`.
    pub(super) fn hold(
        &mut self,
        now: Time,
        username: Username,
        of: Option<Stamp>,
        asker: Asker,
        job: JobId,
    ) {
        self.insert_hold(username, Hold { of, asker, stage: Stage::Hashing { job, since: now } });
    }

    /// The hash of a held name's secret has come: its record goes into the next batch. Nothing happens where the name is no longer
    /// held for this job.
    pub(super) fn hashed(&mut self, username: Username, job: JobId, hash: PasswordHash) {
        let hold = self.holds.get_mut(&username);
        let waiting =
            |hold: &&mut Hold| matches!(&hold.stage, Stage::Hashing { job: held, .. } if *held == job);
        if let Some(hold) = hold.filter(waiting) {
            hold.stage = Stage::Writing;
            self.collected.push((username, Some(hash)));
        }
    }

    /// Holds a name of which all is known: its record, without a secret that of a removed user, goes into the next batch.
    pub(super) fn hold_ready(
        &mut self,
        username: Username,
        of: Option<Stamp>,
        asker: Asker,
        secret: Option<PasswordHash>,
    ) {
        self.insert_hold(username.clone(), Hold { of, asker, stage: Stage::Writing });
        self.collected.push((username, secret));
    }

    /// The next batch, stamped, where there is one and the disk is free for it.
    pub(super) fn next_batch(&mut self, wall: WallMillis, job: JobId) -> Option<Vec<(Username, UserRecord)>> {
        if self.writing.is_some() || self.collected.is_empty() {
            return None;
        }
        let collected = std::mem::take(&mut self.collected);
        let stamp = |(name, secret)| {
            let record = self.stamp(wall, &name, secret);
            (name, record)
        };
        let users: Vec<_> = collected.into_iter().map(stamp).collect();
        self.writing = Some(Batch { job, users: users.clone() });
        Some(users)
    }

    /// Whether records wait for the disk or for its answer.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some() || !self.collected.is_empty()
    }

    /// The disk has confirmed the batch: its records count from now on.
    pub(super) fn written(&mut self, job: JobId) -> Vec<Done> {
        let batch = self.take_batch(job);
        let count = |(username, record): (Username, UserRecord)| {
            let news = self.users.merge(username.clone(), record.clone());
            assert!(news, "what we write is stamped above what we know");
            Done { asker: self.release(&username), username, record }
        };
        batch.into_iter().map(count).collect()
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

    /// Takes note of stamps that others have met, so that ours lie above them. One of another coordinator that lies too far ahead is
    /// reported instead: its clock is wrong, and ours shall not follow it.
    pub(super) fn observe(&mut self, wall: WallMillis, seen: &Seen) {
        for stamp in seen.stamps() {
            if stamp.coordinator != self.me && stamp.wall > wall + self.stamp_ahead {
                warn!(%stamp, "a user was changed more than {:?} in the future: see the clocks of that coordinator and of this one", self.stamp_ahead);
            } else {
                self.latest = self.latest.take().max(Some(stamp));
            }
        }
    }

    /// The records of which a worker has not been told.
    pub(super) fn beyond(&self, seen: &Seen) -> impl Iterator<Item = (&Username, &UserRecord)> {
        self.users.beyond(seen)
    }

    pub(super) fn assert_bounds(&self) {
        assert!(self.holds.len() <= self.limit, "{} names are held", self.holds.len());
        let writing = self.writing.as_ref().map_or(0, |batch| batch.users.len());
        assert!(
            self.collected.len() + writing <= self.holds.len(),
            "a record is written without its name held"
        );
    }

    fn insert_hold(&mut self, username: Username, hold: Hold) {
        assert!(self.may_hold(&username).is_ok(), "a name is held that is not to be had");
        let registration = self.users.get(&username).map(|user| &user.registration);
        assert_eq!(registration, hold.of.as_ref(), "a hold is for the user that there is");
        self.holds.insert(username, hold);
    }

    fn release(&mut self, username: &Username) -> Asker {
        self.holds.remove(username).expect("a name stays held until the answer").asker
    }

    fn take_batch(&mut self, job: JobId) -> Vec<(Username, UserRecord)> {
        let batch = self.writing.take().filter(|batch| batch.job == job);
        batch.expect("the disk answers the one batch that it was given").users
    }

    /// The record of a held name as it will be. A change of a record that lies in the future follows it there: else it would be
    /// acknowledged and lose.
    fn stamp(&mut self, wall: WallMillis, username: &Username, secret: Option<PasswordHash>) -> UserRecord {
        let of = self.holds[username].of.clone();
        let before = of.as_ref().and_then(|id| self.users.registration(username, id));
        let latest = self.latest.as_ref().max(before.map(|record| &record.changed));
        let changed = Stamp::after(latest, wall, &self.me);
        self.latest = Some(changed.clone());
        UserRecord { registration: of.unwrap_or_else(|| changed.clone()), changed, secret }
    }
}
