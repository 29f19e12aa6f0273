//! What somebody has received: for each incarnation of each worker a mark, and exceptions to it.
//!
//! A worker numbers what enters through it without gaps ([`ActivityId`]). So a set of activities, however large, is nearly always one
//! range per stream: a version vector with exceptions (Malkhi, Terry, "Concise Version Vectors in WinFS", 2005). Workers know by it
//! what they have seen and what they still hold, clients what they have received.
//!
//! On the wire, and as a token for applications: the streams in order, separated by commas, each `origin/incarnation/ranges`, where the
//! ranges are inclusive, ascending and joined by `+`, as in `w1/00000000000000ff/0-41+43`. A single activity is written as a range, too,
//! `w1/00000000000000ff/7-7`, and never looks like an activity's id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{ActivityId, IdError, Incarnation, Seq, ServerId, serde_as_text};
use crate::limits::{GAPS, RANGES};

/// What one incarnation of one worker numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The worker.
    pub origin: ServerId,
    /// Which start of it.
    pub incarnation: Incarnation,
}

impl From<&ActivityId> for StreamId {
    fn from(id: &ActivityId) -> Self {
        StreamId { origin: id.origin.clone(), incarnation: id.incarnation }
    }
}

/// A set of numbers, as inclusive ranges.
///
/// Invariant: ascending, and between two of them at least one number is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// The numbers from `first` to `last`, both included; none where `last` comes before.
    pub fn of(first: u64, last: u64) -> Self {
        Ranges(if first <= last { vec![(first, last)] } else { Vec::new() })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The largest number.
    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|(_, last)| *last)
    }

    /// Whether `number` is among them.
    pub fn contains(&self, number: u64) -> bool {
        self.covers(number, number)
    }

    /// Whether all numbers from `first` to `last` are among them.
    pub fn covers(&self, first: u64, last: u64) -> bool {
        let after = self.0.partition_point(|(begin, _)| *begin <= first);
        after > 0 && self.0[after - 1].1 >= last
    }

    /// Adds `number`. Says whether it is new.
    pub fn insert(&mut self, number: u64) -> bool {
        if let Some((_, last)) = self.0.last_mut()
            && *last + 1 == number
        {
            // Nearly always it is the next one.
            *last = number;
            return true;
        }
        let is_new = !self.contains(number);
        if is_new {
            self.add(number, number);
        }
        is_new
    }

    /// Adds all numbers from `first` to `last`.
    pub fn add(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        // All that overlap or touch become one.
        let from = self.0.partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self.0.partition_point(|(start, _)| *start <= last.saturating_add(1));
        let joined = match self.0.get(from..to) {
            Some(touched) if !touched.is_empty() => {
                (first.min(touched[0].0), last.max(touched[touched.len() - 1].1))
            }
            _ => (first, last),
        };
        self.0.splice(from..to, [joined]);
    }

    /// Takes all numbers from `first` to `last` away.
    pub fn remove(&mut self, first: u64, last: u64) {
        let from = self.0.partition_point(|(_, end)| *end < first);
        let to = self.0.partition_point(|(start, _)| *start <= last);
        if from >= to {
            return;
        }
        let (start, end) = (self.0[from].0, self.0[to - 1].1);
        let below = (start < first).then(|| (start, first - 1));
        let above = (end > last).then(|| (last + 1, end));
        self.0.splice(from..to, below.into_iter().chain(above));
    }

    /// Adds all of `others`, in one pass where they are many.
    pub fn extend(&mut self, others: &Ranges) {
        if let [(first, last)] = others.0[..] {
            return self.add(first, last);
        }
        let mut all: Vec<_> = self.iter().chain(others.iter()).collect();
        all.sort();
        self.0.clear();
        // In order each goes to the end.
        all.into_iter().for_each(|(first, last)| self.add(first, last));
    }

    /// Takes all of `others` away, in one pass where they are many.
    pub fn subtract(&mut self, others: &Ranges) {
        match others.0[..] {
            [(first, last)] => self.remove(first, last),
            _ => *self = self.without(others),
        }
    }

    /// Those that are not in `others`.
    pub fn without(&self, others: &Ranges) -> Ranges {
        let mut rest = Vec::new();
        let mut others = others.iter().peekable();
        for (mut first, last) in self.iter() {
            while let Some((begin, end)) = others.peek().copied().filter(|(begin, _)| *begin <= last) {
                if begin > first {
                    rest.push((first, begin - 1));
                }
                first = first.max(end + 1);
                if end > last {
                    // It may reach into the next one.
                    break;
                }
                others.next();
            }
            if first <= last {
                rest.push((first, last));
            }
        }
        Ranges(rest)
    }

    /// Fills the lowest gaps until there are at most `ranges` ranges: what lies in them counts as received.
    pub fn bound(&mut self, ranges: usize) {
        if self.0.len() > ranges {
            let excess = self.0.len() - ranges;
            let first = self.0[0].0;
            self.0.drain(..excess);
            self.0[0].0 = first;
        }
    }
}

impl FromStr for Ranges {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut all: Vec<_> = parse_ranges(text).collect::<Result<_, _>>()?;
        all.sort_unstable();
        let mut ranges = Ranges::default();
        all.into_iter().for_each(|(first, last)| ranges.add(first, last));
        Ok(ranges)
    }
}

fn parse_ranges(text: &str) -> impl Iterator<Item = Result<(u64, u64), IdError>> + '_ {
    text.split('+').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if first <= last { Ok((first, last)) } else { Err(IdError::Position) }
    })
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "+" };
            match first == last {
                true => write!(f, "{separator}{first}")?,
                false => write!(f, "{separator}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// A set of activities.
///
/// Invariant: the streams ascend, and none is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(Vec<(StreamId, Ranges)>);

impl Position {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The streams and what is there of each.
    pub fn streams(&self) -> impl Iterator<Item = (&StreamId, &Ranges)> {
        self.0.iter().map(|(stream, ranges)| (stream, ranges))
    }

    /// How many ranges there are in all: what it costs to keep and to send.
    pub fn len(&self) -> usize {
        self.streams().map(|(_, ranges)| ranges.len()).sum()
    }

    /// What is there of one stream.
    pub fn of(&self, stream: &StreamId) -> Option<&Ranges> {
        let place = self.place(&stream.origin, stream.incarnation).ok()?;
        Some(&self.0[place].1)
    }

    /// Whether `id` is there.
    pub fn contains(&self, id: &ActivityId) -> bool {
        let place = self.place(&id.origin, id.incarnation);
        place.is_ok_and(|place| self.0[place].1.contains(id.seq.0))
    }

    /// The lowest activity of the first stream.
    pub fn first(&self) -> Option<ActivityId> {
        let (StreamId { origin, incarnation }, ranges) = self.streams().next()?;
        let (first, _) = ranges.iter().next()?;
        Some(ActivityId { origin: origin.clone(), incarnation: *incarnation, seq: Seq(first) })
    }

    /// Adds `id`. Says whether it is new.
    pub fn insert(&mut self, id: &ActivityId) -> bool {
        self.stream(&id.origin, id.incarnation).insert(id.seq.0)
    }

    /// Takes `id` away.
    pub fn remove(&mut self, id: &ActivityId) {
        if let Ok(place) = self.place(&id.origin, id.incarnation) {
            self.0[place].1.remove(id.seq.0, id.seq.0);
            if self.0[place].1.is_empty() {
                self.0.remove(place);
            }
        }
    }

    /// `id` alone.
    pub fn single(id: &ActivityId) -> Self {
        let mut position = Position::default();
        position.insert(id);
        position
    }

    /// What is missing right before `id`, which is here, up to another of its stream that is here.
    pub fn gap_before(&self, id: &ActivityId) -> Option<Position> {
        let stream = StreamId::from(id);
        let ranges = self.of(&stream)?;
        let at = ranges.0.iter().rposition(|(first, _)| *first <= id.seq.0)?;
        let (first, before) = (ranges.0[at].0, ranges.0.get(at.checked_sub(1)?)?.1);
        let mut gap = Position::default();
        gap.add(&stream, before + 1, first - 1);
        (first == id.seq.0).then_some(gap)
    }

    /// Adds all of `stream` from `first` to `last`.
    pub fn add(&mut self, stream: &StreamId, first: u64, last: u64) {
        if first <= last {
            self.stream(&stream.origin, stream.incarnation).add(first, last);
        }
    }

    /// Adds everything of `other`.
    pub fn extend(&mut self, other: &Position) {
        for (stream, ranges) in &other.0 {
            self.stream(&stream.origin, stream.incarnation).extend(ranges);
        }
    }

    /// Takes everything of `other` away.
    pub fn subtract(&mut self, other: &Position) {
        for (stream, ranges) in &other.0 {
            if let Ok(place) = self.place(&stream.origin, stream.incarnation) {
                let ours = &mut self.0[place].1;
                ours.subtract(ranges);
                if ours.is_empty() {
                    self.0.remove(place);
                }
            }
        }
    }

    /// What of this is not in `other`.
    pub fn without(&self, other: &Position) -> Position {
        let rest = |(stream, ranges): (&StreamId, &Ranges)| {
            let rest = match other.of(stream) {
                Some(theirs) => ranges.without(theirs),
                None => ranges.clone(),
            };
            (!rest.is_empty()).then(|| (stream.clone(), rest))
        };
        Position(self.streams().filter_map(rest).collect())
    }

    /// What is in both.
    pub fn common(&self, other: &Position) -> Position {
        self.without(&self.without(other))
    }

    /// Whether everything of this is in `other`.
    pub fn is_within(&self, other: &Position) -> bool {
        self.0.iter().all(|(stream, ranges)| {
            other
                .of(stream)
                .is_some_and(|theirs| ranges.iter().all(|(first, last)| theirs.covers(first, last)))
        })
    }

    /// Forgets the streams of which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(&StreamId) -> bool) {
        self.0.retain(|(stream, _)| keep(stream));
    }

    /// The one activity that this is, where it is one.
    fn only(&self) -> Option<(&StreamId, u64)> {
        let [(stream, ranges)] = &self.0[..] else { return None };
        match ranges.0[..] {
            [(first, last)] if first == last => Some((stream, first)),
            _ => None,
        }
    }

    /// Keeps what is remembered small: at most [`RANGES`] ranges, as by [`Position::bound`].
    pub fn tidy(&mut self) {
        self.bound(RANGES);
    }

    /// Where there are more than `ranges` ranges, at most [`GAPS`] per stream are left, as by [`Ranges::bound`].
    pub fn bound(&mut self, ranges: usize) {
        if self.len() > ranges {
            self.0.iter_mut().for_each(|(_, stream)| stream.bound(GAPS));
        }
    }

    /// The part that has at most `ranges` ranges per stream, the lowest.
    pub fn beginning(&self, ranges: usize) -> Position {
        let lowest = |ours: &Ranges| Ranges(ours.0[..ours.0.len().min(ranges)].to_vec());
        Position(self.0.iter().map(|(stream, ours)| (stream.clone(), lowest(ours))).collect())
    }

    /// What is there of a stream, to be changed.
    fn stream(&mut self, origin: &ServerId, incarnation: Incarnation) -> &mut Ranges {
        let place = self.place(origin, incarnation).unwrap_or_else(|place| {
            let stream = StreamId { origin: origin.clone(), incarnation };
            self.0.insert(place, (stream, Ranges::default()));
            place
        });
        &mut self.0[place].1
    }

    /// Where a stream is, or would be.
    fn place(&self, origin: &ServerId, incarnation: Incarnation) -> Result<usize, usize> {
        // An incarnation is a random number, so nearly always one look at each of a few is enough.
        let few = &self.0[..self.0.len().min(4)];
        let is_it =
            |(stream, _): &(StreamId, Ranges)| stream.incarnation == incarnation && stream.origin == *origin;
        if let Some(place) = few.iter().position(is_it) {
            return Ok(place);
        }
        self.0
            .binary_search_by(|(stream, _)| (&stream.origin, stream.incarnation).cmp(&(origin, incarnation)))
    }
}

impl From<&ActivityId> for Position {
    /// Everything up to `id`, that included: what somebody has who says that it was the last.
    fn from(id: &ActivityId) -> Self {
        let mut position = Position::default();
        position.add(&StreamId::from(id), 0, id.seq.0);
        position
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((StreamId { origin, incarnation }, seq)) = self.only() {
            // Not as the id of this activity, which would stand for all before it, too (see `After`).
            return write!(f, "{origin}/{incarnation}/{seq}-{seq}");
        }
        for (index, (stream, ranges)) in self.streams().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{}/{}/{ranges}", stream.origin, stream.incarnation)?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut all = Vec::new();
        for stream in text.split(',').filter(|_| !text.is_empty()) {
            let mut parts = stream.split('/');
            let (Some(origin), Some(incarnation), Some(ranges), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(IdError::Position);
            };
            let stream = StreamId { origin: origin.parse()?, incarnation: incarnation.parse()? };
            for range in parse_ranges(ranges) {
                let (first, last) = range?;
                all.push((stream.clone(), first, last));
            }
        }
        // In order each goes to the end. In the order in which somebody may send them, each could go to the front of a hundred thousand.
        if !all.is_sorted() {
            all.sort_unstable();
        }
        let mut position = Position::default();
        all.iter().for_each(|(stream, first, last)| position.add(stream, *first, *last));
        Ok(position)
    }
}

fn number(text: &str) -> Result<u64, IdError> {
    let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.filter(|number| *number <= Seq::MAX.0).ok_or(IdError::Position)
}

serde_as_text!(Ranges, Position);

/// Where to go on: a whole position, or the id of one activity, which stands for all of its stream up to there (as in seed `000`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "`after` is a position or an activity's id, that is origin/incarnation/sequence or several of them separated by commas"
)]
pub enum After {
    /// After everything that this names. Before [`Position`], because both are texts: `w/00000000000000ff/7` is read as an id.
    Activity(ActivityId),
    /// After all of this.
    Position(Position),
}

impl From<After> for Position {
    fn from(after: After) -> Self {
        match after {
            After::Activity(id) => Position::from(&id),
            After::Position(position) => position,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ranges(text: &str) -> Ranges {
        let position: Position = format!("w/00000000000000ff/{text}").parse().unwrap();
        position.streams().next().unwrap().1.clone()
    }

    #[test]
    fn a_position_has_a_text_that_reads_back() {
        for text in [
            "",
            "w/00000000000000ff/0-41+43",
            "a/00000000000000ff/7,b/0000000000000001/0-3,b/0000000000000002/9",
        ] {
            let position: Position = text.parse().unwrap();
            assert_eq!(position.to_string(), text);
        }
        assert_eq!(ranges("4-5+1-2+3"), ranges("1-5"), "ranges that touch are one");
    }

    #[test]
    fn a_long_position_is_read_whatever_its_order() {
        let stream = |origin: u64| format!("w/{origin:016x}/1");
        let streams: Vec<_> = (0..20_000).rev().map(stream).collect();
        let again: Vec<_> = (0..20_000)
            .rev()
            .map(|number| format!("w/00000000000000ff/{}+{}", 4 * number, 4 * number + 2))
            .collect();
        let numbers: Vec<_> = (0..200_000).rev().map(|number| (2 * number).to_string()).collect();
        let position: Position = streams.join(",").parse().unwrap();
        assert_eq!(position.len(), streams.len());
        let position: Position = again.join(",").parse().unwrap();
        assert_eq!(position.len(), 2 * again.len(), "one stream, again and again");
        assert_eq!(ranges(&numbers.join("+")).len(), numbers.len());
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for wrong in [
            ",",
            "w",
            "w/00000000000000ff",
            "w/00000000000000ff/",
            "w/00000000000000ff/1-",
            "w/00000000000000ff/2-1",
            "w/00000000000000ff/1++2",
            "w/00000000000000ff/+1",
            "w/00000000000000ff/1/2",
            "w/00000000000000ff/9223372036854775808",
            "w/ff/1",
        ] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong:?} was taken for a position");
        }
    }

    #[test]
    fn the_gap_in_front_of_an_activity_is_known() {
        let position: Position = "w/00000000000000ff/3-5+9-10".parse().unwrap();
        let gap = |seq: u64| {
            let id = format!("w/00000000000000ff/{seq}").parse().unwrap();
            position.gap_before(&id).map(|gap| gap.to_string())
        };
        assert_eq!(gap(9), Some("w/00000000000000ff/6-8".to_owned()));
        assert_eq!(
            (gap(10), gap(3), gap(4)),
            (None, None, None),
            "before the first nothing is known to be missing"
        );
    }

    #[test]
    fn too_many_gaps_are_closed_from_below() {
        let mut bounded = ranges("0-3+5+7+9-12");
        bounded.bound(2);
        assert_eq!(bounded, ranges("0-7+9-12"));
    }

    #[test]
    fn the_beginning_of_a_position_is_the_lowest_of_each_stream() {
        let position: Position = "v/00000000000000ff/7,w/00000000000000ff/0-3+5+7".parse().unwrap();
        assert_eq!(position.beginning(2).to_string(), "v/00000000000000ff/7,w/00000000000000ff/0-3+5");
    }

    #[test]
    fn a_single_id_stands_for_its_stream_up_to_there() {
        let after: After = serde_json::from_str(r#""w/00000000000000ff/7""#).unwrap();
        assert_eq!(Position::from(after).to_string(), "w/00000000000000ff/0-7");
        let after: After = serde_json::from_str(r#""w/00000000000000ff/7+9""#).unwrap();
        assert_eq!(Position::from(after).to_string(), "w/00000000000000ff/7+9");
    }

    #[test]
    fn a_position_of_a_single_activity_is_not_taken_for_its_id() {
        let mut single = Position::default();
        single.insert(&"w/00000000000000ff/7".parse().unwrap());
        let after = After::Position(single.clone());
        let text = serde_json::to_string(&after).unwrap();
        assert_eq!(text, r#""w/00000000000000ff/7-7""#);
        assert_eq!(Position::from(serde_json::from_str::<After>(&text).unwrap()), single);
    }

    fn position_of(ids: &BTreeSet<(u8, u64)>) -> Position {
        let mut position = Position::default();
        for (origin, seq) in ids {
            let stream =
                StreamId { origin: format!("w{origin}").parse().unwrap(), incarnation: Incarnation(1) };
            position.add(&stream, *seq, *seq);
        }
        position
    }

    proptest! {
        #[test]
        fn it_is_the_set_that_it_says(
            ours in proptest::collection::btree_set((0..2u8, 0..20u64), 0..30),
            theirs in proptest::collection::btree_set((0..2u8, 0..20u64), 0..30),
        ) {
            let (a, b) = (position_of(&ours), position_of(&theirs));
            let without: BTreeSet<_> = ours.difference(&theirs).copied().collect();
            let common: BTreeSet<_> = ours.intersection(&theirs).copied().collect();
            let all: BTreeSet<_> = ours.union(&theirs).copied().collect();
            prop_assert_eq!(a.without(&b), position_of(&without));
            prop_assert_eq!(a.common(&b), position_of(&common));
            prop_assert_eq!(a.is_within(&b), ours.is_subset(&theirs));
            let mut joined = a.clone();
            joined.extend(&b);
            prop_assert_eq!(&joined, &position_of(&all));
            let mut less = a.clone();
            less.subtract(&b);
            prop_assert_eq!(&less, &position_of(&without));
            prop_assert_eq!(joined.to_string().parse::<Position>().unwrap(), joined);
            for origin in 0..2u8 {
                for seq in 0..20 {
                    let id = ActivityId {
                        origin: format!("w{origin}").parse().unwrap(),
                        incarnation: Incarnation(1),
                        seq: Seq(seq),
                    };
                    prop_assert_eq!(a.contains(&id), ours.contains(&(origin, seq)));
                    prop_assert_eq!(a.clone().insert(&id), !ours.contains(&(origin, seq)));
                }
            }
        }
    }
}
