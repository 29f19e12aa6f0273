//! What the load's own work costs: the CPU time of its thread, as the system counts it, without what goes into waiting awake.
//!
//! The clock is asked only where work begins after a wait, and where it ends. So a load that always has something to do does not pay for
//! it, and what other processes take of a shared CPU is not in it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Measures one thread, which asks it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    worked: Duration,
    /// What the thread's clock showed when the work began that is being done.
    since: Option<Duration>,
}

impl Meter {
    /// There is something to do.
    pub(super) fn work(&mut self) {
        self.since.get_or_insert_with(thread_time);
    }

    /// There is nothing to do.
    pub(super) fn rest(&mut self) {
        self.worked = self.worked();
        self.since = None;
    }

    /// How much CPU the work has taken so far.
    pub(super) fn worked(&self) -> Duration {
        self.worked + self.since.map_or(Duration::ZERO, |since| thread_time().saturating_sub(since))
    }
}

/// How long this thread has had a CPU.
pub(super) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a thread's time is not negative")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn spin(duration: Duration) {
        let started = Instant::now();
        while started.elapsed() < duration {}
    }

    #[test]
    fn waiting_costs_nothing_whether_awake_or_asleep_and_work_costs_what_it_takes_of_the_cpu() {
        let mut meter = Meter::default();
        spin(Duration::from_millis(5));
        assert_eq!(meter.worked(), Duration::ZERO);
        let before = thread_time();
        meter.work();
        spin(Duration::from_millis(5));
        // Another thread, with a clock of its own, has the CPU.
        std::thread::sleep(Duration::from_millis(20));
        meter.rest();
        let (worked, took) = (meter.worked(), thread_time() - before);
        assert!(worked > Duration::ZERO && worked <= took, "{worked:?} of {took:?}");
        spin(Duration::from_millis(5));
        assert_eq!(meter.worked(), worked);
    }
}
