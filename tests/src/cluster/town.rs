//! A network whose servers are hosts of their own: two sides with a coordinator and two workers each, between which ways can be cut.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::wire::Address;
use playground::binaries;
use playground::server::Server;
use serde_json::Value;
use tempfile::TempDir;

use super::{Spaces, comes_true, environment, group};

/// The hosts of the first side: a coordinator, its workers, and one where clients are.
pub const LEFT: [&str; 4] = ["c1", "w1", "w2", "left"];

/// The hosts of the second side.
pub const RIGHT: [&str; 4] = ["c2", "w3", "w4", "right"];

/// Who looks at it all, and is never cut off.
const OPERATOR: &str = "operator";

const SECRET: &str = "0123456789abcdef-the-network-secret";

/// Two coordinators and four workers, each on a host of its own. All end when this is dropped.
#[derive(Debug)]
pub struct Town {
    servers: BTreeMap<&'static str, Server>,
    /// The hosts; after the servers, because they vanish with the last process in them.
    pub spaces: Spaces,
    directory: TempDir,
}

impl Town {
    /// Starts it and waits until all is well. `None`, with a printed sentence, where this machine or user cannot have such hosts.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Option<Self> {
        let spaces = match Spaces::new(&[&LEFT[..], &RIGHT[..], &[OPERATOR]].concat()) {
            Ok(spaces) => spaces,
            Err(sentence) => {
                println!("skipped, because there are no network namespaces here: {sentence}");
                return None;
            }
        };
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut town = Town { servers: BTreeMap::new(), spaces, directory };
        for host in ["c1", "c2", "w1", "w2", "w3", "w4"] {
            town.start_server(host);
        }
        town.await_normal();
        Some(town)
    }

    /// Starts the server of a host, anew where it ran before.
    pub fn start_server(&mut self, host: &'static str) {
        // The one that ran before ends here, so that its port is free.
        self.servers.remove(host);
        let binaries = binaries::locate().expect("the binaries build");
        let here = self.spaces.address(host);
        let coordinators = ["c1", "c2"].into_iter().filter(|other| *other != host);
        let (program, port, flag) = match host.as_bytes()[0] {
            b'c' => (&binaries.coordinator, 3780, "--backup"),
            _ => (&binaries.worker, 4000, "--coordinator"),
        };
        let mut command = self.spaces.command(host, program);
        command.args(["--id", host, "--listen", &format!("{here}:{port}"), "--log-json", "--data-dir"]);
        command.arg(self.data_of(host));
        for coordinator in coordinators {
            command.arg(flag).arg(self.coordinator(coordinator).to_string());
        }
        command.envs(environment(self.directory.path().join("home"))).env("FRESHET_SECRET", SECRET);
        self.servers.insert(host, Server::spawn(host, command).expect("the server starts"));
    }

    /// The server of a host.
    ///
    /// # Panics
    /// Where there is none.
    pub fn server(&self, host: &str) -> &Server {
        &self.servers[host]
    }

    /// Where the coordinator of a host listens.
    pub fn coordinator(&self, host: &str) -> Address {
        Address::new(self.spaces.address(host), 3780).expect("an address")
    }

    /// Where the worker of a host listens.
    pub fn worker(&self, host: &str) -> Address {
        Address::new(self.spaces.address(host), 4000).expect("an address")
    }

    /// What each coordinator answers to STATUS.
    pub fn reports(&self) -> [Option<Value>; 2] {
        ["c1", "c2"].map(|host| self.spaces.at(OPERATOR, || group::status(&self.coordinator(host), SECRET)))
    }

    /// The coordinators that say they are the main one, and the highest epoch's counter that any has seen.
    pub fn reign(&self) -> (Vec<String>, u64) {
        let reports = self.reports();
        let mains = reports.iter().flatten().filter(|report| report["role"] == "main");
        let counter = |report: &Value| {
            let epoch = report["highest_epoch"].as_str()?;
            epoch.split_once('@')?.0.parse::<u64>().ok()
        };
        let highest = reports.iter().flatten().filter_map(counter).max().unwrap_or_default();
        (mains.filter_map(|report| report["id"].as_str().map(str::to_owned)).collect(), highest)
    }

    /// Waits until all is well, and says how long that took.
    pub fn await_normal(&self) -> Duration {
        let began = Instant::now();
        let mut reports = Default::default();
        let normal = || {
            reports = self.reports();
            group::is_normal(&reports, 4)
        };
        if !comes_true(normal) {
            panic!("waited in vain until all is well: {reports:#?}\n{}", self.logs());
        }
        began.elapsed()
    }

    /// The ends of all logs.
    pub fn logs(&self) -> String {
        self.servers.iter().map(|(host, server)| format!("{host}:\n{}", server.log_tail(30))).collect()
    }

    /// The live registrations of each name at the coordinator of a host.
    ///
    /// # Panics
    /// When they cannot be exported.
    pub fn export(&self, host: &str) -> BTreeMap<String, Vec<Value>> {
        let file = self.directory.path().join(format!("{host}.jsonl"));
        let binaries = binaries::locate().expect("the binaries build");
        let mut command = self.spaces.command(host, &binaries.coordinator);
        command.arg("export").arg("--data-dir").arg(self.data_of(host)).arg(&file);
        let output = command.env("FRESHET_SECRET", SECRET).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        group::registrations(&std::fs::read_to_string(file).expect("the file was written"))
    }

    fn data_of(&self, host: &str) -> PathBuf {
        self.directory.path().join(host)
    }
}
