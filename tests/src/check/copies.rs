//! While nothing is wrong and every worker has a link to every other, N workers carry exactly N−1 copies of an activity among themselves.

use std::collections::BTreeMap;

use common::id::ActivityId;
use common::time::Time;
use common::wire::Message;

use super::{Check, Ledger, Scene, Tag, Verdict};
use crate::sim::Seen;
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;

#[derive(Debug)]
pub(super) struct Copies {
    workers: u64,
    carried: BTreeMap<ActivityId, (Time, u64)>,
}

impl Copies {
    pub(super) fn new(workers: usize) -> Self {
        Copies { workers: workers as u64, carried: BTreeMap::new() }
    }
}

impl Check for Copies {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        let Seen::Received { at, from, message: Message::ActivityBroadcast(broadcast), .. } = seen else {
            return Ok(());
        };
        if scene.role(*at) != Role::Worker || scene.role(*from) != Role::Worker {
            return Ok(());
        }
        let (Some(id), Some(tag)) = (&broadcast.id, Tag::of(&broadcast.activity)) else { return Ok(()) };
        if !id.origin.as_str().starts_with(scene.name(*from)) {
            coverage.add("activities relayed around a missing link", 1);
        }
        let taken = ledger.accepted.get(&tag).map_or(scene.now, |accepted| accepted.at);
        self.carried.entry(id.clone()).or_insert((taken, 0)).1 += 1;
        Ok(())
    }

    fn finish(&mut self, scene: &Scene<'_>, _: &Ledger) -> Verdict {
        let healthy = self.carried.iter().filter(|(_, (taken, _))| scene.whole_at(*taken));
        match healthy.into_iter().find(|(_, (_, copies))| *copies != self.workers - 1) {
            Some((id, (_, copies))) => Err(format!("{copies} copies of {id} among {} workers", self.workers)),
            None => Ok(()),
        }
    }
}
