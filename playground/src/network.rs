//! A coordinator and some workers.

use std::path::{Path, PathBuf};

use common::wire::Address;

use crate::binaries::Binaries;
use crate::server::Server;

/// How to start a network.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where the coordinator listens; port 0 for any.
    pub listen: String,
    /// How many workers.
    pub workers: usize,
    /// What the servers keep, logs aside.
    pub data: PathBuf,
    /// Environment variables for all of them (a secret, a configuration directory).
    pub environment: Vec<(String, String)>,
}

/// A running network; its processes are killed when it is dropped.
#[derive(Debug)]
pub struct Network {
    binaries: Binaries,
    setup: Setup,
    /// The coordinator.
    pub coordinator: Server,
    /// The workers, `worker-1` first.
    pub workers: Vec<Server>,
}

impl Network {
    /// Starts all servers and waits until each is ready. (A worker is ready when it listens, which may be before the coordinator knows
    /// it.)
    ///
    /// # Errors
    /// A sentence, where one does not start.
    pub fn start(binaries: Binaries, setup: Setup) -> Result<Self, String> {
        let coordinator = start_coordinator(&binaries, &setup, &setup.listen)?;
        let mut network = Network { binaries, setup, coordinator, workers: Vec::new() };
        for number in 1..=network.setup.workers {
            let worker = network.start_worker(&format!("worker-{number}"))?;
            network.workers.push(worker);
        }
        Ok(network)
    }

    /// Starts one more worker, or one that was killed, under its name.
    ///
    /// # Errors
    /// A sentence, where it does not start.
    pub fn start_worker(&self, name: &str) -> Result<Server, String> {
        let coordinator = self.coordinator.address().to_string();
        let arguments = ["--coordinator", &coordinator, "--id", name].map(str::to_owned);
        Server::start(name, &self.binaries.worker, &arguments, &self.setup.environment)
    }

    /// Starts the coordinator again after it was killed, where it was before and with what it had on disk.
    ///
    /// # Errors
    /// A sentence, where it does not start.
    pub fn restart_coordinator(&mut self) -> Result<(), String> {
        let listen = self.address().to_string();
        self.coordinator.kill();
        self.coordinator = start_coordinator(&self.binaries, &self.setup, &listen)?;
        Ok(())
    }

    /// Where clients begin.
    pub fn address(&self) -> &Address {
        self.coordinator.address()
    }

    /// The `client` binary.
    pub fn client(&self) -> &Path {
        &self.binaries.client
    }

    /// What all its processes have in their environment.
    pub fn environment(&self) -> &[(String, String)] {
        &self.setup.environment
    }
}

fn start_coordinator(binaries: &Binaries, setup: &Setup, listen: &str) -> Result<Server, String> {
    let data = setup.data.join("coordinator").display().to_string();
    let arguments = ["--id", "coordinator-1", "--listen", listen, "--data-dir", &data].map(str::to_owned);
    Server::start("coordinator", &binaries.coordinator, &arguments, &setup.environment)
}
