//! A client's session, which outlives its connections.
//!
//! A client makes a key at random and keeps it to itself. From the key and the user's name every worker derives the same public name,
//! under which the session's activities are numbered. So a session needs no state that is shared, and nobody who sees the name
//! can publish in its place.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use crate::id::{IdError, serde_as_text};
use crate::limits;
use crate::user::Username;

/// What a client alone knows of its session: 16 to 64 bytes, to be drawn at random.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SessionKey(String);

/// The public name of a session: 128 bits of a hash. On the wire: 22 characters of base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

impl SessionKey {
    /// A key of 128 random bits.
    pub fn new(random: u128) -> Self {
        SessionKey(BASE64.encode(random.to_be_bytes()))
    }

    /// The public name of this session where it is `username`'s.
    pub fn session(&self, username: &Username) -> SessionId {
        let mut hash = Sha256::new_with_prefix(b"freshet session\0");
        hash.update(username.as_str().as_bytes());
        hash.update(b"\0");
        hash.update(self.0.as_bytes());
        let hash = hash.finalize();
        SessionId(u128::from_be_bytes(*hash.first_chunk().expect("SHA-256 has 32 bytes")))
    }
}

impl FromStr for SessionKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (least, most) = limits::SESSION_KEY_BYTES;
        Some(SessionKey(text.to_owned()))
            .filter(|_| (least..=most).contains(&text.len()))
            .ok_or(IdError::SessionKey)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

impl<'de> Deserialize<'de> for SessionKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0.to_be_bytes()))
    }
}

impl FromStr for SessionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        // Room for what so many characters might be; it is read too often for a vector.
        let mut bytes = [0; 18];
        let length = BASE64.decode_slice(text, &mut bytes).map_err(|_| IdError::Session)?;
        let bytes = bytes[..length].try_into().map_err(|_| IdError::Session)?;
        Ok(SessionId(u128::from_be_bytes(bytes)))
    }
}

serde_as_text!(SessionId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_its_users_and_its_name_does_not_tell_its_key() {
        let key = SessionKey::new(7);
        let [ann, bob] = ["ann", "bob"].map(|name| key.session(&name.parse().unwrap()));
        assert_ne!(ann, bob);
        assert_eq!(ann, key.session(&"ann".parse().unwrap()));
        assert_ne!(SessionKey::new(8).session(&"ann".parse().unwrap()), ann);
        assert_eq!(ann.to_string().len(), 22);
        assert_eq!(ann.to_string().parse(), Ok(ann));
        assert_eq!(format!("{key:?}"), "SessionKey(…)");
    }

    #[test]
    fn a_key_that_is_too_short_or_too_long_is_none() {
        for wrong in ["", "123456789012345", &"x".repeat(65)] {
            assert_eq!(wrong.parse::<SessionKey>(), Err(IdError::SessionKey), "{wrong}");
        }
        assert_eq!(SessionKey::new(7).0.len(), 22);
        assert!("".parse::<SessionId>().is_err());
        assert!("AAAAAAAAAAAAAAAAAAAAA".parse::<SessionId>().is_err());
    }
}
