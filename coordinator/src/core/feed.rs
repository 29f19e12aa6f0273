//! What a worker knows of the users, and what to tell it next.
//!
//! Users lie in the registry in the order in which each coordinator changed them. A worker is a cursor into that, a stamp for each
//! coordinator: the initial load of a million users and the one who registered just now are the same thing at different distances
//! from the end. So what waits for a worker stays bounded, and a worker that returns hears only what it lacks.

use std::collections::{BTreeMap, BTreeSet};

use common::user::{Stamp, UserRecord, Username};
use common::users::Seen;
use common::wire::{Message, SyncUser, UserRegisterResult};

use super::registry::Registry;

/// A worker's place in the order of changes.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// Everything up to here has been told.
    seen: Seen,
    /// What the worker was told ahead of its turn, because it asked for that registration itself (LOCK_ALLOWED).
    told: BTreeSet<Stamp>,
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

    /// The next message, of at most `limit` records and one of each name. `None`: the worker knows everything.
    pub(super) fn next(&mut self, registry: &Registry, limit: usize) -> Option<Message> {
        let mut users = BTreeMap::new();
        for (name, record) in registry.beyond(&self.seen.clone()) {
            if users.len() == limit || users.contains_key(name) {
                break;
            }
            self.seen.advance(&record.changed);
            if !self.told.remove(&record.changed) {
                users.insert(name.clone(), record.clone());
            }
        }
        match users.len() {
            0 => None,
            1 => users.pop_first().map(|(username, user)| fresh(username, user)),
            _ => Some(SyncUser { users, seen: Default::default(), r#override: false }.into()),
        }
    }

    pub(super) fn assert_bounds(&self, limit: usize) {
        assert!(self.told.len() <= limit, "{} changes were told apart", self.told.len());
    }
}

fn fresh(username: Username, user: UserRecord) -> Message {
    UserRegisterResult { username, user }.into()
}
