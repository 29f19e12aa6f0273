//! Older formats, made one of today's when they are opened: whole or not at all.
//!
//! Format 1 had one record a name. Format 2 had them by name and knew no group: one coordinator had written all users, and knew all of
//! them.

use std::path::Path;

use common::users::{Seen, Users};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

use super::format::{Draft, Snapshot, lonely, parse};
use super::{StoreError, file};

/// Where format 1 kept users, by name.
pub(super) const USERS_1: TableDefinition<&str, &[u8]> = TableDefinition::new("users");

/// Where format 2 kept users, by name and registration.
pub(super) const USERS_2: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("registrations");

/// Where formats 1 and 2 kept what they knew of the network.
pub(super) const NETWORK_2: &str = "network";
pub(super) const TOKEN_KEY_2: &str = "token_key";

/// Makes a store of format 1 or 2 one of today's.
pub(super) fn upgrade(path: &Path, database: &Database, format: u32) -> Result<(), StoreError> {
    let failed = |error: redb::Error| file::explain(path, error);
    let kept = Snapshot::of(path, database)?;
    let network = kept.get(NETWORK_2, |text| Some(text.to_owned()))?;
    let token_key = kept.get(TOKEN_KEY_2, |text| serde_json::from_value(text.into()).ok())?;
    let reading = database.begin_read().map_err(|error| failed(error.into()))?;
    let users = if format == 1 { users_1(&reading) } else { users_2(&reading) };
    let users = users.map_err(failed)?;
    file::commit(path, database, |transaction| {
        let mut draft = Draft::of(path, transaction)?;
        for (name, record) in users.beyond(&Seen::default()) {
            draft.put_user(name, record)?;
        }
        draft.put_group(&lonely(network, token_key))?;
        draft.put_seen(&users.latest())?;
        draft.remove(NETWORK_2)?;
        draft.remove(TOKEN_KEY_2)?;
        draft.put_format()?;
        drop(draft);
        let removed =
            if format == 1 { transaction.delete_table(USERS_1) } else { transaction.delete_table(USERS_2) };
        removed.map(drop).map_err(|error| failed(error.into()))
    })
}

fn users_1(reading: &ReadTransaction) -> Result<Users, redb::Error> {
    let table = reading.open_table(USERS_1)?;
    let users = table.iter()?.map(|entry| {
        let (name, record) = entry?;
        parse(name.value(), record.value())
    });
    users.collect()
}

fn users_2(reading: &ReadTransaction) -> Result<Users, redb::Error> {
    let table = reading.open_table(USERS_2)?;
    let users = table.iter()?.map(|entry| {
        let (key, record) = entry?;
        parse(key.value().0, record.value())
    });
    users.collect()
}
