//! One server as a child process.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::wire::Address;
use serde_json::Value;

/// Lines of a server's log that are kept.
const LOG_LINES: usize = 500;

/// How long a server may take until it is ready: a large store opens, a debug build hashes.
const START: Duration = Duration::from_secs(30);

/// A running (or ended) server. It is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    address: Address,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Server {
    /// Starts `binary` with `arguments` and `environment` and waits until it says that it is ready, and where it listens.
    ///
    /// # Errors
    /// A sentence with the end of the server's log, where it ended or did not become ready in time.
    pub fn start(
        name: &str,
        binary: &Path,
        arguments: &[String],
        environment: &[(String, String)],
    ) -> Result<Self, String> {
        let mut command = Command::new(binary);
        command.args(arguments).envs(environment.iter().cloned()).args(["--log-json"]);
        Self::spawn(name, command)
    }

    /// Starts a prepared command (which must log JSON) in the same way.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn spawn(name: &str, mut command: Command) -> Result<Self, String> {
        // A Ctrl-C at the terminal is for this program; what it means for its servers is this program's to say.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let stderr = child.stderr.take().expect("standard error is piped");
        let ready = follow(stderr, Arc::clone(&log));
        let outcome = ready.recv_timeout(START);
        let mut server = Server { name: name.to_owned(), child, address: unknown(), log };
        match outcome {
            Ok(address) => server.address = address,
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("{name} is not ready after {START:?}:\n{}", server.log_tail(20)));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let _ = server.child.wait();
                return Err(format!("{name} ended before it was ready:\n{}", server.log_tail(20)));
            }
        }
        Ok(server)
    }

    /// What it was called when it was started.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it with SIGKILL: no drain, no goodbye.
    pub fn kill(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to drain and exit (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// A sentence, where it does not end in time; it is killed then.
    pub fn terminate(&mut self, patience: Duration) -> Result<ExitStatus, String> {
        self.signal("TERM").map_err(|error| format!("cannot signal {}: {error}", self.name))?;
        let give_up = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if Instant::now() < give_up => std::thread::sleep(Duration::from_millis(10)),
                Ok(None) => {
                    self.kill();
                    return Err(format!(
                        "{} did not end within {patience:?} of SIGTERM:\n{}",
                        self.name,
                        self.log_tail(20)
                    ));
                }
                Err(error) => return Err(format!("cannot wait for {}: {error}", self.name)),
            }
        }
    }

    /// Sends it a signal by name (`TERM`, `STOP`, `CONT`, …).
    ///
    /// # Errors
    /// Where the `kill` program cannot be run.
    pub fn signal(&self, signal: &str) -> io::Result<()> {
        Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status().map(drop)
    }

    /// The last lines that it logged.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log.lock().expect("no thread panics with the log");
        let skip = log.len().saturating_sub(lines);
        log.iter().skip(skip).map(|line| format!("  {line}\n")).collect()
    }

    /// Its resident memory in bytes, where the system tells.
    pub fn resident_bytes(&self) -> Option<u64> {
        self.memory("VmRSS:")
    }

    /// The most that its resident memory has ever been, in bytes, where the system tells.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find(|line| line.starts_with(field))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Stands in until the server has said where it listens.
fn unknown() -> Address {
    Address { hostname: String::new(), port: 0 }
}

/// Reads a server's log on a thread of its own; the address comes through the channel once, when the server is ready.
fn follow(stderr: impl io::Read + Send + 'static, log: Arc<Mutex<VecDeque<String>>>) -> Receiver<Address> {
    let (ready, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines() {
            let Ok(line) = line else { return };
            let entry = serde_json::from_str::<Value>(&line).unwrap_or_default();
            if entry["fields"]["message"].as_str().is_some_and(|message| message.ends_with("ready")) {
                let address = entry["fields"]["address"].as_str().and_then(|text| text.parse().ok());
                // Nobody listens any more where the start was given up.
                let _ = address.map(|address| ready.send(address));
            }
            let mut log = log.lock().expect("no thread panics with the log");
            if log.len() == LOG_LINES {
                log.pop_front();
            }
            log.push_back(line);
        }
    });
    receiver
}
