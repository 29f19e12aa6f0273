//! Peers that say their piece, close their direction, and wait: `printf … | nc -N`.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::cluster::{self, Peer, eventually};

/// Says all of `lines`, and no more, and hears commands until the connection ends.
fn converse(mut peer: Peer, lines: &[serde_json::Value]) -> Vec<String> {
    for line in lines {
        peer.say(line);
    }
    peer.half_close();
    let began = Instant::now();
    let mut heard = Vec::new();
    while let Some(line) = peer.hear_line() {
        let message: serde_json::Value = serde_json::from_str(&line).expect("servers speak JSON");
        heard.push(message["command"].as_str().expect("messages have a command").to_owned());
    }
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    heard
}

#[test]
fn who_says_no_more_hears_the_answers_and_then_the_end() {
    let cluster = cluster::start(1);
    let worker = || Peer::connect(cluster.network.workers[0].address());
    let register = |name: &str| json!({"command": "REGISTER", "username": name, "secret": "s3cret"});
    let login = |name: &str| json!({"command": "LOGIN", "username": name, "secret": "s3cret"});
    assert_eq!(converse(cluster.coordinator(), &[register("ann")]), ["REGISTER_SUCCESS"]);
    assert_eq!(converse(worker(), &[register("bob")]), ["REGISTER_SUCCESS"]);
    assert_eq!(converse(cluster.coordinator(), &[login("bob")]), ["LOGIN_SUCCESS", "REDIRECT"]);
    assert_eq!(converse(cluster.coordinator(), &[login("nobody")]), ["LOGIN_FAILED"]);
    assert_eq!(converse(worker(), &[login("ann")]), ["LOGIN_SUCCESS"]);
    let publish = json!({"command": "ACTIVITY_MESSAGE", "activity": {"n": 1}});
    let heard = converse(worker(), &[login("anonymous"), publish.clone(), publish]);
    assert_eq!(heard, ["LOGIN_SUCCESS", "ACTIVITY_BROADCAST", "ACTIVITY_BROADCAST"]);
    assert_eq!(converse(worker(), &[]), [""; 0]);
    eventually("nobody is online any more", || cluster.status()["workers"][0]["load"] == 0);
}
