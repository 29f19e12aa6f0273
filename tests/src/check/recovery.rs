//! A worker that returns lets nobody in before it has caught up: it has heard from a coordinator who the others are, and the first who is
//! let in finds there whatever the workers that it is linked with held when they linked. (It does not wait for ever, and where logs are
//! small somebody may have let go of something again.) All of that which came before it opened lies behind whoever begins there.

use std::collections::{BTreeMap, BTreeSet};

use common::id::ActivityId;
use common::limits::RECOVERY;
use common::position::Position;
use common::time::Time;
use common::wire::{LoginSuccess, Message, Neighbours};

use super::stream::Life;
use super::{Check, Ledger, Scene, Verdict};
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::{Effect, Node};
use crate::sim::{ConnId, ProcessId, Seen};

#[derive(Debug)]
pub(super) struct Recovery {
    small: bool,
    /// What each worker was told first over each link to another one, while it was catching up.
    told: BTreeMap<Life, BTreeMap<ConnId, Position>>,
    /// What came to each of them meanwhile.
    came: BTreeMap<Life, Position>,
    /// Workers that had caught up when something came to them last.
    caught_up: BTreeSet<Life>,
    /// Workers that have heard of the others.
    listed: BTreeSet<Life>,
    /// Workers that have let somebody in.
    open: BTreeSet<Life>,
}

impl Recovery {
    pub(super) fn new(small: bool) -> Self {
        Recovery {
            small,
            told: BTreeMap::new(),
            came: BTreeMap::new(),
            caught_up: BTreeSet::new(),
            listed: BTreeSet::new(),
            open: BTreeSet::new(),
        }
    }

    /// These activities have come to a worker.
    fn came<'a>(
        &mut self,
        scene: &Scene<'_>,
        at: ProcessId,
        ids: impl Iterator<Item = Option<&'a ActivityId>>,
    ) {
        let life = (at, scene.world[at].run);
        let machine = scene.world[at].machine.as_ref().and_then(Node::worker);
        if self.caught_up.contains(&life) {
            return;
        }
        let came = self.came.entry(life).or_default();
        ids.flatten().for_each(|id| _ = came.insert(id));
        if machine.is_none_or(|machine| !machine.recovers()) {
            self.caught_up.insert(life);
        }
    }

    /// A worker lets somebody in for the first time.
    fn opens(&self, scene: &Scene<'_>, ledger: &Ledger, life: Life, success: &LoginSuccess) -> Verdict {
        let process = &scene.world[life.0];
        // What a worker said may arrive when it has died, and when its next run is there.
        let machine = process.machine.as_ref().filter(|_| process.run == life.1).and_then(Node::worker);
        let Some(machine) = machine else { return Ok(()) };
        if process.clocks(scene.now).time >= Time::ZERO + RECOVERY {
            return Ok(());
        }
        if !self.listed.contains(&life) {
            return Err(format!("{} lets somebody in before it knows of other workers", process.name));
        }
        for told in self.told.get(&life).into_iter().flat_map(BTreeMap::values) {
            let position = success.position.as_ref();
            let ahead = position
                .zip(self.came.get(&life))
                .map(|(position, came)| told.common(came).common(machine.seen()).without(position));
            if let Some(ahead) = ahead.filter(|ahead| !ahead.is_empty()) {
                return Err(format!("{} lets somebody in for whom {ahead} is not past", process.name));
            }
        }
        if self.small {
            return Ok(());
        }
        for told in self.told.get(&life).into_iter().flat_map(BTreeMap::values) {
            for (tag, holding) in &ledger.stream.holdings {
                let is_told = holding.ids.iter().any(|id| told.contains(id));
                let is_here = holding.ids.iter().any(|id| machine.holds().contains(id));
                if is_told && !is_here && !holding.holders.contains(&life) {
                    return Err(format!(
                        "{} lets somebody in, and lacks {tag:?} ({:?}), which it was told of",
                        process.name, holding.ids
                    ));
                }
            }
        }
        Ok(())
    }

    fn forget(&mut self, scene: &Scene<'_>, at: ProcessId, conn: ConnId) {
        if let Some(told) = self.told.get_mut(&(at, scene.world[at].run)) {
            told.remove(&conn);
        }
    }
}

impl Check for Recovery {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        match seen {
            Seen::Received {
                at,
                conn,
                message: Message::Neighbours(Neighbours { holds: Some(holds), .. }),
                ..
            } => {
                let machine = scene.world[*at].machine.as_ref().and_then(Node::worker);
                if machine.is_some_and(worker::core::Worker::recovers) {
                    let told = self.told.entry((*at, scene.world[*at].run)).or_default();
                    told.entry(*conn).or_insert_with(|| holds.clone());
                }
            }
            Seen::Received { at, message: Message::ActivityBroadcast(broadcast), .. }
                if scene.role(*at) == Role::Worker =>
            {
                self.came(scene, *at, std::iter::once(broadcast.id.as_ref()));
            }
            Seen::Received { at, message: Message::ActivityRetrieved(retrieved), .. }
                if scene.role(*at) == Role::Worker =>
            {
                self.came(scene, *at, retrieved.activities.iter().map(|broadcast| broadcast.id.as_ref()));
            }
            Seen::Received { at, from, message: Message::AuthenticateSuccess(_), .. }
                if scene.role(*at) == Role::Worker && scene.role(*from) == Role::Coordinator =>
            {
                self.listed.insert((*at, scene.world[*at].run));
            }
            Seen::Received { from, run, message: Message::LoginSuccess(success), .. }
                if scene.role(*from) == Role::Worker =>
            {
                let life = (*from, *run);
                if self.open.insert(life) {
                    coverage.add("workers that let somebody in after a start", 1);
                    return self.opens(scene, ledger, life, success);
                }
            }
            Seen::Lost { at, conn, .. } => self.forget(scene, *at, *conn),
            Seen::Closed { by, conn, .. } => self.forget(scene, *by, *conn),
            _ => {}
        }
        Ok(())
    }
}
