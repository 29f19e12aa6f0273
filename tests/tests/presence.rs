//! Who is online, as real processes tell: the `client` asks, workers die.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::cluster::{self, Cluster, Running, Sandbox, eventually};

/// How long the clients of a worker that is gone may still be shown: the silence after which it is taken to be gone, and some time to
/// notice.
const GONE_AFTER: Duration = Duration::from_secs(25);

/// Who is online in the eyes of `client who`, and where.
fn who(cluster: &Cluster, sandbox: &Sandbox) -> BTreeMap<String, Vec<String>> {
    let mut command = sandbox.command("client", &["who", "--json"]);
    command.env("FRESHET_COORDINATOR", cluster.network.address().to_string());
    let outcome = Running::start(&mut command).outcome();
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.stdout, outcome.stderr);
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for line in outcome.stdout.lines() {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        let text = |key: &str| line[key].as_str().expect("a text").to_owned();
        found.entry(text("username")).or_default().push(text("worker"));
    }
    found
}

#[test]
fn everybody_is_shown_where_they_are_and_a_worker_that_dies_leaves_no_ghosts() {
    let mut cluster = cluster::start(3);
    let sandbox = Sandbox::new();
    for name in ["ann", "bob", "cem"] {
        cluster.register(name, "a secret");
    }
    let _ann = cluster.session(0, "ann", "a secret");
    let bob = cluster.session(1, "bob", "a secret");
    let cem = cluster.session(2, "cem", "a secret");
    let mut found = BTreeMap::new();
    eventually("all three are shown", || {
        found = who(&cluster, &sandbox);
        found.len() == 3
    });
    let places: Vec<&Vec<String>> = found.values().collect();
    assert!(places.iter().all(|place| place.len() == 1), "{found:?}");
    assert!(places[0] != places[1] && places[1] != places[2] && places[0] != places[2], "{found:?}");

    // It goes on elsewhere, before anybody knows that its first worker is dead.
    cluster.network.workers[1].kill();
    let killed = Instant::now();
    let _bob = cluster.session(0, "bob", "a secret");
    drop((bob, cem));
    loop {
        let found_now = who(&cluster, &sandbox);
        assert!(
            found_now["bob"].contains(&found["ann"][0]),
            "bob is online at his new worker: {found_now:?}"
        );
        if found_now.len() == 2 && found_now["bob"].len() == 1 {
            break;
        }
        assert!(killed.elapsed() < GONE_AFTER, "there are ghosts: {found_now:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
