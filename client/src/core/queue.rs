//! Activities that wait to be written: the one thing of a session that outlives its connections.
//!
//! Invariant: the bytes are whole frames, but for the first one, of which a part may have been written to the connection that stands.

use common::limits;
use common::outbox::Outbox;
use common::time::Time;
use common::wire::{Activity, ActivityMessage, Message};

use super::config::Limits;

/// The longest frame.
const FRAME_BYTES: usize = limits::LINE_BYTES + limits::ENVELOPE_BYTES;

/// Encoded ACTIVITY_MESSAGEs, in order.
#[derive(Debug)]
pub(super) struct Queue {
    frames: Outbox,
    /// Frames in `frames`, a partly written one included.
    activities: usize,
    /// Whether the first frame is partly written.
    midway: bool,
    max_activities: usize,
    max_bytes: usize,
}

impl Queue {
    pub(super) fn new(limits: &Limits) -> Self {
        Queue {
            frames: Outbox::new(limits.queued_bytes + FRAME_BYTES),
            activities: 0,
            midway: false,
            max_activities: limits.queued_activities,
            max_bytes: limits.queued_bytes,
        }
    }

    /// Whether one more activity, of any acceptable length, may be pushed.
    pub(super) fn has_room(&self) -> bool {
        self.activities < self.max_activities && self.frames.len() < self.max_bytes
    }

    /// Appends an activity.
    ///
    /// # Panics
    /// When there is no room, or the activity is not acceptable.
    pub(super) fn push(&mut self, now: Time, activity: Activity) {
        assert!(self.has_room(), "{} activities wait, and has_room() was not asked", self.activities);
        self.frames
            .push_frame(now, &frame(activity))
            .expect("room was asked for, and no frame is longer than a line");
        self.activities += 1;
    }

    /// The bytes to write next.
    pub(super) fn pending(&self) -> &[u8] {
        self.frames.pending()
    }

    /// How many activities are not written in full.
    pub(super) fn activities(&self) -> usize {
        self.activities
    }

    /// Since when nothing of what waits was taken.
    pub(super) fn stalled_since(&self) -> Option<Time> {
        self.frames.stalled_since()
    }

    /// The first `count` bytes have been written.
    pub(super) fn wrote(&mut self, now: Time, count: usize) {
        let written = &self.frames.pending()[..count];
        self.activities -= memchr::memchr_iter(b'\n', written).count();
        self.midway = written.last().is_some_and(|&last| last != b'\n');
        self.frames.wrote(now, count);
    }

    /// The connection is gone. The frame that was being written goes with it: half of it may be on the other side, and whether it
    /// counts there nobody knows.
    pub(super) fn connection_lost(&mut self, now: Time) {
        if self.midway {
            let rest = memchr::memchr(b'\n', self.pending()).expect("every frame ends with a line end") + 1;
            self.wrote(now, rest);
        }
    }

    pub(super) fn assert_bounds(&self) {
        assert!(self.activities <= self.max_activities, "{} activities wait", self.activities);
        assert!(self.frames.len() <= self.max_bytes + FRAME_BYTES, "{} bytes wait", self.frames.len());
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

fn frame(activity: Activity) -> Vec<u8> {
    assert_eq!(check(&activity), Ok(()), "an activity of {} bytes fits no line", activity.get().len());
    Message::from(ActivityMessage {
        username: None,
        secret: None,
        activity_seq: None,
        activity: one_line(activity),
    })
    .encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue_of(texts: &[&str]) -> Queue {
        let mut queue = Queue::new(&Limits::default());
        for text in texts {
            queue.push(Time::ZERO, Activity::parse(text).unwrap());
        }
        queue
    }

    #[test]
    fn what_was_not_written_survives_a_connection_and_what_was_begun_does_not() {
        let first = frame(Activity::parse(r#"{"n":1}"#).unwrap()).len();
        for written in 0..=first + 1 {
            let mut queue = queue_of(&[r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
            if written > 0 {
                queue.wrote(Time::ZERO, written);
            }
            queue.connection_lost(Time::ZERO);
            let left = String::from_utf8(queue.pending().to_vec()).unwrap();
            let expected = if written == 0 {
                3
            } else if written <= first {
                2
            } else {
                1
            };
            assert_eq!(
                (left.lines().count(), queue.activities()),
                (expected, expected),
                "{written} bytes were written"
            );
            assert!(left.starts_with("{\"command\":\"ACTIVITY_MESSAGE\""), "half a frame is left: {left}");
        }
    }

    #[test]
    fn an_activity_that_was_written_over_several_lines_goes_out_as_one() {
        let queue = queue_of(&["{\r\n \"a\": \"x\\ny\"\n}"]);
        assert_eq!(
            queue.pending(),
            b"{\"command\":\"ACTIVITY_MESSAGE\",\"activity\":{   \"a\": \"x\\ny\" }}\n"
        );
    }

    #[test]
    fn the_queue_is_full_at_its_count_or_its_bytes() {
        let limits = Limits { queued_activities: 2, queued_bytes: 100, ..Limits::default() };
        let mut by_count = Queue::new(&limits);
        let mut by_bytes = Queue::new(&limits);
        by_count.push(Time::ZERO, Activity::parse("{}").unwrap());
        assert!(by_count.has_room());
        by_count.push(Time::ZERO, Activity::parse("{}").unwrap());
        assert!(!by_count.has_room());
        by_bytes.push(Time::ZERO, Activity::parse(&format!("{{\"a\":\"{}\"}}", "x".repeat(100))).unwrap());
        assert!(!by_bytes.has_room());
        by_count.assert_bounds();
        by_bytes.assert_bounds();
    }

    #[test]
    fn the_deepest_acceptable_activity_makes_a_line_that_servers_accept() {
        let activity = |levels: usize| {
            let inner = format!("{}{}", "[".repeat(levels - 1), "]".repeat(levels - 1));
            Activity::parse(&format!("{{\"a\":{inner}}}")).unwrap()
        };
        let deepest = activity(limits::ACTIVITY_NESTING);
        assert_eq!(check(&deepest), Ok(()));
        assert!(Message::decode(frame(deepest).trim_ascii_end()).is_ok());
        assert_eq!(check(&activity(limits::ACTIVITY_NESTING + 1)), Err(Unfit::TooDeep));
    }

    #[test]
    fn the_longest_acceptable_activity_makes_a_line_that_servers_accept() {
        let activity =
            |length: usize| Activity::parse(&format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8))).unwrap();
        let longest = activity(limits::LINE_BYTES);
        assert_eq!(check(&longest), Ok(()));
        assert!(frame(longest).len() <= FRAME_BYTES);
        assert_eq!(check(&activity(limits::LINE_BYTES + 1)), Err(Unfit::TooLong));
    }
}
