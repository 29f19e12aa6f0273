use common::id::Seq;
use common::wire::Activity;

use super::*;

fn broadcast(id: Option<&str>, session: u128, number: u64) -> ActivityBroadcast {
    ActivityBroadcast {
        id: id.map(|id| id.parse().unwrap()),
        session: Some(SessionId(session)),
        activity_seq: Some(Seq(number)),
        ..Activity::parse("{}").unwrap().into()
    }
}

fn welcome(network: Option<&str>, position: Option<&str>) -> LoginSuccess {
    LoginSuccess {
        network: network.map(str::to_owned),
        position: position.map(|position| position.parse().unwrap()),
        ..LoginSuccess::default()
    }
}

#[test]
fn an_activity_that_went_two_ways_is_new_once_and_both_its_ids_are_received() {
    let mut receipt = Receipt::new(Start::Now, true);
    receipt.welcome(welcome(Some("n1"), Some("")));
    let (one, other) = ("a/00000000000000ff/0", "b/00000000000000ff/0");
    assert_eq!(receipt.take(&broadcast(Some(one), 1, 1)), Arrival::New);
    assert_eq!(receipt.take(&broadcast(Some(one), 1, 1)), Arrival::Duplicate);
    assert_eq!(receipt.take(&broadcast(Some(other), 1, 1)), Arrival::Repeated);
    assert_eq!(receipt.take(&broadcast(Some("b/00000000000000ff/1"), 2, 1)), Arrival::New);
    assert_eq!(receipt.resume().unwrap().to_string(), "n1@a/00000000000000ff/0,b/00000000000000ff/0-1");
}

#[test]
fn one_that_comes_after_later_ones_is_late_and_one_without_any_name_is_always_new() {
    // Its sender moved across a cut: the later ones were heard at a worker to which this one could not get, and this one after that at
    // another worker, where all came in order.
    let mut receipt = Receipt::new(Start::Now, true);
    for number in [1, 2, 5] {
        assert_eq!(receipt.take(&broadcast(None, 1, number)), Arrival::New, "{number}");
    }
    for number in [3, 4] {
        assert_eq!(receipt.take(&broadcast(None, 1, number)), Arrival::Late, "{number}");
    }
    assert_eq!(receipt.take(&broadcast(None, 1, 6)), Arrival::New);
    let nameless = ActivityBroadcast::from(Activity::parse("{}").unwrap());
    assert_eq!([receipt.take(&nameless), receipt.take(&nameless)], [Arrival::New; 2]);
}

#[test]
fn a_session_begins_where_it_is_let_in_and_goes_on_where_it_was() {
    let mut receipt = Receipt::new(Start::Last(3), true);
    assert_eq!((receipt.resume(), receipt.last()), (None, Some(3)));
    let before: Position = "n1@a/00000000000000ff/0-4".parse().unwrap();
    assert_eq!(
        receipt.welcome(welcome(Some("n1"), Some("a/00000000000000ff/0-4"))),
        Beginning::At(before.clone())
    );
    assert_eq!((receipt.resume(), receipt.last()), (Some(&before), None));
    assert_eq!(receipt.welcome(welcome(Some("n1"), None)), Beginning::AsBefore);
    receipt.resumed(&"a/00000000000000ff/0-9".parse().unwrap());
    assert_eq!(receipt.resume().unwrap().to_string(), "n1@a/00000000000000ff/0-9");
    // A server that knows no positions changes nothing.
    assert_eq!(receipt.welcome(welcome(None, None)), Beginning::AsBefore);
    assert_eq!(receipt.resume().unwrap().to_string(), "n1@a/00000000000000ff/0-9");
    // The network is another one: what was received of the old one means nothing.
    let anew: Position = "n2@b/00000000000000ff/7".parse().unwrap();
    assert_eq!(receipt.welcome(welcome(Some("n2"), Some("b/00000000000000ff/7"))), Beginning::At(anew));
}

#[test]
fn who_begins_with_the_latest_activities_knows_where_it_is_when_they_have_come() {
    let mut receipt = Receipt::new(Start::Last(3), true);
    let again = broadcast(Some("a/00000000000000ff/9"), 1, 9);
    for _ in 0..2 {
        assert_eq!(receipt.welcome(welcome(Some("n1"), None)), Beginning::AsBefore);
        receipt.take(&again);
        assert_eq!((receipt.resume(), receipt.position(), receipt.last()), (None, None, Some(3)));
    }
    assert_ne!(
        receipt.take(&again),
        Arrival::New,
        "the connection broke in between, and all three came again"
    );
    let position = receipt.resumed(&"a/00000000000000ff/0-11".parse().unwrap());
    assert_eq!(position.unwrap().to_string(), "n1@a/00000000000000ff/0-11");
    assert!(receipt.resume().is_some() && receipt.last().is_none());
}

#[test]
fn a_position_that_workers_keep_refusing_is_forgotten_and_one_that_was_given_ends_the_session() {
    let mut receipt = Receipt::new(Start::Now, true);
    assert!(!receipt.refused());
    receipt.welcome(welcome(Some("n1"), Some("")));
    assert_eq!([receipt.refused(), receipt.refused()], [false; 2]);
    receipt.welcome(welcome(Some("n1"), None));
    for _ in 0..REFUSALS {
        assert!(receipt.resume().is_some());
        assert!(!receipt.refused());
    }
    assert_eq!(receipt.resume(), None);
    let mut given = Receipt::new(Start::After("n1@".parse().unwrap()), true);
    assert_eq!([given.refused(), given.refused(), given.refused()], [false, false, true]);
}

#[test]
fn a_position_that_was_given_must_be_of_this_network() {
    let given = || Start::After("n1@a/00000000000000ff/0-4".parse().unwrap());
    let mut receipt = Receipt::new(given(), true);
    assert_eq!(receipt.resume().unwrap().to_string(), "n1@a/00000000000000ff/0-4");
    assert_eq!(receipt.welcome(welcome(Some("n1"), None)), Beginning::AsBefore);
    for other in [welcome(Some("n2"), Some("")), welcome(None, None)] {
        assert!(matches!(Receipt::new(given(), true).welcome(other), Beginning::Nowhere(_)));
    }
}

#[test]
fn the_sessions_that_were_silent_for_longest_are_forgotten() {
    let mut receipt = Receipt::new(Start::Now, true);
    for session in 0..2 * SESSIONS as u128 {
        receipt.take(&broadcast(None, session, 1));
        assert_eq!(receipt.take(&broadcast(None, 0, session as u64 + 2)), Arrival::New);
        receipt.assert_bounds();
    }
    assert_eq!(receipt.take(&broadcast(None, 0, 2)), Arrival::Repeated);
    assert_eq!(receipt.take(&broadcast(None, 2 * SESSIONS as u128 - 1, 1)), Arrival::Repeated);
    assert_eq!(receipt.take(&broadcast(None, 1, 1)), Arrival::New, "it was forgotten");
}

#[test]
fn the_gaps_of_a_session_are_bounded() {
    let mut receipt = Receipt::new(Start::Now, true);
    for number in 0..10_000 {
        receipt.take(&broadcast(None, 1, 2 * number));
    }
    assert_eq!(receipt.sessions[&SessionId(1)].numbers.len(), limits::GAPS);
    assert_eq!(receipt.take(&broadcast(None, 1, 2 * 9_999 - 1)), Arrival::Late);
    assert_eq!(receipt.take(&broadcast(None, 1, 1)), Arrival::Repeated);
}

#[test]
fn acknowledgements_are_cumulative_by_count_and_by_time() {
    let patience = Duration::from_millis(20);
    let mut acks = Acks::default();
    assert_eq!((acks.tell(), acks.due()), (None, None));
    acks.received(Time::ZERO, patience);
    acks.received(Time::ZERO + patience / 2, patience);
    assert!(
        !acks.wanted(Time::ZERO, 3) && acks.wanted(Time::ZERO, 2) && acks.wanted(Time::ZERO + patience, 3)
    );
    assert_eq!((acks.tell(), acks.tell(), acks.due()), (Some(2), None, None));
    acks.received(Time::ZERO, patience);
    assert_eq!(acks.tell(), Some(3));
}
