//! What happened in a run: a hash of all of it, and the last of it in words.

use std::collections::VecDeque;
use std::fmt::Write;

use common::time::Time;

/// How many of the last events a failure shows.
pub(crate) const SHOWN: usize = 40;

/// Longest line of a trace; activities can be long.
const LINE_BYTES: usize = 240;

/// The record of a run. Two runs with the same seed have the same hash, or the simulation is not deterministic.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    recent: VecDeque<String>,
    telling: Telling,
}

/// How much of a run is put into words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Telling {
    /// Nothing: what crosses the network is in the hash all the same.
    Nothing,
    /// The last events, for whoever asks for them.
    #[default]
    Last,
    /// Every event, printed as it comes: for replays.
    Everything,
}

impl Default for Trace {
    fn default() -> Self {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, recent: VecDeque::new(), telling: Telling::default() }
    }
}

impl Trace {
    /// Says how much is put into words.
    pub fn set_telling(&mut self, telling: Telling) {
        self.telling = telling;
    }

    /// Whether anything is put into words.
    pub fn has_words(&self) -> bool {
        self.telling != Telling::Nothing
    }

    /// Records one event.
    pub fn note(&mut self, now: Time, what: std::fmt::Arguments<'_>) {
        self.events += 1;
        if !self.has_words() {
            return;
        }
        let mut line = if self.recent.len() < SHOWN {
            String::new()
        } else {
            self.recent.pop_front().unwrap_or_default()
        };
        line.clear();
        write!(line, "{now} {what}").expect("a String takes all that is written");
        self.bytes(line.as_bytes());
        if self.telling == Telling::Everything {
            println!("{line}");
        }
        if line.len() > LINE_BYTES {
            let end = (0..=LINE_BYTES).rev().find(|&end| line.is_char_boundary(end));
            line.truncate(end.expect("0 is a boundary"));
            line.push('…');
        }
        self.recent.push_back(line);
    }

    /// Adds bytes to the hash alone. FNV-1a: short, and the same in every version of every library.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The hash of everything recorded so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events were recorded.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The last events, oldest first.
    pub fn recent(&self) -> impl Iterator<Item = &str> {
        self.recent.iter().map(String::as_str)
    }
}
