//! What has happened in the runs, so that quiet ones cannot pass for good ones.

use std::collections::BTreeMap;

use super::disk::Interrupted;

/// What must have happened, and how often at least in [`PER_SEEDS`] seeds.
pub const MINIMA: &[(&str, u64)] = &[
    ("activities published", 20_000),
    ("activities delivered", 200_000),
    ("activities relayed around a missing link", 100),
    ("clients cut off", 50),
    ("clients dropped for falling behind", 10),
    ("clients dropped for stalling", 5),
    ("clients that returned while no coordinator lived", 200),
    ("clients that stopped reading", 50),
    ("clients told to try again later", 500),
    ("clients vanished", 50),
    ("clocks that jumped", 50),
    ("connections broken", 50),
    ("connections broken with bytes on their way", 10),
    ("connections stalled", 50),
    ("coordinators killed", 50),
    ("duplicates that arrived at a worker", 50),
    ("failures of the disk", 50),
    ("forged or misplaced messages refused", 300),
    ("gaps given up", 5),
    ("log-ins put off because the name was being registered", 20),
    ("log-ins refused for a token out of date", 10),
    ("log-outs", 200),
    ("names that two wanted at once", 50),
    ("peers that misbehaved", 500),
    ("persists lost in a crash", 5),
    ("persists that survived a crash unanswered", 5),
    ("reconnections", 300),
    ("redirects that nobody followed", 20),
    ("registrations", 1_000),
    ("registrations refused because the name was being registered", 10),
    ("runs without any fault", 20),
    ("servers cut off from each other", 50),
    ("servers drained", 50),
    ("servers paused", 50),
    ("slow disks", 50),
    ("workers killed", 50),
];

/// The number of seeds that [`MINIMA`] are for.
pub const PER_SEEDS: u64 = 200;

/// Counts of what happened.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// Something happened `times` times.
    pub fn add(&mut self, what: &'static str, times: u64) {
        *self.counts.entry(what).or_default() += times;
    }

    /// What a crash did to the batch that was being written.
    pub fn add_interrupted(&mut self, interrupted: Interrupted) {
        match interrupted {
            Interrupted::Nothing => {}
            Interrupted::Survived => self.add("persists that survived a crash unanswered", 1),
            Interrupted::Lost => self.add("persists lost in a crash", 1),
        }
    }

    /// Adds what happened in another run.
    pub fn merge(&mut self, other: &Coverage) {
        for (what, times) in &other.counts {
            self.add(what, *times);
        }
    }

    /// What has not happened often enough in `seeds` seeds.
    pub fn missing(&self, seeds: u64) -> Vec<String> {
        let seen = |what: &str| self.counts.get(what).copied().unwrap_or(0);
        let short = MINIMA.iter().filter(|(what, least)| seen(what) < least * seeds / PER_SEEDS);
        short
            .map(|(what, least)| format!("{what}: {} of {}", seen(what), least * seeds / PER_SEEDS))
            .collect()
    }

    /// The counts, one a line.
    pub fn table(&self) -> String {
        self.counts.iter().map(|(what, times)| format!("{times:>10}  {what}\n")).collect()
    }
}
