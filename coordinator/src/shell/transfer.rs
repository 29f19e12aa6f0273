//! Users to a file and back, by a coordinator that does not run.
//!
//! What a file brings is written like everything else that this coordinator writes: under stamps of its own, above all that it knows, so
//! that what it knows of its own writing remains one stamp, and every other coordinator learns of it when they meet. A registration keeps
//! its id: whoever has it knows it again, and a backup that is imported twice, or at two coordinators, makes no second user.
//!
//! **Invariant.** An import happens as a whole, after all of the file has been read and its checksum compared, or not at all.

use std::path::Path;

use common::id::ServerId;
use common::limits;
use common::time::WallMillis;
use common::user::{Stamp, UserRecord, Username};
use common::wire::Registration;

use super::store::{Draft, Opened, Snapshot, Store, StoreError};
use super::users_file::{FileError, Reader, Writer};
use crate::core::{Group, Recovered};

/// Why users were not exported or imported. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// There are users of another network here.
    #[error(
        "the file holds users of {theirs}, this coordinator belongs to {ours}: to have both in one network, say --other-network"
    )]
    OtherNetwork {
        /// The file's network.
        theirs: String,
        /// The store's network.
        ours: String,
    },
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Imported {
    /// Registrations in the file.
    pub total: u64,
    /// Those of which something was not known.
    pub news: u64,
}

/// Writes all that a snapshot holds to a file: how many registrations.
///
/// # Errors
/// See [`TransferError`].
pub(super) fn export(
    snapshot: &Snapshot,
    path: &Path,
    now: WallMillis,
    mut progress: impl FnMut(u64),
) -> Result<u64, TransferError> {
    let mut file = Writer::create(path, snapshot.group()?.network, now)?;
    for (count, user) in (1..).zip(snapshot.users()?) {
        let (username, user) = user?;
        file.add(&Registration { username, user })?;
        progress(count);
    }
    Ok(file.finish()?)
}

/// Takes users from a file into a store. A store that has never had any becomes one of the file's network; another one takes users of
/// another network only where `other_network` says so.
///
/// # Errors
/// See [`TransferError`].
pub(super) fn import(
    store: &mut Store,
    opened: Opened,
    path: &Path,
    now: WallMillis,
    other_network: bool,
    mut progress: impl FnMut(u64, u64),
) -> Result<Imported, TransferError> {
    let (mut file, header) = Reader::open(path)?;
    let mut receiver = Receiver::new(opened, now);
    let group = receiver.admit(&header.network, other_network)?;
    store.transact(|draft| {
        group.iter().try_for_each(|group| draft.put_group(group))?;
        let (length, mut read) = (file.length(), 0);
        while let Some(user) = file.next() {
            let Registration { username, user } = user?;
            receiver.take(draft, username, user)?;
            read += file.line_length();
            progress(read, length);
        }
        receiver.finish(draft)
    })
}

/// Whoever takes in what a file holds.
struct Receiver {
    me: ServerId,
    kept: Recovered,
    now: WallMillis,
    /// The largest stamp that ours must lie above.
    latest: Option<Stamp>,
    imported: Imported,
}

impl Receiver {
    fn new(opened: Opened, now: WallMillis) -> Self {
        let Opened { id: me, recovered: kept } = opened;
        // As ever, a clock that is wrong elsewhere does not pull ours along.
        let honest = |stamp: &Stamp| stamp.coordinator == me || stamp.wall <= now + limits::STAMP_AHEAD;
        let latest = kept.users.latest().stamps().chain(kept.seen.stamps()).filter(honest).max();
        Receiver { me, kept, now, latest, imported: Imported::default() }
    }

    /// Whether users of this network may be taken in; with the group as it is then, where that changes it.
    fn admit(&self, network: &str, other_network: bool) -> Result<Option<Group>, TransferError> {
        let Recovered { group, seen, users } = &self.kept;
        let is_blank = seen.is_empty() && users.latest().is_empty();
        if group.network == network {
            Ok(None)
        } else if is_blank {
            Ok(Some(Group { network: network.to_owned(), ..group.clone() }))
        } else if other_network {
            Ok(None)
        } else {
            Err(TransferError::OtherNetwork { theirs: network.to_owned(), ours: group.network.clone() })
        }
    }

    /// Takes in a registration: where it is news, under a stamp of ours.
    fn take(
        &mut self,
        draft: &mut Draft<'_>,
        username: Username,
        mut record: UserRecord,
    ) -> Result<(), StoreError> {
        self.imported.total += 1;
        // Where it stood in another coordinator's order says nothing here.
        record.written = None;
        if !self.kept.users.is_news(&username, &record) {
            return Ok(());
        }
        // Above what the file says too: it may be known elsewhere as it stands there.
        let above = self.latest.as_ref().max(Some(&record.changed));
        let written = Stamp::after(above, self.now, &self.me);
        self.latest = Some(written.clone());
        record.written = Some(Box::new(written));
        self.imported.news += 1;
        draft.put_user(&username, &record)?;
        let taken = self.kept.users.merge(username, record);
        assert!(taken, "what is news stays news under a later stamp");
        Ok(())
    }

    fn finish(mut self, draft: &mut Draft<'_>) -> Result<Imported, TransferError> {
        if let Some(last) = self.latest.filter(|_| self.imported.news > 0) {
            self.kept.seen.advance(&last);
            draft.put_seen(&self.kept.seen)?;
        }
        Ok(self.imported)
    }
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
