//! Whom to ask for what was missed, and when all has been caught up with.
//!
//! Workers tell each other what they hold, on connecting and every second. What another one holds and we have not seen may be on its way by
//! a path of its own; where it is still missing when that worker says so again, it is asked for. On connecting it is asked for at once, and
//! so is what is missing in front of an activity that came by. Before something is delivered without what should come before it, all are
//! asked what they hold: whoever took that in may have died when it had reached some of them only. One question is under way at a time:
//! each answer is a piece of bounded size, and the next one asks for the rest after a while, so that catching up does not delay what is
//! live.
//!
//! Not here: what has been seen (`flood`), and answering others (`retrieving`).

use std::collections::BTreeMap;
use std::time::Duration;

use common::id::LinkId;
use common::limits::CATCH_UP_PATIENCE;
use common::position::Position;
use common::time::Time;

/// What other workers hold, and what they are asked for.
#[derive(Debug)]
pub(super) struct CatchUp {
    holders: BTreeMap<LinkId, Holder>,
    asked: Option<Question>,
    /// Before when nothing is asked: the last answer's share of time is not over.
    rests_until: Option<Time>,
    next_request: u64,
    /// How long an answer may take.
    patience: Duration,
    /// What nobody has held of what is missing here, and since when.
    unheld: Option<(Time, Position)>,
    /// When all were last asked what they hold.
    inquired: Option<Time>,
}

/// How long is waited for those who are asked what they hold: a busy one answers by then, and one that does not is hardly there.
const INQUIRY: Duration = Duration::from_secs(2);

/// How long nobody must have held what is taken for lost: longer than what waits somewhere for its turn, of which no digest tells, and then
/// for what is on its way and several digests.
const LOST: Duration = CATCH_UP_PATIENCE.saturating_add(Duration::from_secs(3));

#[derive(Debug, Default)]
struct Holder {
    /// What it said it holds; none before its first word.
    holds: Option<Position>,
    /// What of that is to be asked for, where we still have not seen it.
    wanted: Position,
    /// What of that we had not seen when it said so last.
    suspected: Position,
    /// It was asked what it holds, and has not said yet.
    inquired: bool,
}

/// What somebody is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Whom.
    pub(super) link: LinkId,
    /// The number of the request.
    pub(super) request: u64,
    /// What for.
    pub(super) wanted: Position,
    /// When the answer is overdue.
    pub(super) until: Time,
}

impl CatchUp {
    /// Nobody is linked. An answer may take `patience`.
    pub(super) fn new(patience: Duration) -> Self {
        CatchUp {
            holders: BTreeMap::new(),
            asked: None,
            rests_until: None,
            next_request: 1,
            patience,
            unheld: None,
            inquired: None,
        }
    }

    /// A link to a worker stands, of which nothing is known yet.
    pub(super) fn linked(&mut self, link: LinkId) {
        self.holders.insert(link, Holder::default());
    }

    /// The link is gone.
    pub(super) fn lost(&mut self, link: LinkId) {
        self.holders.remove(&link);
        self.asked.take_if(|asked| asked.link == link);
    }

    /// The worker on `link` says what it holds; we have seen `seen`, and where it is `urgent`, something waits here for more. Returns what
    /// was held, and nobody holds any more, before it came here.
    pub(super) fn told(&mut self, link: LinkId, holds: Position, seen: &Position, urgent: bool) -> Position {
        let Some(holder) = self.holders.get_mut(&link) else { return Position::default() };
        let mut gone =
            holder.holds.as_ref().map(|held| held.without(&holds).without(seen)).unwrap_or_default();
        let missing = holds.without(seen);
        // The first time nothing can be on its way: what is sent on a link comes after what was said on it before. Where something waits
        // for what is missing, it is better to get it twice.
        let at_once = std::mem::take(&mut holder.inquired) || holder.holds.is_none() || urgent;
        holder.wanted = if at_once { missing.clone() } else { missing.common(&holder.suspected) };
        holder.suspected = missing;
        holder.holds = Some(holds);
        self.holders
            .values()
            .filter_map(|holder| holder.holds.as_ref())
            .for_each(|holds| gone.subtract(holds));
        gone
    }

    /// An activity came by `link` although `missing`, which is before it, did not.
    pub(super) fn jumped(&mut self, link: LinkId, missing: &Position) {
        if let Some(holder) = self.holders.get_mut(&link) {
            holder.wanted.extend(missing);
        }
    }

    /// What the worker on `link` holds, as far as is known.
    pub(super) fn holds(&self, link: LinkId) -> Option<&Position> {
        self.holders.get(&link)?.holds.as_ref()
    }

    /// The next question, if one is to be asked now; it counts as asked. We have seen `seen`.
    pub(super) fn next(&mut self, now: Time, seen: &Position) -> Option<Question> {
        if self.asked.is_some() || self.rests_until.is_some() {
            return None;
        }
        for (link, holder) in &mut self.holders {
            if holder.wanted.is_empty() {
                continue;
            }
            holder.wanted.subtract(seen);
            if !holder.wanted.is_empty() {
                let question = Question {
                    link: *link,
                    request: self.next_request,
                    wanted: holder.wanted.clone(),
                    until: now + self.patience,
                };
                self.next_request += 1;
                return self.asked.insert(question).clone().into();
            }
        }
        None
    }

    /// A number for a request of another kind to a worker.
    pub(super) fn number(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request - 1
    }

    /// Whether `request` was asked of the worker on `link`, and is not answered yet.
    pub(super) fn is_asked(&self, link: LinkId, request: u64) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.link == link && asked.request == request)
    }

    /// What was asked last is answered, `done` where whoever was asked has no more of it. What came with the answer has been looked at: it
    /// is not to be asked for. Where there is more, that is to wait until `rest`.
    pub(super) fn answered(&mut self, done: bool, rest: Option<Time>) {
        self.rests_until = rest;
        if let Some(asked) = self.asked.take()
            && done
            && let Some(holder) = self.holders.get_mut(&asked.link)
        {
            holder.wanted.subtract(&asked.wanted);
        }
    }

    /// Something has waited since then for what may be missing for good. Says whether all are to be asked what they hold, at once: not
    /// where they have been asked since then, or where there is nobody.
    pub(super) fn inquire(&mut self, now: Time, since: Time) -> bool {
        if self.holders.is_empty() || self.inquired >= Some(since) {
            return false;
        }
        self.inquired = Some(now);
        self.holders.values_mut().for_each(|holder| holder.inquired = true);
        true
    }

    /// When the answer is overdue that is waited for, or the next question may be asked.
    pub(super) fn deadline(&self) -> Option<Time> {
        let is_awaited = self.holders.values().any(|holder| holder.inquired);
        let inquiry = self.inquired.filter(|_| is_awaited).map(|inquired| inquired + INQUIRY);
        let question = self.asked.as_ref().map(|asked| asked.until).or(self.rests_until);
        inquiry.into_iter().chain(question).min()
    }

    /// Rests no longer than was to be, and waits no longer for an answer that is overdue: it is asked again, of somebody else where that is
    /// possible.
    pub(super) fn give_up(&mut self, now: Time) {
        self.rests_until.take_if(|until| *until <= now);
        if self.inquired.is_some_and(|inquired| inquired + INQUIRY <= now) {
            self.holders.values_mut().for_each(|holder| holder.inquired = false);
        }
        if let Some(asked) = self.asked.take_if(|asked| asked.until <= now)
            && let Some(holder) = self.holders.get_mut(&asked.link)
        {
            holder.wanted = Position::default();
        }
    }

    /// What of `missing` is lost: all others have said what they hold, again and again, and nobody holds it. To be asked every second or
    /// so, while there is a link to everybody.
    pub(super) fn lost_for_all(&mut self, now: Time, mut missing: Position) -> Position {
        if self.is_under_way() || self.holders.is_empty() {
            self.unheld = None;
            return Position::default();
        }
        self.holders
            .values()
            .filter_map(|holder| holder.holds.as_ref())
            .for_each(|holds| missing.subtract(holds));
        match self.unheld.take() {
            Some((since, unheld)) if since + LOST <= now => unheld.common(&missing),
            Some((since, unheld)) => {
                self.unheld = Some((since, unheld.common(&missing)));
                Position::default()
            }
            None => {
                self.unheld = Some((now, missing)).filter(|(_, missing)| !missing.is_empty());
                Position::default()
            }
        }
    }

    /// Whether something may still come that others hold: somebody has not said yet what it holds, or is to be asked for some of it.
    pub(super) fn is_under_way(&self) -> bool {
        let expects =
            |holder: &Holder| holder.holds.is_none() || holder.inquired || !holder.wanted.is_empty();
        self.asked.is_some() || self.holders.values().any(expects)
    }
}

#[cfg(test)]
#[path = "catch_up_tests.rs"]
mod tests;
