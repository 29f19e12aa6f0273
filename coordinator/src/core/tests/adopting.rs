//! Stories of what was proposed and never settled.

use std::time::Duration;

use common::wire::Message;

use super::seconds;
use super::town::Town;

/// A worker tells of a user with the secret "s", whom another coordinator has registered long ago.
fn tell(town: &mut Town, worker: usize, name: &str, stamp: &str) {
    let hash = super::fake_hash(&common::user::Secret::new("s"));
    let user = format!(r#"{{"registration":"{stamp}","changed":"{stamp}","secret":"{}"}}"#, hash.text());
    town.say(worker, &format!(r#"{{"command":"SYNC_USER","users":{{"{name}":{user}}},"seen":["{stamp}"]}}"#));
}

#[test]
fn what_was_proposed_and_never_settled_is_adopted_by_the_next() {
    let mut town = Town::in_step(2);
    town.stall_users(0);
    let ann = town.register(0, "ann", "s");
    assert_eq!(town.answer(ann), "nothing yet");
    assert_eq!(town.nodes[1].disk.users.len(), 1, "it is proposed");
    town.kill(0);
    let again = town.register(1, "ann", "s");
    town.pass(seconds(2));
    assert_eq!(town.answer(again), "local existing");
    town.start(0);
    town.pass(seconds(3));
    assert_eq!(town.roles(), ["backup", "main"]);
    town.assert_equal_stores();
}

#[test]
fn no_stamp_is_given_out_twice_although_the_clock_goes_back_in_a_crash() {
    // What was proposed was on the backup's disk alone, and the next reign's stamps, by a clock that had gone back, lay below it: the
    // backup took them for known, and never asked for what was registered meanwhile. Both went on with different users for ever.
    let mut town = Town::in_step(2);
    town.stall_users(0);
    let ann = town.register(0, "ann", "s");
    assert_eq!(town.answer(ann), "nothing yet");
    assert_eq!(town.nodes[1].disk.users.len(), 1, "it is proposed");
    town.cut(0, 1);
    town.kill(0);
    town.set_back(seconds(60));
    town.pass(seconds(4));
    assert_eq!(town.role(1), "main");
    let (_, proposed) = super::town::all(&town.nodes[1].disk.users).pop().expect("it is proposed");
    let worker = town.worker(1, "w1");
    town.say(
        worker,
        &format!(r#"{{"command":"SYNC_USER","users":{{}},"seen":["{}"]}}"#, proposed.registration),
    );
    town.start(0);
    town.pass(seconds(4));
    let bea = town.register(0, "bea", "s");
    town.pass(seconds(2));
    assert_eq!(town.answer(bea), "local");
    town.heal();
    town.pass(seconds(8));
    town.assert_equal_stores();
    assert_eq!(town.status(1).users, 2);
}

#[test]
fn a_registration_that_came_from_elsewhere_is_confirmed_when_the_backup_has_it() {
    // A worker brings it from another side of a cut; who repeats it at once was told that the backup has it, on whose disk it was not yet.
    let mut town = Town::in_step(2);
    let worker = town.worker(0, "w1");
    town.stall_disk(1);
    tell(&mut town, worker, "ann", "5.0@c9");
    let soon = town.register(0, "ann", "s");
    assert_eq!(town.answer(soon), "nothing yet");
    town.free_disk(1);
    assert_eq!(town.answer(soon), "replicated existing");
}

/// The second of two reigns, and was proposed "ann" by the first, who is down, does not have it, and claims to know all that it wrote
/// until then.
fn one_was_proposed_what_its_writer_has_forgotten() -> Town {
    let mut town = Town::in_step(2);
    let eve = town.register(0, "eve", "s");
    assert_eq!(town.answer(eve), "replicated");
    town.stall_disk(0);
    let ann = town.register(0, "ann", "s");
    assert_eq!(town.answer(ann), "nothing yet");
    town.kill(1);
    town.kill(0);
    assert_eq!([0, 1].map(|node| town.nodes[node].disk.users.len()), [1, 2]);
    // The one who proposed it goes on without having it, and writes a later stamp.
    town.start(0);
    town.pass(seconds(4));
    town.worker(0, "w1");
    town.stall_disk(1);
    town.start(1);
    let bob = town.register(0, "bob", "s");
    town.pass(seconds(2));
    assert_eq!(town.answer(bob), "local");
    town.kill(0);
    town.free_disk(1);
    assert_eq!(town.role(1), "main");
    town
}

#[test]
fn what_was_only_proposed_is_confirmed_when_the_backup_has_it_whatever_that_claims_to_know() {
    let mut town = one_was_proposed_what_its_writer_has_forgotten();
    town.start(0);
    town.pass(Duration::from_millis(500));
    assert_eq!(town.roles(), ["backup", "main"]);
    assert_eq!(
        town.nodes[0].disk.users.len(),
        3,
        "it is told, although it is not adopted before the workers are there"
    );
    let again = town.register(1, "ann", "s");
    assert_eq!(town.answer(again), "nothing yet");
    town.pass(seconds(2));
    assert_eq!(town.answer(again), "replicated existing");
    town.assert_equal_stores();
    assert_eq!(town.nodes[0].disk.users.len(), 3);
}

#[test]
fn what_its_writer_had_forgotten_and_is_told_again_is_adopted_by_the_writer_too() {
    // Its writer claimed to know all that it had written up to later stamps, and others believed that: none of them would ever be told.
    let mut town = one_was_proposed_what_its_writer_has_forgotten();
    town.start(0);
    town.pass(Duration::from_millis(500));
    let written = |town: &Town, node: usize| {
        let ann = "ann".parse().unwrap();
        town.nodes[node].disk.users.get(&ann).expect("it is known").written().clone()
    };
    let proposed = written(&town, 0);
    assert_eq!(proposed, written(&town, 1), "nobody has adopted it yet");
    town.kill(1);
    town.pass(seconds(4));
    assert_eq!(town.roles(), ["main", "down"]);
    assert!(written(&town, 0) > proposed, "it is as good as not known: {proposed}");
    town.start(1);
    town.pass(seconds(4));
    town.assert_equal_stores();
}

#[test]
fn what_was_only_proposed_is_confirmed_to_nobody_while_no_backup_is_listed_either() {
    // It was, as "local" and existing; then the backup was listed, which claimed to know all that its writer had written, and had it not.
    let mut town = one_was_proposed_what_its_writer_has_forgotten();
    let (again, rival) = (town.register(1, "ann", "s"), town.register(1, "ann", "another"));
    assert_eq!([again, rival].map(|client| town.answer(client)), ["nothing yet"; 2]);
    town.start(0);
    town.pass(Duration::from_millis(500));
    assert_eq!(town.roles(), ["backup", "main"]);
    assert_eq!(town.nodes[0].disk.users.len(), 3, "it was listed without it once");
    assert_eq!([again, rival].map(|client| town.answer(client)), ["nothing yet"; 2]);
    town.pass(seconds(2));
    assert_eq!(town.answer(again), "replicated existing");
    assert_eq!(town.answer(rival), "failed: ann is registered");
    town.assert_equal_stores();
}

#[test]
fn who_loses_the_name_to_a_registration_that_comes_to_the_disk_with_it_is_not_told_that_it_is_theirs() {
    let mut town = Town::in_step(1);
    let (worker, other) = (town.worker(0, "w1"), town.worker(0, "w2"));
    town.stall_disk(0);
    tell(&mut town, worker, "carl", "5.0@c9");
    let ann = town.register(0, "ann", "another");
    tell(&mut town, worker, "ann", "6.0@c9");
    town.free_disk(0);
    assert!(town.answer(ann).starts_with("failed: "));
    town.stall_disk(0);
    tell(&mut town, worker, "dora", "7.0@c9");
    let hash = super::fake_hash(&common::user::Secret::new("another"));
    let hash = hash.text();
    town.say(other, &format!(r#"{{"command":"LOCK_REQUEST","username":"bob","secret":"{hash}"}}"#));
    tell(&mut town, worker, "bob", "8.0@c9");
    town.free_disk(0);
    // The worker that asked in vain is told of both registrations, as every worker is.
    let heard = town.heard(other);
    assert!(heard.iter().any(|message| message.command() == "LOCK_DENIED"), "{heard:?}");
    let told = heard.iter().filter(|message| match message {
        Message::UserRegisterResult(result) => result.username.as_str() == "bob",
        _ => false,
    });
    assert_eq!(told.count(), 2, "{heard:?}");
}
