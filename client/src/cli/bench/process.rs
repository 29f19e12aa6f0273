//! What processes have cost so far, as Linux counts it.

use std::time::Duration;

/// What some processes have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a CPU, of all their threads that live.
    pub cpu: Duration,
    /// Resident memory, in bytes.
    pub resident: u64,
}

impl Usage {
    /// What the processes `pids` have used so far.
    ///
    /// # Errors
    /// A sentence, where one does not run, or the system does not say.
    pub fn of(pids: &[u32]) -> Result<Usage, String> {
        Processes::new(pids).map(|mut processes| processes.usage())
    }

    /// `None` where the process does not run: it is not there, or has ended and has no memory any more.
    fn of_one(pid: u32) -> Option<Usage> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let mut usage = Usage { resident: first_number(resident) * 1_024, ..Usage::default() };
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            // A thread may end meanwhile.
            let Ok(text) = std::fs::read_to_string(task.ok()?.path().join("schedstat")) else { continue };
            usage.cpu += Duration::from_nanos(first_number(&text));
        }
        Some(usage)
    }
}

/// Processes that are watched, and may end meanwhile.
#[derive(Debug)]
pub(super) struct Processes(Vec<Process>);

#[derive(Debug)]
struct Process {
    pid: u32,
    last_seen: Usage,
    is_gone: bool,
}

impl Processes {
    /// All of them run.
    pub(super) fn new(pids: &[u32]) -> Result<Self, String> {
        let process = |pid: &u32| {
            let last_seen = Usage::of_one(*pid)
                .ok_or_else(|| format!("nothing is known of process {pid}: does it run, on this machine?"))?;
            Ok(Process { pid: *pid, last_seen, is_gone: false })
        };
        pids.iter().map(process).collect::<Result<_, _>>().map(Processes)
    }

    /// What they have used so far; those that are gone, as it was last seen.
    pub(super) fn usage(&mut self) -> Usage {
        let mut usage = Usage::default();
        for process in &mut self.0 {
            match Usage::of_one(process.pid) {
                Some(seen) if !process.is_gone => process.last_seen = seen,
                _ => process.is_gone = true,
            }
            usage.cpu += process.last_seen.cpu;
            usage.resident += process.last_seen.resident;
        }
        usage
    }

    /// Which are gone, as far as it was noticed.
    pub(super) fn gone(&self) -> Vec<u32> {
        self.0.iter().filter(|process| process.is_gone).map(|process| process.pid).collect()
    }
}

/// What the kernel holds for itself, for all sockets of the machine, and for what is in them, in bytes.
pub(super) fn kernel_bytes() -> u64 {
    let file = |path| std::fs::read_to_string(path).unwrap_or_default();
    let memory = file("/proc/meminfo");
    let slab = memory.lines().find_map(|line| line.strip_prefix("Slab:")).map_or(0, first_number);
    let sockets = file("/proc/net/sockstat");
    let pages =
        sockets.lines().find(|line| line.starts_with("TCP:")).and_then(|line| line.split(" mem ").nth(1));
    slab * 1_024 + pages.map_or(0, first_number) * 4_096
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn of_a_process_that_has_ended_what_was_last_seen_counts() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let mut processes = Processes::new(&[child.id(), std::process::id()]).unwrap();
        assert!(processes.usage().resident > 0);
        assert!(processes.gone().is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(processes.usage().resident > 0);
        assert_eq!(processes.gone(), [child.id()]);
        assert!(Processes::new(&[child.id()]).unwrap_err().contains("does it run"));
    }
}
