//! What a session has received: so that it asks for the rest after a connection was lost, hands each activity up once, and tells the
//! worker how far it is.
//!
//! An activity has two names. In the flood it has the id of the worker that took it in, and a position is made of those. Where its sender
//! sent it again through another worker it has two of them; but in its sender's session it has one number, however often it was sent.
//! So what a position does not know is looked up by session and number as well.
//!
//! **Bounds.** [`SESSIONS`] senders' sessions are remembered, and [`limits::GAPS`] gaps of each: beyond, what has been silent for longest
//! goes, and what would have filled the lowest gap is taken for received. The position bounds itself.

use std::collections::BTreeMap;
use std::time::Duration;

use common::id::ActivityId;
use common::limits;
use common::position::{self, Ranges};
use common::session::SessionId;
use common::time::Time;
use common::wire::{ActivityBroadcast, LoginSuccess};

use super::config::Start;
use super::position::Position;

/// Sessions of senders that are remembered. Beyond: the quarter that has been silent for longest is forgotten.
const SESSIONS: usize = 16_384;

/// How often in a row workers refuse a position before it is given up: an address where we were may be another network's by now.
const REFUSALS: u32 = 3;

/// What is known of one sender's session.
#[derive(Debug)]
struct Mark {
    numbers: Ranges,
    /// When it was last heard, counted in activities.
    heard: u64,
}

/// What a session has received, over all its connections.
#[derive(Debug)]
pub(super) struct Receipt {
    /// Whether to ask for what was missed.
    resumes: bool,
    /// Where to begin; once that is done, `Now`.
    start: Start,
    /// What was received. While it begins with the latest activities, this is not all yet that is not to come again.
    position: Option<Position>,
    /// How often workers have refused this position since one last let us in.
    refusals: u32,
    sessions: BTreeMap<SessionId, Mark>,
    heard: u64,
}

/// What to make of an activity that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    New,
    /// Others of its session that come after it came before: at another worker, to which it was late or to which this worker was cut off.
    Late,
    /// It came before, under this very id.
    Duplicate,
    /// It came before under another id.
    Repeated,
}

/// Where a worker's welcome lets a session begin.
#[derive(Debug, PartialEq)]
pub(super) enum Beginning {
    /// Here: what was before will not come.
    At(Position),
    /// Where it was; what was missed comes first, where the worker can tell.
    AsBefore,
    /// Nowhere: where it was told to begin, it cannot.
    Nowhere(String),
}

impl Receipt {
    pub(super) fn new(start: Start, resumes: bool) -> Self {
        Receipt { resumes, start, position: None, refusals: 0, sessions: BTreeMap::new(), heard: 0 }
    }

    /// From where to go on, where that is known.
    pub(super) fn resume(&self) -> Option<&Position> {
        match &self.start {
            Start::After(position) => Some(position),
            Start::Now => self.position.as_ref().filter(|_| self.resumes),
            Start::Last(_) => None,
        }
    }

    /// What has been received, where that is known.
    pub(super) fn position(&self) -> Option<&Position> {
        self.position.as_ref().filter(|_| !matches!(self.start, Start::Last(_)))
    }

    /// With how many of the latest activities to begin.
    pub(super) fn last(&self) -> Option<u64> {
        match &self.start {
            Start::Last(count) => Some(*count),
            Start::Now | Start::After(_) => None,
        }
    }

    /// A worker has let us in after it was told from where to go on.
    pub(super) fn welcome(&mut self, success: LoginSuccess) -> Beginning {
        self.refusals = 0;
        let resumed = self.resume().map(|position| position.network().to_owned());
        let start = std::mem::take(&mut self.start);
        let Some(network) = success.network else {
            return match start {
                Start::After(_) => Beginning::Nowhere("the server knows no positions".to_owned()),
                Start::Now | Start::Last(_) => Beginning::AsBefore,
            };
        };
        match (start, success.position) {
            (Start::After(position), _) if position.network() != network => {
                let given = position.network();
                let info = format!("the position is of another network, {given}; this is {network}");
                return Beginning::Nowhere(info);
            }
            (Start::After(position), None) => self.position = Some(position),
            (Start::Last(count), None) => {
                // What was before them will be told when they have come.
                self.start = Start::Last(count);
                self.position = Some(Position::new(network, position::Position::default()));
            }
            (Start::Now, None) if resumed.as_ref() == Some(&network) => {}
            // A worker that does not say where we are has nothing before that.
            (Start::Now, before) if resumed.is_some() => {
                return self.begin(network, before.unwrap_or_default());
            }
            (Start::Now, None) => {}
            (_, Some(before)) => return self.begin(network, before),
        }
        Beginning::AsBefore
    }

    fn begin(&mut self, network: String, before: position::Position) -> Beginning {
        let position = Position::new(network, before);
        self.position = Some(position.clone());
        Beginning::At(position)
    }

    /// All that was missed has come, but for what never will. Returns where we are, where that is known.
    pub(super) fn resumed(&mut self, position: &position::Position) -> Option<Position> {
        self.start = Start::Now;
        let ours = self.position.as_mut()?;
        ours.extend(position);
        Some(ours.clone())
    }

    /// A worker refuses the position. Where workers keep doing that, it is forgotten. Says whether there is nothing to go on with: one that
    /// was given is not forgotten.
    pub(super) fn refused(&mut self) -> bool {
        if self.resume().is_none() {
            return false;
        }
        self.refusals += 1;
        if self.refusals < REFUSALS {
            return false;
        }
        self.refusals = 0;
        self.position = None;
        matches!(self.start, Start::After(_))
    }

    /// An activity came.
    pub(super) fn take(&mut self, broadcast: &ActivityBroadcast) -> Arrival {
        if let Some(id) = &broadcast.id
            && self.is_known(id)
        {
            return Arrival::Duplicate;
        }
        let (Some(session), Some(number)) = (broadcast.session, broadcast.activity_seq) else {
            return Arrival::New;
        };
        self.heard += 1;
        let mark =
            self.sessions.entry(session).or_insert_with(|| Mark { numbers: Ranges::default(), heard: 0 });
        mark.heard = self.heard;
        let is_late = mark.numbers.last().is_some_and(|last| last > number.0);
        let is_new = mark.numbers.insert(number.0);
        mark.numbers.bound(limits::GAPS);
        if self.sessions.len() > SESSIONS {
            self.forget();
        }
        match (is_new, is_late) {
            (false, _) => Arrival::Repeated,
            (true, true) => Arrival::Late,
            (true, false) => Arrival::New,
        }
    }

    /// An activity came that nobody wants handed up.
    pub(super) fn skipped(&mut self, id: Option<&ActivityId>) {
        if let Some(id) = id {
            self.is_known(id);
        }
    }

    /// Whether this id came before. Now it has.
    fn is_known(&mut self, id: &ActivityId) -> bool {
        self.position.as_mut().is_some_and(|position| !position.insert(id))
    }

    fn forget(&mut self) {
        let mut heard: Vec<u64> = self.sessions.values().map(|mark| mark.heard).collect();
        let quarter = SESSIONS / 4;
        let (_, last, _) = heard.select_nth_unstable(quarter);
        let last = *last;
        self.sessions.retain(|_, mark| mark.heard > last);
    }

    pub(super) fn assert_bounds(&self) {
        assert!(self.sessions.len() <= SESSIONS, "{} sessions", self.sessions.len());
        if let Some(position) = &self.position {
            position.assert_bounds();
        }
    }
}

/// How many activities came over the connection that stands, and how many of them the worker has been told of.
#[derive(Debug, Default)]
pub(super) struct Acks {
    received: u64,
    told: u64,
    due: Option<Time>,
}

impl Acks {
    /// One more came; it is to be told of within `patience`.
    pub(super) fn received(&mut self, now: Time, patience: Duration) {
        self.received += 1;
        self.due.get_or_insert(now + patience);
    }

    /// When the worker is to be told, at the latest.
    pub(super) fn due(&self) -> Option<Time> {
        self.due
    }

    /// How many are to be told of, where `every` have come together or it is time.
    pub(super) fn wanted(&self, now: Time, every: u64) -> bool {
        self.received - self.told >= every || self.due.is_some_and(|due| due <= now)
    }

    /// What to tell, where there is something. It counts as told.
    pub(super) fn tell(&mut self) -> Option<u64> {
        self.due = None;
        (std::mem::replace(&mut self.told, self.received) != self.received).then_some(self.received)
    }
}

#[cfg(test)]
#[path = "receipt_tests.rs"]
mod tests;
