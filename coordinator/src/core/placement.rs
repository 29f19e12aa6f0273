//! Where clients go: the workers, their loads, and who is on the way to them.
//!
//! A worker's load is its own word, absolute each time. To it are added the clients that were sent there and have not arrived, so
//! that a burst of log-ins spreads although no load has been announced yet. **Invariant:** only a worker with a link is chosen, and not
//! while it catches up, nor when it is about to leave. One without a link keeps its place (id, address, load) until it has been silent for
//! too long, unless it had said that it leaves.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{Incarnation, LinkId, ServerId};
use common::time::Time;
use common::user::Username;
use common::wire::{Address, MoveClients, ServerEntry, ServerLoad, WorkerStatus};

use super::balancing::{Balancing, Share};
use super::config::Limits;
use super::worker::{Phase, Worker};

/// The table of workers.
#[derive(Debug)]
pub(super) struct Placement {
    workers: BTreeMap<ServerId, Worker>,
    /// How many choices have been made: who was chosen longest ago wins a tie.
    choices: u64,
    /// Whether a load has changed since backups were told.
    loads_changed: bool,
    balancing: Balancing,
    /// From when on loads are what they seem, and may be evened out.
    settled: Time,
    limits: Limits,
}

/// A worker that wants to be let in.
#[derive(Clone, Debug)]
pub(super) struct Newcomer {
    pub(super) server: ServerEntry,
    pub(super) incarnation: Incarnation,
    pub(super) load: u64,
    pub(super) recovering: bool,
}

/// Why a worker is not let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// There are as many as there may be.
    Full,
    /// Another worker of this id lives.
    Taken(Address),
}

/// What the arrival of a worker means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// The link that it had until now, to be closed.
    pub(super) replaced: Option<LinkId>,
    /// Whether the others do not know it yet, or not at this address.
    pub(super) is_news: bool,
}

/// A worker that was given up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) id: ServerId,
    /// The link that it still had, to be closed.
    pub(super) link: Option<LinkId>,
}

impl Placement {
    pub(super) fn new(limits: Limits) -> Self {
        let balancing = Balancing::new(limits.moving_clients);
        let workers = BTreeMap::new();
        Placement { workers, choices: 0, loads_changed: false, balancing, settled: Time::ZERO, limits }
    }

    /// A worker has authenticated. A second one of its id is not let in while the first one lives: what it says would be taken for the
    /// other's. A start of the same process that connects anew is no second one.
    pub(super) fn connect(
        &mut self,
        now: Time,
        newcomer: Newcomer,
        link: LinkId,
    ) -> Result<Arrival, Rejection> {
        let Newcomer { server, incarnation, load, recovering } = newcomer;
        let known = self.workers.get(&server.id);
        if let Some(first) = known.filter(|first| first.lives(now, &self.limits))
            && first.incarnation != Some(incarnation)
        {
            return Err(Rejection::Taken(first.address.clone()));
        }
        if known.is_none() && self.workers.len() >= self.limits.workers {
            return Err(Rejection::Full);
        }
        let arrival = Arrival {
            replaced: known.and_then(|worker| worker.link),
            is_news: known.is_none_or(|worker| worker.address != server.address),
        };
        let worker = Worker {
            link: Some(link),
            incarnation: Some(incarnation),
            phase: if recovering { Phase::Recovering } else { Phase::Open },
            load,
            chosen: known.map_or(0, |worker| worker.chosen),
            ..Worker::new(now, server.address, &self.limits)
        };
        self.workers.insert(server.id, worker);
        Ok(arrival)
    }

    /// A worker's link broke: it gets no more clients, and nobody is on the way to it that we could count on. One that had said that it
    /// leaves is gone: says whether it was one. Nothing happens where the worker has another link by now.
    pub(super) fn disconnect(&mut self, id: &ServerId, link: LinkId) -> bool {
        let Some(worker) = self.workers.get_mut(id).filter(|worker| worker.link == Some(link)) else {
            return false;
        };
        worker.disconnect();
        let has_left = worker.phase == Phase::Leaving;
        if has_left {
            self.workers.remove(id);
        }
        has_left
    }

    /// A worker says that it is about to leave.
    pub(super) fn leave(&mut self, id: &ServerId) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.phase = Phase::Leaving;
        }
    }

    /// Something came from this worker.
    pub(super) fn heard(&mut self, now: Time, id: &ServerId) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.heard(now);
        }
    }

    /// A worker says how many clients it carries.
    pub(super) fn set_load(&mut self, id: &ServerId, load: u64) {
        if let Some(worker) = self.workers.get_mut(id) {
            self.loads_changed |= worker.set_load(load);
        }
    }

    /// A worker says how it is.
    pub(super) fn take_load(&mut self, id: &ServerId, said: &ServerLoad) {
        self.set_load(id, said.load);
        if let Some(worker) = self.workers.get_mut(id) {
            worker.take(said);
        }
    }

    /// Whether a load has changed since this was asked last.
    pub(super) fn take_loads_changed(&mut self) -> bool {
        std::mem::take(&mut self.loads_changed)
    }

    /// The load of every worker.
    pub(super) fn loads(&self) -> BTreeMap<ServerId, u64> {
        self.workers.iter().map(|(id, worker)| (id.clone(), worker.load)).collect()
    }

    /// Every worker, connected or not.
    pub(super) fn servers(&self) -> Vec<ServerEntry> {
        let entry = |(id, worker): (&ServerId, &Worker)| ServerEntry {
            id: id.clone(),
            address: worker.address.clone(),
        };
        self.workers.iter().map(entry).collect()
    }

    /// The names of all workers.
    pub(super) fn ids(&self) -> BTreeSet<ServerId> {
        self.workers.keys().cloned().collect()
    }

    /// Whether this worker's link stands.
    pub(super) fn is_connected(&self, id: &ServerId) -> bool {
        self.workers.get(id).is_none_or(|worker| worker.link.is_some())
    }

    /// Takes note of a worker that is connected elsewhere.
    pub(super) fn know(&mut self, now: Time, server: ServerEntry) {
        if !self.workers.contains_key(&server.id) && self.workers.len() >= self.limits.workers {
            return;
        }
        self.workers.insert(server.id, Worker::new(now, server.address, &self.limits));
    }

    /// These are the workers, all connected elsewhere.
    pub(super) fn replace(&mut self, now: Time, servers: Vec<ServerEntry>) {
        self.workers.clear();
        servers.into_iter().for_each(|server| self.know(now, server));
    }

    /// A worker is gone.
    pub(super) fn forget(&mut self, id: &ServerId) {
        self.workers.remove(id);
    }

    /// The workers are to come back from now on. Who was sent to one of them by somebody else is there, or will not be, when a reservation
    /// would have ended.
    pub(super) fn restart(&mut self, now: Time) {
        self.workers.values_mut().for_each(|worker| worker.heard(now));
        self.settled = now + self.limits.reservation;
    }

    /// `username` has arrived at this worker.
    pub(super) fn arrived(&mut self, id: &ServerId, username: &Username) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.arrived(username);
        }
    }

    /// Whether any worker takes clients.
    pub(super) fn is_open(&self) -> bool {
        self.workers.values().any(Worker::is_open)
    }

    /// The connected workers that have gone silent.
    pub(super) fn silent(&self) -> impl Iterator<Item = &ServerId> {
        self.workers.iter().filter(|(_, worker)| worker.silent).map(|(id, _)| id)
    }

    /// The connected workers that still catch up.
    pub(super) fn recovering(&self) -> impl Iterator<Item = &ServerId> {
        self.workers.iter().filter(|(_, worker)| worker.is_recovering()).map(|(id, _)| id)
    }

    /// Picks the least-loaded worker for `username` and expects it there; a silent one only where all are. `None`: none takes clients.
    pub(super) fn choose(&mut self, now: Time, username: &Username) -> Option<Address> {
        self.look(now);
        let open = self.workers.values_mut().filter(|worker| worker.is_open());
        // `min_by_key` keeps the first of equals, which is the one with the smaller id.
        let worker = open.min_by_key(|worker| (worker.silent, worker.effective_load(), worker.chosen))?;
        self.choices += 1;
        worker.chosen = self.choices;
        worker.reservations.add(username, now + self.limits.reservation);
        Some(worker.address.clone())
    }

    /// Picks who is to send clients to whom now, so that loads become even, and expects those clients there.
    pub(super) fn even_out(&mut self, now: Time) -> Vec<(LinkId, MoveClients)> {
        if now < self.settled {
            return Vec::new();
        }
        self.look(now);
        let lives = |worker: &Worker| worker.is_open() && !worker.silent;
        let mut open: Vec<_> = self.workers.iter_mut().filter(|(_, worker)| lives(worker)).collect();
        let shares: Vec<Share> = open.iter().map(|(_, worker)| worker.share()).collect();
        let until = now + self.limits.reservation;
        let mut moves = Vec::new();
        for transfer in self.balancing.plan(&shares) {
            let (to, target) = &mut open[transfer.to];
            let order = MoveClients { count: transfer.count, to: to.clone() };
            target.coming.add(transfer.count, until);
            let (_, source) = &mut open[transfer.from];
            source.going.add(transfer.count, until);
            source.movable -= transfer.count;
            moves.extend(source.link.map(|link| (link, order)));
        }
        moves
    }

    /// Forgets the clients that are no longer waited for, and sees which workers have gone silent.
    pub(super) fn look(&mut self, now: Time) {
        self.workers.values_mut().for_each(|worker| worker.look(now, &self.limits));
    }

    /// Gives up the workers that have been silent for too long.
    pub(super) fn remove_silent(&mut self, now: Time) -> Vec<Gone> {
        let mut gone = Vec::new();
        self.workers.retain(|id, worker| {
            let silent = now.since(worker.heard) >= self.limits.server_silence;
            if silent {
                gone.push(Gone { id: id.clone(), link: worker.link });
            }
            !silent
        });
        gone
    }

    /// The workers but for one.
    pub(super) fn others(&self, id: &ServerId) -> Vec<ServerEntry> {
        let others = self.workers.iter().filter(|(other, _)| *other != id);
        others.map(|(id, worker)| ServerEntry { id: id.clone(), address: worker.address.clone() }).collect()
    }

    /// The links of the connected workers, in the order of their ids.
    pub(super) fn links(&self) -> Vec<LinkId> {
        self.workers.values().filter_map(|worker| worker.link).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    pub(super) fn status(&self) -> Vec<WorkerStatus> {
        let status = |(id, worker): (&ServerId, &Worker)| WorkerStatus {
            server: ServerEntry { id: id.clone(), address: worker.address.clone() },
            load: worker.load,
            expected: worker.expected(),
            connected: worker.link.is_some(),
        };
        self.workers.iter().map(status).collect()
    }

    pub(super) fn assert_bounds(&self) {
        assert!(self.workers.len() <= self.limits.workers, "{} workers", self.workers.len());
        self.workers.values().for_each(|worker| worker.reservations.assert_bounds());
    }
}
