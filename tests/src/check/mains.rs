//! Two main coordinators that can reach each other, directly or through workers, are soon one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::time::Time;
use common::wire::Role;

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::ProcessId;
use crate::sim::Seen;
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;

/// How long two may both be main when nothing has been wrong between them for as long.
const BESIDE: Duration = Duration::from_secs(12);

/// The same where only workers reach both: these have pauses of their own.
const AROUND: Duration = Duration::from_secs(40);

#[derive(Debug, Default)]
pub(super) struct Mains {
    /// Since when two have both been main.
    both: BTreeMap<(ProcessId, ProcessId), Time>,
}

impl Check for Mains {
    fn observe(&mut self, _: &Scene<'_>, _: &Ledger, _: &Seen<Effect>, _: &mut Coverage) -> Verdict {
        Ok(())
    }

    fn glance(&mut self, scene: &Scene<'_>, _: &Ledger, coverage: &mut Coverage) -> Verdict {
        let is_main =
            |id: &ProcessId| !scene.world[*id].is_paused() && scene.role_of(*id) == Some(Role::Main);
        let mains: Vec<ProcessId> = scene.cast.coordinators.iter().copied().filter(is_main).collect();
        let pairs: BTreeSet<(ProcessId, ProcessId)> = mains
            .iter()
            .flat_map(|&one| mains.iter().filter(move |&&other| one < other).map(move |&other| (one, other)))
            .collect();
        let before = self.both.len();
        let alive = |id: ProcessId| scene.world[id].is_up() && !scene.world[id].is_paused();
        self.both.retain(|pair, _| {
            let over = !pairs.contains(pair);
            coverage.add(
                "main coordinators that met another one",
                u64::from(over && alive(pair.0) && alive(pair.1)),
            );
            !over
        });
        debug_assert!(self.both.len() <= before);
        for (one, other) in pairs {
            let since = *self.both.entry((one, other)).or_insert(scene.now);
            let for_long = |bound| scene.now.since(since) >= bound;
            let beside = for_long(BESIDE) && scene.ways.are_clear(scene.world, one, other, BESIDE);
            if beside || (for_long(AROUND) && is_reachable(scene, one, other)) {
                let (one, other) = (scene.name(one), scene.name(other));
                return Err(format!(
                    "{one} and {other} have both been main since {since}, and can reach each other"
                ));
            }
        }
        Ok(())
    }
}

/// Whether there is a way between two, through other servers, that has been clear for long.
fn is_reachable(scene: &Scene<'_>, from: ProcessId, to: ProcessId) -> bool {
    let servers: Vec<ProcessId> = scene.cast.workers.iter().copied().chain([to]).collect();
    let (mut reached, mut next) = (BTreeSet::from([from]), vec![from]);
    while let Some(one) = next.pop() {
        for &other in &servers {
            if !reached.contains(&other) && scene.ways.are_clear(scene.world, one, other, AROUND) {
                reached.insert(other);
                next.push(other);
            }
        }
    }
    reached.contains(&to)
}
