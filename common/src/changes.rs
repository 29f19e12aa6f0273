//! The order in which one coordinator has written users, packed: a million changes take 32 MB, half of what a tree takes that grows at
//! its end.
//!
//! **Invariant.** `settled` is sorted and holds nothing twice, nothing of `recent` is in it, and everything of `removed` is. What lies
//! beside it is a small part of it, so that putting both together is rare and cheap by the change.
//!
//! What is *not* here: the records.

use std::collections::BTreeSet;

use crate::time::WallMillis;
use crate::user::Username;

/// When something was written, within what one coordinator writes.
pub(crate) type Tick = (WallMillis, u32);

/// A change: when, and whose record. The name belongs to it because two writers may bear one id by mistake.
pub(crate) type Change = (Tick, Username);

/// Changes beside the packed ones, at the least, before they are put together.
const SOME: usize = 1_024;

/// How many packed changes there are, beyond those, for each one beside them.
const PACKED_EACH: usize = 32;

/// Changes in their order.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Nearly all of them, in order.
    settled: Vec<Change>,
    /// Those that have come since.
    recent: BTreeSet<Change>,
    /// Those among the settled that are none any more.
    removed: BTreeSet<Change>,
}

impl Changes {
    /// Adds a change, unless it is there.
    pub(crate) fn insert(&mut self, change: Change) {
        if !self.removed.remove(&change) && self.settled.binary_search(&change).is_err() {
            self.recent.insert(change);
            self.settle();
        }
    }

    /// Takes a change out, where it is there.
    pub(crate) fn remove(&mut self, change: Change) {
        if !self.recent.remove(&change) && self.settled.binary_search(&change).is_ok() {
            self.removed.insert(change);
            self.settle();
        }
    }

    /// The changes after that time, in order; all without one.
    pub(crate) fn after(&self, time: Option<Tick>) -> impl Iterator<Item = &Change> {
        let is_later = move |change: &Change| Some(change.0) > time;
        let from = self.settled.partition_point(|change| !is_later(change));
        let settled = self.settled[from..].iter().filter(|change| !self.removed.contains(change));
        let start = (time.unwrap_or_default(), Username::before_all());
        let recent = self.recent.range(start..).filter(move |change| is_later(change));
        let (mut settled, mut recent) = (settled.peekable(), recent.peekable());
        std::iter::from_fn(move || match (settled.peek(), recent.peek()) {
            (Some(one), Some(other)) if one > other => recent.next(),
            (Some(_), _) => settled.next(),
            (None, _) => recent.next(),
        })
    }

    /// The last change.
    pub(crate) fn last(&self) -> Option<&Change> {
        let settled = self.settled.iter().rev().find(|change| !self.removed.contains(change));
        settled.max(self.recent.last())
    }

    /// Puts all together, where more lies beside the settled changes than is little.
    fn settle(&mut self) {
        if self.recent.len() + self.removed.len() <= SOME + self.settled.len() / PACKED_EACH {
            return;
        }
        if !self.removed.is_empty() {
            let mut removed = std::mem::take(&mut self.removed).into_iter().peekable();
            self.settled.retain(|change| removed.next_if_eq(change).is_none());
        }
        let in_order = self.settled.last() < self.recent.first();
        self.settled.extend(std::mem::take(&mut self.recent));
        if !in_order {
            self.settled.sort();
        }
    }
}

impl FromIterator<Change> for Changes {
    fn from_iter<I: IntoIterator<Item = Change>>(changes: I) -> Self {
        let mut settled: Vec<Change> = changes.into_iter().collect();
        settled.sort_unstable();
        settled.dedup();
        Changes { settled, ..Changes::default() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn change(number: u64) -> Change {
        ((WallMillis(number / 2), (number % 2) as u32), format!("u{}", number % 3).parse().unwrap())
    }

    proptest! {
        #[test]
        fn they_are_what_a_set_would_be(
            first in vec(0..4_000u64, 0..50),
            rounds in vec((0..4_000u64, 1..1_500u64, any::<bool>()), 0..8),
            time in 0..2_000u64,
        ) {
            let mut set: BTreeSet<Change> = first.iter().copied().map(change).collect();
            let mut changes: Changes = first.into_iter().map(change).collect();
            for (from, count, insert) in rounds {
                for number in from..from + count {
                    if insert {
                        set.insert(change(number));
                        changes.insert(change(number));
                    } else {
                        set.remove(&change(number));
                        changes.remove(change(number));
                    }
                }
                prop_assert!(changes.after(None).eq(&set));
                let time = (WallMillis(time), 0);
                prop_assert!(changes.after(Some(time)).eq(set.iter().filter(|change| change.0 > time)));
                prop_assert_eq!(changes.last(), set.last());
                let beside = changes.recent.len() + changes.removed.len();
                prop_assert!(beside <= SOME + changes.settled.len() / PACKED_EACH);
            }
        }
    }
}
