//! What is known of the network at this moment: filled by those who play, read by the screen.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use client::display::escape;
use common::id::ServerId;
use common::wire::{StatusReport, WorkerStatus};
use playground::network::Network;
use playground::server::Server;

use crate::stage::{Condition, News};

/// Activities and events that are remembered.
const LATEST: usize = 6;

/// The keys of coordinators; those beyond have none.
const COORDINATOR_KEYS: &str = "abcdefgh";

/// The keys of workers; those beyond have none.
const WORKER_KEYS: &str = "1234567890";

/// The state of affairs.
#[derive(Debug)]
pub(crate) struct Board {
    /// The servers that we started, coordinators first.
    pub(crate) parts: Vec<Part>,
    /// What the main coordinator, or whoever answered in its place, said last; and whether somebody still answers.
    pub(crate) status: Option<StatusReport>,
    pub(crate) answers: bool,
    /// Where each of our users is.
    pub(crate) places: BTreeMap<String, ServerId>,
    /// Activities that we published, and that arrived at any of our sessions.
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    /// The last activities, as text.
    pub(crate) latest: VecDeque<String>,
    /// What else happened and has not been shown to those who read lines; the last few for those who look.
    pub(crate) events: Vec<String>,
    /// How many users the last event is about, where it is about users who were disconnected.
    disconnected: usize,
    rates: (Instant, u64, u64),
    shown: (f64, f64),
}

/// A server that we started.
#[derive(Debug)]
pub(crate) struct Part {
    /// The key that kills and starts it.
    pub(crate) key: Option<char>,
    pub(crate) name: String,
    /// Where it listened when it was started first; a worker that is started anew listens elsewhere.
    pub(crate) address: String,
    pub(crate) condition: Condition,
    pub(crate) coordinates: bool,
}

/// What the network consists of, all of it running.
pub(crate) fn parts(network: &Network) -> Vec<Part> {
    let part = |key, server: &Server, coordinates| Part {
        key,
        name: server.name().to_owned(),
        address: server.address().to_string(),
        condition: Condition::Running,
        coordinates,
    };
    let keys = |keys: &'static str| keys.chars().map(Some).chain(std::iter::repeat(None));
    let coordinators = network.coordinators().zip(keys(COORDINATOR_KEYS));
    let workers = network.workers.iter().zip(keys(WORKER_KEYS));
    coordinators
        .map(|(server, key)| part(key, server, true))
        .chain(workers.map(|(server, key)| part(key, server, false)))
        .collect()
}

impl Board {
    pub(crate) fn new(parts: Vec<Part>) -> Self {
        Board {
            parts,
            status: None,
            answers: true,
            places: BTreeMap::new(),
            sent: 0,
            delivered: 0,
            latest: VecDeque::new(),
            events: Vec::new(),
            disconnected: 0,
            rates: (Instant::now(), 0, 0),
            shown: (0.0, 0.0),
        }
    }

    /// The server that this key kills and starts.
    pub(crate) fn part(&self, key: char) -> Option<&Part> {
        self.parts.iter().find(|part| part.key == Some(key))
    }

    /// Remembers what became of a server.
    pub(crate) fn heard(&mut self, news: News) {
        if let Some(part) = self.parts.iter_mut().find(|part| part.name == news.server) {
            part.condition = news.condition;
        }
        self.happened(news.sentence);
    }

    /// Remembers how the network is, and tells of a new main coordinator.
    pub(crate) fn asked(&mut self, status: Option<StatusReport>) {
        self.answers = status.is_some();
        let Some(status) = status else { return };
        let before = self.status.as_ref().and_then(|before| before.history.last());
        if let (Some(before), Some(reign)) = (before, status.history.last())
            && before.epoch < reign.epoch
        {
            let main = &reign.epoch.coordinator;
            self.happened(format!("{main} has taken over, epoch {}: {}", reign.epoch, escape(&reign.why)));
        }
        self.status = Some(status);
    }

    /// Remembers an event.
    pub(crate) fn happened(&mut self, sentence: String) {
        self.disconnected = 0;
        self.events.push(sentence);
    }

    /// Remembers that a user was disconnected; many at once are one event.
    pub(crate) fn disconnected(&mut self, user: &str, reason: &str) {
        self.places.remove(user);
        let others = match std::mem::take(&mut self.disconnected) {
            0 => 0,
            // Unless it has been shown meanwhile, the event is about one more.
            others => self.events.pop().map_or(0, |_| others),
        };
        self.events.push(match others {
            0 => format!("{user} was disconnected: {}", escape(reason)),
            others => format!("{} users were disconnected: {}", others + 1, escape(reason)),
        });
        self.disconnected = others + 1;
    }

    /// Remembers an activity.
    pub(crate) fn saw(&mut self, activity: String) {
        if self.latest.len() == LATEST {
            self.latest.pop_front();
        }
        self.latest.push_back(activity);
    }

    /// The workers, by the last report.
    pub(crate) fn workers(&self) -> &[WorkerStatus] {
        self.status.as_ref().map_or(&[], |status| &status.workers)
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
    pub(crate) fn users_at<'a>(&'a self, worker: &'a str) -> impl Iterator<Item = &'a str> {
        self.places.iter().filter(move |(_, place)| place.as_str() == worker).map(|(user, _)| user.as_str())
    }
}

#[cfg(test)]
mod tests {
    use common::wire::Message;

    use super::*;

    fn report(history: &str) -> StatusReport {
        let report = format!(
            r#"{{"command":"STATUS_REPORT","id":"c","network":"n","role":"main","state":"NORMAL","users":1,
            "workers":[],"conflict_count":0,"history":[{history}]}}"#
        );
        match Message::decode(report.as_bytes()) {
            Ok(Message::StatusReport(report)) => report,
            other => panic!("no report: {other:?}"),
        }
    }

    #[test]
    fn a_takeover_is_told_once_even_when_nobody_answers_in_between() {
        let first = r#"{"epoch":"1@c","since":1,"why":"it was the first"}"#;
        let both = format!(r#"{first},{{"epoch":"2@d","since":2,"after":"c","why":"c crashed"}}"#);
        let mut board = Board::new(Vec::new());
        board.asked(Some(report(first)));
        board.asked(None);
        assert!(!board.answers && board.events.is_empty());
        board.asked(Some(report(&both)));
        board.asked(Some(report(&both)));
        assert_eq!(board.events, ["d has taken over, epoch 2@d: c crashed"]);
    }

    #[test]
    fn many_disconnections_are_one_event() {
        let mut board = Board::new(Vec::new());
        board.happened("worker-1 was killed".to_owned());
        for user in ["ann", "bob", "eve"] {
            board.disconnected(user, "the connection was lost");
        }
        assert_eq!(
            board.events,
            ["worker-1 was killed", "3 users were disconnected: the connection was lost"]
        );
        board.events.clear();
        board.disconnected("ann", "again");
        assert_eq!(board.events, ["ann was disconnected: again"]);
    }

    #[test]
    fn news_of_a_server_change_its_condition() {
        let part = Part {
            key: Some('a'),
            name: "coordinator-1".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            condition: Condition::Running,
            coordinates: true,
        };
        let mut board = Board::new(vec![part]);
        let sentence = "coordinator-1 was killed".to_owned();
        board.heard(News { server: "coordinator-1".to_owned(), condition: Condition::Dead, sentence });
        assert_eq!(board.part('a').map(|part| part.condition), Some(Condition::Dead));
        assert!(board.part('b').is_none());
    }
}
