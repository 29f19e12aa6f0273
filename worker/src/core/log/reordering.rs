//! Putting the latest of the log in order again, where what a disk had lost came back behind what follows it.
//!
//! Each session's activities take the places that its activities have, in the order of their numbers. What is on disk alone stays as it is.
//!
//! Only to be done while nobody reads.

use std::collections::{BTreeMap, VecDeque};

use common::id::{ActivityId, Seq};
use common::session::SessionId;

use super::chunk::{Chunk, session_of};
use super::{Log, Offset};
use crate::core::encoding::{noted, without_notes};
use crate::core::segment::SegmentRequest;

impl Log {
    /// Puts what is in memory in order, and has it written anew. For the purposes of [`Retention`](super::Retention) what is written anew
    /// may count twice, and is as old as the latest of it.
    pub(in crate::core) fn put_in_order(&mut self) {
        let latest = self.chunks.range(self.archived..);
        let frames = latest.flat_map(|chunk| chunk.frames(Offset(0)));
        let mut frames: Vec<_> = frames.map(|frame| (frame.id, frame.bytes.to_vec())).collect();
        if !sort(&mut frames) {
            return;
        }
        if let Some(last) = self.archived.checked_sub(1) {
            self.chunks[last].limit = 0;
        }
        let unordered: VecDeque<Chunk> = self.chunks.split_off(self.archived);
        unordered.iter().for_each(|chunk| self.holds.subtract(&chunk.ids));
        for (id, frame) in &frames {
            self.push(id, frame);
        }
        let expires = unordered.iter().map(|chunk| chunk.expires).max().flatten();
        self.chunks.range_mut(self.archived..).for_each(|chunk| chunk.expires = expires);
        self.forget_segments(unordered.iter().map(|chunk| SegmentRequest::Drop(chunk.segment)));
    }
}

/// Puts each session's activities in order, and notes again what is missing before which. Says whether anything was out of order.
fn sort(frames: &mut [(ActivityId, Vec<u8>)]) -> bool {
    let mut places = BTreeMap::<SessionId, Vec<(usize, Seq)>>::new();
    for (place, (_, frame)) in frames.iter().enumerate() {
        if let Some((session, seq)) = session_of(frame) {
            places.entry(session).or_default().push((place, seq));
        }
    }
    places.retain(|_, places| !places.is_sorted_by_key(|(_, seq)| *seq));
    for places in places.values() {
        let mut ordered = places.clone();
        ordered.sort_by_key(|(_, seq)| *seq);
        let taken: Vec<_> = ordered.iter().map(|(place, _)| std::mem::take(&mut frames[*place].1)).collect();
        let ids: Vec<_> = ordered.iter().map(|(place, _)| frames[*place].0.clone()).collect();
        let mut before: Option<Seq> = None;
        for (((place, _), (_, seq)), (id, frame)) in
            places.iter().zip(&ordered).zip(ids.into_iter().zip(taken))
        {
            let frame = match before.map(Seq::next) {
                Some(next) if next < *seq => noted(&without_notes(&frame), Some(next), false),
                Some(_) => without_notes(&frame),
                // What was before it is not here.
                None => frame,
            };
            frames[*place] = (id, frame);
            before = Some(*seq);
        }
    }
    !places.is_empty()
}
