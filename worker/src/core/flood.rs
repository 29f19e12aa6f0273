//! The flood's memory: which activities have been seen, by the ids that workers gave them.
//!
//! An activity's id is (origin worker, incarnation, sequence). An origin numbers without gaps, so what was seen of an incarnation is one
//! range, and a few more while something is missing: a [`Position`].
//!
//! **Invariant.** No id is new twice, as long as its incarnation is remembered. What is remembered is bounded: of too many gaps the lowest
//! are closed, and of too many incarnations the one that has been known for longest is forgotten that nobody holds anything of.
//!
//! Not here: in which order activities are delivered (`ordering`), links, and asking for what is missing (`catch_up`).

use std::collections::VecDeque;

use common::id::{ActivityId, Incarnation, Seq, ServerId};
use common::position::{Position, StreamId};

/// Incarnations that are remembered, of all workers together.
const STREAMS: usize = 1_024;

/// What has been seen.
#[derive(Debug)]
pub(super) struct Flood {
    own: StreamId,
    next: Seq,
    seen: Position,
    /// Streams in the order in which they became known.
    known: VecDeque<StreamId>,
    /// What was dropped because the same activity had come under another id.
    dropped: Position,
    /// What was published before we began, or while we could not hear of it, and nobody holds any more, as far as we know.
    before: Position,
}

impl Flood {
    /// The worker `own` begins in this incarnation. Of what earlier ones had it holds `held`, and has let go of `let_go`.
    pub(super) fn new(own: ServerId, incarnation: Incarnation, held: Position, let_go: &Position) -> Self {
        let mut room = STREAMS.saturating_sub(held.streams().count());
        let mut let_go = let_go.clone();
        let_go.retain(|stream| {
            let is_held = held.of(stream).is_some();
            let fits = is_held || room > 0;
            room -= usize::from(fits && !is_held);
            fits
        });
        let mut seen = held;
        seen.extend(&let_go);
        Flood {
            own: StreamId { origin: own, incarnation },
            next: Seq(0),
            known: seen.streams().map(|(stream, _)| stream.clone()).collect(),
            seen,
            dropped: Position::default(),
            before: Position::default(),
        }
    }

    /// The id for an activity that is taken in here. It counts as seen.
    pub(super) fn next_id(&mut self) -> ActivityId {
        let StreamId { origin, incarnation } = self.own.clone();
        let id = ActivityId { origin, incarnation, seq: self.next };
        self.next = id.seq.next();
        self.seen.insert(&id);
        id
    }

    /// The number that our next activity will have.
    pub(super) fn next_seq(&self) -> Seq {
        self.next
    }

    /// All that has been seen.
    pub(super) fn seen(&self) -> &Position {
        &self.seen
    }

    /// An activity has come from another worker; those that we may forget are the ones of which `held` has nothing. Says whether it is new.
    pub(super) fn offer(&mut self, id: &ActivityId, held: &Position) -> bool {
        let stream = StreamId::from(id);
        if stream == self.own {
            // Nobody but us numbers these.
            return false;
        }
        self.know(&stream, held);
        self.seen.insert(id)
    }

    /// Another worker says that this is past, and that it does not hold it, or holds it no longer. Where somebody else does, it will come.
    pub(super) fn learn(&mut self, past: &Position, held: &Position) {
        let mut past = past.without(&self.seen);
        past.retain(|stream| *stream != self.own);
        past.streams().for_each(|(stream, _)| self.know(stream, held));
        self.before.extend(&past);
        self.tidy();
    }

    /// The activity is known by another id.
    pub(super) fn dropped(&mut self, id: &ActivityId) {
        self.dropped.insert(id);
    }

    /// Nobody who could be asked holds more: what is missing now was before our time.
    pub(super) fn caught_up(&mut self) {
        self.before.extend(&self.published());
        self.before.subtract(&self.seen);
    }

    /// What has not come, although something after it has, and may still.
    pub(super) fn missing(&self) -> Position {
        self.published().without(&self.seen).without(&self.before)
    }

    /// Of what is missing this is lost.
    pub(super) fn lost(&mut self, lost: &Position) {
        self.before.extend(lost);
    }

    /// What those who begin to listen now will not get: everything that was given to listeners here, and what was before our time.
    /// `waiting` was received and has not been given to anybody, also where it had been taken for lost before it came.
    pub(super) fn past(&self, waiting: &Position) -> Position {
        let mut past = self.seen.clone();
        past.extend(&self.before);
        past.subtract(waiting);
        past
    }

    /// Whether an activity that has come was taken for past before it came. Who has begun to listen meanwhile was told that it lies behind,
    /// and may have had it elsewhere.
    pub(super) fn was_past(&self, id: &ActivityId) -> bool {
        self.before.contains(id)
    }

    /// What somebody who has `has` has not got of all that there was, whether it is held here or not. What came under two ids is listed
    /// once.
    pub(super) fn owed(&self, has: &Position, waiting: &Position) -> Position {
        let mut owed = self.past(waiting).without(has);
        owed.subtract(&self.dropped);
        owed
    }

    /// Whether somebody who has `has` and whom nothing here is new to can be sure to have everything: not where we know nothing of all
    /// that, because everybody who did has started again without a log.
    pub(super) fn can_tell(&self, has: &Position) -> bool {
        let knows = |stream| self.seen.of(stream).is_some() || self.before.of(stream).is_some();
        has.is_empty() || has.streams().any(|(stream, _)| knows(stream))
    }

    /// Keeps what is remembered small. To be called now and then.
    pub(super) fn tidy(&mut self) {
        for memory in [&mut self.seen, &mut self.dropped, &mut self.before] {
            memory.tidy();
        }
    }

    /// Asserts that no more is remembered than may be.
    pub(super) fn assert_bounds(&self) {
        for memory in [&self.seen, &self.dropped, &self.before] {
            let streams = memory.streams().count();
            let bound = STREAMS.max(self.known.len()) + 1;
            assert!(streams <= bound, "{streams} incarnations are remembered");
        }
    }

    /// All that must have been published, because something after it was.
    fn published(&self) -> Position {
        let mut all = Position::default();
        for (stream, ranges) in self.seen.streams() {
            all.add(stream, 0, ranges.last().expect("no stream is empty"));
        }
        all
    }

    /// Something of this stream is to be remembered.
    fn know(&mut self, stream: &StreamId, held: &Position) {
        if self.seen.of(stream).is_some() || self.before.of(stream).is_some() {
            return;
        }
        if self.known.len() >= STREAMS {
            self.forget_one(held);
        }
        self.known.push_back(stream.clone());
    }

    fn forget_one(&mut self, held: &Position) {
        // What is held is bounded by the log, and must not be new again.
        let Some(idle) = self.known.iter().position(|stream| held.of(stream).is_none()) else { return };
        let idle = self.known.remove(idle).expect("there are many");
        for memory in [&mut self.seen, &mut self.dropped, &mut self.before] {
            memory.retain(|stream| *stream != idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flood() -> Flood {
        Flood::new("me".parse().unwrap(), Incarnation(1), Position::default(), &Position::default())
    }

    fn offer(flood: &mut Flood, id: &str) -> bool {
        let new = flood.offer(&id.parse().unwrap(), &Position::default());
        flood.assert_bounds();
        new
    }

    fn position(text: &str) -> Position {
        text.parse().unwrap()
    }

    #[test]
    fn each_id_is_new_once_and_ours_never() {
        let mut flood = flood();
        let ours = flood.next_id();
        assert!(!flood.offer(&ours, &Position::default()));
        assert!(!offer(&mut flood, "me/0000000000000001/77"), "nobody else numbers for us");
        assert!(offer(&mut flood, "me/0000000000000002/0"), "an earlier start of us did");
        for seq in [0, 5, 1, 3] {
            let id = format!("a/0000000000000001/{seq}");
            assert!(offer(&mut flood, &id));
            assert!(!offer(&mut flood, &id));
        }
        assert_eq!(
            flood.seen().to_string(),
            "a/0000000000000001/0-1+3+5,me/0000000000000001/0,me/0000000000000002/0"
        );
    }

    #[test]
    fn what_came_after_it_was_taken_for_lost_is_not_past_while_it_waits() {
        // Who began to listen meanwhile was told that it lies behind, and then was given it.
        let mut flood = flood();
        flood.lost(&position("a/0000000000000001/0-2"));
        offer(&mut flood, "a/0000000000000001/2");
        let waiting = position("a/0000000000000001/2-2");
        assert_eq!(flood.past(&waiting).to_string(), "a/0000000000000001/0-1");
    }

    #[test]
    fn what_was_before_us_is_owed_to_who_comes_from_elsewhere_and_not_to_who_begins_here() {
        let mut flood = flood();
        for seq in [60, 61, 63] {
            offer(&mut flood, &format!("a/0000000000000001/{seq}"));
        }
        flood.caught_up();
        offer(&mut flood, "a/0000000000000001/65");
        let nothing = Position::default();
        assert_eq!(flood.past(&nothing), position("a/0000000000000001/0-63+65"));
        assert_eq!(
            flood.past(&position("a/0000000000000001/65")),
            position("a/0000000000000001/0-63"),
            "it waits for those before it"
        );
        flood.dropped(&"a/0000000000000001/61".parse().unwrap());
        assert_eq!(
            flood.owed(&position("a/0000000000000001/0-40"), &nothing),
            position("a/0000000000000001/41-60+62-63+65")
        );
    }

    #[test]
    fn what_fills_in_session_by_session_is_not_taken_for_known() {
        // After a cut, a neighbour's log has what was published meanwhile in runs, one of each session: the numbers of the stream have a
        // gap for each activity of the sessions that come later. 64 gaps were remembered, and the other sessions' were never delivered.
        let mut flood = flood();
        for session in 0..5 {
            for number in 0..500 {
                assert!(offer(&mut flood, &format!("a/0000000000000001/{}", 5 * number + session)));
            }
            flood.tidy();
        }
        assert_eq!(flood.seen().len(), 1);
    }

    #[test]
    fn of_too_many_incarnations_the_oldest_is_forgotten_that_nobody_holds() {
        let mut flood = flood();
        let held = position("w/0000000000000000/0");
        for incarnation in 0..STREAMS as u64 + 10 {
            let id: ActivityId = format!("w/{incarnation:016x}/0").parse().unwrap();
            assert!(flood.offer(&id, &held));
            flood.assert_bounds();
        }
        assert!(!flood.offer(&"w/0000000000000000/0".parse().unwrap(), &held), "it is held");
        assert!(flood.offer(&"w/0000000000000001/0".parse().unwrap(), &held), "it is forgotten");
    }
}
