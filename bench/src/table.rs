//! Medians and ratios (`ratio`), each beside what is wanted.

use std::collections::BTreeMap;
use std::fmt::Write;

use client::cli::bench::Outcome;
use serde_json::{Value, json};

use crate::cells::{Cell, Figures, Goal, ONE_WORKER, Of};
use crate::ratio::{EXPLANATION, Ratio, Rounds, median};
use crate::systems::System;

/// What was measured so far.
#[derive(Debug)]
pub(crate) struct Table {
    cells: Vec<Cell>,
    /// By cell, system and figure.
    values: BTreeMap<(usize, usize, usize), Rounds>,
}

/// A figure of a cell.
struct Figure {
    name: &'static str,
    more_is_better: bool,
    /// How it is read off an outcome; `None` where that does not tell.
    value: fn(&Outcome) -> Option<f64>,
}

const THROUGHPUT: &[Figure] = &[
    more("deliveries/s", |outcome| Some(outcome.deliveries as f64 / outcome.took.as_secs_f64())),
    less("server µs of CPU / delivery", servers_cpu),
    less("load µs of CPU / delivery", |outcome| Some(each(outcome, outcome.own_cpu))),
];
const LATENCY: &[Figure] = &[
    less("p50 ms", |outcome| Some(outcome.latency.value_at_quantile(0.5) as f64 / 1e3)),
    less("p99 ms", |outcome| Some(outcome.latency.value_at_quantile(0.99) as f64 / 1e3)),
    less("p99.9 ms", |outcome| Some(outcome.latency.value_at_quantile(0.999) as f64 / 1e3)),
    less("server µs of CPU / delivery", servers_cpu),
];
const CONNECTS: &[Figure] = &[
    more("connects and log-ins / s", |outcome| {
        Some(outcome.connections.0 as f64 / outcome.connections.1.as_secs_f64())
    }),
    less("server µs of CPU / connection", |outcome| {
        Some(outcome.servers?.connecting_cpu.as_secs_f64() * 1e6 / outcome.connections.0 as f64)
    }),
];
const IDLE: &[Figure] = &[
    less("resident bytes / connection", |outcome| {
        let [before, connected, _] = outcome.servers?.resident;
        Some((connected as f64 - before as f64) / outcome.connections.0 as f64)
    }),
    less("the kernel's bytes / connection, both ends", |outcome| {
        Some(outcome.kernel as f64 / outcome.connections.0 as f64)
    }),
    less("one activity to all, last receiver, ms", |outcome| {
        Some(outcome.last.value_at_quantile(0.5) as f64 / 1e3)
    }),
    less("server µs of CPU / delivery", servers_cpu),
];

/// A goal, and how far it is reached: the ratio and the verdict, or why there is none.
struct Judgement {
    wanted: String,
    outcome: Result<(Ratio, &'static str), String>,
}

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
            if let Some(value) = (figure.value)(outcome) {
                self.values.entry((cell, system as usize, index)).or_default().insert(round, value);
            }
        }
    }

    /// Medians of all, ratios of Freshet's to the others', and what is wanted, as Markdown; and what ± is.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("| cell | figure |");
        text.extend(System::ALL.map(|system| format!(" {} |", system.name())));
        text.push_str(" ÷ NATS | ÷ Redis | ÷ Mosquitto | wanted |\n| --- | --- |");
        text.push_str(&" ---: |".repeat(System::ALL.len() + System::PEERS.len()));
        text.push_str(" --- |\n");
        for (cell, about) in self.cells.iter().enumerate() {
            for (index, figure) in figures(about.figures).iter().enumerate() {
                let _ = write!(text, "| {} | {} |", about.name, figure.name);
                for system in System::ALL {
                    let rounds = self.of(cell, system, index);
                    let median = rounds.and_then(|rounds| median(rounds.values().copied().collect()));
                    let _ = write!(text, " {} |", or_dash(median, readable));
                }
                for peer in System::PEERS {
                    let hundredths = |value| format!("{value:.2}");
                    let ratio = self.ratio(cell, peer, index);
                    let _ = write!(text, " {} |", or_dash(ratio, |ratio| ratio.text(hundredths)));
                }
                let goals: Vec<_> = self.judged(cell, index).iter().map(Judgement::text).collect();
                let _ = writeln!(text, " {} |", goals.join("; "));
            }
        }
        let _ = writeln!(text, "\n{EXPLANATION}");
        text
    }

    /// Every round's figures, what the table makes of them, and under which `conditions` they were measured.
    pub(crate) fn json(&self, conditions: &[String]) -> Value {
        let cells = self.cells.iter().enumerate().map(|(cell, about)| {
            let figures = figures(about.figures).iter().enumerate().map(|(index, figure)| {
                let rounds = |system: System| Some((system.name(), json!(self.of(cell, system, index)?)));
                let systems: BTreeMap<_, _> = System::ALL.into_iter().filter_map(rounds).collect();
                let ratio = |peer: System| Some((peer.name(), self.ratio(cell, peer, index)?.json()));
                let ratios: BTreeMap<_, _> = System::PEERS.into_iter().filter_map(ratio).collect();
                let goals: Vec<_> = self.judged(cell, index).iter().map(Judgement::json).collect();
                json!({"figure": figure.name, "by_round": systems, "ratios": ratios, "wanted": goals})
            });
            json!({"cell": about.name, "settings": about.settings(), "figures": figures.collect::<Value>()})
        });
        json!({"conditions": conditions, "explanation": EXPLANATION, "cells": cells.collect::<Value>()})
    }

    fn judged(&self, cell: usize, index: usize) -> Vec<Judgement> {
        let about = &self.cells[cell];
        let figure = &figures(about.figures)[index];
        let goals = about.goals.iter().filter(|goal| goal.figure == index);
        goals.map(|goal| self.judge(cell, goal, figure)).collect()
    }

    /// What is wanted, and whether it is so.
    fn judge(&self, cell: usize, goal: &Goal, figure: &Figure) -> Judgement {
        let (at_least, times) = (figure.more_is_better, goal.times);
        let wanted = format!("{} {times}", if at_least { '≥' } else { '≤' });
        let (wanted, ratio) = match goal.of {
            Of::Nats => (format!("{wanted} × NATS"), self.ratio(cell, System::Nats, goal.figure)),
            Of::Redis => (format!("{wanted} × Redis"), self.ratio(cell, System::Redis, goal.figure)),
            Of::Best => (format!("{wanted} × the best"), self.ratio_to_best(cell, goal.figure, at_least)),
            Of::OneWorker => (format!("{wanted} × one worker"), self.ratio_to_one_worker(cell, goal.figure)),
            Of::One => (wanted, self.of(cell, System::Freshet, goal.figure).and_then(Ratio::to_one)),
        };
        let outcome = match (&self.cells[cell].unjudged, ratio) {
            (Some(why), _) => Err(format!("not judged ({why})")),
            (None, None) => Err("not measured".to_owned()),
            (None, Some(ratio)) => Ok((ratio, ratio.verdict(at_least, times))),
        };
        Judgement { wanted, outcome }
    }

    /// Freshet's figure as a multiple of another's.
    fn ratio(&self, cell: usize, peer: System, figure: usize) -> Option<Ratio> {
        Ratio::of(self.of(cell, System::Freshet, figure)?, self.of(cell, peer, figure)?)
    }

    /// That to the peer to which it is worst.
    fn ratio_to_best(&self, cell: usize, figure: usize, more_is_better: bool) -> Option<Ratio> {
        let worse = |a: Ratio, b: Ratio| if (a.median < b.median) == more_is_better { a } else { b };
        System::PEERS.into_iter().filter_map(|peer| self.ratio(cell, peer, figure)).reduce(worse)
    }

    fn ratio_to_one_worker(&self, cell: usize, figure: usize) -> Option<Ratio> {
        let one_worker = self.cells.iter().position(|cell| cell.name == ONE_WORKER)?;
        Ratio::of(self.of(cell, System::Freshet, figure)?, self.of(one_worker, System::Freshet, figure)?)
    }

    fn of(&self, cell: usize, system: System, figure: usize) -> Option<&Rounds> {
        self.values.get(&(cell, system as usize, figure))
    }
}

impl Judgement {
    fn text(&self) -> String {
        match &self.outcome {
            Ok((ratio, verdict)) => format!("{}: {} ({verdict})", self.wanted, ratio.text(readable)),
            Err(why) => format!("{}: {why}", self.wanted),
        }
    }

    fn json(&self) -> Value {
        match &self.outcome {
            Ok((ratio, verdict)) => json!({"goal": self.wanted, "ratio": ratio.json(), "verdict": verdict}),
            Err(why) => json!({"goal": self.wanted, "verdict": why}),
        }
    }
}

/// An outcome in a few words.
pub(crate) fn line(about: Figures, outcome: &Outcome) -> String {
    let value = |figure: &Figure| Some(format!("{} {}", readable((figure.value)(outcome)?), figure.name));
    figures(about).iter().filter_map(value).collect::<Vec<_>>().join(", ")
}

const fn more(name: &'static str, value: fn(&Outcome) -> Option<f64>) -> Figure {
    Figure { name, more_is_better: true, value }
}

const fn less(name: &'static str, value: fn(&Outcome) -> Option<f64>) -> Figure {
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

fn servers_cpu(outcome: &Outcome) -> Option<f64> {
    Some(each(outcome, outcome.servers?.cpu))
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
        table.judged(0, 0)[0].text()
    }

    #[test]
    fn the_table_its_verdicts_and_the_json_have_the_same_ratio() {
        // The medians' ratio is 1.8.
        let table = table(false, "1x100", &[17.0, 18.0, 27.0], &[10.0, 9.0, 10.0]);
        let (text, json) = (table.text(), table.json(&[]));
        assert!(
            text.contains("| 2.00 ± 0.30 |") && text.contains("≥ 2 × NATS: 2.000 ± 0.300 (yes, within"),
            "{text}"
        );
        assert!(text.contains(EXPLANATION));
        let figure = &json["cells"][0]["figures"][0];
        let ratio = &figure["ratios"]["NATS"];
        assert_eq!((&ratio["median"], ratio), (&json!(2.0), &figure["wanted"][0]["ratio"]));
        assert_eq!(figure["wanted"][0]["verdict"], "yes, within the noise");
    }

    #[test]
    fn one_round_has_no_spread() {
        let text = table(false, "1x100", &[19.0], &[10.0]).text();
        assert!(text.contains("| 1.90 |") && text.contains("≥ 2 × NATS: 1.900 (no)"), "{text}");
    }

    #[test]
    fn the_best_is_the_one_to_which_the_ratio_is_worst() {
        let mut table = table(false, "latency", &[2.0], &[1.0]);
        table.values.insert((0, System::Redis as usize, 0), Rounds::from([(1, 4.0)]));
        assert_eq!(verdict(&table), "≤ 1 × the best: 2.000 (no)");
        let mut table = super::tests::table(false, "connects", &[2.0], &[1.0]);
        table.values.insert((0, System::Redis as usize, 0), Rounds::from([(1, 4.0)]));
        assert_eq!(verdict(&table), "≥ 1 × the best: 0.500 (no)");
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
