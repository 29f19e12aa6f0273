//! Order. What one session published comes in that order to everybody, but for what is marked late; and to whoever listens over one
//! connection nothing is left out without a word. No worker goes on without what another one has, to which nothing is wrong, unless it has
//! waited for long. What a sender's session numbers, it numbers in the order in which it was published, once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use common::id::{ActivityId, Seq};
use common::limits::CATCH_UP_PATIENCE;
use common::position::Position;
use common::session::SessionId;
use common::time::Time;
use common::wire::{ActivityBroadcast, Message, Neighbours};

use super::stream::Life;
use super::{Check, Ledger, Scene, Tag, Verdict};
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::{Effect, Node};
use crate::sim::{ConnId, ProcessId, Seen};

#[derive(Debug, Default)]
pub(super) struct Order {
    /// The last number of each session that came over each connection of a classic client, and to each of ours.
    over: BTreeMap<(ConnId, SessionId), Seq>,
    to: BTreeMap<(Life, SessionId), Seq>,
    /// What each session's numbers stand for.
    numbers: BTreeMap<SessionId, BTreeMap<Seq, u64>>,
    /// When each worker got each activity from another one, and under which id.
    got: BTreeMap<(SessionId, Seq), BTreeMap<Life, (Time, ActivityId)>>,
    /// What each worker was told by each other one that this holds: what it has known for long, and later news.
    told: BTreeMap<(Life, Life), VecDeque<(Time, Position)>>,
    /// Before what each worker is known to have gone on without something.
    went_on: BTreeSet<(ProcessId, SessionId, Seq)>,
}

/// What a worker has been told for so long that another one holds, it can have asked for.
const KNOWN: Duration = Duration::from_secs(1);

/// Who has been well for so long can be asked.
const WELL: Duration = Duration::from_secs(5);

impl Order {
    /// Numbers mean the same everywhere, and ascend with what was published.
    fn numbered(&mut self, session: SessionId, seq: Seq, tag: &Tag) -> Verdict {
        let numbers = self.numbers.entry(session).or_default();
        let known = *numbers.entry(seq).or_insert(tag.number);
        let before = numbers.range(..seq).next_back().is_none_or(|(_, number)| *number < tag.number);
        let after = numbers.range(seq.next()..).next().is_none_or(|(_, number)| *number > tag.number);
        if known != tag.number || !before || !after {
            return Err(format!("{tag:?} is number {seq} of {session}, and number {known} was it before"));
        }
        Ok(())
    }

    fn came_over(&mut self, name: &str, conn: ConnId, broadcast: &ActivityBroadcast) -> Verdict {
        let (Some(session), Some(seq)) = (broadcast.session, broadcast.activity_seq) else { return Ok(()) };
        if let Some(tag) = Tag::of(&broadcast.activity) {
            self.numbered(session, seq, &tag)?;
        }
        if broadcast.late {
            return Ok(());
        }
        let Some(last) = self.over.insert((conn, session), seq) else { return Ok(()) };
        match broadcast.missing_from {
            _ if seq <= last => {
                Err(format!("{name} got number {seq} of {session} over {conn:?} after {last}"))
            }
            None if seq > last.next() => {
                Err(format!("{name} got number {seq} of {session} over {conn:?} after {last} without a word"))
            }
            Some(missing) if missing != last.next() => Err(format!(
                "{name} got number {seq} of {session} over {conn:?} after {last}, and is told that {missing} is missing"
            )),
            _ => Ok(()),
        }
    }

    fn came_to(&mut self, name: &str, life: Life, broadcast: &ActivityBroadcast) -> Verdict {
        let (Some(session), Some(seq)) = (broadcast.session, broadcast.activity_seq) else { return Ok(()) };
        if broadcast.late {
            return Ok(());
        }
        match self.to.insert((life, session), seq) {
            Some(last) if seq <= last => {
                Err(format!("{name} was given number {seq} of {session} after {last}"))
            }
            _ => Ok(()),
        }
    }

    fn worker_got(&mut self, scene: &Scene<'_>, at: ProcessId, broadcast: &ActivityBroadcast) {
        if let (Some(session), Some(seq), Some(id)) =
            (broadcast.session, broadcast.activity_seq, &broadcast.id)
        {
            let got = self.got.entry((session, seq)).or_default();
            got.entry((at, scene.world[at].run)).or_insert_with(|| (scene.now, id.clone()));
        }
    }

    /// A worker is told what another one holds.
    fn worker_told(&mut self, scene: &Scene<'_>, at: ProcessId, holder: Life, holds: &Position) {
        let told = self.told.entry(((at, scene.world[at].run), holder)).or_default();
        told.push_back((scene.now, holds.clone()));
        while told.get(1).is_some_and(|(since, _)| *since + KNOWN <= scene.now) {
            told.pop_front();
        }
    }

    /// A worker has gone on without something.
    fn went_on(&mut self, scene: &Scene<'_>, at: ProcessId, coverage: &mut Coverage) -> Verdict {
        let Some(machine) = scene.world[at].machine.as_ref().and_then(Node::worker) else { return Ok(()) };
        let life = (at, scene.world[at].run);
        let news =
            |(session, _, before): &(SessionId, Seq, Seq)| self.went_on.insert((at, *session, *before));
        for (session, first, before) in machine.went_on_without().filter(news).collect::<Vec<_>>() {
            coverage.add("gaps that workers went on without", 1);
            // While it catches up with much it is patient, and not for ever.
            // Whoever of the session has waited longest is the one for whose sake it goes on.
            let mut waited = self.got.range((session, before)..=(session, Seq::MAX));
            let is_patient = |(came, _): &(Time, ActivityId)| *came + CATCH_UP_PATIENCE <= scene.now;
            if waited.any(|(_, got)| got.get(&life).is_some_and(is_patient)) {
                continue;
            }
            for (number, got) in self.got.range((session, first)..(session, before)) {
                let has = |(&(holder, run), (_, id)): (&Life, &(Time, ActivityId))| {
                    let process = &scene.world[holder];
                    let log =
                        process.machine.as_ref().and_then(Node::worker).filter(|_| process.run == run)?;
                    let is_linked = machine.neighbours().contains(log.id());
                    let can_ask = is_linked && scene.ways.are_clear(scene.world, at, holder, WELL);
                    let told = self.told.get(&(life, (holder, run)))?;
                    let (since, holds) = told.front()?;
                    let is_known = *since + KNOWN <= scene.now
                        && holds.contains(id)
                        && log.held().any(|held| held == *number);
                    (can_ask && is_known).then_some(holder)
                };
                // What it took or got before it was started again, and has let go of since, it knows by its id alone.
                let had = |(&(holder, run), (_, id)): (&Life, &(Time, ActivityId))| {
                    let is_its = holder == at || id.origin == *machine.id();
                    (holder, run) == life || (is_its && machine.seen().contains(id))
                };
                if !got.iter().any(had)
                    && let Some(holder) = got.iter().find_map(has)
                {
                    return Err(format!(
                        "{} goes on in {session} without {first} to {before}, and {} has some of it",
                        scene.name(at),
                        scene.name(holder)
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Check for Order {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        _: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        match seen {
            Seen::Received { at, message: Message::ActivityBroadcast(broadcast), .. }
                if scene.role(*at) == Role::Worker =>
            {
                self.worker_got(scene, *at, broadcast);
                Ok(())
            }
            Seen::Received { at, message: Message::ActivityRetrieved(retrieved), .. }
                if scene.role(*at) == Role::Worker =>
            {
                for broadcast in scene.taken(*at, retrieved) {
                    self.worker_got(scene, *at, broadcast);
                }
                Ok(())
            }
            Seen::Received {
                at,
                from,
                run,
                message: Message::Neighbours(Neighbours { holds: Some(holds), .. }),
                ..
            } => {
                self.worker_told(scene, *at, (*from, *run), holds);
                Ok(())
            }
            Seen::Effect { at, effect: Effect::WentOn } => self.went_on(scene, *at, coverage),
            Seen::Received { at, conn, message: Message::ActivityBroadcast(broadcast), .. }
                if scene.role(*at) == Role::Classic =>
            {
                self.came_over(scene.name(*at), *conn, broadcast)
            }
            Seen::Effect { at, effect: Effect::Client(client::core::Effect::Activity(broadcast)) } => {
                self.came_to(scene.name(*at), (*at, scene.world[*at].run), broadcast)
            }
            _ => Ok(()),
        }
    }
}
