//! Medians and ratios, each beside what is wanted.

use std::collections::BTreeMap;
use std::fmt::Write;

use client::cli::bench::Outcome;
use serde_json::{Value, json};

use crate::cells::{Cell, Figures, Goal, ONE_WORKER, Of};
use crate::systems::System;

/// What was measured so far.
#[derive(Debug)]
pub(crate) struct Table {
    cells: Vec<Cell>,
    /// By cell, system and figure.
    values: BTreeMap<(usize, usize, usize), Rounds>,
}

/// A figure's values, by round.
type Rounds = BTreeMap<u32, f64>;

/// A figure of a cell.
struct Figure {
    name: &'static str,
    more_is_better: bool,
    /// How it is read off an outcome.
    value: fn(&Outcome) -> f64,
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
    pub(crate) fn add(&mut self, cell: usize, system: System, round: u32, outcome: &Outcome) {
        for (index, figure) in figures(self.cells[cell].figures).iter().enumerate() {
            let rounds = self.values.entry((cell, system as usize, index)).or_default();
            rounds.insert(round, (figure.value)(outcome));
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
                    let _ = write!(text, " {} |", or_dash(of(system), |rounds| readable(median(rounds))));
                }
                let _ = write!(text, " {} |", or_dash(of(System::Freshet), noise));
                for peer in System::PEERS {
                    let both = of(System::Freshet).zip(of(peer));
                    let ratio =
                        |(ours, theirs): (&Rounds, &Rounds)| format!("{:.2}", median(ours) / median(theirs));
                    let _ = write!(text, " {} |", or_dash(both, ratio));
                }
                let goals = about.goals.iter().filter(|goal| goal.figure == index);
                let goals: Vec<_> = goals.map(|goal| self.judged(cell, goal, figure)).collect();
                let _ = writeln!(text, " {} |", goals.join("; "));
            }
        }
        text
    }

    /// Every round's figures, and under which `conditions` they were measured.
    pub(crate) fn json(&self, conditions: &[String]) -> Value {
        let cells = self.cells.iter().enumerate().map(|(cell, about)| {
            let figures = figures(about.figures).iter().enumerate().map(|(index, figure)| {
                let rounds = |system: System| Some((system.name(), json!(self.of(cell, system, index)?)));
                let systems: BTreeMap<_, _> = System::ALL.into_iter().filter_map(rounds).collect();
                json!({"figure": figure.name, "by_round": systems})
            });
            json!({"cell": about.name, "settings": about.settings(), "figures": figures.collect::<Value>()})
        });
        json!({"conditions": conditions, "cells": cells.collect::<Value>()})
    }

    /// What is wanted, and whether it is so. In brackets: between which two values the middle half of the rounds' ratios lies. A goal that the
    /// medians' ratio misses is missed within the noise, where that half reaches it.
    fn judged(&self, cell: usize, goal: &Goal, figure: &Figure) -> String {
        let (sign, times) = (if figure.more_is_better { '≥' } else { '≤' }, goal.times);
        let of = |system: System| self.of(cell, system, goal.figure);
        let better = |a, b| if (median(a) < median(b)) == figure.more_is_better { b } else { a };
        let one = of(System::Freshet).map(|ours| ours.keys().map(|round| (*round, 1.0)).collect::<Rounds>());
        let (wanted, theirs) = match goal.of {
            Of::Nats => (format!("{sign} {times} × NATS"), of(System::Nats)),
            Of::Redis => (format!("{sign} {times} × Redis"), of(System::Redis)),
            Of::Best => (
                format!("{sign} {times} × the best"),
                System::PEERS.into_iter().filter_map(of).reduce(better),
            ),
            Of::OneWorker => {
                let one_worker = self.cells.iter().position(|cell| cell.name == ONE_WORKER);
                let theirs = one_worker.and_then(|cell| self.of(cell, System::Freshet, goal.figure));
                (format!("{sign} {times} × one worker"), theirs)
            }
            Of::One => (format!("{sign} {times}"), one.as_ref()),
        };
        if let Some(why) = &self.cells[cell].unjudged {
            return format!("{wanted}: not judged ({why})");
        }
        let Some((ours, theirs)) = of(System::Freshet).zip(theirs) else {
            return format!("{wanted}: not measured");
        };
        let ratio = median(ours) / median(theirs);
        let ratios =
            ours.iter().filter_map(|(round, ours)| Some((*round, ours / theirs.get(round)?))).collect();
        let (low, high) = (quantile(&ratios, 0.25), quantile(&ratios, 0.75));
        let (is_reached, is_near) = match figure.more_is_better {
            true => (ratio >= times, high >= times),
            false => (ratio <= times, low <= times),
        };
        let verdict = match (is_reached, is_near) {
            (true, _) => "yes",
            (false, true) => "within the noise",
            (false, false) => "no",
        };
        format!("{wanted}: {} ({} to {}; {verdict})", readable(ratio), readable(low), readable(high))
    }

    fn of(&self, cell: usize, system: System, figure: usize) -> Option<&Rounds> {
        self.values.get(&(cell, system as usize, figure))
    }
}

/// The value below which so much of all lies; between two of them, in proportion. There is at least one, but where no round has both sides of
/// a ratio: then it is no number, and no goal is reached by it.
fn quantile(rounds: &Rounds, quantile: f64) -> f64 {
    let mut values: Vec<f64> = rounds.values().copied().collect();
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let place = last as f64 * quantile;
    let (low, high) = (values[place as usize], values[(place.ceil() as usize).min(last)]);
    low + (high - low) * place.fract()
}

fn median(rounds: &Rounds) -> f64 {
    quantile(rounds, 0.5)
}

/// Half of the way from the lowest to the highest, in percent of the median.
fn noise(rounds: &Rounds) -> String {
    let half = (quantile(rounds, 1.0) - quantile(rounds, 0.0)) / 2.0;
    format!("{:.0} %", half / median(rounds) * 100.0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cells, data};

    /// A table of one cell with these values of deliveries a second, of Freshet and of NATS, round by round.
    fn table(quick: bool, name: &str, ours: &[f64], theirs: &[f64]) -> Table {
        let cells = cells::all(quick, data::objects(None).unwrap());
        let mut table = Table::new(cells.into_iter().filter(|cell| cell.name == name).collect());
        for (system, values) in [(System::Freshet, ours), (System::Nats, theirs)] {
            table.values.insert((0, system as usize, 0), (1..).zip(values.iter().copied()).collect());
        }
        table
    }

    fn verdict(table: &Table) -> String {
        let cell = &table.cells[0];
        table.judged(0, &cell.goals[0], &figures(cell.figures)[0])
    }

    #[test]
    fn a_goal_is_missed_within_the_noise_where_the_middle_half_of_the_rounds_reaches_it() {
        let nats = [1.0; 5];
        let judge = |ours: [f64; 5]| verdict(&table(false, "1x100", &ours, &nats));
        assert_eq!(judge([2.1, 2.2, 2.0, 1.0, 3.0]), "≥ 2 × NATS: 2.100 (2.000 to 2.200; yes)");
        assert_eq!(judge([1.8, 1.9, 2.1, 1.0, 3.0]), "≥ 2 × NATS: 1.900 (1.800 to 2.100; within the noise)");
        // One lucky round is not enough.
        assert_eq!(judge([1.8, 1.9, 1.9, 1.0, 9.0]), "≥ 2 × NATS: 1.900 (1.800 to 1.900; no)");
    }

    #[test]
    fn a_round_in_which_the_machine_was_slow_for_both_is_no_noise() {
        let table = table(false, "1x100", &[19.0, 9.5, 1.9], &[10.0, 5.0, 1.0]);
        assert_eq!(verdict(&table), "≥ 2 × NATS: 1.900 (1.900 to 1.900; no)");
    }

    #[test]
    fn what_was_not_measured_or_not_as_it_is_wanted_is_not_judged() {
        assert_eq!(verdict(&Table::new(table(false, "1x100", &[], &[]).cells)), "≥ 2 × NATS: not measured");
        let quick = verdict(&table(true, "idle", &[1_000.0], &[]));
        assert!(quick.contains("not judged (2000 connections"), "{quick}");
    }

    #[test]
    fn json_has_every_round() {
        let json = table(false, "1x100", &[3.0, 4.0], &[1.0]).json(&["here".to_owned()]);
        assert_eq!(json["conditions"][0], "here");
        assert_eq!(json["cells"][0]["figures"][0]["by_round"]["Freshet"]["2"], 4.0);
    }
}
