//! The way to the disk: what is to be written, and what is to be done when it is.
//!
//! Whatever is asked for while the disk is busy goes there together afterwards (group commit), in the order in which it was asked for.
//! **Invariants.** Nothing counts before the disk has confirmed it. What has been asked to be written is written: where the disk fails,
//! whoever waits is told so, and it is tried again until it succeeds, because another coordinator may hold the same already.

use std::time::Duration;

use common::epoch::Epoch;
use common::id::{LinkId, ServerId};
use common::machine::{Action, JobId};
use common::time::Time;
use common::user::{UserRecord, Username};
use common::users::{Seen, Users};
use tracing::error;

use super::config::{Change, Effect, Group};
use super::feed::Claim;
use super::{Coordinator, Turn};

/// How long a failing disk is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// How long a disk may take before it counts as failing. Nothing else is asked of it meanwhile.
const HANGS: Duration = Duration::from_secs(3);

/// Something to be written.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) users: Vec<(Username, UserRecord)>,
    /// What is known once the users are written.
    pub(super) claim: Claim,
    pub(super) group: Option<Group>,
    pub(super) then: Then,
}

/// What is to be done when it is written.
#[derive(Debug)]
pub(super) enum Then {
    Nothing,
    /// The registry's own batch counts now.
    Settle,
    /// The main coordinator is told that its update is done here.
    Confirm {
        link: LinkId,
        update: u64,
    },
    /// What was on its way to the disk when this coordinator began to follow is known: now it can be said what the main one lacks, which
    /// knows this much.
    Upload {
        link: LinkId,
        update: u64,
        known_there: Seen,
    },
    /// All that this backup knew and we did not is written.
    Uploaded {
        link: LinkId,
    },
    /// This coordinator reigns.
    Reign(Epoch),
    /// The operator at the other end is told that this coordinator is forgotten.
    Forgotten {
        link: LinkId,
        id: ServerId,
    },
}

impl Write {
    pub(super) fn nothing(then: Then) -> Self {
        Write { users: Vec::new(), claim: Claim::default(), group: None, then }
    }

    fn is_empty(&self) -> bool {
        self.users.is_empty() && self.claim.complete.is_empty() && self.group.is_none()
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Writing {
    waiting: Vec<Write>,
    outstanding: Option<(JobId, Vec<Write>)>,
    /// The disk has failed: nothing before then.
    failed_until: Option<Time>,
    /// When what is outstanding takes too long.
    hangs_at: Option<Time>,
    /// It takes too long.
    hangs: bool,
}

impl Writing {
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.outstanding.is_none()
    }

    /// Whether the disk failed when it was used last.
    pub(super) fn is_failing(&self) -> bool {
        self.failed_until.is_some() || self.hangs
    }

    /// Whether the disk has not answered for too long.
    pub(super) fn hangs(&self) -> bool {
        self.hangs
    }

    /// Whether something of this name is on its way to the disk.
    pub(super) fn mentions(&self, username: &Username) -> bool {
        let outstanding = self.outstanding.iter().flat_map(|(_, writes)| writes);
        outstanding.chain(&self.waiting).any(|write| write.users.iter().any(|(name, _)| name == username))
    }

    /// The peer at the other end of this link begins anew: what it was to hear of what went before is not said any more.
    pub(super) fn forget(&mut self, link: LinkId) {
        let outstanding = self.outstanding.iter_mut().flat_map(|(_, writes)| writes);
        for write in outstanding.chain(&mut self.waiting) {
            match write.then {
                Then::Confirm { link: of, .. }
                | Then::Upload { link: of, .. }
                | Then::Uploaded { link: of }
                    if of == link =>
                {
                    write.then = Then::Nothing;
                }
                _ => {}
            }
        }
    }

    /// When to try again.
    pub(super) fn deadline(&self) -> Option<Time> {
        let retry = self.failed_until.filter(|_| self.outstanding.is_none() && !self.waiting.is_empty());
        [retry, self.hangs_at].into_iter().flatten().min()
    }
}

impl Coordinator {
    /// Has something written, with whatever else waits.
    pub(super) fn write(&mut self, turn: &mut Turn<'_>, write: Write) {
        self.writing.waiting.push(write);
        self.write_waiting(turn);
    }

    /// Hands what waits to the disk, where the disk is free.
    pub(super) fn write_waiting(&mut self, turn: &mut Turn<'_>) {
        let writing = &mut self.writing;
        let resting = writing.failed_until.is_some_and(|until| turn.now.time < until);
        if writing.outstanding.is_some() || writing.waiting.is_empty() || resting {
            return;
        }
        let writes = std::mem::take(&mut writing.waiting);
        if writes.iter().all(Write::is_empty) {
            return self.written(turn, writes);
        }
        let mut change = Change::default();
        let mut seen = self.registry.complete().clone();
        let mut users = Users::default();
        for write in &writes {
            for (username, record) in &write.users {
                // What is on disk may be newer than what has come from elsewhere.
                if self.registry.is_newest(username, record) {
                    users.merge(username.clone(), record.clone());
                }
            }
            seen.merge(&write.claim.complete);
            if write.group.is_some() {
                change.group.clone_from(&write.group);
            }
        }
        change.users = users.into_records();
        change.seen = (seen != *self.registry.complete()).then_some(seen);
        let job = self.jobs.number();
        self.writing.outstanding = Some((job, writes));
        self.writing.hangs_at = Some(turn.now.time + HANGS);
        turn.actions.push(Action::Effect(Effect::Persist { job, change }));
    }

    pub(super) fn persisted(&mut self, turn: &mut Turn<'_>, job: JobId) {
        self.writing.failed_until = None;
        let writes = self.take_outstanding(job);
        self.written(turn, writes);
    }

    /// Where the disk has not answered for too long: whoever waits is told so, and a backup is to reign.
    pub(super) fn see_whether_the_disk_hangs(&mut self, turn: &mut Turn<'_>) {
        if self.writing.hangs_at.take_if(|at| *at <= turn.now.time).is_some() {
            error!("the disk has not answered for {HANGS:?}; who asked is told so");
            self.writing.hangs = true;
            self.not_stored(turn);
            self.announce_standing(turn);
            self.hand_over_for_want_of_a_disk(turn);
        }
    }

    pub(super) fn persist_failed(&mut self, turn: &mut Turn<'_>, job: JobId, reason: &str) {
        let again = self.writing.is_failing();
        let is_news = self.complaints.is_news(turn.now.time, "our own disk", reason);
        if is_news || !again {
            error!(reason, "the disk takes nothing; it is tried again, and who asked is told so");
        }
        let mut writes = self.take_outstanding(job);
        writes.append(&mut self.writing.waiting);
        self.writing.waiting = writes;
        self.writing.failed_until = Some(turn.now.time + RETRY);
        self.not_stored(turn);
        self.announce_standing(turn);
        if again {
            self.hand_over_for_want_of_a_disk(turn);
        }
    }

    fn take_outstanding(&mut self, job: JobId) -> Vec<Write> {
        (self.writing.hangs_at, self.writing.hangs) = (None, false);
        let outstanding = self.writing.outstanding.take().filter(|(outstanding, _)| *outstanding == job);
        outstanding.expect("the disk answers the one change that it was given").1
    }

    fn written(&mut self, turn: &mut Turn<'_>, writes: Vec<Write>) {
        let news = writes.iter().any(|write| !write.users.is_empty());
        let mut then = Vec::new();
        for write in writes {
            self.reserved = write.group.map_or(self.reserved, |group| group.stamps_until);
            self.registry.take_in(turn.now.wall, write.users, &write.claim);
            then.push(write.then);
        }
        // What became of a batch is said by all that the disk holds now: an earlier registration may have come with it.
        if then.iter().any(|then| matches!(then, Then::Settle)) {
            self.settling();
        }
        if news {
            self.feed_all(turn);
        }
        for then in then {
            match then {
                Then::Nothing => {}
                Then::Settle => self.settled(turn),
                Then::Confirm { link, update } => self.update_done(turn, link, update),
                Then::Upload { link, update, known_there } => {
                    self.begin_upload(turn, link, known_there);
                    self.update_done(turn, link, update);
                }
                Then::Uploaded { link } => self.uploaded(turn, link),
                Then::Reign(epoch) => self.reign(turn, epoch),
                Then::Forgotten { link, id } => self.forgotten(turn, link, &id),
            }
        }
        self.believe_claimed(turn);
        self.believe_claims(turn);
        self.unpark_repetitions(turn);
        self.write_waiting(turn);
        self.propose_next(turn);
        self.finish_drain(turn);
    }
}
