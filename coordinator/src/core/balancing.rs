//! Evening out: which worker sends how many of its clients to which other one.
//!
//! A client stays at its worker, so one that joins has nobody of those who were there before. What some carry beyond the mean moves to
//! those who carry less: as few as that takes, a small portion a second, and only where it matters. It begins where somebody is further
//! from the mean than a twentieth, and goes on until nobody is further than half of that, so that clients who come and go by themselves do
//! not set it off again and again.
//!
//! **Invariant:** nobody gets below the mean by giving, or above it by taking. So what was evened out does not turn round, however late the
//! loads show it: who is on the way counts as having arrived.
//!
//! What is *not* here: which clients move. Their worker picks those that can, and that have not moved a moment ago.

use std::cmp::Reverse;
use std::collections::VecDeque;

use common::time::Time;

/// Which part of the mean matters: a twentieth, five per cent. It is what workers may differ from even, and what moves in one portion.
const PART: u64 = 20;

/// What never matters, however few clients there are.
const NEGLIGIBLE: u64 = 2;

/// Whether, and what, is to be evened out.
#[derive(Debug)]
pub(super) struct Balancing {
    is_uneven: bool,
    /// How many clients a worker gives or takes at a time at most.
    portion: u64,
}

/// What one worker carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Its clients: those on the way to it are among them, and those on the way from it are not.
    pub(super) load: u64,
    /// Those that it could move.
    pub(super) movable: u64,
    /// Those on the way from it.
    pub(super) going: u64,
    /// Those on the way to it, because they were moved.
    pub(super) coming: u64,
}

/// So many clients are to go from one worker to another: by their places among the shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) count: u64,
}

impl Balancing {
    pub(super) fn new(portion: u64) -> Self {
        Balancing { is_uneven: false, portion }
    }

    /// What is to move now.
    pub(super) fn plan(&mut self, shares: &[Share]) -> Vec<Transfer> {
        let mut transfers = Vec::new();
        let Some(mean) = Mean::of(shares) else { return transfers };
        let furthest = shares.iter().map(|share| mean.distance(share.load)).max().unwrap_or(0);
        let matters = (mean.low / PART).max(NEGLIGIBLE);
        self.is_uneven = furthest > if self.is_uneven { matters / 2 } else { matters };
        if !self.is_uneven {
            return transfers;
        }
        let portion = (mean.low / PART).clamp(1, self.portion);
        let mut shares = shares.to_vec();
        let mut order: Vec<usize> = (0..shares.len()).collect();
        order.sort_by_key(|&place| Reverse(shares[place].load));
        for &to in order.iter().rev() {
            for &from in &order {
                let count = mean.transferable(&shares[from], &shares[to], portion);
                if count > 0 {
                    shares[from].give(count);
                    shares[to].take(count);
                    transfers.push(Transfer { from, to, count });
                }
            }
        }
        transfers
    }
}

impl Share {
    fn give(&mut self, count: u64) {
        self.load -= count;
        self.movable -= count;
        self.going += count;
    }

    fn take(&mut self, count: u64) {
        self.load += count;
        self.coming += count;
    }
}

/// Between what loads are even: the mean, in whole clients.
struct Mean {
    low: u64,
    high: u64,
    /// Down to which load workers give now, and up to which they take. Those above give to those below first; what rounding leaves goes to,
    /// or comes from, those in between, who have taken nothing, or given nothing.
    floor: u64,
    ceiling: u64,
}

impl Mean {
    /// `None` where there are fewer than two workers to even out.
    fn of(shares: &[Share]) -> Option<Mean> {
        let count = u64::try_from(shares.len()).ok().filter(|count| *count > 1)?;
        let total = shares.iter().fold(0u64, |total, share| total.saturating_add(share.load));
        let (low, high) = (total / count, total.div_ceil(count));
        let floor = if shares.iter().any(|share| share.load > high) { high } else { low };
        let ceiling = if shares.iter().any(|share| share.load < low) { low } else { high };
        Some(Mean { low, high, floor, ceiling })
    }

    fn distance(&self, load: u64) -> u64 {
        load.saturating_sub(self.high).max(self.low.saturating_sub(load))
    }

    /// How many clients one worker can send to another now.
    fn transferable(&self, from: &Share, to: &Share, portion: u64) -> u64 {
        let surplus = from.load.saturating_sub(self.floor);
        let room = self.ceiling.saturating_sub(to.load);
        let given = portion.saturating_sub(from.going).min(from.movable);
        let taken = portion.saturating_sub(to.coming);
        surplus.min(room).min(given).min(taken)
    }
}

/// Clients that are on the way from one worker, or to one: told to move, and not seen to have moved. Who is not seen for too long is no
/// longer on the way: the worker had not so many to move, or they went elsewhere.
#[derive(Debug, Default)]
pub(super) struct OnTheWay {
    /// Until when each portion counts, oldest first, and how many of it are still to be seen.
    portions: VecDeque<(Time, u64)>,
}

impl OnTheWay {
    pub(super) fn count(&self) -> u64 {
        self.portions.iter().map(|(_, count)| count).sum()
    }

    /// `count` more are told to move. `until` is never earlier than in the call before.
    pub(super) fn add(&mut self, count: u64, until: Time) {
        self.portions.push_back((until, count));
    }

    /// `count` have gone, or come; it may be others than those.
    pub(super) fn seen(&mut self, mut count: u64) {
        while let Some((_, portion)) = self.portions.front_mut() {
            let seen = count.min(*portion);
            *portion -= seen;
            count -= seen;
            if *portion > 0 {
                return;
            }
            self.portions.pop_front();
        }
    }

    /// Forgets those who are no longer waited for.
    pub(super) fn expire(&mut self, now: Time) {
        while self.portions.front().is_some_and(|(until, _)| *until <= now) {
            self.portions.pop_front();
        }
    }
}

#[cfg(test)]
#[path = "balancing_tests.rs"]
mod tests;
