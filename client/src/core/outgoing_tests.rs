use common::wire::Durability;

use super::*;

fn activity(text: &str) -> Activity {
    Activity::parse(text).unwrap()
}

fn outgoing(count: u64) -> Outgoing {
    let mut outgoing = Outgoing::new(Seq(1), &Limits::default());
    for n in 1..=count {
        outgoing.push(activity(&format!("{{\"n\":{n}}}")));
    }
    outgoing
}

fn connection() -> Outbox {
    Outbox::new(AHEAD_BYTES + FRAME_BYTES)
}

/// Hands over what there is room for, and tells the numbers of what lies there then.
fn handed(outgoing: &mut Outgoing, outbox: &mut Outbox) -> Vec<u64> {
    outgoing.hand_over(Time::ZERO, outbox);
    outgoing.assert_bounds();
    let lines = outbox.pending().split_inclusive(|byte| *byte == b'\n');
    let number = |line: &[u8]| match Message::decode(line.trim_ascii_end()).unwrap() {
        Message::ActivityMessage(message) => message.activity_seq.unwrap().0,
        other => panic!("{other:?}"),
    };
    lines.map(number).collect()
}

fn report(first: u64, last: u64) -> ActivitySendingReport {
    ActivitySendingReport {
        first_seq: Some(Seq(first)),
        activity_seq: Seq(last),
        client_count: 3,
        succ_count: 2,
        fail_count: 1,
        durability: Durability::Replicated,
        unreachable: Vec::new(),
    }
}

fn reported(outgoing: &mut Outgoing, first: u64, last: u64) -> Vec<(u64, u64)> {
    let news = outgoing.reported(report(first, last)).unwrap();
    outgoing.assert_bounds();
    news.iter().map(|report| (report.first.0, report.last.0)).collect()
}

#[test]
fn what_is_not_reported_is_sent_again_before_anything_new() {
    let mut outgoing = outgoing(3);
    assert_eq!(handed(&mut outgoing, &mut connection()), [1, 2, 3]);
    assert_eq!(reported(&mut outgoing, 1, 1), [(1, 1)]);
    outgoing.connection_lost();
    outgoing.push(activity("{}"));
    assert_eq!(handed(&mut outgoing, &mut connection()), [2, 3, 4]);
    assert_eq!((outgoing.len(), outgoing.next()), (3, Seq(5)));
}

#[test]
fn each_activity_is_reported_once_however_often_the_server_does() {
    let mut outgoing = outgoing(6);
    handed(&mut outgoing, &mut connection());
    assert_eq!(reported(&mut outgoing, 1, 2), [(1, 2)]);
    assert_eq!(reported(&mut outgoing, 1, 2), []);
    assert_eq!(reported(&mut outgoing, 4, 5), [(4, 5)], "out of turn");
    assert_eq!((outgoing.len(), outgoing.first), (4, 3), "what comes before is still waited for");
    assert_eq!(reported(&mut outgoing, 2, 6), [(3, 3), (6, 6)]);
    assert!(outgoing.is_empty());
}

#[test]
fn a_report_on_what_was_never_published_is_none() {
    let mut outgoing = outgoing(2);
    handed(&mut outgoing, &mut connection());
    for (first, last) in [(1, 3), (2, 1), (3, 3), (1, Seq::MAX.0)] {
        assert_eq!(outgoing.reported(report(first, last)), Err(Overclaim), "{first} to {last}");
    }
    assert_eq!(outgoing.len(), 2);
}

#[test]
fn over_one_connection_no_number_is_left_out_although_it_was_reported_meanwhile() {
    let mut outgoing = outgoing(2);
    assert_eq!(reported(&mut outgoing, 1, 2), [(1, 2)]);
    assert_eq!(handed(&mut outgoing, &mut connection()), [1, 2]);
    assert!(outgoing.is_empty());
}

#[test]
fn a_connection_is_handed_no_more_than_it_is_to_have_ahead() {
    let mut outgoing = Outgoing::new(Seq(1), &Limits::default());
    for _ in 0..10 {
        outgoing.push(activity(&format!("{{\"a\":\"{}\"}}", "x".repeat(AHEAD_BYTES / 2))));
    }
    let mut outbox = connection();
    assert_eq!(handed(&mut outgoing, &mut outbox), [1, 2]);
    assert_eq!(handed(&mut outgoing, &mut outbox), [1, 2]);
    outbox.wrote(Time::ZERO, outbox.len());
    assert_eq!(handed(&mut outgoing, &mut outbox), [3, 4]);
}

#[test]
fn a_session_that_is_continued_goes_on_counting() {
    let mut outgoing = Outgoing::new(Seq(7), &Limits::default());
    outgoing.push(activity("{}"));
    assert_eq!(handed(&mut outgoing, &mut connection()), [7]);
    assert_eq!(reported(&mut outgoing, 3, 7), [(7, 7)], "what was before is not ours to tell");
}

#[test]
fn to_a_server_without_reports_what_is_written_is_done() {
    let mut outgoing = outgoing(3);
    handed(&mut outgoing, &mut connection());
    assert_eq!(outgoing.written(0), Ranges::default());
    assert_eq!(outgoing.written(2), Ranges::of(1, 2));
    outgoing.connection_lost();
    assert_eq!(handed(&mut outgoing, &mut connection()), [3]);
}

#[test]
fn an_activity_that_was_written_over_several_lines_goes_out_as_one() {
    let message = frame(Seq(1), activity("{\r\n \"a\": \"x\\ny\"\n}"));
    assert_eq!(
        std::str::from_utf8(&message).unwrap(),
        "{\"command\":\"ACTIVITY_MESSAGE\",\"activity_seq\":1,\"activity\":{   \"a\": \"x\\ny\" }}\n"
    );
}

#[test]
fn there_is_no_room_beyond_a_count_and_beyond_so_many_bytes() {
    let limits = Limits { unreported_activities: 2, unreported_bytes: 100, ..Limits::default() };
    let mut by_count = Outgoing::new(Seq(1), &limits);
    let mut by_bytes = Outgoing::new(Seq(1), &Limits { unreported_activities: 100, ..limits });
    by_count.max_bytes = 1_000;
    by_count.push(activity("{}"));
    assert!(by_count.has_room());
    by_count.push(activity("{}"));
    assert!(!by_count.has_room());
    by_bytes.push(activity(&format!("{{\"a\":\"{}\"}}", "x".repeat(100))));
    assert!(!by_bytes.has_room());
    by_count.assert_bounds();
    by_bytes.assert_bounds();
}

#[test]
fn the_deepest_acceptable_activity_makes_a_line_that_servers_accept() {
    let activity = |levels: usize| {
        let inner = format!("{}{}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        activity(&format!("{{\"a\":{inner}}}"))
    };
    let deepest = activity(limits::ACTIVITY_NESTING);
    assert_eq!(check(&deepest), Ok(()));
    assert!(Message::decode(frame(Seq::MAX, deepest).trim_ascii_end()).is_ok());
    assert_eq!(check(&activity(limits::ACTIVITY_NESTING + 1)), Err(Unfit::TooDeep));
}

#[test]
fn the_longest_acceptable_activity_makes_a_line_that_servers_accept() {
    let activity = |length: usize| activity(&format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8)));
    let longest = activity(limits::LINE_BYTES);
    assert_eq!(check(&longest), Ok(()));
    assert!(frame(Seq::MAX, longest).len() <= FRAME_BYTES);
    assert_eq!(check(&activity(limits::LINE_BYTES + 1)), Err(Unfit::TooLong));
}
