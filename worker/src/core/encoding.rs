//! Writing the frames of activities: ACTIVITY_BROADCAST as the codec would write it, from parts that are known to be good.

use common::id::Seq;
use common::position::StreamId;
use common::session::SessionId;
use common::user::Username;
use common::wire::Activity;

use super::log::BEGINNING;

/// What stands in a frame between what we add to it and what its sender wrote.
const ACTIVITY: &[u8] = br#","activity":"#;

/// Notes of ours stand before that, in this order.
const MISSING_FROM: &[u8] = br#","missing_from":"#;
const LATE: &[u8] = br#","late":true"#;

const TAKES_ALL: &str = "a Vec takes all that is written";

/// Writes frames of what is published here.
#[derive(Debug)]
pub(super) struct Encoder {
    /// How all of them begin, up to the number of the activity's id.
    beginning: Vec<u8>,
    /// The text of a session's name. Who publishes mostly publishes several in a row.
    latest: Option<(SessionId, String)>,
}

impl Encoder {
    /// For the worker that numbers `stream`.
    pub(super) fn new(stream: &StreamId) -> Self {
        let id = format!("{}/{}/", stream.origin, stream.incarnation);
        Encoder { beginning: [BEGINNING, id.as_bytes()].concat(), latest: None }
    }

    /// Makes `frame` the one of `author`'s activity, which has the number `id` in our stream. Returns where in it the activity lies.
    pub(super) fn encode(
        &mut self,
        id: Seq,
        (session, seq): (SessionId, Seq),
        author: &Username,
        activity: &Activity,
        frame: &mut Vec<u8>,
    ) -> std::ops::Range<usize> {
        if self.latest.as_ref().is_none_or(|(latest, _)| *latest != session) {
            self.latest = Some((session, session.to_string()));
        }
        let (_, name) = self.latest.as_ref().expect("it was just set");
        frame.clear();
        frame.extend_from_slice(&self.beginning);
        write_number(frame, id);
        frame.extend_from_slice(b"\",\"session\":\"");
        frame.extend_from_slice(name.as_bytes());
        frame.extend_from_slice(b"\",\"activity_seq\":");
        write_number(frame, seq);
        frame.extend_from_slice(ACTIVITY);
        let begin = frame.len();
        activity.authenticate_into(author, frame);
        let end = frame.len();
        frame.extend_from_slice(b"}\n");
        begin..end
    }
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

/// The checksum of the activity in a frame.
pub(super) fn checksum_of(frame: &[u8]) -> Option<u32> {
    let at = memchr::memmem::find(frame, ACTIVITY)? + ACTIVITY.len();
    Some(crc32fast::hash(frame[at..].strip_suffix(b"}\n")?))
}

fn write_number(out: &mut Vec<u8>, number: Seq) {
    serde_json::to_writer(out, &number.0).expect(TAKES_ALL);
}

#[cfg(test)]
mod tests {
    use common::wire::{ActivityBroadcast, Message};

    use super::*;

    #[test]
    fn a_clients_activity_is_encoded_as_the_codec_would() {
        let stream =
            StreamId { origin: "w".parse().unwrap(), incarnation: "00000000000000ff".parse().unwrap() };
        let author: Username = "ann\u{e9}".parse().unwrap();
        let mut encoder = Encoder::new(&stream);
        for text in ["{}", r#"{"a":[1, 2]}"#, r#"{"authenticated_user":"eve","b":"\u00e9"}"#] {
            let activity = Activity::parse(text).unwrap();
            let authenticated = activity.authenticated(&author);
            let broadcast = ActivityBroadcast {
                id: "w/00000000000000ff/1".parse().ok(),
                session: Some(SessionId(7)),
                activity_seq: Some(Seq(9)),
                ..authenticated.clone().into()
            };
            let mut frame = b"of before".to_vec();
            let place = encoder.encode(Seq(1), (SessionId(7), Seq(9)), &author, &activity, &mut frame);
            assert_eq!(&frame[place], authenticated.get().as_bytes());
            let checksum = crc32fast::hash(authenticated.get().as_bytes());
            assert_eq!(checksum_of(&noted(&frame, Some(Seq(2)), true)), Some(checksum));
            assert_eq!(frame, Message::from(broadcast).encode());
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
