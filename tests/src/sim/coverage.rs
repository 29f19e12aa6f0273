//! What has happened in the runs, so that quiet ones cannot pass for good ones.

use std::collections::BTreeMap;

use super::disk::Interrupted;

/// What must have happened, and how often at least in [`PER_SEEDS`] seeds.
pub const MINIMA: &[(&str, u64)] = &[
    ("acknowledgements that require backups", 500),
    ("acknowledgements that say local", 1_500),
    ("acknowledgements that say replicated", 2_000),
    ("activities delivered", 600_000),
    ("activities published", 60_000),
    ("activities relayed around a missing link", 3_000),
    ("activities retrieved from another worker", 20_000),
    ("activities said to have several ids", 600),
    ("activities sent again after a death", 100),
    ("backups listed", 500),
    ("backups that left the list", 100),
    ("changes refused for want of backups", 300),
    ("clients cut off", 60),
    ("clients dropped for falling behind", 10),
    ("clients dropped for stalling", 2),
    ("clients that returned while no coordinator lived", 500),
    ("clients that stopped reading", 40),
    ("clients told to move", 200),
    ("clients told to try again later", 1_000),
    ("clients vanished", 40),
    ("clocks that jumped", 100),
    ("connections broken", 60),
    ("connections broken with bytes on their way", 6),
    ("connections stalled", 50),
    ("coordinators cut off from each other", 20),
    ("coordinators forgotten", 60),
    ("coordinators killed", 200),
    ("coordinators killed all at once", 50),
    ("coordinators that lost their disk", 60),
    ("coordinators that went for long", 15),
    ("copies of all users that were brought back", 80),
    ("coordinators told to leave all at once", 60),
    ("coordinators with a loose contact", 30),
    ("duplicates that arrived at a worker", 500),
    ("failures of the disk", 50),
    ("forged or misplaced messages refused", 500),
    ("gaps announced", 50),
    ("gaps given up", 50),
    ("hashes cancelled before they began", 40),
    ("hashes given up", 100),
    ("half-closed peers answered", 20),
    ("late activities", 500),
    ("log-ins put off because the name was being registered", 40),
    ("log-ins refused for a token out of date", 20),
    ("log-outs", 400),
    ("main coordinators that met another one", 40),
    ("main coordinators that returned to find another one", 30),
    ("main coordinators told to leave", 60),
    ("names that two wanted at once", 300),
    ("partitions", 40),
    ("peers that misbehaved", 600),
    ("persists lost in a crash", 100),
    ("persists that survived a crash unanswered", 100),
    ("proposals adopted", 60),
    ("reconnections", 1_000),
    ("redirects that nobody followed", 60),
    ("registrations", 3_000),
    ("registrations refused because the name was being registered", 200),
    ("registrations repeated", 250),
    ("registrations that lost their name to an earlier one", 20),
    ("registrations whose messages were counted", 500),
    ("reports that name somebody unreachable", 500),
    ("reports that say local", 300),
    ("reports that say replicated", 10_000),
    ("reports where nothing was wrong", 300),
    ("resumes elsewhere", 800),
    ("resumes with a gap", 20),
    ("rolling restarts", 20),
    ("runs without any fault", 30),
    ("secrets changed", 400),
    ("servers cut off from each other", 40),
    ("servers drained", 80),
    ("servers paused", 250),
    ("slow disks", 40),
    ("takeovers", 500),
    ("takeovers by request", 50),
    ("updates of a lower epoch", 2),
    ("users removed", 120),
    ("ways between coordinators that came and went", 25),
    ("ways cut in one direction", 25),
    ("workers killed", 30),
];

/// The number of seeds that [`MINIMA`] are for.
pub const PER_SEEDS: u64 = 300;

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
