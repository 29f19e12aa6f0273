//! Users: their names, their secrets, and the record that servers keep of them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::id::{ServerId, serde_as_text};
use crate::limits;
pub use crate::password::PasswordHash;
use crate::time::WallMillis;

/// The name under which anyone may log in without a secret.
pub const ANONYMOUS: &str = "anonymous";

/// A user's name: 1 to 64 characters, none of them a control character, in Unicode normalisation form C, so that two
/// spellings of one name are one name (UAX #15). `anonymous` is a valid name for logging in, not for registering. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(Arc<str>);

impl Username {
    /// The anonymous user.
    pub fn anonymous() -> Self {
        Username(ANONYMOUS.into())
    }

    /// Whether this is the anonymous user.
    pub fn is_anonymous(&self) -> bool {
        &*self.0 == ANONYMOUS
    }

    /// The normalised name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is one to be registered. Others may exist, from before there was this rule, and stay good for everything else.
    ///
    /// A small rule against names that pass for others or for nothing: no white space at the ends, no invisible characters, no marks that
    /// change the direction of writing. The joiners within a name stay, which emoji and several scripts need. It does not tell
    /// letters apart that merely look alike (UTS #39).
    ///
    /// # Errors
    /// [`UsernameError::Invisible`].
    pub fn check_presentable(&self) -> Result<(), UsernameError> {
        let joins = |c: char| matches!(c, '\u{200c}' | '\u{200d}');
        let is_hidden = |c: char| {
            matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
                || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        };
        let is_loose = |c: char| c.is_whitespace() || joins(c);
        let hidden = self.0.chars().any(|c| is_hidden(c) && !joins(c));
        let loose = self.0.starts_with(is_loose) || self.0.ends_with(is_loose);
        if hidden || loose { Err(UsernameError::Invisible) } else { Ok(()) }
    }

    /// What sorts before every name.
    pub(crate) fn before_all() -> Self {
        Username("".into())
    }
}

impl FromStr for Username {
    type Err = UsernameError;

    fn from_str(text: &str) -> Result<Self, UsernameError> {
        // NFC never makes a text longer than three times its bytes; a cheap look first spares normalising a megabyte.
        if text.len() > limits::USERNAME_CHARS * 4 * 3 {
            return Err(UsernameError::Length);
        }
        // ASCII is in its normal form, and a million names are read when a store is opened.
        let name: Cow<'_, str> = if text.is_ascii() { text.into() } else { text.nfc().collect() };
        if name.is_empty() || name.chars().count() > limits::USERNAME_CHARS {
            return Err(UsernameError::Length);
        }
        if name.chars().any(char::is_control) {
            return Err(UsernameError::Control);
        }
        Ok(Username(name.as_ref().into()))
    }
}

impl Serialize for Username {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Username {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    /// Empty or too long.
    #[error("a username has 1 to {max} characters", max = limits::USERNAME_CHARS)]
    Length,
    /// Line breaks, escapes and the like.
    #[error("a username has no control characters")]
    Control,
    /// White space at an end, characters that do not show, marks of direction.
    #[error("a username neither begins nor ends with white space, and has no invisible characters")]
    Invisible,
}

/// A secret in the clear, on its way from a client to a hash. It never shows in a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret as it came.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The secret itself. Hand it to a hash, never to a log.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether its length, 1 to 256 bytes, is one that a user's secret may have.
    pub fn is_acceptable(&self) -> bool {
        (1..=limits::SECRET_BYTES).contains(&self.0.len())
    }

    /// Compares in time that depends on the lengths alone.
    pub fn equals(&self, other: &Secret) -> bool {
        use subtle::ConstantTimeEq;
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// When and by whom a record was written: a hybrid logical clock (Kulkarni, Demirbas and others, "Logical Physical Clocks and
/// Consistent Snapshots in Globally Distributed Databases", 2014) with the coordinator's id as tie-break. Stamps of one
/// coordinator only grow, whatever its wall clock does. On the wire `milliseconds.counter@coordinator`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Wall-clock time in milliseconds, or the largest seen before where the clock went back.
    pub wall: WallMillis,
    /// Tells apart what was written within one millisecond.
    pub counter: u32,
    /// Who wrote it.
    pub coordinator: ServerId,
}

impl Stamp {
    /// The latest time that is accepted from outside: counting on from there never overflows.
    pub const LATEST: WallMillis = WallMillis(i64::MAX as u64);

    /// The stamp for what `coordinator` writes now, above `latest`, the largest that it has used or seen.
    pub fn after(latest: Option<&Stamp>, now: WallMillis, coordinator: &ServerId) -> Stamp {
        let coordinator = coordinator.clone();
        match latest {
            Some(latest) if latest.wall >= now => match latest.counter.checked_add(1) {
                Some(counter) => Stamp { wall: latest.wall, counter, coordinator },
                None => Stamp { wall: WallMillis(latest.wall.0 + 1), counter: 0, coordinator },
            },
            _ => Stamp { wall: now, counter: 0, coordinator },
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}@{}", self.wall.0, self.counter, self.coordinator)
    }
}

impl FromStr for Stamp {
    type Err = StampError;
    fn from_str(text: &str) -> Result<Self, StampError> {
        let (time, coordinator) = text.split_once('@').ok_or(StampError)?;
        let (wall, counter) = time.split_once('.').ok_or(StampError)?;
        let wall = wall.parse().ok().filter(|wall| *wall <= Stamp::LATEST.0).ok_or(StampError)?;
        Ok(Stamp {
            wall: WallMillis(wall),
            counter: counter.parse().map_err(|_| StampError)?,
            coordinator: coordinator.parse().map_err(|_| StampError)?,
        })
    }
}

serde_as_text!(Stamp);

/// Not a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stamp is milliseconds.counter@coordinator")]
pub struct StampError;

/// What servers keep of a registration, and tell each other. The secret is a hash, always.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// The registration's id: when and where the name was taken. Tokens carry it, so that a token outlives neither the
    /// registration nor a second user of the same name.
    pub registration: Stamp,
    /// When the record last changed; within one registration the latest wins, and removal beats a change.
    pub changed: Stamp,
    /// The record's place in the order of what a coordinator has written, where that is not `changed`: one that adopted the record has
    /// written it again, and has not changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Box<Stamp>>,
    /// The Argon2id hash of the secret; `None`, `null` on the wire, once the user is removed. The key is never left out: what ends
    /// a registration for good is said, not omitted.
    #[serde(deserialize_with = "Option::deserialize")]
    pub secret: Option<PasswordHash>,
}

impl UserRecord {
    /// Whether the user is removed. The record stays, so that nobody brings the registration back.
    pub fn is_removed(&self) -> bool {
        self.secret.is_none()
    }

    /// The record's place in the order of what a coordinator has written.
    pub fn written(&self) -> &Stamp {
        self.written.as_deref().unwrap_or(&self.changed)
    }

    /// Whether this is what remains of the two, which are of one registration. What differs although the stamps are equal was not
    /// written by one coordinator; it is decided too, so that everybody decides alike.
    pub fn supersedes(&self, other: &UserRecord) -> bool {
        let rank = |record: &UserRecord| {
            (record.is_removed(), record.changed.clone(), record.secret.clone(), record.written().clone())
        };
        rank(self) > rank(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_one_name_are_one_name() {
        let composed: Username = "Zo\u{eb}".parse().unwrap();
        let decomposed: Username = "Zoe\u{308}".parse().unwrap();
        assert_eq!(composed, decomposed);
    }

    #[test]
    fn names_are_short_and_without_control_characters() {
        assert!("x".repeat(64).parse::<Username>().is_ok());
        assert!("👩‍🚀".parse::<Username>().is_ok());
        assert_eq!("".parse::<Username>(), Err(UsernameError::Length));
        assert_eq!("x".repeat(65).parse::<Username>(), Err(UsernameError::Length));
        assert_eq!("a\nb".parse::<Username>(), Err(UsernameError::Control));
    }

    #[test]
    fn names_that_pass_for_others_or_for_nothing_are_read_but_not_registered() {
        let check = |text: &str| text.parse::<Username>().expect("it is a name").check_presentable();
        for good in ["ann", "Zo\u{eb}", "two words", "👩\u{200d}🚀", "می\u{200c}خواهم", "名前"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            " ",
            "ann ",
            "\u{a0}ann",
            "\u{200b}",
            "a\u{200b}nn",
            "ann\u{202e}",
            "a\u{2028}b",
            "ann\u{200d}",
            "\u{feff}ann",
        ] {
            assert_eq!(check(bad), Err(UsernameError::Invisible), "{bad:?}");
        }
    }

    #[test]
    fn stamps_of_a_coordinator_grow_although_its_clock_goes_back() {
        let me: ServerId = "c1".parse().unwrap();
        let first = Stamp::after(None, WallMillis(1_000), &me);
        let second = Stamp::after(Some(&first), WallMillis(400), &me);
        let third = Stamp::after(Some(&second), WallMillis(1_001), &me);
        assert!(first < second && second < third);
        assert_eq!(second.to_string().parse(), Ok(second));
    }

    #[test]
    fn removal_is_said_and_never_left_out() {
        let removed = r#"{"registration":"1.0@c","changed":"2.0@c","secret":null}"#;
        let record: UserRecord = serde_json::from_str(removed).unwrap();
        assert!(record.is_removed());
        assert_eq!(serde_json::to_string(&record).unwrap(), removed);
        let omitted = r#"{"registration":"1.0@c","changed":"2.0@c"}"#;
        assert!(serde_json::from_str::<UserRecord>(omitted).is_err());
    }

    #[test]
    fn secrets_never_show() {
        assert_eq!(
            format!("{:?} {:?}", Secret::new("hunter2"), PasswordHash::new("$argon2id$…")),
            "Secret(…) PasswordHash(…)"
        );
    }
}
