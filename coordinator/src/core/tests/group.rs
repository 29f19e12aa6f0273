//! Stories of several coordinators: who belongs to the group, what it acknowledges, and how it starts.

use std::time::Duration;

use super::seconds;
use super::town::Town;

#[test]
fn two_that_start_together_agree_on_one() {
    let mut town = Town::new(2);
    town.start(1);
    town.start(0);
    town.pass(seconds(3));
    let mut roles = town.roles();
    roles.sort_unstable();
    assert_eq!(roles, ["backup", "main"]);
}

#[test]
fn a_registration_is_on_both_disks_before_it_is_acknowledged() {
    let mut town = Town::in_step(2);
    town.stall_disk(1);
    let ann = town.register(0, "ann", "s");
    assert_eq!(town.answer(ann), "nothing yet");
    town.free_disk(1);
    assert_eq!(town.answer(ann), "replicated");
    town.pass(seconds(1));
    town.assert_equal_stores();
    assert_eq!(town.nodes[1].disk.users.len(), 1);
}

#[test]
fn a_backup_that_does_not_confirm_is_waited_for_one_second_and_comes_back_by_itself() {
    let mut town = Town::in_step(2);
    town.stall_disk(1);
    let ann = town.register(0, "ann", "s");
    town.pass(Duration::from_millis(900));
    assert_eq!(town.answer(ann), "nothing yet");
    town.pass(Duration::from_millis(200));
    assert_eq!(town.answer(ann), "local");
    town.free_disk(1);
    town.pass(seconds(1));
    let bob = town.register(0, "bob", "s");
    assert_eq!(town.answer(bob), "replicated");
    town.pass(seconds(1));
    town.assert_equal_stores();
}

#[test]
fn two_sides_of_a_cut_go_on_and_merge() {
    let mut town = Town::in_step(2);
    town.cut(0, 1);
    town.pass(seconds(4));
    assert_eq!(town.roles(), ["main", "main"]);
    let (ann, bob) = (town.register(0, "ann", "s"), town.register(1, "bob", "s"));
    let both = [town.register(0, "cy", "first"), town.register(1, "cy", "second")];
    town.pass(seconds(1));
    for client in [ann, bob, both[0], both[1]] {
        assert_eq!(town.answer(client), "local");
    }
    town.heal();
    town.pass(seconds(4));
    assert_eq!(town.roles(), ["backup", "main"]);
    town.assert_equal_stores();
    let report = town.status(1);
    assert_eq!((report.users, report.conflict_count), (3, 1));
    assert_eq!(town.troubles(1), [""; 0]);
    assert_eq!(report.conflicts[0].registration.coordinator.as_str(), "c1", "the later one is kept aside");
    let worker = town.worker(1, "w1");
    town.heard(worker);
    let loser = town.connect(1);
    town.say(loser, r#"{"command":"LOGIN","username":"cy","secret":"second"}"#);
    let [common::wire::Message::LoginFailed(failed)] = &town.heard(loser)[..] else { panic!() };
    assert!(failed.info.contains("lost its name to an earlier one"), "{}", failed.info);
}

#[test]
fn whoever_lost_the_name_to_a_user_that_is_removed_goes_with_it() {
    // A client had registered on both sides of a cut. Its registration was removed, and with the other one it was let in again.
    let mut town = Town::in_step(2);
    town.cut(0, 1);
    town.pass(seconds(4));
    let both = [town.register(0, "cy", "first"), town.register(1, "cy", "second")];
    town.pass(seconds(1));
    assert_eq!(both.map(|client| town.answer(client)), ["local", "local"]);
    town.heal();
    town.pass(seconds(4));
    assert_eq!(town.status(1).conflict_count, 1);
    let operator = town.connect(1);
    town.say(
        operator,
        &format!(r#"{{"command":"REMOVE_USER","username":"cy","secret":"{}"}}"#, super::SECRET),
    );
    town.pass(seconds(1));
    let [common::wire::Message::RemoveUserSuccess(_)] = &town.heard(operator)[..] else {
        panic!("not removed")
    };
    let report = town.status(1);
    assert_eq!((report.users, report.conflict_count), (0, 0));
    town.assert_equal_stores();
    let newcomer = town.register(0, "cy", "third");
    town.pass(seconds(1));
    assert!(town.answer(newcomer).starts_with("sent to "));
    let newcomer = town.register(1, "cy", "third");
    town.pass(seconds(1));
    assert_eq!(town.answer(newcomer), "replicated", "the name is free");
}

#[test]
fn a_backup_sends_clients_and_workers_to_the_main_coordinator() {
    let mut town = Town::in_step(2);
    let client = town.register(1, "ann", "s");
    let worker = town.worker(1, "w1");
    for asker in [client, worker] {
        let [common::wire::Message::Redirect(redirect)] = &town.heard(asker)[..] else { panic!() };
        assert_eq!(redirect.address.port, 3_000);
    }
}

#[test]
fn fewer_backups_than_required_refuse_instead_of_degrading() {
    let mut town = Town::new(2);
    town.nodes[0].require = 1;
    town.start(0);
    let ann = town.register(0, "ann", "s");
    assert!(town.answer(ann).contains("--require-backups"));
    town.start(1);
    town.pass(seconds(3));
    let ann = town.register(0, "ann", "s");
    assert_eq!(town.answer(ann), "replicated");
    town.kill(1);
    town.pass(seconds(3));
    let bob = town.register(0, "bob", "s");
    assert!(town.answer(bob).contains("--require-backups"));
}

#[test]
fn who_waits_for_a_group_that_has_grown_by_members_that_nobody_has_heard_is_told_so() {
    let mut town = Town::new(2);
    town.nodes[0].require = 1;
    town.start(0);
    town.start(1);
    town.pass(seconds(3));
    town.stall_disk(1);
    let ann = town.register(0, "ann", "s");
    let operator = town.connect(0);
    town.say(
        operator,
        &format!(
            r#"{{"command":"IMPORT","secret":"{}","users":[{{"username":"bob","registration":"1.0@c7","changed":"1.0@c7","secret":"{}"}}]}}"#,
            super::SECRET,
            common::password::decoy().text()
        ),
    );
    for (id, port) in [("c8", 8), ("c9", 9)] {
        let member = town.connect(0);
        town.say(
            member,
            &format!(
                r#"{{"command":"BACKUP_AUTHENTICATE","id":"{id}","hostname":"h","port":{port},"secret":"{}",
                "incarnation":"00000000000000aa","role":"seeking"}}"#,
                super::SECRET
            ),
        );
        assert_eq!(town.heard(member)[0].command(), "BACKUP_AUTHENTICATION_SUCCESS");
    }
    town.free_disk(1);
    assert_eq!(town.answer(ann), "replicated");
    town.pass(seconds(2));
    let [common::wire::Message::ImportFailed(failed)] = &town.heard(operator)[..] else {
        panic!("no answer")
    };
    assert!(failed.info.contains("--require-backups") && failed.retry_after.is_some(), "{}", failed.info);
}

/// Workers that have been without any coordinator for long try one every few seconds. Status said NORMAL before they were back.
#[test]
fn a_main_coordinator_that_was_started_anew_does_not_say_that_all_is_well_before_workers_can_be_back() {
    let mut town = Town::in_step(2);
    town.worker(0, "w1");
    town.worker(0, "w2");
    town.pass(seconds(1));
    town.kill(0);
    town.pass(seconds(1));
    town.worker(1, "w1");
    town.worker(1, "w2");
    assert_eq!(town.troubles(1), ["coordinator c0 is not connected"], "who takes over knows the workers");
    town.kill(1);
    town.start(1);
    town.pass(seconds(3));
    let w1 = town.worker(1, "w1");
    let awaits = "the main coordinator has just started: workers may still be on their way back";
    assert_eq!(town.troubles(1), ["coordinator c0 is not connected", awaits]);
    let w2 = town.worker(1, "w2");
    town.pass(seconds(5));
    for worker in [w1, w2] {
        town.say(worker, r#"{"command":"SERVER_LOAD","load":0}"#);
    }
    assert_eq!(town.troubles(1), ["coordinator c0 is not connected"]);
}

#[test]
fn all_start_again_with_the_stalest_first() {
    let mut town = Town::in_step(3);
    town.kill(2);
    town.pass(seconds(1));
    let ann = town.register(0, "ann", "s");
    assert_eq!(town.answer(ann), "replicated");
    town.kill(1);
    town.pass(seconds(1));
    let bob = town.register(0, "bob", "s");
    assert_eq!(town.answer(bob), "local");
    town.kill(0);
    for node in [2, 1, 0] {
        town.start(node);
        town.pass(seconds(4));
    }
    town.pass(seconds(2));
    town.assert_equal_stores();
    assert_eq!(town.nodes[2].disk.users.len(), 2);
    assert_eq!(town.roles().iter().filter(|role| **role == "main").count(), 1);
}

#[test]
fn a_member_is_forgotten_when_the_disk_says_so_and_not_before() {
    let mut town = Town::in_step(2);
    town.kill(1);
    town.pass(seconds(2));
    town.stall_disk(0);
    let operator = town.connect(0);
    town.say(
        operator,
        &format!(r#"{{"command":"FORGET_COORDINATOR","id":"c1","secret":"{}"}}"#, super::SECRET),
    );
    assert!(town.heard(operator).is_empty());
    town.free_disk(0);
    assert_eq!(town.heard(operator)[0].command(), "FORGET_COORDINATOR_SUCCESS");
    assert_eq!(town.nodes[0].disk.group.members.len(), 1);
}

#[test]
fn a_member_that_is_forgotten_is_missed_no_longer_and_may_come_back_by_itself() {
    let mut town = Town::in_step(3);
    town.kill(2);
    town.pass(seconds(2));
    assert_eq!(town.troubles(0), ["coordinator c2 is not connected"]);
    let operator = town.connect(0);
    for (id, answer) in [("c0", "FAILED"), ("c1", "FAILED"), ("c9", "FAILED"), ("c2", "SUCCESS")] {
        town.say(
            operator,
            &format!(r#"{{"command":"FORGET_COORDINATOR","id":"{id}","secret":"{}"}}"#, super::SECRET),
        );
        let heard = town.heard(operator);
        assert!(heard[0].command().ends_with(answer), "{id}: {heard:?}");
    }
    assert_eq!(town.troubles(0), [""; 0]);
    town.kill(0);
    town.pass(seconds(2));
    assert_eq!(town.troubles(1), ["coordinator c0 is not connected"], "the next one knows it too");
    town.start(2);
    town.pass(seconds(3));
    assert_eq!(town.status(1).coordinators.len(), 3, "it has come back");
}
