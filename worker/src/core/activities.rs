//! The way of an activity through a worker: from its sender or from another worker, past those who know it already, to the log and to
//! other workers.

use std::io::Write;

use common::id::{ActivityId, LinkId, Seq};
use common::limits::CATCH_UP_PATIENCE;
use common::session::SessionId;
use common::time::{Now, Time};
use common::wire::{ActivityBroadcast, Message};

use super::log::BEGINNING;
use super::ordering::{Ready, Turn};
use super::{Actions, Worker};

/// What stands in a frame between what we add to it and what its sender wrote.
const ACTIVITY: &[u8] = br#","activity":"#;

/// Notes of ours stand before that, in this order.
const MISSING_FROM: &[u8] = br#","missing_from":"#;
const LATE: &[u8] = br#","late":true"#;

const TAKES_ALL: &str = "a Vec takes all that is written";

impl Worker {
    /// A client of ours publishes: the text of its activity, in which its name is already.
    pub(super) fn take_from_client(
        &mut self,
        now: Now,
        link: LinkId,
        session: SessionId,
        seq: Seq,
        activity: &[u8],
        out: &mut Actions,
    ) {
        let checksum = crc32fast::hash(activity);
        if self.ordering.knows(&session, seq) {
            // It was sent again, because its sender has not heard what became of it.
            if self.ordering.contradicts(&session, seq, checksum) {
                self.refuse(now, link, contradiction(seq), out);
            }
            return;
        }
        self.ordering.note_content(session, seq, checksum);
        let id = self.flood.next_id();
        let mut frame = std::mem::take(&mut self.frame);
        encode(&id, session, seq, activity, &mut frame);
        self.intake.took_from_client(now.time, frame.len());
        let full = self.neighbours.push_to_all(now.time, &frame);
        self.flush_all = true;
        self.order(now, session, seq, &id, &frame);
        self.frame = frame;
        self.cut_off(now, full, out);
    }

    /// An activity from another worker, as it was broadcast or as an answer to a question: passed on at once if it is new, delivered when its
    /// turn has come.
    pub(super) fn take_from_worker(
        &mut self,
        now: Now,
        link: LinkId,
        mut broadcast: ActivityBroadcast,
        out: &mut Actions,
    ) {
        let (Some(id), Some(session), Some(seq)) =
            (broadcast.id.clone(), broadcast.session, broadcast.activity_seq)
        else {
            let info = "ACTIVITY_BROADCAST between workers needs an id, a session and an activity_seq";
            return self.refuse(now, link, info, out);
        };
        // What was missing or late elsewhere need not be so here.
        broadcast.missing_from = None;
        broadcast.late = false;
        let checksum = crc32fast::hash(broadcast.activity.get().as_bytes());
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        Message::from(broadcast).encode_into(&mut frame);
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
            self.ordering.note_content(session, seq, checksum);
            self.order(now, session, seq, &id, &frame);
        } else {
            self.counters.duplicates += 1;
        }
        self.frame = frame;
        self.cut_off(now, full, out);
    }

    /// An activity that is new by its id: delivered in its turn, unless it has come under another id.
    fn order(&mut self, now: Now, session: SessionId, seq: Seq, id: &ActivityId, frame: &[u8]) {
        match self.ordering.offer(now.time, session, seq, id, frame) {
            Turn::Known => {
                self.counters.duplicates += 1;
                self.flood.dropped(id);
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

    /// Delivers a frame to all clients, each at its own pace.
    fn append(&mut self, now: Time, session: SessionId, seq: Seq, id: &ActivityId, frame: &[u8]) {
        self.log.append(id, frame);
        let attached = self.attached - self.ahead.given(id);
        self.deliveries.appended(now, session, seq, attached, self.log.end());
        self.flush_all = true;
    }

    /// When those have waited long enough that came early. While others are asked for what they hold, what is missing may be among it.
    pub(super) fn give_up_at(&self) -> Option<Time> {
        Some(self.ordering.waits_since()? + self.period())
    }

    /// Goes on without what was waited for long enough.
    pub(super) fn give_up_waiting(&mut self, now: Time) {
        self.ordering.give_up(now, self.period());
        self.deliver_ready(now);
    }

    fn period(&self) -> std::time::Duration {
        let period = self.config.limits.ordering_period;
        if self.catch_up.is_under_way() || self.recovery.is_some() {
            period.max(CATCH_UP_PATIENCE)
        } else {
            period
        }
    }
}

fn contradiction(seq: Seq) -> String {
    format!("activity_seq {seq} of this session is another activity already")
}

/// The checksum of the activity in a frame.
pub(super) fn checksum_of(frame: &[u8]) -> Option<u32> {
    let at = memchr::memmem::find(frame, ACTIVITY)? + ACTIVITY.len();
    Some(crc32fast::hash(frame[at..].strip_suffix(b"}\n")?))
}

/// Makes `frame` the ACTIVITY_BROADCAST of a client's activity, as the codec would write it. The activity was parsed when it came, and is
/// not parsed again.
fn encode(id: &ActivityId, session: SessionId, seq: Seq, activity: &[u8], frame: &mut Vec<u8>) {
    frame.clear();
    frame.extend_from_slice(BEGINNING);
    frame.extend_from_slice(id.origin.as_str().as_bytes());
    write!(frame, "/{}/", id.incarnation).expect(TAKES_ALL);
    serde_json::to_writer(&mut *frame, &id.seq).expect(TAKES_ALL);
    frame.extend_from_slice(b"\",\"session\":");
    serde_json::to_writer(&mut *frame, &session).expect(TAKES_ALL);
    frame.extend_from_slice(b",\"activity_seq\":");
    serde_json::to_writer(&mut *frame, &seq).expect(TAKES_ALL);
    frame.extend_from_slice(ACTIVITY);
    frame.extend_from_slice(activity);
    frame.extend_from_slice(b"}\n");
}

/// The frame with a note on how it was delivered here.
pub(super) fn noted(frame: &[u8], missing_from: Option<Seq>, late: bool) -> Vec<u8> {
    let at = memchr::memmem::find(frame, ACTIVITY).expect("a broadcast has an activity");
    let mut noted = frame[..at].to_vec();
    if let Some(first) = missing_from {
        noted.extend_from_slice(MISSING_FROM);
        noted.extend_from_slice(first.to_string().as_bytes());
    }
    if late {
        noted.extend_from_slice(LATE);
    }
    noted.extend_from_slice(&frame[at..]);
    noted
}

/// The frame without such a note.
pub(super) fn without_notes(frame: &[u8]) -> Vec<u8> {
    let (head, activity) =
        frame.split_at(memchr::memmem::find(frame, ACTIVITY).expect("a broadcast has an activity"));
    let head = head.strip_suffix(LATE).unwrap_or(head);
    let head = memchr::memmem::find(head, MISSING_FROM).map_or(head, |at| &head[..at]);
    [head, activity].concat()
}

#[cfg(test)]
mod tests {
    use common::user::Username;
    use common::wire::Activity;

    use super::*;

    #[test]
    fn a_clients_activity_is_encoded_as_the_codec_would() {
        let author: Username = "ann\u{e9}".parse().unwrap();
        for text in ["{}", r#"{"a":[1, 2]}"#, r#"{"authenticated_user":"eve","b":"\u00e9"}"#] {
            let activity = Activity::parse(text).unwrap();
            let id: ActivityId = "w/00000000000000ff/1".parse().unwrap();
            let broadcast = ActivityBroadcast {
                id: Some(id.clone()),
                session: Some(SessionId(7)),
                activity_seq: Some(Seq(9)),
                ..activity.authenticated(&author).into()
            };
            let mut frame = b"of before".to_vec();
            let mut authenticated = Vec::new();
            activity.authenticate_into(&author, &mut authenticated);
            encode(&id, SessionId(7), Seq(9), &authenticated, &mut frame);
            assert_eq!(frame, Message::from(broadcast).encode());
            assert_eq!(
                checksum_of(&noted(&frame, Some(Seq(2)), true)),
                Some(crc32fast::hash(&authenticated))
            );
        }
    }

    #[test]
    fn a_note_is_where_the_codec_would_write_it() {
        let activity = Activity::parse(r#"{"n":",\"activity\":"}"#).unwrap();
        let mut broadcast = ActivityBroadcast {
            id: "w/00000000000000ff/1".parse().ok(),
            session: Some(SessionId(7)),
            activity_seq: Some(Seq(9)),
            ..activity.into()
        };
        let frame = Message::from(broadcast.clone()).encode();
        broadcast.missing_from = Some(Seq(5));
        broadcast.late = true;
        assert_eq!(noted(&frame, Some(Seq(5)), true), Message::from(broadcast).encode());
        for (missing_from, late) in [(None, false), (None, true), (Some(Seq(5)), false), (Some(Seq(5)), true)]
        {
            assert_eq!(without_notes(&noted(&frame, missing_from, late)), frame);
        }
    }
}
