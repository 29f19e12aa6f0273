//! Exports of all users time and again (`--export-every`), beside the work.
//!
//! The store shows what it held at one moment while others write (a snapshot), so an export runs on a thread of its own and nobody waits
//! for it. The first one is made at once: what is wrong with the file shows in the log at the start.

use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::boot::Clock;
use tracing::{info, warn};

use super::store::Store;
use super::transfer;

/// When exports are made, and where to.
#[derive(Debug)]
pub(super) struct Exports {
    path: PathBuf,
    every: Duration,
    next: Instant,
    running: Option<JoinHandle<()>>,
}

impl Exports {
    pub(super) fn new(path: PathBuf, every: Duration) -> Self {
        Exports { path, every, next: Instant::now(), running: None }
    }

    /// Starts an export where one is due. Says how long it is until the next one.
    pub(super) fn attend(&mut self, store: &Store) -> Duration {
        let now = Instant::now();
        if now >= self.next {
            self.next = now + self.every;
            self.start(store);
        }
        self.next - now
    }

    fn start(&mut self, store: &Store) {
        if self.running.as_ref().is_some_and(|running| !running.is_finished()) {
            warn!(file = %self.path.display(), "the last export is still being written; this one is left out");
            return;
        }
        let path = self.path.clone();
        match store.snapshot() {
            Ok(snapshot) => {
                self.running = Some(thread::spawn(move || {
                    match transfer::export(&snapshot, &path, Clock::start().now().wall, |_| ()) {
                        Ok(registrations) => {
                            info!(registrations, file = %path.display(), "exported all users")
                        }
                        Err(error) => warn!("users are not exported: {error}"),
                    }
                }));
            }
            Err(error) => warn!("users are not exported: {error}"),
        }
    }

    /// Waits for the export that is being written.
    pub(super) fn finish(self) {
        if let Some(running) = self.running {
            drop(running.join());
        }
    }
}
