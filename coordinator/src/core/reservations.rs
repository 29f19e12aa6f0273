//! The clients that one worker has been promised and that have not arrived yet.
//!
//! Each promise is kept for a fixed time, so promises expire in the order in which they were made. **Invariant:** at most `limit`
//! are remembered, those included that were kept and have not aged out; beyond, the oldest no longer counts.

use std::collections::{BTreeMap, VecDeque};

use common::time::Time;
use common::user::Username;

/// A queue of expected clients.
#[derive(Debug)]
pub(super) struct Reservations {
    limit: usize,
    /// When each user's outstanding promises expire, oldest first. No entry is empty.
    expected: BTreeMap<Username, VecDeque<Time>>,
    /// Every promise in order of expiry, kept or not.
    ages: VecDeque<(Time, Username)>,
    outstanding: usize,
}

impl Reservations {
    pub(super) fn new(limit: usize) -> Self {
        Reservations { limit, expected: BTreeMap::new(), ages: VecDeque::new(), outstanding: 0 }
    }

    /// How many clients are expected.
    pub(super) fn len(&self) -> usize {
        self.outstanding
    }

    /// Expects `username` until `expires`, which is never earlier than in the call before.
    pub(super) fn add(&mut self, username: &Username, expires: Time) {
        if self.ages.len() == self.limit {
            self.forget_oldest();
        }
        self.expected.entry(username.clone()).or_default().push_back(expires);
        self.ages.push_back((expires, username.clone()));
        self.outstanding += 1;
    }

    /// `username` has arrived: its oldest promise is kept. Says whether there was one.
    pub(super) fn consume(&mut self, username: &Username) -> bool {
        let Some(promises) = self.expected.get_mut(username) else { return false };
        promises.pop_front();
        self.outstanding -= 1;
        if promises.is_empty() {
            self.expected.remove(username);
        }
        true
    }

    /// Forgets the promises that have expired.
    pub(super) fn expire(&mut self, now: Time) {
        while self.ages.front().is_some_and(|(expires, _)| *expires <= now) {
            self.forget_oldest();
        }
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        *self = Reservations::new(self.limit);
    }

    pub(super) fn assert_bounds(&self) {
        assert!(self.ages.len() <= self.limit, "{} reservations are remembered", self.ages.len());
        assert!(self.outstanding <= self.ages.len(), "more reservations count than were made");
    }

    fn forget_oldest(&mut self) {
        let Some((expires, username)) = self.ages.pop_front() else { return };
        // The user's oldest outstanding promise is later than this one where this one was kept.
        let outstanding = self.expected.get(&username).and_then(VecDeque::front);
        if outstanding.is_some_and(|oldest| *oldest <= expires) {
            self.consume(&username);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    fn name(text: &str) -> Username {
        text.parse().unwrap()
    }

    #[test]
    fn a_kept_promise_does_not_expire_a_second_time() {
        let mut reservations = Reservations::new(10);
        reservations.add(&name("ann"), at(10));
        reservations.add(&name("ann"), at(20));
        reservations.consume(&name("ann"));
        reservations.expire(at(10));
        assert_eq!(reservations.len(), 1);
        reservations.expire(at(20));
        assert_eq!(reservations.len(), 0);
    }

    #[test]
    fn two_promises_of_one_moment_are_two() {
        let mut reservations = Reservations::new(10);
        reservations.add(&name("anonymous"), at(10));
        reservations.add(&name("anonymous"), at(10));
        reservations.consume(&name("anonymous"));
        assert_eq!(reservations.len(), 1);
        reservations.expire(at(10));
        assert_eq!(reservations.len(), 0);
    }

    #[test]
    fn who_was_not_expected_changes_nothing() {
        let mut reservations = Reservations::new(10);
        reservations.add(&name("ann"), at(10));
        reservations.consume(&name("bob"));
        assert_eq!(reservations.len(), 1);
    }

    #[test]
    fn beyond_the_limit_the_oldest_no_longer_counts() {
        let mut reservations = Reservations::new(2);
        for (user, expires) in [("ann", 10), ("bob", 11), ("cy", 12)] {
            reservations.add(&name(user), at(expires));
            reservations.assert_bounds();
        }
        assert_eq!(reservations.len(), 2);
        reservations.consume(&name("ann"));
        assert_eq!(reservations.len(), 2);
    }
}
