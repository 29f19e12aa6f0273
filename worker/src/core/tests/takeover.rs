//! The coordinator goes, and another one takes its place: how the worker finds it, and what it tells it.

use super::*;

const REGISTER: &str = r#"{"command":"REGISTER","username":"ann","secret":"s"}"#;

/// A worker that has been in the network for a while, at the main coordinator `c`; `d` is its backup.
fn settled() -> (Node, LinkId) {
    let (mut node, coordinator) = Node::joined();
    node.say(coordinator, &backup_list(&["c", "d"]));
    node.wait_with(coordinator, Duration::from_secs(3));
    node.hear(coordinator);
    (node, coordinator)
}

/// The attempt under way leads to the coordinator `id`, which lets the worker in; what it heard.
fn let_in(node: &mut Node, id: &str, more: &str) -> (LinkId, Vec<String>) {
    let link = node.answer_dial();
    let welcome = success("net", "").replace(r#""id":"c""#, &format!(r#""id":"{id}"{more}"#));
    node.say(link, &welcome);
    let heard = node.hear(link);
    (link, heard)
}

fn user(name: &str, stamp: &str) -> String {
    format!(r#""{name}":{{"registration":"{stamp}","changed":"{stamp}","secret":"hash of {name}"}}"#)
}

/// The coordinator tells of users, and then how much is known with them.
fn sync(node: &mut Node, coordinator: LinkId, users: &[String], seen: &str) {
    for users in [users.join(","), String::new()] {
        node.say(coordinator, &format!(r#"{{"command":"SYNC_USER","users":{{{users}}},"seen":[{seen}]}}"#));
    }
}

#[test]
fn a_lost_coordinator_is_replaced_by_the_next_of_the_list_at_once_and_clients_notice_nothing() {
    let (mut node, coordinator) = settled();
    let client = node.client();
    node.hang_up(coordinator);
    node.wait(Duration::ZERO);
    assert_eq!(node.dialling(), "d:3780");
    let (_, heard) = let_in(&mut node, "d", "");
    assert_eq!(heard, ["AUTHENTICATE w1 Some(1)", "SERVER_LOAD 1"]);
    assert!(node.worker.upstream() && node.hear(client).is_empty());
}

#[test]
fn a_backup_that_sends_a_worker_to_the_main_coordinator_is_obeyed() {
    let mut node = Node::new();
    let backup = node.answer_dial();
    node.say(backup, r#"{"command":"REDIRECT","hostname":"elsewhere","port":7}"#);
    assert_eq!(node.hear(backup).last().unwrap(), "(closed)");
    node.wait(Duration::ZERO);
    assert_eq!(node.dialling(), "elsewhere:7");
    let (main, _) = let_in(&mut node, "d", "");
    assert!(node.worker.upstream());
    node.say(main, r#"{"command":"REDIRECT","hostname":"again","port":7}"#);
    node.wait(Duration::ZERO);
    assert_eq!(node.dialling(), "again:7", "a main coordinator that steps down may say so too");
}

#[test]
fn a_list_with_another_main_coordinator_takes_the_worker_there() {
    let (mut node, coordinator) = settled();
    node.say(coordinator, &backup_list(&["d", "c"]));
    assert_eq!(node.hear(coordinator), ["(closed)"]);
    node.wait(Duration::ZERO);
    assert_eq!(node.dialling(), "d:3780");
    let (main, _) = let_in(&mut node, "d", "");
    node.say(main, &backup_list(&["d", "c"]));
    assert!(node.worker.upstream());
}

#[test]
fn a_main_coordinator_that_gives_way_is_left_for_the_next_at_once() {
    let (mut node, coordinator) = settled();
    let info = "this is no longer the main coordinator";
    node.say(
        coordinator,
        &format!(r#"{{"command":"AUTHENTICATION_FAIL","info":"{info}","retry_after":1500}}"#),
    );
    assert_eq!(node.hear(coordinator), ["(closed)"]);
    node.wait(Duration::ZERO);
    assert_eq!(node.dialling(), "d:3780");
}

#[test]
fn a_worker_that_has_been_in_the_network_never_ends_because_somebody_refuses_it() {
    let (mut node, coordinator) = settled();
    node.hang_up(coordinator);
    node.wait(Duration::ZERO);
    for next in ["coordinator:3780", "c:3780", "d:3780"] {
        let stranger = node.answer_dial();
        node.say(stranger, r#"{"command":"AUTHENTICATION_FAIL","info":"wrong network secret"}"#);
        assert_eq!((node.hear(stranger).len(), node.exit.is_none()), (2, true));
        node.wait(Duration::from_secs(5));
        assert_eq!(node.dialling(), next);
    }
}

#[test]
fn what_the_lost_coordinator_was_asked_is_asked_of_the_next() {
    let (mut node, coordinator) = settled();
    let [asked, hashing, unknown] = [(); 3].map(|()| node.connect());
    node.say(asked, REGISTER);
    node.hash();
    node.say(hashing, &REGISTER.replace("ann", "bob"));
    node.say(unknown, r#"{"command":"LOGIN","username":"cy","secret":"s"}"#);
    assert_eq!(node.hear(coordinator), ["LOCK_REQUEST ann hash of s", "USER_QUERY cy"]);
    node.hang_up(coordinator);
    node.hash();
    node.wait(Duration::ZERO);
    let (main, heard) = let_in(&mut node, "d", "");
    assert_eq!(
        heard[1..],
        ["SERVER_LOAD 0", "LOCK_REQUEST ann hash of s", "LOCK_REQUEST bob hash of s", "USER_QUERY cy"]
    );
    // The last one had registered ann already: with the same hash, so it is the client's own.
    node.say(main, r#"{"command":"LOCK_DENIED","username":"ann","info":"ann is registered","user":{"registration":"5.0@c","changed":"5.0@c","secret":"hash of s"}}"#);
    node.say(main, r#"{"command":"LOCK_ALLOWED","username":"bob","registration":"6.0@d","changed":"6.0@d","secret":"hash of s","durability":"local"}"#);
    node.say(main, r#"{"command":"USER_ANSWER","username":"cy","user":{"registration":"5.1@c","changed":"5.1@c","secret":"hash of s"}}"#);
    node.hash();
    assert_eq!(node.hear(asked), ["REGISTER_SUCCESS ann is registered already, with this secret; log in"]);
    assert_eq!(node.hear(hashing), ["REGISTER_SUCCESS bob is registered"]);
    assert_eq!(node.hear(unknown), ["LOGIN_SUCCESS logged in as cy"]);
}

#[test]
fn a_worker_that_leaves_keeps_nobody_waiting_for_a_coordinator() {
    let (mut node, _) = settled();
    let asked = node.connect();
    node.say(asked, REGISTER);
    node.hash();
    node.event(Event::Input(Input::Drain));
    assert!(node.hear(asked)[0].starts_with("REGISTER_FAILED the coordinator did not answer"));
    assert_eq!(node.exit, Some(Ok(())));
}

#[test]
fn a_worker_claims_what_it_was_told_is_complete_and_no_more() {
    let (mut node, coordinator) = settled();
    sync(&mut node, coordinator, &[user("ann", "1.0@c"), user("bob", "2.0@c")], r#""1.0@c","9.0@d""#);
    node.say(coordinator, r#"{"command":"LOCK_ALLOWED","username":"cy","registration":"3.0@c","changed":"3.0@c","secret":"h","durability":"local"}"#);
    node.hang_up(coordinator);
    node.wait(Duration::ZERO);
    let link = node.answer_dial();
    assert_eq!(node.hear(link), ["AUTHENTICATE w1 Some(0) 1.0@c 9.0@d"]);
    node.say(link, &success("net", ""));
    node.say(link, r#"{"command":"USER_REGISTER_RESULT","username":"bob","registration":"2.0@c","changed":"2.0@c","secret":"h"}"#);
    node.hang_up(link);
    node.wait(Duration::from_secs(1));
    let link = node.answer_dial();
    assert_eq!(
        node.hear(link),
        ["AUTHENTICATE w1 Some(0) 2.0@c 9.0@d"],
        "a single record counts by its stamp"
    );
}

#[test]
fn a_new_coordinator_hears_what_it_lacks_and_what_of_it_is_complete() {
    let (mut node, coordinator) = settled();
    sync(&mut node, coordinator, &[user("ann", "1.0@c"), user("bob", "2.0@c")], r#""2.0@c""#);
    node.say(coordinator, r#"{"command":"LOCK_ALLOWED","username":"cy","registration":"3.0@c","changed":"3.0@c","secret":"h","durability":"local"}"#);
    node.hang_up(coordinator);
    for (seen, expected) in [
        ("", vec!["SYNC_USER ann,bob,cy [2.0@c]", "SYNC_USER  [2.0@c]"]),
        (r#""1.0@c""#, vec!["SYNC_USER bob,cy [2.0@c]", "SYNC_USER  [2.0@c]"]),
        (r#""2.0@c""#, vec!["SYNC_USER cy [2.0@c]"]),
        (r#""3.0@c""#, vec![]),
    ] {
        node.wait(Duration::from_secs(5));
        let (link, heard) = let_in(&mut node, "d", &format!(r#","seen":[{seen}]"#));
        assert_eq!(heard[2..], expected, "where it knows [{seen}]");
        node.hang_up(link);
    }
}

#[test]
fn what_superseded_everything_is_claimed_without_a_record() {
    let (mut node, coordinator) = settled();
    sync(&mut node, coordinator, &[user("ann", "1.0@c")], r#""2.0@c""#);
    node.hang_up(coordinator);
    node.wait(Duration::ZERO);
    let (_, heard) = let_in(&mut node, "d", r#","seen":["1.0@c"]"#);
    assert_eq!(heard[2..], ["SYNC_USER  [2.0@c]"]);
}

#[test]
fn many_users_go_up_in_pieces_as_the_coordinator_takes_them() {
    let limits = Limits { sync_users: 3, feed_bytes: 100, ..Limits::default() };
    let mut node = Node::with("w1", limits);
    let (coordinator, _) = let_in(&mut node, "c", "");
    let users: Vec<_> = (10..20).map(|n| user(&format!("u{n}"), &format!("{n}.0@c"))).collect();
    sync(&mut node, coordinator, &users, r#""17.0@c""#);
    node.hang_up(coordinator);
    node.wait(Duration::from_secs(1));
    let link = node.answer_dial();
    node.hear(link);
    node.say(link, &success("net", ""));
    let waiting = String::from_utf8(node.worker.output(link).to_vec()).unwrap();
    assert_eq!(waiting.lines().count(), 2, "SERVER_LOAD and a first piece");
    assert_eq!(
        node.hear(link)[1..],
        [
            "SYNC_USER u10,u11,u12 [12.0@c]",
            "SYNC_USER u13,u14,u15 [15.0@c]",
            "SYNC_USER u16,u17,u18 [17.0@c]",
            "SYNC_USER u19 [17.0@c]",
            "SYNC_USER  [17.0@c]"
        ],
        "the last two records were never told to be certain"
    );
}

#[test]
fn a_coordinator_that_asks_for_what_it_lacks_is_told() {
    let (mut node, coordinator) = settled();
    sync(&mut node, coordinator, &[user("ann", "1.0@c"), user("bob", "2.0@c")], r#""2.0@c""#);
    node.say(coordinator, r#"{"command":"SYNC_USER","users":{},"seen":["1.0@c"],"override":true}"#);
    assert_eq!(node.hear(coordinator), ["SYNC_USER bob [2.0@c]", "SYNC_USER  [2.0@c]"]);
}

#[test]
fn in_another_network_a_worker_knows_nobody_and_claims_nothing() {
    let (mut node, coordinator) = settled();
    sync(&mut node, coordinator, &[user("ann", "1.0@c")], r#""1.0@c""#);
    node.say(coordinator, &at("5@c", r#"{"command":"HEARTBEAT","role":"main"}"#));
    node.hang_up(coordinator);
    node.wait(Duration::ZERO);
    let link = node.answer_dial();
    node.say(link, &at("1@d", &success("other", "")));
    assert_eq!(
        node.hear(link),
        ["AUTHENTICATE w1 Some(0) 1.0@c", "(closed)"],
        "what it claimed means nothing there"
    );
    node.wait(Duration::ZERO);
    assert_eq!(node.dialling(), "d:3780");
    let link = node.answer_dial();
    let greeting = String::from_utf8(node.worker.output(link).to_vec()).unwrap();
    assert_eq!(epoch_of(greeting.trim_end()), None, "nor does the other network's epoch");
    node.say(link, &at("1@d", &success("other", "")));
    assert_eq!(node.hear(link)[..2], ["AUTHENTICATE w1 Some(0)", "SERVER_LOAD 0"]);
}
