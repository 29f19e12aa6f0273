//! The log: every activity that this worker delivers, encoded once, in one order for all of its clients.
//!
//! A run of frames (lines that end in LF) with absolute byte offsets. A client is a cursor into it; live delivery and catching up are the
//! same read at different distances from the end. Old frames leave memory in whole chunks, and are on disk alone from then on, if there is
//! one for them with room (`archive`). Each chunk knows which activities are in it, so that what somebody lacks is found without reading
//! what he has.
//!
//! **Invariants.** A frame lies in one chunk, so a chunk begins with a frame and ends with one. At most `limit` bytes are in memory,
//! or one chunk where that alone is longer. Offsets only grow and are never used twice. What the log holds is what its chunks hold, and no
//! activity is in it twice.
//!
//! Not here: what has been seen, and whether an activity is the first copy of what its sender published.

mod archive;
mod chunk;
mod reordering;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::id::{ActivityId, Seq};
use common::position::Position;
use common::session::SessionId;

use super::doubles::Identity;
use super::segment::SegmentId;
use archive::Archive;
use chunk::{Chunk, first_line};

pub(super) use archive::Retention;
pub(super) use chunk::{BEGINNING, Frame, id_of, session_of};

/// What is in memory of the log consists of this many chunks when that is full: what is trimmed at once is a small part of it.
const CHUNKS: usize = 64;

/// A point in the log: how many bytes were ever appended before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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

/// The log.
#[derive(Debug)]
pub struct Log {
    /// The latest are in memory.
    chunks: VecDeque<Chunk>,
    /// How many of them are not among the latest, and on disk.
    archived: usize,
    end: Offset,
    /// All that is in the chunks.
    holds: Position,
    limit: usize,
    next_segment: SegmentId,
    archive: Option<Archive>,
    /// What others are known to have of it; none as long as there are no others.
    shared: Option<Position>,
    /// What was let go of and nobody else was known to have.
    parted: VecDeque<(Identity, ActivityId)>,
    /// The memory of a chunk that has left it, for the next one: what comes anew from the system is paid for page by page.
    spare: Vec<u8>,
}

impl Log {
    /// An empty log for at most `limit` bytes, in memory alone.
    pub fn new(limit: usize) -> Self {
        Log {
            chunks: VecDeque::new(),
            archived: 0,
            end: Offset(0),
            holds: Position::default(),
            limit,
            next_segment: SegmentId::default(),
            archive: None,
            shared: None,
            parted: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// Where the oldest frame begins that clients can read at once.
    pub(super) fn start(&self) -> Offset {
        self.chunks.get(self.archived).map_or(self.end, |chunk| chunk.start)
    }

    /// Where the next frame will begin.
    pub(super) fn end(&self) -> Offset {
        self.end
    }

    /// Bytes in memory.
    pub(super) fn len(&self) -> usize {
        self.end.since(self.start())
    }

    /// The activities that are in memory or on disk.
    pub(super) fn holds(&self) -> &Position {
        &self.holds
    }

    /// Asserts that no more is kept than may be.
    pub(super) fn assert_bounds(&self) {
        let latest = self.chunks.len() - self.archived;
        assert!(self.len() <= self.limit || latest == 1, "{} bytes are in the log", self.len());
    }

    /// Appends the frame of `id`, line end included, and lets go of the oldest beyond the limit.
    pub fn append(&mut self, id: &ActivityId, frame: &[u8]) {
        debug_assert_eq!(id_of(frame).as_ref(), Some(id), "a frame begins with its id");
        self.push(id, frame);
    }

    /// What follows `offset`, as far as it lies in one piece; it ends with a frame. Empty only at the end, or before the start.
    pub(super) fn read(&self, offset: Offset) -> &[u8] {
        self.chunk_at(offset).map_or(&[], |chunk| &chunk.here()[offset.since(chunk.start)..])
    }

    /// The rest of the frame that `offset` stands inside of; empty between frames.
    pub(super) fn unfinished(&self, offset: Offset) -> &[u8] {
        let Some(chunk) = self.chunk_at(offset) else { return &[] };
        let inside = offset.since(chunk.start);
        if inside == 0 || chunk.here()[inside - 1] == b'\n' {
            return &[];
        }
        first_line(&chunk.here()[inside..])
    }

    /// The frames from `from` on (a point between frames, or before the start) that are not in `after`, oldest first, up to the first
    /// that is on disk alone (see [`awaits_disk`](Self::awaits_disk)). Chunks of which `after` has everything are passed over as a whole.
    pub(super) fn missing<'a>(
        &'a self,
        after: &'a Position,
        from: Offset,
    ) -> impl Iterator<Item = Frame<'a>> + 'a {
        let here = self.lacking(after, from).take_while(|chunk| chunk.bytes.is_some());
        here.flat_map(move |chunk| chunk.frames(from)).filter(|frame| !after.contains(&frame.id))
    }

    /// How many bytes have been looked at of what [`missing`](Self::missing) has given up to `until`, and of what it has passed over.
    pub(super) fn examined(&self, after: &Position, until: Offset) -> usize {
        let here =
            self.lacking(after, Offset(0)).take_while(|chunk| chunk.bytes.is_some() && chunk.start < until);
        here.map(|chunk| chunk.len).sum()
    }

    /// Under which ids those of `sought` are here that are in memory.
    pub(super) fn find(&self, mut sought: BTreeSet<Identity>) -> Vec<(Identity, ActivityId)> {
        let mut found = Vec::new();
        // What came twice mostly came not long ago.
        for chunk in self.chunks.range(self.archived..).rev() {
            if sought.is_empty() {
                break;
            }
            for frame in chunk.here().split_inclusive(|byte| *byte == b'\n') {
                let activity = session_of(frame).filter(|activity| sought.remove(activity));
                found.extend(activity.zip(id_of(frame)));
            }
        }
        found
    }

    /// The highest number of each session among what is in memory and in `has`, behind the first that is not.
    pub(super) fn highest(&self, has: &Position) -> BTreeMap<SessionId, Seq> {
        let mut highest = BTreeMap::new();
        let lacking = self.lacking(has, Offset(0)).next().map(|chunk| chunk.start.max(self.start()));
        let Some(start) = lacking else { return highest };
        let first = self.chunks.partition_point(|chunk| chunk.start < start);
        let mut is_behind = start == self.start() && self.archived > 0;
        for chunk in self.chunks.range(first..) {
            for frame in chunk.frames(start) {
                let is_here = has.contains(&frame.id);
                is_behind |= !is_here;
                if is_behind
                    && is_here
                    && let Some((session, seq)) = session_of(frame.bytes)
                {
                    let highest = highest.entry(session).or_insert(seq);
                    *highest = seq.max(*highest);
                }
            }
        }
        highest
    }

    /// There are other workers, and one of them says that it has `theirs`.
    pub(super) fn share(&mut self, theirs: &Position) {
        let shared = self.shared.get_or_insert_default();
        shared.extend(theirs);
        *shared = shared.common(&self.holds);
    }

    /// What was let go of since this was asked last, and was not known to be anywhere else.
    pub(super) fn parted(&mut self) -> impl Iterator<Item = (Identity, ActivityId)> {
        self.parted.drain(..)
    }

    /// What is in memory.
    pub(super) fn in_memory(&self) -> Position {
        let mut ids = Position::default();
        self.chunks.range(self.archived..).for_each(|chunk| ids.extend(&chunk.ids));
        ids
    }

    /// Where the `count` latest frames in memory begin; the start where there are no more.
    pub(super) fn last(&self, count: usize) -> Offset {
        let mut wanted = count;
        for chunk in self.chunks.range(self.archived..).rev() {
            match wanted.checked_sub(chunk.frames) {
                Some(0) => return chunk.start,
                Some(more) => wanted = more,
                None => {
                    let others = chunk.frames - wanted;
                    let line_end = memchr::memchr_iter(b'\n', chunk.here()).nth(others - 1);
                    return chunk.start.plus(line_end.expect("each frame has a line end") + 1);
                }
            }
        }
        self.start()
    }

    fn push(&mut self, id: &ActivityId, frame: &[u8]) {
        assert_eq!(frame.last(), Some(&b'\n'), "a frame is a whole line");
        assert!(self.holds.insert(id), "{id} is appended a second time");
        if self.chunks.back().is_none_or(|chunk| chunk.len + frame.len() > chunk.limit) {
            let limit = self.chunk_bytes().max(frame.len());
            let mut bytes = std::mem::take(&mut self.spare);
            bytes.clear();
            bytes.reserve_exact(limit);
            self.chunks.push_back(Chunk::new(self.next_segment, self.end, limit, bytes));
            self.next_segment = self.next_segment.next();
        }
        self.chunks.back_mut().expect("one has room").push(id, frame);
        self.end = self.end.plus(frame.len());
        self.trim();
    }

    fn chunk_bytes(&self) -> usize {
        self.limit / CHUNKS
    }

    /// The chunks in which there is something from `from` on that is not in `after`.
    fn lacking<'a>(&'a self, after: &'a Position, from: Offset) -> impl Iterator<Item = &'a Chunk> + 'a {
        assert!(from <= self.end, "nobody is ahead of the log");
        let mut first = self.chunks.partition_point(|chunk| chunk.end() <= from);
        if self.archive.as_ref().is_some_and(|archive| archive.ids.is_within(after)) {
            // Most who missed something missed the latest.
            first = first.max(self.archived);
        }
        self.chunks.range(first..).filter(|chunk| !chunk.ids.is_within(after))
    }

    /// The chunk in memory in which `offset` lies.
    fn chunk_at(&self, offset: Offset) -> Option<&Chunk> {
        assert!(offset <= self.end, "nobody is ahead of the log");
        let last = self.chunks.back()?;
        if offset >= last.start && self.archived < self.chunks.len() {
            // Nearly everybody is here.
            return Some(last);
        }
        let after = self.chunks.partition_point(|chunk| chunk.start <= offset);
        after.checked_sub(1).filter(|index| *index >= self.archived).map(|index| &self.chunks[index])
    }
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
