//! Bytes that wait to be written to one link: whole frames, in order, within a bound.

use crate::epoch::Epoch;
use crate::time::Time;
use crate::wire::Message;

/// A queue of encoded frames with a limit on its size and a memory of when it last moved.
///
/// Invariant: at most `limit` bytes wait, but for what is queued [beyond](Self::push_beyond) it, and a caught-up outbox holds no memory
/// worth mentioning.
#[derive(Debug)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// How much of `bytes` has been written already.
    written: usize,
    limit: usize,
    /// Since when something waits without any of it being taken.
    stalled_since: Option<Time>,
}

/// What waits would exceed the limit. Nothing was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit} bytes wait for this peer")]
pub struct OutboxFull {
    /// The limit, in bytes.
    pub limit: usize,
}

impl Outbox {
    /// An empty outbox for at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Outbox { bytes: Vec::new(), written: 0, limit, stalled_since: None }
    }

    /// Queues a message.
    pub fn push(&mut self, now: Time, message: &Message) -> Result<(), OutboxFull> {
        self.push_at(now, message, None)
    }

    /// Queues a message for a server: it carries the highest epoch that this one has seen.
    pub fn push_at(&mut self, now: Time, message: &Message, epoch: Option<&Epoch>) -> Result<(), OutboxFull> {
        let before = self.bytes.len();
        message.encode_at(epoch, &mut self.bytes);
        if self.len() > self.limit {
            self.bytes.truncate(before);
            return Err(OutboxFull { limit: self.limit });
        }
        self.stalled_since.get_or_insert(now);
        Ok(())
    }

    /// Queues a frame that is encoded already, line end included.
    pub fn push_frame(&mut self, now: Time, frame: &[u8]) -> Result<(), OutboxFull> {
        if self.len() + frame.len() > self.limit {
            return Err(OutboxFull { limit: self.limit });
        }
        self.bytes.extend_from_slice(frame);
        self.stalled_since.get_or_insert(now);
        Ok(())
    }

    /// Queues a frame whatever the limit says: for those who look themselves at how much waits before they queue one more.
    pub fn push_beyond(&mut self, now: Time, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.stalled_since.get_or_insert(now);
    }

    /// Lets more or less wait from now on: the peer has turned out to be somebody else. What waits already, stays.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// What waits, in order.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Since when something waits and nothing of it was taken; `None` where nothing waits.
    pub fn stalled_since(&self) -> Option<Time> {
        self.stalled_since
    }

    /// The first `count` bytes have been written.
    pub fn wrote(&mut self, now: Time, count: usize) {
        assert!(count <= self.len(), "{count} bytes were written of {} that waited", self.len());
        self.written += count;
        if self.is_empty() {
            // Give the memory back: ten thousand idle links must not remember their largest burst.
            self.bytes = Vec::new();
            self.written = 0;
            self.stalled_since = None;
        } else {
            self.stalled_since = Some(now);
            if self.written > self.bytes.len() / 2 {
                self.bytes.drain(..self.written);
                self.written = 0;
            }
        }
    }

    /// Takes everything that waits and `last`, regardless of the limit: what a closing link says.
    pub fn farewell(self, last: Option<&Message>) -> Vec<u8> {
        self.farewell_at(last, None)
    }

    /// The same for a server: the last words carry the highest epoch that this one has seen.
    pub fn farewell_at(mut self, last: Option<&Message>, epoch: Option<&Epoch>) -> Vec<u8> {
        self.bytes.drain(..self.written);
        if let Some(message) = last {
            message.encode_at(epoch, &mut self.bytes);
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outbox_refuses_what_exceeds_its_limit_and_keeps_the_rest() {
        let mut outbox = Outbox::new(10);
        outbox.push_frame(Time::ZERO, b"12345678").unwrap();
        assert_eq!(outbox.push_frame(Time::ZERO, b"901"), Err(OutboxFull { limit: 10 }));
        assert_eq!(outbox.pending(), b"12345678");
        outbox.wrote(Time::from_micros(7), 5);
        assert_eq!((outbox.pending(), outbox.stalled_since()), (&b"678"[..], Some(Time::from_micros(7))));
        outbox.push_frame(Time::from_micros(9), b"901").unwrap();
        outbox.wrote(Time::from_micros(9), 6);
        assert_eq!((outbox.len(), outbox.stalled_since()), (0, None));
    }
}
