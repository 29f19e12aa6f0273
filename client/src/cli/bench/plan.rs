//! What a load is to do, and what came of it.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::payload::Payloads;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who publishes.
    pub publishers: usize,
    /// Who receives. Where publishers receive, they are among these.
    pub subscribers: usize,
    /// What is published.
    pub payloads: Payloads,
    /// How it is paced.
    pub pace: Pace,
    /// How long to stay idle when all are connected, before it is looked at what that takes.
    pub settle: Duration,
    /// How long not to measure, at first.
    pub warm_up: Duration,
    /// How long to measure.
    pub duration: Duration,
    /// Whose use of CPU and memory to tell.
    pub pids: Vec<u32>,
    /// Never to sleep: so that no server pays for waking this load up, which would depend on who of the two is faster. For those who have a
    /// CPU to themselves.
    pub awake: bool,
}

/// When payloads are published.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Closed loop: so many of each publisher are under way at most, until every receiver has them, and are sent in pieces.
    Window {
        /// Under way at most.
        window: usize,
        /// Sent at once, where there is room for so many.
        piece: usize,
    },
    /// Open loop: so many a second, of all publishers together, whatever becomes of them.
    Rate(f64),
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// For how long it was measured.
    pub took: Duration,
    /// Deliveries in that time.
    pub deliveries: u64,
    /// Everything that was published, also before and after.
    pub published: u64,
    /// What was not as it should be, from the beginning to the end.
    pub faults: Faults,
    /// Deliveries that came once more as the promise allows, and were skipped.
    pub skipped: u64,
    /// From (intended) sending to receiving, in microseconds.
    pub latency: Histogram<u64>,
    /// The same until the last receiver has it.
    pub last: Histogram<u64>,
    /// Connections, and how long it took to open them all and log in.
    pub connections: (usize, Duration),
    /// How much more the kernel holds since, for both ends of all connections.
    pub kernel: i64,
    /// What the load itself used, without what it spent on waiting awake.
    pub own_cpu: Duration,
    /// In an open loop, how much later than intended the load published at the end: what it cannot keep up with grows.
    pub behind: Duration,
    /// How long sessions were away whose connection had ended, in microseconds.
    pub absences: Histogram<u64>,
    /// What the servers used that lived until all was measured; `None` where there was none.
    pub servers: Option<Servers>,
    /// Servers that ended before: nothing of them is in that.
    pub gone: Vec<u32>,
}

/// What servers used.
#[derive(Clone, Copy, Debug)]
pub struct Servers {
    /// CPU time while connections were opened.
    pub connecting_cpu: Duration,
    /// CPU time while it was measured.
    pub cpu: Duration,
    /// Resident bytes before the first connection, after the last, and at the end.
    pub resident: [u64; 3],
}

/// Deliveries that break the promise that everybody gets everything, once and in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// They never came.
    pub lost: u64,
    /// They came again.
    pub repeated: u64,
    /// They came after later ones of their publisher.
    pub out_of_order: u64,
}

impl Faults {
    /// What is to be said of them, if there are any.
    pub fn sentence(&self) -> Option<String> {
        let Faults { lost, repeated, out_of_order } = self;
        (*self != Faults::default()).then(|| {
            format!("not everything came once and in order: {lost} deliveries lost, {repeated} repeated, {out_of_order} out of order")
        })
    }
}
