//! Log-in tokens: a short-lived proof, signed by a coordinator, that a worker checks by itself and without a password hash.
//!
//! Form: `v1.` + base64url(claims as JSON) + `.` + base64url(HMAC-SHA-256 of everything before). The key is the coordinators'
//! common state; workers get it when they have authenticated. A JWT library would bring algorithm negotiation, which is the
//! part of JWT that goes wrong (RFC 8725), and nothing else that is needed here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::time::WallMillis;
use crate::user::{Stamp, Username};

const VERSION: &str = "v1";

/// The key that tokens are signed with: 32 random bytes, base64url on the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey([u8; 32]);

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who may log in with it.
    pub username: Username,
    /// The registration that it holds for; `None` for the anonymous user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<Stamp>,
    /// Until when.
    pub expires: WallMillis,
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token, or not one of ours, or changed.
    #[error("the token is not one of this network's")]
    Forged,
    /// It was good once.
    #[error("the token has expired")]
    Expired,
}

impl TokenKey {
    /// Makes a key of 32 random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        TokenKey(random)
    }

    /// Signs `claims`.
    pub fn sign(&self, claims: &Claims) -> String {
        let claims = serde_json::to_vec(claims).expect("claims serialise");
        let body = format!("{VERSION}.{}", BASE64.encode(claims));
        let signature = BASE64.encode(self.mac(&body).finalize().into_bytes());
        format!("{body}.{signature}")
    }

    /// Checks a token's signature (in constant time) and expiry, and returns what it says.
    pub fn verify(&self, token: &str, now: WallMillis) -> Result<Claims, TokenError> {
        let (body, signature) = token.rsplit_once('.').ok_or(TokenError::Forged)?;
        let signature = BASE64.decode(signature).map_err(|_| TokenError::Forged)?;
        self.mac(body).verify_slice(&signature).map_err(|_| TokenError::Forged)?;
        let (version, claims) = body.split_once('.').ok_or(TokenError::Forged)?;
        if version != VERSION {
            return Err(TokenError::Forged);
        }
        let claims = BASE64.decode(claims).map_err(|_| TokenError::Forged)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| TokenError::Forged)?;
        if claims.expires < now { Err(TokenError::Expired) } else { Ok(claims) }
    }

    fn mac(&self, body: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(body.as_bytes());
        mac
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

impl Serialize for TokenKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for TokenKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(TokenKey).ok_or_else(|| serde::de::Error::custom("a token key is 32 bytes in base64url"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            username: "ann".parse().unwrap(),
            registration: "5.0@c1".parse().ok(),
            expires: WallMillis(1_000),
        }
    }

    #[test]
    fn a_token_says_what_was_signed_until_it_expires() {
        let key = TokenKey::new([7; 32]);
        let token = key.sign(&claims());
        assert_eq!(key.verify(&token, WallMillis(1_000)), Ok(claims()));
        assert_eq!(key.verify(&token, WallMillis(1_001)), Err(TokenError::Expired));
    }

    #[test]
    fn every_change_to_a_token_is_noticed() {
        let key = TokenKey::new([7; 32]);
        let token = key.sign(&claims());
        assert_eq!(TokenKey::new([8; 32]).verify(&token, WallMillis(0)), Err(TokenError::Forged));
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(key.verify(&changed, WallMillis(0)), Err(TokenError::Forged), "byte {index}");
        }
        for wrong in ["", ".", "..", "v1", "v1..", &token[..token.len() - 1]] {
            assert_eq!(key.verify(wrong, WallMillis(0)), Err(TokenError::Forged), "{wrong:?}");
        }
    }
}
