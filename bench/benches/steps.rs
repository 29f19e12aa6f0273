//! The steps of an activity's way through a worker, one by one: `cargo bench -p bench`.
//!
//! What is in a worker's core is measured through its one door, [`Machine::handle`]: without a socket, and with events made before the clock
//! starts. How many instructions each part takes of a worker that runs: `bench/instructions`.
#![allow(missing_docs)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use common::id::{ActivityId, Incarnation, LinkId, Seq};
use common::machine::{Event, Machine};
use common::position::Position;
use common::session::SessionKey;
use common::time::{Now, Time, WallMillis};
use common::user::{Secret, Username};
use common::wire::{Activity, ActivityAck, ActivityMessage, Address, Login, Message};
use divan::{Bencher, black_box};
use slotmap::SlotMap;
use worker::core::{Config, Limits, Worker};

fn main() {
    divan::main();
}

/// An activity of 128 bytes.
fn activity(number: u64) -> Activity {
    let letters: String = ('a'..='z').cycle().take(94).collect();
    Activity::parse(&format!(r#"{{"x":"{letters}","n":"{number:014}"}}"#)).expect("it is an object")
}

/// A line that publishes, as our clients write it, or in another way.
fn line(kind: &str) -> Vec<u8> {
    let activity = activity(1);
    let text = activity.get();
    match kind {
        "plain" => format!(r#"{{"command":"ACTIVITY_MESSAGE","activity_seq":1,"activity":{text}}}"#),
        "spaced" => format!(r#"{{"command": "ACTIVITY_MESSAGE", "activity_seq": 1, "activity": {text}}}"#),
        "classic" => {
            format!(
                r#"{{"command":"ACTIVITY_MESSAGE","username":"anonymous","secret":"","activity":{text}}}"#
            )
        }
        _ => format!(r#"{{"command":"ACTIVITY_MESSAGE","activity":{{"e":"\u00e9",{}}}"#, &text[1..]),
    }
    .into_bytes()
}

#[divan::bench(args = ["plain", "spaced", "classic", "escaped"])]
fn decode_activity_message(bencher: Bencher<'_, '_>, kind: &str) {
    let line = line(kind);
    bencher.bench(|| Message::decode(black_box(&line)).expect("it is a message"));
}

#[divan::bench]
fn decode_activity_ack(bencher: Bencher<'_, '_>) {
    let mut line = Message::from(ActivityAck { received: 4_711 }).encode();
    line.pop();
    bencher.bench(|| Message::decode(black_box(&line)).expect("it is a message"));
}

#[divan::bench]
fn set_authenticated_user(bencher: Bencher<'_, '_>) {
    let (activity, author) = (activity(1), "ann".parse::<Username>().expect("it is a name"));
    let mut frame = Vec::new();
    bencher.bench_local(|| {
        frame.clear();
        black_box(&activity).authenticate_into(&author, &mut frame);
    });
}

/// In a position of so many streams.
#[divan::bench(args = [1, 10, 1_000])]
fn insert_into_position(bencher: Bencher<'_, '_>, streams: u64) {
    let id = |stream: u64, seq: u64| ActivityId {
        origin: "worker-1c9e04d7".parse().expect("it is a name"),
        incarnation: Incarnation(stream),
        seq: Seq(seq),
    };
    let mut position = Position::default();
    (0..streams).for_each(|stream| assert!(position.insert(&id(stream, 0))));
    let mut next = id(streams / 2, 0);
    bencher.bench_local(|| {
        next.seq = next.seq.next();
        position.insert(black_box(&next))
    });
}

/// A worker with clients that have sessions, and no network.
struct World {
    worker: Worker,
    clients: Vec<LinkId>,
    time: u64,
    published: u64,
    actions: Vec<common::machine::Action<worker::core::Effect>>,
}

impl World {
    fn with(clients: u64) -> Self {
        let config = Config {
            id: "worker-1c9e04d7".parse().expect("it is a name"),
            address: Address::new("here", 1).expect("it is an address"),
            secret: Secret::new("0123456789abcdef"),
            coordinators: vec![Address::new("there", 1).expect("it is an address")],
            remembered: Default::default(),
            kept: None,
            incarnation: Incarnation(u64::MAX / 3),
            seed: 1,
            limits: Limits { recovery: Duration::ZERO, ..Limits::default() },
        };
        let worker = Worker::new(now(0), config);
        let mut world = World { worker, clients: Vec::new(), time: 0, published: 0, actions: Vec::new() };
        world.handle(Event::DeadlinePassed);
        let mut links = SlotMap::<LinkId, ()>::with_key();
        for number in 0..clients {
            let link = links.insert(());
            world.handle(Event::Accepted { link, peer: IpAddr::V4(Ipv4Addr::LOCALHOST) });
            let message = Message::from(Login {
                username: "anonymous".to_owned(),
                capabilities: vec!["session".to_owned()],
                session: Some(SessionKey::new(number.into())),
                ..Login::default()
            });
            world.handle(Event::Received { link, message, epoch: None });
            assert!(world.worker.output(link).starts_with(br#"{"command":"LOGIN_SUCCESS""#));
            world.clients.push(link);
        }
        world.flush();
        world
    }

    fn handle(&mut self, event: Event<worker::core::Input>) {
        self.time += 1;
        self.worker.handle(now(self.time), event, &mut self.actions);
        self.actions.clear();
    }

    /// Everything is written to everybody. Returns how many writes that took.
    fn flush(&mut self) -> usize {
        let mut writes = 0;
        for index in 0..self.clients.len() {
            let link = self.clients[index];
            while let bytes @ 1.. = self.worker.output(link).len() {
                self.handle(Event::Wrote { link, bytes });
                writes += 1;
            }
        }
        writes
    }

    /// The next activity of the first client.
    fn next(&mut self) -> Event<worker::core::Input> {
        self.published += 1;
        let message = ActivityMessage {
            username: None,
            secret: None,
            activity_seq: Some(Seq(self.published)),
            activity: activity(self.published),
        };
        Event::Received { link: self.clients[0], message: message.into(), epoch: None }
    }

    /// Everybody has received everything, and the sender hears of it.
    fn settle(&mut self) {
        self.flush();
        for index in 0..self.clients.len() {
            let message = Message::from(ActivityAck { received: self.published });
            self.handle(Event::Received { link: self.clients[index], message, epoch: None });
        }
        for _ in 0..3 {
            self.time += 10_000;
            self.handle(Event::DeadlinePassed);
        }
        self.flush();
    }
}

fn now(micros: u64) -> Now {
    Now { time: Time::from_micros(micros), wall: WallMillis(1_000_000 + micros / 1_000) }
}

/// Known already? Numbered, encoded, appended, put in its order, and noted for its report.
#[divan::bench(sample_count = 200)]
fn take_64_activities(bencher: Bencher<'_, '_>) {
    let mut world = World::with(1);
    bencher.counter(64u32).bench_local(|| {
        for _ in 0..64 {
            let event = world.next();
            world.handle(event);
        }
        world.flush();
    });
}

/// The same with what follows: written, acknowledged, counted and reported.
#[divan::bench(sample_count = 200)]
fn take_and_report_64_activities(bencher: Bencher<'_, '_>) {
    let mut world = World::with(1);
    bencher.counter(64u32).bench_local(|| {
        for _ in 0..64 {
            let event = world.next();
            world.handle(event);
        }
        world.settle();
    });
}

/// What has been appended is handed to a hundred clients: their cursors advance.
#[divan::bench(sample_count = 200)]
fn advance_100_cursors(bencher: Bencher<'_, '_>) {
    let mut world = World::with(100);
    bencher.counter(100u32).bench_local(|| {
        let event = world.next();
        world.handle(event);
        world.flush()
    });
}
