//! The connections between processes, and what can be wrong with the way between two of them.

use std::collections::{BTreeMap, BTreeSet};

use common::id::LinkId;
use common::limits;
use common::time::Time;
use common::wire::{Lines, PartialBudget};

use super::ProcessId;
use super::pipe::{Pipe, Weather};

/// A connection of the whole simulation; each of its two ends has a `LinkId` of its own in its own process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The one that dialled.
    Dialler,
    /// The one that accepted.
    Acceptor,
}

impl Side {
    /// The other end.
    pub fn other(self) -> Side {
        match self {
            Side::Dialler => Side::Acceptor,
            Side::Acceptor => Side::Dialler,
        }
    }
}

/// What one end of a connection is doing.
#[derive(Debug)]
pub(super) enum State {
    /// The process has not been told of it yet.
    Opening,
    /// The process uses it.
    Open(LinkId),
    /// The machine has closed it; the driver still writes its farewell.
    Closing(Vec<u8>),
    /// Nobody is here any more; what arrives is thrown away.
    Gone,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct End {
    pub(super) process: ProcessId,
    /// The run of the process that it belongs to.
    pub(super) run: u32,
    pub(super) state: State,
    /// Cuts what arrives here into lines.
    pub(super) lines: Lines,
    /// Nothing more is read here after a malformed line.
    pub(super) deaf: bool,
    /// What this end writes.
    pub(super) pipe: Pipe,
    /// When the queue holds the arrival of the pipe's next piece.
    pub(super) scheduled: Option<Time>,
    /// More waits to be written than the window takes.
    pub(super) starved: bool,
    /// Cuts what is overheard here into lines.
    pub(super) overheard: Lines,
    /// Bytes that were overheard and are not written yet.
    pub(super) ahead: usize,
}

impl End {
    fn new((process, run): (ProcessId, u32), weather: &Weather, rng: &mut fastrand::Rng) -> Self {
        End {
            process,
            run,
            state: State::Opening,
            lines: Lines::new(limits::LINE_BYTES + limits::ENVELOPE_BYTES, PartialBudget::default()),
            deaf: false,
            pipe: Pipe::new(weather, rng),
            scheduled: None,
            starved: false,
            overheard: Lines::new(limits::LINE_BYTES + limits::ENVELOPE_BYTES, PartialBudget::default()),
            ahead: 0,
        }
    }

    fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone)
    }
}

/// Two ends.
#[derive(Debug)]
pub(super) struct Connection {
    ends: [End; 2],
    /// It broke; both ends have learnt of it or will.
    pub(super) broken: bool,
}

impl Connection {
    pub(super) fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    pub(super) fn process(&self, side: Side) -> ProcessId {
        self.ends[side as usize].process
    }

    fn joins(&self, one: ProcessId, other: ProcessId) -> bool {
        let (a, b) = (self.ends[0].process, self.ends[1].process);
        (a, b) == (one, other) || (b, a) == (one, other)
    }

    fn is_over(&self) -> bool {
        self.ends.iter().all(|end| end.is_gone() && end.pipe.is_empty())
    }

    fn is_open(&self) -> bool {
        self.ends.iter().all(|end| matches!(end.state, State::Open(_))) && !self.broken
    }
}

/// All connections, and the cuts between processes.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) weather: Weather,
    connections: BTreeMap<ConnId, Connection>,
    /// From whom nothing arrives at whom.
    cuts: BTreeSet<(ProcessId, ProcessId)>,
    sides: Option<Sides>,
    opened: u64,
}

impl Network {
    pub(super) fn new(weather: Weather) -> Self {
        Network { weather, connections: BTreeMap::new(), cuts: BTreeSet::new(), sides: None, opened: 0 }
    }

    pub(super) fn open(
        &mut self,
        dialler: (ProcessId, u32),
        acceptor: (ProcessId, u32),
        rng: &mut fastrand::Rng,
    ) -> ConnId {
        let id = ConnId(self.opened);
        self.opened += 1;
        let ends = [End::new(dialler, &self.weather, rng), End::new(acceptor, &self.weather, rng)];
        self.connections.insert(id, Connection { ends, broken: false });
        id
    }

    pub(super) fn get(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(&id)
    }

    /// Drops a connection that nobody uses any more.
    pub(super) fn forget_if_over(&mut self, id: ConnId) {
        if self.connections.get(&id).is_some_and(Connection::is_over) {
            self.connections.remove(&id);
        }
    }

    /// The connections that stand, with their dialler and acceptor.
    pub(super) fn standing(&self) -> impl Iterator<Item = (ConnId, ProcessId, ProcessId)> {
        let open = self.connections.iter().filter(|(_, connection)| connection.is_open());
        open.map(|(&id, connection)| (id, connection.ends[0].process, connection.ends[1].process))
    }

    /// The standing connections that something is on its way on.
    pub(super) fn busy(&self) -> Vec<ConnId> {
        let busy = |connection: &Connection| connection.ends.iter().any(|end| !end.pipe.is_empty());
        let open = self.connections.iter().filter(|(_, connection)| connection.is_open() && busy(connection));
        open.map(|(&id, _)| id).collect()
    }

    /// Whether somebody still uses a connection that is broken.
    pub(super) fn deceives(&self) -> bool {
        let uses = |end: &End| matches!(end.state, State::Open(_) | State::Opening);
        self.connections.values().any(|connection| connection.broken && connection.ends.iter().any(uses))
    }

    /// The connections that have an end at `process`, with that end.
    pub(super) fn of(&self, process: ProcessId) -> Vec<(ConnId, Side)> {
        let mut found = Vec::new();
        for (&id, connection) in &self.connections {
            for side in [Side::Dialler, Side::Acceptor] {
                if connection.process(side) == process {
                    found.push((id, side));
                }
            }
        }
        found
    }

    /// The connections between two processes.
    pub(super) fn between(&self, one: ProcessId, other: ProcessId) -> Vec<ConnId> {
        let joining = self.connections.iter().filter(|(_, connection)| connection.joins(one, other));
        joining.map(|(&id, _)| id).collect()
    }

    /// Lets nothing through from `from` to `to`.
    pub(super) fn cut(&mut self, from: ProcessId, to: ProcessId) {
        self.cuts.insert((from, to));
    }

    /// Mends the way between two processes, and lets go what was held back.
    pub(super) fn mend(&mut self, one: ProcessId, other: ProcessId) {
        self.cuts.remove(&(one, other));
        self.cuts.remove(&(other, one));
        for conn in self.between(one, other) {
            if let Some(connection) = self.get(conn) {
                connection.ends.iter_mut().for_each(|end| end.pipe.relieve());
            }
        }
    }

    /// Divides the network into sides, or makes it one again. Returns the connections across.
    pub(super) fn divide(&mut self, sides: Option<Sides>) -> Vec<ConnId> {
        self.sides = sides;
        let Some(sides) = &self.sides else { return Vec::new() };
        let across = self.connections.iter().filter(|(_, connection)| {
            sides.of(connection.ends[0].process) != sides.of(connection.ends[1].process)
        });
        across.map(|(&id, _)| id).collect()
    }

    pub(super) fn sides(&self) -> Option<&Sides> {
        self.sides.as_ref()
    }

    /// Whether there is no way between two processes: a connection needs both directions.
    pub(super) fn is_cut(&self, one: ProcessId, other: ProcessId) -> bool {
        self.cuts.contains(&(one, other))
            || self.cuts.contains(&(other, one))
            || self.sides.as_ref().is_some_and(|sides| sides.of(one) != sides.of(other))
    }

    /// Mends every cut and lets go what is held back; returns all connections.
    pub(super) fn heal(&mut self) -> Vec<ConnId> {
        self.cuts.clear();
        self.sides = None;
        for connection in self.connections.values_mut() {
            connection.ends.iter_mut().for_each(|end| end.pipe.relieve());
        }
        self.connections.keys().copied().collect()
    }
}

/// A network in several parts, with no way between them.
#[derive(Clone, Debug)]
pub struct Sides {
    /// How many.
    pub count: usize,
    /// On which side a process is; those that come later are spread over all.
    pub of: BTreeMap<ProcessId, usize>,
}

impl Sides {
    /// On which side a process is.
    pub fn of(&self, id: ProcessId) -> usize {
        self.of.get(&id).copied().unwrap_or(id.0 % self.count)
    }
}
