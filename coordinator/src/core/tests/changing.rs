use std::time::Duration;

use common::machine::Event;
use common::user::{Stamp, UserRecord, Username};
use common::wire::{Durability, Message};

use super::{Input, Net, fake_hash, newcomer};
use crate::core::Limits;

fn ann() -> Username {
    "ann".parse().unwrap()
}

/// A network with a worker that is up to date, and ann, whose secret is `s`.
fn with_ann() -> (Net, common::id::LinkId) {
    let mut net = Net::new();
    let worker = net.worker("w1");
    net.has_registered("ann", "s");
    net.commands(worker);
    (net, worker)
}

fn told(message: &Message) -> &UserRecord {
    match message {
        Message::UserRegisterResult(result) => &result.user,
        other => panic!("{other:?} tells of no change"),
    }
}

#[test]
fn a_new_secret_is_on_disk_and_with_the_workers_before_its_owner_hears_of_it() {
    let (mut net, worker) = with_ann();
    net.hold_effects();
    let link = net.connect();
    net.change_secret(link, "ann", "s", "t");
    net.answer();
    net.answer();
    assert_eq!(net.batch(), ["ann"]);
    assert_eq!((net.commands(link), net.commands(worker)), (vec![], vec![]));
    net.answer();
    let news = net.hear(worker);
    let record = told(&news);
    assert!(record.changed > record.registration);
    assert_eq!(record.secret, Some(fake_hash(&common::user::Secret::new("t"))));
    let Message::ChangeSecretSuccess(success) = net.hear(link) else { panic!("not changed") };
    assert_eq!(success.durability, Durability::Local);
    // It may log in on the same connection, by the new secret and without a hash; elsewhere the old one is worthless.
    net.login(link, "ann", "t");
    assert_eq!(net.commands(link), ["LOGIN_SUCCESS", "REDIRECT"]);
    let old = net.connect();
    net.login(old, "ann", "s");
    net.answer();
    assert_eq!(net.refusal(old).1, "wrong name or secret");
}

#[test]
fn a_secret_is_not_changed_without_the_one_so_far() {
    let (mut net, worker) = with_ann();
    let long = "x".repeat(257);
    for (name, secret, new, reason) in [
        ("ann", "wrong", "t", "wrong name or secret"),
        ("bob", "s", "t", "wrong name or secret"),
        ("anonymous", "s", "t", "anonymous has no secret"),
        ("", "s", "t", "a username has 1 to 64 characters"),
        ("ann", "s", "", "a secret has 1 to 256 bytes"),
        ("ann", "s", &long, "a secret has 1 to 256 bytes"),
    ] {
        let link = net.connect();
        net.change_secret(link, name, secret, new);
        assert_eq!(net.refusal(link), ("CHANGE_SECRET_FAILED", reason.to_owned(), false));
    }
    assert!(net.commands(worker).is_empty());
}

#[test]
fn while_a_secret_is_being_changed_the_old_one_logs_in_and_nobody_else_changes_it() {
    let (mut net, _) = with_ann();
    net.hold_effects();
    let (first, second, login, operator) = (net.connect(), net.connect(), net.connect(), net.connect());
    net.change_secret(first, "ann", "s", "t");
    net.change_secret(second, "ann", "s", "u");
    net.answer();
    net.answer();
    let (command, info, retry) = net.refusal(second);
    assert_eq!((command, retry), ("CHANGE_SECRET_FAILED", true));
    assert!(info.starts_with("ann is being changed"), "{info}");
    net.remove(operator, "ann");
    assert_eq!(net.commands(operator), ["REMOVE_USER_FAILED"]);
    net.login(login, "ann", "s");
    let verify = net.effects.pop_back().unwrap();
    net.effects.push_front(verify);
    net.answer();
    assert_eq!(net.commands(login), ["LOGIN_SUCCESS", "REDIRECT"]);
    net.answer_all();
    assert_eq!(net.commands(first), ["CHANGE_SECRET_SUCCESS"]);
}

#[test]
fn who_was_verified_against_a_record_that_has_changed_meanwhile_tries_again() {
    let (mut net, _) = with_ann();
    net.hold_effects();
    let (changes, logs_in) = (net.connect(), net.connect());
    net.change_secret(changes, "ann", "s", "t");
    net.answer();
    net.login(logs_in, "ann", "s");
    // The log-in's verdict comes last.
    let verify = net.effects.pop_back().unwrap();
    net.answer();
    net.answer();
    net.effects.push_back(verify);
    net.answer();
    let (command, _, retry) = net.refusal(logs_in);
    assert_eq!((command, retry), ("LOGIN_FAILED", true));
}

#[test]
fn what_a_connection_remembers_of_a_secret_dies_with_that_secret() {
    let (mut net, _) = with_ann();
    let remembers = net.connect();
    net.register(remembers, "ann", "s");
    assert_eq!(net.commands(remembers), ["REGISTER_SUCCESS"]);
    let changes = net.connect();
    net.change_secret(changes, "ann", "s", "t");
    net.login(remembers, "ann", "s");
    assert_eq!(net.refusal(remembers).1, "wrong name or secret");
}

#[test]
fn a_hash_or_a_disk_that_fails_leaves_the_secret_as_it_was() {
    let (mut net, worker) = with_ann();
    net.hold_effects();
    let slow = net.connect();
    net.change_secret(slow, "ann", "s", "t");
    net.answer();
    net.pass(Duration::from_secs(12));
    let (command, _, retry) = net.refusal(slow);
    assert_eq!((command, retry), ("CHANGE_SECRET_FAILED", true));
    net.answer();
    assert!(net.batch().is_empty(), "the late hash is nobody's");
    net.say(worker, r#"{"command":"SERVER_LOAD","load":0}"#);
    let unlucky = net.connect();
    net.change_secret(unlucky, "ann", "s", "t");
    net.answer();
    net.answer();
    net.fail_disk();
    let (command, _, retry) = net.refusal(unlucky);
    assert_eq!((command, retry), ("CHANGE_SECRET_FAILED", true));
    let link = net.connect();
    net.login(link, "ann", "s");
    net.answer_all();
    assert_eq!(net.commands(link), ["LOGIN_SUCCESS", "REDIRECT"]);
}

#[test]
fn a_removed_user_is_gone_for_good_and_its_name_is_free() {
    let (mut net, worker) = with_ann();
    let client = net.connect();
    net.login(client, "ann", "s");
    let heard = net.hear_all(client);
    let Some(Message::Redirect(redirect)) = heard.last() else { panic!("no redirect") };
    let token = redirect.token.clone().unwrap();
    net.hold_effects();
    let operator = net.connect();
    net.remove(operator, "ann");
    assert_eq!((net.commands(operator), net.commands(worker)), (vec![], vec![]), "not before the disk");
    net.answer();
    assert_eq!(net.commands(operator), ["REMOVE_USER_SUCCESS"]);
    assert!(told(&net.hear(worker)).is_removed());
    assert_eq!(net.coordinator.status(false).users, 0);
    net.remove(operator, "ann");
    let Message::RemoveUserFailed(failed) = net.hear(operator) else { panic!("removed twice") };
    assert_eq!((failed.info.as_str(), failed.retry_after), ("ann is not registered", None));
    // Neither secret nor token help any more, not even where another takes the name.
    let link = net.connect();
    net.login(link, "ann", "s");
    net.answer();
    assert_eq!(net.refusal(link).1, "wrong name or secret");
    let link = net.connect();
    net.register(link, "ann", "another");
    net.answer_all();
    assert_eq!(net.commands(link), ["REGISTER_SUCCESS"]);
    assert_eq!(newcomer(&net.hear(worker)), "ann");
    let link = net.connect();
    net.say(link, &format!(r#"{{"command":"LOGIN","username":"ann","token":"{token}"}}"#));
    assert_eq!(net.refusal(link).1, "the token is not this user's");
    assert!(!net.is_closed(operator));
}

#[test]
fn removing_a_user_needs_the_network_secret_and_a_name() {
    let (mut net, _) = with_ann();
    let link = net.connect();
    net.say(link, r#"{"command":"REMOVE_USER","username":"ann","secret":"s"}"#);
    assert_eq!(net.refusal(link).0, "AUTHENTICATION_FAIL");
    let operator = net.connect();
    net.remove(operator, "");
    assert_eq!(net.commands(operator), ["REMOVE_USER_FAILED"]);
    assert_eq!(net.coordinator.status(false).users, 1);
}

#[test]
fn a_removal_that_is_on_its_way_to_the_disk_is_confirmed_before_the_end() {
    let (mut net, worker) = with_ann();
    net.hold_effects();
    let (operator, idle, changes) = (net.connect(), net.connect(), net.connect());
    net.change_secret(changes, "ann", "s", "t");
    net.remove(operator, "ann");
    net.event(Event::Input(Input::Drain));
    let (command, _, retry) = net.refusal(changes);
    assert_eq!((command, retry), ("CHANGE_SECRET_FAILED", true));
    assert!(net.is_closed(idle) && !net.is_closed(operator) && net.exited.is_none());
    net.answer_all();
    assert_eq!(
        (net.commands(operator), net.commands(worker)),
        (vec!["REMOVE_USER_SUCCESS"], vec!["USER_REGISTER_RESULT"])
    );
    assert_eq!(net.exited, Some(Ok(())));
}

#[test]
fn a_worker_that_returns_hears_of_a_removal_and_of_a_name_taken_again_in_messages_of_their_own() {
    let mut net = Net::new();
    net.has_registered("ann", "s");
    let operator = net.connect();
    net.remove(operator, "ann");
    net.has_registered("ann", "t");
    let worker = net.connect();
    net.authenticate(worker, "w1", 0);
    let told: Vec<bool> = net
        .hear_all(worker)
        .iter()
        .filter_map(|message| match message {
            Message::UserRegisterResult(result) => Some(result.user.is_removed()),
            Message::SyncUser(_) => panic!("one message cannot hold both"),
            _ => None,
        })
        .collect();
    assert_eq!(told, [true, false]);
}

/// A record that another coordinator wrote with its clock an hour ahead.
fn from_the_future() -> (Username, UserRecord) {
    let stamp: Stamp = format!("{}.0@c9", 1_000_000 + 3_600_000).parse().unwrap();
    let secret = Some(fake_hash(&common::user::Secret::new("s")));
    (ann(), UserRecord { registration: stamp.clone(), changed: stamp, written: None, secret })
}

#[test]
fn a_stamp_from_the_future_does_not_pull_ours_but_a_change_of_its_record_wins() {
    let mut net = Net::with(Limits::default(), vec![from_the_future()]);
    let worker = net.connect();
    net.authenticate(worker, "w1", 0);
    net.commands(worker);
    net.has_registered("bob", "s");
    assert_eq!(told(&net.hear(worker)).changed.wall, net.now.wall);
    let link = net.connect();
    net.change_secret(link, "ann", "s", "t");
    assert_eq!(net.commands(link), ["CHANGE_SECRET_SUCCESS"]);
    assert!(told(&net.hear(worker)).changed > from_the_future().1.changed);
}

#[test]
fn a_coordinator_that_lost_its_latest_users_does_not_use_their_stamps_again() {
    let mut net = Net::new();
    let worker = net.connect();
    let greeting = format!(
        r#"{{"command":"AUTHENTICATE","id":"w1","hostname":"h","port":1,"secret":"{}",
        "incarnation":"00000000000000aa","users_after":["1000500.7@c1"]}}"#,
        super::SECRET
    );
    net.say(worker, &greeting);
    let ann = net.connect();
    net.register(ann, "ann", "s");
    assert_eq!(net.commands(ann), [""; 0], "the worker may know who that is");
    net.commands(worker);
    net.pass(std::time::Duration::from_secs(1));
    assert_eq!(net.commands(ann), ["REGISTER_SUCCESS"]);
    let told_worker = net.hear_all(worker);
    assert!(told(&told_worker[0]).changed > "1000500.7@c1".parse::<Stamp>().unwrap());
}

#[test]
fn who_asks_for_a_change_and_vanishes_before_it_is_verified_changes_nothing() {
    let (mut net, _) = with_ann();
    net.hold_effects();
    let link = net.connect();
    net.change_secret(link, "ann", "s", "t");
    net.vanish(link);
    net.answer();
    assert!(net.effects.is_empty());
}
