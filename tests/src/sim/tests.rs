//! The world itself, with a machine that counts.

use std::time::Duration;

use common::wire::ServerLoad;

use super::*;

/// Dials, says the numbers from 0 to `most`, and remembers what it is told.
#[derive(Debug, Default)]
struct Counter {
    dials: Option<Address>,
    most: u64,
    says_goodbye: bool,
    waiting: Vec<u8>,
    link: Option<LinkId>,
    heard: Vec<u64>,
    told: Vec<&'static str>,
    begun: bool,
}

fn number(load: u64) -> Vec<u8> {
    Message::from(ServerLoad { load, ..ServerLoad::default() }).encode()
}

impl Machine for Counter {
    type Input = ();
    type Effect = ();

    fn handle(&mut self, _: Now, event: Event<()>, actions: &mut Vec<Action<()>>) {
        match event {
            Event::DeadlinePassed => {
                self.begun = true;
                let address = self.dials.clone().expect("only who dials has a deadline");
                actions.push(Action::Dial { dial: DialId(0), address });
            }
            Event::Accepted { link, .. } => self.link = Some(link),
            Event::Dialled { link, .. } => {
                self.link = Some(link);
                self.waiting = (0..self.most).flat_map(number).collect();
                if self.says_goodbye {
                    let farewell = std::mem::take(&mut self.waiting);
                    actions.push(Action::Close { link, farewell });
                } else {
                    actions.push(Action::Flush(link));
                }
            }
            Event::DialFailed { error: DialError::Refused, .. } => self.told.push("refused"),
            Event::DialFailed { error: DialError::Unreachable, .. } => self.told.push("unreachable"),
            Event::DialFailed { error: DialError::Unresolved, .. } => unreachable!("there are no names here"),
            Event::Received { message: Message::ServerLoad(ServerLoad { load, .. }), .. } => {
                self.heard.push(load)
            }
            Event::Wrote { bytes, .. } => _ = self.waiting.drain(..bytes),
            Event::Ended { link } => {
                self.told.push("closed");
                actions.push(Action::Close { link, farewell: Vec::new() });
            }
            Event::Closed { .. } => self.told.push("closed"),
            Event::Input(()) => self.told.push("input"),
            Event::Received { .. } | Event::Malformed { .. } => self.told.push("something else"),
        }
    }

    fn deadline(&self) -> Option<Time> {
        (self.dials.is_some() && !self.begun).then_some(Time::ZERO)
    }

    fn output(&self, _: LinkId) -> &[u8] {
        &self.waiting
    }
}

/// A world with a listener, and a process that will dial it.
fn world(seed: u64) -> (World<Counter>, ProcessId, ProcessId) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let weather = Weather { window: (20, 200), split: 0.5, ..Weather::draw(&mut rng) };
    let mut world = World::new(seed, weather);
    let (listener, dialler) = (world.add("listener"), world.add("dialler"));
    world.start(listener, |_| Counter::default());
    (world, listener, dialler)
}

fn start_dialler(world: &mut World<Counter>, dialler: ProcessId, to: ProcessId, says_goodbye: bool) {
    let dials = Some(world[to].address.clone());
    world.start(dialler, |_| Counter { dials, most: 100, says_goodbye, ..Counter::default() });
}

fn run(world: &mut World<Counter>, until: Time) {
    while world.next().is_some_and(|next| next <= until) {
        world.step();
    }
    world.wait_until(until);
}

fn machine(world: &World<Counter>, id: ProcessId) -> &Counter {
    world[id].machine.as_ref().unwrap()
}

const LATER: Time = Time::from_micros(60_000_000);

#[test]
fn everything_arrives_in_order_through_any_window_and_in_any_pieces() {
    for seed in 0..20 {
        let (mut world, listener, dialler) = world(seed);
        start_dialler(&mut world, dialler, listener, false);
        run(&mut world, LATER);
        assert_eq!(machine(&world, listener).heard, (0..100).collect::<Vec<_>>());
        assert_eq!(machine(&world, listener).told, [""; 0]);
    }
}

#[test]
fn a_farewell_arrives_before_the_end_unless_it_takes_too_long() {
    for seed in 0..20 {
        let (mut world, listener, dialler) = world(seed);
        world.network.weather = Weather::calm();
        start_dialler(&mut world, dialler, listener, true);
        run(&mut world, LATER);
        assert_eq!(machine(&world, listener).heard, (0..100).collect::<Vec<_>>());
        assert_eq!(machine(&world, listener).told, ["closed"]);
        assert!(world.seen().iter().any(|seen| matches!(seen, Seen::Lost { clean: true, .. })));
    }
}

#[test]
fn nobody_listens_where_a_process_is_down_and_nothing_answers_across_a_cut() {
    let (mut world, listener, dialler) = world(1);
    world.crash(listener, Crash::Kill);
    start_dialler(&mut world, dialler, listener, false);
    run(&mut world, LATER);
    assert_eq!(machine(&world, dialler).told, ["refused"]);

    let (mut world, listener, dialler) = self::world(1);
    world.cut(listener, dialler, Duration::ZERO);
    start_dialler(&mut world, dialler, listener, false);
    run(&mut world, LATER);
    assert_eq!(machine(&world, dialler).told, ["unreachable"]);
}

#[test]
fn both_ends_of_a_broken_connection_find_out_each_in_its_own_time() {
    let (mut world, listener, dialler) = world(3);
    start_dialler(&mut world, dialler, listener, false);
    while world.connections().next().is_none() {
        world.step();
    }
    let (conn, ..) = world.connections().next().unwrap();
    world.break_connection(conn, Duration::from_secs(5));
    run(&mut world, LATER);
    assert_eq!(machine(&world, listener).told, ["closed"]);
    assert_eq!(machine(&world, dialler).told, ["closed"]);
    let heard = &machine(&world, listener).heard;
    assert!(heard.len() < 100 && heard.iter().copied().eq(0..heard.len() as u64), "{heard:?}");
}

#[test]
fn a_paused_process_is_told_later_and_one_that_does_not_read_holds_up_the_writer() {
    let (mut world, listener, dialler) = world(4);
    start_dialler(&mut world, dialler, listener, false);
    world.set_reading(listener, false);
    run(&mut world, LATER);
    assert_eq!(machine(&world, listener).heard, [0; 0]);
    assert!(!machine(&world, dialler).waiting.is_empty(), "the window holds less than was to be said");
    world.pause(listener);
    world.set_reading(listener, true);
    run(&mut world, LATER + Duration::from_secs(60));
    assert_eq!(machine(&world, listener).heard, [0; 0]);
    world.resume(listener);
    run(&mut world, LATER + Duration::from_secs(120));
    assert_eq!(machine(&world, listener).heard.len(), 100);
}

#[test]
fn what_was_meant_for_one_run_never_reaches_the_next() {
    let (mut world, listener, dialler) = world(5);
    start_dialler(&mut world, dialler, listener, false);
    while machine(&world, listener).heard.is_empty() {
        world.step();
    }
    let run_of_listener = world[listener].run;
    world.crash(listener, Crash::Kill);
    world.start(listener, |_| Counter::default());
    world.input(listener, run_of_listener, ());
    run(&mut world, LATER);
    assert_eq!(machine(&world, listener).told, [""; 0]);
    assert_eq!(machine(&world, listener).heard, [0; 0]);
    assert_eq!(machine(&world, dialler).told, ["closed"]);
}

#[test]
fn what_arrives_late_is_of_the_run_that_said_it() {
    let mut late = 0;
    for seed in 0..20 {
        let (mut world, listener, dialler) = world(seed);
        start_dialler(&mut world, dialler, listener, false);
        while machine(&world, listener).heard.is_empty() {
            world.step();
        }
        let (first, second) = (world[dialler].run, world[dialler].run + 1);
        let heard = machine(&world, listener).heard.len();
        world.pause(listener);
        world.crash(dialler, Crash::Kill);
        start_dialler(&mut world, dialler, listener, false);
        world.resume(listener);
        run(&mut world, LATER);
        let mut said: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for seen in world.seen() {
            if let Seen::Received { run, message: Message::ServerLoad(ServerLoad { load, .. }), .. } = seen {
                said.entry(run).or_default().push(load);
            }
        }
        late += said[&first].len() - heard;
        assert!(said[&first].iter().copied().eq(0..said[&first].len() as u64), "{said:?}");
        assert!(said[&second].iter().copied().eq(0..100), "{said:?}");
    }
    assert!(late > 0, "nothing arrived when its sender was dead");
}

#[test]
fn a_way_cut_in_one_direction_carries_the_other_and_lets_nobody_connect() {
    let (mut world, listener, dialler) = world(6);
    start_dialler(&mut world, dialler, listener, false);
    while world.connections().next().is_none() {
        world.step();
    }
    world.cut_one_way(listener, dialler);
    run(&mut world, LATER);
    assert_eq!(machine(&world, listener).heard.len(), 100, "what the dialler says arrives");
    world.crash(dialler, Crash::Kill);
    start_dialler(&mut world, dialler, listener, false);
    run(&mut world, LATER + Duration::from_secs(60));
    assert_eq!(machine(&world, dialler).told, ["unreachable"]);
    world.mend(listener, dialler);
    assert!(!world.is_cut(listener, dialler));
}

#[test]
fn a_network_in_two_parts_is_cut_between_them_and_whole_within() {
    let (mut world, listener, dialler) = world(7);
    let other = world.add("other");
    world.divide(
        Sides { count: 2, of: BTreeMap::from([(listener, 0), (dialler, 1), (other, 1)]) },
        Duration::ZERO,
    );
    assert!(world.is_cut(listener, dialler) && !world.is_cut(dialler, other));
    start_dialler(&mut world, dialler, listener, false);
    run(&mut world, LATER);
    assert_eq!(machine(&world, dialler).told, ["unreachable"]);
    world.reunite();
    assert!(!world.is_cut(listener, dialler));
}

#[test]
fn without_power_nobody_even_refuses() {
    let (mut world, listener, dialler) = world(8);
    world.crash(listener, Crash::PowerLoss { noticed: Duration::ZERO });
    start_dialler(&mut world, dialler, listener, false);
    run(&mut world, LATER);
    assert_eq!(machine(&world, dialler).told, ["unreachable"]);
}

#[test]
fn whoever_is_overheard_is_heard_once_and_as_it_speaks() {
    for seed in 0..20 {
        let (mut world, listener, dialler) = world(seed);
        world.set_overheard(dialler);
        start_dialler(&mut world, dialler, listener, seed % 2 == 0);
        let mut said = Vec::new();
        while world.next().is_some_and(|next| next <= LATER) {
            world.step();
            said.extend(world.seen().into_iter().filter_map(|seen| match seen {
                Seen::Said { message: Message::ServerLoad(ServerLoad { load, .. }), .. } => Some(load),
                _ => None,
            }));
        }
        assert_eq!(said, (0..100).collect::<Vec<_>>());
    }
}
