//! Stories of disks that are full or do not answer.

use std::time::Duration;

use super::seconds;
use super::town::Town;

const MOMENT: Duration = Duration::from_millis(20);

#[test]
fn a_main_coordinator_whose_disk_takes_nothing_hands_over_and_is_a_backup_until_it_does() {
    let mut town = Town::in_step(2);
    town.fill_disk(0);
    let ann = town.register(0, "ann", "s");
    town.pass(MOMENT);
    assert!(town.answer(ann).contains("could not be stored"), "{:?}", town.heard(ann));
    town.pass(seconds(2));
    assert_eq!(town.roles(), ["backup", "main"]);
    let bob = town.register(1, "bob", "s");
    town.pass(seconds(2));
    assert_eq!(town.answer(bob), "local", "the other one cannot hold it as well");
    town.free_disk(0);
    town.pass(seconds(3));
    assert_eq!((town.roles(), town.troubles(1)), (vec!["backup", "main"], vec![]));
    town.assert_equal_stores();
}

#[test]
fn a_main_coordinator_whose_disk_hangs_says_so_and_hands_over() {
    // Whoever registered waited for as long as it hung, and status said NORMAL.
    let mut town = Town::in_step(2);
    town.stall_disk(0);
    let ann = town.register(0, "ann", "s");
    town.pass(seconds(2));
    assert_eq!(
        (town.answer(ann).as_str(), town.roles()),
        ("nothing yet", vec!["main", "backup"]),
        "it may be slow"
    );
    town.pass(seconds(2));
    assert!(town.answer(ann).contains("could not be stored"));
    assert_eq!(town.roles(), ["backup", "main"]);
    assert!(
        town.troubles(0).contains(&"the disk of c0 does not answer".to_owned()),
        "{:?}",
        town.troubles(0)
    );
    let again = town.register(1, "ann", "s");
    town.pass(seconds(2));
    assert_eq!(town.answer(again), "local");
    town.free_disk(0);
    town.pass(seconds(3));
    assert_eq!((town.roles(), town.troubles(1)), (vec!["backup", "main"], vec![]));
    town.assert_equal_stores();
}

#[test]
fn where_every_disk_is_full_the_main_coordinator_stays_and_says_so() {
    let mut town = Town::in_step(2);
    (0..2).for_each(|node| town.fill_disk(node));
    let ann = town.register(0, "ann", "s");
    town.pass(seconds(10));
    assert!(town.answer(ann).contains("could not be stored"), "{:?}", town.heard(ann));
    assert_eq!(town.role(0), "main");
    let bob = town.register(0, "bob", "s");
    town.pass(seconds(4));
    assert!(town.answer(bob).contains("could not be stored"), "{:?}", town.heard(bob));
    (0..2).for_each(|node| town.free_disk(node));
    town.pass(seconds(10));
    assert_eq!(town.roles().iter().filter(|role| **role == "main").count(), 1, "{:?}", town.roles());
    town.assert_equal_stores();
}
