//! What is known of the network at this moment: filled by those who play, read by the screen.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use common::id::ServerId;
use common::wire::WorkerStatus;
use playground::network::Network;

/// Activities and events that are remembered.
const LATEST: usize = 6;

/// The state of affairs.
#[derive(Debug)]
pub(crate) struct Board {
    /// Where the coordinator listens.
    pub(crate) coordinator: String,
    /// The coordinator's last answer, and whether it still answers.
    pub(crate) users: u64,
    pub(crate) workers: Vec<WorkerStatus>,
    pub(crate) answers: bool,
    /// Where each of our users is.
    pub(crate) places: BTreeMap<String, ServerId>,
    /// Activities that we published, and that arrived at any of our sessions.
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    /// The last activities, as text.
    pub(crate) latest: VecDeque<String>,
    /// What else happened and has not been shown to those who read lines.
    pub(crate) events: Vec<String>,
    rates: (Instant, u64, u64),
    shown: (f64, f64),
}

impl Board {
    pub(crate) fn new(network: &Network) -> Self {
        Board {
            coordinator: network.address().to_string(),
            users: 0,
            workers: Vec::new(),
            answers: true,
            places: BTreeMap::new(),
            sent: 0,
            delivered: 0,
            latest: VecDeque::new(),
            events: Vec::new(),
            rates: (Instant::now(), 0, 0),
            shown: (0.0, 0.0),
        }
    }

    /// Remembers an activity.
    pub(crate) fn saw(&mut self, activity: String) {
        if self.latest.len() == LATEST {
            self.latest.pop_front();
        }
        self.latest.push_back(activity);
    }

    /// Activities and deliveries a second, over the last second or so.
    pub(crate) fn rates(&mut self) -> (f64, f64) {
        let (since, sent, delivered) = self.rates;
        let seconds = since.elapsed().as_secs_f64();
        if seconds >= 1.0 {
            self.shown = ((self.sent - sent) as f64 / seconds, (self.delivered - delivered) as f64 / seconds);
            self.rates = (Instant::now(), self.sent, self.delivered);
        }
        self.shown
    }

    /// Our users at a worker.
    pub(crate) fn users_at<'a>(&'a self, worker: &'a ServerId) -> impl Iterator<Item = &'a str> {
        self.places.iter().filter(move |(_, place)| *place == worker).map(|(user, _)| user.as_str())
    }
}
