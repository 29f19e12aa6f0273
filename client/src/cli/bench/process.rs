//! What processes have cost so far, as Linux counts it.

use std::time::Duration;

/// What some processes have used.
#[derive(Clone, Copy, Debug, Default)]
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
        let unknown =
            |pid| move |_| format!("nothing is known of process {pid}: does it run, on this machine?");
        let mut usage = Usage::default();
        for pid in pids {
            for task in std::fs::read_dir(format!("/proc/{pid}/task")).map_err(unknown(pid))? {
                let path = task.map_err(unknown(pid))?.path().join("schedstat");
                // A thread may end meanwhile.
                let Ok(text) = std::fs::read_to_string(path) else { continue };
                usage.cpu += Duration::from_nanos(first_number(&text));
            }
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(unknown(pid))?;
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            usage.resident += resident.map_or(0, first_number) * 1_024;
        }
        Ok(usage)
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
