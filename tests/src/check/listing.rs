//! A backup enters the BACKUP_LIST when it has on its disk all that was ever acknowledged and is on the main coordinator's, or on its way
//! there: from then on it may be the one that takes over.

use std::collections::{BTreeMap, BTreeSet};

use common::time::Time;
use common::user::{UserRecord, Username};
use common::wire::{Message, Role};

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::disk::Disk;
use crate::sim::node::Effect;
use crate::sim::{ProcessId, Seen};

#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The backups that each run of a coordinator listed last.
    listed: BTreeMap<(ProcessId, u32), Listed>,
}

#[derive(Debug, Default)]
struct Listed {
    at: Time,
    last: BTreeSet<ProcessId>,
    /// All that were listed at that time. Where a list changes in the moment in which it is told, it is told twice, link by link.
    then: BTreeSet<ProcessId>,
}

impl Check for Listing {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        let Seen::Said { by, message: Message::BackupList(list), .. } = seen else { return Ok(()) };
        let is = |role| move |entry: &&common::wire::BackupEntry| entry.role == role;
        let process = |entry: &common::wire::BackupEntry| scene.cast.coordinator(entry.id.as_ref()?);
        // Who steps down says whom it follows.
        if list.servers.iter().find(is(Role::Main)).and_then(process) != Some(*by) {
            return Ok(());
        }
        let now: BTreeSet<ProcessId> =
            list.servers.iter().filter(is(Role::Backup)).filter_map(process).collect();
        let listed = self.listed.entry((*by, scene.world[*by].run)).or_default();
        let last = std::mem::replace(&mut listed.last, now.clone());
        if listed.at < scene.now {
            (listed.at, listed.then) = (scene.now, last.clone());
        }
        let before = listed.then.clone();
        listed.then.extend(&now);
        let main = scene.disks.of(*by);
        for id in now.difference(&before) {
            coverage.add("backups listed", 1);
            let disk = scene.disks.of(*id);
            let has = |disk: &Disk, name: &Username, record: &UserRecord| {
                let stored = disk.registration(name, &record.registration);
                stored.is_some_and(|stored| stored == record || stored.supersedes(record))
            };
            let lacks = ledger
                .acks
                .iter()
                .filter_map(|ack| Some((&ack.username, ack.record.as_ref()?)))
                .find(|(name, record)| has(main, name, record) && !has(disk, name, record));
            if let Some((name, _)) = lacks {
                return Err(format!(
                    "{} lists {}, which lacks what was acknowledged of {name}",
                    scene.name(*by),
                    scene.name(*id)
                ));
            }
            let me = scene.cast.server_id(*by);
            let mut own =
                main.being_written().iter().filter(|(_, record)| record.written().coordinator == me);
            if let Some((name, _)) = own.find(|(name, record)| !has(disk, name, record)) {
                return Err(format!(
                    "{} lists {}, which lacks what is about to count of {name}",
                    scene.name(*by),
                    scene.name(*id)
                ));
            }
        }
        coverage.add("backups that left the list", last.difference(&now).count() as u64);
        Ok(())
    }
}
