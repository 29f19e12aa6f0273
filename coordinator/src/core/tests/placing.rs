use std::time::Duration;

use common::id::LinkId;
use common::wire::Message;

use super::Net;

/// Logs in as anonymous and says to which worker (by the port that its id gives it).
fn place(net: &mut Net) -> u16 {
    let link = net.connect();
    net.say(link, r#"{"command":"LOGIN","username":"anonymous"}"#);
    let heard = net.hear_all(link);
    let [Message::LoginSuccess(_), Message::Redirect(redirect)] = &heard[..] else { panic!("{heard:?}") };
    redirect.address.port
}

fn arrive(net: &mut Net, worker: LinkId, load: u64) {
    net.say(worker, &format!(r#"{{"command":"NEW_CLIENT","username":"anonymous","load":{load}}}"#));
}
#[test]
fn a_burst_of_log_ins_spreads_within_one_before_any_has_arrived() {
    let mut net = Net::new();
    for id in ["w1", "w2", "w3"] {
        net.worker(id);
    }
    for _ in 0..100 {
        place(&mut net);
    }
    let mut expected: Vec<u64> = net.workers().iter().map(|worker| worker.1).collect();
    expected.sort_unstable();
    assert_eq!(expected, [33, 33, 34]);
}

#[test]
fn clients_on_their_way_count_like_those_who_have_arrived() {
    let mut net = Net::new();
    let w1 = net.worker("w1");
    net.worker("w2");
    net.say(w1, r#"{"command":"SERVER_LOAD","load":10}"#);
    for _ in 0..20 {
        place(&mut net);
    }
    assert_eq!(net.workers(), [(10, 5, true), (0, 15, true)]);
}

#[test]
fn a_worker_that_has_gone_silent_gets_nobody_while_another_one_speaks() {
    let mut net = Net::new();
    let (frozen, alive) = (net.worker("w1"), net.worker("w2"));
    net.say(alive, r#"{"command":"SERVER_LOAD","load":1000}"#);
    assert_eq!(net.coordinator.status(false).reasons, [] as [&str; 0]);
    for _ in 0..4 {
        net.pass(Duration::from_secs(1));
        net.say(alive, r#"{"command":"SERVER_LOAD","load":1000}"#);
    }
    assert_eq!(net.coordinator.status(false).reasons, ["worker w1 has gone silent"]);
    for _ in 0..9 {
        place(&mut net);
    }
    assert_eq!(net.workers(), [(0, 0, true), (1000, 9, true)]);
    // It was only very busy.
    net.say(frozen, r#"{"command":"SERVER_LOAD","load":0}"#);
    assert_eq!(net.coordinator.status(false).reasons, [] as [&str; 0]);
    place(&mut net);
    assert_eq!(net.workers(), [(0, 1, true), (1000, 9, true)]);
    // Where all are silent, one of them is better than none.
    net.pass(Duration::from_secs(4));
    place(&mut net);
    assert_eq!(net.workers(), [(0, 2, true), (1000, 9, true)]);
}

#[test]
fn who_arrives_is_counted_once() {
    let mut net = Net::new();
    let (w1, w2) = (net.worker("w1"), net.worker("w2"));
    for _ in 0..4 {
        place(&mut net);
    }
    arrive(&mut net, w1, 1);
    arrive(&mut net, w1, 2);
    arrive(&mut net, w2, 1);
    assert_eq!(net.workers(), [(2, 0, true), (1, 1, true)]);
    net.say(w1, r#"{"command":"DE_LOAD","load":0}"#);
    net.say(w2, r#"{"command":"SERVER_LOAD","load":"5"}"#);
    assert_eq!(net.workers(), [(0, 0, true), (5, 1, true)]);
    let first: Vec<u16> = (0..5).map(|_| place(&mut net)).collect();
    assert!(first.iter().all(|port| *port == first[0]), "all go to the worker with less load");
}

#[test]
fn who_never_arrives_stops_counting() {
    let mut net = Net::new();
    let w1 = net.worker("w1");
    place(&mut net);
    net.pass(Duration::from_secs(9));
    net.say(w1, r#"{"command":"SERVER_LOAD","load":0}"#);
    assert_eq!(net.workers(), [(0, 1, true)]);
    net.pass(Duration::from_secs(2));
    assert_eq!(net.workers(), [(0, 0, true)]);
}

#[test]
fn equally_loaded_workers_take_turns() {
    let mut net = Net::new();
    let workers = [net.worker("w1"), net.worker("w2"), net.worker("w3")];
    let mut ports = Vec::new();
    for _ in 0..6 {
        ports.push(place(&mut net));
        // Nobody stays, so that all are equal again.
        for worker in workers {
            arrive(&mut net, worker, 0);
        }
    }
    assert_eq!(ports[..3], ports[3..]);
    assert!(ports[0] < ports[1] && ports[1] < ports[2]);
}

#[test]
fn a_worker_whose_connection_breaks_gets_nobody_and_keeps_its_place_when_it_returns() {
    let mut net = Net::new();
    let (w1, w2) = (net.worker("w1"), net.worker("w2"));
    place(&mut net);
    net.say(w1, r#"{"command":"SERVER_LOAD","load":3}"#);
    net.vanish(w1);
    assert_eq!(net.workers()[0], (3, 0, false));
    let port = place(&mut net);
    assert_eq!(port, place(&mut net), "all go to the other");
    net.commands(w2);
    net.pass(Duration::from_secs(15));
    let back = net.connect();
    net.authenticate(back, "w1", 7);
    assert_eq!(net.workers()[0], (7, 0, true));
    assert_eq!(
        net.commands(w2).iter().filter(|c| **c != "BACKUP_LIST").count(),
        0,
        "it was never away for the others"
    );
}
