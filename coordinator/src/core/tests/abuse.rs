use std::time::Duration;

use super::Net;
use super::town::Town;
use crate::core::Limits;

#[test]
fn what_a_stranger_may_not_say_is_refused_with_the_reason() {
    let deep = "[".repeat(10_000);
    for (line, command, reason) in [
        ("hello", "INVALID_MESSAGE", "the line is not valid JSON"),
        ("[1]", "INVALID_MESSAGE", "the line is JSON but not an object"),
        ("{}", "INVALID_MESSAGE", "the object has no \"command\""),
        (r#"{"command":"DANCE"}"#, "INVALID_MESSAGE", "unknown command \"DANCE\""),
        (r#"{"command":"LOGIN"}"#, "INVALID_MESSAGE", "LOGIN: missing field `username`"),
        (r#"{"command":"REGISTER","username":7,"secret":"s"}"#, "INVALID_MESSAGE", "REGISTER: invalid type"),
        (&deep, "INVALID_MESSAGE", "the line nests deeper than"),
        (
            r#"{"command":"NEW_CLIENT","username":"ann","load":1}"#,
            "INVALID_MESSAGE",
            "NEW_CLIENT is for servers: authenticate first",
        ),
        (
            r#"{"command":"REMOVE_SERVER","id":"w1"}"#,
            "INVALID_MESSAGE",
            "REMOVE_SERVER is for servers: authenticate first",
        ),
        (r#"{"command":"ACTIVITY_MESSAGE","activity":{}}"#, "AUTHENTICATION_FAIL", "log in first"),
        (r#"{"command":"STATUS","secret":"guessed"}"#, "AUTHENTICATION_FAIL", "wrong network secret"),
    ] {
        let mut net = Net::new();
        let link = net.connect();
        net.say(link, line);
        let (heard, info, _) = net.refusal(link);
        assert_eq!(heard, command);
        assert!(info.starts_with(reason), "{info}");
    }
}

#[test]
fn a_second_log_in_or_registration_while_one_is_under_way_closes_the_connection() {
    for first in ["LOGIN", "REGISTER"] {
        for second in ["LOGIN", "REGISTER"] {
            let mut net = Net::new();
            net.worker("w1");
            net.hold_effects();
            let link = net.connect();
            for command in [first, second] {
                net.say(link, &format!(r#"{{"command":"{command}","username":"ann","secret":"s"}}"#));
            }
            assert_eq!(net.refusal(link).0, "INVALID_MESSAGE");
            net.answer_all();
        }
    }
}

#[test]
fn log_out_and_a_complaint_close_the_connection_without_a_word() {
    for line in [r#"{"command":"LOGOUT"}"#, r#"{"command":"INVALID_MESSAGE","info":"what?"}"#] {
        let mut net = Net::new();
        let link = net.connect();
        net.say(link, line);
        assert!(net.is_closed(link));
        assert!(net.commands(link).is_empty());
    }
}

#[test]
fn a_connection_that_never_speaks_is_closed_after_ten_seconds() {
    let mut net = Net::new();
    let link = net.connect();
    net.pass(Duration::from_millis(9_900));
    assert!(!net.is_closed(link));
    net.pass(Duration::from_secs(2));
    assert_eq!(net.refusal(link), ("LOGIN_FAILED", "no log-in within 10 s".to_owned(), false));
}

#[test]
fn beyond_the_number_of_connections_a_new_one_is_refused() {
    let mut net = Net::with(Limits { connections: 2, ..Limits::default() }, Vec::new());
    let (first, _second, third) = (net.connect(), net.connect(), net.connect());
    assert_eq!(net.refusal(third), ("LOGIN_FAILED", "too many connections".to_owned(), true));
    net.vanish(first);
    let fourth = net.connect();
    assert!(!net.is_closed(fourth));
}

#[test]
fn a_peer_that_takes_nothing_is_dropped() {
    let mut net = Net::new();
    let link = net.connect();
    net.links[link].deaf = true;
    net.say(link, &format!(r#"{{"command":"STATUS","secret":"{}"}}"#, super::SECRET));
    net.pass(Duration::from_secs(14));
    assert!(!net.is_closed(link));
    net.pass(Duration::from_secs(3));
    assert!(net.is_closed(link));
}

#[test]
fn a_peer_that_asks_more_than_it_reads_is_dropped() {
    let mut net = Net::with(Limits { server_outbox_bytes: 1_000, ..Limits::default() }, Vec::new());
    let link = net.connect();
    net.links[link].deaf = true;
    for _ in 0..100 {
        if !net.is_closed(link) {
            net.say(link, &format!(r#"{{"command":"STATUS","secret":"{}"}}"#, super::SECRET));
        }
    }
    assert!(net.is_closed(link));
}

#[test]
fn nothing_is_woken_where_nothing_waits() {
    use common::machine::Machine;
    let mut net = Net::new();
    let link = net.connect();
    assert!(net.coordinator.deadline().is_some());
    net.vanish(link);
    assert_eq!(net.coordinator.deadline(), None);
}

#[test]
fn the_epoch_of_a_worker_counts_also_where_it_takes_its_coordinator_for_invalid() {
    let mut town = Town::in_step(1);
    let worker = town.worker(0, "w1");
    town.say(worker, r#"{"command":"INVALID_MESSAGE","epoch":"5@c7","info":"what was that?"}"#);
    assert!(town.status(0).highest_epoch.unwrap().counter >= 5);
}
