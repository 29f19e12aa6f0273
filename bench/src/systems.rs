//! The systems that are compared: how each is started, and how a load speaks to it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client::cli::bench::{As, Freshet, Outcome, run};
use common::user::{Secret, Username};
use common::wire::{Address, Message, Register};
use playground::binaries::Binaries;
use playground::server::Server;
use tempfile::TempDir;

use crate::cells::{self, Cell, Setting};
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

    pub(crate) const PEERS: [System; 3] = [System::Nats, System::Redis, System::Mosquitto];

    /// Whether it can be measured in this setting.
    pub(crate) fn knows(self, setting: Setting) -> bool {
        setting != Setting::TwoWorkers || matches!(self, System::Freshet | System::Classic)
    }

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
                "one coordinator, one worker without a data directory; clients with sessions, which acknowledge"
            }
            System::Classic => "the same; clients of the classic protocol",
            System::Nats => "core NATS, defaults",
            System::Redis => "RESP 2 Pub/Sub, no persistence, no output limit for subscribers",
            System::Mosquitto => "MQTT 3.1.1, QoS 0, no persistence, set_tcp_nodelay, no limit on queues",
        }
    }

    /// Starts it afresh on the servers' CPU, runs the cell's plan against it from the load's, and ends it.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn measure(self, binaries: &Binaries, cell: &Cell, cpus: Cpus) -> Result<Outcome, String> {
        let mut plan = cell.plan.clone();
        crate::interrupt::check()?;
        crate::pin(cpus.servers)?;
        if let System::Freshet | System::Classic = self {
            let network = Network::start(binaries, if cell.setting == Setting::TwoWorkers { 2 } else { 1 })?;
            crate::pin(cpus.load)?;
            plan.pids = network.pids();
            return run(network.clients(cell, self == System::Classic)?, &plan);
        }
        let peer = Peer::start(self)?;
        crate::pin(cpus.load)?;
        plan.pids = vec![peer.pid()];
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
    workers: Vec<Server>,
    _directory: TempDir,
}

impl Network {
    fn start(binaries: &Binaries, workers: usize) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| format!("no room for files: {error}"))?;
        let data = directory.path().display().to_string();
        let environment = [(SECRET.0.to_owned(), SECRET.1.to_owned())];
        let arguments = ["--listen", "127.0.0.1:0", "--data-dir", &data].map(str::to_owned);
        let coordinator = Server::start("coordinator", &binaries.coordinator, &arguments, &environment)?;
        let mut network = Network { coordinator, workers: Vec::new(), _directory: directory };
        let arguments = ["--coordinator".to_owned(), network.coordinator.address().to_string()];
        for _ in 0..workers {
            let worker = Server::start("worker", &binaries.worker, &arguments, &environment)?;
            await_worker(worker.address())?;
            network.workers.push(worker);
        }
        Ok(network)
    }

    fn pids(&self) -> Vec<u32> {
        self.workers.iter().chain([&self.coordinator]).map(Server::pid).collect()
    }

    /// Clients for a cell.
    fn clients(&self, cell: &Cell, classic: bool) -> Result<Freshet, String> {
        let first = self.workers[0].address().clone();
        match (cell.setting, self.workers.get(1)) {
            (Setting::TwoWorkers, Some(second)) => {
                let (publishers, half) = (cell.plan.publishers, cell.plan.subscribers / 2);
                let at = |index| if index < half.max(publishers) { &first } else { second.address() };
                let places: Vec<_> = (0..cell.plan.subscribers).map(at).cloned().collect();
                Freshet::at(&places, anonymous(classic), None)
            }
            (Setting::ByToken, _) => {
                let identity = register(self.coordinator.address(), classic)?;
                let token = Freshet::token(self.coordinator.address(), &identity)?;
                Freshet::at(&[first], identity, Some(&token))
            }
            _ => Freshet::at(&[first], anonymous(classic), None),
        }
    }
}

fn anonymous(classic: bool) -> As {
    As { username: Username::anonymous(), secret: None, classic }
}

/// A user who was not there before.
fn register(coordinator: &Address, classic: bool) -> Result<As, String> {
    let (name, secret) = ("bench", SECRET.1);
    let trouble = |error: std::io::Error| format!("cannot register at {coordinator}: {error}");
    let mut stream = TcpStream::connect(coordinator.to_string()).map_err(trouble)?;
    let register = Register { username: name.to_owned(), secret: Secret::new(secret) };
    stream.write_all(&Message::from(register).encode()).map_err(trouble)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(trouble)?;
    match Message::decode(line.trim_end().as_bytes()) {
        Ok(Message::RegisterSuccess(_)) => {}
        _ => return Err(format!("{coordinator} did not register {name}: {line}")),
    }
    let username = name.parse().expect("it is a name");
    Ok(As { username, secret: Some(Secret::new(secret)), classic })
}

/// A worker is ready when it listens; it takes clients when it has found its coordinator and the other workers.
fn await_worker(worker: &Address) -> Result<(), String> {
    let give_up = Instant::now() + START;
    loop {
        crate::interrupt::check()?;
        let clients = Freshet::at(std::slice::from_ref(worker), anonymous(true), None)?;
        match run(clients, &cells::just_connect()) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > give_up => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

pub(crate) struct Peer {
    child: Child,
    pub(crate) address: SocketAddr,
    _directory: TempDir,
}

impl Peer {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn start(system: System) -> Result<Self, String> {
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
            crate::interrupt::check()?;
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
