//! The `client` binary in scripts: what goes in, what comes out, and the exit code.

use std::process::Stdio;

use serde_json::{Value, json};
use tests::cluster::{self, Cluster, Outcome, Running, Sandbox, eventually};

/// A network and a place to run clients.
struct Scene {
    cluster: Cluster,
    sandbox: Sandbox,
}

impl Scene {
    fn new() -> Scene {
        Scene { cluster: cluster::start(2), sandbox: Sandbox::new() }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.sandbox.command("client", arguments);
        command.env("FRESHET_COORDINATOR", self.cluster.network.address().to_string());
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        Running::start(&mut self.command(arguments)).outcome()
    }

    /// A `tail` that has logged in.
    fn tail(&self, arguments: &[&str]) -> Running {
        let before = self.load();
        let tail = Running::start(&mut self.command(&[&["tail"], arguments].concat()));
        eventually("the tail has logged in", || self.load() > before);
        tail
    }

    fn load(&self) -> u64 {
        let status = self.cluster.status();
        status["workers"].as_array().unwrap().iter().map(|worker| worker["load"].as_u64().unwrap()).sum()
    }
}

#[track_caller]
fn succeeded(outcome: &Outcome) {
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.stdout, outcome.stderr);
}

#[track_caller]
fn failed(outcome: &Outcome, parts: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{}{}", outcome.stdout, outcome.stderr);
    for part in parts {
        assert!(outcome.stderr.contains(part), "it should speak of {part:?}: {}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
}

#[test]
fn what_is_sent_is_what_a_tail_prints() {
    let scene = Scene::new();
    let tail = scene.tail(&["--json", "--count", "4"]);
    succeeded(&scene.run(&["send", r#"{"n":1,"big":12345678901234567890.10}"#]));
    let input = scene.sandbox.file("input", "{\"n\":2}\n{\"n\":3}\n\n{\"n\":4}");
    let mut command = scene.command(&["send"]);
    succeeded(&Running::start(command.stdin(std::fs::File::open(input).unwrap())).outcome());
    let outcome = tail.outcome();
    succeeded(&outcome);
    assert!(outcome.stdout.contains("12345678901234567890.10"), "{}", outcome.stdout);
    let printed: Vec<Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let numbers: Vec<&Value> = printed.iter().map(|broadcast| &broadcast["activity"]["n"]).collect();
    assert_eq!(numbers, [1, 2, 3, 4].map(|n| json!(n)).iter().collect::<Vec<_>>());
}

#[test]
fn a_user_registers_once_and_sends_under_their_name() {
    let scene = Scene::new();
    let secret = scene.sandbox.file("user-secret", "correct horse");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let as_ann = ["--username", "ann", "--secret-file", secret.to_str().unwrap()];
    failed(&scene.run(&[&as_ann[..], &["send", "{}"]].concat()), &["wrong name or secret"]);
    succeeded(&scene.run(&[&as_ann[..], &["register"]].concat()));
    let again = scene.run(&[&as_ann[..], &["register"]].concat());
    succeeded(&again);
    assert_eq!(again.stdout, "ann is registered already, with this secret\n");
    let other = scene.sandbox.file("other-secret", "battery staple");
    let not_ann = ["--username", "ann", "--secret-file", other.to_str().unwrap()];
    failed(&scene.run(&[&not_ann[..], &["register"]].concat()), &["ann is registered"]);
    let tail = scene.tail(&["--json", "--count", "1"]);
    succeeded(&scene.run(&[&as_ann[..], &["send", "{}"]].concat()));
    let outcome = tail.outcome();
    assert!(outcome.stdout.contains(r#""authenticated_user":"ann""#), "{}", outcome.stdout);
}

#[test]
fn a_user_changes_its_secret_and_an_operator_removes_it() {
    let scene = Scene::new();
    let [old, new] = [("old", "correct horse"), ("new", "battery staple")].map(|(name, secret)| {
        let path = scene.sandbox.file(name, secret);
        path.to_str().unwrap().to_owned()
    });
    let with = |secret: &str, command: &[&str]| {
        scene.run(&[&["--username", "ann", "--secret-file", secret], command].concat())
    };
    succeeded(&with(&old, &["register"]));
    let mut session = scene.cluster.log_in("ann", "correct horse");
    failed(&with(&new, &["passwd", "--new-secret-file", &new]), &["wrong name or secret"]);
    succeeded(&with(&old, &["passwd", "--new-secret-file", &new]));
    failed(&with(&old, &["send", "{}"]), &["wrong name or secret"]);
    succeeded(&with(&new, &["send", r#"{"n":1}"#]));
    assert_eq!(session.hear_activity(1)["authenticated_user"], "ann", "its session goes on");
    for worker in 0..2 {
        scene.cluster.session(worker, "ann", "battery staple");
    }

    let network = scene.sandbox.file("network", &scene.cluster.secret());
    std::fs::set_permissions(&network, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let remove = |secret: &str, name: &str| scene.run(&["--secret-file", secret, "remove-user", name]);
    let guessed = scene.sandbox.file("guessed", "guessed-0123456789abcdef");
    std::fs::set_permissions(&guessed, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    failed(&remove(guessed.to_str().unwrap(), "ann"), &["wrong network secret"]);
    failed(&remove(network.to_str().unwrap(), "bob"), &["bob is not registered"]);
    succeeded(&remove(network.to_str().unwrap(), "ann"));
    let end = session.hear("AUTHENTICATION_FAIL");
    assert!(end["info"].as_str().unwrap().contains("removed"), "{end}");
    session.expect_closed();
    failed(&with(&new, &["send", "{}"]), &["wrong name or secret"]);
    assert_eq!(scene.cluster.status()["users"], 0);
    succeeded(&with(&old, &["register"]));
    scene.cluster.log_in("ann", "correct horse");
}

#[test]
fn what_is_no_json_object_is_not_sent() {
    let scene = Scene::new();
    for bad in ["hello", "{", "[1]", "5", r#"{"a":1} x"#] {
        failed(&scene.run(&["send", bad]), &["JSON"]);
    }
    let tail = scene.tail(&["--json", "--count", "2"]);
    let input = scene.sandbox.file("input", "{\"n\":1}\nhello\n{\"n\":3}\n");
    let mut command = scene.command(&["send"]);
    failed(&Running::start(command.stdin(std::fs::File::open(input).unwrap())).outcome(), &["line 2"]);
    succeeded(&tail.outcome());
}

#[test]
fn an_unreachable_coordinator_is_named() {
    let sandbox = Sandbox::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let at = ["--coordinator", &address];
    failed(&sandbox.run("client", &[&at[..], &["send", "--timeout", "1s", "{}"]].concat()), &[&address]);
    let tail = sandbox.start("client", &[&at[..], &["tail"]].concat());
    tail.await_stderr(&address);
}

#[test]
fn a_tail_into_a_closed_pipe_ends_quietly() {
    let scene = Scene::new();
    let mut command = scene.command(&["tail", "--json"]);
    let mut tail = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the tail has logged in", || scene.load() == 1);
    drop(tail.stdout.take());
    let mut publisher = scene.cluster.session(0, "anonymous", "");
    let mut n = 0;
    eventually("the tail ends", || {
        n += 1;
        publisher.publish(&json!({"n": n}).to_string());
        tail.try_wait().unwrap().is_some()
    });
    let outcome = tail.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&outcome.stderr);
    assert!(!errors.contains("panicked") && !errors.contains("error"), "{errors}");
}

#[test]
fn a_tail_survives_its_worker() {
    let mut scene = Scene::new();
    let tail = scene.tail(&["--json", "--count", "1"]);
    let status = scene.cluster.status();
    let worker = status["workers"]
        .as_array()
        .unwrap()
        .iter()
        .position(|worker| worker["load"] == 1)
        .expect("it is somewhere");
    scene.cluster.network.workers[worker].kill();
    eventually("it has moved to the other worker", || {
        let status = scene.cluster.status();
        status["workers"]
            .as_array()
            .unwrap()
            .iter()
            .any(|worker| worker["connected"] == true && worker["load"] == 1)
    });
    scene.cluster.session(1 - worker, "anonymous", "").publish("{}");
    succeeded(&tail.outcome());
}
