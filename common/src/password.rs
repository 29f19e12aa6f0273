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
        "$argon2id$v=19$m=19456,t=2,p=1$ZnJlc2hldC1kZWNveS1zYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
    )
}

/// Hashes a secret with a fresh random salt.
///
/// # Panics
/// When the operating system has no randomness to give.
pub fn hash(secret: &Secret) -> PasswordHash {
    let hash = hasher().hash_password(secret.expose().as_bytes()).expect("the parameters are valid and the salt is random");
    PasswordHash(hash.to_string())
}

/// Whether `secret` is the one that was hashed. A malformed hash matches nothing.
pub fn verify(secret: &Secret, hash: &PasswordHash) -> bool {
    argon2::PasswordHash::new(&hash.0)
        .is_ok_and(|parsed| hasher().verify_password(secret.expose().as_bytes(), &parsed).is_ok())
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
    fn the_decoy_is_a_real_hash_that_nothing_matches() {
        assert!(argon2::PasswordHash::new(&decoy().0).is_ok());
        assert!(!verify(&Secret::new(""), &decoy()));
    }
}
