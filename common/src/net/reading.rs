//! Who is read when: all links in turn, a piece at a time, and in one turn not more than is soon passed on.
//!
//! When something has come over a link, its waker puts it at the end of a queue. The turn reads from the front; a link that may have more
//! goes back to the end, and one that has been emptied is watched again. Who the machine does not want to be read yet keeps its place in
//! front.
//!
//! **Invariant.** Between two flushes, not more than [`TURN_BYTES`] and a piece are read from all links together, or some times as much
//! where that was all that there was and more came meanwhile. Once, a link was read for as long as it had something: one who sent without a
//! pause filled a worker's log several times over before anything was written to anybody, and everybody else was dropped for having fallen
//! behind.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::node::Node;
use crate::id::LinkId;
use crate::machine::Machine;

/// Bytes read from one link at a time; then others have their turn.
const READ_BYTES: usize = 64 << 10;

/// The same, of a link that the machine has had held back: a thousand of them, at some megabytes a second in all, come round within
/// seconds.
const HELD_READ_BYTES: usize = 16 << 10;

/// Bytes read in one turn, before what follows from them is written: far less than any queue holds, far more than a write costs.
const TURN_BYTES: usize = 256 << 10;

/// What a read counts for at the least, however few bytes it brings: it has its price too.
const LEAST_READ_BYTES: usize = 1 << 10;

/// What has become known since the last turn, and wakes the task that takes the turns.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Links that have something to read.
    readable: Mutex<Vec<LinkId>>,
    pub(super) turn: Notify,
}

impl News {
    /// What is to be called when link `id` has something to read.
    pub(super) fn waker(news: Arc<News>, id: LinkId) -> Waker {
        Arc::new(Readable { id, news }).into()
    }

    pub(super) fn has_readable(&self) -> bool {
        !self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<LinkId>> {
        self.readable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Readable {
    id: LinkId,
    news: Arc<News>,
}

impl Wake for Readable {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.news.lock().push(self.id);
        self.news.turn.notify_one();
    }
}

/// The links that have something to read, in the order in which they are served.
#[derive(Debug)]
pub(super) struct Queue {
    links: VecDeque<LinkId>,
    /// Those that have been emptied, and whose wakers are to be called when something comes.
    to_watch: Vec<LinkId>,
    /// What every read goes through: links own no buffer but for unfinished lines.
    buffer: Vec<u8>,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { links: VecDeque::new(), to_watch: Vec::new(), buffer: vec![0; READ_BYTES] }
    }
}

impl Queue {
    /// It is to be known when something comes over a link.
    pub(super) fn watch(&mut self, id: LinkId) {
        self.to_watch.push(id);
    }
}

/// What ends the pause before the next turn, beside everything that is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOn {
    /// Nothing: nobody has anything to read, as far as is known.
    WhenReadable,
    /// Those who have something are not to be read for so long.
    After(Duration),
    /// Some have not been served.
    AtOnce,
}

impl ReadOn {
    /// Waits until it is time to read on.
    pub(super) async fn time_has_come(self) {
        match self {
            ReadOn::WhenReadable => std::future::pending().await,
            ReadOn::After(pause) => tokio::time::sleep(pause).await,
            ReadOn::AtOnce => {}
        }
    }
}

impl<M: Machine + 'static> Node<M> {
    /// Reads what has come, as much as belongs into one turn.
    pub(super) fn read(&mut self) -> ReadOn {
        let news = self.news();
        self.readable.links.extend(news.lock().drain(..));
        if self.readable.links.is_empty() {
            return ReadOn::WhenReadable;
        }
        let now = self.clock.now().time;
        let mut budget = TURN_BYTES;
        let mut held = VecDeque::new();
        let mut until = None;
        while budget > 0 {
            let Some(id) = self.readable.links.pop_front() else { break };
            let piece = match self.machine.read_after(id) {
                None => READ_BYTES,
                Some(after) if after <= now => HELD_READ_BYTES,
                Some(after) => {
                    until = Some(until.map_or(after, |until| after.min(until)));
                    held.push_back(id);
                    continue;
                }
            };
            budget = budget.saturating_sub(self.read_link(id, piece).max(LEAST_READ_BYTES));
        }
        let unserved = !self.readable.links.is_empty();
        held.append(&mut self.readable.links);
        self.readable.links = held;
        match until {
            _ if unserved => ReadOn::AtOnce,
            Some(until) => ReadOn::After(until.since(now)),
            None => ReadOn::WhenReadable,
        }
    }

    /// Reads once from a link, at most `piece` bytes. Returns how many.
    fn read_link(&mut self, id: LinkId, piece: usize) -> usize {
        let Some(link) = self.links.get_mut(id) else { return 0 };
        let mut buffer = std::mem::take(&mut self.readable.buffer);
        let read = link.stream.try_read(&mut buffer[..piece]);
        match &read {
            Ok(0) => self.ended(id),
            Ok(count) => {
                let stream = Rc::clone(&link.stream);
                if self.take(id, &buffer[..*count]) == ControlFlow::Continue(()) {
                    self.read_on(id, &stream, *count < piece);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable.watch(id),
            Err(_) => self.lost(id),
        }
        self.readable.buffer = buffer;
        read.unwrap_or(0)
    }

    /// A link goes to the end of the queue, or is watched where all was read that had come.
    fn read_on(&mut self, id: LinkId, stream: &TcpStream, is_drained: bool) {
        if !is_drained {
            return self.readable.links.push_back(id);
        }
        // Less came than there was room for. What comes from now on is announced anew (epoll(7)), and so is the end, so nobody needs to
        // ask the system once more; only tokio must know.
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = stream.try_io(Interest::READABLE, nothing);
        self.readable.watch(id);
    }

    /// Sees to it that it is known when something comes over those links that have been emptied.
    pub(super) fn watch(&mut self) {
        let news = self.news();
        for id in self.readable.to_watch.drain(..) {
            let Some(link) = self.links.get(id) else { continue };
            // An error shows in the read that follows.
            if link.stream.poll_read_ready(&mut Context::from_waker(&link.readable)).is_ready() {
                self.readable.links.push_back(id);
                news.turn.notify_one();
            }
        }
    }
}
