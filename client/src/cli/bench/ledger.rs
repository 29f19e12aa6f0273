//! Who has received what: everything once and in order, and when the last one has it.

use std::time::{Duration, Instant};

/// Numbers of one publisher's payloads that can be under way at once in an open loop.
const OPEN_WINDOW: usize = 1 << 16;

/// Counts deliveries, each checked.
#[derive(Debug)]
pub(super) struct Ledger {
    publishers: Vec<Published>,
    /// The last number that each receiver has of each publisher: receiver by receiver.
    last: Vec<u64>,
    receivers: u64,
    deliveries: u64,
}

#[derive(Debug)]
struct Published {
    /// How many were published.
    count: u64,
    /// Up to which number all receivers have everything.
    everywhere: u64,
    /// Of those under way, by their number modulo the length: how many receivers have it, and when it was (to be) sent.
    under_way: Vec<(u64, Instant)>,
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
    /// Nothing was published. At most `window` of each publisher will be under way, where that is known.
    pub(super) fn new(publishers: usize, receivers: usize, window: Option<usize>) -> Self {
        let slots = window.unwrap_or(OPEN_WINDOW);
        let published = || Published { count: 0, everywhere: 0, under_way: vec![(0, Instant::now()); slots] };
        Ledger {
            publishers: std::iter::repeat_with(published).take(publishers).collect(),
            last: vec![0; publishers * receivers],
            receivers: receivers as u64,
            deliveries: 0,
        }
    }

    /// How many of this publisher's payloads more may be under way.
    pub(super) fn room(&self, publisher: usize) -> usize {
        let Published { count, everywhere, under_way } = &self.publishers[publisher];
        under_way.len() - (count - everywhere) as usize
    }

    /// The next one is published, and was to be at `when`. Returns its number.
    pub(super) fn publish(&mut self, publisher: usize, when: Instant) -> u64 {
        assert!(self.room(publisher) > 0, "more is under way than may be");
        let published = &mut self.publishers[publisher];
        published.count += 1;
        let slots = published.under_way.len() as u64;
        published.under_way[(published.count % slots) as usize] = (0, when);
        published.count
    }

    /// A receiver has got one.
    ///
    /// # Errors
    /// A sentence, where it was not its turn.
    pub(super) fn deliver(
        &mut self,
        receiver: usize,
        publisher: usize,
        number: u64,
        now: Instant,
    ) -> Result<Delivered, String> {
        let publishers = self.publishers.len();
        let published = self.publishers.get_mut(publisher).filter(|published| number <= published.count);
        let Some(published) = published else {
            return Err(
                "something was received that was not sent: does another benchmark run on this network?"
                    .to_owned(),
            );
        };
        let last = &mut self.last[receiver * publishers + publisher];
        if number != *last + 1 {
            return Err(format!(
                "receiver {receiver} got number {number} of publisher {publisher} where {} was to come: {}",
                *last + 1,
                if number <= *last { "it came twice, or out of order" } else { "something is missing" },
            ));
        }
        *last = number;
        self.deliveries += 1;
        let slots = published.under_way.len() as u64;
        let (have, sent) = &mut published.under_way[(number % slots) as usize];
        *have += 1;
        let everywhere = *have == self.receivers;
        if everywhere {
            // Each receiver has them in order, so what is everywhere is so in order, too.
            published.everywhere = number;
        }
        Ok(Delivered { after: now.saturating_duration_since(*sent), everywhere })
    }

    /// Whether a receiver has got this one.
    pub(super) fn has(&self, receiver: usize, publisher: usize, number: u64) -> bool {
        let publishers = self.publishers.len();
        publisher < publishers && number <= self.last[receiver * publishers + publisher]
    }

    /// What this publisher has published.
    pub(super) fn count(&self, publisher: usize) -> u64 {
        self.publishers[publisher].count
    }

    /// Deliveries so far.
    pub(super) fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// Published so far.
    pub(super) fn published(&self) -> u64 {
        self.publishers.iter().map(|published| published.count).sum()
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
        let mut ledger = Ledger::new(1, 2, Some(2));
        assert_eq!((ledger.publish(0, now), ledger.publish(0, now), ledger.room(0)), (1, 2, 0));
        assert!(!ledger.deliver(0, 0, 1, now).unwrap().everywhere);
        assert!(!ledger.deliver(0, 0, 2, now).unwrap().everywhere);
        assert_eq!(ledger.room(0), 0);
        let last = ledger.deliver(1, 0, 1, now + Duration::from_millis(3)).unwrap();
        assert_eq!(last, Delivered { after: Duration::from_millis(3), everywhere: true });
        assert_eq!((ledger.room(0), ledger.deliveries(), ledger.outstanding()), (1, 3, 1));
    }

    #[test]
    fn what_comes_twice_out_of_order_or_from_nowhere_is_noticed() {
        let now = Instant::now();
        let mut ledger = Ledger::new(2, 2, Some(8));
        (1..=3).for_each(|number| assert_eq!(ledger.publish(1, now), number));
        assert!(ledger.deliver(0, 1, 1, now).is_ok());
        assert!(ledger.deliver(0, 1, 1, now).unwrap_err().contains("twice"));
        assert!(ledger.deliver(0, 1, 3, now).unwrap_err().contains("missing"));
        for (publisher, number) in [(0, 1), (1, 4), (7, 1)] {
            assert!(ledger.deliver(1, publisher, number, now).unwrap_err().contains("not sent"));
        }
    }
}
