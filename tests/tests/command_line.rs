//! The servers as an operator meets them: what cannot work ends with exit code 1 and one sentence that says what to do, and no
//! secret ever shows.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::wire::Address;
use serde_json::json;
use tests::cluster::{Outcome, Peer, Running, Sandbox, eventually};

const SECRET: &str = "0123456789abcdef-the-network-secret";

/// It ended by its own will, with one sentence that contains each of `parts`.
fn refuses(outcome: &Outcome, parts: &[&str]) {
    let Outcome { code, stdout, stderr } = outcome;
    assert!(matches!(code, Some(1 | 2)), "exit code {code:?}: {stdout}{stderr}");
    for never in ["panicked", "backtrace", "RUST_", "Os {", "Error {", "Some(", "unwrap"] {
        assert!(!stderr.contains(never), "not for people: {stderr}");
    }
    let sentence: Vec<&str> = stderr.lines().skip_while(|line| !line.starts_with("error: ")).collect();
    assert!(!sentence.is_empty(), "no sentence says what is wrong: {stderr}");
    // What clap refuses comes with the usage; everything else is one line.
    assert!(*code == Some(2) || sentence.len() == 1, "more than one sentence: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "it should speak of {part:?}: {stderr}");
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A coordinator on `port` with the sandbox's default secret, ready.
fn coordinator(sandbox: &Sandbox, port: u16) -> Running {
    let running = sandbox.start("coordinator", &["--listen", &format!("127.0.0.1:{port}")]);
    running.await_stderr("ready");
    running
}

#[test]
fn help_of_every_program_and_command_has_examples() {
    let sandbox = Sandbox::new();
    let commands: [(&str, &[&str]); 12] = [
        ("coordinator", &["--help"]),
        ("coordinator", &["export", "--help"]),
        ("coordinator", &["import", "--help"]),
        ("worker", &["--help"]),
        ("client", &["--help"]),
        ("client", &["register", "--help"]),
        ("client", &["send", "--help"]),
        ("client", &["tail", "--help"]),
        ("client", &["replay", "--help"]),
        ("client", &["status", "--help"]),
        ("client", &["passwd", "--help"]),
        ("client", &["remove-user", "--help"]),
    ];
    for (program, arguments) in commands {
        let Outcome { code, stdout, .. } = sandbox.run(program, arguments);
        assert_eq!(code, Some(0), "{program} {arguments:?}");
        let example = format!("  {program} ");
        assert!(
            stdout.contains("Examples") && stdout.contains(&example),
            "{program} {arguments:?} shows no examples: {stdout}"
        );
        assert_eq!(sandbox.run(program, &["--version"]).code, Some(0));
    }
}

#[test]
fn a_taken_port_is_named_with_the_flag_that_chooses_another() {
    let sandbox = Sandbox::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refuses(&sandbox.run("coordinator", &["--listen", &address]), &[&address, "--listen"]);
    refuses(&sandbox.run("worker", &["--listen", &address]), &[&address, "--listen"]);
}

#[test]
fn a_worker_without_its_coordinator_says_so_and_joins_when_it_comes() {
    let sandbox = Sandbox::new();
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let mut command = sandbox.command("worker", &["--coordinator", &address, "--id", "early"]);
    let worker = Running::start(command.env("FRESHET_SECRET", SECRET));
    worker.await_stderr("ready");
    eventually("the worker says that it cannot reach the coordinator", || {
        worker.stderr().lines().any(|line| line.contains("no coordinator") && line.contains(&address))
    });
    let mut command = sandbox.command("coordinator", &["--listen", &address]);
    let _coordinator = Running::start(command.env("FRESHET_SECRET", SECRET));
    eventually("the worker joins", || {
        let Some(mut peer) = Peer::try_connect(&address.parse().unwrap()) else { return false };
        let status =
            peer.ask(&json!({"command": "STATUS", "secret": SECRET})).expect("the coordinator answers");
        status["workers"].as_array().is_some_and(|workers| {
            workers.iter().any(|worker| worker["id"] == "early" && worker["connected"] == true)
        })
    });
}

#[test]
fn a_backup_that_is_not_found_is_said_at_the_start() {
    // A mistyped name was taken without a word, and the coordinator stayed alone.
    let sandbox = Sandbox::new();
    let arguments = ["--listen", "127.0.0.1:0", "--backup", "no-such-host.invalid:3780"];
    let coordinator = sandbox.start("coordinator", &arguments);
    coordinator.await_stderr("no-such-host.invalid:3780");
    coordinator.await_stderr("named by --backup is not found: the host's name does not resolve");
}

#[test]
fn a_wrong_network_secret_ends_the_worker() {
    let sandbox = Sandbox::new();
    let port = free_port();
    let _coordinator = coordinator(&sandbox, port);
    let address = format!("127.0.0.1:{port}");
    let mut command = sandbox.command("worker", &["--coordinator", &address]);
    let outcome = Running::start(command.env("FRESHET_SECRET", SECRET)).outcome();
    refuses(&outcome, &["secret", &address]);
    assert!(!outcome.stderr.contains(SECRET), "{}", outcome.stderr);
}

#[test]
fn a_secret_that_is_missing_short_or_readable_by_others_is_refused() {
    let sandbox = Sandbox::new();
    refuses(&sandbox.run("worker", &[]), &["start a coordinator", "--secret-file"]);
    let file = sandbox.file("secret", SECRET);
    let path = file.to_str().unwrap();
    for program in ["worker", "coordinator"] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        refuses(
            &sandbox.run(program, &["--listen", "127.0.0.1:0", "--secret-file", path]),
            &["chmod 600", path],
        );
        refuses(
            &sandbox.run(program, &["--listen", "127.0.0.1:0", "--secret-file", "/nowhere/secret"]),
            &["/nowhere/secret"],
        );
        let mut short = sandbox.command(program, &["--listen", "127.0.0.1:0"]);
        refuses(
            &Running::start(short.env("FRESHET_SECRET", "short")).outcome(),
            &["16 bytes", "openssl rand"],
        );
    }
}

#[test]
fn listening_for_other_machines_demands_a_given_secret_and_an_address_to_advertise() {
    let sandbox = Sandbox::new();
    // The default secret exists, so that nothing but the address is at fault.
    drop(coordinator(&sandbox, 0));
    for program in ["coordinator", "worker"] {
        for listen in ["0.0.0.0:0", "[::]:0"] {
            let arguments = ["--listen", listen, "--advertise", "127.0.0.1:3780"];
            refuses(&sandbox.run(program, &arguments), &["secret must be given", "--secret-file"]);
            let mut unnamed = sandbox.command(program, &["--listen", listen]);
            refuses(&Running::start(unnamed.env("FRESHET_SECRET", SECRET)).outcome(), &["--advertise"]);
        }
    }
}

#[test]
fn nonsense_on_the_command_line_is_named() {
    let sandbox = Sandbox::new();
    for program in ["coordinator", "worker"] {
        for (arguments, part) in [
            (["--id", "a b"], "--id"),
            (["--id", ""], "--id"),
            (["--listen", "localhost"], "--listen"),
            (["--listen", "127.0.0.1:99999"], "--listen"),
            (["--advertise", "somewhere"], "--advertise"),
            (["--secret", SECRET], "--secret"),
        ] {
            refuses(&sandbox.run(program, &arguments), &[part]);
        }
        refuses(&sandbox.run(program, &["--log", "=,="]), &["--log"]);
    }
    refuses(&sandbox.run("worker", &["--coordinator", "localhost"]), &["--coordinator"]);
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() {
    let sandbox = Sandbox::new();
    let below_a_file = sandbox.file("file", "").join("data");
    let below_a_file = below_a_file.to_str().unwrap();
    refuses(
        &sandbox.run("coordinator", &["--listen", "127.0.0.1:0", "--data-dir", below_a_file]),
        &[below_a_file, "--data-dir"],
    );

    let _first = coordinator(&sandbox, 0);
    refuses(&sandbox.run("coordinator", &["--listen", "127.0.0.1:0"]), &["another", "--data-dir"]);
}

/// The file of a store that a coordinator has made in `data` and left.
fn a_store(sandbox: &Sandbox, data: &Path) -> PathBuf {
    let first = sandbox.start("coordinator", &arguments(data));
    first.await_stderr("ready");
    first.terminate();
    assert_eq!(first.outcome().code, Some(0));
    data.join("coordinator.redb")
}

fn arguments(data: &Path) -> [&str; 4] {
    ["--listen", "127.0.0.1:0", "--data-dir", data.to_str().expect("a path in UTF-8")]
}

#[test]
fn a_store_that_is_corrupt_is_not_opened_and_not_touched() {
    let sandbox = Sandbox::new();
    let data = sandbox.path("data");
    let store = a_store(&sandbox, &data);
    let whole = std::fs::read(&store).unwrap();
    let half = &whole[..whole.len() / 2];
    let blotted = [&whole[..64], &[0xA5; 4096], &whole[64 + 4096..]].concat();
    for garbage in [&[0xA5; 100_000], &b"hello"[..], half, &blotted] {
        std::fs::write(&store, garbage).unwrap();
        refuses(&sandbox.run("coordinator", &arguments(&data)), &[store.to_str().unwrap()]);
        assert!(std::fs::read(&store).unwrap() == garbage, "what may still be saved was overwritten");
    }
}

#[test]
fn a_store_of_a_newer_version_is_not_opened() {
    let sandbox = Sandbox::new();
    let data = sandbox.path("data");
    let store = a_store(&sandbox, &data);
    let database = redb::Database::open(&store).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, &str>::new("meta");
    transaction.open_table(meta).unwrap().insert("format", "1000").unwrap();
    transaction.commit().unwrap();
    drop(database);
    let outcome = sandbox.run("coordinator", &arguments(&data));
    refuses(&outcome, &[store.to_str().unwrap(), "newer version", "1000"]);
}

#[test]
fn no_secret_ever_shows_in_a_log() {
    const USERS: &str = "a-users-very-own-secret";
    let sandbox = Sandbox::new();
    let traced = |program: &str, arguments: &[&str]| {
        let mut command = sandbox.command(program, arguments);
        let running = Running::start(command.env("FRESHET_SECRET", SECRET).args(["--log", "trace"]));
        running.await_stderr("ready");
        running
    };
    let port = free_port();
    let coordinator_address: Address = format!("127.0.0.1:{port}").parse().unwrap();
    let worker_address: Address = format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let coordinator = traced("coordinator", &["--listen", &coordinator_address.to_string()]);
    let worker = traced(
        "worker",
        &["--coordinator", &coordinator_address.to_string(), "--listen", &worker_address.to_string()],
    );
    eventually("the worker has joined", || {
        let mut peer = Peer::connect(&coordinator_address);
        peer.say(&json!({"command": "STATUS", "secret": SECRET}));
        peer.hear("STATUS_REPORT")["workers"][0]["connected"] == true
    });
    for (address, name) in [(&coordinator_address, "ann"), (&worker_address, "bob")] {
        let mut peer = Peer::connect(address);
        peer.say(&json!({"command": "REGISTER", "username": name, "secret": USERS}));
        peer.hear("REGISTER_SUCCESS");
        peer.log_in(name, USERS);
        // Wrong in every way that quotes what was said.
        for line in [
            json!({"command": "LOGIN", "username": name, "secret": format!("{USERS} ")}).to_string(),
            json!({"command": "LOGIN", "username": 5, "secret": USERS}).to_string(),
            json!({"command": "LOGIN", "username": name, "secret": [USERS]}).to_string(),
            json!({"command": "AUTHENTICATE", "id": "x", "port": 0, "secret": format!("{SECRET} ")})
                .to_string(),
            json!({"command": "STATUS", "secret": format!("{SECRET} ")}).to_string(),
            format!(r#"{{"command":"LOGIN","secret":"{USERS}""#),
        ] {
            let mut peer = Peer::connect(address);
            peer.say_line(&line);
            let answer = peer.hear_any().to_string();
            assert!(!answer.contains(USERS) && !answer.contains(SECRET), "{line}: {answer}");
            peer.expect_closed();
        }
    }
    for server in [coordinator, worker] {
        server.terminate();
        let outcome = server.outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        for secret in [SECRET, USERS, "$argon2id$"] {
            let shown = outcome.stderr.lines().find(|line| line.contains(secret));
            assert_eq!(shown, None, "a secret is in the log");
        }
    }
}
