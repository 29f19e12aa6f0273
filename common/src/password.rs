//! Hashing of users' secrets: Argon2id with the parameters that OWASP's Password Storage Cheat Sheet recommends first
//! (19 MiB, two passes, one lane). It takes some 20 ms and 19 MiB, so only shells call it, off the event loop and a bounded
//! number at a time.

use std::borrow::Cow;
use std::fmt;

use argon2::password_hash::PasswordVerifier;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

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

/// The 19 MiB that a hash is computed in, reused by the next one: an allocator that is given such blocks and asked for them by many
/// threads keeps far more than are in use. Empty until it is used.
#[derive(Default)]
pub struct Memory(Vec<Block>);

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory(…)")
    }
}

impl Memory {
    /// What the secret and the salt give with our own parameters.
    fn output(&mut self, secret: &Secret, salt: &[u8; 16]) -> [u8; 32] {
        let hasher = hasher();
        self.0.resize(hasher.params().block_count(), Block::new());
        let mut output = [0; 32];
        hasher
            .hash_password_into_with_memory(secret.expose().as_bytes(), salt, &mut output, &mut self.0)
            .expect("the parameters are valid, and a secret is shorter than 4 GiB");
        output
    }
}

/// Hashes a secret with a fresh random salt.
///
/// # Panics
/// When the operating system has no randomness to give.
pub fn hash(secret: &Secret, memory: &mut Memory) -> PasswordHash {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).expect("the operating system has randomness");
    let output = memory.output(secret, &salt);
    PasswordHash(Form::Ours { salt, output })
}

/// Whether `secret` is the one that was hashed. A malformed hash matches nothing.
pub fn verify(secret: &Secret, hash: &PasswordHash, memory: &mut Memory) -> bool {
    match &hash.0 {
        Form::Ours { salt, output } => memory.output(secret, salt).ct_eq(output).into(),
        // With whatever parameters it names, so in memory of its own.
        Form::Other(text) => argon2::PasswordHash::new(text)
            .is_ok_and(|parsed| hasher().verify_password(secret.expose().as_bytes(), &parsed).is_ok()),
    }
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
    fn a_hash_matches_its_secret_alone_also_in_used_memory() {
        let memory = &mut Memory::default();
        let hash = hash(&Secret::new("correct horse"), memory);
        assert!(matches!(hash.0, Form::Ours { .. }), "our own hashes are kept small");
        assert!(verify(&Secret::new("correct horse"), &hash, memory));
        assert!(!verify(&Secret::new("correct house"), &hash, memory));
        assert!(verify(&Secret::new("correct horse"), &hash, &mut Memory::default()));
    }

    #[test]
    fn a_hash_is_what_its_text_says() {
        let hash = hash(&Secret::new("correct horse"), &mut Memory::default());
        let text = hash.text();
        let parsed = argon2::PasswordHash::new(&text).expect("a PHC string");
        assert!(Argon2::default().verify_password(b"correct horse", &parsed).is_ok());
        // The same, in a spelling that is not ours.
        let other = PasswordHash::new(&text.replace("m=19456,t=2,p=1", "t=2,m=19456,p=1"));
        assert!(matches!(other.0, Form::Other(_)));
        assert!(is_well_formed(&other));
        assert!(verify(&Secret::new("correct horse"), &other, &mut Memory::default()));
        assert!(!verify(&Secret::new("correct house"), &other, &mut Memory::default()));
    }

    #[test]
    fn only_the_text_of_an_argon2id_hash_is_well_formed() {
        assert!(is_well_formed(&hash(&Secret::new("correct horse"), &mut Memory::default())));
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
        let ours = hash(&Secret::new("s"), &mut Memory::default()).text().into_owned();
        let padded = format!("{ours}=");
        let other_bits = format!("{}x", &ours[..ours.len() - 1]);
        for text in [&ours, &padded, &other_bits, "$argon2id$v=19$m=19456,t=2,p=1$", ""] {
            assert_eq!(PasswordHash::new(text).text(), text);
        }
    }

    #[test]
    fn the_decoy_is_a_real_hash_that_nothing_matches() {
        assert!(argon2::PasswordHash::new(&decoy().text()).is_ok());
        assert!(!verify(&Secret::new(""), &decoy(), &mut Memory::default()));
    }
}
