use std::time::Duration;

use common::time::WallMillis;
use common::wire::{Durability, Message};

use super::{Net, newcomer};
use crate::core::Limits;
use crate::core::registry::Registry;

#[test]
fn a_registered_user_is_on_disk_before_anybody_hears_of_it() {
    let mut net = Net::new();
    let worker = net.worker("w1");
    net.hold_effects();
    let ann = net.connect();
    net.register(ann, "ann", "s3cret");
    net.answer();
    assert_eq!(net.batch(), ["ann"]);
    assert_eq!((net.commands(ann), net.commands(worker)), (vec![], vec![]));
    assert_eq!(net.coordinator.status(false).users, 0);
    net.answer();
    let Message::RegisterSuccess(success) = net.hear(ann) else { panic!("not registered") };
    assert_eq!(success.durability, Some(Durability::Local));
    assert_eq!(newcomer(&net.hear(worker)), "ann");
    assert!(!net.is_closed(ann));
}

#[test]
fn of_two_simultaneous_registrations_one_wins_and_the_other_hears_why() {
    let mut net = Net::new();
    net.hold_effects();
    let (first, second, third) = (net.connect(), net.connect(), net.connect());
    net.register(first, "ann", "one");
    net.register(second, "ann", "two");
    assert_eq!(net.refusal(second), ("REGISTER_FAILED", "ann is being registered".to_owned(), true));
    net.answer();
    net.register(third, "ann", "three");
    assert_eq!(net.refusal(third), ("REGISTER_FAILED", "ann is being registered".to_owned(), true));
    net.answer();
    assert_eq!(net.commands(first), ["REGISTER_SUCCESS"]);
    let fourth = net.connect();
    net.register(fourth, "ann", "two");
    net.answer();
    assert_eq!(net.refusal(fourth), ("REGISTER_FAILED", "ann is registered".to_owned(), false));
}

#[test]
fn two_spellings_of_one_name_are_one_registration() {
    let mut net = Net::new();
    net.has_registered("Zo\u{eb}", "s");
    let other = net.connect();
    net.register(other, "Zoe\u{308}", "t");
    assert_eq!(net.refusal(other).1, "Zo\u{eb} is registered");
}

#[test]
fn names_and_secrets_that_may_not_be_are_refused_with_the_reason() {
    let long_name = "x".repeat(65);
    let long_secret = "x".repeat(257);
    for (name, secret, reason) in [
        ("", "s", "a username has 1 to 64 characters"),
        (&long_name, "s", "a username has 1 to 64 characters"),
        ("a\\u0000b", "s", "a username has no control characters"),
        ("anonymous", "s", "anonymous is for everybody: log in with it, or choose another name to register"),
        ("ann", "", "a secret has 1 to 256 bytes"),
        ("ann", &long_secret, "a secret has 1 to 256 bytes"),
    ] {
        let mut net = Net::new();
        let link = net.connect();
        net.register(link, name, secret);
        assert_eq!(net.refusal(link), ("REGISTER_FAILED", reason.to_owned(), false));
    }
}

#[test]
fn while_one_batch_is_written_the_next_one_collects() {
    let mut net = Net::new();
    net.hold_effects();
    for name in ["ann", "bob", "cy"] {
        let link = net.connect();
        net.register(link, name, "s");
    }
    for _ in 0..3 {
        let at = net.effects.iter().position(|effect| matches!(effect, super::Effect::Hash { .. })).unwrap();
        let hash = net.effects.remove(at).unwrap();
        net.effects.push_front(hash);
        net.answer();
    }
    assert_eq!(net.batch(), ["ann"]);
    net.answer();
    assert_eq!(net.batch(), ["bob", "cy"]);
}

#[test]
fn a_hash_that_does_not_come_releases_the_name_and_is_ignored_when_it_does() {
    let mut net = Net::new();
    net.hold_effects();
    let slow = net.connect();
    net.register(slow, "ann", "slow");
    net.pass(Duration::from_secs(11));
    let (command, _, retry) = net.refusal(slow);
    assert_eq!((command, retry), ("REGISTER_FAILED", true));
    let quick = net.connect();
    net.register(quick, "ann", "quick");
    net.answer();
    assert!(net.batch().is_empty(), "the late hash is nobody's");
    net.answer();
    net.answer();
    assert_eq!(net.commands(quick), ["REGISTER_SUCCESS"]);
}

#[test]
fn a_name_on_its_way_to_the_disk_stays_held_until_the_disk_answers() {
    let mut net = Net::new();
    net.hold_effects();
    let (first, second) = (net.connect(), net.connect());
    net.register(first, "ann", "s");
    net.answer();
    net.pass(Duration::from_secs(2));
    net.register(second, "ann", "s");
    assert_eq!(net.refusal(second).1, "ann is being registered");
    net.pass(Duration::from_secs(1));
    let (_, info, retry) = net.refusal(first);
    assert_eq!(
        (info.as_str(), retry),
        ("it could not be stored; try again in a moment", true),
        "nobody waits longer"
    );
    net.pass(Duration::from_secs(60));
    let again = net.connect();
    net.register(again, "ann", "another");
    assert!(net.refusal(again).2, "it may still get there");
    net.answer();
    let owner = net.connect();
    net.register(owner, "ann", "s");
    net.answer();
    assert_eq!(net.commands(owner), ["REGISTER_SUCCESS"]);
}

#[test]
fn a_disk_that_refuses_is_tried_again_and_who_asked_is_told_to_try_again() {
    let mut net = Net::new();
    net.hold_effects();
    let (first, second) = (net.connect(), net.connect());
    net.register(first, "ann", "s");
    net.answer();
    net.fail_disk();
    let (command, _, retry) = net.refusal(first);
    assert_eq!((command, retry), ("REGISTER_FAILED", true));
    net.register(second, "bob", "s");
    let (command, info, retry) = net.refusal(second);
    assert_eq!(
        (command, info.as_str(), retry),
        ("REGISTER_FAILED", "it could not be stored; try again in a moment", true)
    );
    // What was to be written is written as soon as the disk takes it: a backup may hold it already.
    net.pass(Duration::from_secs(1));
    net.answer_all();
    assert_eq!(net.coordinator.status(false).users, 1);
    let third = net.connect();
    net.register(third, "ann", "s");
    net.answer_all();
    assert_eq!(net.commands(third), ["REGISTER_SUCCESS"]);
}

#[test]
fn a_registration_that_is_proposed_completes_although_its_client_has_vanished() {
    let mut net = Net::new();
    net.worker("w1");
    net.hold_effects();
    let ann = net.connect();
    net.register(ann, "ann", "s");
    net.answer();
    net.vanish(ann);
    net.answer_all();
    let again = net.connect();
    net.login(again, "ann", "s");
    net.answer_all();
    assert_eq!(net.commands(again), ["LOGIN_SUCCESS", "REDIRECT"]);
}

#[test]
fn who_cannot_be_hashed_in_time_is_told_to_try_again() {
    let mut net = Net::new();
    net.worker("w1");
    net.has_registered("ann", "s");
    net.hold_effects();
    let (newcomer, guest, ann) = (net.connect(), net.connect(), net.connect());
    net.register(newcomer, "bob", "s");
    net.login(guest, "cy", "s");
    net.change_secret(ann, "ann", "s", "t");
    net.answer_last();
    for _ in 0..3 {
        net.give_up_hash();
    }
    for (link, command) in
        [(newcomer, "REGISTER_FAILED"), (guest, "LOGIN_FAILED"), (ann, "CHANGE_SECRET_FAILED")]
    {
        let (heard, info, retry) = net.refusal(link);
        assert_eq!((heard, retry), (command, true));
        assert!(info.contains("waiting"), "{info}");
    }
    let again = net.connect();
    net.register(again, "bob", "s");
    net.answer_all();
    assert_eq!(net.commands(again), ["REGISTER_SUCCESS"], "the name is free again");
}

#[test]
fn a_name_whose_secret_was_not_hashed_yet_is_free_again_when_its_client_vanishes() {
    let mut net = Net::new();
    net.hold_effects();
    let first = net.connect();
    net.register(first, "ann", "one");
    net.vanish(first);
    assert_eq!(net.cancelled.len(), 1);
    let second = net.connect();
    net.register(second, "ann", "two");
    net.answer();
    assert!(net.batch().is_empty(), "a hash that was under way already is nobody's");
    net.answer_all();
    assert_eq!(net.commands(second), ["REGISTER_SUCCESS"]);
    assert_eq!(net.cancelled.len(), 1, "what is done is not cancelled");
}

#[test]
fn who_says_no_more_hears_the_answer_and_then_the_end() {
    let mut net = Net::new();
    net.worker("w1");
    net.has_registered("ann", "s");
    net.hold_effects();
    let (bob, ann, again, idle) = (net.connect(), net.connect(), net.connect(), net.connect());
    net.register(bob, "bob", "s");
    net.login(ann, "ann", "s");
    net.register(again, "ann", "s");
    for link in [bob, ann, again, idle] {
        net.finish(link);
    }
    assert_eq!((net.doubted.len(), net.cancelled.len()), (3, 0), "others come first");
    assert!(net.is_closed(idle));
    net.answer_all();
    assert_eq!(net.commands(bob), ["REGISTER_SUCCESS"]);
    assert_eq!(net.commands(ann), ["LOGIN_SUCCESS", "REDIRECT"]);
    assert_eq!(net.commands(again), ["REGISTER_SUCCESS"]);
    assert!([bob, ann, again].into_iter().all(|link| net.is_closed(link)));
}

#[test]
fn a_name_is_not_kept_for_one_who_says_no_more_from_one_who_asks_for_it() {
    let mut net = Net::new();
    net.hold_effects();
    let (gone, back) = (net.connect(), net.connect());
    net.register(gone, "bob", "s");
    net.finish(gone);
    net.register(back, "bob", "s");
    net.answer_all();
    assert_eq!(net.commands(back), ["REGISTER_SUCCESS"]);
    assert_eq!(net.commands(gone), ["REGISTER_FAILED"]);
}

#[test]
fn clients_that_vanish_leave_their_places_in_the_hash_queue() {
    // They gave up after a second and a half, and asked again. What they had asked for was still hashed, one after the other, for ten
    // seconds; so every answer came too late, and nobody was ever served.
    let mut net = Net::new();
    net.worker("w1");
    net.has_registered("ann", "s");
    net.hold_effects();
    for round in 0..5 {
        let (guest, ann, newcomer) = (net.connect(), net.connect(), net.connect());
        net.login(guest, "nobody", "s");
        net.vanish(guest);
        net.change_secret(ann, "ann", "s", "t");
        net.register(newcomer, "bob", "s");
        net.vanish(ann);
        net.vanish(newcomer);
        assert_eq!(net.cancelled.len(), 3 * (round + 1));
    }
    let honest = net.connect();
    net.login(honest, "ann", "s");
    net.answer_all();
    assert_eq!(net.commands(honest), ["LOGIN_SUCCESS", "REDIRECT"], "late answers are ignored");
}

#[test]
fn who_is_refused_for_waiting_too_long_is_not_waited_for_by_the_hash_queue() {
    let mut net = Net::new();
    net.worker("w1");
    net.hold_effects();
    let (newcomer, guest) = (net.connect(), net.connect());
    net.register(newcomer, "bob", "s");
    net.login(guest, "nobody", "s");
    net.pass(Duration::from_secs(12));
    assert_eq!((net.refusal(newcomer).0, net.refusal(guest).0), ("REGISTER_FAILED", "LOGIN_FAILED"));
    assert_eq!(net.cancelled.len(), 2);
}

#[test]
fn a_worker_may_have_a_name_whose_secret_it_has_hashed() {
    let mut net = Net::new();
    let (asker, other) = (net.worker("w1"), net.worker("w2"));
    net.commands(asker);
    net.hold_effects();
    net.lock(asker, "ann");
    net.lock(asker, "ann");
    let Message::LockDenied(denied) = net.hear(asker) else { panic!("granted twice") };
    assert_eq!((denied.info.as_str(), denied.retry_after.is_some()), ("ann is being registered", true));
    net.answer();
    let Message::LockAllowed(allowed) = net.hear(asker) else { panic!("not granted") };
    assert_eq!((allowed.username.as_str(), allowed.durability), ("ann", Durability::Local));
    assert_eq!(allowed.user.registration, allowed.user.changed);
    assert_eq!(net.commands(asker), [""; 0], "LOCK_ALLOWED is its USER_REGISTER_RESULT");
    assert_eq!(newcomer(&net.hear(other)), "ann");
    net.lock(other, "ann");
    let Message::LockDenied(denied) = net.hear(other) else { panic!("granted twice") };
    assert_eq!((denied.info.as_str(), denied.retry_after), ("ann is registered", None));
    assert_eq!(denied.user, Some(allowed.user), "so that the worker can see whether its client is the user");
}

#[test]
fn a_client_and_a_worker_who_race_for_a_name_do_not_both_win() {
    let mut net = Net::new();
    let worker = net.worker("w1");
    net.hold_effects();
    let client = net.connect();
    net.register(client, "ann", "s");
    net.lock(worker, "ann");
    net.lock(worker, "bob");
    let late = net.connect();
    net.register(late, "bob", "s");
    net.answer_all();
    assert_eq!(net.commands(client), ["REGISTER_SUCCESS"]);
    assert_eq!(net.refusal(late).1, "bob is being registered");
    assert_eq!(net.commands(worker), ["LOCK_DENIED", "LOCK_ALLOWED", "USER_REGISTER_RESULT"]);
}

#[test]
fn a_lock_request_needs_a_name_and_a_hash_that_may_be() {
    let mut net = Net::new();
    let worker = net.worker("w1");
    net.say(worker, r#"{"command":"LOCK_REQUEST","username":"ann","secret":"in the clear"}"#);
    let Message::LockDenied(denied) = net.hear(worker) else { panic!("granted") };
    assert_eq!(denied.info, "the secret of LOCK_REQUEST is not an Argon2id hash");
    net.lock(worker, "anonymous");
    assert_eq!(net.commands(worker), ["LOCK_DENIED"]);
    net.lock(worker, "ann ");
    let Message::LockDenied(denied) = net.hear(worker) else { panic!("granted") };
    assert!(denied.info.contains("invisible"), "{}", denied.info);
    assert!(!net.is_closed(worker));
}

#[test]
fn no_more_names_are_held_than_may_be() {
    let mut net = Net::with(Limits { under_registration: 2, ..Limits::default() }, Vec::new());
    let worker = net.worker("w1");
    net.hold_effects();
    for name in ["ann", "bob", "cy"] {
        net.lock(worker, name);
    }
    let Message::LockDenied(denied) = net.hear(worker) else { panic!("granted") };
    assert_eq!((denied.username.as_str(), denied.retry_after.is_some()), ("cy", true));
}

#[test]
fn whoever_has_not_heard_the_answer_may_register_again_and_logs_in_without_a_second_hash() {
    let mut net = Net::new();
    net.worker("w1");
    net.has_registered("ann", "s");
    let again = net.connect();
    net.register(again, "ann", "s");
    let Message::RegisterSuccess(success) = net.hear(again) else { panic!("refused as its own double") };
    assert!(success.existing && success.durability.is_some());
    net.hold_effects();
    net.login(again, "ann", "s");
    assert_eq!(net.commands(again), ["LOGIN_SUCCESS", "REDIRECT"]);
    assert_eq!(net.coordinator.status(false).users, 1);
}

#[test]
fn a_registration_again_that_cannot_be_verified_in_time_is_told_to_come_back() {
    let mut net = Net::new();
    net.has_registered("ann", "s");
    net.hold_effects();
    let again = net.connect();
    net.register(again, "ann", "s");
    net.pass(Duration::from_secs(12));
    let (command, _, retry) = net.refusal(again);
    assert_eq!((command, retry), ("REGISTER_FAILED", true));
    net.answer();
}

#[test]
fn a_reign_begins_above_all_stamps_of_the_one_before_whatever_the_clock_shows() {
    let limits = Limits::default();
    let fresh = || {
        let (users, seen) = Default::default();
        Registry::new("c1".parse().unwrap(), WallMillis(100), users, seen, &limits, false)
    };
    assert_eq!(fresh().beginning(WallMillis(100), None), WallMillis(100));
    let mut first = fresh();
    first.begin(WallMillis(100));
    assert_eq!(first.beginning(WallMillis(50), Some(WallMillis(100))), WallMillis(101));
    // It dies with what it proposed; nothing of that is on its own disk.
    assert_eq!(fresh().beginning(WallMillis(50), Some(WallMillis(100))), WallMillis(101));
}
