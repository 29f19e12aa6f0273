//! Who has received what: everything once and in order, and when the last one has it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use common::position::Ranges;

/// Counts deliveries, each checked.
#[derive(Debug)]
pub(super) struct Ledger {
    publishers: Vec<Published>,
    /// How many of a publisher's payloads may be under way.
    window: usize,
    /// The highest number that each receiver has of each publisher: receiver by receiver.
    last: Vec<u64>,
    /// Which numbers below that it lacks, where it lacks any; by the place in `last`.
    missing: BTreeMap<usize, Ranges>,
    receivers: u64,
    deliveries: u64,
    out_of_order: u64,
}

#[derive(Debug, Default)]
struct Published {
    /// Up to which number all receivers have everything.
    everywhere: u64,
    /// Of each one after that: how many receivers have it, and when it was (to be) sent.
    under_way: VecDeque<(u64, Instant)>,
}

/// What a delivery was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    /// How long after it was (to be) sent.
    pub(super) after: Duration,
    /// All receivers have it now.
    pub(super) everywhere: bool,
}

impl Ledger {
    /// Nothing was published. At most `window` of each publisher will be under way.
    pub(super) fn new(publishers: usize, receivers: usize, window: usize) -> Self {
        Ledger {
            publishers: std::iter::repeat_with(Published::default).take(publishers).collect(),
            window,
            last: vec![0; publishers * receivers],
            missing: BTreeMap::new(),
            receivers: receivers as u64,
            deliveries: 0,
            out_of_order: 0,
        }
    }

    /// How many of this publisher's payloads more may be under way.
    pub(super) fn room(&self, publisher: usize) -> usize {
        self.window - self.publishers[publisher].under_way.len()
    }

    /// The next one is published, and was to be at `when`. Returns its number.
    pub(super) fn publish(&mut self, publisher: usize, when: Instant) -> u64 {
        assert!(self.room(publisher) > 0, "more is under way than may be");
        self.publishers[publisher].under_way.push_back((0, when));
        self.count(publisher)
    }

    /// A receiver has got one; `None` where it had it before.
    ///
    /// # Errors
    /// A sentence, where it was never published.
    pub(super) fn deliver(
        &mut self,
        receiver: usize,
        publisher: usize,
        number: u64,
        now: Instant,
    ) -> Result<Option<Delivered>, String> {
        if publisher >= self.publishers.len() || number == 0 || number > self.count(publisher) {
            return Err(
                "something was received that was not sent: does another benchmark run on this network?"
                    .to_owned(),
            );
        }
        let place = receiver * self.publishers.len() + publisher;
        let last = &mut self.last[place];
        if number == *last + 1 {
            *last = number;
        } else if number > *last {
            self.missing.entry(place).or_default().add(*last + 1, number - 1);
            *last = number;
        } else {
            let Some(missing) = self.missing.get_mut(&place).filter(|missing| missing.contains(number))
            else {
                return Ok(None);
            };
            missing.remove(number, number);
            self.out_of_order += 1;
        }
        self.deliveries += 1;
        let Published { everywhere, under_way } = &mut self.publishers[publisher];
        let at = (number - *everywhere - 1) as usize;
        let (have, sent) = &mut under_way[at];
        *have += 1;
        let delivered =
            Delivered { after: now.saturating_duration_since(*sent), everywhere: *have == self.receivers };
        while under_way.front().is_some_and(|(have, _)| *have == self.receivers) {
            under_way.pop_front();
            *everywhere += 1;
        }
        Ok(Some(delivered))
    }

    /// When the oldest of this publisher's that are under way was (to be) sent.
    pub(super) fn oldest(&self, publisher: usize) -> Option<Instant> {
        self.publishers[publisher].under_way.front().map(|(_, when)| *when)
    }

    /// The highest number that a receiver has of each publisher.
    pub(super) fn had(&self, receiver: usize) -> Vec<u64> {
        let publishers = self.publishers.len();
        self.last[receiver * publishers..][..publishers].to_vec()
    }

    /// What this publisher has published.
    pub(super) fn count(&self, publisher: usize) -> u64 {
        let Published { everywhere, under_way } = &self.publishers[publisher];
        everywhere + under_way.len() as u64
    }

    /// Deliveries so far.
    pub(super) fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// How many of them came after later ones of their publisher.
    pub(super) fn out_of_order(&self) -> u64 {
        self.out_of_order
    }

    /// Published so far.
    pub(super) fn published(&self) -> u64 {
        (0..self.publishers.len()).map(|publisher| self.count(publisher)).sum()
    }

    /// Deliveries that are still to come.
    pub(super) fn outstanding(&self) -> u64 {
        self.published() * self.receivers - self.deliveries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_window_is_free_again_when_the_last_receiver_has_it() {
        let now = Instant::now();
        let mut ledger = Ledger::new(1, 2, 2);
        assert_eq!((ledger.publish(0, now), ledger.publish(0, now), ledger.room(0)), (1, 2, 0));
        assert!(!ledger.deliver(0, 0, 1, now).unwrap().unwrap().everywhere);
        assert!(!ledger.deliver(0, 0, 2, now).unwrap().unwrap().everywhere);
        assert_eq!(ledger.room(0), 0);
        let last = ledger.deliver(1, 0, 1, now + Duration::from_millis(3)).unwrap();
        assert_eq!(last, Some(Delivered { after: Duration::from_millis(3), everywhere: true }));
        assert_eq!((ledger.room(0), ledger.deliveries(), ledger.outstanding()), (1, 3, 1));
    }

    #[test]
    fn what_comes_twice_or_out_of_order_or_never_is_counted_and_the_rest_goes_on() {
        let now = Instant::now();
        let mut ledger = Ledger::new(2, 2, 8);
        (1..=4).for_each(|number| assert_eq!(ledger.publish(1, now), number));
        let mut deliver = |receiver, number| ledger.deliver(receiver, 1, number, now).unwrap();
        assert!(deliver(0, 1).is_some());
        assert_eq!(deliver(0, 1), None);
        // 2 is late, 3 never comes.
        assert!(deliver(0, 4).is_some());
        assert!(deliver(0, 2).is_some());
        assert_eq!((deliver(0, 2), deliver(0, 4)), (None, None));
        (1..=4).for_each(|number| assert!(deliver(1, number).is_some()));
        assert_eq!((ledger.deliveries(), ledger.out_of_order(), ledger.outstanding()), (7, 1, 1));
        assert_eq!(ledger.room(1), 6, "3 and 4 are under way: what is not everywhere keeps its place");
    }

    #[test]
    fn what_nobody_published_is_refused() {
        let now = Instant::now();
        let mut ledger = Ledger::new(2, 2, 8);
        ledger.publish(1, now);
        for (publisher, number) in [(0, 1), (1, 0), (1, 2), (7, 1)] {
            assert!(ledger.deliver(1, publisher, number, now).unwrap_err().contains("not sent"));
        }
    }
}
