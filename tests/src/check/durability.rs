//! What an acknowledgement survives. `replicated` is said when the record is on the main coordinator's disk and on that of every backup
//! that it lists, and on theirs first; `local` only where no healthy backup can be reached; and whatever was acknowledged, in whichever
//! words, is there in the end, on every disk, as it was or as it was changed later.

use std::time::Duration;

use common::user::{UserRecord, Username};
use common::wire::{Durability as Promise, Message, Role};
use coordinator::core::Effect as OfCoordinator;

use super::ledger::{Ack, Request};
use super::{Check, Ledger, Scene, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::disk::{Disk, matches};
use crate::sim::node::Effect;
use crate::sim::{ProcessId, Seen};

/// How long a backup may take to be listed when nothing is wrong between it and the main coordinator: to notice each other, to
/// connect again, to catch up.
pub(super) const LISTED_WITHIN: Duration = Duration::from_secs(15);

/// How long a new main coordinator may answer before its backups have caught up.
const BEGUN_WITHIN: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
pub(super) struct Durability;

impl Check for Durability {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        if let Seen::Effect { at, effect: Effect::Coordinator(OfCoordinator::Persist { change, .. }) } = seen
        {
            return backups_first(scene, *at, &change.users);
        }
        let Seen::Said { by, conn, message, .. } = seen else { return Ok(()) };
        let is_ack = matches!(
            message,
            Message::RegisterSuccess(_)
                | Message::LockAllowed(_)
                | Message::ChangeSecretSuccess(_)
                | Message::RemoveUserSuccess(_)
        );
        let Some(ack) = ledger.acks.last().filter(|_| is_ack) else { return Ok(()) };
        let (name, by_name) = (&ack.username, scene.name(*by));
        if !says_what_is_on_disk(ack, ledger.requests.get(conn)) {
            return Err(format!(
                "{by_name} acknowledged what was wanted for {name}, and has it not on its disk"
            ));
        }
        match ack.durability {
            Promise::Replicated => {
                coverage.add("acknowledgements that say replicated", 1);
                // One that confirmed and is gone by now still has it.
                let others = scene.disks.iter().filter(|(id, _)| id != by);
                if !others.into_iter().any(|(_, disk)| has(disk, ack)) {
                    return Err(format!(
                        "{by_name} says that {name} is replicated, and nobody else has it on disk"
                    ));
                }
                let listed = listed(scene, *by).unwrap_or_default();
                let without = listed.iter().find(|&&id| !has(scene.disks.of(id), ack));
                without.map_or(Ok(()), |&id| {
                    Err(format!(
                        "{by_name} says that {name} is replicated, and {} has it not on its disk",
                        scene.name(id)
                    ))
                })
            }
            Promise::Local => {
                coverage.add("acknowledgements that say local", 1);
                let reigns = ledger.reigns.get(by).is_some_and(|since| *since + BEGUN_WITHIN <= scene.now);
                let healthy = |id: &&ProcessId| {
                    reigns && **id != *by && scene.ways.are_clear(scene.world, *by, **id, LISTED_WITHIN)
                };
                let backup = scene.cast.coordinators.iter().find(healthy);
                backup.map_or(Ok(()), |&id| {
                    Err(format!(
                        "{by_name} says that {name} is local, although {} is well and within reach",
                        scene.name(id)
                    ))
                })
            }
        }
    }

    fn finish(&mut self, scene: &Scene<'_>, ledger: &Ledger) -> Verdict {
        for ack in &ledger.acks {
            for (id, disk) in scene.disks.iter() {
                if !has(disk, ack) {
                    let name = &ack.username;
                    return Err(format!(
                        "{} acknowledged at {} {name}, which is lost to {}",
                        scene.name(ack.by),
                        ack.at,
                        scene.name(id)
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Whether what a coordinator has written as the main one comes to its own disk after those of all backups that it lists: else it would
/// leave behind, should it die, what the next one does not know. One that gave way meanwhile may still try again what its disk had refused.
fn backups_first(scene: &Scene<'_>, main: ProcessId, users: &[(Username, UserRecord)]) -> Verdict {
    if scene.role_of(main) != Some(Role::Main) {
        return Ok(());
    }
    let me = scene.cast.server_id(main);
    let is_new = |(name, record): &&(Username, UserRecord)| {
        let known = scene.disks.of(main).registration(name, &record.registration);
        record.written().coordinator == me && known != Some(record)
    };
    for (name, record) in users.iter().filter(is_new) {
        let lacks = |id: &&ProcessId| !holds(scene.disks.of(**id), name, record);
        if let Some(&id) = listed(scene, main).unwrap_or_default().iter().find(lacks) {
            let (main, id) = (scene.name(main), scene.name(id));
            return Err(format!("{main} writes a record of {name} before it is on the disk of {id}"));
        }
    }
    Ok(())
}

/// Whether the coordinator's own disk held what it acknowledged.
fn says_what_is_on_disk(ack: &Ack, request: Option<&Request>) -> bool {
    let Some(record) = &ack.record else { return false };
    match request {
        Some(Request::Register(register)) => matches(&register.secret, record),
        Some(Request::Change(change)) => matches(&change.new_secret, record),
        Some(Request::Remove(_)) => record.is_removed(),
        // A worker asked, with a hash.
        None => true,
    }
}

/// Whether a disk holds what was acknowledged, or what became of it.
pub(super) fn has(disk: &Disk, ack: &Ack) -> bool {
    ack.record.as_ref().is_none_or(|record| holds(disk, &ack.username, record))
}

fn holds(disk: &Disk, name: &Username, record: &UserRecord) -> bool {
    let stored = disk.registration(name, &record.registration);
    stored.is_some_and(|stored| {
        // What is removed stays so, whatever supersedes what.
        let gone = stored.is_removed() || !record.is_removed();
        gone && (stored == record || stored.supersedes(record))
    })
}

/// The backups that a coordinator lists. Nothing where it is gone.
fn listed(scene: &Scene<'_>, id: ProcessId) -> Option<Vec<ProcessId>> {
    let status = scene.coordinator(id)?.status(false);
    let listed = status.coordinators.iter().filter(|other| other.listed && other.server.id != status.id);
    Some(listed.filter_map(|other| scene.cast.coordinator(&other.server.id)).collect())
}
