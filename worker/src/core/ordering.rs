//! The order in which each session's activities are delivered, and which of them are known.
//!
//! A session numbers what it publishes, 1, 2, 3 …, through whatever worker it does so. Its activities are delivered in that order, each
//! once: (session, number) is what an activity is recognised by, when it was sent again elsewhere and comes by two ways. One that comes
//! early waits for those before it, for a bounded time. Then they are missing; when they come after all, they are late.
//!
//! **Invariants.** No number of a session is delivered twice, as long as the session is remembered. Numbers are delivered ascending, but
//! for those that are said to be late. What waits is bounded, and so is the number of sessions and of gaps in one.
//!
//! Not here: ids of the flood, the log, and asking others for what is missing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::id::{ActivityId, Seq};
use common::limits::GAPS;
use common::position::{Position, Ranges};
use common::session::SessionId;
use common::time::Time;

/// Sessions' numbers.
#[derive(Debug)]
pub struct Ordering {
    /// Sessions that were heard since the last change of generation, and those that were heard in the one before. Who is in neither has
    /// been silent for longer than the others, and is forgotten.
    young: BTreeMap<SessionId, Numbers>,
    old: BTreeMap<SessionId, Numbers>,
    /// Sessions of which something waits, and since when the first of it does.
    waiting: BTreeSet<(Time, SessionId)>,
    waiting_bytes: usize,
    /// What may be delivered now, in order.
    ready: VecDeque<Ready>,
    gaps: u64,
    limits: Limits,
}

/// The bounds of [`Ordering`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sessions that are remembered at least; at most twice as many.
    pub sessions: usize,
    /// Bytes that may wait, of all sessions.
    pub waiting_bytes: usize,
}

/// What is known of one session's numbers.
#[derive(Debug, Default)]
struct Numbers {
    /// Those that were delivered. What is missing below the last of them may still come, and is late then.
    delivered: Ranges,
    /// Those that came early. All are above `delivered`, and not the next.
    waiting: BTreeMap<u64, Waiting>,
    /// What came first under the highest of those that came, and under those next below it.
    contents: Option<Box<Contents>>,
}

/// Numbers of a session whose contents are remembered: the highest that came and those next below it, whether they came or not. At some 150
/// bytes a session, nobody notices; and a sender that repeats itself by mistake does so soon.
const CONTENTS: u64 = 32;

/// The checksums of what came under a session's highest number and those next below it.
#[derive(Debug, Default)]
struct Contents {
    /// The highest number.
    last: u64,
    /// Which of the numbers up to that one came: bit `i` is for `last - i`.
    came: u32,
    /// That of each number, at the number modulo [`CONTENTS`].
    checksums: [u32; CONTENTS as usize],
}

#[derive(Debug)]
struct Waiting {
    since: Time,
    id: ActivityId,
    /// The other ids that it came under: nobody was given these either.
    doubles: Vec<ActivityId>,
    frame: Vec<u8>,
}

/// An activity whose turn has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ready {
    /// Its id in the flood.
    pub(super) id: ActivityId,
    /// Whose it is.
    pub(super) session: SessionId,
    /// Its number there.
    pub(super) seq: Seq,
    /// It, encoded.
    pub(super) frame: Vec<u8>,
    /// The first of those that should have come before it and were not waited for any longer.
    pub(super) missing_from: Option<Seq>,
}

/// What an activity is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is known: delivered, or waiting.
    Known,
    /// Deliver it, then what [`Ordering::next_ready`] gives.
    Now,
    /// Deliver it, although others that come after it were.
    Late,
    /// Others come first. It is kept here; deliver what [`Ordering::next_ready`] gives.
    Early,
}

impl Ordering {
    /// No session is known.
    pub fn new(limits: Limits) -> Self {
        Ordering {
            young: BTreeMap::new(),
            old: BTreeMap::new(),
            waiting: BTreeSet::new(),
            waiting_bytes: 0,
            ready: VecDeque::new(),
            gaps: 0,
            limits,
        }
    }

    /// Gaps that were not waited for any longer, so far.
    pub(super) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// The last number that was delivered of `session`.
    pub(super) fn last(&self, session: &SessionId) -> Option<Seq> {
        self.numbers(session)?.delivered.last().map(Seq)
    }

    /// Whether an activity is known: delivered, or waiting.
    pub(super) fn knows(&self, session: &SessionId, seq: Seq) -> bool {
        self.numbers(session).is_some_and(|numbers| numbers.knows(seq.0))
    }

    /// Whether an activity waits for its turn.
    pub(super) fn waits(&self, session: &SessionId, seq: Seq) -> bool {
        self.numbers(session).is_some_and(|numbers| numbers.waiting.contains_key(&seq.0))
    }

    /// Whether something else came as `seq` of `session` before, as far as is remembered.
    pub(super) fn contradicts(&self, session: &SessionId, seq: Seq, checksum: u32) -> bool {
        let contents = self.numbers(session).and_then(|numbers| numbers.contents.as_ref());
        contents.and_then(|contents| contents.of(seq.0)).is_some_and(|known| known != checksum)
    }

    /// The activity `seq` of `session` has come, as `frame`. What it says has this checksum.
    pub fn offer(
        &mut self,
        now: Time,
        (session, seq): (SessionId, Seq),
        checksum: u32,
        id: &ActivityId,
        frame: &[u8],
    ) -> Turn {
        self.remember(session);
        let numbers = self.young.get_mut(&session).expect("it is remembered");
        // Of what comes under one number, the first counts.
        numbers.contents.get_or_insert_default().note(seq.0, checksum);
        if let Some(waiting) = numbers.waiting.get_mut(&seq.0) {
            waiting.doubles.push(id.clone());
            return Turn::Known;
        }
        if numbers.knows(seq.0) {
            return Turn::Known;
        }
        let last = numbers.delivered.last().unwrap_or(0);
        if seq.0 <= last {
            numbers.deliver(seq.0);
            return Turn::Late;
        }
        if seq.0 == last + 1 {
            numbers.deliver(seq.0);
            if numbers.waiting.contains_key(&(seq.0 + 1)) {
                let since = numbers.waits_since().expect("something waits");
                self.waiting_bytes -= numbers.release_run(session, &mut self.ready);
                self.waiting.remove(&(since, session));
                self.waiting.extend(numbers.waits_since().map(|since| (since, session)));
            }
            return Turn::Now;
        }
        if numbers.waiting.is_empty() {
            self.waiting.insert((now, session));
        }
        let doubles = Vec::new();
        numbers.waiting.insert(seq.0, Waiting { since: now, id: id.clone(), doubles, frame: frame.to_vec() });
        self.waiting_bytes += frame.len();
        while self.waiting_bytes > self.limits.waiting_bytes {
            let (since, session) = *self.waiting.first().expect("something waits");
            self.go_on(since, session);
        }
        Turn::Early
    }

    /// An activity that is in the log already, because an earlier run of this worker put it there.
    pub(super) fn restore(&mut self, session: SessionId, seq: Seq, checksum: u32) {
        self.remember(session);
        let numbers = self.young.get_mut(&session).expect("it is remembered");
        numbers.contents.get_or_insert_default().note(seq.0, checksum);
        numbers.deliver(seq.0);
    }

    /// The same of `numbers` of a session that are on disk alone. What is restored has not been delivered in this run.
    pub(super) fn restore_numbers(&mut self, session: SessionId, numbers: &Ranges) {
        self.remember(session);
        let known = self.young.get_mut(&session).expect("it is remembered");
        known.delivered.extend(numbers);
        known.delivered.bound(GAPS);
    }

    /// The next activity whose turn has come, if any.
    pub(super) fn next_ready(&mut self) -> Option<Ready> {
        self.ready.pop_front()
    }

    /// Since when what has waited longest waits.
    pub(super) fn waits_since(&self) -> Option<Time> {
        self.waiting.first().map(|(since, _)| *since)
    }

    /// Goes on without what that one misses which has waited longest.
    pub(super) fn give_up(&mut self) {
        if let Some((since, session)) = self.waiting.first().copied() {
            self.go_on(since, session);
        }
    }

    /// What waits here, under all ids that it came under: it was received, and nobody has been given it.
    pub(super) fn waiting(&self) -> Position {
        let mut ids = Position::default();
        for (_, session) in &self.waiting {
            let numbers = self.numbers(session).expect("who waits is remembered");
            for waiting in numbers.waiting.values() {
                ids.insert(&waiting.id);
                waiting.doubles.iter().for_each(|id| _ = ids.insert(id));
            }
        }
        ids
    }

    /// Asserts that no more is remembered than may be.
    pub(super) fn assert_bounds(&self) {
        let sessions = self.young.len() + self.old.len();
        assert!(
            sessions <= 2 * self.limits.sessions + self.waiting.len(),
            "{sessions} sessions are remembered"
        );
        assert!(self.waiting_bytes <= self.limits.waiting_bytes, "{} bytes wait", self.waiting_bytes);
        assert!(self.ready.is_empty(), "what is ready is delivered at once");
        for (since, session) in &self.waiting {
            let numbers = self.numbers(session).expect("who waits is remembered");
            assert_eq!(numbers.waits_since(), Some(*since), "what waits has its time");
        }
    }

    /// The session's first gap is not waited for any longer: what follows it is ready.
    fn go_on(&mut self, since: Time, session: SessionId) {
        self.remember(session);
        let numbers = self.young.get_mut(&session).expect("it is remembered");
        let first = numbers.delivered.last().unwrap_or(0) + 1;
        let (seq, waiting) = numbers.waiting.pop_first().expect("something waits");
        tracing::warn!(%session, from = first, before = seq, "activities did not come in time; going on without them");
        // Of a session that is new here nobody knows where it began for those who listen.
        let missing_from = (!numbers.delivered.is_empty()).then_some(Seq(first));
        self.gaps += 1;
        self.waiting_bytes -= waiting.frame.len();
        numbers.deliver(seq);
        let Waiting { id, frame, .. } = waiting;
        self.ready.push_back(Ready { id, session, seq: Seq(seq), frame, missing_from });
        self.waiting_bytes -= numbers.release_run(session, &mut self.ready);
        self.waiting.remove(&(since, session));
        self.waiting.extend(numbers.waits_since().map(|since| (since, session)));
    }

    fn numbers(&self, session: &SessionId) -> Option<&Numbers> {
        self.young.get(session).or_else(|| self.old.get(session))
    }

    /// The session is among the young ones from now on.
    fn remember(&mut self, session: SessionId) {
        if self.young.contains_key(&session) {
            return;
        }
        // Before the generations change, or it would go with the silent ones.
        let numbers = self.old.remove(&session).unwrap_or_default();
        if self.young.len() >= self.limits.sessions {
            let silent = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            let waiting = silent.into_iter().filter(|(_, numbers)| !numbers.waiting.is_empty());
            self.young.extend(waiting);
        }
        self.young.insert(session, numbers);
    }
}

impl Numbers {
    fn knows(&self, seq: u64) -> bool {
        self.delivered.contains(seq) || self.waiting.contains_key(&seq)
    }

    fn deliver(&mut self, seq: u64) {
        self.delivered.insert(seq);
        self.delivered.bound(GAPS);
    }

    fn waits_since(&self) -> Option<Time> {
        self.waiting.values().map(|waiting| waiting.since).min()
    }

    /// Releases what follows without a gap. Returns its length in bytes.
    fn release_run(&mut self, session: SessionId, ready: &mut VecDeque<Ready>) -> usize {
        let mut bytes = 0;
        while let Some(entry) = self.waiting.first_entry()
            && self.delivered.last().is_none_or(|last| *entry.key() == last + 1)
        {
            let (seq, Waiting { id, frame, .. }) = entry.remove_entry();
            bytes += frame.len();
            self.deliver(seq);
            ready.push_back(Ready { id, session, seq: Seq(seq), frame, missing_from: None });
        }
        bytes
    }
}

impl Contents {
    fn note(&mut self, number: u64, checksum: u32) {
        match number.checked_sub(self.last) {
            Some(further) => {
                self.came =
                    u32::try_from(further).map_or(0, |further| self.came.checked_shl(further).unwrap_or(0));
                self.last = number;
            }
            None if self.last - number >= CONTENTS => return,
            None => {}
        }
        let bit = 1 << (self.last - number);
        if self.came & bit == 0 {
            self.came |= bit;
            self.checksums[(number % CONTENTS) as usize] = checksum;
        }
    }

    fn of(&self, number: u64) -> Option<u32> {
        let behind = self.last.checked_sub(number).filter(|behind| *behind < CONTENTS)?;
        (self.came >> behind & 1 == 1).then(|| self.checksums[(number % CONTENTS) as usize])
    }
}

#[cfg(test)]
#[path = "ordering_tests.rs"]
mod tests;
