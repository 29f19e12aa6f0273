//! Password hashes off the event loop, a bounded number at a time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::machine::JobId;
use crate::password;
use crate::user::{PasswordHash, Secret};

/// A pool that runs as many Argon2id hashes at once as there are cores, the rest in the order in which they were asked for. How
/// many may wait is the machine's to bound ([`crate::limits::HASH_QUEUE`]), and what nobody wants any more its to cancel: else, in an
/// overload, all work would be done for clients that have given up, and for every other one too late.
#[derive(Clone, Debug)]
pub struct Hasher {
    cores: Arc<Semaphore>,
    /// What has not begun.
    waiting: Rc<RefCell<BTreeMap<JobId, AbortHandle>>>,
}

impl Hasher {
    /// A pool as wide as the machine.
    pub fn new() -> Self {
        Hasher::of_width(std::thread::available_parallelism().map_or(1, usize::from))
    }

    fn of_width(cores: usize) -> Self {
        Hasher { cores: Arc::new(Semaphore::new(cores)), waiting: Rc::default() }
    }

    /// Hashes `secret` and hands the result to `done`. Must be called inside a `LocalSet`.
    pub fn hash(&self, job: JobId, secret: Secret, done: impl FnOnce(PasswordHash) + 'static) {
        self.run(job, move || password::hash(&secret), done);
    }

    /// Verifies `secret` against `hash` and hands the verdict to `done`. Must be called inside a `LocalSet`.
    pub fn verify(&self, job: JobId, secret: Secret, hash: PasswordHash, done: impl FnOnce(bool) + 'static) {
        self.run(job, move || password::verify(&secret, &hash), done);
    }

    /// Drops a job that has not begun. One that has goes on, and is answered.
    pub fn cancel(&self, job: JobId) {
        if let Some(task) = self.waiting.borrow_mut().remove(&job) {
            task.abort();
        }
    }

    fn run<T: Send + 'static>(
        &self,
        job: JobId,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(T) + 'static,
    ) {
        let (cores, waiting) = (Arc::clone(&self.cores), Rc::clone(&self.waiting));
        let task = tokio::task::spawn_local(async move {
            let _permit = cores.acquire_owned().await.expect("the semaphore is never closed");
            // Aborted from here on, it would give its core away and still use it.
            waiting.borrow_mut().remove(&job);
            done(tokio::task::spawn_blocking(work).await.expect("hashing does not panic"));
        });
        self.waiting.borrow_mut().insert(job, task.abort_handle());
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;
    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn what_has_not_begun_can_be_cancelled_and_what_has_keeps_its_core_until_it_is_done() {
        LocalSet::new().run_until(conversation()).await;
    }

    async fn conversation() {
        let hasher = Hasher::of_width(1);
        let done = Rc::new(RefCell::new(Vec::new()));
        let note = |job| {
            let done = Rc::clone(&done);
            move |()| done.borrow_mut().push(job)
        };
        let (begins, begun) = oneshot::channel();
        let (go_on, goes_on) = mpsc::channel();
        let first = move || {
            begins.send(()).unwrap();
            goes_on.recv().unwrap();
        };
        hasher.run(JobId(1), first, note(1));
        hasher.run(JobId(2), || (), note(2));
        let (last, all_done) = oneshot::channel();
        let third = note(3);
        let third = move |()| {
            third(());
            last.send(()).unwrap();
        };
        hasher.run(JobId(3), || (), third);

        begun.await.unwrap();
        hasher.cancel(JobId(2));
        hasher.cancel(JobId(1));
        tokio::task::yield_now().await;
        assert!(hasher.waiting.borrow().keys().eq([&JobId(3)]), "there is one core, and it is taken");
        go_on.send(()).unwrap();
        all_done.await.unwrap();
        assert_eq!(*done.borrow(), [1, 3]);
        assert!(hasher.waiting.borrow().is_empty());
    }
}
