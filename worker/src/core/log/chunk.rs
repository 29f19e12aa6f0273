//! A chunk of the log: frames in a row, and what they are.

use common::id::{ActivityId, Seq};
use common::position::Position;
use common::session::SessionId;
use common::time::Time;

use super::Offset;
use crate::core::segment::SegmentId;

/// How every frame begins; its id follows, and a quotation mark.
pub(in crate::core) const BEGINNING: &[u8] = br#"{"command":"ACTIVITY_BROADCAST","id":""#;

/// One activity in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core) struct Frame<'a> {
    /// Where it begins.
    pub(in crate::core) offset: Offset,
    /// Which it is.
    pub(in crate::core) id: ActivityId,
    /// Its line, line end included.
    pub(in crate::core) bytes: &'a [u8],
}

impl Frame<'_> {
    /// Where the next one begins.
    pub(in crate::core) fn end(&self) -> Offset {
        self.offset.plus(self.bytes.len())
    }
}

#[derive(Debug)]
pub(super) struct Chunk {
    /// Where it is on disk, if it is.
    pub(super) segment: SegmentId,
    pub(super) start: Offset,
    /// How far its offsets reach.
    pub(super) len: usize,
    /// How far they may.
    pub(super) limit: usize,
    /// Its frames: always as long as it is among the latest, otherwise while they are read. Less than `len` where some were lost on disk.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) frames: usize,
    pub(super) ids: Position,
    /// When it was noticed that it began. A restored one begins anew.
    pub(super) begun: Option<Time>,
    /// When it is forgotten; unknown for what is new.
    pub(super) expires: Option<Time>,
}

impl Chunk {
    /// An empty one that may grow, in `bytes`.
    pub(super) fn new(segment: SegmentId, start: Offset, limit: usize, bytes: Vec<u8>) -> Self {
        Chunk {
            segment,
            start,
            len: 0,
            limit,
            bytes: Some(bytes),
            frames: 0,
            ids: Position::default(),
            begun: None,
            expires: None,
        }
    }

    pub(super) fn end(&self) -> Offset {
        self.start.plus(self.len)
    }

    /// The bytes of one that is in memory.
    pub(super) fn here(&self) -> &[u8] {
        self.bytes.as_ref().expect("the latest chunks are in memory")
    }

    pub(super) fn push(&mut self, id: &ActivityId, frame: &[u8]) {
        self.bytes.as_mut().expect("what grows is in memory").extend_from_slice(frame);
        self.len += frame.len();
        self.frames += 1;
        self.ids.insert(id);
    }

    /// The frames from `from` on, as far as they are in memory.
    pub(super) fn frames(&self, from: Offset) -> impl Iterator<Item = Frame<'_>> {
        let bytes = self.bytes.as_deref().unwrap_or_default();
        let mut at = from.max(self.start).since(self.start).min(bytes.len());
        if at > 0 && bytes[at - 1] != b'\n' {
            // Some were lost on disk since somebody read this far.
            at += first_line(&bytes[at..]).len();
        }
        let (mut offset, mut rest) = (self.start.plus(at), &bytes[at..]);
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
pub(in crate::core) fn id_of(frame: &[u8]) -> Option<ActivityId> {
    let text = frame.strip_prefix(BEGINNING)?;
    let id = &text[..memchr::memchr(b'"', text)?];
    std::str::from_utf8(id).ok()?.parse().ok()
}

/// The session and its number that follow the id in the fixed beginning of a frame.
pub(in crate::core) fn session_of(frame: &[u8]) -> Option<(SessionId, Seq)> {
    let text = frame.strip_prefix(BEGINNING)?;
    let text = text[memchr::memchr(b'"', text)?..].strip_prefix(br#"","session":""#)?;
    let (session, text) = text.split_at(memchr::memchr(b'"', text)?);
    let text = text.strip_prefix(br#"","activity_seq":"#)?;
    let seq = &text[..memchr::memchr(b',', text)?];
    let session = std::str::from_utf8(session).ok()?.parse().ok()?;
    let seq = std::str::from_utf8(seq).ok()?.parse().ok().map(Seq).filter(|seq| *seq <= Seq::MAX)?;
    Some((session, seq))
}

/// From where `bytes` begin to the end of the line.
pub(super) fn first_line(bytes: &[u8]) -> &[u8] {
    let line_end = memchr::memchr(b'\n', bytes).expect("a frame lies whole in its chunk");
    &bytes[..=line_end]
}
