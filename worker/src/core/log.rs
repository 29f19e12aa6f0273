//! The log: every activity that this worker delivers, encoded once, in one order for all of its clients.
//!
//! A run of frames (lines that end in LF) with absolute byte positions. A client is a cursor into it; live delivery and catching
//! up are the same read at different distances from the end. Old frames leave in whole chunks.
//!
//! **Invariants.** A frame lies in one chunk, so a chunk begins with a frame and ends with one. At most `limit` bytes are kept, or
//! one chunk where that alone is longer. Positions only grow and are never used twice.

use std::collections::VecDeque;

/// The log consists of this many chunks when it is full: what is trimmed at once is a small part of it.
const CHUNKS: usize = 128;

/// A point in the log: how many bytes were ever appended before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position(u64);

impl Position {
    /// The point `bytes` further on.
    pub(super) fn plus(self, bytes: usize) -> Position {
        Position(self.0 + bytes as u64)
    }

    /// How many bytes were ever appended before it.
    pub(super) fn bytes(self) -> u64 {
        self.0
    }

    /// How many bytes lie between `earlier` and this point.
    pub(super) fn since(self, earlier: Position) -> usize {
        usize::try_from(self.0 - earlier.0).expect("the log fits into memory")
    }
}

/// The log.
#[derive(Debug)]
pub(super) struct Log {
    chunks: VecDeque<Chunk>,
    end: Position,
    limit: usize,
}

#[derive(Debug)]
struct Chunk {
    start: Position,
    bytes: Vec<u8>,
}

impl Log {
    /// An empty log for at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Log { chunks: VecDeque::new(), end: Position(0), limit }
    }

    /// Where the oldest frame that is still here begins.
    pub(super) fn start(&self) -> Position {
        self.chunks.front().map_or(self.end, |chunk| chunk.start)
    }

    /// Where the next frame will begin.
    pub(super) fn end(&self) -> Position {
        self.end
    }

    /// Bytes that are here.
    pub(super) fn len(&self) -> usize {
        self.end.since(self.start())
    }

    /// Asserts that no more is kept than may be.
    pub(super) fn assert_bounds(&self) {
        assert!(self.len() <= self.limit || self.chunks.len() == 1, "{} bytes are in the log", self.len());
    }

    /// Appends one frame, line end included, and lets go of the oldest beyond the limit.
    pub(super) fn append(&mut self, frame: &[u8]) {
        assert_eq!(frame.last(), Some(&b'\n'), "a frame is a whole line");
        let chunk_bytes = self.limit / CHUNKS;
        match self.chunks.back_mut() {
            Some(chunk) if chunk.bytes.len() + frame.len() <= chunk_bytes => {
                chunk.bytes.extend_from_slice(frame)
            }
            _ => {
                let mut bytes = Vec::with_capacity(chunk_bytes.max(frame.len()));
                bytes.extend_from_slice(frame);
                self.chunks.push_back(Chunk { start: self.end, bytes });
            }
        }
        self.end = self.end.plus(frame.len());
        while self.len() > self.limit && self.chunks.len() > 1 {
            self.chunks.pop_front();
        }
    }

    /// What follows `position`, as far as it lies in one piece; it ends with a frame. Empty only at the end, or before the start.
    pub(super) fn read(&self, position: Position) -> &[u8] {
        self.chunk_at(position).map_or(&[], |chunk| &chunk.bytes[position.since(chunk.start)..])
    }

    /// The rest of the frame that `position` stands inside of; empty between frames.
    pub(super) fn unfinished(&self, position: Position) -> &[u8] {
        let Some(chunk) = self.chunk_at(position) else { return &[] };
        let offset = position.since(chunk.start);
        if offset == 0 || chunk.bytes[offset - 1] == b'\n' {
            return &[];
        }
        let rest = &chunk.bytes[offset..];
        let line_end = memchr::memchr(b'\n', rest).expect("a frame lies whole in its chunk");
        &rest[..=line_end]
    }

    fn chunk_at(&self, position: Position) -> Option<&Chunk> {
        assert!(position <= self.end, "nobody is ahead of the log");
        let last = self.chunks.back()?;
        if position >= last.start {
            // Nearly everybody is here.
            return Some(last);
        }
        let after = self.chunks.partition_point(|chunk| chunk.start <= position);
        after.checked_sub(1).map(|index| &self.chunks[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log whose chunks hold ten bytes.
    fn log(frames: &[&str]) -> Log {
        let mut log = Log::new(10 * CHUNKS);
        frames.iter().for_each(|frame| log.append(frame.as_bytes()));
        log
    }

    fn read_all(log: &Log, mut position: Position) -> String {
        let mut all = Vec::new();
        while position < log.end() {
            let piece = log.read(position);
            assert!(!piece.is_empty() && piece.ends_with(b"\n"));
            all.extend_from_slice(piece);
            position = position.plus(piece.len());
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn what_was_appended_is_read_from_every_position() {
        let frames = ["one\n", "three\n", "7\n", "longer than a chunk\n", "x\n"];
        let (log, text) = (log(&frames), frames.concat());
        for offset in 0..=text.len() {
            assert_eq!(read_all(&log, Position(offset as u64)), text[offset..]);
        }
    }

    #[test]
    fn a_position_inside_a_frame_is_told_from_one_between_frames() {
        let frames = ["one\n", "three\n", "longer than a chunk\n", "x\n"];
        let log = log(&frames);
        let mut start = Position(0);
        for frame in frames {
            assert_eq!(log.unfinished(start), b"");
            for inside in 1..frame.len() {
                assert_eq!(log.unfinished(start.plus(inside)), &frame.as_bytes()[inside..]);
            }
            start = start.plus(frame.len());
        }
        assert_eq!((start, log.unfinished(start)), (log.end(), &b""[..]));
    }

    #[test]
    fn the_oldest_leave_beyond_the_limit_and_positions_go_on() {
        let mut log = log(&[]);
        for number in 0..1_000 {
            log.append(format!("{number:03}\n").as_bytes());
            assert!(log.len() <= 10 * CHUNKS);
        }
        assert_eq!(log.end(), Position(4_000));
        assert!(log.len() > 9 * CHUNKS / 2, "more was let go than had to be");
        let first = log.start().0 / 4;
        assert_eq!(log.read(log.start())[..4], *format!("{first:03}\n").as_bytes());
        assert_eq!(log.read(Position(0)), b"");
    }

    #[test]
    fn a_frame_longer_than_the_log_is_kept_alone() {
        let mut log = Log::new(10);
        log.append(b"1\n");
        log.append(b"longer than the log\n");
        assert_eq!(log.read(log.start()), b"longer than the log\n");
    }
}
