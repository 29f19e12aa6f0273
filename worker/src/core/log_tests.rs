use common::id::{Incarnation, Seq};
use common::position::StreamId;
use common::session::SessionId;
use common::wire::{Activity, ActivityBroadcast, Message};

use super::*;

/// A log whose chunks hold ten bytes.
fn log(lines: &[&str]) -> Log {
    let mut log = Log::new(10 * CHUNKS);
    lines.iter().for_each(|line| log.append_line(line.as_bytes()));
    log
}

fn read_all(log: &Log, mut offset: Offset) -> String {
    let mut all = Vec::new();
    while offset < log.end() {
        let piece = log.read(offset);
        assert!(!piece.is_empty() && piece.ends_with(b"\n"));
        all.extend_from_slice(piece);
        offset = offset.plus(piece.len());
    }
    String::from_utf8(all).unwrap()
}

/// A frame as workers write it: `text` is an id, and `bytes` how long the activity in it is.
fn frame(text: &str, bytes: usize) -> (ActivityId, Vec<u8>) {
    let id: ActivityId = text.parse().unwrap();
    let activity = format!(r#"{{"n":"{}"}}"#, "x".repeat(bytes));
    let broadcast = ActivityBroadcast { id: Some(id.clone()), ..Activity::parse(&activity).unwrap().into() };
    (id, Message::from(broadcast).encode())
}

/// A full log of activities of three workers, interleaved, and how many were ever appended.
fn full_log() -> (Log, u64) {
    let mut log = Log::new(64 << 10);
    let mut rounds = 0;
    while rounds < 10 || log.start() == Offset(0) {
        for worker in ["a", "b", "c"] {
            let (id, frame) = frame(&format!("{worker}/00000000000000ff/{rounds}"), rounds as usize % 70);
            log.append(&id, &frame);
        }
        rounds += 1;
    }
    (log, rounds * 3)
}

fn ids<'a>(frames: impl Iterator<Item = Frame<'a>>) -> Vec<String> {
    frames.map(|frame| frame.id.to_string()).collect()
}

#[test]
fn what_was_appended_is_read_from_every_offset() {
    let lines = ["one\n", "three\n", "7\n", "longer than a chunk\n", "x\n"];
    let (log, text) = (log(&lines), lines.concat());
    for offset in 0..=text.len() {
        assert_eq!(read_all(&log, Offset(offset as u64)), text[offset..]);
    }
}

#[test]
fn an_offset_inside_a_frame_is_told_from_one_between_frames() {
    let lines = ["one\n", "three\n", "longer than a chunk\n", "x\n"];
    let log = log(&lines);
    let mut start = Offset(0);
    for line in lines {
        assert_eq!(log.unfinished(start), b"");
        for inside in 1..line.len() {
            assert_eq!(log.unfinished(start.plus(inside)), &line.as_bytes()[inside..]);
        }
        start = start.plus(line.len());
    }
    assert_eq!((start, log.unfinished(start)), (log.end(), &b""[..]));
}

#[test]
fn the_oldest_leave_beyond_the_limit_and_offsets_go_on() {
    let mut log = log(&[]);
    for number in 0..1_000 {
        log.append_line(format!("{number:03}\n").as_bytes());
        assert!(log.len() <= 10 * CHUNKS);
    }
    assert_eq!(log.end(), Offset(4_000));
    assert!(log.len() > 9 * CHUNKS / 2, "more was let go than had to be");
    let first = log.start().0 / 4;
    assert_eq!(log.read(log.start())[..4], *format!("{first:03}\n").as_bytes());
    assert_eq!(log.read(Offset(0)), b"");
}

#[test]
fn a_frame_longer_than_the_log_is_kept_alone() {
    let mut log = Log::new(10);
    log.append_line(b"1\n");
    log.append_line(b"longer than the log\n");
    assert_eq!(log.read(log.start()), b"longer than the log\n");
}

#[test]
fn it_holds_what_its_frames_say_also_after_the_oldest_have_left() {
    let (log, appended) = full_log();
    let mut expected = Position::default();
    let here = log.missing(&Position::default(), Offset(0)).map(|frame| expected.insert(&frame.id)).count();
    assert!((here as u64) < appended, "some have left");
    assert_eq!(log.holds(), &expected);
}

#[test]
fn who_lacks_everything_gets_every_frame_in_order() {
    let (log, _) = full_log();
    let nothing = Position::default();
    let (mut text, mut offset) = (Vec::new(), log.start());
    for frame in log.missing(&nothing, Offset(0)) {
        assert_eq!((frame.offset, id_of(frame.bytes)), (offset, Some(frame.id.clone())));
        offset = frame.end();
        text.extend_from_slice(frame.bytes);
    }
    assert_eq!((offset, String::from_utf8(text).unwrap()), (log.end(), read_all(&log, log.start())));
}

#[test]
fn who_goes_on_where_he_stopped_gets_the_same() {
    let (log, _) = full_log();
    let odd = (0..500).filter(|seq| seq % 2 == 1);
    let mut after = Position::default();
    let stream = StreamId { origin: "b".parse().unwrap(), incarnation: Incarnation(255) };
    odd.for_each(|seq| after.add(&stream, seq, seq));
    let (mut offset, mut pieces) = (Offset(0), Vec::new());
    loop {
        let piece: Vec<_> = log.missing(&after, offset).take(7).collect();
        let Some(last) = piece.last() else { break };
        offset = last.end();
        pieces.extend(ids(piece.into_iter()));
    }
    assert_eq!(pieces, ids(log.missing(&after, Offset(0))));
    assert!(pieces.iter().all(|id| !after.contains(&id.parse().unwrap())));
}

#[test]
fn who_lacks_little_gets_just_that_and_no_other_chunk_is_looked_into() {
    let (mut log, _) = full_log();
    let lacked = [log.chunks.len() / 3, log.chunks.len() / 2].map(|index| {
        let frame = log.chunks[index].frames(Offset(0)).nth(1).unwrap();
        (index, frame.id.clone())
    });
    let mut after = log.holds().clone();
    for (_, id) in &lacked {
        let mut one = Position::default();
        one.insert(id);
        after.subtract(&one);
    }
    // What is not looked into may be anything.
    for (index, chunk) in log.chunks.iter_mut().enumerate() {
        if lacked.iter().all(|(other, _)| *other != index) {
            chunk.bytes.as_mut().unwrap().fill(b'?');
        }
    }
    assert_eq!(ids(log.missing(&after, Offset(0))), lacked.clone().map(|(_, id)| id.to_string()));
    let behind = log.chunks[lacked[0].0].end();
    assert_eq!(ids(log.missing(&after, behind)), [lacked[1].1.to_string()], "it begins where it is told to");
}

#[test]
fn the_latest_are_found_from_the_end() {
    let (log, _) = full_log();
    let nothing = Position::default();
    let all = ids(log.missing(&nothing, Offset(0)));
    for count in 0..all.len() {
        let latest = ids(log.missing(&nothing, log.last(count)));
        assert_eq!(latest, all[all.len() - count..], "{count}");
    }
    assert_eq!(log.last(all.len() + 1), log.start());
    assert_eq!(Log::new(1).last(3), Offset(0));
}

#[test]
fn only_what_begins_as_a_frame_has_an_id() {
    let (id, bytes) = frame("w-1.x/00000000000000ff/7", 3);
    assert_eq!(id_of(&bytes), Some(id));
    for wrong in [
        "",
        r#"{"command":"ACTIVITY_BROADCAST","activity":{}}"#,
        r#"{"command":"ACTIVITY_BROADCAST","id":"w/00000000000000ff/7"#,
        r#"{"command":"ACTIVITY_BROADCAST","id":"w/00000000000000ff","activity":{}}"#,
        r#"{ "command":"ACTIVITY_BROADCAST","id":"w/00000000000000ff/7","activity":{}}"#,
    ] {
        assert_eq!(id_of(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn whose_a_frame_is_stands_behind_its_id() {
    let mut broadcast: ActivityBroadcast = Activity::parse(r#"{"a":1}"#).unwrap().into();
    broadcast.id = "w/00000000000000ff/7".parse().ok();
    assert_eq!(session_of(&Message::from(broadcast.clone()).encode()), None);
    broadcast.session = Some(SessionId(9));
    broadcast.activity_seq = Some(Seq(12));
    assert_eq!(session_of(&Message::from(broadcast.clone()).encode()), Some((SessionId(9), Seq(12))));
    (broadcast.missing_from, broadcast.late) = (Some(Seq(3)), true);
    let frame = Message::from(broadcast).encode();
    assert_eq!(session_of(&frame), Some((SessionId(9), Seq(12))), "whatever was noted on it");
    for length in 0..frame.len() {
        // Cut anywhere.
        session_of(&frame[..length]);
    }
}

#[test]
#[should_panic(expected = "is appended a second time")]
fn what_is_here_is_not_appended_again() {
    let (id, bytes) = frame("w/00000000000000ff/7", 3);
    let mut log = Log::new(1 << 20);
    log.append(&id, &bytes);
    log.append(&id, &bytes);
}
