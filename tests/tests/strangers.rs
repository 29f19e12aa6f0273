//! Coordinators that do not belong together, and peers that pretend: a clear sentence, and nothing changes.

use std::path::Path;

use common::wire::Address;
use serde_json::{Value, json};
use tests::cluster::{Outcome, Peer, Proxy, Running, Sandbox, eventually, status};

const SECRET: &str = "0123456789abcdef-the-network-secret";

/// Starts a coordinator on any port, with its data in `data`.
fn start(sandbox: &Sandbox, data: &str, secret: &str, more: &[&str]) -> Running {
    let data = sandbox.path(data).display().to_string();
    let arguments = [&["--listen", "127.0.0.1:0", "--data-dir", &data], more].concat();
    Running::start(sandbox.command("coordinator", &arguments).env("FRESHET_SECRET", secret))
}

/// Starts a coordinator as [`start`] does, and says where it listens.
fn start_ready(sandbox: &Sandbox, data: &str, more: &[&str]) -> (Running, Address) {
    let running = start(sandbox, data, SECRET, more);
    running.await_stderr("ready");
    let lock =
        std::fs::read_to_string(sandbox.path(data).join("coordinator.lock")).expect("it says where it is");
    (running, lock.trim().parse().expect("an address"))
}

fn stop(running: Running) {
    running.terminate();
    assert_eq!(running.outcome().code, Some(0));
}

fn register(address: &Address, name: &str) {
    let mut peer = Peer::connect(address);
    peer.say(&json!({"command": "REGISTER", "username": name, "secret": name}));
    peer.hear("REGISTER_SUCCESS");
}

fn report(address: &Address) -> Value {
    status(address, SECRET).expect("it answers")
}

/// What a peer must not be able to change.
fn essence(address: &Address) -> [Value; 5] {
    let report = report(address);
    ["role", "highest_epoch", "network", "users", "workers"].map(|key| report[key].clone())
}

/// It ended by its own will, with one sentence that contains each of `parts`.
fn refuses(outcome: &Outcome, parts: &[&str]) {
    let Outcome { code, stderr, .. } = outcome;
    assert!(matches!(code, Some(1 | 2)), "exit code {code:?}: {stderr}");
    assert!(parts.iter().all(|part| stderr.contains(part)), "it should speak of {parts:?}: {stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains(SECRET), "not for people: {stderr}");
}

#[test]
fn a_coordinator_that_is_to_be_its_own_backup_says_so_and_ends() {
    let sandbox = Sandbox::new();
    let listen = Address::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let data = sandbox.path("data").display().to_string();
    let run = |backup: &str| {
        let listen = listen.to_string();
        let arguments = ["--listen", &listen, "--data-dir", &data, "--backup", backup];
        Running::start(sandbox.command("coordinator", &arguments).env("FRESHET_SECRET", SECRET)).outcome()
    };
    for backup in [listen.to_string(), format!("localhost:{}", listen.port)] {
        refuses(&run(&backup), &["--backup", &backup, "itself"]);
    }
    // Under an address that does not show it.
    let alias = Proxy::new(listen.clone());
    refuses(&run(&alias.address().to_string()), &[&alias.address().to_string()]);
}

#[test]
fn a_coordinator_with_another_secret_is_refused_and_ends() {
    let sandbox = Sandbox::new();
    let (_first, address) = start_ready(&sandbox, "first", &[]);
    register(&address, "ann");
    let before = essence(&address);
    let other =
        start(&sandbox, "other", "another-secret-of-sufficient-length", &["--backup", &address.to_string()]);
    refuses(&other.outcome(), &[&address.to_string(), "secret", "--secret-file"]);
    assert_eq!(essence(&address), before);
}

#[test]
fn a_coordinator_with_users_of_another_network_is_refused_and_both_keep_their_own() {
    let sandbox = Sandbox::new();
    let (_first, first) = start_ready(&sandbox, "first", &[]);
    register(&first, "ann");
    let (other, second) = start_ready(&sandbox, "other", &[]);
    register(&second, "bob");
    stop(other);
    let before = essence(&first);
    let other = start(&sandbox, "other", SECRET, &["--backup", &first.to_string()]);
    refuses(
        &other.outcome(),
        &[&first.to_string(), "another network", "start without that --backup", "export"],
    );
    assert_eq!(essence(&first), before);
    assert_eq!(report(&first)["coordinators"].as_array().map(Vec::len), Some(1));
    let (_other, second) = start_ready(&sandbox, "other", &[]);
    eventually("it reigns", || report(&second)["role"] == "main");
    let second = report(&second);
    assert_eq!(
        (&second["users"], second["history"].as_array().map(Vec::len)),
        (&json!(1), Some(2)),
        "{second}"
    );
    assert_ne!(second["network"], report(&first)["network"]);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a directory can be made");
    for entry in std::fs::read_dir(from).expect("it is there") {
        let path = entry.expect("it can be read").path();
        std::fs::copy(&path, to.join(path.file_name().expect("files have names"))).expect("there is room");
    }
}

#[test]
fn of_two_coordinators_with_one_id_from_a_copied_directory_the_second_is_refused() {
    let sandbox = Sandbox::new();
    let (first, address) = start_ready(&sandbox, "first", &[]);
    register(&address, "ann");
    stop(first);
    copy(&sandbox.path("first"), &sandbox.path("copy"));
    let (_first, address) = start_ready(&sandbox, "first", &[]);
    eventually("it reigns", || report(&address)["role"] == "main");
    let before = essence(&address);
    let twin = start(&sandbox, "copy", SECRET, &["--backup", &address.to_string()]);
    refuses(&twin.outcome(), &["is the id of this coordinator too"]);
    assert_eq!(essence(&address), before);
    register(&address, "bob");
    assert_eq!(report(&address)["users"], 2);
}

#[test]
fn a_copy_of_a_standbys_directory_is_refused_and_ends_and_the_standby_is_not_disturbed() {
    let sandbox = Sandbox::new();
    let (_main, address) = start_ready(&sandbox, "main", &[]);
    let (standby, _) = start_ready(&sandbox, "standby", &["--backup", &address.to_string()]);
    eventually("it is in step", || {
        let coordinators = report(&address)["coordinators"].as_array().cloned().unwrap_or_default();
        coordinators.len() == 2 && coordinators.iter().all(|coordinator| coordinator["listed"] == true)
    });
    copy(&sandbox.path("standby"), &sandbox.path("copy"));
    let twin = start(&sandbox, "copy", SECRET, &["--backup", &address.to_string()]);
    twin.await_stderr("lives already");
    let mut peer = Peer::connect(&address);
    peer.say(&json!({"command": "REGISTER", "username": "ann", "secret": "ann"}));
    assert_eq!(peer.hear("REGISTER_SUCCESS")["durability"], "replicated");
    refuses(&twin.outcome(), &["lives already", "data directory", "an empty one"]);
    assert_eq!(report(&address)["coordinators"].as_array().map(Vec::len), Some(2));
    stop(standby);
}

/// What only coordinators may say, and only to those who know them.
fn updates() -> Vec<Value> {
    let record = json!({"registration": "1.0@c9", "changed": "1.0@c9", "secret": "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAA"});
    let server = json!({"id": "c9", "hostname": "127.0.0.1", "port": 9});
    let mut updates = vec![
        json!({"command": "SYNCHRONISE_USER_STORE", "update": 1, "users": {"eve": record}, "seen": {"c9": "1.0"}}),
        json!({"command": "SYNCHRONISE_SERVER_LOAD", "update": 1, "loads": {"c9": 7}}),
        json!({"command": "SYNCHRONISE_SERVER_ADDRESSES", "update": 1, "network": "eve's", "token_key": "AAAA", "servers": [server], "members": [server], "history": []}),
        json!({"command": "SYNCHRONISED_NEW_SERVER", "id": "c9", "hostname": "127.0.0.1", "port": 9, "update": 1}),
        json!({"command": "REMOVE_SERVER", "id": "c9", "update": 1}),
        json!({"command": "SYNC_USER", "users": {"eve": record}, "override": true}),
        json!({"command": "SYNCHRONISED", "update": 18_446_744_073_709_551_615u64}),
        json!({"command": "BACKUP_LIST", "servers": []}),
        json!({"command": "HEARTBEAT", "role": "main"}),
        json!({"command": "PROMOTE"}),
    ];
    for update in &mut updates {
        update["epoch"] = json!("999@c9");
    }
    updates
}

#[test]
fn a_strangers_updates_are_refused_and_change_nothing() {
    let sandbox = Sandbox::new();
    let (_first, address) = start_ready(&sandbox, "first", &[]);
    register(&address, "ann");
    let before = essence(&address);
    for update in updates() {
        let mut stranger = Peer::connect(&address);
        stranger.say(&update);
        let answer = stranger.hear("INVALID_MESSAGE");
        assert!(answer["info"].as_str().is_some_and(|info| !info.is_empty()), "{answer}");
        stranger.expect_closed();
        assert_eq!(essence(&address), before, "after {update}");
    }
    let mut stranger = Peer::connect(&address);
    stranger.say(&json!({
        "command": "BACKUP_AUTHENTICATE", "id": "c9", "hostname": "127.0.0.1", "port": 9, "secret": "a guess",
        "incarnation": "0000000000000001", "role": "main", "epoch": "999@c9"
    }));
    let answer = stranger.hear_any();
    assert!(
        ["BACKUP_AUTHENTICATION_FAIL", "INVALID_MESSAGE"].contains(&answer["command"].as_str().unwrap()),
        "{answer}"
    );
    stranger.expect_closed();
    assert_eq!(essence(&address), before);
}

#[test]
fn an_authenticated_coordinator_that_does_not_reign_changes_nothing_either() {
    let sandbox = Sandbox::new();
    let (_first, address) = start_ready(&sandbox, "first", &[]);
    register(&address, "ann");
    let before = essence(&address);
    let absurd = [
        json!({"command": "SYNCHRONISE_USER_STORE", "update": -1, "users": {}}),
        json!({"command": "SYNCHRONISE_USER_STORE", "update": 1, "users": {"\u{7}": {}}}),
        json!({"command": "SYNCHRONISE_SERVER_LOAD", "update": "many", "loads": []}),
    ];
    let current = updates().into_iter().filter(|update| {
        !matches!(update["command"].as_str(), Some("SYNC_USER" | "SYNCHRONISED" | "HEARTBEAT"))
    });
    for mut update in current.chain(absurd) {
        let mut peer = Peer::connect(&address);
        peer.say(&json!({
            "command": "BACKUP_AUTHENTICATE", "id": "c9", "hostname": "127.0.0.1", "port": 9, "secret": SECRET,
            "incarnation": format!("{:016x}", fastrand::u64(..)), "role": "backup"
        }));
        peer.hear("BACKUP_AUTHENTICATION_SUCCESS");
        update["epoch"] = before[1].clone();
        peer.say(&update);
        let answer = peer.hear_until("INVALID_MESSAGE");
        assert!(answer["info"].as_str().is_some_and(|info| !info.is_empty()), "{answer}");
        assert_eq!(essence(&address), before, "after {update}");
    }
}
