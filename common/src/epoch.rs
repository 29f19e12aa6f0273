//! Epochs: which reign of which coordinator something belongs to.
//!
//! An epoch is a number that grows with every new main coordinator, and that coordinator's name, so that two that become main at one
//! moment do not bear the same (the *ballot* of Lamport, "The Part-Time Parliament", 1998; the *term* of Ongaro and Ousterhout, "In
//! Search of an Understandable Consensus Algorithm", 2014). Whoever hears of a higher one follows it. It is no majority that grants an
//! epoch: two sides of a cut may each have a main coordinator, and merge when they meet.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{ServerId, serde_as_text};
use crate::time::WallMillis;

/// An epoch. On the wire `counter@coordinator`, for example `7@coordinator-1`; the greater counter is the higher epoch, of equal ones
/// the greater name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// How many there were before; the first is 1.
    pub counter: u64,
    /// Who reigns.
    pub coordinator: ServerId,
}

/// How far above the highest counter that one knows an epoch may lie to be believed. A network in which somebody takes over every second
/// gets there in 136 years; what is beyond was made up, and believed, it would soon leave nothing to count on to.
const LEAP: u64 = 1 << 32;

impl Epoch {
    /// The largest counter that is accepted from outside: counting on from there never overflows.
    pub const MAX: u64 = i64::MAX as u64;

    /// The epoch in which `coordinator` reigns after `highest`, the highest that it knows of.
    pub fn after(highest: Option<&Epoch>, coordinator: &ServerId) -> Epoch {
        let counter = highest.map_or(0, |epoch| epoch.counter);
        Epoch { counter: counter + 1, coordinator: coordinator.clone() }
    }
}

impl Epoch {
    /// Why whoever knows of no higher epoch than `highest` does not believe this one; a sentence for people.
    pub fn absurdity(&self, highest: Option<&Epoch>) -> Option<String> {
        let counter = highest.map_or(0, |epoch| epoch.counter);
        let absurd = self.counter.saturating_sub(counter) > LEAP;
        absurd.then(|| {
            format!("the epoch {self} is absurd: the highest that is known here has the counter {counter}")
        })
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.counter, self.coordinator)
    }
}

impl FromStr for Epoch {
    type Err = EpochError;
    fn from_str(text: &str) -> Result<Self, EpochError> {
        let (counter, coordinator) = text.split_once('@').ok_or(EpochError)?;
        let counter = counter.parse().ok().filter(|counter| (1..=Epoch::MAX).contains(counter));
        Ok(Epoch {
            counter: counter.ok_or(EpochError)?,
            coordinator: coordinator.parse().map_err(|_| EpochError)?,
        })
    }
}

serde_as_text!(Epoch);

/// Not an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is counter@coordinator")]
pub struct EpochError;

/// One entry of the history of epochs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reign {
    /// Which epoch; its coordinator reigned.
    pub epoch: Epoch,
    /// Since when, by that coordinator's clock.
    pub since: WallMillis,
    /// Who reigned before, as far as it knew; nobody for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ServerId>,
    /// Why it took over; a sentence for people.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(text: &str) -> Epoch {
        text.parse().unwrap()
    }

    #[test]
    fn a_later_epoch_is_higher_and_names_decide_between_equals() {
        let first = Epoch::after(None, &"b".parse().unwrap());
        assert_eq!(first, epoch("1@b"));
        let next = Epoch::after(Some(&first), &"a".parse().unwrap());
        assert!(next > first);
        assert!(epoch("2@b") > next);
        assert!(epoch("10@a") > epoch("9@z"));
    }

    #[test]
    fn an_epoch_that_is_far_above_all_that_is_known_is_absurd() {
        let known = epoch("7@a");
        for (text, absurd) in
            [("1@b", false), ("4294967303@b", false), ("4294967304@b", true), ("9223372036854775807@b", true)]
        {
            assert_eq!(epoch(text).absurdity(Some(&known)).is_some(), absurd, "{text}");
        }
        assert_eq!(epoch("4294967296@b").absurdity(None), None);
        assert!(epoch("4294967297@b").absurdity(None).is_some());
    }

    #[test]
    fn what_is_no_epoch_is_refused() {
        for wrong in ["", "1", "@a", "0@a", "1@", "x@a", "-1@a", "9223372036854775808@a", "1@a b"] {
            assert_eq!(wrong.parse::<Epoch>(), Err(EpochError), "{wrong}");
        }
        let last = epoch("9223372036854775807@a");
        assert!(Epoch::after(Some(&last), &"a".parse().unwrap()) > last);
    }
}
