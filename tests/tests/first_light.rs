//! The main job, whole: thousands of real activities of more than a thousand users through three workers and one coordinator, each
//! a process, seen from every kind of client; then the coordinator dies in the middle and nobody notices.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Instant;

use serde_json::Value;
use tests::cluster::{self, Cluster, Peer, eventually};

/// The activities, in the order of the file: who sent each, and the identity by which it is known again.
struct Input {
    path: PathBuf,
    activities: Vec<(String, String)>,
}

impl Input {
    /// The real data where it lies beside the project, otherwise the playground's sample of it.
    fn find() -> Input {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let whole = root.join("../shared/data/activities.jsonl.gz");
        let path = if whole.exists() { whole } else { root.join("playground/sample/activities.jsonl") };
        let file = File::open(&path).expect("the data can be read");
        let reader: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "gz") {
            Box::new(flate2::read::GzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let activities = BufReader::new(reader)
            .lines()
            .map(|line| identity(&serde_json::from_str(&line.unwrap()).unwrap()));
        Input { activities: activities.collect(), path }
    }

    fn users(&self) -> usize {
        self.by_sender(self.activities.iter()).len()
    }

    fn by_sender<'a>(
        &self,
        activities: impl Iterator<Item = &'a (String, String)>,
    ) -> BTreeMap<&'a str, Vec<&'a str>> {
        let mut by_sender: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (sender, id) in activities {
            by_sender.entry(sender).or_default().push(id);
        }
        by_sender
    }

    /// Each activity once, none besides, each sender's in the order of the file.
    fn check(&self, who: &str, received: &[(String, String)]) {
        assert_eq!(received.len(), self.activities.len(), "{who} received another number of activities");
        let (expected, received) = (self.by_sender(self.activities.iter()), self.by_sender(received.iter()));
        for (sender, expected) in expected {
            assert_eq!(
                received.get(sender),
                Some(&expected),
                "{who} did not receive {sender}'s activities once and in order"
            );
        }
    }
}

/// The sender and the text of an activity, without what the worker adds.
fn identity(activity: &Value) -> (String, String) {
    let mut activity = activity.clone();
    let fields = activity.as_object_mut().expect("an activity is an object");
    if let Some(user) = fields.remove("authenticated_user") {
        assert_eq!(user, fields["actor"], "an activity has another's name on it");
    }
    (fields["actor"].as_str().expect("an actor").to_owned(), activity.to_string())
}

fn client(cluster: &Cluster, arguments: &[&str]) -> Child {
    Command::new(cluster.network.client())
        .args(["--coordinator", &cluster.network.address().to_string()])
        .args(arguments)
        .envs(cluster.network.environment().iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client starts")
}

/// A `client tail --json`, read on a thread of its own until it has seen `count` activities.
struct Tail {
    child: Child,
    reader: JoinHandle<Vec<(String, String)>>,
}

impl Tail {
    fn start(cluster: &Cluster, count: usize) -> Tail {
        let mut child = client(cluster, &["tail", "--json", "--count", &count.to_string()]);
        let stdout = child.stdout.take().expect("standard output is piped");
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(stdout)
                .lines()
                .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
            lines.map(|broadcast| identity(&broadcast["activity"])).collect()
        });
        Tail { child, reader }
    }

    fn finish(mut self) -> Vec<(String, String)> {
        let received = self.reader.join().expect("the tail prints JSON");
        assert!(self.child.wait().unwrap().success(), "the tail ended badly");
        received
    }
}

/// A classic client that only listens, on a thread of its own, until it has seen `count` activities.
fn listen(mut peer: Peer, count: usize) -> JoinHandle<Vec<(String, String)>> {
    std::thread::spawn(move || {
        (0..count).map(|_| identity(&peer.hear("ACTIVITY_BROADCAST")["activity"])).collect()
    })
}

/// Runs a replay to its end and returns its report.
fn replay(cluster: &Cluster, input: &Input) -> Child {
    let path = input.path.display().to_string();
    client(cluster, &["replay", &path, "--user-from", "actor", "--json"])
}

fn report(mut replay: Child) -> Value {
    let mut errors = replay.stderr.take().expect("standard error is piped");
    let drain = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).map(|_| text)
    });
    let output = replay.wait_with_output().expect("the replay ends");
    let errors = drain.join().unwrap().unwrap();
    assert!(output.status.success(), "the replay failed:\n{errors}");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("the report is no JSON: {error}\n{errors}"))
}

fn loads(cluster: &Cluster) -> Vec<u64> {
    let status = cluster.status();
    let mut loads: Vec<u64> =
        status["workers"].as_array().unwrap().iter().map(|worker| worker["load"].as_u64().unwrap()).collect();
    loads.sort_unstable();
    loads
}

#[test]
fn real_activities_reach_everyone_once_and_in_order_and_the_coordinators_death_goes_unnoticed() {
    const CLASSIC: usize = 20;
    let input = Input::find();
    let (count, users) = (input.activities.len(), input.users());
    let mut cluster = cluster::start(3);

    // One tail on each worker: each joins when the one before it has arrived.
    let mut tails = Vec::new();
    for number in 1..=3u64 {
        tails.push(Tail::start(&cluster, 2 * count));
        eventually("the tail has logged in", || loads(&cluster).iter().sum::<u64>() == number);
    }
    assert_eq!(loads(&cluster), [1, 1, 1]);
    let classic: Vec<_> = (0..CLASSIC).map(|_| listen(cluster.log_in("anonymous", ""), 2 * count)).collect();
    eventually("the classic clients are counted", || loads(&cluster) == [7, 8, 8]);

    let began = Instant::now();
    let first = report(replay(&cluster, &input));
    println!("first replay, {:?} with registering and logging in: {first:#}", began.elapsed());
    assert_eq!(first["registered"], users, "{first}");
    assert_eq!(first["seen"], count, "{first}");
    let mut spread: Vec<u64> =
        first["sessions"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).collect();
    spread.sort_unstable();
    let even = users as u64 / 3;
    assert!(
        spread.len() == 3 && spread[0] >= even - 1 && spread[2] <= even + 2,
        "the sessions are spread {spread:?}"
    );
    for server in cluster.network.workers.iter().chain([&cluster.network.coordinator]) {
        println!("{}: {} MB resident", server.name(), server.resident_bytes().unwrap_or(0) / 1_000_000);
    }

    // The second time, the coordinator is killed as soon as activities flow.
    eventually("the first replay's sessions have ended", || loads(&cluster) == [7, 8, 8]);
    let second = replay(&cluster, &input);
    let mut witness = cluster.log_in("anonymous", "");
    witness.hear("ACTIVITY_BROADCAST");
    cluster.network.coordinator.kill();
    let second = report(second);
    println!("second replay: {second:#}");
    assert_eq!(second["seen"], count, "{second}");
    assert_eq!(second["disconnections"], 0, "{second}");

    // Everybody saw both, whole.
    for (who, received) in tails
        .into_iter()
        .map(|tail| ("a tail", tail.finish()))
        .chain(classic.into_iter().map(|listener| ("a classic client", listener.join().unwrap())))
    {
        let (first, second) = received.split_at(count);
        input.check(who, first);
        input.check(who, second);
    }

    // After its restart, the coordinator has all users.
    cluster.network.restart_coordinator().expect("the coordinator starts again");
    cluster.await_workers(3);
    assert_eq!(cluster.status()["users"], users);
    let (sender, _) = &input.activities[0];
    cluster.log_in(sender, "freshet-replay");
}
