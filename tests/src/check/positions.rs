//! Positions only grow: where a client asks to go on from, it has never been further. (No run here has so many workers that streams are
//! forgotten.) And they are true: what a worker says lies behind, it does not send over that connection afterwards, unless it had not
//! received it itself by then; and RESUMED names nothing that was taken since the client came, and that it was neither given nor told of as
//! lost.

use std::collections::BTreeMap;

use common::id::ActivityId;
use common::position::Position;
use common::wire::{ActivityBroadcast, Message, Resumed};

use super::ledger::Ledger;
use super::stream::Life;
use super::{Check, Scene, Verdict};
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::{Effect, Node};
use crate::sim::{ConnId, ProcessId, Seen};

#[derive(Debug, Default)]
pub(super) struct Positions {
    /// Logs are so small that what came under two ids may be lost under the one and held under the other: who is told that the one is lost
    /// is told the truth, and nobody here knows which one that was.
    small_logs: bool,
    last: BTreeMap<Life, (ConnId, Position)>,
    /// What each worker has taken in from other workers.
    heard: BTreeMap<Life, Position>,
    over: BTreeMap<ConnId, Over>,
}

/// What was said over a connection of a client of ours.
#[derive(Debug, Default)]
struct Over {
    /// What the worker had heard from others when the client came: what came between its answer and that being heard may still be sent.
    heard: Position,
    /// From where it goes on.
    resume: Position,
    sent: Position,
    /// What was said to lie behind, as far as the worker had it by then, and the client had not.
    behind: Position,
}

impl Positions {
    pub(super) fn new(small_logs: bool) -> Self {
        Positions { small_logs, ..Positions::default() }
    }

    fn is_at(&mut self, scene: &Scene<'_>, life: Life, conn: ConnId, position: &Position) -> Verdict {
        // A worker that was stopped may hear now what was said over an older connection.
        if self.last.get(&life).is_some_and(|(last, _)| *last > conn) {
            return Ok(());
        }
        match self.last.insert(life, (conn, position.clone())) {
            Some((_, last)) if !last.is_within(position) => {
                Err(format!("{} was at {last} and goes back to {position}", scene.name(life.0)))
            }
            _ => Ok(()),
        }
    }

    /// A worker tells a client what lies behind.
    fn lies_behind(&mut self, scene: &Scene<'_>, worker: ProcessId, conn: ConnId, position: &Position) {
        let machine = scene.world[worker].machine.as_ref().and_then(Node::worker);
        let Some(machine) = machine else { return };
        let over = self.over.entry(conn).or_default();
        let mut had = over.heard.clone();
        // What it numbers itself it has.
        let own = position.streams().filter(|(stream, _)| {
            (&stream.origin, stream.incarnation) == (machine.id(), machine.incarnation())
        });
        for (stream, ranges) in own {
            ranges.iter().for_each(|(first, last)| had.add(stream, first, last));
        }
        over.behind = position.common(&had).without(&over.resume).without(&over.sent);
    }

    fn comes(&mut self, name: &str, conn: ConnId, id: &ActivityId) -> Verdict {
        let over = self.over.entry(conn).or_default();
        over.sent.insert(id);
        if over.behind.contains(id) {
            return Err(format!(
                "{name} was told that {id} lies behind it over {conn:?}, and is given it now"
            ));
        }
        Ok(())
    }

    fn resumed(
        &self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        life: Life,
        conn: ConnId,
        resumed: &Resumed,
    ) -> Verdict {
        let name = scene.name(life.0);
        let Resumed { position, gaps, .. } = resumed;
        let before = self.over.get(&conn).map(|over| &over.resume);
        if !gaps.is_within(position) || !before.is_none_or(|before| before.is_within(position)) {
            return Err(format!("{name} resumes from {before:?}, and all lies behind it but {resumed:?}"));
        }
        let Some(listener) = ledger.stream.listeners.get(&life) else { return Ok(()) };
        let Some(since) = listener.since.filter(|_| listener.anew.is_none()) else { return Ok(()) };
        for (tag, holding) in &ledger.stream.holdings {
            let is_new = holding.since > since && ledger.accepted[tag].at > since;
            let is_told = |id: &ActivityId| listener.ids.contains(id) || listener.gaps.contains(id);
            let is_behind = !holding.ids.is_empty() && holding.ids.iter().all(|id| position.contains(id));
            let is_given = listener.handed.contains_key(tag) || holding.ids.iter().any(is_told);
            if is_new && is_behind && !is_given && !self.small_logs {
                return Err(format!(
                    "{tag:?} ({:?}) lies behind {name}, which was neither given it nor told that it is lost",
                    holding.ids
                ));
            }
        }
        Ok(())
    }

    fn hear(&mut self, worker: Life, broadcast: &ActivityBroadcast) {
        if let Some(id) = &broadcast.id {
            self.heard.entry(worker).or_default().insert(id);
        }
    }
}

impl Check for Positions {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        _: &mut Coverage,
    ) -> Verdict {
        let Seen::Received { at, from, run, conn, message, .. } = seen else { return Ok(()) };
        let life = (*at, scene.world[*at].run);
        match (scene.role(*at), message) {
            (Role::Worker, Message::Login(login)) if scene.role(*from) == Role::Client => {
                let heard = self.heard.get(&life).cloned().unwrap_or_default();
                self.over.entry(*conn).or_default().heard = heard;
                let Some(position) = &login.resume else { return Ok(()) };
                self.over.entry(*conn).or_default().resume = position.clone();
                self.is_at(scene, (*from, *run), *conn, position)
            }
            (Role::Worker, Message::ActivityBroadcast(broadcast)) => {
                self.hear(life, broadcast);
                Ok(())
            }
            (Role::Worker, Message::ActivityRetrieved(retrieved)) => {
                scene.taken(*at, retrieved).for_each(|broadcast| self.hear(life, broadcast));
                Ok(())
            }
            (Role::Client, Message::LoginSuccess(success)) => {
                if let Some(position) = &success.position {
                    self.lies_behind(scene, *from, *conn, position);
                }
                Ok(())
            }
            (Role::Client, Message::Resumed(resumed)) => {
                self.resumed(scene, ledger, life, *conn, resumed)?;
                self.lies_behind(scene, *from, *conn, &resumed.position);
                Ok(())
            }
            (Role::Client, Message::ActivityBroadcast(ActivityBroadcast { id: Some(id), .. })) => {
                self.comes(scene.name(*at), *conn, id)
            }
            _ => Ok(()),
        }
    }
}
