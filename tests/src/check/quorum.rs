//! `--require-backups N`: nothing is acknowledged with fewer than N copies beside the main coordinator's own, nobody is refused for want of
//! backups while enough are well, and of two registrations of one name at most one is acknowledged, whatever the network does.

use std::collections::{BTreeMap, BTreeSet};

use common::user::{Stamp, Username};
use common::wire::{Durability, Message};

use super::durability::{LISTED_WITHIN, has};
use super::{Check, Ledger, Scene, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ProcessId, Seen};

#[derive(Debug)]
pub(super) struct Quorum {
    required: usize,
}

impl Quorum {
    pub(super) fn new(required: usize) -> Self {
        Quorum { required }
    }

    fn acknowledged(&self, scene: &Scene<'_>, ledger: &Ledger, coverage: &mut Coverage) -> Verdict {
        let Some(ack) = ledger.acks.last() else { return Ok(()) };
        coverage.add("acknowledgements that require backups", 1);
        let copies = scene.disks.iter().filter(|(id, disk)| *id != ack.by && has(disk, ack)).count();
        if copies < self.required || ack.durability == Durability::Local {
            let (by, name, required) = (scene.name(ack.by), &ack.username, self.required);
            return Err(format!("{by} acknowledges {name} with {copies} copies, and requires {required}"));
        }
        Ok(())
    }

    /// Enough are those that must hold a change, and those that must have been heard before anything is acknowledged.
    fn refused(&self, scene: &Scene<'_>, ledger: &Ledger, by: ProcessId) -> Verdict {
        let all = &scene.cast.coordinators;
        let enough = self.required.max(all.len() - self.required - 1);
        let reigns = ledger.reigns.get(&by).is_some_and(|since| *since + LISTED_WITHIN <= scene.now);
        let well = |id: &&ProcessId| **id != by && scene.ways.are_clear(scene.world, by, **id, LISTED_WITHIN);
        if reigns && all.iter().filter(well).count() >= enough {
            let by = scene.name(by);
            return Err(format!("{by} refuses for want of backups, and {enough} are well and within reach"));
        }
        Ok(())
    }
}

impl Check for Quorum {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        let Seen::Said { by, message, .. } = seen else { return Ok(()) };
        let info = match message {
            Message::RegisterSuccess(_)
            | Message::LockAllowed(_)
            | Message::ChangeSecretSuccess(_)
            | Message::RemoveUserSuccess(_)
                if self.required > 0 =>
            {
                return self.acknowledged(scene, ledger, coverage);
            }
            Message::RegisterFailed(failed) => &failed.info,
            Message::ChangeSecretFailed(failed) => &failed.info,
            Message::RemoveUserFailed(failed) => &failed.info,
            Message::LockDenied(denied) => &denied.info,
            _ => return Ok(()),
        };
        if !info.contains("--require-backups") {
            return Ok(());
        }
        coverage.add("changes refused for want of backups", 1);
        self.refused(scene, ledger, *by)
    }

    fn finish(&mut self, scene: &Scene<'_>, ledger: &Ledger) -> Verdict {
        if self.required == 0 {
            return Ok(());
        }
        let mut given: BTreeMap<&Username, BTreeSet<&Stamp>> = BTreeMap::new();
        for ack in &ledger.acks {
            let Some(record) = &ack.record else { continue };
            let lives = |(_, disk): (ProcessId, &crate::sim::disk::Disk)| {
                let stored = disk.registration(&ack.username, &record.registration);
                stored.is_some_and(|stored| !stored.is_removed())
            };
            if scene.disks.iter().all(lives) {
                given.entry(&ack.username).or_default().insert(&record.registration);
            }
        }
        match given.iter().find(|(_, registrations)| registrations.len() > 1) {
            Some((name, registrations)) => Err(format!("{name} was given away twice: {registrations:?}")),
            None => Ok(()),
        }
    }
}
