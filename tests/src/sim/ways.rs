//! What has been wrong with whom and between whom, and when: how a checker knows what somebody could have known.

use std::collections::BTreeMap;
use std::time::Duration;

use common::time::Time;

use super::ProcessId;
use super::node::Node;
use super::{Sides, World};

/// When something was last wrong. Where something will be wrong for a known while, such as a connection that stalls, that lies ahead.
#[derive(Debug, Default)]
pub struct Ways {
    with: BTreeMap<ProcessId, Time>,
    between: BTreeMap<(ProcessId, ProcessId), Time>,
    everywhere: Time,
}

impl Ways {
    /// Something is wrong with a process, its clock or its disk, or with all its connections.
    pub fn trouble_with(&mut self, id: ProcessId, at: Time) {
        let known = self.with.entry(id).or_default();
        *known = at.max(*known);
    }

    /// Something is wrong between two processes.
    pub fn trouble_between(&mut self, one: ProcessId, other: ProcessId, at: Time) {
        let known = self.between.entry((one.min(other), one.max(other))).or_default();
        *known = at.max(*known);
    }

    /// Something is wrong with all of them.
    pub fn trouble_everywhere(&mut self, at: Time) {
        self.everywhere = at.max(self.everywhere);
    }

    /// Whether nothing has been wrong with a process for `span`, and it runs.
    pub fn is_well(&self, world: &World<Node>, id: ProcessId, span: Duration) -> bool {
        let last = self.with.get(&id).copied().unwrap_or_default().max(self.everywhere);
        world[id].is_up() && !world[id].is_paused() && last + span <= world.now()
    }

    /// When something was, or will be, last wrong between two processes.
    pub fn trouble_until(&self, one: ProcessId, other: ProcessId) -> Time {
        self.between.get(&(one.min(other), one.max(other))).copied().unwrap_or_default().max(self.everywhere)
    }

    /// Whether two processes have run, and nothing has been wrong with them or between them, for `span`.
    pub fn are_clear(&self, world: &World<Node>, one: ProcessId, other: ProcessId, span: Duration) -> bool {
        self.is_well(world, one, span)
            && self.is_well(world, other, span)
            && self.trouble_until(one, other) + span <= world.now()
            && !world.is_cut(one, other)
    }
}

/// Divides processes into sides at random, each of `spread` on another one as far as there are sides.
pub fn draw_sides(
    all: impl Iterator<Item = ProcessId>,
    spread: &[ProcessId],
    count: usize,
    rng: &mut fastrand::Rng,
) -> Sides {
    let mut of: BTreeMap<ProcessId, usize> = all.map(|id| (id, rng.usize(..count))).collect();
    let offset = rng.usize(..count);
    for (index, id) in spread.iter().enumerate() {
        of.insert(*id, (index + offset) % count);
    }
    Sides { count, of }
}
