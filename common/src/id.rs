//! Newtypes for everything that is counted or named, so that a sequence number is never mistaken for a port.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;

slotmap::new_key_type! {
    /// One TCP connection of this process, accepted or dialled. The driver hands them out; a closed one never comes back.
    pub struct LinkId;
}

/// The name of a server (coordinator or worker): 1 to 64 characters of `A-Z a-z 0-9 . _ -`. Cheap to clone.
// One word and not two (as an `Arc<str>` is): every stamp of every user holds one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(Arc<Box<str>>);

impl ServerId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name nobody else has: `prefix-` and eight hexadecimal digits of `random`.
    pub fn generate(prefix: &str, random: u64) -> Self {
        ServerId(Arc::new(format!("{prefix}-{:08x}", random as u32).into()))
    }
}

impl FromStr for ServerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > limits::SERVER_ID_BYTES || !text.bytes().all(allowed) {
            return Err(IdError::Server);
        }
        Ok(ServerId(Arc::new(text.into())))
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A number drawn at random at every start of a worker, so that what it numbers afterwards is never mistaken for what it
/// numbered before. On the wire: sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Incarnation {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let digit = |value: u64, byte: u8| Some(value << 4 | u64::from(char::from(byte).to_digit(16)?));
        let value = text.bytes().try_fold(0, digit).filter(|_| text.len() == 16);
        value.map(Incarnation).ok_or(IdError::Incarnation)
    }
}

/// The number of an activity among those of one incarnation of one worker; the first is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "crate::wire::Number", into = "u64")]
pub struct Seq(pub u64);

impl Seq {
    /// The largest that is accepted from outside. A million activities a second reach it in 292,000 years, and counting on from it
    /// never overflows.
    pub const MAX: Seq = Seq(i64::MAX as u64);

    /// The number that follows.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl From<Seq> for u64 {
    fn from(seq: Seq) -> u64 {
        seq.0
    }
}

impl TryFrom<crate::wire::Number> for Seq {
    type Error = IdError;
    fn try_from(number: crate::wire::Number) -> Result<Self, IdError> {
        Some(Seq(number.0)).filter(|seq| *seq <= Seq::MAX).ok_or(IdError::Seq)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The identity of an activity on its way through the flood: the worker it entered through, that worker's incarnation, and
/// its number there. On the wire `origin/incarnation/seq`, for example `worker-1/00f3a1…/42`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivityId {
    /// The worker that took the activity from its sender.
    pub origin: ServerId,
    /// Which start of that worker.
    pub incarnation: Incarnation,
    /// Its number there.
    pub seq: Seq,
}

impl fmt::Display for ActivityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.origin, self.incarnation, self.seq)
    }
}

impl FromStr for ActivityId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (origin, rest) = split_at_slash(text)?;
        let (incarnation, seq) = split_at_slash(rest)?;
        // One spelling per number: no sign, no leading zeros.
        let canonical = seq == "0" || (!seq.starts_with('0') && seq.bytes().all(|b| b.is_ascii_digit()));
        let seq =
            seq.parse().ok().map(Seq).filter(|seq| canonical && *seq <= Seq::MAX).ok_or(IdError::Activity)?;
        Ok(ActivityId { origin: origin.parse()?, incarnation: incarnation.parse()?, seq })
    }
}

/// As `split_once`, which would take longer than all the rest of reading an id.
fn split_at_slash(text: &str) -> Result<(&str, &str), IdError> {
    let at = memchr::memchr(b'/', text.as_bytes()).ok_or(IdError::Activity)?;
    Ok((&text[..at], &text[at + 1..]))
}

/// What is wrong with the text of an id. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a server's name.
    #[error("a server id is 1 to {max} characters of A-Z a-z 0-9 . _ -", max = limits::SERVER_ID_BYTES)]
    Server,
    /// Not an incarnation.
    #[error("an incarnation is 16 hexadecimal digits")]
    Incarnation,
    /// Not a sequence number.
    #[error("a sequence number is a whole number up to {max}", max = Seq::MAX)]
    Seq,
    /// Not an activity's id.
    #[error("an activity id is origin/incarnation/sequence")]
    Activity,
    /// Not a position.
    #[error("a position is origin/incarnation/ranges, several separated by commas")]
    Position,
    /// Not a session's public name.
    #[error("a session's name is 22 characters of base64url")]
    Session,
    /// Not a session's key.
    #[error("a session's key is {min} to {max} bytes", min = limits::SESSION_KEY_BYTES.0, max = limits::SESSION_KEY_BYTES.1)]
    SessionKey,
}

/// Serialises through `Display` and `FromStr`: the wire's text form is the same as the one people read.
macro_rules! serde_as_text {
    ($($type:ty),+) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
serde_as_text!(ServerId, Incarnation, ActivityId);
pub(crate) use serde_as_text;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activity_id_has_one_spelling() {
        let id: ActivityId = "worker-1/00000000000000ff/42".parse().unwrap();
        assert_eq!(id.seq, Seq(42));
        assert_eq!(id.to_string(), "worker-1/00000000000000ff/42");
        for wrong in [
            "",
            "w",
            "w/ff/1",
            "w/00000000000000ff/01",
            "w/00000000000000ff/+1",
            "w/00000000000000ff/-1",
            "w/00000000000000ff/1/2",
            "w w/00000000000000ff/1",
            "w/00000000000000ff/18446744073709551615",
            "w/00000000000000ff/9223372036854775808",
        ] {
            assert!(wrong.parse::<ActivityId>().is_err(), "{wrong:?} was taken for an id");
        }
    }

    #[test]
    fn a_server_id_is_short_and_plain() {
        assert!("worker-1.rack_2".parse::<ServerId>().is_ok());
        for wrong in ["", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(wrong.parse::<ServerId>().is_err(), "{wrong:?} was taken for a server id");
        }
    }
}
