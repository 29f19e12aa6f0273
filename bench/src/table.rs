//! Medians and ratios.

use std::collections::BTreeMap;
use std::fmt::Write;

use client::cli::bench::Outcome;

use crate::cells::{Cell, Figures};
use crate::systems::System;

/// What was measured so far.
#[derive(Debug)]
pub(crate) struct Table {
    cells: Vec<Cell>,
    /// By cell, system and figure: one value a round.
    values: BTreeMap<(usize, usize, usize), Vec<f64>>,
}

/// A figure: its name, and how it is read off an outcome.
type Figure = (&'static str, fn(&Outcome) -> f64);

const THROUGHPUT: [Figure; 3] = [
    ("deliveries/s", |outcome| outcome.deliveries as f64 / outcome.took.as_secs_f64()),
    ("server µs of CPU / delivery", |outcome| each(outcome, outcome.cpu)),
    ("load µs of CPU / delivery", |outcome| each(outcome, outcome.own_cpu)),
];
const LATENCY: [Figure; 4] = [
    ("p50 ms", |outcome| outcome.latency.value_at_quantile(0.5) as f64 / 1e3),
    ("p99 ms", |outcome| outcome.latency.value_at_quantile(0.99) as f64 / 1e3),
    ("p99.9 ms", |outcome| outcome.latency.value_at_quantile(0.999) as f64 / 1e3),
    ("server µs of CPU / delivery", |outcome| each(outcome, outcome.cpu)),
];
const IDLE: [Figure; 3] = [
    ("resident bytes / connection", |outcome| {
        (outcome.resident[1] as f64 - outcome.resident[0] as f64) / outcome.connections.0 as f64
    }),
    ("connects and log-ins / s", |outcome| {
        outcome.connections.0 as f64 / outcome.connections.1.as_secs_f64()
    }),
    ("one activity to all, last receiver, ms", |outcome| outcome.last.value_at_quantile(0.5) as f64 / 1e3),
];

impl Table {
    pub(crate) fn new(cells: Vec<Cell>) -> Self {
        Table { cells, values: BTreeMap::new() }
    }

    pub(crate) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// One round's outcome.
    pub(crate) fn add(&mut self, cell: usize, system: System, outcome: &Outcome) {
        for (index, (_, value)) in figures(self.cells[cell].figures).iter().enumerate() {
            self.values.entry((cell, system as usize, index)).or_default().push(value(outcome));
        }
    }

    /// Medians of all, and ratios of Freshet's to the others', as Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("| cell | figure |");
        text.extend(System::ALL.map(|system| format!(" {} |", system.name())));
        text.push_str(" ÷ NATS | ÷ Redis | ÷ Mosquitto |\n| --- | --- |");
        text.push_str(&" ---: |".repeat(System::ALL.len() + 3));
        text.push('\n');
        for (cell, about) in self.cells.iter().enumerate() {
            for (index, (name, _)) in figures(about.figures).iter().enumerate() {
                let median = |system: System| self.median(cell, system, index);
                let _ = write!(text, "| {} | {name} |", about.name);
                for system in System::ALL {
                    let _ = write!(text, " {} |", median(system).map_or("—".to_owned(), readable));
                }
                for peer in [System::Nats, System::Redis, System::Mosquitto] {
                    let ratio = median(System::Freshet).zip(median(peer)).map(|(ours, theirs)| ours / theirs);
                    let _ =
                        write!(text, " {} |", ratio.map_or("—".to_owned(), |ratio| format!("{ratio:.2}")));
                }
                text.push('\n');
            }
        }
        text
    }

    fn median(&self, cell: usize, system: System, figure: usize) -> Option<f64> {
        let mut values = self.values.get(&(cell, system as usize, figure))?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() % 2 {
            1 => Some(values[middle]),
            _ => Some((values[middle - 1] + values[middle]) / 2.0),
        }
    }
}

/// An outcome in a few words.
pub(crate) fn line(outcome: &Outcome) -> String {
    let [(_, rate), (_, cpu), _] = THROUGHPUT;
    format!(
        "{:.0} deliveries/s, {:.3} µs of CPU each, p50 {:.2} ms, p99 {:.2} ms",
        rate(outcome),
        cpu(outcome),
        outcome.latency.value_at_quantile(0.5) as f64 / 1e3,
        outcome.latency.value_at_quantile(0.99) as f64 / 1e3,
    )
}

fn figures(about: Figures) -> &'static [Figure] {
    match about {
        Figures::Throughput => &THROUGHPUT,
        Figures::Latency => &LATENCY,
        Figures::Idle => &IDLE,
    }
}

fn each(outcome: &Outcome, cpu: std::time::Duration) -> f64 {
    cpu.as_secs_f64() * 1e6 / outcome.deliveries.max(1) as f64
}

fn readable(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2} M", value / 1e6),
        value if value >= 1e4 => format!("{:.0} k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.3}"),
    }
}
