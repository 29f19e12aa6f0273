//! Killed with SIGKILL, no goodbye: what a coordinator acknowledged is on disk, and whoever is connected elsewhere goes on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::{Value, json};
use tests::cluster::{self, Cluster, Peer, eventually};

/// Threads that register at once.
const REGISTERING: usize = 20;

/// Registers names one after the other, a new connection each, until the coordinator is gone; notes what it acknowledged.
fn register_until_it_dies(
    cluster: &Cluster,
    prefix: &str,
    acknowledged: &Mutex<Vec<String>>,
    count: &AtomicUsize,
) {
    let address = cluster.network.address();
    for number in 0.. {
        let name = format!("{prefix}-{number}");
        let Some(mut peer) = Peer::try_connect(address) else { return };
        let Some(answer) = peer.ask(&json!({"command": "REGISTER", "username": name, "secret": name})) else {
            return;
        };
        if !answer["retry_after"].is_null() {
            // A busy machine has no time for all these hashes.
            continue;
        }
        assert_eq!(answer["command"], "REGISTER_SUCCESS", "{name} was refused: {answer}");
        acknowledged.lock().unwrap().push(name);
        count.fetch_add(1, Relaxed);
    }
}

/// Whether the coordinator lets each of the users in.
fn all_log_in(cluster: &Cluster, users: &[String]) {
    std::thread::scope(|scope| {
        for share in users.chunks(users.len().div_ceil(8).max(1)) {
            scope.spawn(move || {
                for name in share {
                    let answer = cluster
                        .coordinator()
                        .ask(&json!({"command": "LOGIN", "username": name, "secret": name}));
                    let answer = answer.expect("the coordinator answers");
                    assert_eq!(
                        answer["command"], "LOGIN_SUCCESS",
                        "{name} was acknowledged and then lost: {answer}"
                    );
                }
            });
        }
    });
}

#[test]
fn every_acknowledged_user_survives_kills_at_random_moments() {
    const ROUNDS: usize = 5;
    let mut cluster = cluster::start(2);
    let (mut ann, mut bob) = (cluster.session(0, "anonymous", ""), cluster.session(1, "anonymous", ""));
    let acknowledged = Mutex::new(Vec::new());
    for round in 0..ROUNDS {
        let count = AtomicUsize::new(0);
        let enough = fastrand::usize(1..60);
        std::thread::scope(|scope| {
            for thread in 0..REGISTERING {
                let (cluster, acknowledged, count) = (&cluster, &acknowledged, &count);
                scope.spawn(move || {
                    register_until_it_dies(cluster, &format!("user-{round}-{thread}"), acknowledged, count)
                });
            }
            eventually("enough users are registered", || count.load(Relaxed) >= enough);
            cluster.network.coordinator.signal("KILL").expect("kill runs");
        });
        // Nobody at a worker notices.
        ann.publish(&json!({"n": round}).to_string());
        bob.hear_activity(round as u64);
        ann.hear_activity(round as u64);
        cluster.network.restart_coordinator().expect("the store opens and the coordinator starts again");
    }
    cluster.await_workers(2);
    let users = acknowledged.into_inner().unwrap();
    assert!(users.len() >= ROUNDS, "only {} users were acknowledged", users.len());
    let stored = cluster.status()["users"].as_u64().unwrap();
    assert!(
        stored >= users.len() as u64 && stored <= (users.len() + ROUNDS * REGISTERING) as u64,
        "{stored} users are stored, {} were acknowledged",
        users.len()
    );
    all_log_in(&cluster, &users);
}

#[test]
fn a_killed_worker_gets_no_more_clients_and_takes_nobody_with_it() {
    let mut cluster = cluster::start(3);
    let mut sessions: Vec<Peer> = (0..3).map(|worker| cluster.session(worker, "anonymous", "")).collect();
    let dead = cluster.network.workers[1].address().port;
    cluster.network.workers[1].kill();
    assert!(sessions[1].is_cut_off(), "the clients of a killed worker learn of it");
    cluster.await_workers(2);
    for _ in 0..20 {
        let redirect = redirected(&cluster);
        assert_ne!(redirect["port"], dead, "a client was sent to a killed worker");
    }
    sessions[0].publish(r#"{"n":1}"#);
    sessions[2].hear_activity(1);

    // It returns under its name, elsewhere, and keeps its place.
    cluster.network.workers[1] = cluster.network.start_worker("worker-2").expect("the worker starts again");
    cluster.await_workers(3);
    let workers = cluster.status()["workers"].as_array().unwrap().clone();
    let ids: Vec<&Value> = workers.iter().map(|worker| &worker["id"]).collect();
    assert_eq!(ids, ["worker-1", "worker-2", "worker-3"]);
    let mut newcomer = cluster.session(1, "anonymous", "");
    let [first, _, third] = sessions.as_mut_slice() else { unreachable!("three sessions") };
    reaches(first, &mut newcomer, 100..200);
    reaches(&mut newcomer, first, 200..300);
    reaches(third, &mut newcomer, 300..400);
    reaches(&mut newcomer, third, 400..500);
    reaches(first, third, 500..600);
}

#[test]
fn a_stopped_worker_gets_no_more_clients_until_it_goes_on() {
    let cluster = cluster::start(2);
    let stopped = &cluster.network.workers[1];
    let reasons = || cluster.status()["reasons"].to_string();
    let goes_to_stopped = || redirected(&cluster)["port"] == stopped.address().port;
    stopped.signal("STOP").expect("kill runs");
    // Its connections stand, and the system goes on taking new ones.
    eventually("the coordinator misses it", || reasons().contains("worker-2 has gone silent"));
    assert!(!(0..20).any(|_| goes_to_stopped()), "a client was sent to a stopped worker");
    stopped.signal("CONT").expect("kill runs");
    eventually("it is heard again", || cluster.status()["state"] == "NORMAL");
    eventually("it gets clients again", goes_to_stopped);
}

/// Publishes at one session until the other hears it; links between workers come up one by one.
fn reaches(sender: &mut Peer, receiver: &mut Peer, numbers: impl IntoIterator<Item = u64>) {
    numbers
        .into_iter()
        .find(|n| {
            sender.publish(&json!({"n": n}).to_string());
            receiver.hears_soon(*n)
        })
        .expect("the workers find each other");
}

/// Where the coordinator sends an anonymous client.
fn redirected(cluster: &Cluster) -> Value {
    let mut peer = cluster.coordinator();
    peer.say(&json!({"command": "LOGIN", "username": "anonymous"}));
    peer.hear("LOGIN_SUCCESS");
    peer.hear("REDIRECT")
}

#[test]
fn while_no_coordinator_answers_registered_users_log_in_at_workers_and_nobody_registers() {
    let mut cluster = cluster::start(2);
    cluster.register("ann", "correct horse");
    for worker in 0..2 {
        cluster.session(worker, "ann", "correct horse");
    }
    let mut before = cluster.session(0, "ann", "correct horse");
    cluster.network.coordinator.kill();

    let mut sessions = [
        cluster.session(0, "ann", "correct horse"),
        cluster.session(1, "ann", "correct horse"),
        cluster.session(1, "anonymous", ""),
    ];
    sessions[0].publish(r#"{"n":1}"#);
    for session in sessions.iter_mut().chain([&mut before]) {
        assert_eq!(session.hear_activity(1)["authenticated_user"], "ann");
    }
    let ask = |message| cluster.worker(1).ask(&message).expect("the worker answers");
    assert_eq!(
        ask(json!({"command": "LOGIN", "username": "ann", "secret": "wrong"}))["command"],
        "LOGIN_FAILED"
    );
    let refused = ask(json!({"command": "REGISTER", "username": "bob", "secret": "battery staple"}));
    assert_eq!(refused["command"], "REGISTER_FAILED", "{refused}");
    assert!(
        refused["info"].as_str().unwrap().contains("coordinator")
            && refused["retry_after"].as_u64() > Some(0),
        "{refused}"
    );
    let taken = ask(json!({"command": "REGISTER", "username": "ann", "secret": "battery staple"}));
    assert!(
        taken["command"] == "REGISTER_FAILED" && taken["info"].as_str().unwrap().contains("is registered"),
        "{taken}"
    );

    // With the coordinator back, what was refused succeeds.
    cluster.network.restart_coordinator().expect("the coordinator starts again");
    cluster.await_workers(2);
    assert_eq!(
        cluster
            .worker(1)
            .ask(&json!({"command": "REGISTER", "username": "bob", "secret": "battery staple"}))
            .unwrap()["command"],
        "REGISTER_SUCCESS"
    );
    cluster.log_in("bob", "battery staple");
    for session in sessions.iter_mut().chain([&mut before]) {
        session.publish(r#"{"n":2}"#);
        session.hear_activity(2);
    }
}

#[test]
fn who_registers_at_a_worker_is_known_everywhere() {
    let cluster = cluster::start(2);
    let register = |mut peer: Peer, secret: &str| {
        peer.ask(&json!({"command": "REGISTER", "username": "ann", "secret": secret})).unwrap()
    };
    let registered = register(cluster.worker(0), "correct horse");
    assert_eq!(
        (&registered["command"], &registered["durability"]),
        (&json!("REGISTER_SUCCESS"), &json!("local"))
    );
    for peer in [cluster.worker(0), cluster.worker(1), cluster.coordinator()] {
        let taken = register(peer, "battery staple");
        assert!(
            taken["command"] == "REGISTER_FAILED"
                && taken["info"].as_str().unwrap().contains("is registered"),
            "{taken}"
        );
    }
    cluster.log_in("ann", "correct horse");
    cluster.session(0, "ann", "correct horse");
    cluster.session(1, "ann", "correct horse");
}

#[test]
fn of_simultaneous_registrations_of_one_name_exactly_one_wins() {
    let cluster = cluster::start(2);
    for round in 0..20 {
        let name = format!("user-{round}");
        let places = [cluster.coordinator(), cluster.worker(0), cluster.worker(1), cluster.coordinator()];
        let mut connected: Vec<(usize, Peer)> = places.into_iter().enumerate().collect();
        fastrand::shuffle(&mut connected);
        for (place, peer) in &mut connected {
            peer.say(&json!({"command": "REGISTER", "username": name, "secret": format!("secret {place}")}));
        }
        let mut winners = Vec::new();
        for (place, peer) in &mut connected {
            let answer = peer.hear_any();
            if answer["command"] == "REGISTER_SUCCESS" {
                winners.push(*place);
                continue;
            }
            assert_eq!(answer["command"], "REGISTER_FAILED", "{answer}");
            let info = answer["info"].as_str().unwrap();
            assert!(info.contains("is being registered") || info.contains("is registered"), "{answer}");
        }
        assert_eq!(winners.len(), 1, "{name} was won by {winners:?}");
        for place in 0..4 {
            let login = json!({"command": "LOGIN", "username": name, "secret": format!("secret {place}")});
            let expected = if winners == [place] { "LOGIN_SUCCESS" } else { "LOGIN_FAILED" };
            assert_eq!(cluster.coordinator().ask(&login).unwrap()["command"], expected);
        }
    }
}
