//! Who takes part: which process is what, whose account each client uses, and how each machine is made.

use std::collections::BTreeMap;
use std::time::Duration;

use common::id::ServerId;
use common::user::{Secret, Username};
use common::wire::{Address, BackupEntry};
use worker::core::Remembered;

use super::classic::{self, Classic};
use super::disk::{Disk, Disks};
use super::errand::{self, Errand};
use super::making::{blank_group, server_id};
use super::mischief::{self, Mischief};
use super::node::Node;
use super::plan::Plan;
use super::segments::Segments;
use super::{ProcessId, World};

/// How long tokens are valid here: short, so that some expire within a run.
pub const TOKEN_LIFE: Duration = Duration::from_secs(15);

/// What servers and operators know.
pub const NETWORK_SECRET: &str = "the secret of the simulated network";

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Role {
    Coordinator,
    Worker,
    Client,
    Classic,
    Mischief(mischief::Kind),
    Errand,
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
    /// The worker where it registers; without one, at a coordinator.
    pub register_at: Option<Address>,
    /// The coordinators that it has been told of.
    pub coordinators: Vec<Address>,
    /// It has logged out, and has not come back yet.
    pub away: bool,
}

/// Everybody.
pub struct Cast {
    /// The coordinators.
    pub coordinators: Vec<ProcessId>,
    /// The workers.
    pub workers: Vec<ProcessId>,
    /// The honest clients with their accounts.
    pub users: BTreeMap<ProcessId, User>,
    /// What workers keep from one run to the next.
    pub remembered: BTreeMap<ServerId, Remembered>,
    /// The disks of workers that have one, by their names.
    pub segments: BTreeMap<ServerId, Segments>,
    /// What each worker that runs, or ran last, is called.
    pub worker_names: BTreeMap<ProcessId, ServerId>,
    /// The servers that clients have learnt of.
    pub learnt: BTreeMap<ProcessId, Vec<BackupEntry>>,
    roles: Vec<Role>,
    pub(super) plan: Plan,
    pub(super) rng: fastrand::Rng,
}

impl Cast {
    /// Gives everybody of the plan a process; nobody runs yet.
    pub fn new(world: &mut World<Node>, disks: &mut Disks, plan: &Plan, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let coordinators: Vec<ProcessId> =
            (1..=plan.coordinators).map(|number| world.add(format!("c{number}"))).collect();
        for (&id, &millis) in coordinators.iter().zip(&plan.clocks) {
            world.set_overheard(id);
            world.skew_clock(id, millis);
            disks.add(id, Disk::blank(blank_group(&mut rng)));
        }
        let mut roles = vec![Role::Coordinator; coordinators.len()];
        let workers: Vec<ProcessId> =
            (1..=plan.workers).map(|number| world.add(format!("w{number}"))).collect();
        roles.extend(workers.iter().map(|_| Role::Worker));
        let mut cast = Cast {
            coordinators,
            workers,
            users: BTreeMap::new(),
            remembered: BTreeMap::new(),
            segments: BTreeMap::new(),
            worker_names: BTreeMap::new(),
            learnt: BTreeMap::new(),
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
        let worker = self.any_worker();
        let user = User {
            username: name.parse().expect("it is short and plain"),
            secret: format!("secret of {number}"),
            register_at: elsewhere.then(|| world[worker].address.clone()),
            coordinators: self.some_coordinators(world),
            away: false,
        };
        self.users.insert(id, user);
        id
    }

    /// Adds a misbehaving peer and starts it.
    pub fn add_mischief(&mut self, world: &mut World<Node>, config: mischief::Config) -> ProcessId {
        let id = world.add(format!("m{}", self.roles.len()));
        self.roles.push(Role::Mischief(config.kind));
        world[id].closes_half = config.kind == mischief::Kind::HalfCloses;
        world.start(id, |now| Node::Mischief(Box::new(Mischief::new(now, config))));
        id
    }

    /// Adds somebody who insists on something, and starts it.
    pub fn add_errand(&mut self, world: &mut World<Node>, wish: errand::Wish) -> ProcessId {
        let id = world.add(format!("e{}", self.roles.len()));
        self.roles.push(Role::Errand);
        let registers = matches!(wish, errand::Wish::Register { .. });
        let at_worker = registers && self.rng.u8(..4) == 0;
        let worker = self.any_worker();
        let servers = if at_worker { vec![world[worker].address.clone()] } else { self.addresses(world) };
        let config = errand::Config { servers, wish, seed: self.rng.u64(..) };
        world.start(id, |now| Node::Errand(Box::new(Errand::new(now, config))));
        id
    }

    /// Where all coordinators listen.
    fn addresses(&self, world: &World<Node>) -> Vec<Address> {
        self.coordinators.iter().map(|&id| world[id].address.clone()).collect()
    }

    /// Some of the coordinators, at least one, in any order.
    pub(super) fn some_coordinators(&mut self, world: &World<Node>) -> Vec<Address> {
        let mut some = self.addresses(world);
        self.rng.shuffle(&mut some);
        some.truncate(self.rng.usize(1..=some.len()));
        some
    }

    /// Adds a second client of every registered user, of the original protocol; it goes to some worker at once, or to the coordinator.
    pub fn add_seconds(&mut self, world: &mut World<Node>, disks: &Disks, at_worker: bool) -> Vec<ProcessId> {
        let registered = |user: &&User| disks.hold(&user.username, &Secret::new(user.secret.as_str()));
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
            coordinators: self.addresses(world),
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

    /// What a coordinator is called among servers.
    pub fn server_id(&self, id: ProcessId) -> ServerId {
        let index = self.coordinators.iter().position(|&other| other == id).expect("it is a coordinator");
        server_id(&format!("c{}", index + 1))
    }

    /// The coordinator of this name.
    pub fn coordinator(&self, id: &ServerId) -> Option<ProcessId> {
        self.coordinators.iter().copied().find(|&process| self.server_id(process) == *id)
    }

    /// Some coordinator.
    pub fn any_coordinator(&mut self) -> ProcessId {
        self.coordinators[self.rng.usize(..self.coordinators.len())]
    }

    /// Some worker.
    pub fn any_worker(&mut self) -> ProcessId {
        self.workers[self.rng.usize(..self.workers.len())]
    }

    /// Whether this client can and should be logged in: it has not left, and nobody else has its name.
    pub fn should_be_live(&self, id: ProcessId, disks: &Disks) -> bool {
        let user = &self.users[&id];
        let taken = disks.is_taken(&user.username);
        let ours = disks.hold(&user.username, &Secret::new(user.secret.as_str()));
        !user.away && (user.username.is_anonymous() || ours || !taken)
    }
}

fn name_of(number: usize) -> String {
    match number {
        0 => "anonymous".to_owned(),
        1 => "Zoë \"the first\" 👩‍🚀".to_owned(),
        _ => format!("user-{number}"),
    }
}
