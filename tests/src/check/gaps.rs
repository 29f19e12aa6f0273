//! Gaps are true: a client that resumes is told that something is lost only where no worker that could be asked still has it, never of
//! what it has received, never of what was gone before its session began, and whether there is a gap and which one it is agree. What was
//! sent again elsewhere has several ids: where a worker that could be asked knows of them, one is as good as the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::id::ActivityId;
use common::position::Position;
use common::time::Time;
use common::wire::{ActivityBroadcast, Login, Message, Resumed};

use super::stream::Life;
use super::{Check, Ledger, Scene, Verdict};
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::{Effect, Node};
use crate::sim::{ConnId, ProcessId, Seen};

/// What is younger may be in nobody's digest yet.
const KNOWN: Duration = Duration::from_secs(3);

/// Who has been well for so long can be asked.
const WELL: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// The positions with which clients ask to resume.
    asked: BTreeMap<ConnId, Position>,
    /// What was gone already when a client asked to begin a session.
    asking: BTreeMap<ConnId, Position>,
    /// What was gone already when each session of a client of ours began.
    gone: BTreeMap<Life, Position>,
    /// Which workers have heard from which others, and what these held when they said so last. One that has started without a memory, and
    /// has not reached a coordinator since, knows of nobody whom it could ask, and nobody knows it.
    told: BTreeMap<(Life, Life), Position>,
    /// Under which ids activities came to each worker from others, and when.
    came: BTreeMap<Life, BTreeMap<ActivityId, Time>>,
    /// When each worker heard another one last, and before that.
    heard: BTreeMap<(Life, Life), [Time; 2]>,
}

impl Gaps {
    /// A client asks `worker` to let it in, to begin there: what others that the worker has been linked to for long know of, and nobody
    /// holds any more, is not for it.
    fn begins(&mut self, scene: &Scene<'_>, ledger: &Ledger, conn: ConnId, worker: ProcessId) {
        let machines = scene.cast.workers.iter().filter_map(|&other| {
            let machine = scene.world[other].machine.as_ref().and_then(Node::worker)?;
            Some((machine, other == worker || self.can_ask(scene, worker, other)))
        });
        let mut gone = Position::default();
        machines.clone().filter(|(_, clear)| *clear).for_each(|(machine, _)| gone.extend(machine.seen()));
        machines.for_each(|(machine, _)| {
            gone.subtract(machine.holds());
            gone.subtract(&machine.awaits_its_turn());
        });
        // What may still be with one that it cannot ask is not given up.
        let is_out_of_reach = |other: &ProcessId| {
            *other != worker && scene.world[*other].machine.is_some() && !self.can_ask(scene, worker, *other)
        };
        if scene.cast.workers.iter().any(is_out_of_reach)
            && let Some(machine) = scene.world[worker].machine.as_ref().and_then(Node::worker)
        {
            gone.subtract(&machine.missing());
        }
        let young = ledger.stream.holdings.values().filter(|holding| holding.since + WELL > scene.now);
        young.flat_map(|holding| &holding.ids).for_each(|id| gone.subtract(&Position::single(id)));
        self.asking.insert(conn, gone);
    }

    fn came<'a>(
        &mut self,
        scene: &Scene<'_>,
        worker: ProcessId,
        broadcasts: impl IntoIterator<Item = &'a ActivityBroadcast>,
    ) {
        let came = self.came.entry((worker, scene.world[worker].run)).or_default();
        for id in broadcasts.into_iter().filter_map(|broadcast| broadcast.id.as_ref()) {
            came.entry(id.clone()).or_insert(scene.now);
        }
    }

    /// Whether one worker can ask the other.
    fn can_ask(&self, scene: &Scene<'_>, one: ProcessId, other: ProcessId) -> bool {
        self.told_by(scene, one, other).is_some() && scene.ways.are_clear(scene.world, other, one, WELL)
    }

    /// What one worker has last been told that the other holds.
    fn told_by(&self, scene: &Scene<'_>, one: ProcessId, other: ProcessId) -> Option<&Position> {
        let life = |id: ProcessId| (id, scene.world[id].run);
        self.told.get(&(life(one), life(other)))
    }

    /// The ids of one activity that a worker knows to be one's: one came to it, or to somebody whom it could have heard of it, where another
    /// one is in memory.
    fn known_as(
        &self,
        scene: &Scene<'_>,
        from: ProcessId,
        ids: &BTreeSet<ActivityId>,
    ) -> BTreeSet<ActivityId> {
        let mut known = BTreeSet::new();
        for &worker in &scene.cast.workers {
            let life = (worker, scene.world[worker].run);
            let machine = scene.world[worker].machine.as_ref().and_then(Node::worker);
            // What it had said before the last but one, that has come.
            let told = match worker == from {
                true => Some(scene.now),
                false => self.heard.get(&((from, scene.world[from].run), life)).map(|[_, before]| *before),
            };
            let Some((machine, told)) = machine.zip(told) else { continue };
            let memory = machine.holds_in_memory();
            let here = ids.iter().filter(|id| memory.contains(id));
            let came = self.came.get(&life);
            let came =
                |id: &&ActivityId| came.and_then(|came| came.get(id)).is_some_and(|at| *at + KNOWN <= told);
            let came = ids.iter().filter(came);
            if here.clone().next().is_some() && came.clone().next().is_some() {
                known.extend(here.chain(came).cloned());
            }
        }
        known
    }

    fn resumed(
        &self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        (at, from): (ProcessId, ProcessId),
        asked: &Position,
        resumed: &Resumed,
    ) -> Verdict {
        let name = scene.name(at);
        if resumed.recovered && !resumed.gaps.is_empty() {
            return Err(format!(
                "{name} is told both that there is a gap and that there is none: {resumed:?}"
            ));
        }
        let life = (at, scene.world[at].run);
        let listener = ledger.stream.listeners.get(&life);
        if let Some(id) =
            listener.and_then(|listener| listener.ids.iter().find(|id| resumed.gaps.contains(id)))
        {
            return Err(format!("{name} is told that it lacks {id}, which it has"));
        }
        let several = ledger.stream.holdings.iter().filter(|(_, holding)| holding.ids.len() > 1);
        for (tag, holding) in several {
            let ids = self.known_as(scene, from, &holding.ids);
            let Some(gap) = ids.iter().find(|id| resumed.gaps.contains(id)) else { continue };
            if listener.is_some_and(|listener| listener.handed.contains_key(tag))
                && let Some(other) = listener.and_then(|it| ids.iter().find(|id| it.ids.contains(id)))
            {
                return Err(format!("{name} is told that it lacks {gap}, which it has as {other}"));
            }
            let told = |other: &ProcessId| self.told_by(scene, from, *other);
            let may_ask = |other: &&ProcessId| self.can_ask(scene, from, **other);
            for &worker in scene.cast.workers.iter().filter(may_ask) {
                let machine = scene.world[worker].machine.as_ref().and_then(Node::worker);
                let holds = |id: &&ActivityId| {
                    machine.is_some_and(|machine| machine.holds().contains(id))
                        && told(&worker).is_some_and(|told| told.contains(id))
                };
                if let Some(other) = ids.iter().find(holds).filter(|_| holding.since + KNOWN <= scene.now) {
                    let worker = scene.name(worker);
                    return Err(format!("{name} is told that {gap} is lost, and {worker} has it as {other}"));
                }
            }
        }
        let before = self.gone.get(&life).map(|gone| gone.common(&resumed.gaps));
        if let Some(before) = before.filter(|before| !before.is_empty()) {
            return Err(format!("{name} is told that it lacks {before}, which was gone before it came"));
        }
        for &worker in &scene.cast.workers {
            let machine = scene.world[worker].machine.as_ref().and_then(Node::worker);
            let clear = worker == from && scene.ways.is_well(scene.world, from, WELL)
                || self.can_ask(scene, from, worker);
            let Some(machine) = machine.filter(|_| clear) else { continue };
            let unsure = !resumed.recovered && resumed.gaps.is_empty();
            if unsure && !machine.holds().common(asked).is_empty() {
                return Err(format!("{name} is told that nobody can tell, and {} can", scene.name(worker)));
            }
            let mut common: Position = machine.holds().common(&resumed.gaps);
            if let Some(told) = self.told_by(scene, from, worker) {
                // What has come there since, or had been waiting for its turn, it has not said yet.
                common = common.common(told);
            }
            let young = ledger.stream.holdings.values().filter(|holding| holding.since + KNOWN > scene.now);
            young.flat_map(|holding| &holding.ids).for_each(|id| common.subtract(&Position::single(id)));
            if !common.is_empty() {
                return Err(format!(
                    "{name} is told that {common} is lost, and {} has it",
                    scene.name(worker)
                ));
            }
        }
        Ok(())
    }
}

impl Check for Gaps {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        match seen {
            Seen::Received {
                conn, message: Message::Login(Login { resume: Some(position), .. }), ..
            } => {
                self.asked.insert(*conn, position.clone());
                Ok(())
            }
            Seen::Received {
                at, from, conn, message: Message::Login(Login { resume: None, .. }), ..
            } if scene.role(*at) == Role::Worker && scene.role(*from) == Role::Client => {
                self.begins(scene, ledger, *conn, *at);
                Ok(())
            }
            // A log-in that its client gave up may arrive when the session has begun elsewhere: it is the one that was answered that
            // counts.
            Seen::Received { at, conn, message: Message::LoginSuccess(_), .. } => {
                if let Some(gone) = self.asking.remove(conn) {
                    self.gone.insert((*at, scene.world[*at].run), gone);
                }
                Ok(())
            }
            Seen::Received { at, from, conn, message: Message::Resumed(resumed), .. } => {
                let asked = self.asked.remove(conn).unwrap_or_default();
                self.resumed(scene, ledger, (*at, *from), &asked, resumed)
            }
            Seen::Received { at, message: Message::ActivityBroadcast(broadcast), .. }
                if scene.role(*at) == Role::Worker =>
            {
                self.came(scene, *at, [broadcast]);
                Ok(())
            }
            Seen::Received { at, message: Message::ActivityRetrieved(retrieved), .. }
                if scene.role(*at) == Role::Worker =>
            {
                self.came(scene, *at, &retrieved.activities);
                Ok(())
            }
            Seen::Received { at, from, run, message: Message::Neighbours(neighbours), .. } => {
                let doubles = neighbours.doubles.iter().filter(|double| double.ids.len() > 1);
                coverage.add("activities said to have several ids", doubles.count() as u64);
                let pair = ((*at, scene.world[*at].run), (*from, *run));
                let heard = self.heard.entry(pair).or_default();
                *heard = [scene.now, heard[0]];
                let told = self.told.entry(pair).or_default();
                if let Some(holds) = &neighbours.holds {
                    told.clone_from(holds);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
