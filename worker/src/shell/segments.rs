//! The log on disk: a thread that writes behind what the core appends, so that neither it nor any client ever waits for a disk.
//!
//! What the core asks for is gathered for some milliseconds, written at once, and synchronised once a second, and when a segment is
//! ended. So a worker that is killed loses the last milliseconds of its file, and a machine that loses power the last second; the report
//! for an activity says `replicated` where a second worker has it, too.
//!
//! A disk that is full, read-only or forbidden is said once, and again when it takes something; meanwhile the worker goes on from
//! memory. What waits for the disk is bounded; what comes beyond is not written.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::limits::UNWRITTEN_BYTES;
use tracing::{info, warn};

use super::segment_files::Files;
use crate::core::segment::{Kept, SegmentId, SegmentRequest};

/// The directory in a data directory.
const DIRECTORY: &str = "log";

/// How long more is waited for before anything is written. A write a frame would cost more than the frame.
const GATHER: Duration = Duration::from_millis(5);

/// How often what was written is synchronised.
const SYNC: Duration = Duration::from_secs(1);

/// How often it is tried again what failed.
const RETRY: Duration = Duration::from_secs(1);

/// The log on disk; nothing, where there is no directory for it.
#[derive(Debug, Default)]
pub struct Segments {
    writer: Option<Writer>,
}

#[derive(Debug)]
struct Writer {
    requests: mpsc::Sender<SegmentRequest>,
    thread: JoinHandle<()>,
    counts: Arc<Counts>,
}

/// What both sides of the channel know.
#[derive(Debug, Default)]
struct Counts {
    /// Bytes that wait for the disk.
    unwritten: AtomicUsize,
    /// Bytes that were too many.
    skipped: AtomicUsize,
}

impl Segments {
    /// Opens the log in the data directory `directory`, which is this worker's alone, and reads what an earlier run left there: with their
    /// frames the segments that hold the latest `memory` bytes. What is read later is told to `answer`.
    ///
    /// # Errors
    /// A sentence that says what to do, where a newer version wrote there.
    pub fn open(
        directory: &Path,
        memory: usize,
        answer: impl Fn(SegmentId, Vec<u8>) + Send + 'static,
    ) -> Result<(Self, Vec<Kept>), String> {
        let mut files = Files::new(directory.join(DIRECTORY));
        let kept = files.restore(memory)?;
        let counts = Arc::new(Counts::default());
        let (requests, incoming) = mpsc::channel();
        let server = Server {
            files,
            answer,
            backlog: VecDeque::new(),
            counts: counts.clone(),
            failing: false,
            retry_at: None,
            sync_at: None,
        };
        let thread = thread::spawn(move || server.serve(&incoming));
        Ok((Segments { writer: Some(Writer { requests, thread, counts }) }, kept))
    }

    /// Does what the core asks for, or has it done.
    pub fn request(&self, request: SegmentRequest) {
        let Some(Writer { requests, counts, .. }) = &self.writer else { return };
        if let SegmentRequest::Append { frames, .. } = &request {
            if counts.unwritten.load(Relaxed) + frames.len() > UNWRITTEN_BYTES {
                counts.skipped.fetch_add(frames.len(), Relaxed);
                return;
            }
            counts.unwritten.fetch_add(frames.len(), Relaxed);
        }
        // Fails where the thread has ended, whose panic was seen.
        drop(requests.send(request));
    }
}

impl Segments {
    /// Lets the thread finish what it has been given, until then.
    pub fn finish(mut self, until: Instant) {
        if let Some(Writer { requests, thread, .. }) = self.writer.take() {
            drop(requests);
            if !super::ends(&thread, until) {
                warn!(
                    "the disk takes too long: the end of this log is not on it; other workers have what was acknowledged"
                );
            }
        }
    }
}

impl Drop for Segments {
    /// Lets the thread finish what it has been given.
    fn drop(&mut self) {
        if let Some(Writer { requests, thread, .. }) = self.writer.take() {
            drop(requests);
            drop(thread.join());
        }
    }
}

/// What the thread owns.
struct Server<A> {
    files: Files,
    answer: A,
    /// What is to be written, in order.
    backlog: VecDeque<(SegmentId, Vec<u8>)>,
    counts: Arc<Counts>,
    /// The last attempt to write failed, which was said.
    failing: bool,
    retry_at: Option<Instant>,
    sync_at: Option<Instant>,
}

impl<A: Fn(SegmentId, Vec<u8>)> Server<A> {
    fn serve(mut self, incoming: &mpsc::Receiver<SegmentRequest>) {
        loop {
            let due = [self.retry_at, self.sync_at].into_iter().flatten().min();
            let first = match due {
                Some(at) => incoming.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => incoming.recv().map_err(mpsc::RecvTimeoutError::from),
            };
            let ended = first == Err(mpsc::RecvTimeoutError::Disconnected);
            if matches!(first, Ok(SegmentRequest::Append { .. })) {
                thread::sleep(GATHER);
            }
            first.into_iter().chain(incoming.try_iter()).for_each(|request| self.take(request));
            if ended {
                self.retry_at = None;
                self.sync_at = Some(Instant::now());
            }
            self.write();
            self.sync();
            if ended {
                return;
            }
        }
    }

    fn take(&mut self, request: SegmentRequest) {
        match request {
            SegmentRequest::Append { segment, mut frames } => match self.backlog.back_mut() {
                Some((last, waiting)) if *last == segment => waiting.append(&mut frames),
                _ => self.backlog.push_back((segment, frames)),
            },
            SegmentRequest::Read(segment) => {
                self.write();
                (self.answer)(segment, self.files.read(segment));
            }
            SegmentRequest::Drop(segment) => {
                let counts = &self.counts;
                self.backlog.retain(|(other, frames)| {
                    let stays = *other != segment;
                    counts.unwritten.fetch_sub(if stays { 0 } else { frames.len() }, Relaxed);
                    stays
                });
                self.files.remove(segment);
            }
        }
    }

    /// Writes what waits, unless it has just failed.
    fn write(&mut self) {
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        self.retry_at = None;
        while let Some((segment, frames)) = self.backlog.front() {
            if let Err(error) = self.files.append(*segment, frames) {
                return self.failed(&error);
            }
            self.counts.unwritten.fetch_sub(frames.len(), Relaxed);
            self.backlog.pop_front();
            self.sync_at.get_or_insert_with(|| Instant::now() + SYNC);
            if std::mem::take(&mut self.failing) {
                info!("{} can be written to again", self.files.directory().display());
            }
        }
        let skipped = self.counts.skipped.swap(0, Relaxed);
        if skipped > 0 {
            let directory = self.files.directory().display();
            warn!("{directory}: the disk was too slow: {skipped} bytes of activities were not written");
        }
    }

    fn sync(&mut self) {
        if self.sync_at.take_if(|at| *at <= Instant::now()).is_some()
            && let Err(error) = self.files.sync()
        {
            self.failed(&error);
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.retry_at = Some(Instant::now() + RETRY);
        if !std::mem::replace(&mut self.failing, true) {
            warn!(
                "cannot write to {}: {error}: this worker goes on from memory, and tries again every second. Until then, what leaves its \
                 memory can only come from other workers. Make room there, or let it write",
                self.files.directory().display()
            );
        }
    }
}

#[cfg(test)]
#[path = "segments_tests.rs"]
mod tests;
