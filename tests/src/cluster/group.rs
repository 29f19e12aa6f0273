//! Several coordinators: which one reigns, whether all is well, and what each has on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::wire::Address;
use playground::binaries;
use playground::server::Server;
use serde_json::{Value, json};

use super::{Cluster, PATIENCE, Peer, comes_true, start};

/// How long a coordinator may take to answer STATUS; one that is stopped never does.
const STATUS: Duration = Duration::from_secs(1);

/// Starts a network of that many coordinators and workers, and waits until it is NORMAL.
///
/// # Panics
/// When it does not come to that.
pub fn start_group(coordinators: usize, workers: usize) -> Cluster {
    let mut cluster = start(workers);
    for _ in 1..coordinators {
        cluster.network.start_standby().expect("the standby starts");
    }
    cluster.await_normal();
    cluster
}

impl Cluster {
    /// Where the coordinators listen, or listened, the first one first.
    pub fn coordinators(&self) -> Vec<Address> {
        self.network.coordinators().map(|coordinator| coordinator.address().clone()).collect()
    }

    /// What a coordinator answers to STATUS, where it answers at all.
    pub fn status_of(&self, coordinator: &Server) -> Option<Value> {
        status(coordinator.address(), &self.secret())
    }

    /// The names of the coordinators that say they are the main one.
    pub fn mains(&self) -> Vec<String> {
        let coordinators = self.network.coordinators();
        let mains = coordinators
            .filter(|coordinator| self.status_of(coordinator).is_some_and(|status| status["role"] == "main"));
        mains.map(|main| main.name().to_owned()).collect()
    }

    /// The one coordinator that says it is the main one.
    ///
    /// # Panics
    /// When it is not exactly one.
    pub fn main(&self) -> String {
        let mains = self.mains();
        assert_eq!(mains.len(), 1, "the main coordinators are {mains:?}");
        mains.into_iter().next().expect("there is one")
    }

    /// Waits until all is well: every coordinator says NORMAL, one of them reigns, and all others are listed.
    pub fn await_normal(&self) {
        let mut seen = Vec::new();
        let normal = || {
            seen = self.network.coordinators().map(|coordinator| self.status_of(coordinator)).collect();
            is_normal(&seen, self.network.workers.len())
        };
        if !comes_true(normal) {
            let logs =
                self.network.coordinators().map(|one| format!("{}:\n{}", one.name(), one.log_tail(40)));
            let logs: String = logs.collect();
            panic!("waited {PATIENCE:?} in vain until all is well: {seen:#?}\n{logs}");
        }
    }

    /// The live registrations of each name at the coordinator of that name, which may be running or not.
    ///
    /// # Panics
    /// When they cannot be exported.
    pub fn export(&self, coordinator: &str) -> BTreeMap<String, Vec<Value>> {
        let file = self.directory().join(format!("{coordinator}.jsonl"));
        let mut command = Command::new(binaries::locate().expect("the binaries build").coordinator);
        command.arg("export").arg("--data-dir").arg(self.data_of(coordinator)).arg(&file);
        let output = command.envs(self.network.environment().iter().cloned()).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        registrations(&std::fs::read_to_string(file).expect("the file was written"))
    }

    /// Where a server keeps what it keeps.
    pub fn data_of(&self, server: &str) -> PathBuf {
        self.directory().join("data").join(server)
    }
}

/// What the coordinator at `address` answers to STATUS, where it answers at all.
pub fn status(address: &Address, secret: &str) -> Option<Value> {
    let mut peer = Peer::connect_within(address, STATUS)?;
    let report = peer.ask(&json!({"command": "STATUS", "secret": secret, "conflicts": true}))?;
    (report["command"] == "STATUS_REPORT").then_some(report)
}

/// Whether these are all STATUS_REPORTs of a group in which all is well.
pub fn is_normal(reports: &[Option<Value>], workers: usize) -> bool {
    let mains = reports.iter().flatten().filter(|report| report["role"] == "main").count();
    let list = |report: &Value, key: &str| report[key].as_array().cloned().unwrap_or_default();
    mains == 1
        && reports.iter().all(|report| {
            let Some(report) = report else { return false };
            let coordinators = list(report, "coordinators");
            let connected =
                list(report, "workers").iter().filter(|worker| worker["connected"] == true).count();
            report["state"] == "NORMAL"
                && coordinators.len() == reports.len()
                && coordinators.iter().all(|coordinator| coordinator["listed"] == true)
                && (report["role"] != "main" || connected == workers)
        })
}

/// The live registrations of an exported file by name.
pub fn registrations(text: &str) -> BTreeMap<String, Vec<Value>> {
    let mut users = BTreeMap::<String, Vec<Value>>::new();
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).expect("a file of JSON lines");
        if let (Some(name), Some(_)) = (entry["username"].as_str(), entry["secret"].as_str()) {
            users.entry(name.to_owned()).or_default().push(entry);
        }
    }
    users
}
