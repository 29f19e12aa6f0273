//! A main coordinator, perhaps standbys, and some workers.

use std::path::{Path, PathBuf};

use common::wire::Address;

use crate::binaries::Binaries;
use crate::server::Server;

/// How to start a network.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where the first coordinator listens; port 0 for any. The others listen where there is room.
    pub listen: String,
    /// How many workers.
    pub workers: usize,
    /// Where the servers keep what they keep, each in a directory of its own.
    pub data: PathBuf,
    /// Environment variables for all of them (a secret, a configuration directory).
    pub environment: Vec<(String, String)>,
}

/// A running network; its processes are killed when it is dropped.
#[derive(Debug)]
pub struct Network {
    binaries: Binaries,
    setup: Setup,
    /// The first coordinator, `coordinator-1`, which is the main one to begin with.
    pub coordinator: Server,
    /// The others, `coordinator-2` first.
    pub standbys: Vec<Server>,
    /// The workers, `worker-1` first.
    pub workers: Vec<Server>,
}

impl Network {
    /// Starts one coordinator and the workers, and waits until each is ready. (A worker is ready when it listens, which may be before the
    /// coordinator knows it.)
    ///
    /// # Errors
    /// A sentence, where one does not start.
    pub fn start(binaries: Binaries, setup: Setup) -> Result<Self, String> {
        let coordinator = start_coordinator(&binaries, &setup, "coordinator-1", &setup.listen, &[])?;
        let mut network = Network { binaries, setup, coordinator, standbys: Vec::new(), workers: Vec::new() };
        for number in 1..=network.setup.workers {
            let worker = network.start_worker(&format!("worker-{number}"))?;
            network.workers.push(worker);
        }
        Ok(network)
    }

    /// Starts one more coordinator, which joins as a standby.
    ///
    /// # Errors
    /// A sentence, where it does not start.
    pub fn start_standby(&mut self) -> Result<(), String> {
        let name = format!("coordinator-{}", self.standbys.len() + 2);
        let others = self.coordinators_but(&name);
        let standby = start_coordinator(&self.binaries, &self.setup, &name, "127.0.0.1:0", &others)?;
        self.standbys.push(standby);
        Ok(())
    }

    /// Starts one more worker, or one that was killed, under its name.
    ///
    /// # Errors
    /// A sentence, where it does not start.
    pub fn start_worker(&self, name: &str) -> Result<Server, String> {
        let mut arguments = vec!["--id".to_owned(), name.to_owned()];
        for coordinator in self.coordinators_but("") {
            arguments.extend(["--coordinator".to_owned(), coordinator]);
        }
        let mut environment = self.setup.environment.clone();
        environment.push(("FRESHET_DATA_DIR".to_owned(), self.setup.data.join(name).display().to_string()));
        Server::start(name, &self.binaries.worker, &arguments, &environment)
    }

    /// Starts the first coordinator again after it was killed, where it was before and with what it had on disk.
    ///
    /// # Errors
    /// A sentence, where it does not start.
    pub fn restart_coordinator(&mut self) -> Result<(), String> {
        self.restart("coordinator-1")
    }

    /// Kills the server of that name if it runs, and starts it anew with what it had on disk; a coordinator where it was before.
    ///
    /// # Errors
    /// A sentence, where it does not start.
    ///
    /// # Panics
    /// Where there is no such server.
    pub fn restart(&mut self, name: &str) -> Result<(), String> {
        let server = self.server_mut(name);
        server.kill();
        let listen = server.address().to_string();
        let others = self.coordinators_but(name);
        let started = if self.workers.iter().any(|worker| worker.name() == name) {
            self.start_worker(name)?
        } else {
            start_coordinator(&self.binaries, &self.setup, name, &listen, &others)?
        };
        *self.server_mut(name) = started;
        Ok(())
    }

    /// The server of that name.
    ///
    /// # Panics
    /// Where there is none.
    pub fn server_mut(&mut self, name: &str) -> &mut Server {
        self.servers_mut()
            .find(|server| server.name() == name)
            .expect("the network has a server of that name")
    }

    /// All servers, coordinators first.
    pub fn servers_mut(&mut self) -> impl Iterator<Item = &mut Server> {
        std::iter::once(&mut self.coordinator).chain(&mut self.standbys).chain(&mut self.workers)
    }

    /// All coordinators, dead or alive, the first one first.
    pub fn coordinators(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.coordinator).chain(&self.standbys)
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

    /// Where all coordinators listen, or listened, but the one of that name.
    fn coordinators_but(&self, name: &str) -> Vec<String> {
        let others = self.coordinators().filter(|coordinator| coordinator.name() != name);
        others.map(|coordinator| coordinator.address().to_string()).collect()
    }
}

fn start_coordinator(
    binaries: &Binaries,
    setup: &Setup,
    name: &str,
    listen: &str,
    others: &[String],
) -> Result<Server, String> {
    let data = setup.data.join(name).display().to_string();
    let mut arguments = ["--id", name, "--listen", listen, "--data-dir", &data].map(str::to_owned).to_vec();
    for other in others {
        arguments.extend(["--backup".to_owned(), other.clone()]);
    }
    Server::start(name, &binaries.coordinator, &arguments, &setup.environment)
}
