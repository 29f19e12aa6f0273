//! The flood's memory: which activities have been seen, and in which order they are delivered.
//!
//! An activity's id is (origin worker, incarnation, sequence). An origin numbers without gaps, so what was seen of an incarnation
//! is one number, the next expected, and what came too early. Early activities are passed on at once (that is the router's
//! part) but delivered in their origin's order: they wait for those before them for [`Limits::ordering_period`] at most. Then the
//! gap is given up, and what of it still comes is a duplicate.
//!
//! **Invariants.** No id is delivered twice, as long as its origin is remembered. The ids of one incarnation are delivered in
//! ascending order. What is held is bounded per incarnation, and so is the number of incarnations and of origins: the one that
//! has been silent for longest is forgotten.
//!
//! Not here: links, the log, and repairing gaps (which needs somebody to ask).

use std::collections::{BTreeMap, VecDeque};

use common::id::{ActivityId, Incarnation, Seq, ServerId};
use common::time::Time;

use super::config::Limits;

/// Origins that are remembered. Far more than workers that may ever be linked.
const ORIGINS: usize = 1_024;

/// Incarnations of one origin that are remembered: activities of a past one are still on their way for seconds at most.
const INCARNATIONS: usize = 4;

/// What has been seen.
#[derive(Debug)]
pub(super) struct Flood {
    own: ActivityId,
    origins: BTreeMap<ServerId, Vec<Stream>>,
    /// Incarnations of which something is held, and when to look after it: no later than when the first of it has waited enough.
    waiting: BTreeMap<(ServerId, Incarnation), Time>,
    /// What may be delivered now, in order.
    ready: VecDeque<Vec<u8>>,
    gaps: u64,
    limits: Limits,
}

/// What has been seen of one incarnation of one origin.
#[derive(Debug)]
struct Stream {
    incarnation: Incarnation,
    /// The first number that has been neither delivered nor given up.
    next: Seq,
    /// Frames that came early, and when. All are above `next`.
    held: BTreeMap<Seq, (Time, Vec<u8>)>,
    held_bytes: usize,
    heard: Time,
}

/// What an activity from another worker is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Novelty {
    /// Seen before, or given up.
    Seen,
    /// New, and the next of its origin: deliver it, then what [`Flood::next_ready`] gives.
    Next,
    /// New, but others come first. It is kept here; deliver what [`Flood::next_ready`] gives.
    Early,
}

impl Flood {
    /// An empty memory of the worker `own` in this incarnation.
    pub(super) fn new(own: ServerId, incarnation: Incarnation, limits: Limits) -> Self {
        Flood {
            own: ActivityId { origin: own, incarnation, seq: Seq(0) },
            origins: BTreeMap::new(),
            waiting: BTreeMap::new(),
            ready: VecDeque::new(),
            gaps: 0,
            limits,
        }
    }

    /// The id for an activity of our own.
    pub(super) fn next_id(&mut self) -> ActivityId {
        let id = self.own.clone();
        self.own.seq = id.seq.next();
        id
    }

    /// The number that our next activity will have.
    pub(super) fn next_seq(&self) -> Seq {
        self.own.seq
    }

    /// Gaps given up so far.
    pub(super) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// An activity arrived from another worker as `frame`. The first of an unknown incarnation says where that begins for us.
    pub(super) fn offer(&mut self, now: Time, id: &ActivityId, frame: &[u8]) -> Novelty {
        if id.origin == self.own.origin && id.incarnation == self.own.incarnation {
            return Novelty::Seen;
        }
        let Flood { waiting, ready, gaps, limits, .. } = self;
        let Some(stream) = find(&mut self.origins, &id.origin, id.incarnation) else {
            self.begin(now, &id.origin, id.incarnation, id.seq.next());
            return Novelty::Next;
        };
        stream.heard = now;
        if id.seq < stream.next || stream.held.contains_key(&id.seq) {
            return Novelty::Seen;
        }
        if id.seq == stream.next {
            stream.next = id.seq.next();
            if !stream.held.is_empty() {
                stream.release_run(ready);
                if stream.held.is_empty() {
                    waiting.remove(&(id.origin.clone(), id.incarnation));
                }
            }
            return Novelty::Next;
        }
        if stream.held.is_empty() {
            waiting.insert((id.origin.clone(), id.incarnation), now + limits.ordering_period);
        }
        stream.held.insert(id.seq, (now, frame.to_vec()));
        stream.held_bytes += frame.len();
        if stream.held_bytes > limits.held_bytes {
            *gaps += stream.release_through(&id.origin, Seq(u64::MAX), ready);
            waiting.remove(&(id.origin.clone(), id.incarnation));
        }
        Novelty::Early
    }

    /// The origin itself says that its next activity will be `next`. Where its incarnation is new to us, that is where it begins.
    pub(super) fn announced(&mut self, now: Time, origin: &ServerId, incarnation: Incarnation, next: Seq) {
        if find(&mut self.origins, origin, incarnation).is_none() {
            self.begin(now, origin, incarnation, next);
        }
    }

    /// The next frame whose turn has come, if any.
    pub(super) fn next_ready(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    /// When to call [`give_up`](Self::give_up).
    pub(super) fn deadline(&self) -> Option<Time> {
        self.waiting.values().min().copied()
    }

    /// Gives up the gaps in front of what has waited long enough; what followed them is ready.
    pub(super) fn give_up(&mut self, now: Time) {
        let due: Vec<_> =
            self.waiting.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            let period = self.limits.ordering_period;
            let stream = find(&mut self.origins, &key.0, key.1).expect("who waits is remembered");
            if let Some(last) =
                stream.held.iter().rfind(|(_, (at, _))| *at + period <= now).map(|(seq, _)| *seq)
            {
                self.gaps += stream.release_through(&key.0, last, &mut self.ready);
            }
            match stream.held.values().map(|(at, _)| *at).min() {
                Some(earliest) => self.waiting.insert(key, earliest + period),
                None => self.waiting.remove(&key),
            };
        }
    }

    /// Asserts that no more is remembered than may be.
    pub(super) fn assert_bounds(&self) {
        assert!(self.origins.len() <= ORIGINS, "{} origins are remembered", self.origins.len());
        for (origin, streams) in &self.origins {
            assert!(streams.len() <= INCARNATIONS, "{} incarnations of {origin}", streams.len());
            for stream in streams {
                assert!(
                    stream.held_bytes <= self.limits.held_bytes,
                    "{} bytes of {origin}",
                    stream.held_bytes
                );
                let waits = self.waiting.contains_key(&(origin.clone(), stream.incarnation));
                assert_eq!(waits, !stream.held.is_empty(), "what is held has a deadline");
            }
        }
        assert!(self.ready.is_empty(), "what is ready is delivered at once");
    }

    fn begin(&mut self, now: Time, origin: &ServerId, incarnation: Incarnation, next: Seq) {
        if !self.origins.contains_key(origin) && self.origins.len() == ORIGINS {
            let heard = |streams: &Vec<Stream>| streams.iter().map(|stream| stream.heard).max();
            let silent =
                self.origins.iter().min_by_key(|(_, streams)| heard(streams)).map(|(id, _)| id.clone());
            let silent = silent.expect("there are many");
            for stream in self.origins.remove(&silent).expect("it was just found") {
                self.forget(&silent, stream);
            }
        }
        let streams = self.origins.entry(origin.clone()).or_default();
        let forgotten = (streams.len() == INCARNATIONS).then(|| {
            let silent =
                (0..streams.len()).min_by_key(|&index| streams[index].heard).expect("there are some");
            streams.remove(silent)
        });
        streams.push(Stream { incarnation, next, held: BTreeMap::new(), held_bytes: 0, heard: now });
        if let Some(stream) = forgotten {
            self.forget(origin, stream);
        }
    }

    fn forget(&mut self, origin: &ServerId, mut stream: Stream) {
        self.gaps += stream.release_through(origin, Seq(u64::MAX), &mut self.ready);
        self.waiting.remove(&(origin.clone(), stream.incarnation));
    }
}

fn find<'a>(
    origins: &'a mut BTreeMap<ServerId, Vec<Stream>>,
    origin: &ServerId,
    incarnation: Incarnation,
) -> Option<&'a mut Stream> {
    origins.get_mut(origin)?.iter_mut().find(|stream| stream.incarnation == incarnation)
}

impl Stream {
    /// Releases what is held and follows `next` without a gap.
    fn release_run(&mut self, ready: &mut VecDeque<Vec<u8>>) {
        while let Some((_, frame)) = self.held.remove(&self.next) {
            self.held_bytes -= frame.len();
            self.next = self.next.next();
            ready.push_back(frame);
        }
    }

    /// Gives up the gaps before `last`, releases what is held up to there and what follows without a gap. Returns the number of gaps.
    fn release_through(&mut self, origin: &ServerId, last: Seq, ready: &mut VecDeque<Vec<u8>>) -> u64 {
        let mut gaps = 0;
        while let Some((&seq, _)) = self.held.first_key_value().filter(|(seq, _)| **seq <= last) {
            tracing::warn!(%origin, from = %self.next, before = %seq, "activities did not arrive in time; going on without them");
            gaps += 1;
            self.next = seq;
            self.release_run(ready);
        }
        gaps
    }
}

#[cfg(test)]
#[path = "flood_tests.rs"]
mod tests;
