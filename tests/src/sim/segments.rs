//! The disk of a worker: the segments of its log. A write takes a moment, and a crash loses what was being written, or some of it.

use std::collections::BTreeMap;
use std::time::Duration;

use common::time::Time;
use worker::core::segment::{Kept, SegmentId, SegmentRequest, Summary};

/// What one worker has on disk.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    written: BTreeMap<SegmentId, Segment>,
    /// What is being written or dropped, in order.
    under_way: Vec<SegmentRequest>,
}

#[derive(Clone, Debug, Default)]
struct Segment {
    frames: Vec<u8>,
    at: Time,
}

impl Segments {
    /// Something is to be done.
    pub fn request(&mut self, request: SegmentRequest) {
        self.under_way.push(request);
    }

    /// The first of what is under way is done. Returns what was read, where it was to be read.
    pub fn complete(&mut self, now: Time) -> Option<(SegmentId, Vec<u8>)> {
        if self.under_way.is_empty() {
            return None;
        }
        match self.under_way.remove(0) {
            SegmentRequest::Append { segment, frames } => {
                let segment = self.written.entry(segment).or_default();
                segment.frames.extend(frames);
                segment.at = now;
                None
            }
            SegmentRequest::Drop(segment) => {
                self.written.remove(&segment);
                None
            }
            SegmentRequest::Read(segment) => {
                let frames = self.written.get(&segment).map(|segment| segment.frames.clone());
                Some((segment, frames.unwrap_or_default()))
            }
        }
    }

    /// Everything that is under way is done: the worker has left in order.
    pub fn finish(&mut self, now: Time) {
        while !self.under_way.is_empty() {
            self.complete(now);
        }
    }

    /// The worker dies: some of what is under way is done, and the rest never.
    pub fn crash(&mut self, now: Time, rng: &mut fastrand::Rng) {
        let done = rng.usize(0..=self.under_way.len());
        (0..done).for_each(|_| _ = self.complete(now));
        self.under_way.clear();
    }

    /// What a worker finds at its start: the latest segments are read, as far as they are no more than `read` bytes together.
    pub fn kept(&self, now: Time, read: usize) -> Vec<Kept> {
        let mut room = read;
        let mut kept: Vec<Kept> = Vec::new();
        for (&segment, Segment { frames, at }) in self.written.iter().rev() {
            let mut summary = Summary::default();
            assert!(summary.add(frames), "a worker writes frames");
            let is_read = frames.len() <= room;
            room = if is_read { room - frames.len() } else { 0 };
            let age = if *at > now { Duration::ZERO } else { now.since(*at) };
            kept.push(Kept { segment, age, summary, frames: is_read.then(|| frames.clone()) });
        }
        kept.reverse();
        kept
    }
}
