//! Hashing of users' secrets: Argon2id with the parameters that OWASP's Password Storage Cheat Sheet recommends first
//! (19 MiB, two passes, one lane). It takes some 20 ms and 19 MiB, so only shells call it, off the event loop and a bounded
//! number at a time.

use std::borrow::Cow;
use std::fmt;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use crate::user::Secret;

/// What our own hashes begin with.
const OURS: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

/// An Argon2id hash, outside a PHC string (`$argon2id$v=19$m=…`). Not shown in logs: it can be attacked offline. A million of
/// them are in memory, so those with our own parameters are kept as the bytes that they stand for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PasswordHash(Form);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// With our parameters; its text is `OURS`, the salt, `$`, the output.
    Ours { salt: [u8; 16], output: [u8; 32] },
    /// Any other text.
    Other(Box<str>),
}

impl PasswordHash {
    /// Takes a hash as it came.
    pub fn new(text: &str) -> Self {
        PasswordHash(Form::ours(text).unwrap_or_else(|| Form::Other(text.into())))
    }

    /// The text, as it came.
    pub fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            Form::Ours { salt, output } => {
                format!("{OURS}{}${}", BASE64.encode(salt), BASE64.encode(output)).into()
            }
            Form::Other(text) => Cow::Borrowed(text),
        }
    }
}

impl Form {
    fn ours(text: &str) -> Option<Form> {
        let (salt, output) = text.strip_prefix(OURS)?.split_once('$')?;
        // The decoder accepts no second spelling of the same bytes.
        let salt = BASE64.decode(salt).ok()?.try_into().ok()?;
        let output = BASE64.decode(output).ok()?.try_into().ok()?;
        Some(Form::Ours { salt, output })
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl Serialize for PasswordHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(PasswordHash::new(&Cow::<'de, str>::deserialize(deserializer)?))
    }
}

/// A hash that no secret matches, with the parameters of the real ones: verifying against it makes refusing an unknown name
/// take as long as refusing a wrong secret.
pub fn decoy() -> PasswordHash {
    PasswordHash::new(
        "$argon2id$v=19$m=19456,t=2,p=1$ZnJlc2hldC1kZWNveS1zYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    )
}

/// Hashes a secret with a fresh random salt.
///
/// # Panics
/// When the operating system has no randomness to give.
pub fn hash(secret: &Secret) -> PasswordHash {
    let hash = hasher()
        .hash_password(secret.expose().as_bytes())
        .expect("the parameters are valid and the salt is random");
    PasswordHash::new(&hash.to_string())
}

/// Whether `secret` is the one that was hashed. A malformed hash matches nothing.
pub fn verify(secret: &Secret, hash: &PasswordHash) -> bool {
    argon2::PasswordHash::new(&hash.text())
        .is_ok_and(|parsed| hasher().verify_password(secret.expose().as_bytes(), &parsed).is_ok())
}

/// Whether this is the PHC string of an Argon2id hash, with salt and output, and of a sane length (256 bytes): what another
/// server may ask to be stored.
pub fn is_well_formed(hash: &PasswordHash) -> bool {
    let text = hash.text();
    text.len() <= 256
        && argon2::PasswordHash::new(&text).is_ok_and(|parsed| {
            parsed.algorithm == Algorithm::Argon2id.ident() && parsed.salt.is_some() && parsed.hash.is_some()
        })
}

fn hasher() -> Argon2<'static> {
    let owasp = Params::new(19 * 1024, 2, 1, None).expect("OWASP's parameters are valid");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, owasp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_matches_its_secret_alone() {
        let hash = hash(&Secret::new("correct horse"));
        assert!(hash.text().starts_with(OURS), "our own hashes are kept small");
        assert!(matches!(hash.0, Form::Ours { .. }));
        assert!(verify(&Secret::new("correct horse"), &hash));
        assert!(!verify(&Secret::new("correct house"), &hash));
    }

    #[test]
    fn only_the_text_of_an_argon2id_hash_is_well_formed() {
        assert!(is_well_formed(&hash(&Secret::new("correct horse"))));
        let salt = "$v=19$m=19456,t=2,p=1$ZnJlc2hldC1kZWNveS1zYWx0";
        let output = "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert!(is_well_formed(&PasswordHash::new(&format!("$argon2id{salt}{output}"))));
        for wrong in [
            "",
            "secret",
            &format!("$argon2i{salt}{output}"),
            &format!("$argon2id{salt}"),
            &"$argon2id".repeat(99),
        ] {
            assert!(!is_well_formed(&PasswordHash::new(wrong)), "{wrong:?}");
        }
    }

    #[test]
    fn a_hash_is_kept_letter_by_letter() {
        let ours = hash(&Secret::new("s")).text().into_owned();
        let padded = format!("{ours}=");
        let other_bits = format!("{}x", &ours[..ours.len() - 1]);
        for text in [&ours, &padded, &other_bits, "$argon2id$v=19$m=19456,t=2,p=1$", ""] {
            assert_eq!(PasswordHash::new(text).text(), text);
        }
    }

    #[test]
    fn the_decoy_is_a_real_hash_that_nothing_matches() {
        assert!(argon2::PasswordHash::new(&decoy().text()).is_ok());
        assert!(!verify(&Secret::new(""), &decoy()));
    }
}
