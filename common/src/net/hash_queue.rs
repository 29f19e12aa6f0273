//! Whose secret is hashed next.
//!
//! Where no more comes in than can be done, the first is served first. In an overload that order serves everybody too late: each waits as
//! long as the longest queue, gives up, and asks again. So, once somebody has waited for [`STANDING`] behind more than [`FEW`], the last is
//! first, who is still there; and who has waited for [`limits::HASH_PATIENCE`] is told to come again (Maurer, "Fail at Scale", ACM Queue
//! 2015).
//!
//! That alone would let one who asks without end push everybody else aside. So addresses take turns, in whatever order there is (Nagle,
//! RFC 970): whoever waits alone for an address waits for the others' one each, and not for all that they want.
//!
//! **Invariant.** No more than [`limits::HASH_QUEUE`] wait. One more displaces the oldest of the address that has most waiting.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits;
use crate::machine::JobId;

/// How long somebody must have waited for it to be an overload, and not a burst. Up to then everybody is still served in time, and nobody
/// need be passed over.
const STANDING: Duration = Duration::from_secs(1);

/// So many are served soon, in any order: that somebody has waited for long then means that the machine stood still for a moment.
const FEW: usize = 16;

/// Who waits, and what for.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// In the order in which they came.
    waiting: Vec<Waiting<T>>,
    /// When it was last the turn of the addresses that have somebody waiting.
    turns: BTreeMap<IpAddr, u64>,
    turn: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    job: JobId,
    from: IpAddr,
    since: Instant,
    /// It may have nobody to wait for it any more.
    is_doubtful: bool,
    work: T,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Queue { waiting: Vec::new(), turns: BTreeMap::new(), turn: 0 }
    }

    /// One more. Returns what it displaces.
    pub(super) fn push(&mut self, now: Instant, job: JobId, from: IpAddr, work: T) -> Option<T> {
        let displaced = (self.waiting.len() >= limits::HASH_QUEUE).then(|| self.displace());
        self.waiting.push(Waiting { job, from: network_of(from), since: now, is_doubtful: false, work });
        displaced
    }

    /// Who is served now.
    pub(super) fn next(&mut self, now: Instant) -> Option<T> {
        let oldest = self.waiting.iter().find(|waiting| !waiting.is_doubtful);
        let overload =
            self.waiting.len() > FEW && oldest.is_some_and(|oldest| now - oldest.since >= STANDING);
        let rank = |index: &usize| {
            let Waiting { from, is_doubtful, .. } = &self.waiting[*index];
            let age = if overload { usize::MAX - index } else { *index };
            (*is_doubtful, self.turns.get(from).copied(), age)
        };
        let next = (0..self.waiting.len()).min_by_key(rank)?;
        let Waiting { from, work, .. } = self.waiting.remove(next);
        self.turn += 1;
        self.turns.insert(from, self.turn);
        self.forget_turns();
        Some(work)
    }

    /// Those that have waited for too long.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<T> {
        let is_expired = |waiting: &mut Waiting<T>| now - waiting.since >= limits::HASH_PATIENCE;
        let expired = self.waiting.extract_if(.., is_expired).map(|waiting| waiting.work).collect();
        self.forget_turns();
        expired
    }

    /// Takes a job out.
    pub(super) fn remove(&mut self, job: JobId) -> Option<T> {
        let index = self.waiting.iter().position(|waiting| waiting.job == job)?;
        let removed = self.waiting.remove(index);
        self.forget_turns();
        Some(removed.work)
    }

    /// Everybody else comes first from now on.
    pub(super) fn doubt(&mut self, job: JobId) {
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.job == job) {
            waiting.is_doubtful = true;
        }
    }

    fn displace(&mut self) -> T {
        let mut waiting = BTreeMap::new();
        for Waiting { from, .. } in &self.waiting {
            *waiting.entry(*from).or_insert(0) += 1;
        }
        let worth = |index: &usize| {
            let Waiting { from, is_doubtful, .. } = &self.waiting[*index];
            (*is_doubtful, waiting[from], Reverse(*index))
        };
        let displaced = (0..self.waiting.len()).max_by_key(worth).expect("the queue is full");
        self.waiting.remove(displaced).work
    }

    /// An address that has nobody waiting is as good as new.
    fn forget_turns(&mut self) {
        let waiting = &self.waiting;
        self.turns.retain(|from, _| waiting.iter().any(|waiting| waiting.from == *from));
    }
}

/// Whom an address belongs to: of IPv6, one host has at least the last half.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue, and a clock.
    struct Scene {
        queue: Queue<u64>,
        now: Instant,
        jobs: u64,
    }

    impl Scene {
        fn new() -> Self {
            Scene { queue: Queue::new(), now: Instant::now(), jobs: 0 }
        }

        fn push(&mut self, host: u8) -> Option<u64> {
            self.jobs += 1;
            self.queue.push(self.now, JobId(self.jobs), IpAddr::from([10, 0, 0, host]), self.jobs)
        }

        fn pass(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }

        fn all(&mut self) -> Vec<u64> {
            std::iter::from_fn(|| self.queue.next(self.now)).collect()
        }
    }

    #[test]
    fn a_burst_is_served_in_its_order_and_an_overload_from_its_end() {
        let mut scene = Scene::new();
        for host in 1..=3 {
            scene.push(host);
        }
        assert_eq!(scene.all(), [1, 2, 3]);
        for host in 1..=20 {
            scene.push(host);
        }
        scene.pass(1_000);
        assert_eq!(
            scene.all()[..6],
            [23, 22, 21, 20, 4, 5],
            "the last that are few are served in order again"
        );
    }

    #[test]
    fn whoever_asks_once_does_not_wait_for_one_who_asks_without_end() {
        for overload in [0, 1_000] {
            let mut scene = Scene::new();
            for _ in 0..100 {
                scene.push(1);
            }
            scene.pass(overload);
            scene.queue.next(scene.now);
            scene.push(2);
            for _ in 0..100 {
                scene.push(1);
            }
            assert_eq!(scene.queue.next(scene.now), Some(101));
        }
    }

    #[test]
    fn who_has_waited_for_too_long_and_who_is_too_many_is_given_back() {
        let mut scene = Scene::new();
        scene.push(1);
        scene.pass(1_900);
        for _ in 1..limits::HASH_QUEUE {
            scene.push(2);
        }
        assert_eq!(scene.push(3), Some(2), "the oldest of the address that has most waiting");
        scene.pass(100);
        assert_eq!(scene.queue.expired(scene.now), [1]);
        assert_eq!(scene.push(1), None);
    }

    #[test]
    fn who_may_be_gone_comes_last_and_is_the_first_to_be_displaced() {
        let mut scene = Scene::new();
        for _ in 0..limits::HASH_QUEUE {
            scene.push(1);
        }
        scene.queue.doubt(JobId(7));
        assert_eq!(scene.push(2), Some(7));
        scene.queue.doubt(JobId(8));
        assert_eq!(scene.all().last(), Some(&8));
        assert!(scene.queue.turns.is_empty());
    }
}
