//! What is measured.

use std::time::Duration;

use client::cli::bench::{Pace, Plan};

/// The names of all cells.
pub(crate) const NAMES: [&str; 9] =
    ["1x1", "1x100", "1x1000", "10x100", "1x100-1k", "10x100-1k", "window-1", "latency", "idle"];

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) plan: Plan,
    /// What it is about.
    pub(crate) figures: Figures,
}

/// Which figures of a cell are worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figures {
    Throughput,
    Latency,
    Idle,
}

/// All cells. A quick look measures for a shorter time, and has fewer idle connections.
pub(crate) fn all(quick: bool) -> Vec<Cell> {
    let full = Pace::Window { window: 64, piece: 16 };
    let one = Pace::Window { window: 1, piece: 1 };
    let idle = if quick { 2_000 } else { 10_000 };
    // 20,000 deliveries a second to 100.
    let steady = Pace::Rate(200.0);
    let shapes = [
        (1, 1, 128, full, Figures::Throughput),
        (1, 100, 128, full, Figures::Throughput),
        (1, 1_000, 128, full, Figures::Throughput),
        (10, 100, 128, full, Figures::Throughput),
        (1, 100, 1_024, full, Figures::Throughput),
        (10, 100, 1_024, full, Figures::Throughput),
        (1, 100, 128, one, Figures::Throughput),
        (1, 100, 128, steady, Figures::Latency),
        (1, idle, 128, one, Figures::Idle),
    ];
    let cell = |(name, (publishers, subscribers, size, pace, figures))| Cell {
        name,
        plan: Plan {
            publishers,
            subscribers,
            size,
            pace,
            warm_up: Duration::from_millis(if quick { 300 } else { 1_000 }),
            duration: Duration::from_millis(if quick { 1_000 } else { 4_000 }),
            pids: Vec::new(),
        },
        figures,
    };
    NAMES.into_iter().zip(shapes).map(cell).collect()
}
