//! The users on disk.
//!
//! One file, `coordinator.redb`, in the data directory: a table of registrations (name and registration's stamp → record as JSON) and a
//! table of what there is one of (format, network id, token key, the coordinator's id). A lock file beside it keeps a second
//! coordinator out. A store of format 1, which had one record a name, becomes one of format 2 when it is opened.
//!
//! **Why redb.** Weighed against SQLite and fjall: redb is pure Rust, one file, transactional, crash-safe by copy-on-write with one
//! fsync a commit. SQLite would bring C and SQL for one table that is read once; fjall, a log-structured tree, is made for
//! a stream of writes that users never are.
//!
//! **Invariant.** When [`Store::write`] returns, its users survive `kill -9` and a power cut; when it fails, those written before
//! do. A store is made under another name and moved into place when it is whole, so that a crash while making it leaves none.

use std::fs::{self, File};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use common::id::ServerId;
use common::token::TokenKey;
use common::user::{UserRecord, Username, UsernameError};
use common::users::Users;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::core::{Group, Recovered};

const REGISTRATIONS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("registrations");
/// Where format 1 kept users, by name.
const USERS_1: TableDefinition<&str, &[u8]> = TableDefinition::new("users");
const META: TableDefinition<&str, &str> = TableDefinition::new("meta");

const FORMAT: &str = "format";
const NETWORK: &str = "network";
const TOKEN_KEY: &str = "token_key";
const ID: &str = "id";

/// The format that this version writes, and the newest that it reads.
const VERSION: u32 = 2;

/// Memory for pages of the file. Users are read once, and written in order of arrival: there is little to gain from more.
const CACHE_BYTES: usize = 16 << 20;

/// An open store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// `None` after a failure, until it could be opened again.
    database: Option<Database>,
    /// Held as long as this store is open.
    _lock: File,
}

/// What a store held when it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The coordinator's name.
    pub id: ServerId,
    /// What the core needs.
    pub recovered: Recovered,
}

/// Why a store cannot be used. What was written before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
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
    #[error("{path} is damaged ({detail}): put back a copy of it, or move it away to start without users")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A newer version wrote it.
    #[error(
        "{path} was written by a newer version (format {found}, this one knows {VERSION}): use that version, or another --data-dir"
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
    /// Opens the store in `directory`, and makes both where they do not exist. `id` renames the coordinator; without it, it keeps its
    /// name, or is given one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(directory: &Path, id: Option<ServerId>) -> Result<(Self, Opened), StoreError> {
        let lock = prepare(directory)?;
        let path = directory.join("coordinator.redb");
        if !path.exists() {
            create(&path)?;
        }
        let database = open_file(&path)?;
        let mut opened = read(&path, &database)?;
        if let Some(id) = id.filter(|id| *id != opened.id) {
            commit(&database, |transaction| {
                transaction.open_table(META)?.insert(ID, id.as_str())?;
                Ok(())
            })
            .map_err(|error| explain(&path, error))?;
            opened.id = id;
        }
        Ok((Store { path, database: Some(database), _lock: lock }, opened))
    }

    /// Writes users, all or none, and returns when they survive a crash.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the disk is full or fails; the store remains usable, and opens its file anew for the next write.
    pub fn write<'a>(
        &mut self,
        users: impl Iterator<Item = &'a (Username, UserRecord)>,
    ) -> Result<(), StoreError> {
        // After a failed write redb refuses all others: the file has to be opened, and thereby repaired, again.
        let database = match self.database.take() {
            Some(database) => database,
            None => open_file(&self.path)?,
        };
        commit(&database, |transaction| {
            let mut table = transaction.open_table(REGISTRATIONS)?;
            for (name, record) in users {
                let bytes = serde_json::to_vec(record).expect("records serialise");
                let key = (name.as_str(), record.registration.to_string());
                table.insert((key.0, key.1.as_str()), bytes.as_slice())?;
            }
            Ok(())
        })
        .map_err(|error| explain(&self.path, error))?;
        self.database = Some(database);
        Ok(())
    }
}

/// Makes the directory, private to this user, and takes its lock.
fn prepare(directory: &Path) -> Result<File, StoreError> {
    let unusable = |error| StoreError::Directory { path: directory.to_owned(), error };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(unusable)?;
    let lock = private_file(&directory.join("coordinator.lock")).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
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

/// Makes a store without users: under another name first, since a half-made one could not be told from a damaged one.
fn create(path: &Path) -> Result<(), StoreError> {
    let draft = path.with_extension("new");
    let unusable = |error| StoreError::Directory { path: path.to_owned(), error };
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(error)),
        _ => {}
    }
    let file = private_file(&draft).map_err(unusable)?;
    let database = builder().create_file(file).map_err(|error| explain(path, error.into()))?;
    let network = format!("net-{}", hex(&random::<8>()));
    let id = ServerId::generate("coordinator", u64::from_ne_bytes(random()));
    let key = TokenKey::new(random());
    let serde_json::Value::String(key) = serde_json::to_value(&key).expect("keys serialise") else {
        unreachable!("a token key is a string")
    };
    commit(&database, |transaction| {
        transaction.open_table(REGISTRATIONS)?;
        let mut meta = transaction.open_table(META)?;
        let version = VERSION.to_string();
        for (name, value) in
            [(FORMAT, version.as_str()), (NETWORK, &network), (TOKEN_KEY, &key), (ID, id.as_str())]
        {
            meta.insert(name, value)?;
        }
        Ok(())
    })
    .map_err(|error| explain(path, error))?;
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
fn open_file(path: &Path) -> Result<Database, StoreError> {
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

/// Reads everything.
fn read(path: &Path, database: &Database) -> Result<Opened, StoreError> {
    let damaged = |detail: String| StoreError::Damaged { path: path.to_owned(), detail };
    let meta = read_meta(database).map_err(|error| explain(path, error))?;
    let [format, network, key, id] =
        meta.map(|value| value.ok_or_else(|| damaged("something is missing".to_owned())));
    let format: u32 = format?.parse().map_err(|_| damaged("its format has no number".to_owned()))?;
    if format > VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found: format });
    }
    let token_key = serde_json::from_value(key?.into()).map_err(|error| damaged(error.to_string()))?;
    let id = id?.parse().map_err(|error: common::id::IdError| damaged(error.to_string()))?;
    if format == 1 {
        migrate(path, database)?;
    }
    let users = read_users(path, database)?;
    let group = Group { network: network?, token_key, epoch: None, history: Vec::new(), members: Vec::new() };
    Ok(Opened { id, recovered: Recovered { group, seen: users.latest(), users } })
}

fn read_meta(database: &Database) -> Result<[Option<String>; 4], redb::Error> {
    let meta = database.begin_read()?.open_table(META)?;
    let mut values = [const { None }; 4];
    for (value, name) in values.iter_mut().zip([FORMAT, NETWORK, TOKEN_KEY, ID]) {
        *value = meta.get(name)?.map(|found| found.value().to_owned());
    }
    Ok(values)
}

fn read_users(path: &Path, database: &Database) -> Result<Users, StoreError> {
    let failed = |error: redb::Error| explain(path, error);
    let reading = database.begin_read().map_err(|error| failed(error.into()))?;
    let table = reading.open_table(REGISTRATIONS).map_err(|error| failed(error.into()))?;
    let mut users = Users::default();
    for entry in table.iter().map_err(|error| failed(error.into()))? {
        let (key, record) = entry.map_err(|error| failed(error.into()))?;
        let (name, record) = parse(path, key.value().0, record.value())?;
        users.merge(name, record);
    }
    Ok(users)
}

fn parse(path: &Path, name: &str, record: &[u8]) -> Result<(Username, UserRecord), StoreError> {
    let unreadable = |error: &dyn std::fmt::Display| StoreError::Damaged {
        path: path.to_owned(),
        detail: format!("user {name:?}: {error}"),
    };
    let record = serde_json::from_slice(record).map_err(|error| unreadable(&error))?;
    Ok((name.parse().map_err(|error: UsernameError| unreadable(&error))?, record))
}

/// Makes a store of format 1 one of format 2, whole or not at all.
fn migrate(path: &Path, database: &Database) -> Result<(), StoreError> {
    let mut damaged = None;
    let outcome = commit(database, |transaction| {
        {
            let old = transaction.open_table(USERS_1)?;
            let mut new = transaction.open_table(REGISTRATIONS)?;
            for entry in old.iter()? {
                let (name, bytes) = entry?;
                match parse(path, name.value(), bytes.value()) {
                    Ok((_, record)) => {
                        let registration = record.registration.to_string();
                        new.insert((name.value(), registration.as_str()), bytes.value())?;
                    }
                    Err(error) => damaged = Some(error),
                }
            }
            transaction.open_table(META)?.insert(FORMAT, VERSION.to_string().as_str())?;
        }
        if damaged.is_some() {
            return Err(redb::Error::Corrupted("an unreadable user".to_owned()));
        }
        transaction.delete_table(USERS_1)?;
        Ok(())
    });
    match damaged {
        Some(error) => Err(error),
        None => outcome.map_err(|error| explain(path, error)),
    }
}

/// Runs one transaction, and returns when it is on disk.
fn commit(
    database: &Database,
    change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    change(&transaction)?;
    Ok(transaction.commit()?)
}

/// Says what an error of redb's means for whoever runs a coordinator.
fn explain(path: &Path, error: redb::Error) -> StoreError {
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
        other => StoreError::Damaged { path, detail: other.to_string() },
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
