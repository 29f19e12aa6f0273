//! What somebody knows of the users, and what to tell them next.
//!
//! Users lie in the registry in the order in which each coordinator changed them. A worker or a backup is a cursor into that, a stamp for
//! each coordinator: the initial load of a million users and the one who registered just now are the same thing at different
//! distances from the end. So what waits for them stays bounded, and who returns hears only what they lack.

use std::collections::{BTreeMap, BTreeSet};

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

/// What is told together: one record of each name, and how much is known with them, if what was told before was heard.
pub(super) type Chunk = (BTreeMap<Username, UserRecord>, Seen);

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
        self.seen.merge(registry.seen());
        (users, registry.seen().clone())
    }

    /// Whether there is nothing left to tell of all that is known.
    pub(super) fn is_at_end(&self, registry: &Registry) -> bool {
        registry.beyond(&self.seen).all(|(_, record)| self.told.contains(record.written()))
    }

    pub(super) fn assert_bounds(&self, limit: usize) {
        assert!(self.told.len() <= limit, "{} changes were told apart", self.told.len());
    }
}
