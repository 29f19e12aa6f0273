//! Stories of data directories that were copied.

use super::seconds;
use super::town::{Town, address};

/// A main coordinator, a backup, and a third that has a copy of the backup's directory and does not know the way to it.
fn with_a_copy() -> Town {
    let mut town = Town::new(3);
    town.start(0);
    town.start(1);
    town.pass(seconds(3));
    town.nodes[2].bears = 1;
    town.nodes[2].disk = town.nodes[1].disk.copy();
    town.nodes[2].backups.remove(1);
    town
}

#[test]
fn of_two_with_one_id_the_second_is_refused_and_ends_after_a_while() {
    let mut town = with_a_copy();
    town.start(2);
    for _ in 0..9 {
        town.pass(seconds(1));
        assert_eq!(town.roles(), ["main", "backup", "seeking"]);
        assert_eq!(town.troubles(0), [""; 0], "the first is not disturbed");
    }
    let ann = town.register(0, "ann", "s");
    assert_eq!(town.answer(ann), "replicated");
    town.pass(seconds(3));
    assert_eq!(town.role(2), "down");
    let Some(Err(reason)) = &town.nodes[2].exited else { panic!("it does not say why") };
    assert!(reason.starts_with("the coordinator at town:3000 refused this one: "), "{reason}");
    assert!(reason.contains("a coordinator called c1 lives already, at town:3001"), "{reason}");
    assert!(town.nodes[2].disk.users.is_empty(), "nothing has reached it");
}

#[test]
fn a_copy_that_was_refused_does_not_take_over_together_with_its_original() {
    let mut town = with_a_copy();
    town.start(2);
    town.pass(seconds(1));
    town.kill(0);
    town.pass(seconds(5));
    assert_eq!(town.roles(), ["down", "main", "seeking"]);
}

#[test]
fn a_copy_that_is_dialled_is_refused_too() {
    let mut town = with_a_copy();
    town.nodes[2].backups.clear();
    town.nodes[2].disk.group.members.clear();
    town.kill(0);
    town.nodes[0].backups = vec![address(1), address(2)];
    town.pass(seconds(1));
    town.start(0);
    town.pass(seconds(3));
    town.start(2);
    town.pass(seconds(3));
    assert_eq!(town.roles(), ["backup", "main", "seeking"]);
    town.pass(seconds(10));
    assert_eq!(town.roles(), ["backup", "main", "down"]);
}

#[test]
fn the_epoch_of_a_copy_that_is_dialled_counts_although_it_is_refused() {
    let mut town = with_a_copy();
    town.nodes[2].backups.clear();
    town.nodes[2].disk.group.members.clear();
    town.nodes[2].disk.group.epoch = Some("7@c1".parse().unwrap());
    town.kill(0);
    town.nodes[0].backups = vec![address(1), address(2)];
    town.start(0);
    town.pass(seconds(3));
    assert_eq!(town.status(0).highest_epoch.unwrap().to_string(), "2@c1");
    town.start(2);
    town.pass(seconds(3));
    assert_eq!(town.role(2), "seeking");
    assert!(town.status(0).highest_epoch.unwrap().counter >= 7);
}

#[test]
fn a_copy_that_dials_its_original_ends_at_once() {
    let mut town = with_a_copy();
    town.nodes[2].backups = vec![address(1)];
    town.start(2);
    let Some(Err(reason)) = &town.nodes[2].exited else { panic!("it goes on") };
    assert!(reason.contains("c1 is the id of this coordinator too"), "{reason}");
    assert_eq!(town.roles(), ["main", "backup", "down"]);
}

#[test]
fn one_that_comes_back_before_its_loss_is_noticed_waits_for_that_and_gets_in() {
    let mut town = Town::in_step(2);
    // Its machine loses power: nobody is told.
    town.cut(0, 1);
    town.kill(1);
    town.heal();
    town.start(1);
    town.pass(seconds(1));
    assert_eq!(town.roles(), ["main", "seeking"]);
    town.pass(seconds(3));
    assert_eq!(town.roles(), ["main", "backup"]);
    assert_eq!(town.troubles(0), [""; 0]);
}

#[test]
fn a_main_coordinator_gives_way_to_a_higher_epoch_also_of_one_that_it_takes_for_a_twin() {
    let mut town = Town::in_step(2);
    town.stop(0);
    // The other is heard until now, as far as this one will read. Then it loses power, starts again, and takes over.
    town.pass(seconds(1));
    town.cut(0, 1);
    town.kill(1);
    town.start(1);
    town.pass(seconds(4));
    assert_eq!(town.role(1), "main");
    let first = town.register(1, "ann", "s");
    town.heal();
    town.pass(seconds(4));
    assert_eq!(town.answer(first), "local");
    let second = town.register(0, "ann", "another's");
    town.resume(0);
    assert_eq!(
        town.role(0),
        "seeking",
        "the link to the start before seems to live; it gives way all the same"
    );
    assert_eq!(town.status(0).highest_epoch.unwrap().to_string(), "2@c1");
    town.pass(seconds(5));
    let answer = town.answer(second);
    assert!(answer.starts_with("failed"), "{answer}");
    town.assert_equal_stores();
    assert_eq!(town.troubles(0), [""; 0]);
}

#[test]
fn who_starts_from_an_older_copy_and_writes_hears_of_all_that_it_has_forgotten() {
    let mut town = Town::in_step(2);
    let old = town.nodes[0].disk.copy();
    for name in ["ann", "bob"] {
        let client = town.register(0, name, "s");
        assert_eq!(town.answer(client), "replicated");
    }
    town.kill(0);
    town.kill(1);
    town.nodes[0].disk = old;
    town.start(0);
    town.pass(seconds(3));
    for (name, secret) in [("cy", "s"), ("ann", "a thief's")] {
        let client = town.register(0, name, secret);
        assert_eq!(town.answer(client), "local");
    }
    town.start(1);
    town.pass(seconds(5));
    town.assert_equal_stores();
    let report = town.status(0);
    assert_eq!((report.users, report.conflict_count), (3, 1));
    assert_eq!(town.troubles(0), [""; 0]);
    let again = town.register(0, "ann", "s");
    town.pass(seconds(1));
    assert_eq!(town.answer(again), "replicated existing", "the earlier one has the name");
}

#[test]
fn who_has_written_from_an_older_copy_and_follows_hears_of_all_that_it_has_forgotten() {
    let mut town = Town::in_step(2);
    let old = town.nodes[0].disk.copy();
    let ann = town.register(0, "ann", "s");
    assert_eq!(town.answer(ann), "replicated");
    town.pass(seconds(1));
    town.kill(0);
    town.kill(1);
    town.nodes[0].disk = old;
    town.cut(0, 1);
    town.start(0);
    town.start(1);
    town.pass(seconds(4));
    let cy = town.register(0, "cy", "s");
    assert_eq!(town.answer(cy), "local");
    town.pass(seconds(1));
    town.heal();
    town.pass(seconds(6));
    assert_eq!(town.roles(), ["backup", "main"]);
    town.assert_equal_stores();
    assert_eq!(town.status(1).users, 2);
}

#[test]
fn a_worker_that_knows_what_its_coordinator_has_forgotten_is_asked_for_it() {
    let mut town = Town::in_step(1);
    let old = town.nodes[0].disk.copy();
    let ann = town.register(0, "ann", "s");
    assert_eq!(town.answer(ann), "local");
    let known: Vec<String> = town.nodes[0].disk.seen.stamps().map(|stamp| stamp.to_string()).collect();
    town.kill(0);
    town.nodes[0].disk = old;
    town.start(0);
    town.pass(seconds(3));
    let bob = town.register(0, "bob", "s");
    assert_eq!(town.answer(bob), "local");
    let worker = town.connect(0);
    town.say(
        worker,
        &format!(
            r#"{{"command":"AUTHENTICATE","id":"w1","hostname":"worker","port":1,"secret":"{}","incarnation":"00000000000000aa","load":0,
            "users_after":{known:?}}}"#,
            super::SECRET
        ),
    );
    let heard = town.heard(worker);
    let common::wire::Message::AuthenticateSuccess(welcome) = &heard[0] else { panic!("{heard:?}") };
    assert!(welcome.seen.is_empty(), "it claims nothing of its own writings: {:?}", welcome.seen);
}
