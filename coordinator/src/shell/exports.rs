//! Exports of all users time and again (`--export-every`), beside the work.
//!
//! The store shows what it held at one moment while others write (a snapshot), so an export runs on a thread of its own and nobody waits
//! for it. A file that cannot be written ends the process at the start; what is wrong with it later shows in the log. The first export is
//! made at once.

use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::boot::Clock;
use tracing::{info, warn};

use super::store::Store;
use super::{transfer, users_file};

/// When exports are made, and where to.
#[derive(Debug)]
pub(super) struct Exports {
    path: PathBuf,
    every: Duration,
    next: Instant,
    running: Option<JoinHandle<()>>,
}

impl Exports {
    /// To `path`, now and `every` so often.
    ///
    /// # Errors
    /// A sentence that says what to do, where no file can be put there.
    pub(super) fn new(path: PathBuf, every: Duration) -> Result<Self, String> {
        users_file::check_writable(&path).map_err(|error| {
            format!("{error}: users are exported there (--export-every); see that it can be written, or name another with --export-file")
        })?;
        Ok(Exports { path, every, next: Instant::now(), running: None })
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
