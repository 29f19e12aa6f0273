//! Activities that were sent and have not come back.

use std::collections::VecDeque;
use std::time::Duration;

use common::user::Username;
use common::wire::Activity;
use tokio::time::Instant;

/// What one user has on its way, in the order of sending. `T` is kept with each activity until it is back or given up.
#[derive(Debug)]
pub(super) struct Outstanding<T> {
    username: Username,
    patience: Duration,
    sent: VecDeque<Sent<T>>,
}

#[derive(Debug)]
struct Sent<T> {
    /// As it will look when it is back.
    expected: Activity,
    since: Instant,
    #[expect(dead_code, reason = "to be dropped in time is all its use")]
    kept: T,
}

impl<T> Outstanding<T> {
    /// Activities that do not come back within `patience` will be given up.
    pub(super) fn new(username: Username, patience: Duration) -> Self {
        Outstanding { username, patience, sent: VecDeque::new() }
    }

    /// This is being sent.
    pub(super) fn sent(&mut self, now: Instant, activity: &Activity, kept: T) {
        let expected = crate::core::one_line(activity.clone()).authenticated(&self.username);
        self.sent.push_back(Sent { expected, since: now, kept });
    }

    /// This has arrived. Whether it is one of ours that was still missing.
    pub(super) fn arrived(&mut self, activity: &Activity) -> bool {
        // The network keeps each sender's order, so the first match is right, and nearly always the first of all.
        let found = self.sent.iter().position(|sent| sent.expected == *activity);
        found.and_then(|index| self.sent.remove(index)).is_some()
    }

    /// When the oldest will be given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sent.front().map(|sent| sent.since + self.patience)
    }

    /// Gives up what has been away for too long. How many.
    pub(super) fn give_up(&mut self, now: Instant) -> usize {
        let late = self.sent.iter().take_while(|sent| sent.since + self.patience <= now).count();
        self.sent.drain(..late);
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_arrival_settles_one_of_its_own_kind_and_strangers_settle_none() {
        let ann: Username = "ann".parse().unwrap();
        let mut outstanding = Outstanding::new(ann.clone(), Duration::from_secs(1));
        let activity = |text: &str| Activity::parse(text).unwrap();
        let (one, two) = (activity(r#"{"n":1}"#), activity("{\"n\":\n2}"));
        let back =
            |activity: &Activity, by: &Username| crate::core::one_line(activity.clone()).authenticated(by);
        for sent in [&one, &one, &two] {
            outstanding.sent(Instant::now(), sent, ());
        }
        assert!(!outstanding.arrived(&back(&one, &"bob".parse().unwrap())));
        assert!(outstanding.arrived(&back(&two, &ann)), "its order was changed by a reconnection");
        assert!(outstanding.arrived(&back(&one, &ann)) && outstanding.arrived(&back(&one, &ann)));
        assert!(!outstanding.arrived(&back(&one, &ann)) && outstanding.sent.is_empty());
    }

    #[test]
    fn what_does_not_come_back_is_given_up() {
        let mut outstanding = Outstanding::new("ann".parse().unwrap(), Duration::from_secs(1));
        let start = Instant::now();
        outstanding.sent(start, &Activity::parse("{}").unwrap(), ());
        outstanding.sent(start + Duration::from_millis(600), &Activity::parse("{}").unwrap(), ());
        assert_eq!(outstanding.give_up(start + Duration::from_millis(999)), 0);
        let deadline = outstanding.deadline().unwrap();
        assert_eq!((outstanding.give_up(deadline), outstanding.sent.len()), (1, 1));
    }
}
