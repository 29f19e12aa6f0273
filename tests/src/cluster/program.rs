//! A binary as a person runs it: its arguments, what it prints, how it ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use playground::binaries;
use tempfile::TempDir;

use super::{PATIENCE, environment, eventually};

/// Environment variables that would change what a program does; none reaches one from whoever runs the tests.
const VARIABLES: [&str; 6] = [
    "FRESHET_SECRET",
    "FRESHET_LOG",
    "FRESHET_COORDINATOR",
    "FRESHET_USER_SECRET",
    "RUST_BACKTRACE",
    "CARGO",
];

/// A directory for programs to run in, with a home of its own: nothing of the user's is seen or touched.
#[derive(Debug)]
pub struct Sandbox {
    directory: TempDir,
}

impl Sandbox {
    /// An empty sandbox.
    ///
    /// # Panics
    /// When there is no room for one.
    pub fn new() -> Self {
        Sandbox { directory: tempfile::tempdir().expect("a temporary directory can be made") }
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The binary `name`, with this sandbox for its home and a terminal that says nothing.
    ///
    /// # Panics
    /// When there is no such binary.
    pub fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let binaries = binaries::locate().expect("the binaries build");
        let binary = match name {
            "coordinator" => binaries.coordinator,
            "worker" => binaries.worker,
            "client" => binaries.client,
            // What `bench/compare` runs; it is built with the others.
            "bench" => binaries.client.with_file_name("bench"),
            other => panic!("there is no binary {other}"),
        };
        let mut command = Command::new(binary);
        VARIABLES.iter().for_each(|variable| {
            command.env_remove(variable);
        });
        command.args(arguments).envs(environment(self.path("home"))).stdin(Stdio::null());
        command
    }

    /// Runs the binary `name` to its end.
    pub fn run(&self, name: &str, arguments: &[&str]) -> Outcome {
        Running::start(&mut self.command(name, arguments)).outcome()
    }

    /// Starts the binary `name`.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Running {
        Running::start(&mut self.command(name, arguments))
    }

    /// A file with `text`, for a program's standard input or for its arguments.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("the sandbox can be written");
        path
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Sandbox::new()
    }
}

/// A program that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    prints: TempDir,
}

/// How a program ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// All that it printed to standard output.
    pub stdout: String,
    /// All that it printed to standard error.
    pub stderr: String,
}

impl Running {
    /// Starts `command` and keeps what it prints.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(command: &mut Command) -> Self {
        let prints = tempfile::tempdir().expect("a temporary directory can be made");
        let print = |name| File::create(prints.path().join(name)).expect("a file can be made");
        command.stdout(print("stdout")).stderr(print("stderr"));
        let child = command.spawn().expect("the binary can be run");
        Running { child, prints }
    }

    /// What it has printed to standard output so far.
    pub fn stdout(&self) -> String {
        text(&self.prints.path().join("stdout"))
    }

    /// What it has printed to standard error so far.
    pub fn stderr(&self) -> String {
        text(&self.prints.path().join("stderr"))
    }

    /// Waits until its standard error contains `text`.
    pub fn await_stderr(&self, text: &str) {
        eventually(&format!("it says {text:?}; so far: {}", self.stderr()), || self.stderr().contains(text));
    }

    /// Asks it to end, by SIGTERM.
    ///
    /// # Panics
    /// When the `kill` program cannot be run.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal by name (`TERM`, `INT`, …).
    ///
    /// # Panics
    /// When the `kill` program cannot be run.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        Command::new("kill").arg(format!("-{signal}")).arg(pid).status().expect("kill runs");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn outcome(mut self) -> Outcome {
        let give_up = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => break status,
                None if Instant::now() < give_up => std::thread::sleep(std::time::Duration::from_millis(5)),
                None => panic!("it does not end; it said: {}{}", self.stdout(), self.stderr()),
            }
        };
        Outcome { code: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).expect("what was printed can be read")).into_owned()
}
