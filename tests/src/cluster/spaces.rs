//! Hosts with a network of their own, on one machine: Linux network namespaces, joined by a router whose ways can be cut.
//!
//! A cut is silent, as that of a cable is: what is sent disappears, nobody is told, and connections stay open. It can be in one direction
//! only. It needs root and the `ip` program, so a test that uses this is skipped where they are missing.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Some hosts, each of which reaches every other unless a way is cut. They vanish when this is dropped, when no process is left in them.
#[derive(Debug)]
pub struct Spaces {
    /// What the names of our namespaces begin with.
    prefix: String,
    hosts: Vec<String>,
}

impl Spaces {
    /// Makes hosts of these names.
    ///
    /// # Errors
    /// A sentence, where this machine or this user cannot.
    pub fn new(hosts: &[&str]) -> Result<Self, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("freshet-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let spaces = Spaces { prefix, hosts: hosts.iter().map(|host| (*host).to_owned()).collect() };
        let router = spaces.router();
        ip(&["netns", "add", &router])?;
        spaces.run_in(&router, "sysctl", &["-qw", "net.ipv4.ip_forward=1"])?;
        for (index, host) in spaces.hosts.iter().enumerate() {
            let (space, way) = (spaces.space(host), format!("way{index}"));
            let (here, there) = (format!("10.77.{index}.2"), format!("10.77.{index}.1"));
            ip(&["netns", "add", &space])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
            ip(&[
                "-n", &router, "link", "add", &way, "type", "veth", "peer", "name", "eth0", "netns", &space,
            ])?;
            ip(&["-n", &router, "address", "add", &format!("{there}/24"), "dev", &way])?;
            ip(&["-n", &space, "address", "add", &format!("{here}/24"), "dev", "eth0"])?;
            ip(&["-n", &router, "link", "set", &way, "up"])?;
            ip(&["-n", &space, "link", "set", "eth0", "up"])?;
            ip(&["-n", &space, "route", "add", "default", "via", &there])?;
        }
        Ok(spaces)
    }

    /// Where a host is.
    ///
    /// # Panics
    /// Where there is none of that name.
    pub fn address(&self, host: &str) -> String {
        let index = self.hosts.iter().position(|known| known == host).expect("a host of that name");
        format!("10.77.{index}.2")
    }

    /// A command that runs on a host.
    pub fn command(&self, host: &str, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(host)]).arg(program);
        command
    }

    /// Moves the calling thread to a host, for good; threads that it starts are there too.
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn enter(&self, host: &str) {
        self.way_in(host)();
    }

    /// What moves the calling thread to a host, for threads that outlive the borrow of this.
    pub fn way_in(&self, host: &str) -> impl FnOnce() + Send + use<> {
        let path = format!("/run/netns/{}", self.space(host));
        move || {
            let space = File::open(path).expect("the host is there");
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&space), Some(LinkNameSpaceType::Network))
                .expect("root may enter it");
        }
    }

    /// Runs `errand` on a host.
    pub fn at<T: Send>(&self, host: &str, errand: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let errand = scope.spawn(|| {
                self.enter(host);
                errand()
            });
            errand.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// From now on, nothing that one of `these` sends reaches one of `those`.
    pub fn cut(&self, these: &[&str], those: &[&str]) {
        self.change("add", these, those);
    }

    /// What was cut is whole again.
    pub fn mend(&self, these: &[&str], those: &[&str]) {
        self.change("del", these, those);
    }

    /// Nothing passes between the two sides, in either direction.
    pub fn part(&self, these: &[&str], those: &[&str]) {
        self.cut(these, those);
        self.cut(those, these);
    }

    /// The two sides reach each other again.
    pub fn join(&self, these: &[&str], those: &[&str]) {
        self.mend(these, those);
        self.mend(those, these);
    }

    fn change(&self, what: &str, these: &[&str], those: &[&str]) {
        let mut batch = String::new();
        for (from, to) in these.iter().flat_map(|from| those.iter().map(move |to| (from, to))) {
            batch += &format!("rule {what} from {} to {} blackhole\n", self.address(from), self.address(to));
        }
        let mut ip = Command::new("ip");
        let mut ip =
            ip.args(["-n", &self.router(), "-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip runs");
        ip.stdin.take().expect("it is piped").write_all(batch.as_bytes()).expect("ip reads");
        assert!(ip.wait().expect("ip ends").success(), "ip refuses:\n{batch}");
    }

    fn run_in(&self, space: &str, program: &str, arguments: &[&str]) -> Result<(), String> {
        ip(&[&["netns", "exec", space, program], arguments].concat())
    }

    fn router(&self) -> String {
        format!("{}-router", self.prefix)
    }

    fn space(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for space in self.hosts.iter().map(|host| self.space(host)).chain([self.router()]) {
            // Those that were not made, where making them failed, are not there.
            let _ = ip(&["netns", "delete", &space]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new("ip").args(arguments).output().map_err(|error| format!("cannot run ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
