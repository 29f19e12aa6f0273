//! Who is registered, which names are about to change, and what is to be written of it.
//!
//! A name is *held* while a change of it is under way: a registration from the first request on, while its secret is being hashed, then
//! while its record is proposed to the backups and on the way to the disk; a new secret or a removal from the moment at which it is
//! granted. Records are stamped in batches: while one is under way, the next one collects. A record counts, for log-ins and for workers,
//! when every disk that must hold it has confirmed it and not before.
//!
//! What is known is exact: `complete` says, for each writer, up to which stamp everything is known here. While there is more to be told,
//! `seen` says more: up to which stamp what is here is known for certain. A record beyond that was *proposed* by a main coordinator that
//! never said what became of it; a new main coordinator *adopts* such records, which is to write them again under a stamp of its own, so
//! that everybody comes to know them.
//!
//! **Invariants.** Of two requests for one name at most one holds it. The stamps that we write grow in the order in which batches are
//! settled, so that "everything of ours up to this stamp" is what others know; and a change is stamped above what it changes, so that
//! it wins.
//!
//! What is *not* here: who asks, beyond a value that is handed back; names and secrets are checked before; disks and backups.

mod holds;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::epoch::Epoch;
use common::id::{LinkId, ServerId};
use common::time::WallMillis;
use common::user::{PasswordHash, Stamp, UserRecord, Username};
use common::users::{Seen, Users};
use tracing::warn;

use super::config::Limits;
use super::feed::Claim;
use super::lost::Run;
use super::secrets::Digest;
use holds::Hold;

/// The users and the under-registration list.
#[derive(Debug)]
pub(super) struct Registry {
    me: ServerId,
    users: Users,
    /// How much of the users is known for certain.
    seen: Seen,
    /// Up to where no record is lacking: what is said to others, and on disk.
    complete: Seen,
    /// What was lacking all the same, and came from somebody who does not know it for certain. Its writer had proposed it, crashed, and
    /// gone on without it: so whoever heard of what came then takes it to be known.
    regained: Vec<Entry>,
    holds: BTreeMap<Username, Hold>,
    /// What the next batches will hold.
    collected: Vec<Wanted>,
    /// The batch that is under way.
    batch: Option<Batch>,
    /// The largest stamp that ours must lie above.
    latest: Option<Stamp>,
    /// What was written since this process started; `None` while nothing was.
    run: Option<Run>,
    /// Names that may be held at once.
    limit: usize,
    /// How far ahead of our clock others' stamps are followed.
    stamp_ahead: Duration,
    /// Whose stamps lay further ahead, which was said.
    ahead: BTreeSet<ServerId>,
    /// Whether a name that was given is given to nobody else (`--require-backups`): then of two registrations of a name one at most was
    /// ever acknowledged, and the other is removed.
    once: bool,
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

/// A change that counts from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) username: Username,
    pub(super) record: UserRecord,
    /// Who asked and has not been answered.
    pub(super) asker: Asker,
    /// Whether the name is this registration's: another coordinator may have registered it earlier.
    pub(super) is_the_user: bool,
}

/// A name and what is kept of it.
pub(super) type Entry = (Username, UserRecord);

/// A change that is to be stamped.
#[derive(Debug)]
struct Wanted {
    username: Username,
    /// What it changes; `None` for a new registration.
    of: Option<UserRecord>,
    /// The new secret; without one, a removal.
    secret: Option<PasswordHash>,
    reason: Reason,
}

/// Why something is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Somebody asked for it, and its name is held.
    Asked,
    /// It was proposed in this epoch, as far as is known, and never settled: it is adopted.
    Proposed(Option<Epoch>),
    /// It was known once, and is brought back as it was.
    Restored,
    /// It lost its name to an earlier registration, which is removed, too.
    RemovedAsWell,
}

impl Wanted {
    /// Whether a name is held for it.
    fn is_held(&self) -> bool {
        self.reason == Reason::Asked
    }
}

#[derive(Debug)]
struct Batch {
    users: Vec<Entry>,
    /// Which of the names are held for it.
    held: BTreeSet<Username>,
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
    pub(super) fn new(
        me: ServerId,
        wall: WallMillis,
        users: Users,
        seen: Seen,
        limits: &Limits,
        once: bool,
    ) -> Self {
        let known = users.latest();
        let (limit, stamp_ahead) = (limits.under_registration, limits.stamp_ahead);
        let (holds, collected) = (BTreeMap::new(), Vec::new());
        let mut registry = Registry {
            me,
            users,
            complete: seen.clone(),
            seen,
            regained: Vec::new(),
            holds,
            collected,
            batch: None,
            latest: None,
            run: None,
            limit,
            stamp_ahead,
            ahead: BTreeSet::new(),
            once,
        };
        registry.observe(wall, &known);
        let certain = registry.seen.clone();
        registry.observe(wall, &certain);
        registry
    }

    /// Registered users.
    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether nothing was ever registered here.
    pub(super) fn is_blank(&self) -> bool {
        self.seen.is_empty() && self.users.is_empty()
    }

    /// How much of the users is known for certain.
    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Whether this record that is known here is known for certain.
    fn is_settled(&self, record: &UserRecord) -> bool {
        let is_it = |(_, regained): &Entry| regained == record;
        self.seen.covers(record.written()) && !self.regained.iter().any(is_it)
    }

    /// How much of the users this coordinator claims to know, to whoever may know more.
    pub(super) fn claim(&self) -> Seen {
        self.run.as_ref().map_or_else(|| self.complete.clone(), |run| run.claim(&self.complete))
    }

    /// Up to where no record is lacking, as far as this run can tell.
    pub(super) fn complete(&self) -> &Seen {
        &self.complete
    }

    /// Whether this tells nothing new.
    pub(super) fn knows(&self, claim: &Claim) -> bool {
        self.seen.covers_all(&claim.certain) && self.complete.covers_all(&claim.complete)
    }

    /// Somebody says how much of the users they know. Where that includes what we wrote once and do not know any more, less is
    /// [claimed](Self::claim) from now on: says whether this has changed.
    pub(super) fn compare(&mut self, theirs: &Seen) -> bool {
        let news = self.run.as_mut().is_some_and(|run| run.compare(theirs));
        if news {
            warn!(
                "others know users that this coordinator wrote and does not know any more: it was started from an older copy of its directory. \
                 It asks them for all of these"
            );
        }
        news
    }

    /// Whether this was written by us, and forgotten since.
    pub(super) fn has_lost(&self, record: &UserRecord) -> bool {
        self.run.as_ref().is_some_and(|run| run.lacks(record.written()))
    }

    /// The record of a registered user.
    pub(super) fn get(&self, username: &Username) -> Option<&UserRecord> {
        self.users.get(username)
    }

    /// All live registrations of a name, that of the user first.
    pub(super) fn live(&self, username: &Username) -> impl Iterator<Item = &UserRecord> {
        self.users.registrations(username).iter().filter(|record| !record.is_removed())
    }

    /// The live registrations that lost their name to an earlier one.
    pub(super) fn conflicts(&self) -> impl Iterator<Item = (&Username, &UserRecord)> {
        self.users.conflicts()
    }

    /// How many there are.
    pub(super) fn conflict_count(&self) -> usize {
        self.users.conflict_count()
    }

    /// Whether this record of a registration says more than is known for certain.
    pub(super) fn is_news(&self, username: &Username, record: &UserRecord) -> bool {
        let known = self.users.registration(username, &record.registration);
        known.is_none_or(|known| !self.is_settled(known) || record.supersedes(known))
    }

    /// When a reign begins that comes after another of ours: later than all that is known, and than that one. Stamps of that reign may be
    /// with others alone, and must not be used again, whatever our clock shows.
    pub(super) fn beginning(&self, wall: WallMillis, before: Option<WallMillis>) -> WallMillis {
        let known = self.latest.as_ref().map(|latest| latest.wall).max(before);
        known.map_or(wall, |known| wall.max(WallMillis(known.0 + 1)))
    }

    /// A reign begins: all its stamps lie above this.
    pub(super) fn begin(&mut self, since: WallMillis) {
        let first = Stamp { wall: since, counter: 0, coordinator: self.me.clone() };
        self.latest = self.latest.take().max(Some(first));
    }

    /// Has a record that others know written again under a stamp of ours, unless it is known already as it is. What was proposed goes
    /// first, the latest epoch before all: of two that want a name it is the one that may have been acknowledged.
    pub(super) fn adopt(&mut self, username: Username, record: UserRecord, reason: Reason) {
        if self.is_news(&username, &record) {
            let goes_first = |other: &Wanted| match (&other.reason, &reason) {
                (Reason::Proposed(other), Reason::Proposed(this)) => other >= this,
                (_, Reason::Proposed(_)) => false,
                _ => true,
            };
            let at = self.collected.partition_point(goes_first);
            let secret = record.secret.clone();
            self.collected.insert(at, Wanted { username, of: Some(record), secret, reason });
        }
    }

    /// Everything that was proposed and never settled.
    pub(super) fn proposed(&self) -> Vec<Entry> {
        let regained = self.regained.iter().filter(|entry| self.is_latest(entry));
        let beyond = self.beyond(&self.seen).map(|(name, record)| (name.clone(), record.clone()));
        beyond.chain(regained.cloned()).collect()
    }

    /// Whether this is all that is known of the registration: nobody has written it anew.
    pub(super) fn is_latest(&self, entry: &Entry) -> bool {
        is_latest(&self.users, entry)
    }

    /// How far the stamps of the next batch may reach, where one is to be made.
    pub(super) fn next_stamps_reach(&self, wall: WallMillis) -> Option<WallMillis> {
        if self.batch.is_some() || self.collected.is_empty() {
            return None;
        }
        let known = |wanted: &Wanted| {
            let of = wanted.of.as_ref()?;
            let known = self.users.registration(&wanted.username, &of.registration);
            known.into_iter().chain([of]).map(|record| record.written().max(&record.changed).wall).max()
        };
        let latest = self.latest.as_ref().map(|latest| latest.wall);
        // Counting on within one millisecond may reach the next.
        self.collected.iter().map(known).chain([latest, Some(wall)]).max()?.map(|wall| WallMillis(wall.0 + 1))
    }

    /// The next batch of at most `limit` records, stamped, one of each name; empty where one is under way or nothing waits. Beside it
    /// what cannot be any more, because its name has changed meanwhile. Others may know for certain what is not known so here.
    pub(super) fn next_batch(
        &mut self,
        wall: WallMillis,
        limit: usize,
        others_know: impl Fn(&UserRecord) -> bool,
    ) -> (Vec<Entry>, Vec<(Username, Asker)>) {
        let (mut users, mut late) = (Vec::new(), Vec::new());
        if self.batch.is_some() || self.collected.is_empty() {
            return (users, late);
        }
        let (mut names, mut held, mut rest) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for wanted in std::mem::take(&mut self.collected) {
            if users.len() == limit || names.contains(&wanted.username) {
                rest.push(wanted);
            } else if self.is_still_possible(&wanted) {
                names.insert(wanted.username.clone());
                held.extend(wanted.is_held().then(|| wanted.username.clone()));
                users.push(self.stamp(wall, wanted, &others_know));
            } else if wanted.is_held()
                && let Some(asker) = self.release(&wanted.username)
            {
                late.push((wanted.username, asker));
            }
        }
        self.collected = rest;
        if !users.is_empty() {
            self.batch = Some(Batch { users: users.clone(), held });
        }
        (users, late)
    }

    /// Whether everything that is registered here is known for certain.
    pub(super) fn is_certain(&self) -> bool {
        self.beyond(&self.seen).next().is_none() && !self.regained.iter().any(|entry| self.is_latest(entry))
    }

    /// Whether a batch waits to be made, or is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.batch.is_some() || !self.collected.is_empty()
    }

    /// What is known for certain once the batch is written.
    pub(super) fn seen_with_batch(&self) -> Seen {
        let mut seen = Seen::default();
        let users = self.batch.iter().flat_map(|batch| &batch.users);
        users.for_each(|(_, record)| seen.advance(record.written()));
        seen
    }

    /// Whether nothing newer is known of this registration.
    pub(super) fn is_newest(&self, username: &Username, record: &UserRecord) -> bool {
        let known = self.users.registration(username, &record.registration);
        known.is_none_or(|known| record.supersedes(known))
    }

    /// Records that have been written count from now on, and so does what is known for certain with them.
    pub(super) fn take_in(&mut self, wall: WallMillis, users: Vec<Entry>, claim: &Claim) {
        let mut latest = claim.certain.clone();
        self.regained.retain(|entry| is_latest(&self.users, entry));
        for (username, record) in users {
            latest.advance(record.written());
            let doubtful = self.seen.covers(record.written()) && !claim.certain.covers(record.written());
            if self.users.merge(username.clone(), record.clone()) && doubtful {
                self.regained.push((username, record));
            }
        }
        self.seen.merge(&claim.certain);
        self.complete.merge(&claim.complete);
        self.observe(wall, &latest);
    }

    /// The batch has been written: its names are released.
    pub(super) fn settle(&mut self) -> Vec<Done> {
        let Batch { users, held } = self.batch.take().expect("a batch is settled that was made");
        let done = |(username, record): Entry| {
            let asker = if held.contains(&username) { self.release(&username)? } else { return None };
            let user = self.users.get(&username).map(|user| &user.registration);
            let is_the_user = record.is_removed() || user == Some(&record.registration);
            Some(Done { username, record, asker, is_the_user })
        };
        users.into_iter().filter_map(done).collect()
    }

    /// This coordinator reigns no longer. A batch that is on its way to our own disk still gets there; one that was only proposed is
    /// left to whoever reigns. Nobody who asked for anything is told by us what becomes of it.
    pub(super) fn resign(&mut self, settling: bool) -> Vec<(Username, Asker)> {
        if !settling {
            self.batch = None;
        }
        self.collected.clear();
        let nothing = BTreeSet::new();
        let under_way = self.batch.as_ref().map_or(&nothing, |batch| &batch.held);
        let mut asked = Vec::new();
        self.holds.retain(|name, hold| {
            asked.extend(hold.asker.take().map(|asker| (name.clone(), asker)));
            under_way.contains(name)
        });
        asked
    }

    /// Whether workers may be told of this, and operators. Where names are given once, not of what is not known for certain: it may have
    /// to be removed.
    pub(super) fn may_be_told(&self, record: &UserRecord) -> bool {
        !self.once || self.is_settled(record)
    }

    /// Takes note of stamps that others have met, so that ours lie above them. One of another coordinator that lies too far ahead is
    /// reported instead: its clock is wrong, and ours shall not follow it.
    pub(super) fn observe(&mut self, wall: WallMillis, seen: &Seen) {
        for stamp in seen.stamps() {
            if stamp.coordinator != self.me && stamp.wall > wall + self.stamp_ahead {
                if !self.ahead.insert(stamp.coordinator.clone()) {
                    continue;
                }
                warn!(%stamp, "a user was changed more than {:?} in the future: see the clocks of that coordinator and of this one", self.stamp_ahead);
            } else {
                self.latest = self.latest.take().max(Some(stamp));
            }
        }
    }

    /// The records of which somebody has not been told.
    pub(super) fn beyond(&self, seen: &Seen) -> impl Iterator<Item = (&Username, &UserRecord)> {
        self.users.beyond(seen)
    }

    pub(super) fn assert_bounds(&self) {
        assert!(self.holds.len() <= self.limit, "{} names are held", self.holds.len());
    }

    fn collect(&mut self, username: Username, of: Option<Stamp>, secret: Option<PasswordHash>) {
        let of = of.and_then(|id| self.users.registration(&username, &id).cloned());
        self.collected.push(Wanted { username, of, secret, reason: Reason::Asked });
    }

    /// Whether what was wanted still makes sense: records may have come from elsewhere since.
    fn is_still_possible(&self, wanted: &Wanted) -> bool {
        match &wanted.of {
            Some(of) if wanted.reason == Reason::RemovedAsWell => {
                let known = self.users.registration(&wanted.username, &of.registration);
                known.is_some_and(|known| !known.is_removed())
            }
            Some(of) if !wanted.is_held() => self.is_news(&wanted.username, of),
            of => {
                self.users.get(&wanted.username).map(|user| &user.registration)
                    == of.as_ref().map(|of| &of.registration)
            }
        }
    }

    /// Whether the name of what was proposed has been given to another registration: then this one was never acknowledged.
    fn is_taken_from(
        &self,
        username: &Username,
        proposed: &UserRecord,
        others_know: &impl Fn(&UserRecord) -> bool,
    ) -> bool {
        let has_it = |other: &UserRecord| {
            let another = other.registration != proposed.registration;
            another && !other.is_removed() && (self.is_settled(other) || others_know(other))
        };
        self.once && self.users.registrations(username).iter().any(has_it)
    }

    /// The record as it will be. What is adopted is as it was, and only written anew, unless its name was given to somebody else
    /// meanwhile. What is written of a record that lies in the future follows it there: else it would be acknowledged and lose.
    fn stamp(
        &mut self,
        wall: WallMillis,
        wanted: Wanted,
        others_know: &impl Fn(&UserRecord) -> bool,
    ) -> Entry {
        let Wanted { username, of, secret, reason } = wanted;
        let known = of.as_ref().and_then(|of| self.users.registration(&username, &of.registration));
        // What is known by now may be newer than what was known when this was asked for.
        let before = known.into_iter().chain(&of).map(|record| record.written().max(&record.changed)).max();
        let now = Stamp::after(self.latest.as_ref().max(before), wall, &self.me);
        self.latest = Some(now.clone());
        self.run.get_or_insert_with(|| Run::new(now.clone(), &self.complete));
        let record = match of {
            Some(proposed)
                if matches!(reason, Reason::Proposed(_))
                    && self.is_taken_from(&username, &proposed, others_know) =>
            {
                warn!(%username, "it was proposed once and never acknowledged, and the name is somebody else's: it is removed");
                UserRecord { registration: proposed.registration, changed: now, written: None, secret: None }
            }
            Some(of) if reason == Reason::RemovedAsWell => {
                UserRecord { registration: of.registration, changed: now, written: None, secret: None }
            }
            Some(adopted) if reason != Reason::Asked => {
                UserRecord { written: Some(Box::new(now)), ..adopted }
            }
            Some(of) => UserRecord { registration: of.registration, changed: now, written: None, secret },
            None => UserRecord { registration: now.clone(), changed: now, written: None, secret },
        };
        (username, record)
    }
}

fn is_latest(users: &Users, (username, record): &Entry) -> bool {
    users.registration(username, &record.registration) == Some(record)
}
