//! A large store: how long a standby takes to have it, whether log-ins suffer, what an absence costs, and how much memory it takes.
//!
//! The normal run has few users. The figures are those of a million, in a release build:
//! `FRESHET_USERS=1000000 cargo test --release -p tests --test large_store -- --nocapture`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::password::Memory;
use common::user::Secret;
use common::wire::Address;
use playground::binaries;
use playground::server::Server;
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tests::cluster::{Peer, Proxy, environment, eventually, status};

/// Users of the normal run.
const FEW: usize = 20_000;

/// The pause between two log-ins: five a second.
const LOG_IN_EVERY: Duration = Duration::from_millis(200);

/// How many users change while the standby is away, and how many bytes may be moved to tell it.
const CHANGES: usize = 10;

const CHANGES_BYTES: u64 = 100_000;

/// How much memory a server may take, how long its start, and how long a log-in meanwhile; a quarter of the last on a machine with
/// nothing else to do.
const RESIDENT_BYTES: u64 = 350_000_000;

const START: Duration = Duration::from_secs(5);

const LOG_IN: Duration = Duration::from_secs(1);

const NETWORK_SECRET: &str = "0123456789abcdef-the-network-secret";

const SECRET: &str = "correct horse";

/// Where coordinators listen, and the ways on which they reach each other: what they say to each other is counted.
struct Place {
    directory: TempDir,
    listen: [Address; 2],
    ways: [Proxy; 2],
}

impl Place {
    fn new() -> Self {
        let listen = [(); 2].map(|()| free_address());
        let ways = listen.each_ref().map(|address| Proxy::new(address.clone()));
        Place { directory: tempfile::tempdir().expect("a temporary directory can be made"), listen, ways }
    }

    fn data(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("coordinator-{index}"))
    }

    /// Starts a coordinator and says how long it took until it was ready.
    fn coordinator(&self, index: usize) -> (Server, Duration) {
        let mut arguments = vec!["--id".to_owned(), format!("coordinator-{index}")];
        for (flag, value) in [
            ("--listen", self.listen[index].to_string()),
            ("--advertise", self.ways[index].address().to_string()),
            ("--backup", self.ways[1 - index].address().to_string()),
            ("--data-dir", self.data(index).display().to_string()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        let began = Instant::now();
        let binary = binaries::locate().expect("the binaries build").coordinator;
        let server = Server::start("coordinator", &binary, &arguments, &self.environment());
        (server.expect("the coordinator starts"), began.elapsed())
    }

    fn worker(&self) -> Server {
        let arguments = ["--coordinator".to_owned(), self.listen[0].to_string()];
        let binary = binaries::locate().expect("the binaries build").worker;
        Server::start("worker", &binary, &arguments, &self.environment()).expect("the worker starts")
    }

    fn environment(&self) -> Vec<(String, String)> {
        let mut environment = environment(self.directory.path().join("home"));
        environment.push(("FRESHET_SECRET".to_owned(), NETWORK_SECRET.to_owned()));
        environment
    }

    /// Whether the first coordinator, the main one, has the second one in its list.
    fn is_listed(&self) -> bool {
        status(&self.listen[0], NETWORK_SECRET).is_some_and(|report| {
            let coordinators = report["coordinators"].as_array().cloned().unwrap_or_default();
            coordinators.len() == 2 && coordinators.iter().all(|coordinator| coordinator["listed"] == true)
        })
    }

    /// Whether the first coordinator reigns and has a worker.
    fn is_served(&self) -> bool {
        let report = status(&self.listen[0], NETWORK_SECRET);
        report.is_some_and(|report| report["workers"][0]["connected"] == true)
    }

    fn users(&self, index: usize) -> u64 {
        status(&self.listen[index], NETWORK_SECRET).and_then(|report| report["users"].as_u64()).unwrap_or(0)
    }

    fn bytes(&self) -> u64 {
        self.ways.iter().map(Proxy::bytes).sum()
    }

    /// Logs in at the main coordinator, and says how long that took.
    fn log_in(&self, name: &str) -> Duration {
        let began = Instant::now();
        let mut peer = Peer::connect(&self.listen[0]);
        peer.say(&json!({"command": "LOGIN", "username": name, "secret": SECRET}));
        peer.hear("LOGIN_SUCCESS");
        peer.hear("REDIRECT");
        began.elapsed()
    }

    fn register(&self, name: &str) {
        let mut peer = Peer::connect(&self.listen[0]);
        peer.say(&json!({"command": "REGISTER", "username": name, "secret": SECRET}));
        peer.hear("REGISTER_SUCCESS");
    }
}

/// A port that was free a moment ago.
fn free_address() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    Address::from(listener.local_addr().expect("it is bound"))
}

fn name(number: usize) -> String {
    format!("somebody-{number}")
}

/// Writes a file of users, as `coordinator export` does; all have the same secret.
fn write_users(path: &Path, count: usize) {
    let hash = common::password::hash(&Secret::new(SECRET), &mut Memory::default());
    let mut file = BufWriter::new(File::create(path).expect("a file can be made"));
    let mut digest = Sha256::new();
    let mut write = |line: String, counts: bool| {
        file.write_all(line.as_bytes()).expect("there is room");
        if counts {
            digest.update(line.as_bytes());
        }
    };
    let header = json!({"format": "freshet-users", "version": 1, "network": "net-large", "exported": 1_760_000_000_000u64});
    write(format!("{header}\n"), true);
    for number in 0..count {
        let stamp = format!("{}.{}@coordinator-0", 1_760_000_000_000 + number / 1000, number % 1000);
        let user = json!({"username": name(number), "registration": stamp, "changed": stamp, "secret": hash});
        write(format!("{user}\n"), true);
    }
    let sha256: String = digest.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let trailer = json!({"count": count, "sha256": sha256});
    file.write_all(format!("{trailer}\n").as_bytes()).expect("there is room");
    file.flush().expect("there is room");
}

fn import(place: &Place, file: &Path) {
    let mut command = Command::new(binaries::locate().expect("the binaries build").coordinator);
    command.arg("import").arg("--data-dir").arg(place.data(0)).arg("--other-network").arg(file);
    let output = command.envs(place.environment()).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Logs somebody in five times a second until `over`; how long each took, the shortest first.
fn log_in_until(place: &Place, users: usize, over: &AtomicBool) -> Vec<Duration> {
    let began = Instant::now();
    let mut took = Vec::new();
    while !over.load(Relaxed) || took.is_empty() {
        took.push(place.log_in(&name(fastrand::usize(0..users))));
        let next = LOG_IN_EVERY * u32::try_from(took.len()).expect("a count of log-ins");
        std::thread::sleep(next.saturating_sub(began.elapsed()));
    }
    took.sort_unstable();
    took
}

/// Sets its flag, also where the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn resident(server: &Server) -> String {
    let megabytes = |bytes: Option<u64>| bytes.unwrap_or(0) / 1_000_000;
    format!(
        "{} MB resident, {} at the most",
        megabytes(server.resident_bytes()),
        megabytes(server.peak_bytes())
    )
}

#[test]
fn an_empty_standby_gets_a_large_store_while_log_ins_go_on_and_a_short_absence_costs_little() {
    let users = std::env::var("FRESHET_USERS").map_or(FEW, |text| text.parse().expect("a number"));
    // They are built first, which is nobody's time.
    binaries::locate().expect("the binaries build");
    let place = Place::new();
    let file = place.directory.path().join("users.jsonl");
    write_users(&file, users);
    let began = Instant::now();
    import(&place, &file);
    println!("{users} users: imported in {:?}", began.elapsed());

    let (main, took) = place.coordinator(0);
    println!("the main coordinator was ready after {took:?}: {}", resident(&main));
    let worker = place.worker();
    eventually("the worker has joined", || place.is_served());
    await_steady(&worker);
    println!("the worker has its users: {}", resident(&worker));

    let over = AtomicBool::new(false);
    let (standby, took, log_ins) = std::thread::scope(|scope| {
        let end = Over(&over);
        let log_ins = scope.spawn(|| log_in_until(&place, users, &over));
        let began = Instant::now();
        let (standby, _) = place.coordinator(1);
        eventually("the standby is in step", || place.is_listed());
        let took = began.elapsed();
        drop(end);
        (standby, took, log_ins.join().expect("everybody is let in"))
    });
    let percentile = |percent: usize| log_ins[(log_ins.len() * percent / 100).min(log_ins.len() - 1)];
    println!("the empty standby was in step after {took:?}, {} MB of updates", place.bytes() / 1_000_000);
    println!(
        "{} log-ins meanwhile: median {:?}, p99 {:?}, the slowest {:?}",
        log_ins.len(),
        percentile(50),
        percentile(99),
        log_ins[log_ins.len() - 1]
    );
    println!("the main coordinator: {}; the standby: {}", resident(&main), resident(&standby));
    assert_eq!(place.users(1), users as u64);

    assert!(percentile(99) < LOG_IN, "log-ins took {log_ins:?}");

    drop(standby);
    for number in 0..CHANGES {
        place.register(&format!("newcomer-{number}"));
    }
    let before = place.bytes();
    let began = Instant::now();
    let (standby, took) = place.coordinator(1);
    assert!(took < START, "ready after {took:?}");
    eventually("the standby is in step again", || place.is_listed());
    let moved = place.bytes() - before;
    println!(
        "back after {CHANGES} changes: ready after {took:?}, in step after {:?}, {moved} bytes moved; {}",
        began.elapsed(),
        resident(&standby)
    );
    assert!(moved < CHANGES_BYTES, "{moved} bytes were moved");
    assert_eq!(place.users(1), (users + CHANGES) as u64);

    // Workers have them all too, for the time when no coordinator answers.
    println!("the worker: {}", resident(&worker));
    for server in [&main, &standby, &worker] {
        assert!(server.peak_bytes().is_none_or(|bytes| bytes < RESIDENT_BYTES), "{}", resident(server));
    }
    drop((main, standby));
    for number in [0, users / 2, users - 1] {
        Peer::connect(worker.address()).log_in(&name(number), SECRET);
    }
}

/// Waits until a server's memory does not grow any more: it has the users that it was to be told of.
fn await_steady(server: &Server) {
    let mut samples = [0; 10];
    eventually("the worker has its users", || {
        samples.rotate_left(1);
        samples[9] = server.resident_bytes().unwrap_or(0);
        std::thread::sleep(Duration::from_millis(100));
        samples[0] > 0 && samples.iter().all(|sample| sample.abs_diff(samples[0]) < 200_000)
    });
}
