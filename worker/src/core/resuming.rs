//! How a client gets what it missed: from our log, and before that from other workers' logs what ours does not reach back to.
//!
//! What is replayed goes through the client's outbox, a little ahead of what it has taken; when the end of the log is reached it hears
//! RESUMED and is a cursor in the log like all the others. What is published meanwhile comes at the end of the replay.

use std::collections::BTreeMap;
use std::time::Duration;

use common::id::{LinkId, Seq, ServerId};
use common::machine::Action;
use common::position::{After, Position, Ranges};
use common::session::SessionId;
use common::time::{Now, Time};
use common::wire::{ActivityBroadcast, ActivityRetrieve, ActivityRetrieved, Message, Resumed};

use super::encoding::{noted, without_notes};
use super::log::{Offset, session_of};
use super::segment::SegmentId;
use super::{Actions, Link, Worker};

/// How far a replay is ahead of what its client has taken, in bytes.
pub(super) const AHEAD: usize = 64 << 10;

/// How long another worker's answer is waited for. Then the next one is asked, and when there is none the client is told of a gap.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long another worker's disk is waited for, where nothing comes from it.
const DISK: Duration = Duration::from_secs(9);

/// For how long nobody is asked again whose disk is waited for, or while there is nobody who can be asked yet.
const PAUSE: Duration = Duration::from_millis(250);

/// A replay that is under way.
#[derive(Debug)]
pub(super) struct Replay {
    /// What the client had, and what it was sent since.
    has: Position,
    /// Whether we knew anything of that.
    can_tell: bool,
    /// Whether it is to get everything that it lacks, and is told what it does not get.
    all: bool,
    /// What other workers are to be asked for.
    elsewhere: Position,
    /// What nobody had who was asked.
    lost: Position,
    /// Who was asked for what of it in vain. Some may have come there since; it is asked for that.
    asked: BTreeMap<LinkId, Position>,
    /// Whose answer is waited for, and to which request.
    waits_for: Option<Waits>,
    /// Until when.
    until: Time,
    /// Until when an answer is waited for that waits for a disk.
    disk_until: Option<Time>,
    /// Nobody is asked before then.
    pauses_until: Option<Time>,
    /// Until when those are waited for who may have something and have not said so: the link to them is new, or there is none for a moment.
    patient_until: Option<Time>,
    /// What it was given of what other workers had, by its sessions and its numbers there: it may be in our log under another id.
    given: BTreeMap<SessionId, Ranges>,
    /// Other ids of what it has.
    others: Position,
    /// The highest number of each session that it has, and what we hold of the session and it lacks comes after.
    highest: BTreeMap<SessionId, Seq>,
    /// Our log has been replayed: what comes from elsewhere now comes behind all that we hold.
    is_behind: bool,
    /// How far our log has been replayed.
    at: Offset,
    /// Activities that were replayed.
    pub(super) count: u64,
}

/// A question that was asked for a replay.
#[derive(Debug)]
struct Waits {
    link: LinkId,
    request: u64,
    within: Position,
}

impl Replay {
    /// Of everything in the log from `at` on.
    pub(super) fn latest(at: Offset) -> Self {
        Replay { all: false, ..Replay::after(Position::default(), true, Position::default(), at) }
    }

    fn after(has: Position, can_tell: bool, elsewhere: Position, at: Offset) -> Self {
        Replay {
            has,
            can_tell,
            all: true,
            elsewhere,
            lost: Position::default(),
            asked: BTreeMap::new(),
            waits_for: None,
            until: Time::ZERO,
            disk_until: None,
            pauses_until: None,
            patient_until: None,
            given: BTreeMap::new(),
            others: Position::default(),
            highest: BTreeMap::new(),
            is_behind: false,
            at,
            count: 0,
        }
    }

    /// Whoever was asked has no more of it, or does not answer.
    fn asked_in_vain(&mut self, waits: Waits) {
        self.asked.entry(waits.link).or_default().extend(&waits.within);
    }

    /// An activity comes from elsewhere. Says whether it is new to the client by its session and its number there.
    fn gives(&mut self, activity: &ActivityBroadcast) -> bool {
        match (activity.session, activity.activity_seq) {
            (Some(session), Some(seq)) => self.given.entry(session).or_default().insert(seq.0),
            _ => true,
        }
    }

    /// Whoever was asked waits for its disk. Says whether that is worth waiting for.
    fn waits_for_disk(&mut self, now: Time) -> bool {
        let until = *self.disk_until.get_or_insert(now + DISK);
        self.pause(now);
        now < until
    }

    /// Waits for a moment before anybody is asked again.
    fn pause(&mut self, now: Time) {
        self.pauses_until = Some(now + PAUSE);
    }

    /// Whether the activity in this frame of our log came from elsewhere.
    fn has_given(&self, frame: &[u8]) -> bool {
        !self.given.is_empty()
            && session_of(frame).is_some_and(|(session, seq)| {
                self.given.get(&session).is_some_and(|given| given.contains(seq.0))
            })
    }
}

/// A client is given this one. Says whether it has had others of its session that come after it, of which `highest` is the last.
fn goes_back(highest: &mut BTreeMap<SessionId, Seq>, session: SessionId, seq: Seq) -> bool {
    let highest = highest.entry(session).or_insert(seq);
    let is_late = seq < *highest;
    *highest = seq.max(*highest);
    is_late
}

impl Worker {
    /// The replay for a client that has `has`.
    pub(super) fn replay_after(&self, has: Position) -> Replay {
        let elsewhere = self.sought_elsewhere(&has);
        let can_tell = self.flood.can_tell(&has);
        let highest = self.log.highest(&has);
        let others = self.doubles.others(&has);
        Replay { highest, others, ..Replay::after(has, can_tell, elsewhere, self.log.first()) }
    }

    /// What somebody who has `has` has not got of all that there was, under whatever id.
    fn owed(&self, has: &Position) -> Position {
        let mut owed = self.flood.owed(has, &self.ordering.waiting());
        self.doubles.settle(&mut owed, has);
        owed
    }

    /// What of that is not in our log: under all ids under which another worker may have it.
    fn sought_elsewhere(&self, has: &Position) -> Position {
        let mut gone = self.owed(has).without(self.log.holds());
        self.doubles.settle(&mut gone, self.log.holds());
        gone.extend(&self.doubles.others(&gone));
        gone
    }

    /// Goes on with the replay of the client on `link`, if there is one, as far as it is to go for now.
    pub(super) fn continue_replay(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        if self.ask_elsewhere(now, link, out) {
            return;
        }
        let Some(Link::Client(session)) = self.links.get_mut(link) else { return };
        let Some((replay, outbox)) = session.replay() else { return };
        let mut progressed = false;
        let mut reached_end = true;
        let mut sent = Position::default();
        for frame in self.log.missing(&replay.has, replay.at) {
            if outbox.len() >= AHEAD {
                reached_end = false;
                break;
            }
            sent.insert(&frame.id);
            replay.at = frame.end();
            if replay.has_given(frame.bytes) || replay.others.contains(&frame.id) {
                continue;
            }
            // As long as something may come from elsewhere it is to be known how far each session has come.
            let is_simple = replay.highest.is_empty() && replay.elsewhere.is_empty();
            let activity = if is_simple { None } else { session_of(frame.bytes) };
            if activity.is_some_and(|(session, seq)| goes_back(&mut replay.highest, session, seq)) {
                outbox.push_beyond(now.time, &noted(&without_notes(frame.bytes), None, true));
            } else {
                outbox.push_beyond(now.time, frame.bytes);
            }
            replay.count += 1;
            progressed = true;
        }
        replay.has.extend(&sent);
        // What had been taken for lost may have come after all.
        replay.elsewhere.subtract(&sent);
        if progressed {
            out.push(Action::Flush(link));
        }
        if reached_end && !self.log.awaits_disk(&replay.has, replay.at) && !self.ask_again(now, link, out) {
            self.end_replay(now, link, out);
        }
    }

    /// Activities that were on disk alone can be replayed.
    pub(super) fn segment_was_read(
        &mut self,
        now: Now,
        segment: SegmentId,
        frames: &[u8],
        out: &mut Actions,
    ) {
        self.log.was_read(segment, frames);
        self.answer_questions(now, out);
        let replays = |(link, party): (LinkId, &mut Link)| {
            let Link::Client(session) = party else { return None };
            session.replay().map(|_| link)
        };
        let replaying: Vec<_> = self.links.iter_mut().filter_map(replays).collect();
        for link in replaying {
            self.continue_replay(now, link, out);
        }
    }

    /// Replays that wait for an answer which does not come go on without it, and those that pause go on.
    pub(super) fn replays_overdue(&mut self, now: Now, out: &mut Actions) {
        let overdue = |(link, party): (LinkId, &mut Link)| {
            let Link::Client(session) = party else { return None };
            let (replay, _) = session.replay()?;
            match replay.waits_for.take_if(|_| replay.until <= now.time) {
                Some(waits) => replay.asked_in_vain(waits),
                None => _ = replay.pauses_until.take_if(|until| *until <= now.time)?,
            }
            Some(link)
        };
        let overdue: Vec<_> = self.links.iter_mut().filter_map(overdue).collect();
        for link in overdue {
            self.continue_replay(now, link, out);
        }
    }

    /// Another worker answers a question that was asked for a client, which may be gone.
    pub(super) fn resume_with(
        &mut self,
        now: Now,
        from: LinkId,
        answer: ActivityRetrieved,
        out: &mut Actions,
    ) {
        let waits = |(link, party): (LinkId, &mut Link)| {
            let Link::Client(session) = party else { return None };
            let (replay, _) = session.replay()?;
            replay
                .waits_for
                .as_ref()
                .is_some_and(|it| (it.link, it.request) == (from, answer.request))
                .then_some(link)
        };
        let Some(link) = self.links.iter_mut().find_map(waits) else { return };
        let Some(Link::Client(session)) = self.links.get_mut(link) else { return };
        let (replay, outbox) = session.replay().expect("it was just found");
        let waits = replay.waits_for.take().expect("it was just found");
        let awaits_disk = answer.activities.is_empty() && !answer.done;
        let is_in_vain = answer.done || awaits_disk && !replay.waits_for_disk(now.time);
        if !awaits_disk || is_in_vain {
            replay.disk_until = None;
        }
        for mut activity in answer.activities {
            let Some(id) = activity.id.clone() else { continue };
            if replay.elsewhere.contains(&id) {
                replay.elsewhere.subtract(&Position::single(&id));
                replay.has.insert(&id);
                if replay.gives(&activity) {
                    activity.late =
                        activity.session.zip(activity.activity_seq).is_some_and(|(session, seq)| {
                            let last = || self.ordering.last(&session);
                            goes_back(&mut replay.highest, session, seq)
                                || replay.is_behind && last() > Some(seq)
                        });
                    replay.count += 1;
                    outbox.push_beyond(now.time, &Message::from(activity).encode());
                }
            }
        }
        if is_in_vain {
            replay.asked_in_vain(waits);
        }
        self.doubles.settle(&mut replay.elsewhere, &replay.has);
        out.push(Action::Flush(link));
        self.continue_replay(now, link, out);
    }

    /// A link to another worker is gone: nothing is waited for that was asked there.
    pub(super) fn replays_lost(&mut self, now: Now, from: LinkId, out: &mut Actions) {
        let waits = |(link, party): (LinkId, &mut Link)| {
            let Link::Client(session) = party else { return None };
            let (replay, _) = session.replay()?;
            let waits = replay.waits_for.take_if(|waits| waits.link == from)?;
            replay.asked_in_vain(waits);
            Some(link)
        };
        let waiting: Vec<_> = self.links.iter_mut().filter_map(waits).collect();
        for link in waiting {
            self.continue_replay(now, link, out);
        }
    }

    /// Where the client has taken so long that what came meanwhile has left the log: asks for that, too. Says whether the replay has to
    /// wait.
    fn ask_again(&mut self, now: Now, link: LinkId, out: &mut Actions) -> bool {
        self.look_doubles_up();
        let Some((replay, _)) = self.session(link).replay() else { return true };
        if !replay.all {
            return false;
        }
        let elsewhere = std::mem::take(&mut replay.elsewhere);
        replay.lost.extend(&elsewhere);
        let (has, lost) = (replay.has.clone(), replay.lost.clone());
        let sought = self.sought_elsewhere(&has).without(&lost);
        if sought.is_empty() {
            return false;
        }
        let (replay, _) = self.session(link).replay().expect("it is under way");
        replay.is_behind = true;
        replay.elsewhere = sought;
        replay.asked.clear();
        self.ask_elsewhere(now, link, out)
    }

    /// Asks another worker for what our log does not reach back to. Says whether the replay has to wait: for the answer, or for its client
    /// to take what it has been sent.
    fn ask_elsewhere(&mut self, now: Now, link: LinkId, out: &mut Actions) -> bool {
        let Some(Link::Client(session)) = self.links.get_mut(link) else { return true };
        let Some((replay, outbox)) = session.replay() else { return true };
        let pauses = replay.pauses_until.is_some_and(|until| now.time < until);
        if replay.waits_for.is_some() || pauses || outbox.len() >= AHEAD {
            return true;
        }
        if replay.elsewhere.is_empty() {
            return false;
        }
        let holders = self.neighbours.all().into_iter().filter_map(|holder| {
            let mut common = self.catch_up.holds(holder)?.common(&replay.elsewhere);
            replay.asked.get(&holder).into_iter().for_each(|asked| common.subtract(asked));
            (!common.is_empty()).then_some((holder, common))
        });
        // What comes first is to be given first.
        let Some((holder, within)) = holders.min_by_key(|(_, common)| common.first()) else {
            let is_silent = |id: &ServerId| {
                self.neighbours.link(id).is_none_or(|link| self.catch_up.holds(link).is_none())
            };
            let patient_until = *replay.patient_until.get_or_insert(now.time + PATIENCE);
            let waits = now.time < patient_until && self.roster.reachable().any(|(id, _)| is_silent(id));
            if waits {
                replay.pause(now.time);
            }
            return waits;
        };
        let request = self.catch_up.number();
        replay.waits_for = Some(Waits { link: holder, request, within: within.clone() });
        replay.until = now.time + PATIENCE;
        let after = After::Position(Position::default());
        let ask = self.encode(ActivityRetrieve { after, request, within, need_reply: false });
        self.tell_neighbour(now, holder, &ask, out);
        true
    }

    /// The end of the log is reached: from here on the client reads it as all the others do.
    fn end_replay(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        let waiting = self.ordering.waiting();
        let replay = self.go_live(link).expect("a replay ends");
        let gaps = if replay.all { self.owed(&replay.has) } else { Position::default() };
        let mut position = self.flood.past(&waiting);
        self.ahead.joined(link, &replay.has.without(&position));
        position.extend(&replay.has);
        let resumed = Resumed { recovered: gaps.is_empty() && replay.can_tell, gaps, position };
        self.reply(now, link, resumed, out);
    }
}
