//! Password hashes off the event loop, a bounded number at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::password;
use crate::user::{PasswordHash, Secret};

/// A pool that runs as many Argon2id hashes at once as there are cores, the rest in the order in which they were asked for. How
/// many may wait is the machine's to bound ([`crate::limits::HASH_QUEUE`]).
#[derive(Clone, Debug)]
pub struct Hasher {
    cores: Arc<Semaphore>,
}

impl Hasher {
    /// A pool as wide as the machine.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Hasher { cores: Arc::new(Semaphore::new(cores)) }
    }

    /// Hashes `secret` and hands the result to `done`. Must be called inside a `LocalSet`.
    pub fn hash(&self, secret: Secret, done: impl FnOnce(PasswordHash) + 'static) {
        self.run(move || password::hash(&secret), done);
    }

    /// Verifies `secret` against `hash` and hands the verdict to `done`. Must be called inside a `LocalSet`.
    pub fn verify(&self, secret: Secret, hash: PasswordHash, done: impl FnOnce(bool) + 'static) {
        self.run(move || password::verify(&secret, &hash), done);
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(T) + 'static,
    ) {
        let cores = Arc::clone(&self.cores);
        tokio::task::spawn_local(async move {
            let _permit = cores.acquire_owned().await.expect("the semaphore is never closed");
            done(tokio::task::spawn_blocking(work).await.expect("hashing does not panic"));
        });
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher::new()
    }
}
