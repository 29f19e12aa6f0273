//! What the file holds: its tables, written by a [`Draft`], read by a [`Snapshot`].

use std::path::{Path, PathBuf};

use common::id::ServerId;
use common::time::WallMillis;
use common::token::TokenKey;
use common::user::{Stamp, UserRecord, Username, UsernameError};
use common::users::{Seen, Users};
use redb::{Database, ReadTransaction, ReadableDatabase, Table, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Opened, StoreError, file, random, upgrade};
use crate::core::{Group, Recovered};

/// The format that this version writes, and the newest that it reads.
pub(super) const VERSION: u32 = 3;

/// By when and by whom the name was taken, and the name.
pub(super) const USERS: TableDefinition<Key, &[u8]> = TableDefinition::new("users-3");
type Key = (u64, u32, &'static str, &'static str);
pub(super) const META: TableDefinition<&str, &str> = TableDefinition::new("meta");

/// What there is one of. The group and what is known are JSON.
pub(super) const FORMAT: &str = "format";
const ID: &str = "id";
const GROUP: &str = "group";
const SEEN: &str = "seen";

/// What is about to be written.
#[derive(Debug)]
pub(in crate::shell) struct Draft<'a> {
    path: &'a Path,
    users: Table<'a, Key, &'static [u8]>,
    meta: Table<'a, &'static str, &'static str>,
}

impl<'a> Draft<'a> {
    pub(super) fn of(path: &'a Path, transaction: &'a WriteTransaction) -> Result<Self, StoreError> {
        let failed = |error: redb::TableError| file::explain(path, error.into());
        let users = transaction.open_table(USERS).map_err(failed)?;
        Ok(Draft { path, users, meta: transaction.open_table(META).map_err(failed)? })
    }

    /// A user, in place of what was kept of the same registration.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(in crate::shell) fn put_user(
        &mut self,
        name: &Username,
        record: &UserRecord,
    ) -> Result<(), StoreError> {
        let Stamp { wall, counter, coordinator } = &record.registration;
        let key = (wall.0, *counter, coordinator.as_str(), name.as_str());
        let bytes = serde_json::to_vec(record).expect("records serialise");
        let put = self.users.insert(key, bytes.as_slice());
        put.map(drop).map_err(|error| file::explain(self.path, error.into()))
    }

    /// How much of the users is known for certain.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(in crate::shell) fn put_seen(&mut self, seen: &Seen) -> Result<(), StoreError> {
        self.put_json(SEEN, seen)
    }

    /// The group.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(in crate::shell) fn put_group(&mut self, group: &Group) -> Result<(), StoreError> {
        self.put_json(GROUP, group)
    }

    pub(super) fn put_id(&mut self, id: &ServerId) -> Result<(), StoreError> {
        self.put(ID, id.as_str())
    }

    pub(super) fn put_format(&mut self) -> Result<(), StoreError> {
        self.put(FORMAT, &VERSION.to_string())
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        let removed = self.meta.remove(name);
        removed.map(drop).map_err(|error| file::explain(self.path, error.into()))
    }

    fn put_json(&mut self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        self.put(name, &serde_json::to_string(value).expect("what is kept serialises"))
    }

    fn put(&mut self, name: &str, value: &str) -> Result<(), StoreError> {
        let put = self.meta.insert(name, value);
        put.map(drop).map_err(|error| file::explain(self.path, error.into()))
    }
}

/// The store as it was at one moment. While it is read, what is overwritten in the store takes more room on disk, and nobody waits.
#[derive(Debug)]
pub(in crate::shell) struct Snapshot {
    path: PathBuf,
    reading: ReadTransaction,
}

impl Snapshot {
    pub(super) fn of(path: &Path, database: &Database) -> Result<Self, StoreError> {
        let reading = database.begin_read().map_err(|error| file::explain(path, error.into()))?;
        Ok(Snapshot { path: path.to_owned(), reading })
    }

    /// Every registration, in the order in which they were made.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] and [`StoreError::Io`], of the table or of one of its records.
    pub(in crate::shell) fn users(
        &self,
    ) -> Result<impl Iterator<Item = Result<(Username, UserRecord), StoreError>>, StoreError> {
        let all = || Ok(self.reading.open_table(USERS)?.range::<Key>(..)?);
        let entries = all().map_err(|error| self.explain(error))?;
        Ok(entries.map(|entry| {
            let (key, record) = entry.map_err(|error| self.explain(error.into()))?;
            parse(key.value().3, record.value()).map_err(|error| self.explain(error))
        }))
    }

    /// The group.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] and [`StoreError::Io`].
    pub(in crate::shell) fn group(&self) -> Result<Group, StoreError> {
        self.json(GROUP)
    }

    pub(super) fn get<T>(&self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
        let get = || match self.reading.open_table(META)?.get(name)? {
            Some(found) => Ok(parse(found.value())),
            None => Ok(None),
        };
        let found = get().map_err(|error| self.explain(error))?;
        let wrong =
            || self.explain(redb::Error::Corrupted(format!("its {name} is missing or makes no sense")));
        found.ok_or_else(wrong)
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, StoreError> {
        self.get(name, |text| serde_json::from_str(text).ok())
    }

    fn explain(&self, error: redb::Error) -> StoreError {
        file::explain(&self.path, error)
    }
}

/// Fills a new file with a network of its own and no users.
pub(super) fn make(path: &Path, database: &Database) -> Result<(), StoreError> {
    write(path, database, |draft| {
        draft.put_format()?;
        draft.put_id(&ServerId::generate("coordinator", u64::from_ne_bytes(random())))?;
        draft.put_seen(&Seen::default())?;
        let network = format!("net-{:016x}", u64::from_ne_bytes(random()));
        draft.put_group(&lonely(network, TokenKey::new(random())))
    })
}

/// A group of which nothing is known but its network.
pub(super) fn lonely(network: String, token_key: TokenKey) -> Group {
    Group {
        network,
        token_key,
        epoch: None,
        history: Vec::new(),
        members: Vec::new(),
        forgotten: Vec::new(),
        stamps_until: WallMillis::default(),
    }
}

/// Writes what `work` puts into a draft, all or none.
pub(super) fn write<T, E: From<StoreError>>(
    path: &Path,
    database: &Database,
    work: impl FnOnce(&mut Draft<'_>) -> Result<T, E>,
) -> Result<T, E> {
    file::commit(path, database, |transaction| work(&mut Draft::of(path, transaction)?))
}

/// Reads everything, of whatever format up to today's.
pub(super) fn read(path: &Path, database: &Database) -> Result<Opened, StoreError> {
    let format = Snapshot::of(path, database)?.get(FORMAT, |text| text.parse().ok())?;
    if format > VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found: format });
    }
    if format < VERSION {
        upgrade::upgrade(path, database, format)?;
    }
    let kept = Snapshot::of(path, database)?;
    let users = kept.users()?.collect::<Result<Users, _>>()?;
    let id = kept.get(ID, |text| text.parse().ok())?;
    Ok(Opened { id, recovered: Recovered { group: kept.group()?, seen: kept.json(SEEN)?, users } })
}

/// A record as it is kept.
pub(super) fn parse(name: &str, record: &[u8]) -> Result<(Username, UserRecord), redb::Error> {
    let unreadable =
        |error: &dyn std::fmt::Display| redb::Error::Corrupted(format!("user {name:?}: {error}"));
    let record = serde_json::from_slice(record).map_err(|error| unreadable(&error))?;
    Ok((name.parse().map_err(|error: UsernameError| unreadable(&error))?, record))
}
