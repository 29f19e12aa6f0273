//! Who takes part: which process is what, whose account each client uses, and how each machine is made.

use std::collections::BTreeMap;
use std::time::Duration;

use client::core::{Client, RegisterMode};
use common::id::{Incarnation, ServerId};
use common::time::Now;
use common::token::TokenKey;
use common::user::{Secret, Username};
use common::users::Users;
use common::wire::Address;
use coordinator::core::{Coordinator, Group, Recovered};
use worker::core::Worker;

use super::classic::{self, Classic};
use super::disk::Disk;
use super::mischief::{self, Mischief};
use super::node::Node;
use super::plan::Plan;
use super::{ProcessId, World};

/// How long tokens are valid here: short, so that some expire within a run.
pub const TOKEN_LIFE: Duration = Duration::from_secs(15);

const NETWORK_SECRET: &str = "the secret of the simulated network";

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Role {
    Coordinator,
    Worker,
    Client,
    Classic,
    Mischief(mischief::Kind),
}

impl Role {
    /// Coordinator or worker.
    pub fn is_server(self) -> bool {
        matches!(self, Role::Coordinator | Role::Worker)
    }

    /// A client that keeps to the rules.
    pub fn is_honest_client(self) -> bool {
        matches!(self, Role::Client | Role::Classic)
    }
}

/// A client's account.
#[derive(Clone, Debug)]
pub struct User {
    /// The name it wants.
    pub username: Username,
    /// Its secret.
    pub secret: String,
    /// Where it registers.
    pub register_at: Address,
    /// It has logged out, and has not come back yet.
    pub away: bool,
}

/// Everybody.
pub struct Cast {
    /// The one coordinator.
    pub coordinator: ProcessId,
    /// The workers.
    pub workers: Vec<ProcessId>,
    /// The honest clients with their accounts.
    pub users: BTreeMap<ProcessId, User>,
    /// Their token key, for the checkers.
    pub token_key: TokenKey,
    roles: Vec<Role>,
    plan: Plan,
    rng: fastrand::Rng,
}

impl Cast {
    /// Gives everybody of the plan a process; nobody runs yet.
    pub fn new(world: &mut World<Node>, plan: &Plan, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut roles = vec![Role::Coordinator];
        let coordinator = world.add("coordinator");
        let workers: Vec<ProcessId> =
            (1..=plan.workers).map(|number| world.add(format!("w{number}"))).collect();
        roles.extend(workers.iter().map(|_| Role::Worker));
        let mut key = [0; 32];
        rng.fill(&mut key);
        let mut cast = Cast {
            coordinator,
            workers,
            users: BTreeMap::new(),
            token_key: TokenKey::new(key),
            roles,
            plan: plan.clone(),
            rng,
        };
        for number in 0..plan.clients + plan.classics {
            let role = if number < plan.clients { Role::Client } else { Role::Classic };
            cast.add_user(world, role, &name_of(number));
        }
        (0..plan.races).for_each(|_| _ = cast.add_rivals(world));
        cast
    }

    /// Adds two clients that want the same name.
    pub fn add_rivals(&mut self, world: &mut World<Node>) -> [ProcessId; 2] {
        let name = format!("wanted-{}", self.roles.len());
        [(); 2].map(|()| {
            let role = if self.rng.bool() { Role::Client } else { Role::Classic };
            self.add_user(world, role, &name)
        })
    }

    /// Adds a client that wants a name of its own.
    pub fn add_newcomer(&mut self, world: &mut World<Node>) -> ProcessId {
        let role = if self.rng.bool() { Role::Client } else { Role::Classic };
        let name = format!("newcomer-{}", self.roles.len());
        self.add_user(world, role, &name)
    }

    fn add_user(&mut self, world: &mut World<Node>, role: Role, name: &str) -> ProcessId {
        let number = self.roles.len();
        let id = world.add(format!("{}{number}", if role == Role::Client { "u" } else { "k" }));
        self.roles.push(role);
        let elsewhere = role == Role::Classic && self.rng.bool();
        let register_at = if elsewhere { self.any_worker() } else { self.coordinator };
        let user = User {
            username: name.parse().expect("it is short and plain"),
            secret: format!("secret of {number}"),
            register_at: world[register_at].address.clone(),
            away: false,
        };
        self.users.insert(id, user);
        id
    }

    /// Adds a misbehaving peer and starts it.
    pub fn add_mischief(&mut self, world: &mut World<Node>, config: mischief::Config) -> ProcessId {
        let id = world.add(format!("m{}", self.roles.len()));
        self.roles.push(Role::Mischief(config.kind));
        world.start(id, |now| Node::Mischief(Box::new(Mischief::new(now, config))));
        id
    }

    /// Adds a second client of every registered user, of the original protocol; it goes to some worker at once, or to the coordinator.
    pub fn add_seconds(&mut self, world: &mut World<Node>, disk: &Disk, at_worker: bool) -> Vec<ProcessId> {
        let registered = |user: &&User| disk.holds(&user.username, &Secret::new(user.secret.as_str()));
        let users: Vec<User> = self.users.values().filter(registered).cloned().collect();
        let add = |user: User| {
            let worker = self.any_worker();
            let worker = at_worker.then(|| world[worker].address.clone());
            self.add_second(world, user, worker)
        };
        users.into_iter().map(add).collect()
    }

    /// Adds a second client of a user who is not registered yet. It logs in again and again until it may.
    pub fn add_impatient(&mut self, world: &mut World<Node>, of: ProcessId) {
        self.add_second(world, self.users[&of].clone(), None);
    }

    fn add_second(&mut self, world: &mut World<Node>, user: User, worker: Option<Address>) -> ProcessId {
        let id = world.add(format!("s{}", self.roles.len()));
        self.roles.push(Role::Classic);
        let config = classic::Config {
            coordinator: world[self.coordinator].address.clone(),
            register_at: user.register_at,
            username: user.username,
            secret: user.secret,
            crlf: false,
            seed: self.rng.u64(..),
        };
        world.start(id, |now| {
            Node::Classic(Box::new(match worker {
                Some(worker) => Classic::at_worker(now, config, worker),
                None => Classic::registered(now, config),
            }))
        });
        id
    }

    /// What a process is.
    pub fn role(&self, id: ProcessId) -> Role {
        self.roles[id.0]
    }

    /// Some worker.
    pub fn any_worker(&mut self) -> ProcessId {
        self.workers[self.rng.usize(..self.workers.len())]
    }

    /// Whether this client can and should be logged in: it has not left, and nobody else has its name.
    pub fn should_be_live(&self, id: ProcessId, disk: &Disk) -> bool {
        let user = &self.users[&id];
        let taken = disk.users().get(&user.username).is_some();
        let ours = disk.holds(&user.username, &Secret::new(user.secret.as_str()));
        !user.away && (user.username.is_anonymous() || ours || !taken)
    }

    /// Starts a process that is down.
    pub fn start(&mut self, world: &mut World<Node>, id: ProcessId, disk: &Disk) {
        let seed = self.rng.u64(..);
        let address = world[id].address.clone();
        let run = world[id].run;
        match self.role(id) {
            Role::Coordinator => world.start(id, |now| self.make_coordinator(now, address, disk, seed)),
            Role::Worker => {
                // A worker that returns is usually the same, and sometimes another at the same place.
                let another = run > 0 && self.rng.u8(..5) == 0;
                let name = if another { format!("{}-{run}", world[id].name) } else { world[id].name.clone() };
                let coordinators = vec![world[self.coordinator].address.clone()];
                world.start(id, |now| self.make_worker(now, &name, address, coordinators, seed));
            }
            Role::Client => {
                let config = client::core::Config {
                    coordinators: vec![world[self.coordinator].address.clone()],
                    username: self.users[&id].username.clone(),
                    secret: Some(Secret::new(self.users[&id].secret.as_str())),
                    register: if self.users[&id].username.is_anonymous() {
                        RegisterMode::No
                    } else {
                        RegisterMode::IfMissing
                    },
                    reconnect: true,
                    seed,
                    limits: Default::default(),
                };
                world.start(id, |now| Node::Client(Box::new(Client::new(now, config))));
            }
            Role::Classic => {
                let config = classic::Config {
                    coordinator: world[self.coordinator].address.clone(),
                    register_at: self.users[&id].register_at.clone(),
                    username: self.users[&id].username.clone(),
                    secret: self.users[&id].secret.clone(),
                    crlf: self.rng.bool(),
                    seed,
                };
                world.start(id, |now| Node::Classic(Box::new(Classic::new(now, config))));
            }
            Role::Mischief(_) => {}
        }
    }

    fn make_coordinator(&self, now: Now, address: Address, disk: &Disk, seed: u64) -> Node {
        let mut limits = coordinator::core::Limits { token_life: TOKEN_LIFE, ..Default::default() };
        (limits.sync_users, limits.feed_bytes) =
            self.plan.feed.unwrap_or((limits.sync_users, limits.feed_bytes));
        let config = coordinator::core::Config {
            id: server_id("c1"),
            address,
            secret: Secret::new(NETWORK_SECRET),
            backups: Vec::new(),
            require_backups: 0,
            incarnation: Incarnation(seed),
            seed,
            limits,
        };
        let users: Users = disk
            .users()
            .beyond(&Default::default())
            .map(|(name, record)| (name.clone(), record.clone()))
            .collect();
        let group = Group {
            network: "simulated".to_owned(),
            token_key: self.token_key.clone(),
            epoch: None,
            history: Vec::new(),
            members: Vec::new(),
            forgotten: Vec::new(),
        };
        let recovered = Recovered { group, seen: users.latest(), users };
        Node::Coordinator(Box::new(Coordinator::new(now, config, recovered)))
    }

    fn make_worker(
        &self,
        now: Now,
        name: &str,
        address: Address,
        coordinators: Vec<Address>,
        seed: u64,
    ) -> Node {
        let mut limits = worker::core::Limits::default();
        limits.log_bytes = self.plan.log_bytes.unwrap_or(limits.log_bytes);
        limits.write_stall = self.plan.write_stall.unwrap_or(limits.write_stall);
        let config = worker::core::Config {
            id: server_id(name),
            address,
            secret: Secret::new(NETWORK_SECRET),
            coordinators,
            incarnation: Incarnation(seed),
            seed,
            limits,
        };
        Node::Worker(Box::new(Worker::new(now, config)))
    }
}

fn name_of(number: usize) -> String {
    match number {
        0 => "anonymous".to_owned(),
        1 => "Zoë \"the first\" 👩‍🚀".to_owned(),
        _ => format!("user-{number}"),
    }
}

fn server_id(name: &str) -> ServerId {
    name.parse().expect("it is short and plain")
}
