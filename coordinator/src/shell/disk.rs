//! The thread that owns the store.
//!
//! Writing waits for the disk, so it happens here. Whatever has been asked for while one transaction was being written goes into
//! the next one together (group commit); every batch is answered, in the order in which they came. Between them exports begin that are
//! due; they run on threads of their own.

use std::cell::RefCell;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::machine::JobId;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::exports::Exports;
use super::store::{Store, StoreError};
use crate::core::{Change, Input};

/// A change, and which job it is.
type Batch = (JobId, Change);

/// A handle to the thread.
#[derive(Debug)]
pub(super) struct Disk {
    batches: Option<mpsc::Sender<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Starts the thread. The receiver resolves when it has ended, for whatever reason.
    pub(super) fn start(
        store: Store,
        mut exports: Option<Exports>,
        answers: UnboundedSender<Input>,
    ) -> (Self, oneshot::Receiver<()>) {
        let (batches, incoming) = mpsc::channel();
        let (alive, ended) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let _alive = alive;
            let store = RefCell::new(store);
            serve(
                &incoming,
                &answers,
                |batches| store.borrow_mut().write(batches.iter().map(|(_, change)| change)),
                || Some(exports.as_mut()?.attend(&store.borrow())),
            );
            exports.into_iter().for_each(Exports::finish);
        });
        (Disk { batches: Some(batches), thread: Some(thread) }, ended)
    }

    /// Writes a change; the answer is an input.
    pub(super) fn write(&self, job: JobId, change: Change) {
        if let Some(batches) = &self.batches {
            // Fails where the thread has ended, which ends the process.
            drop(batches.send((job, change)));
        }
    }

    /// Lets the thread finish what it has been given, an export too, and close the store.
    pub(super) fn stop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Answers batches with what `write` says to all that wait, until nobody can send any more. Calls `attend` before it waits, and again
/// after the time that it says.
fn serve(
    incoming: &mpsc::Receiver<Batch>,
    answers: &UnboundedSender<Input>,
    mut write: impl FnMut(&[Batch]) -> Result<(), StoreError>,
    mut attend: impl FnMut() -> Option<Duration>,
) {
    loop {
        let next = match attend() {
            Some(time) => incoming.recv_timeout(time),
            None => incoming.recv().map_err(mpsc::RecvTimeoutError::from),
        };
        let first = match next {
            Ok(first) => first,
            Err(mpsc::RecvTimeoutError::Timeout) => continue,
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
        let batches: Vec<Batch> = std::iter::once(first).chain(incoming.try_iter()).collect();
        let reason = write(&batches).err().map(|error| error.to_string());
        for (job, _) in batches {
            let answer = match &reason {
                None => Input::Persisted { job },
                Some(reason) => Input::PersistFailed { job, reason: reason.clone() },
            };
            // Nobody listens any more where the machine has exited.
            drop(answers.send(answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_wait_are_written_together_and_answered_in_order() {
        let (batches, incoming) = mpsc::channel();
        let (answers, mut answered) = tokio::sync::mpsc::unbounded_channel();
        for job in 1..=50 {
            batches.send((JobId(job), Change::default())).unwrap();
        }
        drop(batches);
        let mut commits = Vec::new();
        serve(
            &incoming,
            &answers,
            |batches| {
                commits.push(batches.len());
                Ok(())
            },
            || None,
        );
        assert_eq!(commits, [50]);
        for expected in 1..=50 {
            let Some(Input::Persisted { job }) = answered.blocking_recv() else { panic!("no answer") };
            assert_eq!(job, JobId(expected));
        }
    }

    #[test]
    fn a_failure_is_the_answer_to_every_batch_of_the_commit_and_to_none_after() {
        let (batches, incoming) = mpsc::channel();
        let (answers, mut answered) = tokio::sync::mpsc::unbounded_channel();
        batches.send((JobId(1), Change::default())).unwrap();
        batches.send((JobId(2), Change::default())).unwrap();
        let mut later = Some(batches);
        serve(
            &incoming,
            &answers,
            |_| match later.take() {
                Some(batches) => {
                    batches.send((JobId(3), Change::default())).unwrap();
                    Err(StoreError::Busy("/data".into()))
                }
                None => Ok(()),
            },
            || None,
        );
        assert!(matches!(answered.blocking_recv(), Some(Input::PersistFailed { job: JobId(1), .. })));
        assert!(matches!(answered.blocking_recv(), Some(Input::PersistFailed { job: JobId(2), .. })));
        assert!(matches!(answered.blocking_recv(), Some(Input::Persisted { job: JobId(3) })));
    }
}
