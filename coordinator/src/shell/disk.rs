//! The thread that owns the store.
//!
//! Writing waits for the disk, so it happens here. Whatever has been asked for while one transaction was being written goes into
//! the next one together (group commit); every batch is answered, in the order in which they came.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use common::machine::JobId;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

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
    pub(super) fn start(mut store: Store, answers: UnboundedSender<Input>) -> (Self, oneshot::Receiver<()>) {
        let (batches, incoming) = mpsc::channel();
        let (alive, ended) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let _alive = alive;
            serve(&incoming, &answers, |batches| store.write(batches.iter().map(|(_, change)| change)));
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

    /// Lets the thread finish what it has been given, and close the store.
    pub(super) fn stop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Answers batches with what `write` says to all that wait, until nobody can send any more.
fn serve(
    incoming: &mpsc::Receiver<Batch>,
    answers: &UnboundedSender<Input>,
    mut write: impl FnMut(&[Batch]) -> Result<(), StoreError>,
) {
    while let Ok(first) = incoming.recv() {
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
        serve(&incoming, &answers, |batches| {
            commits.push(batches.len());
            Ok(())
        });
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
        serve(&incoming, &answers, |_| match later.take() {
            Some(batches) => {
                batches.send((JobId(3), Change::default())).unwrap();
                Err(StoreError::Busy("/data".into()))
            }
            None => Ok(()),
        });
        assert!(matches!(answered.blocking_recv(), Some(Input::PersistFailed { job: JobId(1), .. })));
        assert!(matches!(answered.blocking_recv(), Some(Input::PersistFailed { job: JobId(2), .. })));
        assert!(matches!(answered.blocking_recv(), Some(Input::Persisted { job: JobId(3) })));
    }
}
