//! What processes have cost so far, as Linux counts it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::plan::Servers;

/// What a process has used, or some together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a CPU, of all their threads, also of those that have ended.
    pub cpu: Duration,
    /// Resident memory, in bytes.
    pub resident: u64,
}

impl Usage {
    /// What the process `pid` has used so far.
    ///
    /// # Errors
    /// A sentence, where it does not run, or the system does not say.
    pub fn of(pid: u32) -> Result<Usage, String> {
        Usage::if_runs(pid)
            .ok_or_else(|| format!("nothing is known of process {pid}: does it run, on this machine?"))
    }

    /// `None` where the process does not run: it is not there, or has ended and has no memory any more.
    fn if_runs(pid: u32) -> Option<Usage> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(Usage { cpu: process_time(pid)?, resident: first_number(resident) * 1_024 })
    }
}

/// The process' own clock: in nanoseconds, and unlike those of its threads it keeps what ended threads took.
#[cfg(target_os = "linux")]
fn process_time(pid: u32) -> Option<Duration> {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().ok()?);
    let clock = nix::time::ClockId::pid_cpu_clock_id(pid).ok()?;
    clock.now().ok().map(Duration::from)
}

/// Elsewhere there is no `/proc` either.
#[cfg(not(target_os = "linux"))]
fn process_time(_: u32) -> Option<Duration> {
    None
}

/// Processes that are looked at now and then, and may end meanwhile.
#[derive(Debug)]
pub(super) struct Processes(Vec<Process>);

#[derive(Debug)]
struct Process {
    pid: u32,
    /// What it had used at each look; no more is added when it is gone.
    seen: Vec<Usage>,
    is_gone: bool,
}

impl Processes {
    /// All of them run. One that is named twice is one.
    pub(super) fn new(pids: &[u32]) -> Result<Self, String> {
        let pids: BTreeSet<u32> = pids.iter().copied().collect();
        let process = |pid| Usage::of(pid).map(|_| Process { pid, seen: Vec::new(), is_gone: false });
        pids.into_iter().map(process).collect::<Result<_, _>>().map(Processes)
    }

    /// Looks at all of them.
    pub(super) fn look(&mut self) {
        for process in self.0.iter_mut().filter(|process| !process.is_gone) {
            match Usage::if_runs(process.pid) {
                Some(usage) => process.seen.push(usage),
                None => process.is_gone = true,
            }
        }
    }

    /// What they used, of a run that looked before it opened connections, after that, when all was settled, when it began to measure, and
    /// when it ended.
    pub(super) fn used(&self) -> Option<Servers> {
        let [before, opened, settled, began, ended] = [0, 1, 2, 3, 4].map(|look| self.usage(look));
        let (before, settled, ended) = (before?, settled?, ended?);
        Some(Servers {
            connecting_cpu: opened?.cpu.saturating_sub(before.cpu),
            cpu: ended.cpu.saturating_sub(began?.cpu),
            resident: [before, settled, ended].map(|usage| usage.resident),
        })
    }

    /// What was used at the look of this number (from 0), by those together that were still there at the last one: what the others have
    /// used since they were last seen nobody knows. `None` where there is none.
    fn usage(&self, look: usize) -> Option<Usage> {
        let there = self.0.iter().filter(|process| !process.is_gone);
        there
            .map(|process| process.seen[look])
            .reduce(|sum, usage| Usage { cpu: sum.cpu + usage.cpu, resident: sum.resident + usage.resident })
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
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_has_ended_is_told_and_counts_for_nothing() {
        let (child, other) = (sleeper(), sleeper());
        let (ended, lives) = (child.id(), other.id());
        let mut both = Processes::new(&[ended, lives]).unwrap();
        let mut alone = Processes::new(&[ended]).unwrap();
        both.look();
        alone.look();
        assert!(both.gone().is_empty());
        assert!(alone.usage(0).is_some());
        end(child);
        both.look();
        alone.look();
        assert_eq!(both.gone(), [ended]);
        let seen = both.0.iter().find(|process| process.pid == lives).unwrap().seen.clone();
        assert_eq!([0, 1].map(|look| both.usage(look).unwrap()), seen[..]);
        // There is nothing to tell, which is no zero.
        assert_eq!([0, 1].map(|look| alone.usage(look)), [None; 2]);
        assert!(Processes::new(&[ended]).unwrap_err().contains("does it run"));
        end(other);
    }

    #[test]
    fn a_process_that_is_named_twice_counts_once() {
        let child = sleeper();
        assert_eq!(Processes::new(&[child.id(), child.id()]).unwrap().0.len(), 1);
        end(child);
    }

    #[test]
    fn threads_that_have_ended_count() {
        let cpu = || Usage::of(std::process::id()).unwrap().cpu;
        let (before, worked) = (cpu(), Duration::from_millis(20));
        let spin = move || {
            let started = Instant::now();
            while super::super::meter::thread_time() < worked {
                assert!(started.elapsed() < Duration::from_secs(60), "this thread never runs");
            }
        };
        std::thread::spawn(spin).join().unwrap();
        assert!(cpu() - before >= worked);
    }
}
