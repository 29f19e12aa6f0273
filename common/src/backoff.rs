//! Pauses between attempts, with full jitter: each drawn evenly from zero to a bound that doubles, so that a crowd that lost
//! the same server does not return as one (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
//!
//! A machine of three lines stays here rather than a crate: the crates either sleep by themselves or bring a random source
//! of their own, and a core may have neither.

use std::time::Duration;

use crate::limits;

/// The state of one series of attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::within(limits::RECONNECT)
    }
}

impl Backoff {
    /// Pauses that are bounded by the first of these durations to begin with, and by the second in the end.
    pub fn within((first, longest): (Duration, Duration)) -> Self {
        Backoff { first, longest, attempts: 0 }
    }

    /// How long to wait before the next attempt.
    pub fn next(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let bound = self.first.saturating_mul(1 << self.attempts.min(20)).min(self.longest);
        self.attempts = self.attempts.saturating_add(1);
        bound.mul_f64(rng.f64())
    }

    /// An attempt succeeded: the next series starts over.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Attempts since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}
