//! How each machine is made when its process starts.

use client::core::{Client, RegisterMode};
use common::id::{Incarnation, ServerId};
use common::time::Now;
use common::time::WallMillis;
use common::token::TokenKey;
use common::user::Secret;
use common::wire::Address;
use coordinator::core::{Coordinator, Group};
use worker::core::segment::Kept;
use worker::core::{Remembered, Worker};

use super::cast::{Cast, NETWORK_SECRET, Role, TOKEN_LIFE};
use super::classic::{self, Classic};
use super::disk::{Disk, Disks};
use super::node::Node;
use super::{ProcessId, World};

impl Cast {
    /// Starts a process that is down.
    pub fn start(&mut self, world: &mut World<Node>, id: ProcessId, disks: &Disks) {
        let seed = self.rng.u64(..);
        let address = world[id].address.clone();
        let run = world[id].run;
        match self.role(id) {
            Role::Coordinator => {
                let disk = disks.of(id);
                let backups = self.backups(world, id, disk);
                world.start(id, |now| self.make_coordinator(now, id, address, backups, disk, seed));
            }
            Role::Worker => {
                // A worker that returns is usually the same, and sometimes another at the same place.
                let another = run > 0 && self.rng.u8(..5) == 0;
                let name = if another { format!("{}-{run}", world[id].name) } else { world[id].name.clone() };
                let coordinators = self.some_coordinators(world);
                // What it remembers is a cache: a worker without one must find the network, too.
                let known = self.remembered.get(&server_id(&name)).filter(|_| self.rng.u8(..4) > 0);
                let remembered = known.cloned().unwrap_or_default();
                self.worker_names.insert(id, server_id(&name));
                let (time, log_bytes) = (world.now(), self.log_bytes(id));
                let kept = self.plan.worker_disks.then(|| {
                    let disk = self.segments.entry(server_id(&name)).or_default();
                    disk.finish(time);
                    disk.kept(time, log_bytes.unwrap_or(usize::MAX))
                });
                world.start(id, |now| {
                    self.make_worker(now, &name, address, coordinators, remembered, (kept, log_bytes), seed)
                });
            }
            Role::Client => {
                let config = client::core::Config {
                    coordinators: self.users[&id].coordinators.clone(),
                    remembered: self.learnt.get(&id).cloned().unwrap_or_default(),
                    username: self.users[&id].username.clone(),
                    secret: Some(Secret::new(self.users[&id].secret.as_str())),
                    register: if self.users[&id].username.is_anonymous() {
                        RegisterMode::No
                    } else {
                        RegisterMode::IfMissing
                    },
                    reconnect: true,
                    session: None,
                    start: Default::default(),
                    resume: true,
                    presence: false,
                    seed,
                    limits: Default::default(),
                };
                world.start(id, |now| Node::Client(Box::new(Client::new(now, config))));
            }
            Role::Classic => {
                let config = classic::Config {
                    coordinators: self.users[&id].coordinators.clone(),
                    register_at: self.users[&id].register_at.clone(),
                    username: self.users[&id].username.clone(),
                    secret: self.users[&id].secret.clone(),
                    crlf: self.rng.bool(),
                    seed,
                };
                world.start(id, |now| Node::Classic(Box::new(Classic::new(now, config))));
            }
            Role::Mischief(_) | Role::Errand => {}
        }
    }

    /// Bytes of a worker's log, where that is to be small.
    fn log_bytes(&self, id: ProcessId) -> Option<usize> {
        let is_spared = self.plan.uneven && self.workers.iter().step_by(2).any(|worker| *worker == id);
        self.plan.log_bytes.map(|bytes| if is_spared { 16 * bytes } else { bytes })
    }

    /// The coordinators that this one is told of: those of the plan, but sometimes none where it has met all of them.
    fn backups(&mut self, world: &World<Node>, id: ProcessId, disk: &Disk) -> Vec<Address> {
        // It has lost its disk, if only since its first run: whoever replaces it names all the others, whom it reaches by then. Alone it
        // would found a network of its own, and be a stranger to them once it has registered somebody.
        if world[id].run > 0 && disk.group().members.is_empty() {
            let others = self.coordinators.iter().filter(|other| **other != id);
            return others.map(|other| world[*other].address.clone()).collect();
        }
        let knows_all = disk.group().members.len() == self.coordinators.len();
        if knows_all && self.rng.bool() {
            return Vec::new();
        }
        let named = self.plan.namings.iter().filter(|&&(one, _)| self.coordinators[one] == id);
        named.map(|&(_, other)| world[self.coordinators[other]].address.clone()).collect()
    }

    fn make_coordinator(
        &self,
        now: Now,
        id: ProcessId,
        address: Address,
        backups: Vec<Address>,
        disk: &Disk,
        seed: u64,
    ) -> Node {
        let mut limits = coordinator::core::Limits { token_life: TOKEN_LIFE, ..Default::default() };
        (limits.sync_users, limits.feed_bytes) =
            self.plan.feed.unwrap_or((limits.sync_users, limits.feed_bytes));
        let config = coordinator::core::Config {
            id: self.server_id(id),
            address,
            secret: Secret::new(NETWORK_SECRET),
            backups,
            require_backups: self.plan.require_backups,
            incarnation: Incarnation(seed),
            seed,
            limits,
        };
        let recovered = disk.recover();
        Node::Coordinator(Box::new(Coordinator::new(now, config, recovered)))
    }

    #[expect(clippy::too_many_arguments, reason = "each is what a shell finds somewhere else")]
    fn make_worker(
        &self,
        now: Now,
        name: &str,
        address: Address,
        coordinators: Vec<Address>,
        remembered: Remembered,
        (kept, log_bytes): (Option<Vec<Kept>>, Option<usize>),
        seed: u64,
    ) -> Node {
        let mut limits = worker::core::Limits::default();
        limits.log_bytes = log_bytes.unwrap_or(limits.log_bytes);
        limits.retain_bytes = log_bytes.map_or(limits.retain_bytes, |bytes| 2 * bytes);
        limits.write_stall = self.plan.write_stall.unwrap_or(limits.write_stall);
        let config = worker::core::Config {
            id: server_id(name),
            address,
            secret: Secret::new(NETWORK_SECRET),
            coordinators,
            remembered,
            kept,
            incarnation: Incarnation(seed),
            seed,
            limits,
        };
        Node::Worker(Box::new(Worker::new(now, config)))
    }
}

/// What a coordinator that has never run finds on its disk.
pub(super) fn blank_group(rng: &mut fastrand::Rng) -> Group {
    let mut key = [0; 32];
    rng.fill(&mut key);
    Group {
        network: format!("net-{:08x}", rng.u32(..)),
        token_key: TokenKey::new(key),
        epoch: None,
        history: Vec::new(),
        members: Vec::new(),
        forgotten: Vec::new(),
        stamps_until: WallMillis::default(),
    }
}

pub(super) fn server_id(name: &str) -> ServerId {
    name.parse().expect("it is short and plain")
}
