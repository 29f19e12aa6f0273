//! The way of an activity through a worker: from its sender or from another worker, past those who know it already, to the log and to
//! other workers.

use common::id::{ActivityId, LinkId, Seq};
use common::limits::CATCH_UP_PATIENCE;
use common::session::SessionId;
use common::time::{Now, Time};
use common::user::Username;
use common::wire::{Activity, ActivityBroadcast, Neighbours};

use super::encoding::noted;
use super::ordering::{Ready, Turn};
use super::recovering::Recovery;
use super::{Actions, Worker};

impl Worker {
    /// `author`, a client of ours, publishes.
    pub(super) fn take_from_client(
        &mut self,
        now: Now,
        link: LinkId,
        (session, seq): (SessionId, Seq),
        author: &Username,
        activity: &Activity,
        out: &mut Actions,
    ) {
        if self.ordering.knows(&session, seq) {
            // It was sent again, because its sender has not heard what became of it.
            let checksum = crc32fast::hash(activity.authenticated(author).get().as_bytes());
            if self.ordering.contradicts(&session, seq, checksum) {
                self.refuse(now, link, contradiction(seq), out);
            }
            return;
        }
        let id = self.flood.next_id();
        let mut frame = std::mem::take(&mut self.frame);
        let place = self.encoder.publish(&id, (session, seq), author, activity, &mut frame);
        let checksum = crc32fast::hash(&frame[place]);
        self.intake.took_from_client(now.time, frame.len());
        let full = self.neighbours.push_to_all(now.time, &frame);
        self.flush_all = true;
        self.order(now, (session, seq), checksum, &id, &frame);
        self.frame = frame;
        self.cut_off(now, full, out);
    }

    /// An activity from another worker, as it was broadcast or as an answer to a question: passed on at once if it is new, delivered when
    /// its turn has come.
    pub(super) fn take_from_worker(
        &mut self,
        now: Now,
        link: LinkId,
        broadcast: ActivityBroadcast,
        out: &mut Actions,
    ) {
        // What was missing or late elsewhere need not be so here.
        let ActivityBroadcast { id, session, activity_seq, missing_from: _, late: _, activity } = broadcast;
        let (Some(id), Some(session), Some(seq)) = (id, session, activity_seq) else {
            let info = "ACTIVITY_BROADCAST between workers needs an id, a session and an activity_seq";
            return self.refuse(now, link, info, out);
        };
        let mut frame = std::mem::take(&mut self.frame);
        let place = self.encoder.pass_on(&id, (session, seq), &activity, &mut frame);
        let checksum = crc32fast::hash(&frame[place]);
        self.intake.took_from_worker(now.time, link, frame.len());
        let mut full = Vec::new();
        if self.flood.offer(&id, self.log.holds()) {
            full = self.neighbours.relay(now.time, &frame, link, &id.origin);
            self.flush_all = true;
            if let Some(missing) = self.flood.seen().gap_before(&id) {
                self.catch_up.jumped(link, &missing);
                self.ask_on(now, out);
            }
            if self.ordering.contradicts(&session, seq, checksum)
                && let Some(sender) = self.sessions.get(&session).copied()
            {
                // It has sent one of them here, and the other one elsewhere.
                self.refuse(now, sender, contradiction(seq), out);
            }
            self.order(now, (session, seq), checksum, &id, &frame);
        } else {
            self.counters.duplicates += 1;
        }
        self.frame = frame;
        self.cut_off(now, full, out);
    }

    /// An activity that is new by its id: delivered in its turn, unless it has come under another id.
    fn order(
        &mut self,
        now: Now,
        (session, seq): (SessionId, Seq),
        checksum: u32,
        id: &ActivityId,
        frame: &[u8],
    ) {
        match self.ordering.offer(now.time, (session, seq), checksum, id, frame) {
            Turn::Known => {
                self.counters.duplicates += 1;
                self.flood.dropped(id);
                self.doubles.dropped((session, seq), id);
            }
            Turn::Now => self.append(now.time, session, seq, id, frame),
            Turn::Late => {
                if let Some(recovery) = &mut self.recovery {
                    recovery.came_late();
                }
                self.append(now.time, session, seq, id, &noted(frame, None, true));
            }
            Turn::Early => {}
        }
        self.deliver_ready(now.time);
    }

    /// Appends what waited for its turn and has it now.
    fn deliver_ready(&mut self, now: Time) {
        while let Some(Ready { id, session, seq, frame, missing_from }) = self.ordering.next_ready() {
            match missing_from {
                Some(_) => self.append(now, session, seq, &id, &noted(&frame, missing_from, false)),
                None => self.append(now, session, seq, &id, &frame),
            }
        }
    }

    /// Delivers a frame to all clients, each at its own pace. Nobody is counted for what was taken for past: those who have come since then
    /// have had it elsewhere, or pass over it, but for classic ones; and how many were here before is not remembered.
    fn append(&mut self, now: Time, session: SessionId, seq: Seq, id: &ActivityId, frame: &[u8]) {
        self.log.append(id, frame);
        let listening = self.attached - self.ahead.given(id);
        let attached = if self.flood.was_past(id) { 0 } else { listening };
        self.deliveries.appended(now, (session, seq), id.incarnation, attached, self.log.end());
        self.flush_all = true;
    }

    /// When to look whether those have waited long enough that came early.
    pub(super) fn give_up_at(&self) -> Option<Time> {
        Some(self.ordering.waits_since()? + self.period())
    }

    /// Goes on without what was waited for long enough, when all who could be asked have said that they do not hold it.
    pub(super) fn give_up_waiting(&mut self, now: Now, out: &mut Actions) {
        while let Some(since) = self.ordering.waits_since().filter(|since| *since + self.period() <= now.time)
        {
            if self.drain.is_none() && self.catch_up.inquire(now.time, since) {
                let question = self.encode(Neighbours { need_reply: true, ..self.digest(now) });
                return self.tell_all_neighbours(now, &question, out);
            }
            self.ordering.give_up();
            self.deliver_ready(now.time);
        }
    }

    /// How long those wait that came early. While others are asked for what they hold, what is missing may be among it.
    fn period(&self) -> std::time::Duration {
        let period = self.config.limits.ordering_period;
        let expects_links = |recovery: &Recovery| !recovery.is_settled(self.roster.all_linked());
        if self.catch_up.is_under_way() || self.recovery.as_ref().is_some_and(expects_links) {
            period.max(CATCH_UP_PATIENCE)
        } else {
            period
        }
    }
}

fn contradiction(seq: Seq) -> String {
    format!("activity_seq {seq} of this session is another activity already")
}
