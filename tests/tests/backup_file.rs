//! Users to a file and back: `coordinator export` and `import`, against coordinators that run and that do not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use common::wire::Address;
use serde_json::{Value, json};
use tests::cluster::{self, Outcome, Peer, Running, Sandbox, eventually};

/// A coordinator, its data directory, and where the programs run.
struct Place {
    sandbox: Sandbox,
}

impl Place {
    fn new() -> Self {
        Place { sandbox: Sandbox::new() }
    }

    fn path(&self, name: &str) -> String {
        self.sandbox.path(name).display().to_string()
    }

    fn start(&self, more: &[&str]) -> Running {
        let data = self.path("data");
        let arguments = [&["--listen", "127.0.0.1:0", "--data-dir", &data], more].concat();
        let running = self.sandbox.start("coordinator", &arguments);
        running.await_stderr("ready");
        running
    }

    fn stop(&self, running: Running) {
        running.terminate();
        assert_eq!(running.outcome().code, Some(0));
    }

    /// A connection to the coordinator that runs, found as the commands find it.
    fn connect(&self) -> Peer {
        let address = fs::read_to_string(self.sandbox.path("data/coordinator.lock")).unwrap();
        Peer::connect(&address.trim().parse::<Address>().unwrap())
    }

    /// What REGISTER is answered with; who has the name and the secret already is told so.
    fn register(&self, name: &str) -> Value {
        let mut peer = self.connect();
        peer.ask(&json!({"command": "REGISTER", "username": name, "secret": format!("{name}'s")})).unwrap()
    }

    fn remove(&self, name: &str) {
        let secret = fs::read_to_string(self.sandbox.path("home/freshet/secret")).unwrap();
        let request = json!({"command": "REMOVE_USER", "username": name, "secret": secret.trim()});
        let mut peer = self.connect();
        peer.say(&request);
        peer.hear("REMOVE_USER_SUCCESS");
    }

    fn run(&self, command: &str, file: &Path, more: &[&str]) -> Outcome {
        let (data, file) = (self.path("data"), file.display().to_string());
        self.sandbox.run("coordinator", &[&[command, "--data-dir", &data, &file], more].concat())
    }

    fn succeed(&self, command: &str, file: &Path, says: &str) {
        let Outcome { code, stdout, stderr } = self.run(command, file, &[]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
        assert!(stdout.contains(says), "{stdout}");
    }

    fn refuse(&self, command: &str, file: &Path, says: &str) {
        let Outcome { code, stdout, stderr } = self.run(command, file, &[]);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
}

/// A coordinator that has two users, and one that is removed.
fn with_users() -> (Place, Running) {
    let place = Place::new();
    let running = place.start(&[]);
    for name in ["ann", "bob", "gone"] {
        assert_eq!(place.register(name)["command"], "REGISTER_SUCCESS");
    }
    place.remove("gone");
    (place, running)
}

/// The users are those of [`with_users`], and the name of the one who was removed is free.
fn check(place: &Place) {
    check_live(place);
    let answer = place.register("gone");
    assert_eq!((&answer["command"], answer.get("existing")), (&json!("REGISTER_SUCCESS"), None));
}

fn check_live(place: &Place) {
    for name in ["ann", "bob"] {
        let answer = place.register(name);
        assert_eq!(answer["existing"], true, "{name} is there, with the same secret: {answer}");
    }
}

#[test]
fn users_of_a_stopped_coordinator_are_there_at_another_one_that_imports_them() {
    let (source, running) = with_users();
    let file = source.sandbox.path("users.jsonl");
    source.stop(running);
    source.succeed("export", &file, "exported 3 registrations");
    let other = Place::new();
    other.succeed("import", &file, "imported 3 registrations");
    other.succeed("import", &file, "0 of them were news");
    let running = other.start(&[]);
    check(&other);
    other.stop(running);
}

#[test]
fn both_work_while_the_coordinators_run() {
    let (source, _running) = with_users();
    let file = source.sandbox.path("users.jsonl");
    source.succeed("export", &file, "exported 3 registrations");
    let other = Place::new();
    let running = other.start(&[]);
    other.refuse("import", &file, "--other-network");
    let outcome = other.run("import", &file, &["--other-network"]);
    assert!(outcome.stdout.contains("3 of them were news"), "{}", outcome.stderr);
    check(&other);
    other.stop(running);
    let running = other.start(&[]);
    check_live(&other);
    other.stop(running);
    let wrong = source.sandbox.file("secret", "not the secret of this network");
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
    let outcome = source.run("import", &file, &["--secret-file", &wrong.display().to_string()]);
    assert!(outcome.stderr.contains("wrong network secret"), "{}", outcome.stderr);
}

#[test]
fn a_user_that_was_imported_logs_in_at_a_worker() {
    let (source, running) = with_users();
    let file = source.sandbox.path("users.jsonl");
    source.succeed("export", &file, "exported");
    drop(running);
    let cluster = cluster::start(1);
    let mut command = source.sandbox.command("coordinator", &["import", "--other-network", "--data-dir"]);
    command.arg(cluster.directory().join("data/coordinator-1")).arg(&file);
    command.envs(cluster.network.environment().iter().cloned());
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    cluster.log_in("ann", "ann's");
}

#[test]
fn a_file_that_is_not_whole_changes_nothing_and_the_sentence_says_what_is_wrong() {
    let (source, running) = with_users();
    let file = source.sandbox.path("users.jsonl");
    source.succeed("export", &file, "exported");
    let whole = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let other = Place::new();
    other.stop(other.start(&[]));
    let changed = whole.replacen("\"ann\"", "\"amy\"", 1);
    let newer = whole.replacen("\"version\":1", "\"version\":2", 1);
    for (damaged, says) in [
        (&whole[..whole.len() / 2], "is cut off"),
        (&lines[..3].join("\n"), "is cut off"),
        (&changed, "its checksum is not that of what it holds"),
        (&newer, "newer version"),
        ("root:x:0:0:root:/root:/bin/bash\n", "no file of users"),
        ("", "no file of users"),
    ] {
        let bad = other.sandbox.file("bad.jsonl", damaged);
        other.refuse("import", &bad, says);
        source.refuse("import", &bad, says);
    }
    other.refuse("import", Path::new("/nowhere/users.jsonl"), "cannot read");
    other.succeed("import", &file, "3 of them were news");
    source.stop(running);
}

#[test]
fn a_coordinator_that_says_nothing_is_not_waited_for() {
    // Its process was stopped, and the export hung for as long as anybody watched.
    let (place, running) = with_users();
    let file = place.sandbox.path("users.jsonl");
    running.signal("STOP");
    place.refuse("export", &file, "has said nothing for 10 s: its process is stopped");
    assert!(!file.exists());
    running.signal("CONT");
    place.succeed("export", &file, "exported 3 registrations");
}

#[test]
fn a_coordinator_does_not_start_that_could_not_export() {
    // It started, and warned of that each time. Who did not read its log had no exports.
    let place = Place::new();
    let data = place.path("data");
    let start = |file: &Path| {
        let file = file.display().to_string();
        let arguments =
            ["--listen", "127.0.0.1:0", "--data-dir", &data, "--export-every", "1h", "--export-file", &file];
        place.sandbox.run("coordinator", &arguments)
    };
    for (file, says) in [("no/such/directory", "cannot write"), ("data", "no plain file")] {
        let Outcome { code, stdout, stderr } = start(&place.sandbox.path(file));
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        let last = stderr.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("error: ") && last.contains(says) && last.contains("--export-file"),
            "{stderr}"
        );
    }
    place.stop(place.start(&[]));
}

#[test]
fn an_export_is_where_it_should_be_or_nothing_is_there() {
    let place = Place::new();
    let file = place.sandbox.path("users.jsonl");
    place.refuse("export", &file, "no coordinator keeps users in");
    assert!(!place.sandbox.path("data").exists(), "asking makes no store");
    place.stop(place.start(&[]));
    place.refuse("export", &place.sandbox.path("no/such/directory"), "cannot write");
    place.refuse("export", &place.sandbox.path("data"), "no plain file");
    place.succeed("export", &file, "exported 0 registrations");
}

#[test]
fn a_running_coordinator_exports_time_and_again() {
    let place = Place::new();
    let file = place.sandbox.path("users.jsonl");
    let path = file.display().to_string();
    let running = place.start(&["--export-every", "1s", "--export-file", &path]);
    let exported = |name: &str| fs::read_to_string(&file).is_ok_and(|text| text.contains(name));
    eventually("there is an export", || exported("freshet-users"));
    place.register("ann");
    eventually("the new user is in it", || exported("\"ann\""));
    place.stop(running);
    place.succeed("import", &file, "0 of them were news");
}
