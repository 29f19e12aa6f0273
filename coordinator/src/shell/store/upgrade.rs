//! Older formats, made one of today's when they are opened: whole or not at all.
//!
//! Format 1 had one record a name. Format 2 knew no group: one coordinator had written all users, and knew all of them.

use std::path::Path;

use common::users::Users;
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};

use super::format::{FORMAT, META, REGISTRATIONS, Snapshot, lonely, parse, write};
use super::{StoreError, file};

/// Where format 1 kept users, by name.
pub(super) const USERS_1: TableDefinition<&str, &[u8]> = TableDefinition::new("users");

/// Where formats 1 and 2 kept what they knew of the network.
pub(super) const NETWORK_2: &str = "network";
pub(super) const TOKEN_KEY_2: &str = "token_key";

/// From format 1 to 2.
pub(super) fn from_1(path: &Path, database: &Database) -> Result<(), StoreError> {
    file::commit(path, database, |transaction| {
        move_users(transaction).map_err(|error| file::explain(path, error))
    })
}

fn move_users(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    {
        let old = transaction.open_table(USERS_1)?;
        let mut new = transaction.open_table(REGISTRATIONS)?;
        for entry in old.iter()? {
            let (name, bytes) = entry?;
            let (_, record) = parse(name.value(), bytes.value())?;
            let registration = record.registration.to_string();
            new.insert((name.value(), registration.as_str()), bytes.value())?;
        }
    }
    transaction.open_table(META)?.insert(FORMAT, "2")?;
    transaction.delete_table(USERS_1)?;
    Ok(())
}

/// From format 2 to 3.
pub(super) fn from_2(path: &Path, database: &Database, users: &Users) -> Result<(), StoreError> {
    let kept = Snapshot::of(path, database)?;
    let network = kept.get(NETWORK_2, |text| Some(text.to_owned()))?;
    let token_key = kept.get(TOKEN_KEY_2, |text| serde_json::from_value(text.into()).ok())?;
    write(path, database, |draft| {
        draft.put_group(&lonely(network, token_key))?;
        draft.put_seen(&users.latest())?;
        draft.remove(NETWORK_2)?;
        draft.remove(TOKEN_KEY_2)?;
        draft.put_format()
    })
}
