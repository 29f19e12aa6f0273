//! Hashing of users' secrets: Argon2id with the parameters that OWASP's Password Storage Cheat Sheet recommends first
//! (19 MiB, two passes, one lane). It takes some 20 ms and 19 MiB, so only shells call it, off the event loop and a bounded
//! number at a time.

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::user::{PasswordHash, Secret};

/// A hash that no secret matches, with the parameters of the real ones: verifying against it makes refusing an unknown name
/// take as long as refusing a wrong secret.
pub fn decoy() -> PasswordHash {
    PasswordHash(
        "$argon2id$v=19$m=19456,t=2,p=1$ZnJlc2hldC1kZWNveS1zYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            .to_owned(),
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
    PasswordHash(hash.to_string())
}

/// Whether `secret` is the one that was hashed. A malformed hash matches nothing.
pub fn verify(secret: &Secret, hash: &PasswordHash) -> bool {
    argon2::PasswordHash::new(&hash.0)
        .is_ok_and(|parsed| hasher().verify_password(secret.expose().as_bytes(), &parsed).is_ok())
}

/// Whether this is the PHC string of an Argon2id hash, with salt and output, and of a sane length (256 bytes): what another
/// server may ask to be stored.
pub fn is_well_formed(hash: &PasswordHash) -> bool {
    hash.0.len() <= 256
        && argon2::PasswordHash::new(&hash.0).is_ok_and(|parsed| {
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
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify(&Secret::new("correct horse"), &hash));
        assert!(!verify(&Secret::new("correct house"), &hash));
    }

    #[test]
    fn only_the_text_of_an_argon2id_hash_is_well_formed() {
        assert!(is_well_formed(&hash(&Secret::new("correct horse"))));
        let salt = "$v=19$m=19456,t=2,p=1$ZnJlc2hldC1kZWNveS1zYWx0";
        let output = "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert!(is_well_formed(&PasswordHash(format!("$argon2id{salt}{output}"))));
        for wrong in [
            "",
            "secret",
            &format!("$argon2i{salt}{output}"),
            &format!("$argon2id{salt}"),
            &"$argon2id".repeat(99),
        ] {
            assert!(!is_well_formed(&PasswordHash(wrong.to_owned())), "{wrong:?}");
        }
    }

    #[test]
    fn the_decoy_is_a_real_hash_that_nothing_matches() {
        assert!(argon2::PasswordHash::new(&decoy().0).is_ok());
        assert!(!verify(&Secret::new(""), &decoy()));
    }
}
