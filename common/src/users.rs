//! The directory of users, as every server keeps it: coordinators and workers alike.
//!
//! It is a map from a name to the registrations of that name that were ever made, and it merges (Shapiro, Preguiça, Baquero,
//! Zawirski, "Conflict-free Replicated Data Types", 2011): two sides of a cut go on by themselves, exchange records afterwards in
//! any order, any grouping and any number of times, and know the same. [`Seen`] says how much of it somebody knows, so that only
//! the rest is told.
//!
//! **Invariants.** Nothing is forgotten: a removed registration stays as a record without a secret, and never comes back. Of a name's
//! live registrations the earliest is *the user*; the others are *conflicts*, kept aside. Every record is found under the stamp
//! of its last change, by the coordinator that wrote it.
//!
//! What is *not* here: whether a change may be made. That is decided before a record is written.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::changes::{Change, Changes, Tick};
use crate::id::ServerId;
use crate::user::{Stamp, UserRecord, Username};

/// The directory. A million users take some 240 MB, 270 MB where all were adopted: names are shared between the tables, coordinators' ids
/// among all stamps.
#[derive(Debug, Default)]
pub struct Users {
    /// The registrations of each name, the earliest first. Nearly every name has one registration for ever.
    names: BTreeMap<Username, Box<[UserRecord]>>,
    /// By writer, what was written when.
    changes: BTreeMap<ServerId, Changes>,
    /// One copy of every id that occurs in a stamp.
    ids: BTreeSet<ServerId>,
    /// Names that have a user.
    len: usize,
    /// Registrations that are live.
    live: usize,
}

impl Users {
    /// Takes a record in, unless the directory knows as much already. Says whether it did not.
    pub fn merge(&mut self, username: Username, record: UserRecord) -> bool {
        let record = self.with_known_ids(record);
        let username = self.names.get_key_value(&username).map_or(username, |(known, _)| known.clone());
        let registrations = self.names.entry(username.clone()).or_default();
        let before = live(registrations);
        let written = record.written().clone();
        match take_in(registrations, record) {
            Taken::Known => return false,
            Taken::New => {}
            Taken::InsteadOf(old) => {
                if registrations.iter().all(|other| *other.written() != old)
                    && let Some(changes) = self.changes.get_mut(&old.coordinator)
                {
                    changes.remove(((old.wall, old.counter), username.clone()));
                }
            }
        }
        let after = live(registrations);
        self.len = self.len + usize::from(after > 0) - usize::from(before > 0);
        self.live = self.live + after - before;
        let changes = self.changes.entry(written.coordinator).or_default();
        changes.insert(((written.wall, written.counter), username));
        true
    }

    /// Whether [`merge`](Self::merge) would take this record in.
    pub fn is_news(&self, username: &Username, record: &UserRecord) -> bool {
        self.registration(username, &record.registration).is_none_or(|known| record.supersedes(known))
    }

    /// The user of this name: of its live registrations the earliest.
    pub fn get(&self, username: &Username) -> Option<&UserRecord> {
        user(self.registrations(username))
    }

    /// All registrations of this name, live and removed, the earliest first.
    pub fn registrations(&self, username: &Username) -> &[UserRecord] {
        self.names.get(username).map_or(&[], |registrations| registrations)
    }

    /// The registration with this id.
    pub fn registration(&self, username: &Username, id: &Stamp) -> Option<&UserRecord> {
        self.registrations(username).iter().find(|record| record.registration == *id)
    }

    /// The live registrations that lost their name to an earlier one.
    pub fn conflicts(&self) -> impl Iterator<Item = (&Username, &UserRecord)> {
        self.names.iter().flat_map(|(name, registrations)| {
            let live = registrations.iter().filter(|record| !record.is_removed());
            live.skip(1).map(move |record| (name, record))
        })
    }

    /// How many [`conflicts`](Self::conflicts) there are.
    pub fn conflict_count(&self) -> usize {
        self.live - self.len
    }

    /// How many names have a user.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no name has a user.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every record that is not covered by `seen`: writer by writer, each writer's in the order in which they were written.
    pub fn beyond<'a>(&'a self, seen: &Seen) -> impl Iterator<Item = (&'a Username, &'a UserRecord)> {
        let range = |(writer, changes): (&'a ServerId, &'a Changes)| {
            changes.after(seen.0.get(writer).copied()).map(move |change| (writer, change))
        };
        // Few writers: their ranges are made at once, and walked one after the other.
        let ranges: Vec<_> = self.changes.iter().map(range).collect();
        ranges.into_iter().flatten().flat_map(|(writer, (tick, name))| {
            let is_it = move |record: &&UserRecord| {
                let written = record.written();
                (written.wall, written.counter) == *tick && written.coordinator == *writer
            };
            self.registrations(name).iter().filter(is_it).map(move |record| (name, record))
        })
    }

    /// The latest stamp of each writer.
    pub fn latest(&self) -> Seen {
        let last = |(writer, changes): (&ServerId, &Changes)| Some((writer.clone(), changes.last()?.0));
        Seen(self.changes.iter().filter_map(last).collect())
    }

    /// Every record, in the order of names.
    pub fn into_records(self) -> Vec<(Username, UserRecord)> {
        let records = |(name, records): (Username, Box<[UserRecord]>)| {
            records.into_vec().into_iter().map(move |record| (name.clone(), record))
        };
        self.names.into_iter().flat_map(records).collect()
    }

    /// The record with our own copies of the ids in its stamps.
    fn with_known_ids(&mut self, mut record: UserRecord) -> UserRecord {
        record.registration.coordinator = self.intern(record.registration.coordinator);
        record.changed.coordinator = self.intern(record.changed.coordinator);
        if let Some(written) = &mut record.written {
            written.coordinator = self.intern(written.coordinator.clone());
        }
        record
    }

    fn intern(&mut self, id: ServerId) -> ServerId {
        match self.ids.get(&id) {
            Some(known) => known.clone(),
            None => {
                self.ids.insert(id.clone());
                id
            }
        }
    }
}

impl FromIterator<(Username, UserRecord)> for Users {
    /// Makes the tables at once, and full: those that grow entry by entry are half empty afterwards.
    fn from_iter<I: IntoIterator<Item = (Username, UserRecord)>>(records: I) -> Self {
        let mut users = Users::default();
        let alone = |(username, record)| -> (Username, Box<[UserRecord]>) {
            (username, Box::new([users.with_known_ids(record)]))
        };
        let mut names: Vec<_> = records.into_iter().map(alone).collect();
        names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        names.dedup_by(|(name, more), (known, registrations)| {
            let same = name == known;
            if same {
                for record in std::mem::take(more) {
                    take_in(registrations, record);
                }
            }
            same
        });
        let mut changes: BTreeMap<ServerId, Vec<Change>> = BTreeMap::new();
        for (name, registrations) in &names {
            users.len += usize::from(live(registrations) > 0);
            users.live += live(registrations);
            for Stamp { wall, counter, coordinator } in registrations.iter().map(UserRecord::written) {
                changes.entry(coordinator.clone()).or_default().push(((*wall, *counter), name.clone()));
            }
        }
        users.names = names.into_iter().collect();
        users.changes = changes.into_iter().map(|(writer, of)| (writer, of.into_iter().collect())).collect();
        users
    }
}

/// What the owner of a registration is told that lost its name to an earlier one.
pub fn lost_name(name: &Username) -> String {
    format!(
        "this registration of {name} lost its name to an earlier one, made at another coordinator while the two could not see each other. \
         Register under another name; whoever runs this network can see both with `client status --conflicts`"
    )
}

fn live(registrations: &[UserRecord]) -> usize {
    registrations.iter().filter(|record| !record.is_removed()).count()
}

/// What became of a record among the registrations of its name.
enum Taken {
    /// As much was known.
    Known,
    /// It is the first of its registration.
    New,
    /// It took the place of the one that was last changed then.
    InsteadOf(Stamp),
}

/// Takes a record in among the registrations of its name, the earliest first.
fn take_in(registrations: &mut Box<[UserRecord]>, record: UserRecord) -> Taken {
    match registrations.binary_search_by(|known| known.registration.cmp(&record.registration)) {
        Ok(at) if !record.supersedes(&registrations[at]) => Taken::Known,
        Ok(at) => Taken::InsteadOf(std::mem::replace(&mut registrations[at], record).written().clone()),
        Err(at) => {
            let mut more = std::mem::take(registrations).into_vec();
            more.reserve_exact(1);
            more.insert(at, record);
            *registrations = more.into_boxed_slice();
            Taken::New
        }
    }
}

fn user(registrations: &[UserRecord]) -> Option<&UserRecord> {
    registrations.iter().find(|record| !record.is_removed())
}

/// How much of the directory somebody knows: for each writer, everything up to a stamp. On the wire a list of stamps, one a writer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Stamp>", into = "Vec<Stamp>")]
pub struct Seen(BTreeMap<ServerId, Tick>);

impl Seen {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From now on everything that this writer wrote up to `stamp` is known.
    pub fn advance(&mut self, stamp: &Stamp) {
        let tick = (stamp.wall, stamp.counter);
        match self.0.get_mut(&stamp.coordinator) {
            Some(known) => *known = tick.max(*known),
            None => _ = self.0.insert(stamp.coordinator.clone(), tick),
        }
    }

    /// From now on everything is known that `other` knows, too.
    pub fn merge(&mut self, other: &Seen) {
        for (writer, tick) in &other.0 {
            match self.0.get_mut(writer) {
                Some(known) => *known = *tick.max(known),
                None => _ = self.0.insert(writer.clone(), *tick),
            }
        }
    }

    /// What is known to whoever knows both.
    #[must_use]
    pub fn joined_with(&self, other: &Seen) -> Seen {
        let mut both = self.clone();
        both.merge(other);
        both
    }

    /// Whether this record of a change is known.
    pub fn covers(&self, stamp: &Stamp) -> bool {
        self.0.get(&stamp.coordinator).is_some_and(|known| *known >= (stamp.wall, stamp.counter))
    }

    /// Whether everything is known that `other` knows.
    pub fn covers_all(&self, other: &Seen) -> bool {
        other.0.iter().all(|(writer, tick)| self.0.get(writer).is_some_and(|known| known >= tick))
    }

    /// The same without these writers: those for whom `of_others` is false are put into the second.
    pub fn split(&self, of_others: impl Fn(&ServerId) -> bool) -> (Seen, Seen) {
        let (others, rest) = self.0.clone().into_iter().partition(|(writer, _)| of_others(writer));
        (Seen(others), Seen(rest))
    }

    /// What both know for certain: of each writer the lesser stamp.
    pub fn meet(&self, other: &Seen) -> Seen {
        let both =
            |(writer, tick): (&ServerId, &Tick)| Some((writer.clone(), *tick.min(other.0.get(writer)?)));
        Seen(self.0.iter().filter_map(both).collect())
    }

    /// The stamps up to which everything is known, one a writer.
    pub fn stamps(&self) -> impl Iterator<Item = Stamp> {
        self.0.iter().map(|(writer, (wall, counter))| Stamp {
            wall: *wall,
            counter: *counter,
            coordinator: writer.clone(),
        })
    }
}

impl From<Vec<Stamp>> for Seen {
    fn from(stamps: Vec<Stamp>) -> Self {
        let mut seen = Seen::default();
        stamps.iter().for_each(|stamp| seen.advance(stamp));
        seen
    }
}

impl From<Seen> for Vec<Stamp> {
    fn from(seen: Seen) -> Self {
        seen.stamps().collect()
    }
}

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;
