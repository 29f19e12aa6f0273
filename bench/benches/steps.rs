//! The steps of an activity's way through a worker, one by one: `cargo bench -p bench`.
//!
//! First its leaves, each by itself; then the core through its one door, [`Machine::handle`], without a socket. What goes in is made before
//! the clock starts. How many instructions each part takes of a worker that runs: `bench/instructions`.
#![allow(missing_docs)]

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use common::id::{ActivityId, Incarnation, LinkId, Seq};
use common::machine::{Event, Machine};
use common::position::Position;
use common::session::{SessionId, SessionKey};
use common::time::{Now, Time, WallMillis};
use common::user::{Secret, Username};
use common::wire::{Activity, ActivityAck, ActivityMessage, Address, Login, Message};
use divan::{Bencher, black_box};
use slotmap::SlotMap;
use worker::core::encoding::Encoder;
use worker::core::log::Log;
use worker::core::ordering::{self, Ordering, Turn};
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

/// The `number`th activity of a worker's start.
fn id(number: u64) -> ActivityId {
    ActivityId {
        origin: "worker-1c9e04d7".parse().expect("it is a name"),
        incarnation: Incarnation(u64::MAX / 3),
        seq: Seq(number),
    }
}

/// The frame of an activity, as clients get it.
fn encode(encoder: &mut Encoder, id: &ActivityId, activity: &Activity, frame: &mut Vec<u8>) {
    let author = Username::anonymous();
    encoder.publish(id, (SessionId(u128::MAX / 3), id.seq), &author, activity, frame);
}

#[divan::bench]
fn encode_activity_broadcast(bencher: Bencher<'_, '_>) {
    let (activity, author, id) = (activity(1), Username::anonymous(), id(4_711));
    let (mut encoder, mut frame) = (Encoder::default(), Vec::new());
    bencher.bench_local(|| {
        encoder.publish(black_box(&id), (SessionId(u128::MAX / 3), id.seq), &author, &activity, &mut frame);
    });
}

/// A log that is full: what is oldest leaves memory.
#[divan::bench]
fn append_to_log(bencher: Bencher<'_, '_>) {
    let limit = 1 << 20;
    let (mut log, mut encoder, mut number) = (Log::new(limit), Encoder::default(), 0);
    let mut next = || {
        number += 1;
        let (id, mut frame) = (id(number), Vec::new());
        encode(&mut encoder, &id, &activity(number), &mut frame);
        (id, frame)
    };
    for _ in 0..2 * limit / next().1.len() {
        let (id, frame) = next();
        log.append(&id, &frame);
    }
    bencher.with_inputs(next).bench_local_refs(|(id, frame)| log.append(id, frame));
}

/// Deduplication: one that is the next of its session, and one that came before, in a worker that knows so many sessions.
#[divan::bench(args = [1, 1_000])]
fn know_a_new_one(bencher: Bencher<'_, '_>, sessions: u64) {
    let mut ordering = ordering_of(sessions);
    let mut number = SEEN;
    let next = || {
        number += 1;
        (Seq(number / sessions + 1), SessionId(u128::from(number % sessions)), id(number))
    };
    bencher.with_inputs(next).bench_local_refs(|(seq, session, id)| {
        ordering.offer(Time::ZERO, (*session, *seq), 0, id, black_box(b"x\n"))
    });
}

#[divan::bench(args = [1, 1_000])]
fn know_a_repetition(bencher: Bencher<'_, '_>, sessions: u64) {
    let mut ordering = ordering_of(sessions);
    let mut number = 0;
    let next = || {
        number = (number + 1) % SEEN;
        (Seq(number / sessions + 1), SessionId(u128::from(number % sessions)), id(number))
    };
    bencher.with_inputs(next).bench_local_refs(|(seq, session, id)| {
        assert_eq!(ordering.offer(Time::ZERO, (*session, *seq), 0, id, black_box(b"x\n")), Turn::Known);
    });
}

/// Activities that have come, of all sessions together.
const SEEN: u64 = 10_000;

fn ordering_of(sessions: u64) -> Ordering {
    let mut ordering = Ordering::new(ordering::Limits { sessions: 65_536, waiting_bytes: 1 << 20 });
    for number in 0..=SEEN {
        let (seq, session) = (Seq(number / sessions + 1), SessionId(u128::from(number % sessions)));
        assert_eq!(ordering.offer(Time::ZERO, (session, seq), 0, &id(number), b"x\n"), Turn::Now);
    }
    ordering
}

/// In a position of so many streams.
#[divan::bench(args = [1, 10, 1_000])]
fn insert_into_position(bencher: Bencher<'_, '_>, streams: u64) {
    let id = |stream: u64, seq: u64| ActivityId { incarnation: Incarnation(stream), ..id(seq) };
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

    /// The next so many activities of the first client.
    fn next(&mut self, count: usize) -> Vec<Event<worker::core::Input>> {
        let event = |number| {
            let message = ActivityMessage {
                username: None,
                secret: None,
                activity_seq: Some(Seq(number)),
                activity: activity(number),
            };
            Event::Received { link: self.clients[0], message: message.into(), epoch: None }
        };
        let events: Vec<_> = (self.published + 1..).take(count).map(event).collect();
        self.published += count as u64;
        events
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
#[divan::bench(sample_count = 500, sample_size = 1)]
fn take_64_activities(bencher: Bencher<'_, '_>) {
    let world = RefCell::new(World::with(1));
    let events = || {
        let mut world = world.borrow_mut();
        assert!(world.flush() > 0 || world.published == 0, "nothing was taken in");
        world.settle();
        world.next(64)
    };
    bencher.counter(64u32).with_inputs(events).bench_local_values(|events| {
        let mut world = world.borrow_mut();
        events.into_iter().for_each(|event| world.handle(event));
    });
}

/// The same with what follows: written, acknowledged, counted and reported.
#[divan::bench(sample_count = 500, sample_size = 1)]
fn take_and_report_64_activities(bencher: Bencher<'_, '_>) {
    let world = RefCell::new(World::with(1));
    let events = || world.borrow_mut().next(64);
    bencher.counter(64u32).with_inputs(events).bench_local_values(|events| {
        let mut world = world.borrow_mut();
        events.into_iter().for_each(|event| world.handle(event));
        assert!(world.flush() > 0, "nothing was taken in");
        world.settle();
    });
}

/// What has been appended is handed to a hundred clients: their cursors advance.
#[divan::bench(sample_count = 500, sample_size = 1)]
fn advance_100_cursors(bencher: Bencher<'_, '_>) {
    let world = RefCell::new(World::with(100));
    let append = || {
        let mut world = world.borrow_mut();
        world.settle();
        world.next(1).into_iter().for_each(|event| world.handle(event));
    };
    bencher
        .counter(100u32)
        .with_inputs(append)
        .bench_local_values(|()| assert_eq!(world.borrow_mut().flush(), 100));
}
