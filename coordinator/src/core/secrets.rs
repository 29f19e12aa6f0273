//! A secret remembered for a moment, as a digest.
//!
//! A client that has just registered usually logs in on the same connection; it is known by this digest and costs no second
//! password hash. The digest lives in memory, as long as that connection, and never leaves the process.

use common::user::Secret;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// A SHA-256 digest of a secret. It shows in no log.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(secret: &Secret) -> Self {
        Digest(Sha256::digest(secret.expose().as_bytes()).into())
    }

    /// Whether this is the digest of `secret`, in constant time.
    pub(super) fn matches(&self, secret: &Secret) -> bool {
        self.0.ct_eq(&Digest::of(secret).0).into()
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest(…)")
    }
}
