//! What is measured, and what is wanted of it.

use std::sync::Arc;
use std::time::Duration;

use client::cli::bench::{Pace, Payloads, Plan};

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) plan: Plan,
    pub(crate) setting: Setting,
    /// What it is about.
    pub(crate) figures: Figures,
    pub(crate) goals: &'static [Goal],
    /// Why nothing is said of the goals, where that is so.
    pub(crate) unjudged: Option<String>,
}

/// Where clients connect, and how, in Freshet. There is no difference to the others, which are not measured with two workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// All at one worker, as `anonymous`.
    OneWorker,
    /// The publishers at one worker, the subscribers half at that and half at another.
    TwoWorkers,
    /// All at one worker, by token, as a registered user.
    ByToken,
}

/// Which figures of a cell are worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figures {
    Throughput,
    Latency,
    Connects,
    Idle,
}

/// What a figure of Freshet's is to be, by its number among the cell's: so many times that of another, at least where more is better, else
/// at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    pub(crate) figure: usize,
    pub(crate) times: f64,
    pub(crate) of: Of,
}

/// What a figure is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Nats,
    Redis,
    /// The best of the three.
    Best,
    /// Freshet itself with one worker, in its cell.
    OneWorker,
    /// A number.
    One,
}

impl Cell {
    /// Its settings, for the table.
    pub(crate) fn settings(&self) -> String {
        let Plan { publishers, subscribers, payloads, pace, warm_up, duration, .. } = &self.plan;
        let pace = match pace {
            Pace::Window { window, piece } => {
                format!("at most {window} under way for each, in pieces of {piece}")
            }
            Pace::Rate(rate) => format!("{rate} activities a second"),
        };
        match self.figures {
            Figures::Connects => format!("{subscribers} connections, 64 at a time"),
            _ => format!(
                "{publishers}×{subscribers}, {} bytes, {pace}; {warm_up:?} to warm up, {duration:?} measured",
                payloads.bytes()
            ),
        }
    }
}

const RATE: usize = 0;
const CPU: usize = 1;
const FAN_OUT: &[Goal] = &[
    Goal { figure: RATE, times: 2.0, of: Of::Nats },
    Goal { figure: RATE, times: 1.5, of: Of::Redis },
    Goal { figure: CPU, times: 0.5, of: Of::Nats },
    Goal { figure: CPU, times: 0.7, of: Of::Redis },
];
const LARGE: &[Goal] = &[Goal { figure: CPU, times: 0.8, of: Of::Best }];
const ONE_TO_ONE: &[Goal] =
    &[Goal { figure: RATE, times: 1.0, of: Of::Redis }, Goal { figure: CPU, times: 1.0, of: Of::One }];
const WINDOW_OF_ONE: &[Goal] = &[Goal { figure: CPU, times: 1.0, of: Of::Redis }];
const AS_ONE_WORKER: &[Goal] = &[Goal { figure: CPU, times: 1.1, of: Of::OneWorker }];
const LATENCY: &[Goal] =
    &[Goal { figure: 0, times: 1.0, of: Of::Best }, Goal { figure: 1, times: 1.0, of: Of::Best }];
const CONNECTS: &[Goal] = &[Goal { figure: 0, times: 1.0, of: Of::Best }];
const IDLE: &[Goal] =
    &[Goal { figure: 0, times: 2_048.0, of: Of::One }, Goal { figure: 2, times: 0.8, of: Of::Redis }];

/// The cell with two workers, and the one that it is compared with.
pub(crate) const TWO_WORKERS: &str = "two-workers";
pub(crate) const ONE_WORKER: &str = "1x100";

/// The names of all cells.
pub(crate) const NAMES: [&str; 13] = [
    "1x1",
    ONE_WORKER,
    "1x1000",
    "10x100",
    "1x100-1k",
    "10x100-1k",
    "real-data",
    "window-1",
    TWO_WORKERS,
    "latency",
    "connects",
    "connects-token",
    "idle",
];

/// Publishers, subscribers, what is published, how fast, what it is about, and what is wanted.
type Shape = (usize, usize, Payloads, Pace, Figures, &'static [Goal]);

/// The shapes of all cells, in the order of their names. `connections` are opened to see how fast that goes.
fn shapes(objects: Arc<[Vec<u8>]>, connections: usize, idle: usize) -> [Shape; NAMES.len()] {
    let full = Pace::Window { window: 64, piece: 16 };
    let one = Pace::Window { window: 1, piece: 1 };
    // 20,000 deliveries a second to 100.
    let steady = Pace::Rate(200.0);
    let small = Payloads::OfSize(128);
    let large = Payloads::OfSize(1_024);
    [
        (1, 1, small.clone(), full, Figures::Throughput, ONE_TO_ONE),
        (1, 100, small.clone(), full, Figures::Throughput, FAN_OUT),
        (1, 1_000, small.clone(), full, Figures::Throughput, FAN_OUT),
        (10, 100, small.clone(), full, Figures::Throughput, FAN_OUT),
        (1, 100, large.clone(), full, Figures::Throughput, LARGE),
        (10, 100, large, full, Figures::Throughput, LARGE),
        (1, 100, Payloads::Objects(objects), full, Figures::Throughput, &[]),
        (1, 100, small.clone(), one, Figures::Throughput, WINDOW_OF_ONE),
        (1, 100, small.clone(), full, Figures::Throughput, AS_ONE_WORKER),
        (1, 100, small.clone(), steady, Figures::Latency, LATENCY),
        (1, connections, small.clone(), one, Figures::Connects, CONNECTS),
        (1, connections, small.clone(), one, Figures::Connects, CONNECTS),
        (1, idle, small, one, Figures::Idle, IDLE),
    ]
}

/// One connection, and nothing else.
pub(crate) fn just_connect() -> Plan {
    Plan {
        publishers: 1,
        subscribers: 1,
        payloads: Payloads::OfSize(0),
        pace: Pace::Window { window: 1, piece: 1 },
        settle: Duration::ZERO,
        warm_up: Duration::ZERO,
        duration: Duration::ZERO,
        pids: Vec::new(),
        awake: true,
    }
}

/// All cells; `objects` is the real data. A quick look measures for a shorter time, and has fewer connections.
pub(crate) fn all(quick: bool, objects: Arc<[Vec<u8>]>) -> Vec<Cell> {
    let (connections, idle) = if quick { (1_000, 2_000) } else { (4_000, 10_000) };
    let cell = |(name, (publishers, subscribers, payloads, pace, figures, goals))| {
        let millis = Duration::from_millis;
        let (settle, warm_up, duration) = match figures {
            Figures::Connects => (millis(0), millis(0), millis(0)),
            Figures::Idle => (millis(2_000), millis(300), millis(if quick { 1_000 } else { 2_000 })),
            _ if quick => (millis(0), millis(300), millis(800)),
            _ => (millis(0), millis(600), millis(2_500)),
        };
        let plan =
            Plan { publishers, subscribers, payloads, pace, settle, warm_up, duration, ..just_connect() };
        let setting = match name {
            TWO_WORKERS => Setting::TwoWorkers,
            "connects-token" => Setting::ByToken,
            _ => Setting::OneWorker,
        };
        // What is wanted is wanted of as many as there are otherwise.
        let unjudged = (quick && figures == Figures::Idle)
            .then(|| format!("{idle} connections, as this is a quick look"));
        Cell { name, plan, setting, figures, goals, unjudged }
    };
    NAMES.into_iter().zip(shapes(objects, connections, idle)).map(cell).collect()
}
