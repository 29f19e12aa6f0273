//! How much of a network somebody has received: what an application keeps to go on from there later, in another process or at another
//! worker.
//!
//! **Invariant.** It is bounded: it has at most [`STREAMS`] streams, and [`limits::RANGES`] ranges and those of [`LOOK_EVERY`] activities.
//! Beyond that, gaps are closed (what would have filled them is taken for received) and streams of workers' earlier starts are forgotten
//! (should a worker still hold some of it, it comes again). What is told of it, to a worker or as a text, has at most [`TOLD`] ranges, so
//! that a LOGIN can hold it: it may be less than was received, and then some comes again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use common::id::{ActivityId, ServerId};
use common::limits;
use common::position::{self, StreamId};

/// Streams, one for each start of each worker.
const STREAMS: usize = 1_024;

/// Ranges of all streams together that are told. With the longest names they make a quarter of what a line may have; workers take 4,096.
const TOLD: usize = 2_048;

/// After how many activities the bounds are looked at.
const LOOK_EVERY: u64 = 1_024;

/// How much of a network somebody has received. It has a text, `network@…`, that applications keep as it is.
#[derive(Clone, Debug)]
pub struct Position {
    network: String,
    received: position::Position,
    /// The streams in the order in which they appeared, as far as they have been looked at.
    order: Vec<StreamId>,
    inserted: u64,
}

/// What is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a position is network@origin/incarnation/ranges, several separated by commas, as `client tail` prints it"
)]
pub struct PositionError;

impl Position {
    /// So much of this network.
    pub(super) fn new(network: String, received: position::Position) -> Self {
        let mut position = Position { network, received, order: Vec::new(), inserted: 0 };
        position.bound();
        position
    }

    /// The network's id.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// What a LOGIN tells of what was received.
    pub(super) fn told(&self) -> Cow<'_, position::Position> {
        match self.received.len() {
            0..=TOLD => Cow::Borrowed(&self.received),
            _ => Cow::Owned(self.received.beginning(TOLD / STREAMS.min(self.received.streams().count()))),
        }
    }

    /// This was received. Says whether it is new.
    pub(crate) fn insert(&mut self, id: &ActivityId) -> bool {
        let is_new = self.received.insert(id);
        self.inserted += u64::from(is_new);
        if is_new && self.inserted.is_multiple_of(LOOK_EVERY) {
            self.bound();
        }
        is_new
    }

    /// All of this was received, or will never be.
    pub(crate) fn extend(&mut self, other: &position::Position) {
        self.received.extend(other);
        self.bound();
    }

    fn bound(&mut self) {
        self.received.tidy();
        let known: BTreeSet<&StreamId> = self.order.iter().collect();
        let appeared: Vec<StreamId> = self
            .received
            .streams()
            .map(|(stream, _)| stream)
            .filter(|stream| !known.contains(stream))
            .cloned()
            .collect();
        self.order.extend(appeared);
        let excess = self.order.len().saturating_sub(STREAMS);
        if excess > 0 {
            self.forget(excess);
        }
    }

    /// Forgets so many streams: first those that are over, because their worker has started again since, in the order in which they
    /// appeared.
    fn forget(&mut self, count: usize) {
        let latest: BTreeMap<&ServerId, usize> =
            self.order.iter().enumerate().map(|(at, stream)| (&stream.origin, at)).collect();
        let (current, over): (Vec<usize>, Vec<usize>) =
            (0..self.order.len()).partition(|at| latest[&self.order[*at].origin] == *at);
        let forgotten: BTreeSet<StreamId> =
            over.into_iter().chain(current).take(count).map(|at| self.order[at].clone()).collect();
        self.order.retain(|stream| !forgotten.contains(stream));
        self.received.retain(|stream| !forgotten.contains(stream));
    }

    pub(super) fn assert_bounds(&self) {
        let beyond = LOOK_EVERY as usize;
        assert!(self.received.len() <= limits::RANGES + beyond, "{} ranges", self.received.len());
        assert!(self.order.len() <= STREAMS, "{} streams", self.order.len());
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.network == other.network && self.received == other.received
    }
}

impl Eq for Position {}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.network, self.told())
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let fits = text.len() <= limits::LINE_BYTES;
        let (network, received) = text.trim().rsplit_once('@').filter(|_| fits).ok_or(PositionError)?;
        if network.is_empty() || network.contains(char::is_control) {
            return Err(PositionError);
        }
        Ok(Position::new(network.to_owned(), received.parse().map_err(|_| PositionError)?))
    }
}

#[cfg(test)]
mod tests {
    use common::id::{Incarnation, Seq};

    use super::*;

    fn id(origin: usize, incarnation: u64, seq: u64) -> ActivityId {
        ActivityId {
            origin: format!("w{origin}").parse().unwrap(),
            incarnation: Incarnation(incarnation),
            seq: Seq(seq),
        }
    }

    #[test]
    fn a_position_has_a_text_that_reads_back() {
        for text in ["n1@", "n1@w/00000000000000ff/0-41+43", "a@b@w/00000000000000ff/7-7"] {
            let position: Position = text.parse().unwrap();
            assert_eq!(position.to_string(), text);
            assert_eq!(format!(" {text}\n").parse(), Ok(position));
        }
        for wrong in ["", "n1", "@w/00000000000000ff/7", "n1@w", "w/00000000000000ff/7", "n\u{7}@"] {
            assert_eq!(wrong.parse::<Position>(), Err(PositionError), "{wrong:?}");
        }
    }

    #[test]
    fn a_worker_that_starts_again_and_again_costs_no_more_than_its_latest_starts_and_the_others_stay() {
        let mut position: Position = "n1@".parse().unwrap();
        position.insert(&id(0, 0, 0));
        let restarts = 10 * STREAMS as u64;
        for incarnation in 1..=restarts {
            position.insert(&id(1, incarnation, 7));
            position.assert_bounds();
        }
        position.bound();
        assert_eq!(position.received.len(), STREAMS);
        assert!(position.received.contains(&id(0, 0, 0)) && position.received.contains(&id(1, restarts, 7)));
        assert!(!position.received.contains(&id(1, 1, 7)));
    }

    #[test]
    fn what_fills_in_session_by_session_is_new_and_what_is_told_meanwhile_claims_none_of_it() {
        // After a cut of a minute, workers deliver what was published since in runs, one of each session, which interleave in their
        // streams. 64 gaps were remembered of each, and so the sessions whose runs came last were dropped as known: 93 activities of one
        // publisher.
        let mut position: Position = "n1@".parse().unwrap();
        for session in 0..5 {
            for number in 0..5_000 {
                assert!(position.insert(&id(1, 1, 5 * number + session)));
            }
            if session == 0 {
                let told = position.to_string().parse::<Position>().unwrap();
                assert_eq!((told.received.len(), told.received.contains(&id(1, 1, 1))), (TOLD, false));
            }
        }
        assert_eq!(position.to_string(), "n1@w1/0000000000000001/0-24999");
    }

    #[test]
    fn a_position_of_nothing_but_gaps_still_fits_into_a_line() {
        let mut position: Position = "n1@".parse().unwrap();
        let origin = "x".repeat(limits::SERVER_ID_BYTES - 4);
        for worker in 1_000..2_000 {
            for seq in 0..100 {
                let origin = format!("{origin}{worker}").parse().unwrap();
                position.insert(&ActivityId {
                    origin,
                    incarnation: Incarnation(1),
                    seq: Seq(Seq::MAX.0 - 2 * seq),
                });
            }
        }
        position.assert_bounds();
        position.bound();
        assert!(position.to_string().len() < limits::LINE_BYTES / 2, "{}", position.to_string().len());
    }
}
