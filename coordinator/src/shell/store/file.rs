//! The file and its directory: made, locked, opened, checked; and what redb's errors mean.

use std::fs::{self, File};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Mutex;

use redb::{Database, Durability, WriteTransaction};

use super::StoreError;

/// The lock's name in its directory.
pub(super) const LOCK: &str = "coordinator.lock";

/// Memory for pages of the file. Users are read once, and written where the last ones were: there is little to gain from more.
const CACHE_BYTES: usize = 4 << 20;

/// Makes the directory, private to this user, and takes its lock.
pub(super) fn prepare(directory: &Path) -> Result<File, StoreError> {
    let unusable = |error| StoreError::Directory { path: directory.to_owned(), error };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(unusable)?;
    let lock = private_file(&directory.join(LOCK)).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => {
            // What it says is of a coordinator that runs no more.
            lock.set_len(0).map_err(unusable)?;
            Ok(lock)
        }
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Busy(directory.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Opens a file for reading and writing that only this user may read, and makes it where it does not exist.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes a file that `fill` fills: under another name first, since a half-made one could not be told from a damaged one.
pub(super) fn create(
    path: &Path,
    fill: impl FnOnce(&Path, &Database) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let draft = path.with_extension("new");
    let unusable = |error| StoreError::Directory { path: path.to_owned(), error };
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(error)),
        _ => {}
    }
    let file = private_file(&draft).map_err(unusable)?;
    let database = builder().create_file(file).map_err(|error| explain(path, error.into()))?;
    fill(path, &database)?;
    drop(database);
    fs::rename(&draft, path).map_err(unusable)?;
    let directory = path.parent().expect("the path was built by joining");
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(unusable)
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Opens the file, and sees to it that all of it makes sense: what is wrong must show now, and not as a missing user.
pub(super) fn open(path: &Path) -> Result<Database, StoreError> {
    let open = || -> Result<Database, redb::DatabaseError> {
        let mut database = builder().open(path)?;
        database.check_integrity()?;
        Ok(database)
    };
    match quietly(open) {
        Some(opened) => opened.map_err(|error| explain(path, error.into())),
        None => Err(StoreError::Damaged { path: path.to_owned(), detail: "a page makes no sense".into() }),
    }
}

/// Does `work`; `None` where it panicked, of which nothing is printed. redb panics where a page in the middle of a file is not
/// what it must be.
fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    // The hook is the process's: two at once would leave it silent.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().expect("nothing panics while it is held");
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(hook);
    outcome.ok()
}

/// Runs one transaction, and returns when it is on disk. Where `change` fails, nothing has changed.
pub(super) fn commit<T, E: From<StoreError>>(
    path: &Path,
    database: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<T, E>,
) -> Result<T, E> {
    let failed = |error: redb::Error| explain(path, error);
    let mut transaction = database.begin_write().map_err(|error| failed(error.into()))?;
    transaction.set_durability(Durability::Immediate).map_err(|error| failed(error.into()))?;
    let outcome = change(&transaction)?;
    transaction.commit().map_err(|error| failed(error.into()))?;
    Ok(outcome)
}

/// Says what an error of redb's means for whoever runs a coordinator.
pub(super) fn explain(path: &Path, error: redb::Error) -> StoreError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen => StoreError::Busy(path),
        // Not its file format at all, or less than a page of it.
        redb::Error::Io(error)
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            StoreError::Damaged { path, detail: error.to_string() }
        }
        redb::Error::Io(error) => StoreError::Io { path, error },
        redb::Error::PreviousIo => {
            StoreError::Io { path, error: io::Error::other("an earlier write has failed") }
        }
        redb::Error::Corrupted(detail) => StoreError::Damaged { path, detail },
        other => StoreError::Damaged { path, detail: other.to_string() },
    }
}
