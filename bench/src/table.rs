//! Medians and ratios, each beside what is wanted.

use std::collections::BTreeMap;
use std::fmt::Write;

use client::cli::bench::Outcome;

use crate::cells::{Cell, Figures, Goal, Of};
use crate::systems::System;

/// What was measured so far.
#[derive(Debug)]
pub(crate) struct Table {
    cells: Vec<Cell>,
    /// By cell, system and figure: one value a round.
    values: BTreeMap<(usize, usize, usize), Vec<f64>>,
}

/// A figure of a cell.
struct Figure {
    name: &'static str,
    more_is_better: bool,
    /// How it is read off an outcome.
    value: fn(&Outcome) -> f64,
}

/// The lowest, the median and the highest of some values.
#[derive(Clone, Copy, Debug)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

const THROUGHPUT: &[Figure] = &[
    more("deliveries/s", |outcome| outcome.deliveries as f64 / outcome.took.as_secs_f64()),
    less("server µs of CPU / delivery", |outcome| each(outcome, outcome.cpu)),
    less("load µs of CPU / delivery", |outcome| each(outcome, outcome.own_cpu)),
];
const LATENCY: &[Figure] = &[
    less("p50 ms", |outcome| outcome.latency.value_at_quantile(0.5) as f64 / 1e3),
    less("p99 ms", |outcome| outcome.latency.value_at_quantile(0.99) as f64 / 1e3),
    less("p99.9 ms", |outcome| outcome.latency.value_at_quantile(0.999) as f64 / 1e3),
    less("server µs of CPU / delivery", |outcome| each(outcome, outcome.cpu)),
];
const CONNECTS: &[Figure] = &[
    more("connects and log-ins / s", |outcome| {
        outcome.connections.0 as f64 / outcome.connections.1.as_secs_f64()
    }),
    less("server µs of CPU / connection", |outcome| {
        outcome.connecting_cpu.as_secs_f64() * 1e6 / outcome.connections.0 as f64
    }),
];
const IDLE: &[Figure] = &[
    less("resident bytes / connection", |outcome| {
        (outcome.resident[1] as f64 - outcome.resident[0] as f64) / outcome.connections.0 as f64
    }),
    less("the kernel's bytes / connection, both ends", |outcome| {
        outcome.kernel as f64 / outcome.connections.0 as f64
    }),
    less("one activity to all, last receiver, ms", |outcome| {
        outcome.last.value_at_quantile(0.5) as f64 / 1e3
    }),
    less("server µs of CPU / delivery", |outcome| each(outcome, outcome.cpu)),
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
        for (index, figure) in figures(self.cells[cell].figures).iter().enumerate() {
            self.values.entry((cell, system as usize, index)).or_default().push((figure.value)(outcome));
        }
    }

    /// Medians of all, ratios of Freshet's to the others', and what is wanted, as Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("| cell | figure |");
        text.extend(System::ALL.map(|system| format!(" {} |", system.name())));
        text.push_str(" ± | ÷ NATS | ÷ Redis | ÷ Mosquitto | wanted |\n| --- | --- |");
        text.push_str(&" ---: |".repeat(System::ALL.len() + 4));
        text.push_str(" --- |\n");
        for (cell, about) in self.cells.iter().enumerate() {
            for (index, figure) in figures(about.figures).iter().enumerate() {
                let of = |system: System| self.of(cell, system, index);
                let _ = write!(text, "| {} | {} |", about.name, figure.name);
                for system in System::ALL {
                    let _ = write!(text, " {} |", or_dash(of(system), |spread| readable(spread.median)));
                }
                let _ = write!(text, " {} |", or_dash(of(System::Freshet), Spread::noise));
                for peer in System::PEERS {
                    let both = of(System::Freshet).zip(of(peer));
                    let ratio =
                        |(ours, theirs): (Spread, Spread)| format!("{:.2}", ours.median / theirs.median);
                    let _ = write!(text, " {} |", or_dash(both, ratio));
                }
                let goals = about.goals.iter().filter(|goal| goal.figure == index);
                let goals: Vec<_> = goals.map(|goal| self.judged(cell, goal, figure)).collect();
                let _ = writeln!(text, " {} |", goals.join("; "));
            }
        }
        text
    }

    /// What is wanted, and whether it is so.
    fn judged(&self, cell: usize, goal: &Goal, figure: &Figure) -> String {
        let (sign, times) = (if figure.more_is_better { '≥' } else { '≤' }, goal.times);
        let of = |system: System| self.of(cell, system, goal.figure);
        let better =
            |a: Spread, b: Spread| if (a.median < b.median) == figure.more_is_better { b } else { a };
        let (wanted, theirs) = match goal.of {
            Of::Nats => (format!("{sign} {times} × NATS"), of(System::Nats)),
            Of::Redis => (format!("{sign} {times} × Redis"), of(System::Redis)),
            Of::Best => (
                format!("{sign} {times} × the best"),
                System::PEERS.into_iter().filter_map(of).reduce(better),
            ),
            Of::OneWorker => {
                let one_worker = self.cells.iter().position(|cell| cell.name == "1x100");
                let theirs = one_worker.and_then(|cell| self.of(cell, System::Freshet, goal.figure));
                (format!("{sign} {times} × one worker"), theirs)
            }
            Of::One => (format!("{sign} {times}"), Some(Spread { least: 1.0, median: 1.0, most: 1.0 })),
        };
        let Some((ours, theirs)) = of(System::Freshet).zip(theirs) else { return wanted };
        let ratio = ours.median / theirs.median;
        let (is_reached, is_near) = match figure.more_is_better {
            true => (ratio >= times, ours.most >= times * theirs.least),
            false => (ratio <= times, ours.least <= times * theirs.most),
        };
        let verdict = match (is_reached, is_near) {
            (true, _) => "yes",
            (false, true) => "within the noise",
            (false, false) => "no",
        };
        format!("{wanted}: {} ({verdict})", readable(ratio))
    }

    fn of(&self, cell: usize, system: System, figure: usize) -> Option<Spread> {
        let mut values = self.values.get(&(cell, system as usize, figure))?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        };
        Some(Spread { least: *values.first()?, median, most: *values.last()? })
    }
}

impl Spread {
    /// Half of the way from the lowest to the highest, in percent of the median.
    fn noise(self) -> String {
        format!("{:.0} %", (self.most - self.least) / 2.0 / self.median * 100.0)
    }
}

/// An outcome in a few words.
pub(crate) fn line(about: Figures, outcome: &Outcome) -> String {
    let figures = figures(about).iter();
    let words: Vec<_> =
        figures.map(|figure| format!("{} {}", readable((figure.value)(outcome)), figure.name)).collect();
    words.join(", ")
}

const fn more(name: &'static str, value: fn(&Outcome) -> f64) -> Figure {
    Figure { name, more_is_better: true, value }
}

const fn less(name: &'static str, value: fn(&Outcome) -> f64) -> Figure {
    Figure { name, more_is_better: false, value }
}

fn figures(about: Figures) -> &'static [Figure] {
    match about {
        Figures::Throughput => THROUGHPUT,
        Figures::Latency => LATENCY,
        Figures::Connects => CONNECTS,
        Figures::Idle => IDLE,
    }
}

fn each(outcome: &Outcome, cpu: std::time::Duration) -> f64 {
    cpu.as_secs_f64() * 1e6 / outcome.deliveries.max(1) as f64
}

fn or_dash<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or("—".to_owned(), text)
}

pub(crate) fn readable(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2} M", value / 1e6),
        value if value >= 1e4 => format!("{:.1} k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.3}"),
    }
}
