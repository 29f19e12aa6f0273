//! Where clients go: the workers, their loads, and who is on the way to them.
//!
//! A worker's load is its own word, absolute each time. To it are added the clients that were sent there and have not arrived, so
//! that a burst of log-ins spreads although no load has been announced yet. **Invariant:** only a worker with a link is chosen;
//! one without keeps its place (id, address, load) until it has been silent for too long.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{LinkId, ServerId};
use common::time::Time;
use common::user::Username;
use common::wire::{Address, ServerEntry, WorkerStatus};

use super::config::Limits;
use super::reservations::Reservations;

/// The table of workers.
#[derive(Debug)]
pub(super) struct Placement {
    workers: BTreeMap<ServerId, Worker>,
    /// How many choices have been made: who was chosen longest ago wins a tie.
    choices: u64,
    /// Whether a load has changed since backups were told.
    loads_changed: bool,
    limits: Limits,
}

#[derive(Debug)]
struct Worker {
    address: Address,
    link: Option<LinkId>,
    load: u64,
    reservations: Reservations,
    heard: Time,
    /// The number of the choice that fell on it last.
    chosen: u64,
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
        Placement { workers: BTreeMap::new(), choices: 0, loads_changed: false, limits }
    }

    /// A worker has authenticated. `None`: there are as many as there may be.
    pub(super) fn connect(
        &mut self,
        now: Time,
        server: &ServerEntry,
        load: u64,
        link: LinkId,
    ) -> Option<Arrival> {
        if !self.workers.contains_key(&server.id) && self.workers.len() >= self.limits.workers {
            return None;
        }
        let known = self.workers.remove(&server.id);
        let arrival = Arrival {
            replaced: known.as_ref().and_then(|worker| worker.link),
            is_news: known.as_ref().is_none_or(|worker| worker.address != server.address),
        };
        let worker = Worker {
            address: server.address.clone(),
            link: Some(link),
            load,
            reservations: Reservations::new(self.limits.reservations),
            heard: now,
            chosen: known.map_or(0, |worker| worker.chosen),
        };
        self.workers.insert(server.id.clone(), worker);
        Some(arrival)
    }

    /// A worker's link broke: it gets no more clients, and nobody is on the way to it that we could count on. Nothing happens where
    /// the worker has another link by now.
    pub(super) fn disconnect(&mut self, id: &ServerId, link: LinkId) {
        if let Some(worker) = self.workers.get_mut(id).filter(|worker| worker.link == Some(link)) {
            worker.link = None;
            worker.reservations.clear();
        }
    }

    /// Something came from this worker.
    pub(super) fn heard(&mut self, now: Time, id: &ServerId) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.heard = now;
        }
    }

    /// A worker says how many clients it carries.
    pub(super) fn set_load(&mut self, id: &ServerId, load: u64) {
        if let Some(worker) = self.workers.get_mut(id) {
            self.loads_changed |= worker.load != load;
            worker.load = load;
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
        let reservations = Reservations::new(self.limits.reservations);
        let worker =
            Worker { address: server.address, link: None, load: 0, reservations, heard: now, chosen: 0 };
        self.workers.insert(server.id, worker);
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

    /// The workers are to come back from now on.
    pub(super) fn restart(&mut self, now: Time) {
        self.workers.values_mut().for_each(|worker| worker.heard = now);
    }

    /// `username` has arrived at this worker.
    pub(super) fn arrived(&mut self, id: &ServerId, username: &Username) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.reservations.consume(username);
        }
    }

    /// Whether any worker is connected.
    pub(super) fn is_open(&self) -> bool {
        self.workers.values().any(|worker| worker.link.is_some())
    }

    /// Picks the least-loaded connected worker for `username` and expects it there. `None`: no worker is connected.
    pub(super) fn choose(&mut self, now: Time, username: &Username) -> Option<Address> {
        self.expire(now);
        let connected = self.workers.values_mut().filter(|worker| worker.link.is_some());
        // `min_by_key` keeps the first of equals, which is the one with the smaller id.
        let worker = connected.min_by_key(|worker| (worker.effective_load(), worker.chosen))?;
        self.choices += 1;
        worker.chosen = self.choices;
        worker.reservations.add(username, now + self.limits.reservation);
        Some(worker.address.clone())
    }

    /// Forgets the reservations that have expired.
    pub(super) fn expire(&mut self, now: Time) {
        for worker in self.workers.values_mut() {
            worker.reservations.expire(now);
        }
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
            expected: worker.reservations.len() as u64,
            connected: worker.link.is_some(),
        };
        self.workers.iter().map(status).collect()
    }

    pub(super) fn assert_bounds(&self) {
        assert!(self.workers.len() <= self.limits.workers, "{} workers", self.workers.len());
        self.workers.values().for_each(|worker| worker.reservations.assert_bounds());
    }
}

impl Worker {
    fn effective_load(&self) -> u64 {
        self.load.saturating_add(self.reservations.len() as u64)
    }
}
