//! What somebody knows of the users, and what to tell them next.
//!
//! Users lie in the registry in the order in which each coordinator changed them. A worker or a backup is a cursor into that, a stamp for
//! each coordinator: the initial load of a million users and the one who registered just now are the same thing at different
//! distances from the end. So what waits for them stays bounded, and who returns hears only what they lack.

use std::collections::{BTreeMap, BTreeSet};

use common::id::ServerId;
use common::user::{Stamp, UserRecord, Username};
use common::users::Seen;

use super::registry::Registry;

/// A place in the order of changes.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// Everything up to here has been told.
    seen: Seen,
    /// What was told ahead of its turn: to a worker because it asked for that registration itself (LOCK_ALLOWED), to a backup because it
    /// was proposed.
    told: BTreeSet<Stamp>,
}

/// What is told together: one record of each name, and which of them are known for certain. Where there is none: how much whoever has heard
/// all that was told before knows now.
pub(super) type Chunk = (BTreeMap<Username, UserRecord>, Seen);

/// What somebody says that goes with users.
///
/// What is *certain* and what is *complete* differ while there is more to tell: a user who has been changed lies at the latest change
/// alone, so whoever was told all up to an earlier stamp may lack the user altogether. If the link breaks then, the next main coordinator,
/// which may know the user only as it was before, must not believe that nothing is to be told.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim {
    /// Up to here, no record is only proposed.
    pub(super) certain: Seen,
    /// Up to here, no record is lacking.
    pub(super) complete: Seen,
}

impl Claim {
    /// What is said by `seen`, in a message with users or without any.
    pub(super) fn of(seen: Seen, is_last: bool) -> Self {
        let complete = if is_last { seen.clone() } else { Seen::default() };
        Claim { certain: seen, complete }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.certain.is_empty() && self.complete.is_empty()
    }

    pub(super) fn merge(&mut self, other: &Claim) {
        self.certain.merge(&other.certain);
        self.complete.merge(&other.complete);
    }

    /// The same of these writers alone, and of the others.
    pub(super) fn split(&self, of_these: impl Fn(&ServerId) -> bool) -> (Claim, Claim) {
        let (certain, uncertain) = self.certain.split(&of_these);
        let (complete, rest) = self.complete.split(&of_these);
        (Claim { certain, complete }, Claim { certain: uncertain, complete: rest })
    }
}

impl Cursor {
    /// The place of a worker that says how much it knows.
    pub(super) fn starting_after(seen: Seen) -> Self {
        Cursor { seen, told: BTreeSet::new() }
    }

    /// The worker is being told of this change separately. Remembers at most `limit` such changes; of those beyond, it hears twice.
    pub(super) fn told_apart(&mut self, stamp: Stamp, limit: usize) {
        if self.told.len() < limit {
            self.told.insert(stamp);
        }
    }

    /// The next records, `limit` at the most, of those that may be told. None: everything has been told.
    pub(super) fn next(
        &mut self,
        registry: &Registry,
        limit: usize,
        may_be_told: impl Fn(&UserRecord) -> bool,
    ) -> Chunk {
        let mut users = BTreeMap::new();
        let start = self.seen.clone();
        for (name, record) in registry.beyond(&start).filter(|(_, record)| may_be_told(record)) {
            if users.len() == limit || users.contains_key(name) {
                return (users, self.seen.meet(registry.seen()));
            }
            self.seen.advance(record.written());
            if !self.told.remove(record.written()) {
                users.insert(name.clone(), record.clone());
            }
        }
        // Of what was written over there is nothing left to tell.
        self.seen.merge(registry.complete());
        let seen = if users.is_empty() { registry.complete() } else { registry.seen() };
        (users, seen.clone())
    }

    /// Whether there is nothing left to tell of all that is known.
    pub(super) fn is_at_end(&self, registry: &Registry) -> bool {
        registry.beyond(&self.seen).all(|(_, record)| self.told.contains(record.written()))
    }

    pub(super) fn assert_bounds(&self, limit: usize) {
        assert!(self.told.len() <= limit, "{} changes were told apart", self.told.len());
    }
}

#[cfg(test)]
mod tests {
    use common::time::WallMillis;

    use super::super::config::Limits;
    use super::*;

    #[test]
    fn nobody_is_said_to_lack_nothing_before_everything_is_told() {
        // A backup was interrupted when it had been told of bob, and claimed all up to him. It had not been told of ann, who came before
        // him and had been changed since at another coordinator. One that knew her only as she was before then took it to know her.
        let record = |registration: &str, changed: &str| UserRecord {
            registration: registration.parse().unwrap(),
            changed: changed.parse().unwrap(),
            written: None,
            secret: None,
        };
        let users: Vec<(Username, UserRecord)> = vec![
            ("ann".parse().unwrap(), record("1.0@c1", "9.0@c2")),
            ("bob".parse().unwrap(), record("2.0@c1", "2.0@c1")),
        ];
        let mut seen = Seen::default();
        users.iter().for_each(|(_, record)| seen.advance(record.written()));
        let limits = Limits::default();
        let registry = || {
            let (nobody, nothing) = Default::default();
            Registry::new("c2".parse().unwrap(), WallMillis(9), nobody, nothing, &limits, false)
        };
        let (mut main, mut backup) = (registry(), registry());
        main.take_in(WallMillis(9), users, &Claim::of(seen.clone(), true));
        let mut cursor = Cursor::default();
        for name in ["bob", "ann"] {
            assert!(backup.complete().is_empty(), "ann is still to come, or has just come");
            let (users, seen) = cursor.next(&main, 1, |_| true);
            let claim = Claim::of(seen, users.is_empty());
            backup.take_in(WallMillis(9), users.into_iter().collect(), &claim);
            assert!(backup.is_certain(), "{name} was not only proposed");
        }
        let (users, seen) = cursor.next(&main, 1, |_| true);
        backup.take_in(WallMillis(9), Vec::new(), &Claim::of(seen.clone(), users.is_empty()));
        assert_eq!((users.len(), backup.complete()), (0, &seen));
    }

    #[test]
    fn what_comes_behind_a_claim_that_is_not_complete_is_told_all_the_same() {
        // A worker told of users in two messages, and said with the first what it knew for certain. The backup was told of the first ones,
        // and the others seemed to be told.
        let stamp = |text: &str| -> Stamp { text.parse().unwrap() };
        let user = |name: &str, at: &str| {
            let (registration, changed) = (stamp(at), stamp(at));
            (name.parse().unwrap(), UserRecord { registration, changed, written: None, secret: None })
        };
        let (nobody, nothing) = Default::default();
        let mut main =
            Registry::new("c3".parse().unwrap(), WallMillis(9), nobody, nothing, &Limits::default(), false);
        let (mut cursor, mut seen) = (Cursor::default(), Seen::default());
        seen.advance(&stamp("9.0@c2"));
        for (name, at) in [("ann", "1.0@c2"), ("bob", "9.0@c2")] {
            main.take_in(WallMillis(9), vec![user(name, at)], &Claim::of(seen.clone(), false));
            let (users, _) = cursor.next(&main, 5, |_| true);
            assert_eq!(users.into_keys().map(|name| name.to_string()).collect::<Vec<_>>(), [name]);
        }
    }
}
