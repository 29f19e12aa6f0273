//! What is said of other servers that do not belong here, and of a disk that fails: once, when it changes, and now and then while it lasts.
//! They come back every second, and a log that says so every second hides the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use common::time::Time;

/// How often the same is said of the same server.
const EVERY: Duration = Duration::from_secs(60);

/// Of how many servers it is remembered what was said. Of those beyond, the one of whom something was said first is forgotten.
const REMEMBERED: usize = 64;

/// What was said, and when.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    said: BTreeMap<String, (Time, String)>,
}

impl Complaints {
    /// Whether this is to be said of `whom` now; it counts as said.
    pub(super) fn is_news(&mut self, now: Time, whom: &str, what: &str) -> bool {
        if let Some((since, said)) = self.said.get(whom)
            && said == what
            && now.since(*since) < EVERY
        {
            return false;
        }
        if self.said.len() >= REMEMBERED && !self.said.contains_key(whom) {
            let first = self.said.iter().min_by_key(|(_, (since, _))| *since).map(|(whom, _)| whom.clone());
            first.and_then(|first| self.said.remove(&first));
        }
        self.said.insert(whom.to_owned(), (now, what.to_owned()));
        true
    }

    pub(super) fn assert_bounds(&self) {
        assert!(self.said.len() <= REMEMBERED, "{} complaints", self.said.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute_and_anything_else_at_once() {
        let at = |millis: u64| Time::from_micros(1_000 * millis);
        let mut complaints = Complaints::default();
        let said: Vec<u64> = (0..180_000)
            .step_by(1_000)
            .filter(|millis| complaints.is_news(at(*millis), "a:1", "it is of another network"))
            .collect();
        assert_eq!(said, [0, 60_000, 120_000]);
        assert!(complaints.is_news(at(180_001), "a:1", "it has another secret"));
        assert!(complaints.is_news(at(180_002), "a:1", "it is of another network"));
        assert!(complaints.is_news(at(180_002), "b:1", "it is of another network"));
        assert!(!complaints.is_news(at(180_003), "b:1", "it is of another network"));
    }

    #[test]
    fn of_a_bounded_number_of_coordinators_it_is_remembered_what_was_said() {
        let mut complaints = Complaints::default();
        for number in 0..1_000 {
            assert!(complaints.is_news(Time::from_micros(number), &number.to_string(), "no"));
            complaints.assert_bounds();
        }
        assert!(!complaints.is_news(Time::from_micros(1_000), "999", "no"));
    }
}
