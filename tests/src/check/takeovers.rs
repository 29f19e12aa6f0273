//! Nobody takes over from a main coordinator that lives, and that it can reach or that a worker hears which it can reach; however often the
//! way between the two comes and goes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use common::epoch::Epoch;
use common::id::ServerId;
use common::time::Time;
use common::wire::{Address, Message, Role};
use coordinator::core::{Effect as OfCoordinator, Group};

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ProcessId, Seen};

/// For how long all must have been well for a takeover to be a mistake. Longer than the failure time-out and the time to ask around.
const WELL: Duration = Duration::from_secs(5);

/// For how long a main coordinator must have been silent.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(2);

/// What comes while the disk is writing the epoch comes too late.
const ON_THE_WAY: Duration = Duration::from_millis(100);

/// How recently a worker must have heard the main coordinator.
const HEARD: Duration = Duration::from_millis(1_500);

#[derive(Debug, Default)]
pub(super) struct Takeovers {
    /// When each worker last heard each coordinator.
    heard: BTreeMap<(ProcessId, ProcessId), Time>,
    /// The workers that each run of a coordinator has been told of. Others it cannot ask.
    informed: BTreeMap<(ProcessId, u32), BTreeMap<ServerId, Address>>,
    /// When each coordinator was told something by each other one, of late.
    told: BTreeMap<(ProcessId, ProcessId), VecDeque<Time>>,
    /// Which runs of coordinators were asked to take over.
    promoted: BTreeSet<(ProcessId, u32)>,
}

impl Takeovers {
    /// A coordinator is about to write an epoch of its own.
    fn decided(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        by: ProcessId,
        group: &Group,
        coverage: &mut Coverage,
    ) -> Verdict {
        let me = scene.cast.server_id(by);
        let Some(epoch) = group.epoch.as_ref().filter(|epoch| epoch.coordinator == me) else { return Ok(()) };
        let known = scene.disks.of(by).epoch();
        if known >= Some(epoch) {
            return Ok(());
        }
        // At its very first start it may have been told of nobody.
        if known.is_none() {
            return Ok(());
        }
        let promoted = self.promoted.contains(&(by, scene.world[by].run));
        coverage.add("takeovers", 1);
        if promoted {
            coverage.add("takeovers by request", 1);
            return Ok(());
        }
        self.was_silent(scene, ledger, by, epoch)?;
        let reigns = |id: &&ProcessId| {
            let run = (**id, scene.world[**id].run);
            **id != by
                && scene.role_of(**id) == Some(Role::Main)
                && scene.ways.is_well(scene.world, **id, WELL)
                && !ledger.draining.contains_key(&run)
                && ledger.reigns.get(*id).is_some_and(|since| *since + WELL <= scene.now)
        };
        for &main in scene.cast.coordinators.iter().filter(reigns) {
            if scene.ways.are_clear(scene.world, by, main, WELL) {
                let (by, main) = (scene.name(by), scene.name(main));
                return Err(format!(
                    "{by} takes over ({epoch}) from {main}, which is well and within its reach"
                ));
            }
            let witness = scene.cast.workers.iter().find(|&&worker| {
                let heard = self.heard.get(&(worker, main)).is_some_and(|at| scene.now.since(*at) < HEARD);
                let informed = self.informed.get(&(by, scene.world[by].run));
                let known = informed.is_some_and(|known| {
                    known.values().any(|address| *address == scene.world[worker].address)
                });
                heard
                    && known
                    && scene.ways.are_clear(scene.world, by, worker, WELL)
                    && scene.ways.are_clear(scene.world, worker, main, WELL)
            });
            if let Some(&worker) = witness {
                let (by, main, worker) = (scene.name(by), scene.name(main), scene.name(worker));
                return Err(format!(
                    "{by} takes over ({epoch}) from {main}, which {worker} hears, which it can reach"
                ));
            }
            let told = |id: ProcessId| self.told.get(&(id, main)).and_then(|told| told.back()).copied();
            let follower = scene.cast.coordinators.iter().find(|&&id| {
                ![by, main].contains(&id)
                    && scene.role_of(id) == Some(Role::Backup)
                    && told(id).is_some_and(|at| scene.now.since(at) < HEARD)
                    && scene.ways.are_clear(scene.world, by, id, WELL)
                    && scene.ways.are_clear(scene.world, id, main, WELL)
            });
            if let Some(&id) = follower {
                let (by, main, id) = (scene.name(by), scene.name(main), scene.name(id));
                return Err(format!(
                    "{by} takes over ({epoch}) from {main}, which {id} follows, which it can hear"
                ));
            }
            coverage.add("takeovers while the main coordinator lives", 1);
        }
        Ok(())
    }
}

impl Takeovers {
    /// Nobody takes over from one that it has heard within the failure time-out: so, however often a way comes and goes, takeovers are no
    /// more frequent than silences of that length.
    fn was_silent(&self, scene: &Scene<'_>, ledger: &Ledger, by: ProcessId, epoch: &Epoch) -> Verdict {
        if !scene.ways.is_well(scene.world, by, WELL) {
            // Between its decision and the disk more may have come.
            return Ok(());
        }
        let known = scene.disks.of(by).epoch();
        for &main in &scene.cast.coordinators {
            let run = (main, scene.world[main].run);
            let reigns = main != by
                && scene.role_of(main) == Some(Role::Main)
                && !ledger.draining.contains_key(&run)
                && scene.disks.of(main).epoch() >= known
                && !scene.disks.of(main).seen().is_empty();
            let told = self.told.get(&(by, main)).filter(|_| reigns);
            let began = ledger.reigns.get(&main).copied().unwrap_or_default();
            let latest = told.and_then(|told| told.iter().rfind(|at| **at + ON_THE_WAY <= scene.now));
            if latest.is_some_and(|at| scene.now.since(*at) < FAILURE_TIMEOUT && began < *at) {
                let (by, main) = (scene.name(by), scene.name(main));
                return Err(format!(
                    "{by} takes over ({epoch}) from {main}, which it has heard a moment ago"
                ));
            }
        }
        Ok(())
    }
}

impl Check for Takeovers {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        match seen {
            Seen::Received { at, from, message, .. } if scene.is_coordinator(*from) => {
                if matches!(message, Message::Promote(_)) {
                    self.promoted.insert((*at, scene.world[*at].run));
                }
                let informed = self.informed.entry((*at, scene.world[*at].run)).or_default();
                match message {
                    Message::SynchroniseServerAddresses(all) => {
                        let all =
                            all.servers.iter().map(|server| (server.id.clone(), server.address.clone()));
                        *informed = all.collect();
                    }
                    Message::SynchronisedNewServer(new) => {
                        informed.insert(new.server.id.clone(), new.server.address.clone());
                    }
                    Message::RemoveServer(removed) => _ = informed.remove(&removed.id),
                    _ => {}
                }
                if scene.is_coordinator(*at) {
                    let told = self.told.entry((*at, *from)).or_default();
                    told.push_back(scene.now);
                    while told.front().is_some_and(|first| scene.now.since(*first) > FAILURE_TIMEOUT) {
                        told.pop_front();
                    }
                } else {
                    self.heard.insert((*at, *from), scene.now);
                }
                Ok(())
            }
            Seen::Effect { at, effect: Effect::Coordinator(OfCoordinator::Persist { change, .. }) } => {
                match &change.group {
                    Some(group) => self.decided(scene, ledger, *at, group, coverage),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
