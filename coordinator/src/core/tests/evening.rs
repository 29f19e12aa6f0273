//! Loads are evened out: workers that do what they are told, and clients that take their time.

use std::collections::BTreeMap;
use std::time::Duration;

use common::wire::Message;

use super::town::Town;

/// How far the world goes on at a time.
const STEP: Duration = Duration::from_millis(100);

/// A worker that moves whom it is told to move.
struct Worker {
    id: String,
    /// Its connection to the coordinator.
    link: usize,
    /// How often each of its clients has been moved.
    clients: Vec<u32>,
}

/// What a client does that moves.
enum Travel {
    Leave { from: usize, to: usize },
    Arrive { to: usize, moved: u32 },
}

struct World {
    town: Town,
    main: usize,
    workers: Vec<Worker>,
    /// What clients are about to do who have been told to move, by the step in which they do it.
    travelling: BTreeMap<u64, Vec<Travel>>,
    step: u64,
    /// How many steps they take at most to leave, and again to arrive.
    slowness: u64,
    moved: u64,
    rng: fastrand::Rng,
}

impl World {
    /// Workers with so many clients each, long enough for the coordinator to be sure of them.
    fn new(coordinators: usize, loads: &[usize]) -> Self {
        let mut world = World {
            town: Town::in_step(coordinators),
            main: 0,
            workers: Vec::new(),
            travelling: BTreeMap::new(),
            step: 0,
            slowness: 5,
            moved: 0,
            rng: fastrand::Rng::with_seed(1),
        };
        loads.iter().for_each(|&load| world.join(load));
        world.go_on(Duration::from_secs(12));
        world
    }

    fn join(&mut self, load: usize) {
        let id = format!("w{:02}", self.workers.len());
        let link = self.town.worker(self.main, &id);
        self.workers.push(Worker { id, link, clients: vec![0; load] });
        self.tell_load(self.workers.len() - 1);
    }

    fn tell_load(&mut self, worker: usize) {
        let Worker { link, clients, .. } = &self.workers[worker];
        let movable = clients.iter().filter(|moved| **moved == 0).count();
        let load = format!(r#"{{"command":"SERVER_LOAD","load":{},"movable":{movable}}}"#, clients.len());
        self.town.say(*link, &load);
    }

    fn arrive(&mut self, worker: usize, moved: u32) {
        let Worker { link, clients, .. } = &mut self.workers[worker];
        clients.push(moved);
        let line = format!(r#"{{"command":"NEW_CLIENT","username":"anonymous","load":{}}}"#, clients.len());
        self.town.say(*link, &line);
    }

    fn leave(&mut self, worker: usize, client: usize) -> u32 {
        let Worker { link, clients, .. } = &mut self.workers[worker];
        let moved = clients.swap_remove(client);
        self.town.say(*link, &format!(r#"{{"command":"DE_LOAD","load":{}}}"#, clients.len()));
        moved
    }

    fn go_on(&mut self, duration: Duration) {
        for _ in 0..duration.as_millis() / STEP.as_millis() {
            self.step += 1;
            self.town.pass(STEP);
            for travel in self.travelling.remove(&self.step).unwrap_or_default() {
                match travel {
                    Travel::Leave { from, to } => self.move_on(from, to),
                    Travel::Arrive { to, moved } => self.arrive(to, moved),
                }
            }
            for worker in 0..self.workers.len() {
                self.obey(worker);
                if self.step.is_multiple_of(10) {
                    self.tell_load(worker);
                }
            }
        }
    }

    /// Tells as many clients to go as it is told to, one after the other.
    fn obey(&mut self, from: usize) {
        for message in self.town.heard(self.workers[from].link) {
            let Message::MoveClients(order) = message else { continue };
            let to = self.workers.iter().position(|worker| worker.id == order.to.as_str()).unwrap();
            for _ in 0..order.count {
                let at = self.step + self.rng.u64(1..=self.slowness);
                self.travelling.entry(at).or_default().push(Travel::Leave { from, to });
            }
        }
    }

    /// One of those who never were moved goes.
    fn move_on(&mut self, from: usize, to: usize) {
        let client = self.workers[from].clients.iter().position(|moved| *moved == 0);
        if let Some(client) = client {
            let moved = self.leave(from, client) + 1;
            let at = self.step + self.rng.u64(1..=self.slowness);
            self.travelling.entry(at).or_default().push(Travel::Arrive { to, moved });
            self.moved += 1;
        }
    }

    /// A client logs in, and arrives where it is sent.
    fn log_in(&mut self) {
        let client = self.town.connect(self.main);
        self.town.say(client, r#"{"command":"LOGIN","username":"anonymous"}"#);
        let Some(Message::Redirect(there)) = self.town.heard(client).pop() else {
            panic!("not sent anywhere")
        };
        let port = |id: &str| 4_000 + id.bytes().map(u16::from).sum::<u16>();
        let worker = self.workers.iter().position(|worker| port(&worker.id) == there.address.port).unwrap();
        self.arrive(worker, 0);
    }

    fn loads(&self) -> Vec<usize> {
        self.workers.iter().map(|worker| worker.clients.len()).collect()
    }

    /// Loads are even, nobody was moved twice, and no more than the new worker's share.
    fn assert_even(&self) {
        let loads = self.loads();
        let mean = loads.iter().sum::<usize>() as f64 / loads.len() as f64;
        let even = loads.iter().all(|&load| (load as f64 - mean).abs() <= mean / 20.0);
        assert!(even && self.travelling.is_empty(), "{loads:?}");
        let moves = self.workers.iter().flat_map(|worker| &worker.clients).max();
        assert!(moves <= Some(&1), "somebody was moved {moves:?} times");
        assert!(self.moved <= mean as u64, "only the surplus moves: {}", self.moved);
        assert!(loads[..loads.len() - 1].iter().all(|&load| load >= mean as usize), "{loads:?}");
    }
}

#[test]
fn an_eleventh_worker_gets_its_share_of_ten_thousand_clients_within_a_minute() {
    let mut world = World::new(1, &[1_000; 10]);
    assert_eq!(world.moved, 0);
    world.join(0);
    world.go_on(Duration::from_secs(10));
    assert!((200..700).contains(&world.moved), "it is neither at once nor never: {}", world.moved);
    world.go_on(Duration::from_secs(50));
    world.assert_even();
    let moved = world.moved;
    world.go_on(Duration::from_secs(60));
    assert_eq!(world.moved, moved, "and then nobody does");
}

#[test]
fn a_standby_that_takes_over_meanwhile_goes_on_and_moves_nobody_again() {
    // Early, and late where many are on their way of whom the new one knows nothing.
    for (slowness, moved) in [(5, 300), (40, 600), (40, 800), (40, 860), (40, 880)] {
        let mut world = World::new(2, &[1_000; 10]);
        world.slowness = slowness;
        world.join(0);
        while world.moved < moved {
            world.go_on(STEP);
        }
        world.town.kill(0);
        world.main = 1;
        // The new one first, and all of them within some seconds.
        for worker in (0..world.workers.len()).rev() {
            world.workers[worker].link = world.town.worker(1, &world.workers[worker].id);
            world.tell_load(worker);
            world.go_on(Duration::from_millis(300));
        }
        assert_eq!(world.town.role(1), "main");
        world.go_on(Duration::from_secs(if slowness == 5 { 48 } else { 200 }));
        world.assert_even();
    }
}

#[test]
fn clients_who_take_seconds_to_move_are_counted_where_they_are_going() {
    let mut world = World::new(1, &[1_000; 10]);
    world.slowness = 40;
    world.join(0);
    world.go_on(Duration::from_secs(300));
    world.assert_even();
}

#[test]
fn no_more_are_asked_for_than_a_worker_says_that_it_can_move() {
    let mut world = World::new(1, &[0]);
    let full = world.town.worker(0, "full");
    world.town.say(full, r#"{"command":"SERVER_LOAD","load":1000,"movable":30}"#);
    let mut counts = Vec::new();
    for _ in 0..15 {
        world.go_on(Duration::from_secs(1));
        let orders = world.town.heard(full).into_iter();
        counts.extend(orders.filter_map(|message| match message {
            Message::MoveClients(order) => Some(order.count),
            _ => None,
        }));
        let movable = 30 - counts.iter().sum::<u64>();
        world.town.say(full, &format!(r#"{{"command":"SERVER_LOAD","load":1000,"movable":{movable}}}"#));
    }
    // What does not come to pass is forgotten after ten seconds.
    assert_eq!(counts, [25, 5]);
}

#[test]
fn clients_who_come_and_go_move_nobody() {
    let mut world = World::new(1, &[100; 10]);
    for _ in 0..600 {
        for _ in 0..2 {
            world.log_in();
            let worker = world.rng.usize(..world.workers.len());
            let client = world.rng.usize(..world.workers[worker].clients.len());
            world.leave(worker, client);
        }
        world.go_on(STEP);
    }
    assert_eq!(world.moved, 0, "{:?}", world.loads());
}

#[test]
fn nobody_is_sent_away_from_a_worker_that_leaves_nor_to_one_that_is_not_ready() {
    let mut world = World::new(1, &[20, 20]);
    world.join(0);
    world.join(200);
    let [not_ready, leaving] = [2, 3].map(|worker: usize| world.workers[worker].link);
    world.town.say(not_ready, r#"{"command":"SERVER_LOAD","load":0,"recovering":true}"#);
    world.town.say(leaving, r#"{"command":"QUIT"}"#);
    // They say how they are every second.
    world.go_on(Duration::from_millis(900));
    assert_eq!(world.moved, 0, "{:?}", world.loads());
    world.tell_load(2);
    world.go_on(Duration::from_secs(30));
    assert_eq!(world.loads()[3], 200, "it moves its clients by itself");
    assert!((10..=14).contains(&world.loads()[2]), "{:?}", world.loads());
}
