//! Stories of groups that require backups: a name that was given is given to nobody else, whatever some coordinator has alone.

use std::time::Duration;

use common::time::WallMillis;
use common::user::{UserRecord, Username};

use super::super::Limits;
use super::super::feed::Claim;
use super::super::registry::{Reason, Registry};
use super::seconds;
use super::town::Town;

/// Three in step, each of which requires one backup.
fn three() -> Town {
    let mut town = Town::new(3);
    for node in 0..3 {
        town.nodes[node].require = 1;
        town.start(node);
    }
    town.pass(seconds(3));
    assert_eq!(town.roles(), ["main", "backup", "backup"]);
    town
}

/// Nobody but this one is the main coordinator, and all hold the same.
fn main(town: &Town) -> usize {
    let roles = town.roles();
    assert_eq!(roles.iter().filter(|role| **role == "main").count(), 1, "{roles:?}");
    town.assert_equal_stores();
    roles.iter().position(|role| *role == "main").unwrap()
}

fn reigning(town: &Town, among: [usize; 2]) -> usize {
    among.into_iter().find(|node| town.role(*node) == "main").expect("one of them reigns")
}

/// The name belongs to whoever has this secret, and to nobody else.
fn belongs(town: &mut Town, name: &str, secret: &str, other: &str) {
    let main = main(town);
    let owner = town.register(main, name, secret);
    assert_eq!(town.answer(owner), "replicated existing");
    let rival = town.register(main, name, other);
    assert_eq!(town.answer(rival), format!("failed: {name} is registered"));
    assert_eq!(town.status(main).conflict_count, 0);
}

#[test]
fn what_no_backup_has_confirmed_takes_the_name_from_nobody_when_its_main_coordinator_returns() {
    let mut town = three();
    town.stall_disk(1);
    town.stall_disk(2);
    let first = town.register(0, "ann", "first");
    town.pass(seconds(2));
    assert!(town.answer(first).contains("--require-backups"));
    town.stop(0);
    for node in [1, 2] {
        town.kill(node);
        town.start(node);
    }
    town.pass(seconds(8));
    let at = reigning(&town, [1, 2]);
    let second = town.register(at, "ann", "second");
    assert_eq!(town.answer(second), "replicated");
    town.resume(0);
    town.pass(seconds(8));
    belongs(&mut town, "ann", "second", "first");
}

/// A name is proposed to the first backup, and nobody else has it on disk when all die.
fn one_was_proposed_a_name() -> Town {
    let mut town = three();
    town.stall_users(0);
    town.stall_users(2);
    let first = town.register(0, "ann", "first");
    assert_eq!(town.answer(first), "nothing yet");
    (0..3).for_each(|node| town.kill(node));
    assert_eq!([0, 1, 2].map(|node| town.nodes[node].disk.users.len()), [0, 1, 0]);
    town
}

/// The other two go on without it, this one as the main coordinator, and give the name to somebody else.
fn others_give_it(town: &mut Town, main: usize) {
    town.start(main);
    town.pass(seconds(4));
    town.start(2 - main);
    town.pass(seconds(8));
    assert_eq!(town.role(main), "main");
    let second = town.register(main, "ann", "second");
    assert_eq!(town.answer(second), "replicated");
}

#[test]
fn what_one_backup_was_proposed_takes_the_name_from_nobody_when_that_backup_returns() {
    for main in [0, 2] {
        let mut town = one_was_proposed_a_name();
        others_give_it(&mut town, main);
        town.start(1);
        town.pass(seconds(8));
        belongs(&mut town, "ann", "second", "first");
    }
}

#[test]
fn of_two_that_were_proposed_the_one_of_the_later_reign_has_the_name() {
    for main in [0, 2] {
        let mut town = one_was_proposed_a_name();
        others_give_it(&mut town, main);
        // The backup of those two knows it as a proposal, and meets whoever knows the other one.
        town.kill(main);
        town.start(1);
        town.pass(seconds(8));
        town.start(main);
        town.pass(seconds(8));
        belongs(&mut town, "ann", "second", "first");
    }
}

#[test]
fn what_the_latest_reign_proposed_is_adopted_first_and_its_rival_is_removed() {
    let record = |stamp: &str| UserRecord {
        registration: stamp.parse().unwrap(),
        changed: stamp.parse().unwrap(),
        written: None,
        secret: Some(common::password::decoy()),
    };
    let epoch = |text: &str| Some(text.parse().unwrap());
    let ann: Username = "ann".parse().unwrap();
    let (users, seen) = Default::default();
    let limits = Limits::default();
    let mut registry = Registry::new("c3".parse().unwrap(), WallMillis(300), users, seen, &limits, true);
    // By its clock the later reign came first.
    for (stamp, reign) in [("200.0@c1", None), ("150.0@c1", epoch("4@c1")), ("100.0@c2", epoch("5@c2"))] {
        registry.adopt(ann.clone(), record(stamp), Reason::Proposed(reign));
    }
    let mut adopted = Vec::new();
    loop {
        let (users, _) = registry.next_batch(WallMillis(300), 10, |_| false);
        let Some((_, record)) = users.first().cloned() else { break };
        adopted.push((record.registration.to_string(), record.is_removed()));
        let seen = registry.seen_with_batch();
        registry.take_in(WallMillis(300), users, &Claim::of(seen, true));
        registry.settle();
    }
    let expected = [("100.0@c2", false), ("150.0@c1", true), ("200.0@c1", true)];
    assert_eq!(adopted, expected.map(|(registration, removed)| (registration.to_owned(), removed)));
}

#[test]
fn what_is_not_known_for_certain_is_nobodys_yet() {
    let mut town = three();
    town.stall_users(0);
    let ann = town.register(0, "ann", "s");
    assert_eq!(town.answer(ann), "nothing yet");
    town.kill(0);
    town.pass(seconds(3));
    // The next one has to propose it once more, and its backup takes its time.
    let at = reigning(&town, [1, 2]);
    let again = town.register(at, "ann", "s");
    assert_eq!(town.answer(again), "replicated existing");
    town.start(0);
    town.pass(seconds(8));
    belongs(&mut town, "ann", "s", "another");
}

#[test]
fn a_batch_without_enough_backups_waits_for_them_and_is_settled_then() {
    let mut town = three();
    town.kill(2);
    town.pass(seconds(2));
    town.stall_disk(1);
    let ann = town.register(0, "ann", "s");
    town.pass(seconds(10));
    assert!(town.answer(ann).contains("--require-backups"));
    assert_eq!(town.nodes[0].disk.users.len(), 0, "it is on no disk that could bring it back alone");
    town.free_disk(1);
    town.pass(seconds(3));
    assert_eq!(town.nodes[0].disk.users.len(), 1);
    let again = town.register(0, "ann", "s");
    assert_eq!(town.answer(again), "replicated existing");
}

#[test]
fn a_main_coordinator_that_waits_for_backups_stops_at_once_when_it_is_told_to() {
    let mut town = three();
    town.kill(2);
    town.pass(seconds(2));
    town.stall_disk(1);
    let ann = town.register(0, "ann", "s");
    town.pass(seconds(2));
    assert!(town.answer(ann).contains("--require-backups"));
    town.drain(0);
    town.pass(Duration::from_millis(100));
    assert_eq!(town.nodes[0].exited, Some(Ok(())));
}
