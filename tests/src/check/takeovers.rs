//! Nobody takes over from a main coordinator that lives, and that it can reach or that a worker hears which it can reach; however often the way
//! between the two comes and goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::time::Time;
use common::wire::{Message, Role};
use coordinator::core::{Effect as OfCoordinator, Group};

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ProcessId, Seen};

/// For how long all must have been well for a takeover to be a mistake. Longer than the failure time-out and the time to ask around.
const WELL: Duration = Duration::from_secs(5);

/// How recently a worker must have heard the main coordinator.
const HEARD: Duration = Duration::from_millis(1_500);

#[derive(Debug, Default)]
pub(super) struct Takeovers {
    /// When each worker last heard each coordinator.
    heard: BTreeMap<(ProcessId, ProcessId), Time>,
    /// Which runs of coordinators have been told of the workers. Others cannot ask them.
    informed: BTreeSet<(ProcessId, u32)>,
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
        let reigns = |id: &&ProcessId| {
            let run = (**id, scene.world[**id].run);
            **id != by
                && scene.role_of(**id) == Some(Role::Main)
                && scene.ways.is_well(scene.world, **id, WELL)
                && !ledger.draining.contains(&run)
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
                heard
                    && self.informed.contains(&(by, scene.world[by].run))
                    && scene.ways.are_clear(scene.world, by, worker, WELL)
                    && scene.ways.are_clear(scene.world, worker, main, WELL)
            });
            if let Some(&worker) = witness {
                let (by, main, worker) = (scene.name(by), scene.name(main), scene.name(worker));
                return Err(format!(
                    "{by} takes over ({epoch}) from {main}, which {worker} hears, which it can reach"
                ));
            }
            coverage.add("takeovers while the main coordinator lives", 1);
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
                if matches!(message, Message::SynchroniseServerAddresses(_)) {
                    self.informed.insert((*at, scene.world[*at].run));
                }
                if !scene.is_coordinator(*at) {
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
