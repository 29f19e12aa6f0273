//! Tests against real processes: a network of the real binaries on loopback, and peers that speak to it byte by byte.
//!
//! [`start`] starts a network whose files all lie in a directory of its own; [`Peer`] is a connection that says and hears one
//! line at a time and knows nothing of how Freshet works inside; a [`Caller`] knows several coordinators and asks until one answers.
//! [`start_group`] adds standbys. [`Crowd`] is a hundred honest clients that check what they receive, and
//! [`Sandbox`] runs single binaries as a person would. What crosses processes (partial writes, the order of closing, fsync) is proved
//! here; everything else is proved faster in the simulator.

pub mod audience;
mod caller;
pub mod crowd;
mod group;
mod peer;
mod program;
mod proxy;
#[cfg(target_os = "linux")]
mod spaces;
#[cfg(target_os = "linux")]
mod town;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use playground::binaries;
use playground::network::{Network, Setup};
use tempfile::TempDir;

pub use caller::{Answer, Caller, target};
pub use crowd::Crowd;
pub use group::{is_normal, registrations, start_group, status};
pub use peer::Peer;
pub use program::{Outcome, Running, Sandbox};
pub use proxy::Proxy;
#[cfg(target_os = "linux")]
pub use spaces::Spaces;
#[cfg(target_os = "linux")]
pub use town::{LEFT, RIGHT, Town};

/// How long anything may take that should take a moment.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A network and the directory that its files lie in.
#[derive(Debug)]
pub struct Cluster {
    /// The processes.
    pub network: Network,
    directory: TempDir,
}

/// Starts a coordinator and `workers` workers, and waits until the coordinator has all of them.
///
/// # Panics
/// When they do not start.
pub fn start(workers: usize) -> Cluster {
    common::boot::raise_file_limit();
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let setup = Setup {
        listen: "127.0.0.1:0".into(),
        workers,
        data: directory.path().join("data"),
        environment: environment(directory.path().join("config")),
    };
    let binaries = binaries::locate().expect("the binaries build");
    let network = Network::start(binaries, setup).expect("the network starts");
    let cluster = Cluster { network, directory };
    cluster.await_workers(workers);
    cluster.await_mesh();
    cluster
}

/// What keeps a process away from the user's own files: configuration (with the network secret) and data lie in `home`.
pub fn environment(home: PathBuf) -> Vec<(String, String)> {
    let home = home.display().to_string();
    ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"].map(|name| (name.to_owned(), home.clone())).to_vec()
}

impl Cluster {
    /// Where everything lies that the network writes.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// The network secret that the coordinator made.
    pub fn secret(&self) -> String {
        let path = self.directory.path().join("config/freshet/secret");
        std::fs::read_to_string(path).expect("the coordinator made a secret").trim().to_owned()
    }

    /// A connection to the coordinator.
    pub fn coordinator(&self) -> Peer {
        Peer::connect(self.network.address())
    }

    /// A connection to the worker of that index.
    pub fn worker(&self, index: usize) -> Peer {
        Peer::connect(self.network.workers[index].address())
    }

    /// A session of `username` directly at the worker of that index; `anonymous` needs no secret. A worker that has just started
    /// takes nobody before it has caught up: it is asked again, as it asks to be.
    pub fn session(&self, index: usize, username: &str, secret: &str) -> Peer {
        let mut session = None;
        eventually("the worker takes the client", || {
            let mut peer = self.worker(index);
            peer.say(&serde_json::json!({"command": "LOGIN", "username": username, "secret": secret}));
            let answer = peer.hear_any();
            let later = answer["command"] == "LOGIN_FAILED" && !answer["retry_after"].is_null();
            assert!(later || answer["command"] == "LOGIN_SUCCESS", "heard {answer}");
            session = (!later).then_some(peer);
            !later
        });
        session.expect("the worker took the client")
    }

    /// The addresses of all workers.
    pub fn workers(&self) -> Vec<common::wire::Address> {
        self.network.workers.iter().map(|worker| worker.address().clone()).collect()
    }

    /// What the coordinator answers to STATUS.
    pub fn status(&self) -> serde_json::Value {
        let mut peer = self.coordinator();
        peer.say(&serde_json::json!({"command": "STATUS", "secret": self.secret()}));
        peer.hear("STATUS_REPORT")
    }

    /// Waits until every worker has a link to every other. A worker takes clients as soon as the coordinator has it; what is published
    /// before it is linked stays where it is.
    fn await_mesh(&self) {
        let workers = &self.network.workers;
        eventually("the workers have linked", || {
            let links = |log: String| log.matches("linked with a worker").count();
            workers.iter().all(|worker| links(worker.log_tail(usize::MAX)) >= workers.len() - 1)
        });
    }

    /// Waits until the coordinator has that many workers connected.
    pub fn await_workers(&self, count: usize) {
        eventually("the workers have authenticated", || {
            let status = self.status();
            let workers = status["workers"].as_array().expect("a report lists workers");
            workers.iter().filter(|worker| worker["connected"] == true).count() == count
        });
    }

    /// Logs in at the coordinator, follows the REDIRECT as a classic client does (by name and secret), and returns the live connection.
    pub fn log_in(&self, username: &str, secret: &str) -> Peer {
        let mut peer = self.coordinator();
        let login = serde_json::json!({"command": "LOGIN", "username": username, "secret": secret});
        peer.say(&login);
        peer.hear("LOGIN_SUCCESS");
        let redirect = peer.hear("REDIRECT");
        peer.expect_closed();
        let mut peer = Peer::connect(&target(&redirect));
        peer.log_in(username, secret);
        peer
    }

    /// Registers a user at the coordinator.
    pub fn register(&self, username: &str, secret: &str) {
        let mut peer = self.coordinator();
        peer.say(&serde_json::json!({"command": "REGISTER", "username": username, "secret": secret}));
        peer.hear("REGISTER_SUCCESS");
    }
}

/// Waits for a condition, for [`PATIENCE`] at the most.
///
/// # Panics
/// When it does not come.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(comes_true(condition), "waited {PATIENCE:?} in vain until {what}");
}

/// Whether a condition comes true within [`PATIENCE`].
pub fn comes_true(mut condition: impl FnMut() -> bool) -> bool {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() >= give_up {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}
