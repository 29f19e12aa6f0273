//! Writing the frames of activities: ACTIVITY_BROADCAST as the codec would write it, from parts that are known to be good.

use std::ops::Range;

use common::id::{ActivityId, Seq};
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

/// Writes frames. What comes one after the other mostly has the stream and the session in common.
#[derive(Debug, Default)]
pub struct Encoder {
    /// How the frames of a stream begin, up to the number of the activity's id.
    stream: Option<(StreamId, Vec<u8>)>,
    /// The text of a session's name.
    session: Option<(SessionId, String)>,
}

impl Encoder {
    /// Makes `frame` the one of `author`'s activity. Returns where in it the activity lies.
    pub fn publish(
        &mut self,
        id: &ActivityId,
        identity: (SessionId, Seq),
        author: &Username,
        activity: &Activity,
        frame: &mut Vec<u8>,
    ) -> Range<usize> {
        self.encode(id, identity, frame, |frame| activity.authenticate_into(author, frame))
    }

    /// Makes `frame` the one of an activity that has its author. Returns where in it the activity lies.
    pub(super) fn pass_on(
        &mut self,
        id: &ActivityId,
        identity: (SessionId, Seq),
        activity: &Activity,
        frame: &mut Vec<u8>,
    ) -> Range<usize> {
        self.encode(id, identity, frame, |frame| frame.extend_from_slice(activity.get().as_bytes()))
    }

    fn encode(
        &mut self,
        id: &ActivityId,
        (session, seq): (SessionId, Seq),
        frame: &mut Vec<u8>,
        write_activity: impl FnOnce(&mut Vec<u8>),
    ) -> Range<usize> {
        let is_of = |stream: &StreamId| stream.origin == id.origin && stream.incarnation == id.incarnation;
        self.stream.take_if(|(stream, _)| !is_of(stream));
        let (_, beginning) = self.stream.get_or_insert_with(|| {
            let rest = format!("{}/{}/", id.origin, id.incarnation);
            (id.into(), [BEGINNING, rest.as_bytes()].concat())
        });
        frame.clear();
        frame.extend_from_slice(beginning);
        write_number(frame, id.seq);
        frame.extend_from_slice(b"\",\"session\":\"");
        self.session.take_if(|(latest, _)| *latest != session);
        let (_, name) = self.session.get_or_insert_with(|| (session, session.to_string()));
        frame.extend_from_slice(name.as_bytes());
        frame.extend_from_slice(b"\",\"activity_seq\":");
        write_number(frame, seq);
        frame.extend_from_slice(ACTIVITY);
        let begin = frame.len();
        write_activity(frame);
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
        let author: Username = "ann\u{e9}".parse().unwrap();
        let mut encoder = Encoder::default();
        let mut frame = b"of before".to_vec();
        for (stream, session) in
            [("w/00000000000000ff", 7), ("w/00000000000000fe", 7), ("v/00000000000000fe", 8)]
        {
            let id: ActivityId = format!("{stream}/1").parse().unwrap();
            let identity = (SessionId(session), Seq(9));
            for text in ["{}", r#"{"a":[1, 2]}"#, r#"{"authenticated_user":"eve","b":"\u00e9"}"#] {
                let activity = Activity::parse(text).unwrap();
                let authenticated = activity.authenticated(&author);
                let broadcast = ActivityBroadcast {
                    id: Some(id.clone()),
                    session: Some(identity.0),
                    activity_seq: Some(identity.1),
                    ..authenticated.clone().into()
                };
                let place = encoder.publish(&id, identity, &author, &activity, &mut frame);
                assert_eq!(&frame[place], authenticated.get().as_bytes());
                let checksum = crc32fast::hash(authenticated.get().as_bytes());
                assert_eq!(checksum_of(&noted(&frame, Some(Seq(2)), true)), Some(checksum));
                let line = Message::from(broadcast).encode();
                assert_eq!(frame, line);
                let place = encoder.pass_on(&id, identity, &authenticated, &mut frame);
                assert_eq!(&frame[place], authenticated.get().as_bytes());
                assert_eq!(frame, line);
            }
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
