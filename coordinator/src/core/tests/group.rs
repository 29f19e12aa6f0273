//! Stories of several coordinators.

use std::time::Duration;

use common::wire::Message;

use super::town::{self, Town};

const MOMENT: Duration = Duration::from_millis(20);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A worker tells of a user with the secret "s", whom another coordinator has registered long ago.
fn tell(town: &mut Town, worker: usize, name: &str, stamp: &str) {
    let hash = super::fake_hash(&common::user::Secret::new("s"));
    let user = format!(r#"{{"registration":"{stamp}","changed":"{stamp}","secret":"{}"}}"#, hash.text());
    town.say(worker, &format!(r#"{{"command":"SYNC_USER","users":{{"{name}":{user}}},"seen":["{stamp}"]}}"#));
}

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
fn a_crash_is_noticed_at_once_and_nothing_is_lost() {
    let mut town = Town::in_step(2);
    let ann = town.register(0, "ann", "s");
    assert_eq!(town.answer(ann), "replicated");
    town.kill(0);
    assert_eq!(town.role(1), "main");
    let again = town.register(1, "ann", "s");
    town.pass(seconds(2));
    assert_eq!(town.answer(again), "local existing");
    let stranger = town.register(1, "ann", "another");
    assert_eq!(town.answer(stranger), "failed: ann is registered");
    town.start(0);
    town.pass(seconds(3));
    assert_eq!(town.roles(), ["backup", "main"]);
    town.assert_equal_stores();
    assert_eq!(town.status(1).history.len(), 2);
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
fn a_silent_main_coordinator_is_given_the_failure_timeout_and_gives_way_when_it_returns() {
    let mut town = Town::in_step(2);
    town.stop(0);
    town.pass(Duration::from_millis(1_500));
    assert_eq!(town.role(1), "backup");
    town.pass(Duration::from_millis(1_500));
    assert_eq!(town.role(1), "main");
    let ann = town.register(1, "ann", "s");
    town.pass(seconds(2));
    assert_eq!(town.answer(ann), "local");
    town.resume(0);
    town.pass(seconds(3));
    assert_eq!(town.roles(), ["backup", "main"]);
    town.assert_equal_stores();
}

#[test]
fn who_greeted_before_it_took_over_says_so_as_soon_as_it_is_answered() {
    // It had said that it seeks, and then nothing more before the next sign of life: the other, which had waited for long enough, took over
    // from it meanwhile (seed 800800).
    let mut town = Town::in_step(2);
    town.worker(0, "w1");
    town.pass(seconds(1));
    town.workers_hear = Some(0);
    town.cut(0, 1);
    town.kill(0);
    town.start(0);
    town.stall_disk(0);
    town.pass(seconds(3));
    town.stop(1);
    town.heal();
    town.pass(seconds(1));
    assert_eq!(town.roles(), ["seeking", "seeking"], "the one writes its epoch, and has greeted the other");
    town.free_disk(0);
    town.resume(1);
    assert_eq!(town.roles(), ["main", "backup"]);
}

#[test]
fn nobody_is_sent_to_a_main_coordinator_that_has_gone_quiet() {
    let mut town = Town::in_step(2);
    town.stop(0);
    town.pass(Duration::from_millis(1_200));
    assert_eq!(town.role(1), "backup");
    let (ann, worker) = (town.register(1, "ann", "s"), town.worker(1, "w1"));
    assert_eq!(town.answer(ann), "nothing yet");
    town.pass(seconds(2));
    assert_eq!(town.answer(ann), "local");
    assert_eq!(town.heard(worker)[0].command(), "AUTHENTICATE_SUCCESS");
}

#[test]
fn what_was_on_its_way_to_the_disk_of_a_main_coordinator_that_gave_way_is_known_to_all() {
    let mut town = Town::in_step(2);
    town.stall_users(0);
    let ann = town.register(0, "ann", "s");
    town.stop(0);
    town.pass(seconds(3));
    assert_eq!(town.role(1), "main");
    town.resume(0);
    town.pass(seconds(1));
    town.free_disk(0);
    town.pass(seconds(3));
    assert!(town.answer(ann).starts_with("failed: "), "nothing is acknowledged at a lower epoch");
    assert_eq!(town.roles(), ["backup", "main"]);
    town.assert_equal_stores();
    assert_eq!(town.status(1).users, 1);
}

#[test]
fn nobody_takes_over_while_a_worker_hears_the_main_coordinator() {
    let mut town = Town::in_step(2);
    town.worker(0, "w1");
    town.pass(seconds(1));
    town.workers_hear = Some(0);
    town.cut(0, 1);
    town.pass(seconds(2) - MOMENT * 20);
    let early = town.register(1, "ann", "one");
    town.pass(seconds(20));
    assert_eq!(town.roles(), ["main", "seeking"]);
    // Whoever asks the one that does not hear it is sent there, and who asked before that was known, as soon as it is.
    let late = town.register(1, "bob", "two");
    for asker in [early, late] {
        assert_eq!(town.answer(asker), format!("sent to {}", town::address(0)));
    }
    town.workers_hear = None;
    town.pass(seconds(1));
    assert_eq!(town.role(1), "main", "now nobody hears it any more");
}

#[test]
fn a_new_main_coordinator_waits_for_the_workers_that_it_reaches_and_for_no_others() {
    let mut town = Town::in_step(2);
    town.worker(0, "w1");
    town.worker(0, "w2");
    town.pass(seconds(1));
    town.cut(0, 1);
    town.out_of_reach = vec!["w1"];
    town.pass(Duration::from_millis(1_200));
    let ann = town.register(1, "ann", "s");
    town.pass(Duration::from_millis(1_250));
    assert_eq!(town.role(1), "main", "2.45 s after the cut");
    assert_eq!(town.answer(ann), "nothing yet", "w2 may know users that this one does not");
    town.worker(1, "w2");
    assert_eq!(town.answer(ann), "local");
}

/// Its own epoch was on its way to the disk when it heard of another one's reign, which was lower. It followed that one all the same, and
/// confirmed updates below what was on its disk.
#[test]
fn who_hears_of_a_reign_while_its_own_is_on_its_way_to_the_disk_follows_it_with_the_epoch_of_that_one() {
    let mut town = Town::in_step(3);
    town.cut(1, 2);
    town.stall_disk(2);
    town.kill(0);
    town.pass(seconds(6));
    assert_eq!(town.roles()[1..], ["main", "seeking"]);
    town.heal();
    town.pass(seconds(1));
    town.free_disk(2);
    town.pass(seconds(3));
    assert_eq!(town.roles()[1..], ["main", "backup"]);
    let epoch = |node: usize| town.nodes[node].disk.group.epoch.clone().unwrap();
    assert_eq!((epoch(1).coordinator.to_string(), epoch(1)), (town::name(1), epoch(2)));
    let reigns = &town.nodes[2].disk.group.history;
    assert!(reigns.iter().all(|reign| reign.epoch.coordinator.to_string() != town::name(2)), "{reigns:?}");
}

/// Two workers heard the main coordinator and died, and a third one, which had been down when it was dialled, was not asked: the backup
/// took over.
#[test]
fn a_worker_that_was_down_when_it_was_dialled_to_be_asked_is_dialled_again() {
    let mut town = Town::in_step(2);
    town.worker(0, "w1");
    town.worker(0, "w2");
    town.pass(seconds(1));
    town.workers_hear = Some(0);
    town.out_of_reach = vec!["w1"];
    town.cut(0, 1);
    town.pass(seconds(9));
    assert_eq!(town.roles(), ["main", "seeking"]);
    assert!((3..=5).contains(&town.dialled_in_vain("w1")), "{}", town.dialled_in_vain("w1"));
}

#[test]
fn nobody_takes_over_while_another_coordinator_hears_the_main_one() {
    let mut town = Town::in_step(3);
    town.cut(0, 2);
    town.pass(seconds(20));
    assert_eq!(town.roles(), ["main", "backup", "seeking"]);
    town.heal();
    town.pass(seconds(4));
    assert_eq!(town.roles(), ["main", "backup", "backup"]);
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
fn of_three_the_first_on_the_list_takes_over_and_the_other_follows() {
    let mut town = Town::in_step(3);
    for name in ["ann", "bob"] {
        let client = town.register(0, name, "s");
        assert_eq!(town.answer(client), "replicated");
    }
    let first = town
        .status(0)
        .coordinators
        .into_iter()
        .find(|other| other.listed && other.server.id.as_str() != "c0");
    let first: usize = first.unwrap().server.id.as_str()[1..].parse().unwrap();
    town.kill(0);
    town.pass(MOMENT);
    assert_eq!(town.role(first), "main");
    assert_eq!(town.role(3 - first), "backup");
    let cy = town.register(first, "cy", "s");
    town.pass(seconds(1));
    assert_eq!(town.answer(cy), "replicated");
    town.start(0);
    town.pass(seconds(3));
    town.assert_equal_stores();
    assert_eq!(town.troubles(first), [""; 0]);
}

#[test]
fn a_main_coordinator_that_is_told_to_stop_hands_over_first() {
    let mut town = Town::in_step(2);
    let ann = town.register(0, "ann", "s");
    town.pass(seconds(1));
    town.drain(0);
    assert_eq!(town.answer(ann), "replicated");
    assert_eq!(town.nodes[0].exited, Some(Ok(())));
    assert_eq!(town.role(1), "main");
    let why = town.status(1).history.last().unwrap().why.clone();
    assert_eq!(why, "c0 handed over: it was told to stop, or its disk takes nothing");
}

#[test]
fn a_way_that_is_cut_again_and_again_takes_the_reign_along_a_few_times_and_then_no_more() {
    let mut town = Town::in_step(2);
    for _ in 0..48 {
        town.cut(0, 1);
        town.pass(seconds(3));
        town.heal();
        town.pass(seconds(2));
    }
    let changes = town.status(0).history.len();
    assert!((2..=7).contains(&changes), "{changes} changes of the reign in 48 cuts, of four minutes");
    // A cut that lasts is no such thing: both sides go on.
    town.cut(0, 1);
    town.pass(seconds(15));
    assert_eq!(town.roles(), ["main", "main"]);
}

#[test]
fn a_request_that_meets_a_takeover_waits_for_it() {
    let mut town = Town::in_step(2);
    town.stall_disk(1);
    town.kill(0);
    assert_eq!(town.role(1), "seeking");
    let ann = town.register(1, "ann", "s");
    assert_eq!(town.answer(ann), "nothing yet");
    town.free_disk(1);
    town.pass(seconds(2));
    assert_eq!(town.answer(ann), "local");
}

/// Clients were sent to a worker that had given a slow takeover up: it was taken for a client that still listens.
#[test]
fn a_worker_that_gives_a_slow_takeover_up_gets_no_clients() {
    let mut town = Town::in_step(2);
    town.stall_disk(1);
    town.kill(0);
    let (patient, impatient) = (town.worker(1, "w1"), town.worker(1, "w2"));
    assert!(town.heard(patient).is_empty(), "it waits for the takeover");
    town.finish(impatient);
    assert!(town.outsiders[impatient].closed);
    town.free_disk(1);
    assert_eq!(town.heard(patient)[0].command(), "AUTHENTICATE_SUCCESS");
    assert!(town.heard(impatient).is_empty());
}

#[test]
fn requests_that_wait_for_a_takeover_are_answered_in_the_order_in_which_they_came() {
    let mut town = Town::in_step(2);
    town.stall_disk(1);
    town.kill(0);
    let late = town.connect(1);
    let first = town.register(1, "ann", "s");
    town.pass(Duration::from_millis(10));
    town.say(late, r#"{"command":"REGISTER","username":"ann","secret":"another"}"#);
    town.free_disk(1);
    town.pass(seconds(2));
    assert_eq!(town.answer(first), "local");
    assert_eq!(town.answer(late), "failed: ann is being registered");
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
