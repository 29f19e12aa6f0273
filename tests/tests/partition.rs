//! Cut cables, with real processes on hosts of their own: both sides go on, and are one network again afterwards.
#![cfg(target_os = "linux")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::cluster::{Caller, LEFT, Peer, RIGHT, Town, eventually, target};

/// Within this time of a cut everybody is served: three seconds are promised, and machines may be busy.
const SERVED: Duration = Duration::from_secs(4);

/// How long a client waits for a worker to let it in.
const ARRIVAL: Duration = Duration::from_secs(1);

/// By then whoever is to take over after a cut has done so for long.
const TAKEN_OVER: Duration = Duration::from_secs(5);

/// Clients of a side that register at once.
const REGISTERING: usize = 3;

/// Users that are there from the beginning.
const USERS: usize = 10;

/// What a request was and when it was answered.
#[derive(Clone)]
struct Request {
    what: String,
    began: Instant,
    at: Instant,
    trail: Vec<String>,
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}, {:?} from beginning to end", self.what, self.at - self.began)?;
        self.trail.iter().try_for_each(|step| writeln!(f, "    {step}"))
    }
}

/// What the clients of both sides do, until they are told to stop.
#[derive(Default)]
struct Life {
    stop: AtomicBool,
    requests: Mutex<Vec<Request>>,
    registered: Mutex<Vec<String>>,
}

/// Ends it, also where the test fails.
struct End<'a>(&'a Life);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Relaxed);
    }
}

/// One side: where its clients are, its coordinator, the other one, its workers.
struct Side {
    clients: &'static str,
    coordinators: [&'static str; 2],
    workers: [&'static str; 2],
}

const SIDES: [Side; 2] = [
    Side { clients: LEFT[3], coordinators: [LEFT[0], RIGHT[0]], workers: [LEFT[1], LEFT[2]] },
    Side { clients: RIGHT[3], coordinators: [RIGHT[0], LEFT[0]], workers: [RIGHT[1], RIGHT[2]] },
];

impl Side {
    fn caller(&self, town: &Town) -> Caller {
        Caller::new(&self.coordinators.map(|host| town.coordinator(host)))
    }
}

impl Life {
    fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    fn note(&self, what: String, began: Instant, trail: Vec<String>) {
        self.requests.lock().unwrap().push(Request { what, began, at: Instant::now(), trail });
    }

    fn register(&self, mut caller: Caller, prefix: &str) {
        for number in 0.. {
            if !self.goes_on() {
                return;
            }
            let name = format!("{prefix}-{number}");
            let answer = caller.ask(&register(&name, &name));
            assert_eq!(answer.command(), "REGISTER_SUCCESS", "{name}: {}", answer.message);
            self.note(format!("registration of {name}"), answer.began, answer.trail);
            self.registered.lock().unwrap().push(name);
        }
    }

    /// Logs in at a coordinator and then where that sends it, until it is in.
    fn log_in(&self, mut caller: Caller) {
        while self.goes_on() {
            let name = format!("user-{}", fastrand::usize(0..USERS));
            let began = Instant::now();
            let mut trail = Vec::new();
            while !arrives(&mut caller, &name, &mut trail) {}
            self.note(format!("log-in of {name}"), began, trail);
        }
    }

    /// Publishes at one worker of a side and hears it at the other.
    fn publish(&self, town: &Town, side: &Side, first: u64) {
        let [mut here, mut there] = side.workers.map(|host| {
            let mut peer = Peer::connect(&town.worker(host));
            peer.log_in("anonymous", "");
            peer
        });
        for n in first.. {
            if !self.goes_on() {
                return;
            }
            let began = Instant::now();
            here.publish(&json!({ "n": n }).to_string());
            there.hear_activity(n);
            here.hear_activity(n);
            self.note(format!("activity {n} at {}", side.clients), began, Vec::new());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn register(name: &str, secret: &str) -> Value {
    json!({"command": "REGISTER", "username": name, "secret": secret})
}

fn log_in(name: &str, secret: &str) -> Value {
    json!({"command": "LOGIN", "username": name, "secret": secret})
}

/// Whether somebody is let in by a coordinator, and then by the worker that it names.
fn arrives(caller: &mut Caller, name: &str, trail: &mut Vec<String>) -> bool {
    let mut answer = caller.ask(&log_in(name, name));
    assert_eq!(answer.command(), "LOGIN_SUCCESS", "{name}: {}", answer.message);
    let redirect = answer.peer.hear("REDIRECT");
    trail.append(&mut answer.trail);
    trail.push(format!("{:?}: sent to {}", answer.took(), target(&redirect)));
    let login = json!({"command": "LOGIN", "username": name, "token": redirect["token"]});
    let welcome = Peer::connect_within(&target(&redirect), ARRIVAL).and_then(|mut peer| peer.ask(&login));
    welcome.is_some_and(|welcome| welcome["command"] == "LOGIN_SUCCESS")
}

/// Runs `story` while clients of both sides register, log in and publish. Returns what they asked, and whom they registered.
fn while_alive(town: &Town, story: impl FnOnce(&Town)) -> (Vec<Request>, Vec<String>) {
    let life = Life::default();
    for number in 0..USERS {
        let name = format!("user-{number}");
        let answer = town.spaces.at("left", || SIDES[0].caller(town).ask(&register(&name, &name)));
        assert_eq!(answer.message["durability"], "replicated", "{}", answer.message);
        life.registered.lock().unwrap().push(name);
    }
    std::thread::scope(|scope| {
        let _end = End(&life);
        let (life, spaces) = (&life, &town.spaces);
        for (index, side) in SIDES.iter().enumerate() {
            for number in 0..REGISTERING {
                let caller = side.caller(town);
                scope.spawn(move || {
                    spaces.enter(side.clients);
                    life.register(caller, &format!("{}-{number}", side.clients));
                });
            }
            let caller = side.caller(town);
            scope.spawn(move || {
                spaces.enter(side.clients);
                life.log_in(caller);
            });
            scope.spawn(move || {
                spaces.enter(side.clients);
                life.publish(town, side, index as u64 * 1_000_000);
            });
        }
        story(town);
    });
    (life.requests.into_inner().unwrap(), life.registered.into_inner().unwrap())
}

/// The request that took longest in a time: how long, counted from its beginning where it was made before; and what came of it.
fn slowest(requests: &[Request], since: Instant, until: Instant) -> (Duration, String) {
    let during = requests.iter().filter(|request| request.at > since && request.began < until);
    let slowest = during.map(|request| (request.at - request.began.max(since), request));
    let (took, request) = slowest.max_by_key(|(took, _)| *took).expect("there were requests");
    (took, format!("{took:?}: {request}"))
}

/// After a heal: the coordinators keep the same users, those who were acknowledged among them. Returns the names that have a conflict.
fn stores_are_equal(town: &Town, registered: &[String]) -> Vec<String> {
    let [ours, theirs] = ["c1", "c2"].map(|host| town.export(host));
    let differs = |name: &&String| ours.get(*name) != theirs.get(*name);
    let different: Vec<_> = ours.keys().chain(theirs.keys()).filter(differs).collect();
    let [ours_of, theirs_of] = [&ours, &theirs].map(|users| different.first().map(|name| users.get(*name)));
    assert!(different.is_empty(), "the coordinators differ in {different:?}: {ours_of:?}, {theirs_of:?}");
    for name in registered {
        assert!(ours.contains_key(name), "{name} was acknowledged and is lost");
    }
    ours.into_iter().filter(|(_, registrations)| registrations.len() > 1).map(|(name, _)| name).collect()
}

#[test]
fn both_sides_of_a_cut_go_on_and_are_one_network_afterwards() {
    const CONTESTED: usize = 3;
    let length = std::env::var("FRESHET_PARTITION_SECONDS").map_or(8, |text| text.parse().expect("seconds"));
    let Some(town) = Town::start() else { return };
    let began = Instant::now();
    let (mut cut, mut healed) = (began, began);
    let (requests, registered) = while_alive(&town, |town| {
        std::thread::sleep(Duration::from_secs(1));
        town.spaces.part(&LEFT, &RIGHT);
        cut = Instant::now();
        // One name, two owners: each side lets one have it.
        for number in 0..CONTESTED {
            for side in &SIDES {
                let request = register(&format!("contested-{number}"), side.clients);
                let answer = town.spaces.at(side.clients, || side.caller(town).ask(&request));
                assert_eq!(answer.command(), "REGISTER_SUCCESS", "{}", answer.message);
            }
        }
        std::thread::sleep(Duration::from_secs(length).saturating_sub(cut.elapsed()));
        assert_eq!(town.reign().0.len(), 2, "each side has a main coordinator");
        town.spaces.join(&LEFT, &RIGHT);
        healed = Instant::now();
        println!("NORMAL {:?} after the heal", town.await_normal());
        std::thread::sleep(Duration::from_secs(1));
    });
    let count = |what: &str| requests.iter().filter(|request| request.what.starts_with(what)).count();
    println!(
        "{length} s apart: {} registrations, {} log-ins, {} activities",
        count("registration"),
        count("log-in"),
        count("activity"),
    );
    println!("the slowest request before the cut took {:?}", slowest(&requests, began, cut).0);
    let (worst, slow) = slowest(&requests, cut, healed);
    println!("the slowest after the cut {slow}");
    println!("the slowest from five seconds after it {}", slowest(&requests, cut + TAKEN_OVER, healed).1);
    println!("the slowest after the heal {}", slowest(&requests, healed, Instant::now()).1);
    assert!(worst < SERVED, "{slow}\n{}", town.logs());

    // Whoever asked on one side and, unanswered, again on the other has both: conflicts too, with nobody to lose.
    let conflicts = stores_are_equal(&town, &registered);
    println!("conflicts: {conflicts:?}");
    let report = town.reports()[0].clone().expect("it answers");
    assert_eq!(report["conflict_count"], conflicts.len(), "{report:#}");
    assert_eq!(report["conflicts"].as_array().map(Vec::len), Some(conflicts.len()), "{report:#}");
    assert_eq!(conflicts.iter().filter(|name| name.starts_with("contested")).count(), CONTESTED);
    for number in 0..CONTESTED {
        let name = format!("contested-{number}");
        let answers = SIDES.each_ref().map(|side| {
            let answer = town.spaces.at("left", || side.caller(&town).ask(&log_in(&name, side.clients)));
            (answer.command().to_owned(), answer.message)
        });
        let [left, right] = answers.each_ref().map(|(command, _)| command.as_str());
        assert!(
            (left == "LOGIN_SUCCESS") != (right == "LOGIN_SUCCESS"),
            "one owner of {name} has it: {answers:?}"
        );
        let (_, told) =
            answers.iter().find(|(command, _)| command == "LOGIN_FAILED").expect("one is refused");
        assert!(told["info"].as_str().is_some_and(|info| info.contains("lost its name")), "{told}");
    }
    town.spaces.at("left", || reaches_the_other_side(&town));
}

/// What is published on one side is heard on the other.
fn reaches_the_other_side(town: &Town) {
    let [mut here, mut there] = ["w1", "w4"].map(|host| {
        let mut peer = Peer::connect(&town.worker(host));
        peer.log_in("anonymous", "");
        peer
    });
    let mut n = 10_000_000;
    eventually("the workers of both sides are linked again", || {
        n += 1;
        here.publish(&json!({ "n": n }).to_string());
        there.hears_soon(n)
    });
}

#[test]
fn while_workers_hear_the_main_coordinator_a_standby_that_does_not_leaves_it_alone() {
    let Some(mut town) = Town::start() else { return };
    let (mains, epoch) = town.reign();
    let [main, other] = if mains == ["c1"] { ["c1", "c2"] } else { ["c2", "c1"] };
    let (requests, registered) = while_alive(&town, |town| {
        town.spaces.part(&["c1"], &["c2"]);
        let until = Instant::now() + Duration::from_secs(8);
        while Instant::now() < until {
            assert_eq!(town.reign(), (mains.clone(), epoch), "{}", town.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    println!("cut between the coordinators: {}", slowest(&requests, requests[0].began, Instant::now()).1);

    // The main one dies meanwhile: then nobody hears it, and the other one takes over.
    let killed = Instant::now();
    town.server(main).signal("KILL").expect("kill runs");
    let answer = town.spaces.at("left", || SIDES[0].caller(&town).ask(&register("late", "late")));
    println!(
        "kill to REGISTER_SUCCESS, with the coordinators cut off from each other: {:?}",
        killed.elapsed()
    );
    assert_eq!(answer.command(), "REGISTER_SUCCESS", "{}", answer.message);
    town.start_server(main);
    town.spaces.join(&["c1"], &["c2"]);
    println!("NORMAL {:?} after the heal", town.await_normal());
    let (mains, _) = town.reign();
    assert_eq!(mains, [other], "whoever reigned meanwhile still does");
    stores_are_equal(&town, &[registered, vec!["late".to_owned()]].concat());
}

#[test]
fn a_cut_in_one_direction_leaves_both_sides_served() {
    for [from, to] in [[LEFT, RIGHT], [RIGHT, LEFT]] {
        let Some(town) = Town::start() else { return };
        let (_, before) = town.reign();
        let (mut cut, mut healed) = (Instant::now(), Instant::now());
        let (requests, registered) = while_alive(&town, |town| {
            town.spaces.cut(&from, &to);
            cut = Instant::now();
            std::thread::sleep(Duration::from_secs(8));
            town.spaces.mend(&from, &to);
            healed = Instant::now();
            println!("NORMAL {:?} after the heal", town.await_normal());
        });
        let (worst, slow) = slowest(&requests, cut, healed);
        println!("from {from:?} to {to:?} nothing passed: {slow}");
        assert!(worst < SERVED, "{slow}\n{}", town.logs());
        stores_are_equal(&town, &registered);
        let (_, after) = town.reign();
        println!("{} epochs began", after - before);
        assert!(after - before <= 6, "{}", town.logs());
    }
}

#[test]
fn a_flapping_way_causes_few_takeovers() {
    let Some(town) = Town::start() else { return };
    let (_, before) = town.reign();
    let (_, registered) = while_alive(&town, |town| {
        for (these, those) in [(&LEFT[..1], &RIGHT[..1]), (&LEFT[..], &RIGHT[..])] {
            for _ in 0..6 {
                town.spaces.part(these, those);
                std::thread::sleep(Duration::from_millis(700));
                town.spaces.join(these, those);
                std::thread::sleep(Duration::from_millis(700));
            }
        }
        println!("NORMAL {:?} after the last heal", town.await_normal());
    });
    stores_are_equal(&town, &registered);
    let (_, after) = town.reign();
    println!("{} epochs began", after - before);
    assert!(after - before <= 3, "{}", town.logs());
}
