//! Stories of takeovers: when somebody takes over, who, and what becomes of those who wait.

use std::time::Duration;

use super::seconds;
use super::town::{self, Town};

const MOMENT: Duration = Duration::from_millis(20);

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
