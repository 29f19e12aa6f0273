//! What a session remembers of the secret that it logged in with: a keyed digest, enough to check what classic clients repeat in
//! every ACTIVITY_MESSAGE without a password hash each time, and worthless outside of this process.

use common::user::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A secret's digest under this process's key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digest([u8; 32]);

/// Makes and checks digests.
#[derive(Debug)]
pub(super) struct Digests {
    /// The keyed state, before any secret.
    keyed: Hmac<Sha256>,
}

impl Digests {
    /// With a key drawn from `rng`.
    pub(super) fn new(rng: &mut fastrand::Rng) -> Self {
        let mut key = [0; 32];
        rng.fill(&mut key);
        Digests { keyed: Hmac::new_from_slice(&key).expect("HMAC takes keys of any length") }
    }

    /// The digest of `secret`.
    pub(super) fn of(&self, secret: &Secret) -> Digest {
        Digest(self.mac(secret).finalize().into_bytes().into())
    }

    /// Whether `digest` is that of `secret`, in time that does not tell how much of it matches.
    pub(super) fn matches(&self, digest: &Digest, secret: &Secret) -> bool {
        self.mac(secret).verify_slice(&digest.0).is_ok()
    }

    fn mac(&self, secret: &Secret) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        mac.update(secret.expose().as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_matches_its_secret_under_its_key_alone() {
        let digests = Digests::new(&mut fastrand::Rng::with_seed(1));
        let digest = digests.of(&Secret::new("one"));
        assert!(digests.matches(&digest, &Secret::new("one")));
        assert!(!digests.matches(&digest, &Secret::new("two")));
        let others = Digests::new(&mut fastrand::Rng::with_seed(2));
        assert!(!others.matches(&digest, &Secret::new("one")));
    }
}
