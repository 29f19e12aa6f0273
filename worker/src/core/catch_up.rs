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

/// How long nobody must have held what is taken for lost: longer than what is on its way, and several digests.
const LOST: Duration = Duration::from_secs(3);

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
mod tests {
    use slotmap::SlotMap;

    use super::*;

    fn position(text: &str) -> Position {
        let streams: Vec<_> =
            text.split_whitespace().map(|stream| format!("a/0000000000000001/{stream}")).collect();
        streams.join(",").parse().unwrap()
    }

    fn catch_up() -> (CatchUp, LinkId, LinkId) {
        let mut keys = SlotMap::<LinkId, ()>::with_key();
        let (one, other) = (keys.insert(()), keys.insert(()));
        let mut catch_up = CatchUp::new(Duration::from_secs(5));
        catch_up.linked(one);
        catch_up.linked(other);
        (catch_up, one, other)
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn what_a_new_neighbour_holds_is_asked_for_at_once_piece_by_piece() {
        let (mut catch_up, one, other) = catch_up();
        assert!(catch_up.is_under_way(), "they have not said what they hold");
        catch_up.told(one, position("0-9"), &position("0-3"), false);
        catch_up.told(other, position("0-9"), &position("0-3"), false);
        let question = catch_up.next(at(0), &position("0-3")).unwrap();
        assert_eq!((question.link, question.wanted), (one, position("4-9")));
        assert_eq!(catch_up.next(at(0), &position("0-3")), None, "one question at a time");
        assert!(catch_up.is_asked(one, question.request));
        catch_up.answered(false, None);
        assert!(!catch_up.is_asked(one, question.request));
        let question = catch_up.next(at(0), &position("0-6")).unwrap();
        assert_eq!(question.wanted, position("7-9"));
        catch_up.answered(true, None);
        assert_eq!(catch_up.next(at(0), &position("0-9")), None, "nor is the other one asked for the same");
        assert!(!catch_up.is_under_way());
    }

    #[test]
    fn after_a_piece_the_next_one_waits_for_its_time() {
        let (mut catch_up, one, _) = catch_up();
        catch_up.told(one, position("0-9"), &position("0"), false);
        assert!(catch_up.next(at(0), &position("0")).is_some());
        catch_up.answered(false, Some(at(2)));
        assert_eq!(catch_up.deadline(), Some(at(2)));
        catch_up.give_up(at(1));
        assert_eq!(catch_up.next(at(1), &position("0-3")), None);
        assert!(catch_up.is_under_way(), "there is more");
        catch_up.give_up(at(2));
        assert_eq!(catch_up.next(at(2), &position("0-3")).unwrap().wanted, position("4-9"));
    }

    #[test]
    fn what_a_worker_lets_go_of_before_it_came_is_gone_when_nobody_else_holds_it() {
        let (mut catch_up, one, other) = catch_up();
        let told =
            |catch_up: &mut CatchUp, link, holds| catch_up.told(link, position(holds), &position("0"), false);
        assert_eq!(told(&mut catch_up, one, "0-9"), position(""));
        assert_eq!(told(&mut catch_up, other, "0-9"), position(""));
        assert_eq!(told(&mut catch_up, one, "5-9"), position(""), "another one holds it");
        assert_eq!(told(&mut catch_up, other, "3-9"), position("1-2"));
    }

    #[test]
    fn what_may_be_on_its_way_is_asked_for_when_it_is_still_missing_the_next_time() {
        let (mut catch_up, one, _) = catch_up();
        catch_up.told(one, position("0"), &position("0"), false);
        catch_up.told(one, position("0-4"), &position("0-2"), false);
        assert_eq!(catch_up.next(at(0), &position("0-2")), None);
        catch_up.told(one, position("0-6"), &position("0-3"), false);
        assert_eq!(catch_up.next(at(0), &position("0-3")).unwrap().wanted, position("4"));
    }

    /// A worker had asked all before it went on, and one of them got what was missing then from its own waiting list into its log.
    #[test]
    fn where_something_waits_for_what_is_missing_it_is_asked_for_at_once() {
        let (mut catch_up, one, _) = catch_up();
        catch_up.told(one, position("0"), &position("0"), false);
        catch_up.told(one, position("0-4"), &position("0+4"), true);
        assert_eq!(catch_up.next(at(0), &position("0+4")).unwrap().wanted, position("1-3"));
    }

    #[test]
    fn who_does_not_answer_or_is_gone_is_not_waited_for() {
        let (mut catch_up, one, other) = catch_up();
        for link in [one, other] {
            catch_up.told(link, position("0-4"), &position("0"), false);
        }
        let first = catch_up.next(at(0), &position("0")).unwrap();
        assert_eq!(catch_up.deadline(), Some(at(5)));
        catch_up.give_up(at(4));
        assert_eq!(catch_up.next(at(4), &position("0")), None);
        catch_up.give_up(at(5));
        let second = catch_up.next(at(5), &position("0")).unwrap();
        assert_eq!((first.link, second.link), (one, other));
        catch_up.lost(other);
        assert_eq!((catch_up.deadline(), catch_up.is_under_way()), (None, false));
    }

    #[test]
    fn what_comes_with_an_answer_is_not_asked_for_and_what_is_missing_besides_is() {
        let (mut catch_up, one, _) = catch_up();
        catch_up.told(one, position("0-9"), &position("0"), false);
        let question = catch_up.next(at(0), &position("0")).unwrap();
        catch_up.jumped(one, &position("1-3"));
        catch_up.jumped(one, &position("11"));
        assert_eq!(catch_up.next(at(0), &position("0+4")), None, "the answer is being looked at");
        catch_up.answered(true, None);
        assert_eq!(question.wanted, position("1-9"));
        assert_eq!(catch_up.next(at(0), &position("0-8")).unwrap().wanted, position("11"));
    }

    #[test]
    fn before_something_is_given_up_all_are_asked_once_what_they_hold_and_waited_for_but_not_for_long() {
        let (mut catch_up, one, other) = catch_up();
        for link in [one, other] {
            catch_up.told(link, position("0"), &position("0"), false);
        }
        assert!(catch_up.inquire(at(1), at(1)));
        assert!(!catch_up.inquire(at(2), at(1)), "they are being asked");
        catch_up.told(one, position("0-1"), &position("0"), false);
        assert_eq!(catch_up.next(at(2), &position("0")).unwrap().wanted, position("1"), "at once");
        catch_up.answered(true, None);
        assert!(catch_up.is_under_way(), "the other one has not said");
        assert_eq!(catch_up.deadline(), Some(at(3)));
        catch_up.give_up(at(3));
        assert!(!catch_up.is_under_way() && !catch_up.inquire(at(3), at(1)));
        assert!(catch_up.inquire(at(3), at(2)), "that has begun to wait since");
        assert!(!CatchUp::new(Duration::ZERO).inquire(at(3), at(2)), "nobody can be asked");
    }

    #[test]
    fn what_nobody_holds_is_lost_when_everybody_has_said_so_for_a_while() {
        let (mut catch_up, one, other) = catch_up();
        let nothing = position("");
        catch_up.told(one, position("0-3+8-9"), &nothing, false);
        assert_eq!(catch_up.lost_for_all(at(0), position("4-7")), nothing, "one has said nothing");
        catch_up.told(other, position("0-4+8-9"), &nothing, false);
        catch_up.holders.values_mut().for_each(|holder| holder.wanted = nothing.clone());
        assert_eq!(catch_up.lost_for_all(at(1), position("4-7")), nothing);
        assert_eq!(catch_up.lost_for_all(at(3), position("4-7")), nothing);
        assert_eq!(
            catch_up.lost_for_all(at(4), position("4-5+7")),
            position("5+7"),
            "somebody holds 4, and 6 came"
        );
        assert_eq!(catch_up.lost_for_all(at(5), position("4")), nothing);
        assert_eq!(
            CatchUp::new(Duration::ZERO).lost_for_all(at(9), position("4")),
            nothing,
            "nobody can be asked"
        );
    }

    #[test]
    fn what_is_missing_in_front_of_what_came_by_is_asked_for_at_once() {
        let (mut catch_up, one, _) = catch_up();
        catch_up.told(one, position("0"), &position("0"), false);
        catch_up.jumped(one, &position("1-3"));
        assert_eq!(catch_up.next(at(0), &position("0+4")).unwrap().wanted, position("1-3"));
    }
}
