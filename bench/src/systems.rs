//! The systems that are compared: how each is started, and how a load speaks to it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client::cli::bench::{As, Freshet, Outcome, Plan, run};
use playground::binaries::Binaries;
use playground::server::Server;
use tempfile::TempDir;

use crate::mqtt::Mqtt;
use crate::nats::Nats;
use crate::redis::Redis;

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(10);
const SECRET: (&str, &str) = ("FRESHET_SECRET", "0123456789abcdef-for-a-benchmark");

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// With clients that have sessions and acknowledge: the usual ones.
    Freshet,
    /// With clients of the classic protocol.
    Classic,
    Nats,
    Redis,
    Mosquitto,
}

impl System {
    pub(crate) const ALL: [System; 5] =
        [System::Freshet, System::Classic, System::Nats, System::Redis, System::Mosquitto];

    pub(crate) fn name(self) -> &'static str {
        match self {
            System::Freshet => "Freshet",
            System::Classic => "Freshet, classic clients",
            System::Nats => "NATS",
            System::Redis => "Redis",
            System::Mosquitto => "Mosquitto",
        }
    }

    /// Its version, as it tells it.
    pub(crate) fn version(self, binaries: &Binaries) -> String {
        let worker = binaries.worker.to_string_lossy().into_owned();
        let (program, argument) = match self {
            System::Freshet | System::Classic => (worker.as_str(), "--version"),
            System::Nats => ("nats-server", "--version"),
            System::Redis => ("redis-server", "--version"),
            System::Mosquitto => ("mosquitto", "-h"),
        };
        let output = Command::new(program).arg(argument).output().map(|output| output.stdout);
        let text = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
        text.lines().next().unwrap_or("unknown").to_owned()
    }

    /// How it is set up, for the table.
    pub(crate) fn settings(self) -> &'static str {
        match self {
            System::Freshet => {
                "one coordinator, one worker without a data directory; clients with sessions, which acknowledge and log in by token"
            }
            System::Classic => "the same; clients of the classic protocol",
            System::Nats => "core NATS, defaults",
            System::Redis => "RESP 2 Pub/Sub, no persistence, no output limit for subscribers",
            System::Mosquitto => "MQTT 3.1.1, QoS 0, no persistence, set_tcp_nodelay, no limit on queues",
        }
    }

    /// Starts it afresh on `servers_cpu`, runs `plan` against it from `load_cpu`, and ends it.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn measure(self, binaries: &Binaries, plan: &Plan, cpus: Cpus) -> Result<Outcome, String> {
        let mut plan = plan.clone();
        let connections = plan.subscribers;
        crate::pin(cpus.servers)?;
        if let System::Freshet | System::Classic = self {
            let network = Network::start(binaries)?;
            crate::pin(cpus.load)?;
            plan.pids = vec![network.worker.pid(), network.coordinator.pid()];
            let identity = As {
                username: common::user::Username::anonymous(),
                secret: None,
                classic: self == System::Classic,
            };
            let coordinator = network.coordinator.address().clone();
            let freshet = Freshet::through(&[coordinator], identity, connections)?;
            return run(freshet, &plan);
        }
        let peer = Peer::start(self)?;
        crate::pin(cpus.load)?;
        plan.pids = vec![peer.child.id()];
        match self {
            System::Nats => run(Nats(peer.address), &plan),
            System::Redis => run(Redis(peer.address), &plan),
            _ => run(Mqtt(peer.address), &plan),
        }
    }
}

/// Which CPUs are whose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpus {
    pub(crate) servers: usize,
    pub(crate) load: usize,
}

struct Network {
    coordinator: Server,
    worker: Server,
    _directory: TempDir,
}

impl Network {
    fn start(binaries: &Binaries) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| format!("no room for files: {error}"))?;
        let data = directory.path().display().to_string();
        let environment = [(SECRET.0.to_owned(), SECRET.1.to_owned())];
        let arguments = ["--listen", "127.0.0.1:0", "--data-dir", &data].map(str::to_owned);
        let coordinator = Server::start("coordinator", &binaries.coordinator, &arguments, &environment)?;
        let arguments = ["--coordinator".to_owned(), coordinator.address().to_string()];
        let worker = Server::start("worker", &binaries.worker, &arguments, &environment)?;
        let network = Network { coordinator, worker, _directory: directory };
        network.await_worker()?;
        Ok(network)
    }

    /// A worker is ready when it listens; it takes clients when its coordinator sends them.
    fn await_worker(&self) -> Result<(), String> {
        let identity = As { username: common::user::Username::anonymous(), secret: None, classic: true };
        let give_up = Instant::now() + START;
        loop {
            let coordinator = [self.coordinator.address().clone()];
            match Freshet::through(&coordinator, identity.clone(), 1) {
                Err(error) if Instant::now() > give_up => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
                Ok(_) => return Ok(()),
            }
        }
    }
}

struct Peer {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Peer {
    fn start(system: System) -> Result<Self, String> {
        let trouble = |error: std::io::Error| format!("cannot start {}: {error}", system.name());
        let directory = tempfile::tempdir().map_err(trouble)?;
        // Free now, and most probably still so in a moment.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).map_err(trouble)?;
        let mut command = command(system, address, directory.path().join("conf")).map_err(trouble)?;
        command.current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(trouble)?;
        let peer = Peer { child, address, _directory: directory };
        let give_up = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > give_up {
                return Err(format!("{} does not listen", system.name()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(system: System, address: SocketAddr, conf: PathBuf) -> std::io::Result<Command> {
    let port = address.port().to_string();
    let (program, settings) = match system {
        System::Nats => ("nats-server", format!("listen: \"{address}\"\n")),
        System::Redis => (
            "redis-server",
            format!(
                "bind 127.0.0.1\nport {port}\nsave \"\"\nappendonly no\nmaxclients 15000\ntcp-backlog 4096\n\
                 client-output-buffer-limit pubsub 0 0 0\n"
            ),
        ),
        _ => (
            "mosquitto",
            format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n\
                 max_queued_messages 0\nlog_type none\n"
            ),
        ),
    };
    std::fs::write(&conf, settings)?;
    let mut command = Command::new(program);
    match system {
        System::Redis => command.arg(conf),
        _ => command.arg("-c").arg(conf),
    };
    Ok(command)
}
