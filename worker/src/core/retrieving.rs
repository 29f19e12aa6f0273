//! Asking other workers for what was missed, and answering them.
//!
//! A question is answered with one piece of bounded size, and whoever wants more asks again: nothing is remembered of a question, and what
//! is live is never far behind an answer. Only where all of it is on disk the question waits until some of it has been read: who was told
//! to ask again would do so at once.

use std::time::Duration;

use common::id::LinkId;
use common::limits::{RETRIEVE_RATE, RETRIEVED_BYTES};
use common::position::{After, Position};
use common::time::Now;
use common::wire::{ActivityBroadcast, ActivityRetrieve, ActivityRetrieved, Message};

use super::log::Frame;
use super::{Actions, Worker};

/// When somebody is asked again who waits for its disk.
const DISK_PAUSE: Duration = Duration::from_millis(250);

/// Questions of other workers that wait for our disk, at the most. Further ones are answered with nothing, to be asked again.
pub(super) const QUESTIONS: usize = 64;

impl Worker {
    /// The worker on `link` says what it holds.
    pub(super) fn neighbour_holds(&mut self, now: Now, link: LinkId, holds: Position, out: &mut Actions) {
        self.log.share(&holds);
        let urgent = self.ordering.waits_since().is_some();
        let gone = self.catch_up.told(link, holds, self.flood.seen(), urgent);
        if !gone.is_empty() {
            self.flood.learn(&gone, self.log.holds());
        }
        self.ask_on(now, out);
    }

    /// Asks the next question, if there is one.
    pub(super) fn ask_on(&mut self, now: Now, out: &mut Actions) {
        if self.drain.is_some() {
            return;
        }
        if let Some(question) = self.catch_up.next(now.time, self.flood.seen()) {
            tracing::debug!(wanted = %question.wanted, "asking another worker for what was missed");
            let ask = ActivityRetrieve {
                after: After::Position(Position::default()),
                request: question.request,
                within: question.wanted,
                need_reply: false,
            };
            let ask = self.encode(ask);
            self.tell_neighbour(now, question.link, &ask, out);
        }
    }

    /// Finds out what nobody holds any more of what never came here: those who resume are told.
    pub(super) fn see_what_is_lost(&mut self, now: Now) {
        if self.recovery.is_none() && self.drain.is_none() && self.roster.all_linked() {
            let lost = self.catch_up.lost_for_all(now.time, self.flood.missing());
            if !lost.is_empty() {
                tracing::warn!(%lost, "activities never came here, and nobody holds them");
                self.flood.lost(&lost);
            }
        }
    }

    /// Another worker asks for what it misses.
    pub(super) fn neighbour_asks(
        &mut self,
        now: Now,
        link: LinkId,
        ask: ActivityRetrieve,
        out: &mut Actions,
    ) {
        let need_reply = ask.need_reply;
        self.answer_neighbour(now, link, ask, out);
        if need_reply && let Some(holds) = self.catch_up.holds(link) {
            let missing = holds.without(self.flood.seen());
            self.catch_up.jumped(link, &missing);
            self.ask_on(now, out);
        }
    }

    /// Answers, or waits for the disk, though not with ever more questions.
    fn answer_neighbour(&mut self, now: Now, link: LinkId, ask: ActivityRetrieve, out: &mut Actions) {
        let (answer, _) = self.answer(&ask);
        if answer.activities.is_empty() && !answer.done && self.questions.len() < QUESTIONS {
            self.questions.push((link, ask));
        } else {
            let answer = self.encode(answer);
            self.tell_neighbour(now, link, &answer, out);
        }
    }

    /// Answers the questions that waited for what has been read from disk now.
    pub(super) fn answer_questions(&mut self, now: Now, out: &mut Actions) {
        for (link, ask) in std::mem::take(&mut self.questions) {
            if self.neighbours.id(link).is_some() {
                self.answer_neighbour(now, link, ask, out);
            }
        }
    }

    /// The disk is slow: whoever has asked is told so before it asks somebody else instead.
    pub(super) fn put_questions_off(&mut self, now: Now, out: &mut Actions) {
        for (link, ask) in std::mem::take(&mut self.questions) {
            if self.neighbours.id(link).is_some() {
                let (answer, _) = self.answer(&ask);
                let answer = self.encode(answer);
                self.tell_neighbour(now, link, &answer, out);
            }
        }
    }

    /// A piece of what we hold and somebody misses, and how many bytes were looked at for it. It may be empty and not the last one, where the
    /// disk is waited for.
    pub(super) fn answer(&mut self, ask: &ActivityRetrieve) -> (ActivityRetrieved, usize) {
        let after = Position::from(ask.after.clone());
        let wanted = |frame: &Frame<'_>| ask.within.is_empty() || ask.within.contains(&frame.id);
        let first = self.log.first();
        let mut bytes = 0;
        let mut activities = Vec::new();
        let mut done = true;
        let mut until = self.log.end();
        // What is not wanted is what there is besides: chunks that hold none of it are passed over.
        let mut has = after;
        if !ask.within.is_empty() {
            has.extend(&self.log.holds().without(&ask.within));
        }
        for frame in self.log.missing(&has, first).filter(wanted) {
            bytes += frame.bytes.len();
            if bytes > RETRIEVED_BYTES && !activities.is_empty() {
                done = false;
                until = frame.end();
                break;
            }
            activities.extend(broadcast(frame.bytes));
        }
        done &= !self.log.awaits_disk(&has, first);
        let examined = self.log.examined(&has, until);
        (ActivityRetrieved { request: ask.request, activities, done }, examined)
    }

    /// A piece of what was asked for: by ourselves, or for a client that resumes here.
    pub(super) fn neighbour_answers(
        &mut self,
        now: Now,
        link: LinkId,
        answer: ActivityRetrieved,
        out: &mut Actions,
    ) {
        if self.catch_up.is_asked(link, answer.request) {
            let begin = self.log.end();
            let awaits_disk = answer.activities.is_empty() && !answer.done;
            for activity in answer.activities {
                self.take_from_worker(now, link, activity, out);
                if !self.links.contains_key(link) {
                    return;
                }
            }
            // A worker that has just started has no clients yet, and wants to be ready soon.
            let share = self.log.end().since(begin) as f64 / RETRIEVE_RATE as f64;
            let rest = match awaits_disk {
                true => Some(now.time + DISK_PAUSE),
                false => self.recovery.is_none().then(|| now.time + Duration::from_secs(1).mul_f64(share)),
            };
            self.catch_up.answered(answer.done, rest.filter(|rest| *rest > now.time));
            self.ask_on(now, out);
        } else {
            self.resume_with(now, link, answer, out);
        }
    }
}

/// The activity in a frame of the log, without what was noted on it here. What is no message after all was on a disk that somebody changed.
fn broadcast(frame: &[u8]) -> Option<ActivityBroadcast> {
    let Ok(Message::ActivityBroadcast(mut broadcast)) = Message::decode(frame.trim_ascii_end()) else {
        return None;
    };
    broadcast.missing_from = None;
    broadcast.late = false;
    Some(broadcast)
}
