//! What this coordinator wrote once and has forgotten, because it was started from an older copy of its directory.
//!
//! Its own writings are known for certain as far as they were when it wrote for the first time in this run, and from there on. Whoever
//! claims to know them up to somewhere in between knows what is lost here. From then on it claims no more than it knew before it wrote, so
//! that everybody tells it the rest; and what comes of it is written anew, because others may have believed what it claimed until then.
//!
//! What is *not* here: the writings of earlier runs. Where one of them began from an older copy, and nobody told it, that is not noticed
//! any more.

use common::id::ServerId;
use common::user::Stamp;
use common::users::Seen;

/// What this run wrote, and what was known of our own writings before.
#[derive(Debug)]
pub(super) struct Run {
    before: Option<Stamp>,
    first: Stamp,
    /// Somebody knows of something in between.
    has_lost: bool,
}

impl Run {
    /// It begins with this stamp, and with this much known for certain.
    pub(super) fn new(first: Stamp, seen: &Seen) -> Self {
        Run { before: own(seen, &first.coordinator), first, has_lost: false }
    }

    /// Whether this was written by us in an earlier run, and is not known here.
    pub(super) fn lacks(&self, stamp: &Stamp) -> bool {
        let ours = stamp.coordinator == self.first.coordinator;
        ours && self.before.as_ref() < Some(stamp) && *stamp < self.first
    }

    /// Somebody says what they know. Says whether that shows for the first time that something is lost here.
    pub(super) fn compare(&mut self, seen: &Seen) -> bool {
        let lacks = own(seen, &self.first.coordinator).is_some_and(|stamp| self.lacks(&stamp));
        lacks && !std::mem::replace(&mut self.has_lost, true)
    }

    /// Of what is known for certain, what may be claimed.
    pub(super) fn claim(&self, seen: &Seen) -> Seen {
        if !self.has_lost {
            return seen.clone();
        }
        let (mut claimed, _) = seen.split(|writer| *writer != self.first.coordinator);
        self.before.iter().for_each(|stamp| claimed.advance(stamp));
        claimed
    }
}

fn own(seen: &Seen, me: &ServerId) -> Option<Stamp> {
    seen.stamps().find(|stamp| stamp.coordinator == *me)
}
