//! BACKUP_LIST: what a worker remembers of it, and what its clients hear.

use std::collections::BTreeSet;

use super::*;

const LOGIN: &str = r#"{"command":"LOGIN","username":"anonymous","capabilities":["dance","backup_list"]}"#;

fn worker(id: &str) -> String {
    format!(r#"{{"id":"{id}","hostname":"{id}","port":1}}"#)
}

/// A worker beside `others`, at the main coordinator `c`, whose backup is `d`.
fn beside(others: &[&str]) -> (Node, LinkId) {
    let mut node = Node::new();
    let coordinator = node.answer_dial();
    let others: Vec<_> = others.iter().map(|id| worker(id)).collect();
    node.say(coordinator, &at("5@c", &success("net", &others.join(","))));
    node.say(coordinator, &at("5@c", &backup_list(&["c", "d"])));
    node.hear(coordinator);
    (node, coordinator)
}

fn capable(node: &mut Node) -> (LinkId, Vec<String>) {
    let link = node.connect();
    node.say(link, LOGIN);
    let heard = node.hear(link);
    (link, heard)
}

#[test]
fn what_the_list_says_is_remembered_with_its_epoch_once() {
    let (mut node, coordinator) = beside(&[]);
    let first = std::mem::take(&mut node.remembered);
    assert_eq!((first.network.as_deref(), first.servers.len()), (Some("net"), 2));
    assert_eq!(first.epoch.unwrap().to_string(), "5@c");
    node.say(coordinator, &at("5@c", &backup_list(&["c", "d"])));
    assert_eq!(node.remembered, Remembered::default(), "nothing new is not written again");
    node.say(coordinator, &at("6@c", &backup_list(&["c", "d"])));
    assert_eq!(node.remembered.epoch.as_ref().unwrap().to_string(), "6@c");
    node.say(coordinator, &at("6@c", &backup_list(&["c"])));
    assert_eq!(node.remembered.servers.len(), 1);
}

#[test]
fn a_worker_that_returns_finds_the_network_although_the_one_that_was_named_is_gone() {
    let (node, _) = beside(&[]);
    let mut node = Node::remembering("w1", Limits::default(), node.remembered);
    let mut tried = Vec::new();
    for _ in 0..3 {
        tried.push(node.dialling());
        node.refuse_dial();
        node.wait(Duration::ZERO);
    }
    assert_eq!(tried, ["c:3780", "d:3780", "coordinator:3780"]);
}

#[test]
fn a_client_that_understands_the_list_hears_it_and_a_classic_one_never_does() {
    let (mut node, coordinator) = beside(&["w2"]);
    let classic = node.client();
    let (link, heard) = capable(&mut node);
    let list = "BACKUP_LIST Worker@w2:1 Main@c:3780 Backup@d:3780";
    assert_eq!(heard, ["LOGIN_SUCCESS logged in as anonymous", list]);
    node.wait_with(coordinator, Duration::from_secs(1));
    node.hear(link);
    for _ in 0..2 {
        node.wait_with(coordinator, Duration::from_secs(5));
        assert_eq!(node.hear(link), [list]);
    }
    node.say(
        coordinator,
        &at("5@c", &format!(r#"{{"command":"SYNCHRONISED_NEW_SERVER",{}"#, &worker("w3")[1..])),
    );
    node.wait_with(coordinator, Duration::from_secs(1));
    let heard = node.hear(link);
    assert!(heard.len() == 1 && heard[0].contains("Worker@w3:1"), "{heard:?}");
    node.hang_up(coordinator);
    node.wait(Duration::from_secs(6));
    assert!(!node.hear(link).is_empty(), "without a coordinator too");
    assert_eq!(node.hear(classic), [] as [&str; 0]);
}

#[test]
fn clients_are_told_of_a_few_workers_each_in_an_order_of_its_own() {
    let others: Vec<_> = (2..30).map(|number| format!("w{number}")).collect();
    let (mut node, _) = beside(&others.iter().map(String::as_str).collect::<Vec<_>>());
    let mut first = BTreeSet::new();
    for _ in 0..100 {
        let (_, heard) = capable(&mut node);
        let told: Vec<_> = heard[1].split(' ').skip(1).collect();
        assert!(told.len() == 10 && told[8..] == ["Main@c:3780", "Backup@d:3780"], "{told:?}");
        assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), 10);
        first.insert(told[0].to_owned());
    }
    assert!(first.len() > 20, "only {first:?} come first");
}

#[test]
fn a_client_that_reads_nothing_is_not_sent_one_list_after_the_other() {
    let (mut node, coordinator) = beside(&["w2"]);
    let link = node.connect();
    node.say(link, LOGIN);
    node.wait_with(coordinator, Duration::from_secs(14));
    assert_eq!(node.hear(link).len(), 2, "LOGIN_SUCCESS and the first");
}

#[test]
fn a_list_comes_between_two_activities() {
    let (mut node, coordinator) = beside(&["w2"]);
    let (link, _) = capable(&mut node);
    node.publish(link, 1);
    let begun = node.read(link, 10);
    node.wait_with(coordinator, Duration::from_secs(6));
    node.publish(link, 2);
    let rest = node.read_all(link);
    let all = String::from_utf8([begun, rest].concat()).unwrap();
    let told: Vec<String> = all.lines().map(tell).collect();
    let activity = |n| format!(r#"{{"authenticated_user":"anonymous","n":{n}}}"#);
    assert_eq!(told, [activity(1), "BACKUP_LIST Worker@w2:1 Main@c:3780 Backup@d:3780".into(), activity(2)]);
}

#[test]
fn who_knows_nowhere_to_go_says_nothing() {
    let mut node = Node::new();
    let (link, heard) = capable(&mut node);
    node.wait(Duration::from_secs(11));
    assert_eq!((heard.len(), node.hear(link).len()), (1, 0));
}
