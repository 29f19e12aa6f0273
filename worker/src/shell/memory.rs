//! What the worker remembers between its runs: one small file in its data directory, written on a thread of its own.
//!
//! **Invariant.** The file is whole: it is written under another name, synced and moved into place. It is a cache, so nothing that is wrong
//! with it keeps a worker from starting; two workers in one directory do, because they would take turns at forgetting.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tracing::warn;

use crate::core::Remembered;

const FILE: &str = "worker.json";
const DRAFT: &str = "worker.json.new";
const LOCK: &str = "worker.lock";

/// The file, as long as this worker runs; nothing, where there is no directory for it.
#[derive(Debug, Default)]
pub struct Memory {
    writer: Option<Writer>,
}

#[derive(Debug)]
struct Writer {
    latest: mpsc::Sender<Remembered>,
    thread: JoinHandle<()>,
    /// Held as long as the thread may write.
    lock: File,
}

/// Another worker uses this directory. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("another worker uses {0}: stop it, or choose another directory with --data-dir")]
pub struct Busy(PathBuf);

impl Memory {
    /// Opens the memory in `directory`, which is made where it does not exist, and reads what an earlier run left there. A directory that
    /// cannot be used and a file that makes no sense are said in the log and forgotten.
    ///
    /// # Errors
    /// Where another worker uses the directory.
    pub fn open(directory: &Path) -> Result<(Self, Remembered), Busy> {
        let lock = match lock(directory) {
            Ok(lock) => lock,
            Err(TryLockError::WouldBlock) => return Err(Busy(directory.to_owned())),
            Err(TryLockError::Error(error)) => {
                let directory = directory.display();
                warn!(
                    "cannot use {directory}: {error}: this worker will not remember the coordinators, and keeps \
                     activities in memory alone"
                );
                return Ok(Default::default());
            }
        };
        let remembered = read(&directory.join(FILE)).unwrap_or_else(|sentence| {
            warn!("{sentence}: going on with the coordinators that are named with --coordinator");
            Remembered::default()
        });
        let (latest, incoming) = mpsc::channel();
        let directory = directory.to_owned();
        let thread = thread::spawn(move || serve(&incoming, &directory));
        Ok((Memory { writer: Some(Writer { latest, thread, lock }) }, remembered))
    }

    /// Whether there is a directory for it, and it is this worker's alone.
    pub fn is_open(&self) -> bool {
        self.writer.is_some()
    }

    /// Has this written, in place of what waits to be.
    pub fn keep(&self, remembered: Remembered) {
        if let Some(writer) = &self.writer {
            // Fails where the thread has ended; it is a cache.
            drop(writer.latest.send(remembered));
        }
    }
}

impl Memory {
    /// Lets the thread finish what it has been given, until then.
    pub fn finish(mut self, until: Instant) {
        if let Some(Writer { latest, thread, .. }) = self.writer.take() {
            drop(latest);
            if !super::ends(&thread, until) {
                warn!("the disk takes too long: after a restart, this worker will know older coordinators");
            }
        }
    }
}

impl Drop for Memory {
    /// Lets the thread finish what it has been given.
    fn drop(&mut self) {
        if let Some(Writer { latest, thread, lock }) = self.writer.take() {
            drop(latest);
            drop(thread.join());
            drop(lock);
        }
    }
}

/// Writes the latest of what comes, until nothing can come any more.
fn serve(incoming: &mpsc::Receiver<Remembered>, directory: &Path) {
    while let Ok(first) = incoming.recv() {
        let latest = incoming.try_iter().last().unwrap_or(first);
        if let Err(error) = write(directory, &latest) {
            let directory = directory.display();
            warn!(
                "cannot write to {directory}: {error}: after a restart, this worker will know older coordinators"
            );
        }
    }
}

fn lock(directory: &Path) -> Result<File, TryLockError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(TryLockError::Error)?;
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(directory.join(LOCK));
    let lock = lock.map_err(TryLockError::Error)?;
    lock.try_lock()?;
    Ok(lock)
}

fn read(path: &Path) -> Result<Remembered, String> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Remembered::default()),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    serde_json::from_slice(&text).map_err(|error| format!("{} is damaged: {error}", path.display()))
}

fn write(directory: &Path, remembered: &Remembered) -> io::Result<()> {
    let draft = directory.join(DRAFT);
    let mut file = File::create(&draft)?;
    file.write_all(&serde_json::to_vec_pretty(remembered)?)?;
    file.sync_all()?;
    fs::rename(&draft, directory.join(FILE))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered(epoch: &str) -> Remembered {
        let main = r#"{"id":"c1","hostname":"10.0.0.1","port":3780,"role":"main"}"#;
        Remembered {
            network: Some("net".to_owned()),
            epoch: epoch.parse().ok(),
            servers: vec![serde_json::from_str(main).unwrap()],
            workers: Vec::new(),
            let_go: "w1/0000000000000001/0-7".parse().unwrap(),
            doubles: Vec::new(),
        }
    }

    #[test]
    fn what_was_kept_last_is_there_at_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep").join("down");
        let (memory, before) = Memory::open(&path).unwrap();
        assert_eq!(before, Remembered::default());
        memory.keep(remembered("1@c1"));
        memory.keep(remembered("2@c1"));
        drop(memory);
        let (_memory, after) = Memory::open(&path).unwrap();
        assert_eq!(after, remembered("2@c1"));
        assert!(!path.join(DRAFT).exists());
    }

    #[test]
    fn two_workers_do_not_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (_memory, _) = Memory::open(directory.path()).unwrap();
        let sentence = Memory::open(directory.path()).unwrap_err().to_string();
        assert!(sentence.contains("another worker uses") && sentence.contains("--data-dir"), "{sentence}");
    }

    #[test]
    fn a_damaged_file_and_a_directory_that_is_none_are_as_good_as_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "{", "[]", r#"{"servers":[{"hostname":"","port":0,"role":"main"}]}"#, "\u{0}\u{0}"] {
            fs::write(directory.path().join(FILE), text).unwrap();
            let (memory, read) = Memory::open(directory.path()).unwrap();
            assert_eq!(read, Remembered::default(), "{text:?}");
            memory.keep(remembered("1@c1"));
            drop(memory);
            assert_eq!(super::read(&directory.path().join(FILE)), Ok(remembered("1@c1")), "it is mended");
        }
        let file = directory.path().join(FILE);
        let (memory, read) = Memory::open(&file).unwrap();
        memory.keep(remembered("1@c1"));
        assert_eq!(read, Remembered::default());
    }
}
