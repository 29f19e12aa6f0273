//! Segments: what of the log is on disk, as bytes. A worker writes them behind, and reads them at its next start and for those who
//! missed more than is in memory.
//!
//! A segment is a file of lines, all of them JSON. The first says what it is ([`HEADER`]). Then come blocks: a line with the length and the
//! checksum of the frames that follow it, as in `{"bytes":1234,"crc32":3421780262}`, and these frames, byte for byte as clients get them. A
//! block that is only half there, or of which a bit has changed, is seen to be so; the next one is found by how it begins. A segment to
//! which nothing will be added ends with a block that says what is in it ([`seal`]), so that a start need not read it.
//!
//! CRC-32 it is since it finds every change of up to 32 bits in a row, however long the block, and costs next to nothing with what
//! processors have for it. It does not protect from those who may write the file.
//!
//! Not here: files ([`crate::shell::Segments`] has them; a simulator has its own), and what is kept for how long (the log).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use common::position::{Position, Ranges};
use common::session::SessionId;
use serde::{Deserialize, Serialize};

use super::log::{id_of, session_of};

/// The version of what is in a segment.
pub const VERSION: u64 = 1;

/// The first line of every segment; its number is [`VERSION`].
pub const HEADER: &[u8] = b"{\"freshet_log\":1}\n";

/// What is written at once is divided into blocks of about so many bytes: damage to one loses no more.
const BLOCK_BYTES: usize = 64 << 10;

/// How the line in front of a block begins. No frame begins so.
const BLOCK: &[u8] = b"{\"bytes\":";

/// How the line in a block begins that says what is in the segment.
const SEAL: &[u8] = b"{\"sealed\":";

/// The number of a segment. A later one has a higher number, also after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// The one that follows.
    pub fn next(self) -> SegmentId {
        SegmentId(self.0 + 1)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016}", self.0)
    }
}

/// What a worker asks of its disk. The requests for one segment are served in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentRequest {
    /// Write these frames to the end of the segment, which begins with them where it does not exist. There is no answer: nothing waits
    /// for it.
    Append {
        /// Which.
        segment: SegmentId,
        /// Whole lines.
        frames: Vec<u8>,
    },
    /// Read it back; answer with [`Input::Segment`](super::Input::Segment).
    Read(SegmentId),
    /// Forget it.
    Drop(SegmentId),
}

/// What an earlier run left of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub segment: SegmentId,
    /// When it was written to last, as a time before the start.
    pub age: Duration,
    /// What is in it.
    pub summary: Summary,
    /// Its frames, where they were read: for the latest segments.
    pub frames: Option<Vec<u8>>,
}

/// What is in a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The activities.
    #[serde(rename = "sealed")]
    pub ids: Position,
    /// How many there are.
    pub frames: usize,
    /// The bytes of their frames.
    pub bytes: usize,
    /// By sessions and their numbers there: (session, number) is what an activity is recognised by. Versions before did not write it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sessions: BTreeMap<SessionId, Ranges>,
}

impl Summary {
    /// Adds `frames`, whole lines, if each of them begins as a frame does. Says whether they do.
    pub fn add(&mut self, frames: &[u8]) -> bool {
        let (mut all, mut rest) = (Vec::new(), frames);
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let Some(id) = id_of(&rest[..end]) else { return false };
            all.push((id, session_of(&rest[..end])));
            rest = &rest[end..];
        }
        for (id, activity) in &all {
            self.ids.insert(id);
            if let Some((session, seq)) = activity {
                self.sessions.entry(*session).or_default().insert(seq.0);
            }
        }
        self.frames += all.len();
        self.bytes += frames.len();
        true
    }
}

/// A segment that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// What is in it and makes sense.
    pub summary: Summary,
    /// The same, frame by frame.
    pub frames: Vec<u8>,
    /// Where the last block that makes sense ends. What follows was being written when the process or the machine died.
    pub whole: usize,
    /// Bytes before that which make no sense.
    pub damaged: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Block {
    bytes: usize,
    crc32: u32,
}

/// Appends blocks of `frames`, which are whole lines.
pub fn write_blocks(mut frames: &[u8], segment: &mut Vec<u8>) {
    while !frames.is_empty() {
        let rest = frames.get(BLOCK_BYTES..).unwrap_or_default();
        let line_end = memchr::memchr(b'\n', rest).map_or(frames.len(), |index| BLOCK_BYTES + index + 1);
        let (block, others) = frames.split_at(line_end);
        write_block(block, segment);
        frames = others;
    }
}

fn write_block(frames: &[u8], segment: &mut Vec<u8>) {
    let block = Block { bytes: frames.len(), crc32: crc32fast::hash(frames) };
    serde_json::to_writer(&mut *segment, &block).expect("it serialises, and there is room");
    segment.push(b'\n');
    segment.extend_from_slice(frames);
}

/// The block that ends a segment in which there is what `summary` says.
pub fn seal(summary: &Summary) -> Vec<u8> {
    let mut line = serde_json::to_vec(summary).expect("it serialises");
    line.push(b'\n');
    let mut block = Vec::new();
    write_block(&line, &mut block);
    block
}

/// What is in a segment that ends with `tail`, where it was sealed and `tail` is long enough to show that.
pub fn sealed(tail: &[u8]) -> Option<Summary> {
    let line = tail.strip_suffix(b"\n")?;
    let block = &line[..memchr::memrchr(b'\n', line)?];
    let start = memchr::memrchr(b'\n', block)? + 1;
    let (_, content) = block_at(&tail[start..])?;
    content.starts_with(SEAL).then(|| serde_json::from_slice(content).ok())?
}

/// Reads a segment. Whatever the bytes are, what makes sense of them is found.
pub fn read(bytes: &[u8]) -> Contents {
    let mut at = if bytes.starts_with(HEADER) { HEADER.len() } else { 0 };
    let mut contents = Contents { whole: at, ..Contents::default() };
    while at < bytes.len() {
        match block_at(&bytes[at..]) {
            Some((length, content)) => {
                contents.damaged += at - contents.whole;
                contents.add(content);
                at += length;
                contents.whole = at;
            }
            None => at = next_block(bytes, at),
        }
    }
    contents
}

/// The version of a segment that begins with `bytes`, where it says one.
pub fn version(bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Header {
        freshet_log: u64,
    }
    let line = &bytes[..memchr::memchr(b'\n', bytes)?];
    serde_json::from_slice(line).ok().map(|Header { freshet_log }| freshet_log)
}

/// Whether there is nothing in `bytes` that a worker of this version could have written.
pub fn is_foreign(bytes: &[u8]) -> bool {
    !HEADER.starts_with(bytes) && read(bytes).whole == 0
}

impl Contents {
    fn add(&mut self, content: &[u8]) {
        if content.starts_with(SEAL) {
            return;
        }
        // What a writer of ours wrote consists of frames.
        match self.summary.add(content) {
            true => self.frames.extend_from_slice(content),
            false => self.damaged += content.len(),
        }
    }
}

/// The block that `bytes` begin with: how long it is, and its content.
fn block_at(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let line_end = bytes.starts_with(BLOCK).then(|| memchr::memchr(b'\n', bytes))??;
    let block: Block = serde_json::from_slice(&bytes[..line_end]).ok()?;
    let content = bytes[line_end + 1..].get(..block.bytes)?;
    let makes_sense = content.ends_with(b"\n") && crc32fast::hash(content) == block.crc32;
    makes_sense.then_some((line_end + 1 + block.bytes, content))
}

/// Where, behind `at`, something begins as the lines in front of blocks do; the end where nothing does. It may be in a text: then no line
/// ends as that in front of a block would.
fn next_block(bytes: &[u8], at: usize) -> usize {
    memchr::memmem::find(&bytes[at + 1..], BLOCK).map_or(bytes.len(), |index| at + 1 + index)
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
