//! A large network: many thousands of clients at a few workers, and one worker more. Nothing goes wrong, and nobody publishes: what is
//! looked at is who is sent where. The machines are the real ones; their bounds, which take long to look at with so many, are looked at
//! elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use client::core::{Client, RegisterMode};
use common::id::{Incarnation, LinkId};
use common::machine::{Action, Event, Machine};
use common::time::{Now, Time};
use common::user::Secret;
use common::wire::{Address, Message};
use coordinator::core::{Coordinator, Recovered};
use worker::core::Worker;

use super::making::{blank_group, server_id};
use super::node::{Effect, Input, Node};
use super::{ProcessId, Seen, Weather, World};

const SECRET: &str = "the secret of the crowd";

/// How many clients come in a second.
const COMING: u64 = 500;

/// A machine of which the bounds are not looked at.
struct Unchecked(Node);

impl Machine for Unchecked {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Now, event: Event<Input>, actions: &mut Vec<Action<Effect>>) {
        self.0.hand_on(now, event, actions);
    }

    fn deadline(&self) -> Option<Time> {
        self.0.deadline()
    }

    fn output(&self, link: LinkId) -> &[u8] {
        self.0.output(link)
    }

    fn read_after(&self, link: LinkId) -> Option<Time> {
        self.0.read_after(link)
    }
}

/// What came of one worker more.
#[derive(Debug)]
pub struct Joined {
    /// How long it took until every worker was within a twentieth of the mean.
    pub even_after: Option<Duration>,
    /// The loads in the end.
    pub loads: Vec<u64>,
    /// How often a client was sent to another worker, for all that were.
    pub moves: BTreeMap<usize, u32>,
    /// Clients that are logged in, in the end.
    pub live: usize,
}

/// A network under way.
struct Crowd {
    world: World<Unchecked>,
    coordinator: ProcessId,
    workers: Vec<ProcessId>,
    clients: Vec<ProcessId>,
    moves: BTreeMap<usize, u32>,
}

/// `clients` come to `workers` workers; then one worker more joins, and two minutes pass.
pub fn one_more(workers: usize, clients: usize) -> Joined {
    let mut crowd = Crowd::new(workers, clients);
    crowd.let_pass(Duration::from_secs(clients as u64 / COMING + 30));
    crowd.add_worker();
    let joined = crowd.world.now();
    let mut even_after = None;
    for _ in 0..240 {
        crowd.let_pass(Duration::from_millis(500));
        let is_even = crowd.is_even();
        even_after = even_after.filter(|_| is_even).or(is_even.then(|| crowd.world.now().since(joined)));
    }
    let live =
        crowd.clients.iter().filter(|id| crowd.world[**id].machine.as_ref().is_some_and(|it| it.0.is_live()));
    Joined { even_after, loads: crowd.loads(), live: live.count(), moves: crowd.moves }
}

impl Crowd {
    fn new(workers: usize, clients: usize) -> Self {
        let mut world = World::new(1, Weather::calm());
        let coordinator = world.add("c1");
        let mut crowd =
            Crowd { world, coordinator, workers: Vec::new(), clients: Vec::new(), moves: BTreeMap::new() };
        let address = crowd.world[coordinator].address.clone();
        crowd.world.start(coordinator, |now| Unchecked(coordinator_at(now, address)));
        (0..workers).for_each(|_| crowd.add_worker());
        crowd.let_pass(Duration::from_secs(5));
        for number in 0..clients as u64 {
            let id = crowd.world.add(format!("u{number}"));
            let to = crowd.world[coordinator].address.clone();
            crowd.world.start(id, |now| Unchecked(client_of(now, to, number)));
            crowd.clients.push(id);
            if number % (COMING / 100) == 0 {
                crowd.let_pass(Duration::from_millis(10));
            }
        }
        crowd
    }

    fn add_worker(&mut self) {
        let name = format!("w{}", self.workers.len() + 1);
        let id = self.world.add(name.clone());
        let (address, coordinator) =
            (self.world[id].address.clone(), self.world[self.coordinator].address.clone());
        let config = worker::core::Config {
            id: server_id(&name),
            address,
            secret: Secret::new(SECRET),
            coordinators: vec![coordinator],
            remembered: Default::default(),
            kept: None,
            incarnation: Incarnation(self.workers.len() as u64),
            seed: self.workers.len() as u64,
            limits: Default::default(),
        };
        self.world.start(id, |now| Unchecked(Node::Worker(Box::new(Worker::new(now, config)))));
        self.workers.push(id);
    }

    fn let_pass(&mut self, span: Duration) {
        let end = self.world.now() + span;
        while self.world.next().is_some_and(|next| next <= end) {
            self.world.step();
            for seen in self.world.seen() {
                self.see(seen);
            }
        }
        self.world.wait_until(end);
    }

    fn see(&mut self, seen: Seen<Effect>) {
        match seen {
            Seen::Received { at, message: Message::Quit(_), .. } => {
                if let Some(number) = self.clients.iter().position(|id| *id == at) {
                    *self.moves.entry(number).or_default() += 1;
                }
            }
            Seen::Effect {
                at,
                effect: Effect::Coordinator(coordinator::core::Effect::Persist { job, .. }),
            } => {
                let run = self.world[at].run;
                self.world.input(at, run, Input::Coordinator(coordinator::core::Input::Persisted { job }));
            }
            _ => {}
        }
    }

    fn loads(&self) -> Vec<u64> {
        let load = |id: &ProcessId| {
            self.world[*id].machine.as_ref().and_then(|it| it.0.worker()).map_or(0, Worker::load)
        };
        self.workers.iter().map(load).collect()
    }

    /// Whether every worker is within a twentieth of the mean.
    fn is_even(&self) -> bool {
        let loads = self.loads();
        let mean = self.clients.len() as u64 / loads.len() as u64;
        loads.iter().all(|load| load.abs_diff(mean) <= mean / 20)
    }
}

fn coordinator_at(now: Now, address: Address) -> Node {
    let config = coordinator::core::Config {
        id: server_id("c1"),
        address,
        secret: Secret::new(SECRET),
        backups: Vec::new(),
        require_backups: 0,
        incarnation: Incarnation(1),
        seed: 1,
        limits: Default::default(),
    };
    let group = blank_group(&mut fastrand::Rng::with_seed(1));
    let recovered = Recovered { group, seen: Default::default(), users: Default::default() };
    Node::Coordinator(Box::new(Coordinator::new(now, config, recovered)))
}

fn client_of(now: Now, coordinator: Address, number: u64) -> Node {
    let config = client::core::Config {
        coordinators: vec![coordinator],
        remembered: Vec::new(),
        username: "anonymous".parse().expect("it is a name"),
        secret: None,
        register: RegisterMode::No,
        reconnect: true,
        session: None,
        start: Default::default(),
        resume: true,
        presence: false,
        seed: number,
        limits: Default::default(),
    };
    Node::Client(Box::new(Client::new(now, config)))
}
