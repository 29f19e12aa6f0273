//! The simulator: a whole network of real machines in one thread, on virtual time, from one seed.
//!
//! [`World`] is a driver like the tokio shell in `common::net`: it runs [`Machine`]s, carries their bytes through the real codec, and
//! wakes them at their deadlines. But its clock jumps from one event to the next, its network delays, cuts, stalls and breaks as it is
//! told, and its processes are paused and killed. Everything that is drawn at random comes from one seeded generator, so a seed is a
//! run: the same seed gives the same events, to the byte.
//!
//! The world knows nothing of the product. What a disk or a password hash is, who crashes when and what must hold lies around it:
//! [`node`] (the machines that take part), [`disk`], [`workload`], [`faults`], [`scenario`] (which puts them together), and
//! [`crate::check`] (what must hold).
//!
//! **Invariants.** A machine is told of a link before anything else about it, of its end last, and of nothing after it has closed it
//! itself. What was sent to one run of a process never reaches its next.

pub mod cast;
pub mod classic;
mod control;
pub mod coverage;
pub mod crowd;
pub mod disk;
mod effects;
pub mod errand;
pub mod explore;
pub mod faults;
mod group_faults;
mod links;
mod making;
pub mod mischief;
mod network;
pub mod node;
mod phases;
mod pipe;
pub mod plan;
mod process;
mod queue;
pub mod run;
pub mod scenario;
pub mod segments;
#[cfg(test)]
mod tests;
mod trace;
pub mod ways;
mod workload;

pub use control::Crash;
pub use network::{ConnId, Side, Sides};
pub use pipe::Weather;
pub use process::Process;
pub use queue::Queue;
pub use trace::{Telling, Trace};

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Index, IndexMut};

use common::epoch::Epoch;
use common::id::LinkId;
use common::machine::{Action, DialError, DialId, Event, Machine};
use common::time::{Now, Time};
use common::wire::{Address, Message, WireError};

use network::Network;

/// A process of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(usize);

/// What the world shows to whoever watches it, in the order in which it happened.
#[derive(Debug)]
#[expect(
    missing_docs,
    reason = "`at` and `by` name the process whose machine it is, `from` and `to` its peer"
)]
pub enum Seen<E> {
    /// A message arrived; the machine at `at` was told. `run`: which run of its sender has said it, as that may be over by now.
    Received {
        at: ProcessId,
        from: ProcessId,
        run: u32,
        conn: ConnId,
        message: Message,
        epoch: Option<Epoch>,
    },
    /// The machine at `by`, which is overheard, has something new to say: it is in its output, and not written yet.
    Said { by: ProcessId, to: ProcessId, conn: ConnId, message: Message, epoch: Option<Epoch> },
    /// Something arrived that is no message.
    Malformed { at: ProcessId, from: ProcessId, conn: ConnId, error: WireError },
    /// The machine at `by` closed a connection. `last`: the message that its farewell ends with. `torn`: it leaves off inside of a line.
    Closed { by: ProcessId, to: ProcessId, conn: ConnId, last: Option<Message>, torn: bool },
    /// The machine at `at` learnt that its peer is gone. `clean`: after the peer had closed it, and with a whole line.
    Lost { at: ProcessId, from: ProcessId, conn: ConnId, clean: bool },
    /// A machine asks for something that is neither network nor time.
    Effect { at: ProcessId, effect: E },
    /// A machine is done, and with it its process.
    Exited { at: ProcessId, outcome: Result<(), String> },
}

/// What the queue holds.
#[derive(Debug)]
pub(crate) enum Due {
    Deadline(ProcessId, u32, Time),
    /// A connection attempt arrives where it wants to.
    Knock {
        from: (ProcessId, u32),
        dial: DialId,
        address: Address,
    },
    DialFailed(ProcessId, u32, DialId, DialError),
    Accepted(ConnId),
    Dialled(ConnId, u32, DialId),
    /// The end on this side may read; void unless that time is still the one that was agreed.
    Readable(ConnId, Side, Time),
    Writable(ConnId, Side),
    /// The end on this side finds out that the connection is broken.
    Broken(ConnId, Side),
    /// A closing end gives up on its farewell.
    LingerOver(ConnId, Side),
}

/// How often a machine may be woken without time passing before it counts as spinning.
const SPINS: u32 = 1_000;

/// A network of processes that run machines of one type.
pub struct World<M: Machine> {
    now: Time,
    queue: Queue<Due>,
    processes: Vec<Process<M>>,
    listeners: BTreeMap<Address, ProcessId>,
    network: Network,
    rng: fastrand::Rng,
    seen: Vec<Seen<M::Effect>>,
    /// What happened.
    pub trace: Trace,
}

impl<M: Machine> World<M> {
    /// An empty world.
    pub fn new(seed: u64, weather: Weather) -> Self {
        World {
            now: Time::ZERO,
            queue: Queue::default(),
            processes: Vec::new(),
            listeners: BTreeMap::new(),
            network: Network::new(weather),
            rng: fastrand::Rng::with_seed(seed),
            seen: Vec::new(),
            trace: Trace::default(),
        }
    }

    /// Adds a process; nothing runs there yet.
    pub fn add(&mut self, name: impl Into<String>) -> ProcessId {
        let id = ProcessId(self.processes.len());
        let (_, address) = process::address_of(id.0);
        self.listeners.insert(address.clone(), id);
        self.processes.push(Process::new(name.into(), address));
        id
    }

    /// Starts a machine in a process that is down.
    pub fn start(&mut self, id: ProcessId, make: impl FnOnce(Now) -> M) {
        let now = self.now;
        self[id].begin(now);
        let machine = make(self[id].clocks(now));
        self[id].machine = Some(machine);
        self.arm(id);
    }

    /// The time of the world.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The processes, in the order in which they were added.
    pub fn processes(&self) -> impl Iterator<Item = (ProcessId, &Process<M>)> {
        self.processes.iter().enumerate().map(|(index, process)| (ProcessId(index), process))
    }

    /// When the next thing happens here.
    pub fn next(&self) -> Option<Time> {
        self.queue.next()
    }

    /// Lets time pass up to `time`, where nothing happens before.
    pub fn wait_until(&mut self, time: Time) {
        assert!(self.next().is_none_or(|next| time <= next), "{time} lies beyond the next event");
        self.now = self.now.max(time);
    }

    /// How many things may happen next, all at the same time.
    pub fn choices(&self) -> usize {
        self.queue.simultaneous()
    }

    /// Makes the next thing happen that leaves no choice: what is void by now, and what must come before anything else on its
    /// connection. Says whether there was one.
    pub fn step_without_choice(&mut self) -> bool {
        let which = self.queue.next_ones().position(|due| match due {
            Due::Deadline(id, run, at) => self[*id].run != *run || self[*id].wake != Some(*at),
            Due::Accepted(_) | Due::Dialled(..) | Due::Writable(..) | Due::LingerOver(..) => true,
            Due::Knock { .. } | Due::DialFailed(..) | Due::Readable(..) | Due::Broken(..) => false,
        });
        which.is_some_and(|which| {
            self.step_nth(which);
            true
        })
    }

    /// Makes the next thing happen.
    pub fn step(&mut self) {
        self.step_nth(0);
    }

    /// Makes one of the things happen that happen at the same time as the next one.
    pub fn step_nth(&mut self, which: usize) {
        let Some((at, due)) = self.queue.pop_nth(which) else { return };
        assert!(at >= self.now, "time went back from {} to {at}", self.now);
        if at > self.now {
            self.processes.iter_mut().for_each(|process| process.spins = 0);
        }
        self.now = at;
        self.happen(due);
    }

    /// Takes what was seen since the last call.
    pub fn seen(&mut self) -> Vec<Seen<M::Effect>> {
        std::mem::take(&mut self.seen)
    }

    /// Hands an input to a run of a process; it is lost where that run is over.
    pub fn input(&mut self, id: ProcessId, run: u32, input: M::Input) {
        if self[id].run == run && self[id].is_up() {
            self.tell(id, Event::Input(input));
        }
    }

    fn happen(&mut self, due: Due) {
        let whose = match due {
            Due::Deadline(id, run, _) | Due::DialFailed(id, run, ..) if self[id].run == run => Some(id),
            Due::Deadline(..) | Due::DialFailed(..) => return,
            Due::Knock { .. } => None,
            Due::Accepted(conn) => self.process_at(conn, Side::Acceptor),
            Due::Dialled(conn, ..) => self.process_at(conn, Side::Dialler),
            Due::Readable(conn, side, _) | Due::Writable(conn, side) => self.process_at(conn, side),
            Due::Broken(conn, side) | Due::LingerOver(conn, side) => self.process_at(conn, side),
        };
        if let Some(id) = whose {
            let process = &mut self[id];
            let waits =
                process.paused || (!process.reading && matches!(due, Due::Readable(..) | Due::Broken(..)));
            if waits && process.is_up() {
                process.parked.push(due);
                return;
            }
        }
        match due {
            Due::Deadline(id, _, at) => self.wake(id, at),
            Due::Knock { from: (id, run), dial, address } => self.knock(id, run, dial, &address),
            Due::DialFailed(id, _, dial, error) => self.tell(id, Event::DialFailed { dial, error }),
            Due::Accepted(conn) => self.accepted(conn),
            Due::Dialled(conn, run, dial) => self.dialled(conn, run, dial),
            Due::Readable(conn, side, at) => self.readable(conn, side, at),
            Due::Writable(conn, side) => self.writable(conn, side),
            Due::Broken(conn, side) => self.lost(conn, side, false),
            Due::LingerOver(conn, side) => self.linger_over(conn, side),
        }
    }

    fn wake(&mut self, id: ProcessId, at: Time) {
        let now = self.now;
        let process = &mut self[id];
        if process.wake != Some(at) {
            return;
        }
        process.wake = None;
        let local = process.clocks(now).time;
        match process.machine.as_ref().map(Machine::deadline) {
            Some(Some(deadline)) if deadline <= local => {
                process.spins += 1;
                assert!(process.spins < SPINS, "{} spins: its deadline never moves on", process.name);
                self.tell(id, Event::DeadlinePassed);
            }
            Some(_) => self.arm(id),
            None => {}
        }
    }

    /// Puts a machine's deadline into the queue.
    fn arm(&mut self, id: ProcessId) {
        let now = self.now;
        let process = &mut self[id];
        let Some(deadline) = process.machine.as_ref().and_then(Machine::deadline) else { return };
        let at = process.when(deadline).max(now);
        if process.wake.is_none_or(|wake| at < wake) {
            process.wake = Some(at);
            let run = process.run;
            self.queue.push(at, Due::Deadline(id, run, at));
        }
    }

    /// Gives a machine an event, does what it asks for, and writes what it then has to say.
    fn tell(&mut self, id: ProcessId, event: Event<M::Input>) {
        let mut flush = BTreeSet::new();
        self.handle(id, event, &mut flush);
        self.end_turn(id, flush);
    }

    /// Writes what there is to write, and sees when the machine wants to be woken.
    fn end_turn(&mut self, id: ProcessId, mut flush: BTreeSet<LinkId>) {
        while let Some(link) = flush.pop_first() {
            self.flush(id, link, &mut flush);
        }
        self.arm(id);
    }

    /// Like the shell, does at once what is asked for, but flushes at the end of the turn: the links to flush go into `flush`.
    fn handle(&mut self, id: ProcessId, event: Event<M::Input>, flush: &mut BTreeSet<LinkId>) {
        let now = self.now;
        let process = &mut self[id];
        let clocks = process.clocks(now);
        let Some(machine) = &mut process.machine else { return };
        let mut actions = Vec::new();
        machine.handle(clocks, event, &mut actions);
        for action in actions {
            match action {
                Action::Dial { dial, address } => self.dial(id, dial, address),
                Action::Flush(link) => {
                    self.overhear(id, link, None);
                    flush.insert(link);
                }
                Action::FlushAll => {
                    for link in self[id].links.keys().collect::<Vec<_>>() {
                        self.overhear(id, link, None);
                        flush.insert(link);
                    }
                }
                Action::Close { link, farewell } => {
                    self.overhear(id, link, Some(&farewell));
                    self.close(id, link, farewell);
                }
                Action::StopAccepting => self[id].accepting = false,
                Action::Effect(effect) => self.seen.push(Seen::Effect { at: id, effect }),
                Action::Exit(outcome) => {
                    self.seen.push(Seen::Exited { at: id, outcome });
                    self.end(id, true);
                }
            }
        }
    }
}

impl<M: Machine> Index<ProcessId> for World<M> {
    type Output = Process<M>;
    fn index(&self, id: ProcessId) -> &Process<M> {
        &self.processes[id.0]
    }
}

impl<M: Machine> IndexMut<ProcessId> for World<M> {
    fn index_mut(&mut self, id: ProcessId) -> &mut Process<M> {
        &mut self.processes[id.0]
    }
}
