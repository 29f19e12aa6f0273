//! How many of the clients that are attached here receive each activity.
//!
//! Every frame of the log has an ordinal. A client has the frames of the log in order, so what it has is told by one number: it has
//! all from where it was attached to there, and none beyond. So nothing is counted when a frame is delivered; instead all readers are
//! looked at every few milliseconds while something is uncounted. What all of them have is counted. What somebody lacks waits for that
//! one, and is counted as it stands when it has waited for long enough. Whoever has missed that is not waited for again before it has caught
//! up: one that reads slowly, or says nothing, delays the reports of others for a few seconds, and then no more.
//!
//! A reader that leaves lacks everything from some frame to the end. Such failures are kept as steps: one up where they begin, one down
//! where they end. The sum of the steps up to a frame is how many failed to receive it.
//!
//! **Invariant.** An activity is counted once, in the order of the log, and never more readers have it than were attached when it was
//! appended.
//!
//! Not here: the readers themselves, and what becomes of the counts (`reports`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use common::id::{Incarnation, Seq};
use common::session::SessionId;
use common::time::Time;
use common::wire::DeliveryCount;

use super::log::Offset;

/// The shortest and the longest pause between two looks at all readers. It doubles while nothing can be counted: some thousands of
/// readers that all wait for one slow one cost little.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));

/// Activities that wait to be counted after a look. Beyond: the oldest are counted as they stand. At some 70 bytes each, 18 MB.
const UNCOUNTED: usize = 1 << 18;

/// How far back somebody may be who is waited for: it must have all that was counted until then. It is far longer than whoever is well takes to
/// acknowledge what it has.
const CAUGHT_UP: Duration = Duration::from_secs(1);

/// How often it is noted how far has been counted.
const MARK_EVERY: Duration = Duration::from_millis(100);

/// The number of a frame among all that this process has appended to its log; the first is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ordinal(u64);

impl Ordinal {
    /// The ordinal `frames` further on.
    pub(super) fn plus(self, frames: u64) -> Ordinal {
        Ordinal(self.0.saturating_add(frames))
    }
}

/// An attached client, as far as deliveries go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reader {
    /// [`Deliveries::next_ordinal`] when it was attached: what was appended before is not counted for it.
    pub(super) from: Ordinal,
    /// The same when it was sent to another worker: what was appended since then it gets there.
    pub(super) until: Option<Ordinal>,
    /// What it has.
    pub(super) has: Has,
}

/// What a client has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Has {
    /// It has acknowledged all frames below this one.
    Acknowledged(Ordinal),
    /// It cannot acknowledge. So much of the log has been written to it.
    Written(Offset),
}

/// The activities that are not counted yet.
#[derive(Debug)]
pub(super) struct Deliveries {
    /// The ordinal of the first of `uncounted`.
    first: Ordinal,
    uncounted: VecDeque<Uncounted>,
    /// One for each of `uncounted` and one for what follows: how many more fail to receive it than the one before.
    steps: VecDeque<i64>,
    /// How many failed to receive the one before `first`.
    failing: i64,
    /// Where the last one that was counted ends.
    counted: Offset,
    /// How far had been counted, and when: the latest, and one that is [`CAUGHT_UP`] old.
    marks: VecDeque<Mark>,
    patience: Duration,
    next_look: Time,
    pause: Duration,
}

/// How far had been counted.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Time,
    first: Ordinal,
    counted: Offset,
}

#[derive(Debug)]
struct Uncounted {
    session: SessionId,
    seq: Seq,
    taken_by: Incarnation,
    attached: u64,
    appended: Time,
    end: Offset,
}

impl Deliveries {
    /// Nothing is uncounted. Each activity will wait for its slowest reader for `patience`, and for the next look.
    pub(super) fn new(patience: Duration) -> Self {
        Deliveries {
            first: Ordinal(0),
            uncounted: VecDeque::new(),
            steps: VecDeque::from([0]),
            failing: 0,
            counted: Offset::default(),
            marks: VecDeque::new(),
            patience,
            next_look: Time::ZERO,
            pause: LOOK_EVERY.0,
        }
    }

    /// The ordinal that the next frame will have.
    pub(super) fn next_ordinal(&self) -> Ordinal {
        self.first.plus(self.uncounted.len() as u64)
    }

    /// `session`'s activity `seq`, which `taken_by` took in, was appended to the log, which ends at `end` now. So many of the clients that
    /// are attached count, its own among them.
    pub(super) fn appended(
        &mut self,
        now: Time,
        (session, seq): (SessionId, Seq),
        taken_by: Incarnation,
        attached: u64,
        end: Offset,
    ) {
        if self.uncounted.is_empty() {
            self.pause = LOOK_EVERY.0;
            self.next_look = now + self.pause;
        }
        self.uncounted.push_back(Uncounted { session, seq, taken_by, attached, appended: now, end });
        self.steps.push_back(0);
    }

    /// A reader is gone. What it lacks has failed.
    pub(super) fn left(&mut self, reader: Reader) {
        self.fail(reader, self.lacks(reader), self.next_ordinal());
    }

    /// When to [`look`](Self::look) at the readers, where something is uncounted.
    pub(super) fn deadline(&self) -> Option<Time> {
        (!self.uncounted.is_empty()).then_some(self.next_look)
    }

    /// Looks at all readers. Returns what is counted now, each session's activities in the order of the log, as runs with equal counts.
    pub(super) fn look(
        &mut self,
        now: Time,
        readers: impl IntoIterator<Item = Reader>,
    ) -> Vec<DeliveryCount> {
        let overdue = self.overdue(now);
        let mark = self.mark(now);
        let mut received_by_all = self.next_ordinal();
        let mut behind = Vec::new();
        for reader in readers {
            let lacks = self.lacks(reader);
            if reader.until.is_some_and(|until| until <= lacks) {
                // It has all that is counted for it.
            } else if mark.is_some_and(|mark| mark.is_beyond(reader)) {
                behind.push((reader, lacks));
            } else {
                self.fail(reader, lacks, overdue);
                received_by_all = received_by_all.min(lacks);
            }
        }
        let until = received_by_all.max(overdue);
        behind.into_iter().for_each(|(reader, lacks)| self.fail(reader, lacks, until));
        let counts = self.count(until);
        if self.marks.back().is_none_or(|last| last.at + MARK_EVERY <= now) {
            self.marks.push_back(Mark { at: now, first: self.first, counted: self.counted });
        }
        self.pause = if counts.is_empty() { (self.pause * 2).min(LOOK_EVERY.1) } else { LOOK_EVERY.0 };
        self.next_look = now + self.pause;
        counts
    }

    /// Asserts that no more waits than may, with what may come between two looks, and that the steps lead back to the ground.
    pub(super) fn assert_bounds(&self) {
        assert!(self.uncounted.len() <= 2 * UNCOUNTED, "{} are uncounted", self.uncounted.len());
        assert_eq!(self.steps.len(), self.uncounted.len() + 1, "each has its step");
        let failing = self.failing + self.steps.iter().sum::<i64>();
        assert_eq!(failing, 0, "nobody fails to receive what is not there yet");
    }

    /// The first frame that waits for nobody any longer is before this one.
    fn overdue(&self, now: Time) -> Ordinal {
        let late = self.uncounted.partition_point(|activity| activity.appended + self.patience <= now);
        self.first.plus(late.max(self.uncounted.len().saturating_sub(UNCOUNTED)) as u64)
    }

    /// How far had been counted a while ago.
    fn mark(&mut self, now: Time) -> Option<Mark> {
        while self.marks.get(1).is_some_and(|next| next.at + CAUGHT_UP <= now) {
            self.marks.pop_front();
        }
        self.marks.front().copied().filter(|mark| mark.at + CAUGHT_UP <= now)
    }

    /// The first uncounted frame that this reader lacks; the next one of all where it lacks none.
    fn lacks(&self, reader: Reader) -> Ordinal {
        let has = match reader.has {
            Has::Acknowledged(ordinal) => ordinal,
            // Nearly everybody is at the end.
            Has::Written(position) if self.uncounted.back().is_none_or(|last| last.end <= position) => {
                self.next_ordinal()
            }
            Has::Written(position) => {
                self.first.plus(self.uncounted.partition_point(|activity| activity.end <= position) as u64)
            }
        };
        has.max(reader.from).clamp(self.first, self.next_ordinal())
    }

    /// This reader fails to receive all from `from` until before `until`, as far as that is counted for it.
    fn fail(&mut self, reader: Reader, from: Ordinal, until: Ordinal) {
        let until = reader.until.map_or(until, |sent_on| until.min(sent_on));
        if from < until {
            let first = self.first.0;
            let step = |ordinal: Ordinal| usize::try_from(ordinal.0 - first).expect("it is uncounted");
            self.steps[step(from)] += 1;
            self.steps[step(until)] -= 1;
        }
    }

    /// Counts all before `until`.
    fn count(&mut self, until: Ordinal) -> Vec<DeliveryCount> {
        // Several publish at once, and each one's are to be joined.
        let mut counts: BTreeMap<SessionId, Vec<DeliveryCount>> = BTreeMap::new();
        while self.first < until {
            let activity = self.uncounted.pop_front().expect("nothing is counted that was not appended");
            self.failing += self.steps.pop_front().expect("each has its step");
            self.first = self.first.plus(1);
            self.counted = activity.end;
            let failed = u64::try_from(self.failing).expect("who has begun to fail ends later");
            let count = DeliveryCount {
                session: activity.session,
                first: activity.seq,
                last: activity.seq,
                taken_by: activity.taken_by,
                client_count: activity.attached,
                // Who is not counted may have failed, too.
                succ_count: activity.attached.saturating_sub(failed),
            };
            count.append_to(counts.entry(activity.session).or_default());
        }
        counts.into_values().flatten().collect()
    }
}

impl Mark {
    /// Whether this reader lacks something that had been counted by then.
    fn is_beyond(&self, reader: Reader) -> bool {
        let lacks = match reader.has {
            Has::Acknowledged(ordinal) => ordinal < self.first,
            Has::Written(position) => position < self.counted,
        };
        lacks && reader.from < self.first
    }
}

#[cfg(test)]
#[path = "deliveries_tests.rs"]
mod tests;
