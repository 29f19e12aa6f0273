//! The users on disk, and what the coordinator knows of its group.
//!
//! One file, `coordinator.redb`, in the data directory: a table of registrations (stamp and name → record as JSON) and a table of
//! what there is one of (the format, the coordinator's id, the group, how much of the users is known for certain). A lock file beside it
//! keeps a second coordinator out. A store of an older format becomes one of today's when it is opened.
//!
//! Registrations lie in the order in which they were made, not by name: in that order they come, one by one or a million at once from
//! another coordinator, and what comes together lies on the same few pages. By name, each would rewrite a page of its own.
//!
//! **Why redb.** Weighed against SQLite and fjall: redb is pure Rust, one file, transactional, crash-safe by copy-on-write with one
//! fsync a commit. SQLite would bring C and SQL for one table that is read once; fjall, a log-structured tree, is made for
//! a stream of writes that users never are.
//!
//! **Invariant.** When [`Store::write`] returns, its changes survive `kill -9` and a power cut, and the users of one change are never
//! there without what the change says of the group; when it fails, what was written before survives. A store is made under another
//! name and moved into place when it is whole, so that a crash while making it leaves none.

mod file;
mod format;
mod upgrade;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use common::id::ServerId;
use common::wire::Address;
use redb::Database;

use crate::core::{Change, Recovered};

pub(super) use format::{Draft, Snapshot};

/// The file's name in its directory.
const FILE: &str = "coordinator.redb";

/// An open store.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    /// `None` after a failure, until it could be opened again.
    database: Option<Database>,
    /// Held as long as this store is open. It says where its coordinator listens.
    lock: File,
}

/// What a store held when it was opened.
#[derive(Debug)]
pub(super) struct Opened {
    /// The coordinator's name.
    pub id: ServerId,
    /// What the core needs.
    pub recovered: Recovered,
}

/// Why a store cannot be used. What was written before is untouched.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The directory cannot be made or written to.
    #[error(
        "cannot keep users in {path}: {error}: make it writable for this user, or choose another directory with --data-dir"
    )]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another process has it.
    #[error("another coordinator uses {0}: stop it, or choose another directory with --data-dir")]
    Busy(PathBuf),
    /// It makes no sense.
    #[error(
        "{path} is damaged ({detail}): move it away, then join the group anew with --backup and the empty directory, or, where there is no \
         other coordinator, take in a file of `coordinator export` with `coordinator import`. Do not put back an older copy of it"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A newer version wrote it.
    #[error(
        "{path} was written by a newer version (format {found}, this one knows {known}): use that version, or another --data-dir",
        known = format::VERSION
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The disk failed or is full. Nothing of this write may be relied upon.
    #[error("cannot read or write {path}: {error}: make room on the disk, or see what is wrong with it")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Store {
    /// Whether there is a store in `directory`.
    pub(super) fn exists(directory: &Path) -> bool {
        directory.join(FILE).exists()
    }

    /// Where the coordinator listens that has the store in `directory` open, as far as it has said so.
    pub(super) fn whereabouts(directory: &Path) -> Option<Address> {
        std::fs::read_to_string(directory.join(file::LOCK)).ok()?.trim().parse().ok()
    }

    /// Says where the coordinator listens that has this store open.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn announce(&mut self, address: &Address) -> Result<(), StoreError> {
        let written = writeln!(self.lock, "{address}");
        written.map_err(|error| StoreError::Io { path: self.path.with_file_name(file::LOCK), error })
    }

    /// Opens the store in `directory`, and makes both where they do not exist. `id` renames the coordinator; without it, it keeps its
    /// name, or is given one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(super) fn open(directory: &Path, id: Option<ServerId>) -> Result<(Self, Opened), StoreError> {
        let lock = file::prepare(directory)?;
        let path = directory.join(FILE);
        if !path.exists() {
            file::create(&path, format::make)?;
        }
        let database = file::open(&path)?;
        let mut opened = format::read(&path, &database)?;
        if let Some(id) = id.filter(|id| *id != opened.id) {
            opened.id = id;
            format::write(&path, &database, |draft| draft.put_id(&opened.id))?;
        }
        Ok((Store { path, database: Some(database), lock }, opened))
    }

    /// Writes changes in their order, all or none, and returns when they survive a crash.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the disk is full or fails; the store remains usable, and opens its file anew for the next write.
    pub(super) fn write<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> Result<(), StoreError> {
        self.transact(|draft| {
            for change in changes {
                change.users.iter().try_for_each(|(name, record)| draft.put_user(name, record))?;
                change.seen.iter().try_for_each(|seen| draft.put_seen(seen))?;
                change.group.iter().try_for_each(|group| draft.put_group(group))?;
            }
            Ok(())
        })
    }

    /// Writes what `work` puts into a draft, all or none, and returns when it survives a crash. Where `work` fails, nothing changes.
    ///
    /// # Errors
    /// What `work` says, or as [`write`](Self::write).
    pub(super) fn transact<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&mut Draft<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        // After a failed write redb refuses all others: the file has to be opened, and thereby repaired, again.
        let database = match self.database.take() {
            Some(database) => database,
            None => file::open(&self.path)?,
        };
        let done = format::write(&self.path, &database, work)?;
        self.database = Some(database);
        Ok(done)
    }

    /// The store as it is now, to be read while others write.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the disk fails, or has failed the last write.
    pub(super) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let failed = || StoreError::Io {
            path: self.path.clone(),
            error: io::Error::other("the last write has failed"),
        };
        Snapshot::of(&self.path, self.database.as_ref().ok_or_else(failed)?)
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

#[cfg(test)]
mod tests;
