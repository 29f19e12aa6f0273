//! The log: every activity that this worker delivers, encoded once, in one order for all of its clients.
//!
//! A run of frames (lines that end in LF) with absolute byte offsets. A client is a cursor into it; live delivery and catching
//! up are the same read at different distances from the end. Old frames leave in whole chunks. Each chunk knows which activities are
//! in it, so that what somebody lacks is found without reading what he has.
//!
//! **Invariants.** A frame lies in one chunk, so a chunk begins with a frame and ends with one. At most `limit` bytes are kept, or
//! one chunk where that alone is longer. Offsets only grow and are never used twice. What the log holds is what its chunks hold, and no
//! activity is in it twice.
//!
//! Not here: what has been seen, and whether an activity is the first copy of what its sender published.

use std::collections::VecDeque;

use common::id::ActivityId;
use common::position::Position;

/// The log consists of this many chunks when it is full: what is trimmed at once is a small part of it.
const CHUNKS: usize = 128;

/// How every frame begins; its id follows, and a quotation mark.
const BEGINNING: &[u8] = br#"{"command":"ACTIVITY_BROADCAST","id":""#;

/// A point in the log: how many bytes were ever appended before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Offset(u64);

impl Offset {
    /// The point `bytes` further on.
    pub(super) fn plus(self, bytes: usize) -> Offset {
        Offset(self.0 + bytes as u64)
    }

    /// How many bytes were ever appended before it.
    pub(super) fn bytes(self) -> u64 {
        self.0
    }

    /// How many bytes lie between `earlier` and this point.
    pub(super) fn since(self, earlier: Offset) -> usize {
        usize::try_from(self.0 - earlier.0).expect("the log fits into memory")
    }
}

/// One activity in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Where it begins.
    pub(super) offset: Offset,
    /// Which it is.
    pub(super) id: ActivityId,
    /// Its line, line end included.
    pub(super) bytes: &'a [u8],
}

impl Frame<'_> {
    /// Where the next one begins.
    pub(super) fn end(&self) -> Offset {
        self.offset.plus(self.bytes.len())
    }
}

/// The log.
#[derive(Debug)]
pub(super) struct Log {
    chunks: VecDeque<Chunk>,
    end: Offset,
    /// All that is in the chunks.
    holds: Position,
    limit: usize,
}

#[derive(Debug)]
struct Chunk {
    start: Offset,
    bytes: Vec<u8>,
    frames: usize,
    ids: Position,
}

impl Log {
    /// An empty log for at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Log { chunks: VecDeque::new(), end: Offset(0), holds: Position::default(), limit }
    }

    /// Where the oldest frame that is still here begins.
    pub(super) fn start(&self) -> Offset {
        self.chunks.front().map_or(self.end, |chunk| chunk.start)
    }

    /// Where the next frame will begin.
    pub(super) fn end(&self) -> Offset {
        self.end
    }

    /// Bytes that are here.
    pub(super) fn len(&self) -> usize {
        self.end.since(self.start())
    }

    /// The activities that are here.
    pub(super) fn holds(&self) -> &Position {
        &self.holds
    }

    /// Asserts that no more is kept than may be.
    pub(super) fn assert_bounds(&self) {
        assert!(self.len() <= self.limit || self.chunks.len() == 1, "{} bytes are in the log", self.len());
    }

    /// Appends the frame of `id`, line end included, and lets go of the oldest beyond the limit.
    pub(super) fn append(&mut self, id: &ActivityId, frame: &[u8]) {
        debug_assert_eq!(id_of(frame).as_ref(), Some(id), "a frame begins with its id");
        self.push(id, frame);
    }

    /// What follows `offset`, as far as it lies in one piece; it ends with a frame. Empty only at the end, or before the start.
    pub(super) fn read(&self, offset: Offset) -> &[u8] {
        self.chunk_at(offset).map_or(&[], |chunk| &chunk.bytes[offset.since(chunk.start)..])
    }

    /// The rest of the frame that `offset` stands inside of; empty between frames.
    pub(super) fn unfinished(&self, offset: Offset) -> &[u8] {
        let Some(chunk) = self.chunk_at(offset) else { return &[] };
        let inside = offset.since(chunk.start);
        if inside == 0 || chunk.bytes[inside - 1] == b'\n' {
            return &[];
        }
        first_line(&chunk.bytes[inside..])
    }

    /// The frames from `from` on (a point between frames, or before the start) that are not in `after`, oldest first. Chunks of which
    /// `after` has everything are passed over as a whole.
    pub(super) fn missing<'a>(
        &'a self,
        after: &'a Position,
        from: Offset,
    ) -> impl Iterator<Item = Frame<'a>> + 'a {
        assert!(from <= self.end, "nobody is ahead of the log");
        let first = self.chunks.partition_point(|chunk| chunk.end() <= from);
        let chunks = self.chunks.range(first..).filter(|chunk| !chunk.ids.is_within(after));
        chunks.flat_map(move |chunk| chunk.frames(from)).filter(|frame| !after.contains(&frame.id))
    }

    /// Where the `count` latest frames begin; the start where there are no more.
    pub(super) fn last(&self, count: usize) -> Offset {
        let mut wanted = count;
        for chunk in self.chunks.iter().rev() {
            match wanted.checked_sub(chunk.frames) {
                Some(0) => return chunk.start,
                Some(more) => wanted = more,
                None => {
                    let others = chunk.frames - wanted;
                    let line_end = memchr::memchr_iter(b'\n', &chunk.bytes).nth(others - 1);
                    return chunk.start.plus(line_end.expect("each frame has a line end") + 1);
                }
            }
        }
        self.start()
    }

    fn push(&mut self, id: &ActivityId, frame: &[u8]) {
        assert_eq!(frame.last(), Some(&b'\n'), "a frame is a whole line");
        assert!(self.holds.insert(id), "{id} is appended a second time");
        let chunk_bytes = self.limit / CHUNKS;
        let has_room = |chunk: &Chunk| chunk.bytes.len() + frame.len() <= chunk_bytes;
        if !self.chunks.back().is_some_and(has_room) {
            let bytes = Vec::with_capacity(chunk_bytes.max(frame.len()));
            self.chunks.push_back(Chunk { start: self.end, bytes, frames: 0, ids: Position::default() });
        }
        let chunk = self.chunks.back_mut().expect("one has room");
        chunk.bytes.extend_from_slice(frame);
        chunk.frames += 1;
        chunk.ids.insert(id);
        self.end = self.end.plus(frame.len());
        while self.len() > self.limit && self.chunks.len() > 1 {
            let oldest = self.chunks.pop_front().expect("there are several");
            self.holds.subtract(&oldest.ids);
        }
    }

    fn chunk_at(&self, offset: Offset) -> Option<&Chunk> {
        assert!(offset <= self.end, "nobody is ahead of the log");
        let last = self.chunks.back()?;
        if offset >= last.start {
            // Nearly everybody is here.
            return Some(last);
        }
        let after = self.chunks.partition_point(|chunk| chunk.start <= offset);
        after.checked_sub(1).map(|index| &self.chunks[index])
    }
}

impl Chunk {
    fn end(&self) -> Offset {
        self.start.plus(self.bytes.len())
    }

    /// The frames from `from` on.
    fn frames(&self, from: Offset) -> impl Iterator<Item = Frame<'_>> {
        let mut offset = from.max(self.start);
        let mut rest = &self.bytes[offset.since(self.start)..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let bytes = first_line(rest);
            let id = id_of(bytes).expect("a frame begins with its id");
            let frame = Frame { offset, id, bytes };
            (offset, rest) = (frame.end(), &rest[bytes.len()..]);
            Some(frame)
        })
    }
}

/// The id in the fixed beginning of a frame; `None` where it begins in another way.
pub(super) fn id_of(frame: &[u8]) -> Option<ActivityId> {
    let text = frame.strip_prefix(BEGINNING)?;
    let id = &text[..memchr::memchr(b'"', text)?];
    std::str::from_utf8(id).ok()?.parse().ok()
}

fn first_line(bytes: &[u8]) -> &[u8] {
    let line_end = memchr::memchr(b'\n', bytes).expect("a frame lies whole in its chunk");
    &bytes[..=line_end]
}

#[cfg(test)]
impl Log {
    /// Appends a line that does not begin as a frame, for those to whom all lines are alike.
    pub(super) fn append_line(&mut self, line: &[u8]) {
        let mut id: ActivityId = "w/0000000000000001/0".parse().expect("it is one");
        id.seq.0 = self.end.0;
        self.push(&id, line);
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
