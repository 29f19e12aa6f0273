//! What of the log is on disk: written behind what is appended, read back for those who missed more than is in memory, and forgotten in
//! time. Each chunk is a segment there.
//!
//! Nothing waits for a write. So what is on disk may be less than what was appended, and what is read less than what was written: it is
//! compared with what should be there, and what is missing is held no longer.
//!
//! The disk may be given less room than memory: then what is in memory is not all on disk.
//!
//! **Invariants.** Of what is not among the latest, the frames of at most [`READ_BACK`] chunks are in memory. One chunk is read at a time.
//! What is on disk is the end of the log, but for what was not written yet.

use std::collections::VecDeque;
use std::time::Duration;

use common::limits::DOUBLES;
use common::position::Position;
use common::time::Time;

use super::chunk::{Chunk, id_of, session_of};
use super::{Log, Offset};
use crate::core::segment::{Kept, SegmentId, SegmentRequest};

/// Chunks that were read back and are in memory. A reader of another one takes the place of the first; a few let those who read side
/// by side finish with theirs.
const READ_BACK: usize = 4;

/// Of how many streams it is remembered what was let go of.
const LET_GO: usize = 512;

/// A chunk grows for at most this part of the time that activities are kept, so that they are not kept much longer.
const GROWS: u32 = 16;

/// For how long, and of how much, a worker keeps a log on disk.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Retention {
    /// Bytes of frames.
    pub(in crate::core) bytes: usize,
    /// Since they were appended; up to a sixteenth more.
    pub(in crate::core) age: Duration,
}

#[derive(Debug)]
pub(super) struct Archive {
    pub(super) retention: Retention,
    /// All that is in chunks that are not among the latest.
    pub(super) ids: Position,
    /// What was on disk and is nowhere any more, in this run and earlier ones.
    let_go: Position,
    /// What lies before was given to the disk.
    saved: Offset,
    /// The oldest segment that is still on disk, if it ever was. What lies before is in memory, or nowhere.
    kept_from: SegmentId,
    /// What lies before has a time when it expires.
    swept: Offset,
    requests: VecDeque<SegmentRequest>,
    /// Chunks that somebody waits for.
    wanted: VecDeque<SegmentId>,
    reading: Option<SegmentId>,
    read_back: VecDeque<SegmentId>,
}

impl Log {
    /// A log of which at most `limit` bytes are in memory and what `retention` says on disk; to begin with, what an earlier run `kept`, in
    /// ascending order, and not what that had `let_go` of.
    pub(in crate::core) fn restored(
        now: Time,
        limit: usize,
        retention: Retention,
        kept: Vec<Kept>,
        let_go: Position,
    ) -> Self {
        let mut log = Log::new(limit);
        for kept in kept {
            log.restore(now, retention, kept);
        }
        let latest = log.chunks.iter().rev().take_while(|chunk| chunk.bytes.is_some()).count();
        log.archived = log.chunks.len() - latest;
        let mut ids = Position::default();
        for chunk in log.chunks.range_mut(..log.archived) {
            chunk.bytes = None;
            ids.extend(&chunk.ids);
        }
        log.archive = Some(Archive {
            retention,
            ids,
            let_go,
            saved: log.end,
            kept_from: SegmentId::default(),
            swept: log.end,
            requests: VecDeque::new(),
            wanted: VecDeque::new(),
            reading: None,
            read_back: VecDeque::new(),
        });
        log.trim();
        log.sweep(now);
        log
    }

    /// What was on disk, and is nowhere in the log any more. Bounded, as what has been seen is.
    pub(in crate::core) fn let_go(&self) -> Position {
        self.archive.as_ref().map(|archive| archive.let_go.without(&self.holds)).unwrap_or_default()
    }

    /// Where the oldest frame begins that is in memory or on disk.
    pub(in crate::core) fn first(&self) -> Offset {
        self.chunks.front().map_or(self.end, |chunk| chunk.start)
    }

    /// Forgets what is too old. To be called every second or so.
    pub(in crate::core) fn sweep(&mut self, now: Time) {
        let Some(archive) = &mut self.archive else { return };
        let age = archive.retention.age;
        for chunk in self.chunks.iter_mut().rev().take_while(|chunk| chunk.end() > archive.swept) {
            chunk.expires = Some(now + age);
        }
        archive.swept = self.end;
        if let Some(last) = self.chunks.back_mut()
            && *last.begun.get_or_insert(now) + age / GROWS <= now
        {
            last.limit = 0;
        }
        while self.chunks.front().is_some_and(|chunk| chunk.expires.is_some_and(|at| at <= now)) {
            self.forget_oldest();
        }
    }

    /// What is asked of the disk next. To be called until there is nothing, whenever something may have been appended or waits for the
    /// disk.
    pub(in crate::core) fn next_request(&mut self) -> Option<SegmentRequest> {
        self.save();
        let archive = self.archive.as_mut()?;
        if archive.reading.is_none() {
            archive.reading = archive.wanted.pop_front();
            archive.requests.extend(archive.reading.map(SegmentRequest::Read));
        }
        archive.requests.pop_front()
    }

    /// Whether what [`missing`](Self::missing) would go on with is on disk alone. Then it is being read: to be called again when
    /// [`was_read`](Self::was_read) was.
    pub(in crate::core) fn awaits_disk(&mut self, after: &Position, from: Offset) -> bool {
        let absent = self.lacking(after, from).find(|chunk| chunk.bytes.is_none()).map(|chunk| chunk.segment);
        let Some((segment, archive)) = absent.zip(self.archive.as_mut()) else { return false };
        if archive.reading != Some(segment) && !archive.wanted.contains(&segment) {
            archive.wanted.push_back(segment);
        }
        true
    }

    /// What was asked of the disk is here: `frames`, or what could be read of them.
    pub(in crate::core) fn was_read(&mut self, segment: SegmentId, frames: &[u8]) {
        let Some(archive) = &mut self.archive else { return };
        archive.reading.take_if(|reading| *reading == segment);
        let index = self.chunks.partition_point(|chunk| chunk.segment < segment);
        let Some(chunk) = self.chunks.range_mut(..self.archived).nth(index) else { return };
        if chunk.segment != segment {
            return;
        }
        let (bytes, ids, count) = admit(frames, &chunk.ids);
        let lost = chunk.ids.without(&ids);
        if !lost.is_empty() {
            tracing::warn!(%segment, %lost, "activities are not in the log on disk any more");
            archive.ids.subtract(&lost);
            self.holds.subtract(&lost);
        }
        (chunk.bytes, chunk.ids, chunk.frames) = (Some(bytes), ids, count);
        archive.read_back.push_back(segment);
        if archive.read_back.len() > READ_BACK {
            let oldest = archive.read_back.pop_front();
            let mut archived = self.chunks.range_mut(..self.archived);
            if let Some(chunk) = archived.find(|chunk| Some(chunk.segment) == oldest) {
                chunk.bytes = None;
            }
        }
    }

    /// Lets go of what is too much: in memory, and on disk.
    pub(super) fn trim(&mut self) {
        while self.len() > self.limit && self.chunks.len() - self.archived > 1 {
            let oldest = self.chunks[self.archived].segment;
            let is_on_disk = self.archive.as_ref().is_some_and(|archive| archive.kept_from <= oldest);
            if is_on_disk { self.archive_oldest() } else { self.forget_oldest() }
        }
        while let Some(archive) = &self.archive {
            let index = self.chunks.partition_point(|chunk| chunk.segment < archive.kept_from);
            let on_disk = self.chunks.get(index).map_or(0, |oldest| self.end.since(oldest.start));
            if on_disk <= archive.retention.bytes || index + 1 == self.chunks.len() {
                return;
            }
            if self.archived > 0 { self.forget_oldest() } else { self.keep_in_memory_alone(index) }
        }
    }

    /// The chunk `index`, the oldest on disk, is in memory too, and stays there.
    fn keep_in_memory_alone(&mut self, index: usize) {
        self.save();
        self.part(index);
        let archive = self.archive.as_mut().expect("there is a disk");
        let segment = self.chunks[index].segment;
        archive.requests.push_back(SegmentRequest::Drop(segment));
        archive.kept_from = segment.next();
    }

    /// The oldest chunk in memory is on disk alone from now on.
    fn archive_oldest(&mut self) {
        self.save();
        let archive = self.archive.as_mut().expect("there is a disk");
        let chunk = &mut self.chunks[self.archived];
        self.spare = chunk.bytes.take().expect("it was among the latest");
        archive.ids.extend(&chunk.ids);
        self.archived += 1;
    }

    fn forget_oldest(&mut self) {
        self.save();
        self.part(0);
        let mut chunk = self.chunks.pop_front().expect("there is one");
        self.holds.subtract(&chunk.ids);
        if let Some(bytes) = chunk.bytes.take() {
            self.spare = bytes;
        }
        if let Some(archive) = &mut self.archive {
            archive.let_go.extend(&chunk.ids);
            archive.let_go.tidy();
            let mut others = archive.let_go.streams().count().saturating_sub(LET_GO);
            archive.let_go.retain(|stream| {
                let stays = others == 0 || self.holds.of(stream).is_some();
                others -= usize::from(!stays);
                stays
            });
            if archive.kept_from <= chunk.segment {
                archive.requests.push_back(SegmentRequest::Drop(chunk.segment));
                archive.kept_from = chunk.segment.next();
            }
            archive.wanted.retain(|wanted| *wanted != chunk.segment);
            archive.read_back.retain(|other| *other != chunk.segment);
            if let Some(less) = self.archived.checked_sub(1) {
                self.archived = less;
                archive.ids.subtract(&chunk.ids);
            }
        }
    }

    /// Notes what there is in a chunk that nobody else is known to have, as far as it is in memory. The latest count.
    fn part(&mut self, index: usize) {
        let Some(shared) = &self.shared else { return };
        let chunk = &self.chunks[index];
        if chunk.ids.is_within(shared) {
            return;
        }
        for frame in chunk.frames(Offset(0)).filter(|frame| !shared.contains(&frame.id)) {
            self.parted.extend(session_of(frame.bytes).map(|activity| (activity, frame.id)));
            if self.parted.len() > DOUBLES {
                self.parted.pop_front();
            }
        }
    }

    /// Has segments dropped whose frames are elsewhere in the log by now.
    pub(super) fn forget_segments(&mut self, drops: impl Iterator<Item = SegmentRequest>) {
        self.save();
        if let Some(archive) = &mut self.archive {
            archive.swept = self.end;
            archive.requests.extend(drops);
        }
    }

    /// Gives what was appended to the disk.
    fn save(&mut self) {
        let Some(Archive { saved, .. }) = self.archive else { return };
        if saved == self.end {
            return;
        }
        let after = self.chunks.partition_point(|chunk| chunk.end() <= saved);
        let append = |chunk: &Chunk| SegmentRequest::Append {
            segment: chunk.segment,
            frames: chunk.here()[saved.max(chunk.start).since(chunk.start)..].to_vec(),
        };
        let archive = self.archive.as_mut().expect("it was just looked at");
        archive.requests.extend(self.chunks.range(after..).map(append));
        archive.saved = self.end;
    }

    fn restore(&mut self, now: Time, retention: Retention, kept: Kept) {
        let mut chunk = Chunk::new(kept.segment, self.end, 0, Vec::new());
        chunk.expires = Some(now + retention.age.saturating_sub(kept.age));
        // Files may have been copied: what is in two of them is in the first.
        let ids = kept.summary.ids.without(&self.holds);
        match kept.frames {
            Some(frames) => {
                let (bytes, ids, count) = admit(&frames, &ids);
                (chunk.len, chunk.limit) = (bytes.len(), self.chunk_bytes());
                (chunk.bytes, chunk.ids, chunk.frames) = (Some(bytes), ids, count);
            }
            None => {
                chunk.bytes = None;
                (chunk.len, chunk.ids, chunk.frames) = (kept.summary.bytes, ids, kept.summary.frames);
            }
        }
        self.holds.extend(&chunk.ids);
        self.end = chunk.end();
        self.next_segment = kept.segment.next();
        self.chunks.push_back(chunk);
    }
}

/// The frames that are among `ids`, each once; which these are, and how many.
fn admit(frames: &[u8], ids: &Position) -> (Vec<u8>, Position, usize) {
    let (mut bytes, mut here, mut count) = (Vec::with_capacity(frames.len()), Position::default(), 0);
    for frame in frames.split_inclusive(|byte| *byte == b'\n') {
        if id_of(frame).is_some_and(|id| ids.contains(&id) && here.insert(&id)) && frame.ends_with(b"\n") {
            bytes.extend_from_slice(frame);
            count += 1;
        }
    }
    (bytes, here, count)
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
