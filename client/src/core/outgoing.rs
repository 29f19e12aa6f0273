//! Activities that were published and are not reported on yet: what of a session outlives its connections on the way out.
//!
//! Each has its number in the session, and leaves over the connection that stands in the order of the numbers. What a connection took
//! away without a report is sent again over the next one, before anything new; a worker knows it by its number.
//!
//! A server that gives no reports leaves no choice: there an activity is done when its last byte is written, and one of which a part was
//! written when the connection broke is gone, because half of it may be on the other side, and whether it counts there nobody knows.
//!
//! **Invariant.** `frames` are whole frames with consecutive numbers, from `first`. The first `handed` of them are with the connection
//! that stands.

use std::collections::VecDeque;

use common::id::Seq;
use common::limits;
use common::outbox::Outbox;
use common::position::Ranges;
use common::time::Time;
use common::wire::{Activity, ActivityMessage, ActivitySendingReport, Message};

use super::config::{Limits, Report};

/// The longest frame.
pub(super) const FRAME_BYTES: usize = limits::LINE_BYTES + limits::ENVELOPE_BYTES;

/// Bytes that are handed to a connection ahead of its taking them. What is said meanwhile, an acknowledgement above all, waits behind
/// no more than these and a frame.
pub(super) const AHEAD_BYTES: usize = 64 << 10;

/// Encoded ACTIVITY_MESSAGEs, in order.
#[derive(Debug)]
pub(super) struct Outgoing {
    frames: VecDeque<Box<[u8]>>,
    /// The number of the first frame.
    first: u64,
    /// Of all frames together.
    bytes: usize,
    handed: usize,
    /// The numbers of which it is known what became of them, all before the session's first among them.
    settled: Ranges,
    max_activities: usize,
    max_bytes: usize,
}

/// A report on what was never published, or that makes no sense in itself. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it reported on activities that were never published")]
pub(super) struct Overclaim;

impl Outgoing {
    /// The first activity will have this number.
    pub(super) fn new(next: Seq, limits: &Limits) -> Self {
        Outgoing {
            frames: VecDeque::new(),
            first: next.0,
            bytes: 0,
            handed: 0,
            settled: next.0.checked_sub(1).map_or_else(Ranges::default, |last| Ranges::of(0, last)),
            max_activities: limits.unreported_activities,
            max_bytes: limits.unreported_bytes,
        }
    }

    /// Whether one more activity, of any acceptable length, may be pushed.
    pub(super) fn has_room(&self) -> bool {
        self.frames.len() < self.max_activities && self.bytes < self.max_bytes
    }

    /// How many activities wait, for their turn or for their report.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The number of the activity that is pushed next.
    pub(super) fn next(&self) -> Seq {
        Seq(self.first + self.frames.len() as u64)
    }

    /// Appends an activity.
    ///
    /// # Panics
    /// When there is no room, or the activity is not acceptable.
    pub(super) fn push(&mut self, activity: Activity) {
        assert!(self.has_room(), "{} activities wait, and has_room() was not asked", self.frames.len());
        let frame = frame(self.next(), activity);
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Hands frames to the connection that stands, as many as are to be there ahead of being taken.
    pub(super) fn hand_over(&mut self, now: Time, outbox: &mut Outbox) {
        while outbox.len() < AHEAD_BYTES
            && let Some(frame) = self.frames.get(self.handed)
        {
            outbox.push_frame(now, frame).expect("a connection has room for a frame more than is ahead");
            self.handed += 1;
        }
        self.release(self.handed);
    }

    /// What has not been handed over yet.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.range(self.handed..).map(|frame| &frame[..])
    }

    /// A report has come. Returns what of it is news.
    pub(super) fn reported(&mut self, report: ActivitySendingReport) -> Result<Vec<Report>, Overclaim> {
        let (first, last) = (report.first_seq.unwrap_or(report.activity_seq), report.activity_seq);
        if first > last || last >= self.next() {
            return Err(Overclaim);
        }
        let news = Ranges::of(first.0, last.0).without(&self.settled);
        self.settled.add(first.0, last.0);
        self.release(self.handed);
        let part = |(first, last)| Report {
            first: Seq(first),
            last: Seq(last),
            client_count: report.client_count,
            succ_count: report.succ_count,
            fail_count: report.fail_count,
            durability: report.durability,
            unreachable: report.unreachable.clone(),
        };
        Ok(news.iter().map(part).collect())
    }

    /// To a server that gives no reports so many frames have been written in full. Returns the numbers of those that had not been
    /// reported on before, by some other server.
    pub(super) fn written(&mut self, frames: usize) -> Ranges {
        assert!(frames <= self.handed, "{frames} frames were written of {}", self.handed);
        let end = self.first + frames as u64;
        let written = if frames == 0 { Ranges::default() } else { Ranges::of(self.first, end - 1) };
        let news = written.without(&self.settled);
        written.iter().for_each(|(first, last)| self.settled.add(first, last));
        self.release(frames);
        news
    }

    /// The connection is gone: what is left is to be sent again.
    pub(super) fn connection_lost(&mut self) {
        self.release(self.handed);
        self.handed = 0;
    }

    /// Drops those of the first `frames` that are settled, in order. One that is settled before it was handed over goes out all the
    /// same: over one connection no number is left out.
    fn release(&mut self, frames: usize) {
        for _ in 0..frames {
            if !self.settled.contains(self.first) {
                return;
            }
            let frame = self.frames.pop_front().expect("no more are handed over than there are");
            self.bytes -= frame.len();
            self.first += 1;
            self.handed -= 1;
        }
    }

    pub(super) fn assert_bounds(&self) {
        assert!(self.frames.len() <= self.max_activities, "{} activities wait", self.frames.len());
        assert!(self.bytes <= self.max_bytes + FRAME_BYTES, "{} bytes wait", self.bytes);
        assert!(self.handed <= self.frames.len());
        assert!(self.settled.len() <= self.max_activities + 1, "{} ranges of reports", self.settled.len());
    }
}

/// Why no line can carry an activity: a server would refuse it, and close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// More bytes than an activity may have.
    #[error("longer than {max} bytes", max = limits::LINE_BYTES)]
    TooLong,
    /// More levels than an activity may have.
    #[error("nests deeper than {max} levels", max = limits::ACTIVITY_NESTING)]
    TooDeep,
}

/// Whether a line can carry an activity.
pub(super) fn check(activity: &Activity) -> Result<(), Unfit> {
    match () {
        () if activity.get().len() > limits::LINE_BYTES => Err(Unfit::TooLong),
        () if !activity.nests_within(limits::ACTIVITY_NESTING) => Err(Unfit::TooDeep),
        () => Ok(()),
    }
}

/// The activity without line ends: between the tokens of a JSON text, the only place where they can be, a space means the same.
pub fn one_line(activity: Activity) -> Activity {
    if memchr::memchr2(b'\n', b'\r', activity.get().as_bytes()).is_none() {
        return activity;
    }
    Activity::parse(&activity.get().replace(['\n', '\r'], " "))
        .expect("white space was changed to white space")
}

fn frame(number: Seq, activity: Activity) -> Box<[u8]> {
    assert_eq!(check(&activity), Ok(()), "an activity of {} bytes fits no line", activity.get().len());
    let message = ActivityMessage {
        username: None,
        secret: None,
        activity_seq: Some(number),
        activity: one_line(activity),
    };
    Message::from(message).encode().into()
}

#[cfg(test)]
#[path = "outgoing_tests.rs"]
mod tests;
