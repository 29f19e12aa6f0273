use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::time::WallMillis;
use proptest::prelude::*;
use slotmap::SlotMap;

use super::*;

const SILENCE: Duration = Duration::from_secs(20);

fn at(millis: u64) -> Now {
    Now { time: Time::ZERO + Duration::from_millis(millis), wall: WallMillis(millis) }
}

fn presence(id: &str, incarnation: u64) -> Presence {
    Presence::new((id.parse().unwrap(), Incarnation(incarnation)), SILENCE, Duration::from_secs(5))
}

fn link() -> LinkId {
    SlotMap::with_key().insert(())
}

fn came(presence: &mut Presence, name: &str) -> NewClient {
    presence.came(at(1_000), name.parse().unwrap(), SessionId(7))
}

fn online(presence: &Presence) -> Vec<String> {
    presence.assert_bounds(presence.tables[&presence.own].clients.len());
    presence.all().map(|(place, name)| format!("{name}@{}", place.worker)).collect()
}

/// `asker` hears what `other` knows, and asks until it has no question left.
fn exchange(now: u64, asker: &mut Presence, other: &Presence) -> Vec<Change> {
    let link = link();
    let mut changes = asker.told(at(now).time, link, &other.own.0, other.known(at(now).time));
    while let Some((_, who)) = asker.next(at(now).time) {
        changes.extend(asker.answered(link, other.answer(&who, 300)));
    }
    changes
}

#[test]
fn who_joins_learns_page_by_page_who_is_there_and_then_each_change() {
    let (mut a, mut b) = (presence("a", 1), presence("b", 2));
    let names = ["ann", "bob", "cem", "dan", "eve"];
    let numbers: Vec<u64> =
        names.iter().map(|name| came(&mut a, name).at.unwrap().place.attachment).collect();
    a.left(numbers[1]);
    assert_eq!(exchange(2_000, &mut b, &a).len(), 4);
    assert_eq!(online(&b), ["ann@a", "cem@a", "dan@a", "eve@a"]);
    let fay = came(&mut a, "fay");
    assert_eq!(b.heard_came(&fay), Heard::Change);
    assert_eq!(b.heard_came(&fay), Heard::Nothing, "over another path");
    let left = a.left(numbers[0]);
    assert_eq!((b.heard_left(&left), b.heard_left(&left)), (Heard::Change, Heard::Nothing));
    assert_eq!(online(&b), ["cem@a", "dan@a", "eve@a", "fay@a"]);
    assert!(b.told(at(3_000).time, link(), &a.own.0, a.known(at(3_000).time)).is_empty());
    assert_eq!(b.next(at(9_000).time), None, "nothing is missing");
}

#[test]
fn a_late_goodbye_from_the_old_worker_hides_nobody() {
    let (mut old, mut new, mut c) = (presence("a", 1), presence("b", 2), presence("c", 3));
    exchange(0, &mut c, &old);
    exchange(0, &mut c, &new);
    let first = came(&mut old, "ann");
    assert_eq!(c.heard_came(&first), Heard::Change);
    assert_eq!(c.heard_came(&came(&mut new, "ann")), Heard::Change, "it has moved");
    assert_eq!(c.heard_left(&old.left(1)), Heard::Change);
    assert_eq!(online(&c), ["ann@b"]);
    // The same where it comes back to the very same worker before its old connection is noticed to be gone.
    let (one, two) = (came(&mut new, "bob"), came(&mut new, "bob"));
    assert_eq!([c.heard_came(&one), c.heard_came(&two)], [Heard::Change; 2]);
    assert_eq!(c.heard_left(&new.left(one.at.unwrap().place.attachment)), Heard::Change);
    assert_eq!(online(&c), ["ann@b", "bob@b"]);
}

#[test]
fn what_was_lost_on_the_way_is_asked_for() {
    let (mut a, mut b) = (presence("a", 1), presence("b", 2));
    let ann = came(&mut a, "ann");
    exchange(0, &mut b, &a);
    assert_eq!(online(&b), ["ann@a"]);
    // Nobody hears that.
    a.left(ann.at.unwrap().place.attachment);
    came(&mut a, "bob");
    assert_eq!(b.heard_came(&came(&mut a, "cem")), Heard::Nothing, "one before it is missing");
    let changes = exchange(1_000, &mut b, &a);
    assert_eq!(online(&b), ["bob@a", "cem@a"]);
    assert!(matches!(&changes[..], [Change::Came(_), Change::Came(_), Change::Left(_)]), "{changes:?}");
}

#[test]
fn others_may_know_a_change_sooner_and_are_asked_only_when_it_does_not_come() {
    let (mut a, mut b, mut c) = (presence("a", 1), presence("b", 2), presence("c", 3));
    exchange(0, &mut b, &a);
    exchange(0, &mut c, &a);
    came(&mut a, "ann");
    exchange(100, &mut b, &a);
    let link = link();
    exchange(0, &mut c, &a);
    came(&mut a, "bob");
    exchange(200, &mut b, &a);
    c.told(at(300).time, link, &b.own.0, b.known(at(300).time));
    assert_eq!(c.next(at(300).time), None, "it is on its way");
    c.told(at(1_300).time, link, &b.own.0, b.known(at(1_300).time));
    let (_, who) = c.next(at(1_300).time).expect("it has not come");
    c.answered(link, b.answer(&who, 10_000));
    assert_eq!(online(&c), ["ann@a", "bob@a"]);
}

#[test]
fn a_dead_worker_leaves_no_ghosts_also_where_others_still_speak_of_it() {
    let (mut a, mut b, mut c) = (presence("a", 1), presence("b", 2), presence("c", 3));
    came(&mut a, "ann");
    exchange(0, &mut b, &a);
    // Behind a longer way.
    exchange(500, &mut c, &b);
    assert_eq!(online(&c), ["ann@a"]);
    for now in (1_000..=60_000).step_by(1_000) {
        for one in [&mut b, &mut c] {
            one.sweep(at(now).time);
            let expected: &[&str] = if now < 20_000 { &["ann@a"] } else { &[] };
            if now != 20_000 {
                assert_eq!(online(one), expected, "{now} ms");
            }
        }
        exchange(now, &mut b, &c);
        exchange(now, &mut c, &b);
    }
    assert_eq!(b.tables.len(), 2, "nothing is left of it");
}

#[test]
fn who_is_removed_is_gone_at_once_and_comes_back_only_by_what_it_says_later() {
    let (mut a, mut b, mut c) = (presence("a", 1), presence("b", 2), presence("c", 3));
    came(&mut a, "ann");
    exchange(0, &mut b, &a);
    exchange(0, &mut c, &a);
    assert_eq!(b.removed(at(3_000).time, &a.own.0).len(), 1);
    exchange(4_000, &mut b, &c);
    assert_eq!(online(&b), [] as [&str; 0], "what was said before means nothing");
    exchange(5_000, &mut c, &a);
    exchange(5_000, &mut b, &c);
    assert_eq!(online(&b), ["ann@a"], "it lives");
}

#[test]
fn a_worker_that_starts_anew_has_nobody_of_before() {
    let (mut a, mut b) = (presence("a", 1), presence("b", 2));
    came(&mut a, "ann");
    exchange(0, &mut b, &a);
    let mut again = presence("a", 9);
    came(&mut again, "bob");
    let changes = exchange(2_000, &mut b, &again);
    assert!(matches!(&changes[..], [Change::Left(_), Change::Came(_)]), "{changes:?}");
    assert_eq!(online(&b), ["bob@a"]);
    exchange(2_500, &mut again, &b);
    assert_eq!(online(&again), ["bob@a"], "nobody tells it of its own past");
}

#[test]
fn a_page_that_is_older_than_what_is_known_brings_nobody_back() {
    let (mut a, mut b, mut c) = (presence("a", 1), presence("b", 2), presence("c", 3));
    for name in ["ann", "bob", "cem"] {
        came(&mut a, name);
    }
    exchange(0, &mut b, &a);
    let link = link();
    c.told(at(100).time, link, &b.own.0, b.known(at(100).time));
    let (_, first) = c.next(at(100).time).unwrap();
    c.answered(link, b.answer(&first, 300));
    let (_, second) = c.next(at(100).time).unwrap();
    let old = b.answer(&second, 300);
    assert_eq!(c.heard_left(&a.left(3)), Heard::News, "another way is shorter");
    c.answered(link, old);
    assert_eq!(online(&c), ["ann@a", "bob@a"]);
    assert!(c.known(at(100).time).iter().any(|known| known.worker == a.own.0 && known.change == 0));
    exchange(1_000, &mut b, &a);
    exchange(1_100, &mut c, &b);
    assert_eq!(online(&c), ["ann@a", "bob@a"]);
    assert!(c.known(at(100).time).iter().any(|known| known.worker == a.own.0 && known.change == 4));
}

#[test]
fn what_is_not_known_in_full_is_not_passed_off_as_known() {
    let (mut a, mut b, mut c) = (presence("a", 1), presence("b", 2), presence("c", 3));
    for name in ["ann", "bob", "cem"] {
        came(&mut a, name);
    }
    let way = link();
    b.told(at(0).time, way, &a.own.0, a.known(at(0).time));
    let (_, who) = b.next(at(0).time).unwrap();
    b.answered(way, a.answer(&who, 300));
    exchange(100, &mut c, &b);
    assert_eq!(online(&c), [] as [&str; 0]);
    b.lost(way);
    assert_eq!(b.next(at(100).time), None, "there is nobody to ask");
    exchange(1_000, &mut b, &a);
    exchange(1_100, &mut c, &b);
    assert_eq!(online(&c), ["ann@a", "bob@a", "cem@a"]);
}

#[test]
fn nonsense_changes_nothing() {
    let (mut a, mut b) = (presence("a", 1), presence("b", 2));
    let mut ann = came(&mut a, "ann");
    assert_eq!(b.heard_came(&ann), Heard::Nothing, "of a worker that is not known");
    exchange(0, &mut b, &a);
    ann.at.as_mut().unwrap().place.attachment = u64::MAX;
    assert_eq!(b.heard_came(&ann), Heard::Nothing);
    ann.at.as_mut().unwrap().place.worker = b.own.0.clone();
    assert_eq!(b.heard_came(&ann), Heard::Nothing, "nobody knows our clients better");
    assert_eq!(b.heard_came(&NewClient { at: None, ..ann.clone() }), Heard::Nothing);
    assert!(b.answered(link(), a.answer(&Who { after: None }, 300)).is_empty(), "nobody asked");
    let many = (0..2 * RUNS as u64).map(|number| PresenceKnown {
        worker: format!("w{number}").parse().unwrap(),
        incarnation: Incarnation(number),
        change: u64::MAX,
        silent: Duration::ZERO.into(),
        pulse: 1,
    });
    let way = link();
    b.told(at(0).time, way, &a.own.0, many.collect());
    assert_eq!(b.tables.len(), RUNS);
    let (_, who) = b.next(at(0).time).unwrap();
    let after = who.after.unwrap();
    // It leads round in circles.
    b.answered(
        way,
        WhoAnswer {
            worker: after.worker.clone(),
            incarnation: after.incarnation,
            after: after.attachment,
            change: u64::MAX,
            clients: Vec::new(),
            next: Some(after.clone()),
        },
    );
    assert_ne!(b.next(at(0).time).unwrap().1.after, Some(after));
    online(&b);
}

/// What happens in a small network, where messages are lost and late.
#[derive(Clone, Debug)]
enum Step {
    Comes(usize),
    Leaves(usize, usize),
    /// The first message of this way arrives, or is lost.
    Arrives(usize, usize, bool),
    /// One tells the other how far it knows whom.
    Digest(usize, usize),
    Asks(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let worker = || 0..3usize;
    prop_oneof![
        3 => worker().prop_map(Step::Comes),
        2 => (worker(), 0..8usize).prop_map(|(worker, which)| Step::Leaves(worker, which)),
        12 => (worker(), worker(), prop::bool::weighted(0.9)).prop_map(|(a, b, kept)| Step::Arrives(a, b, kept)),
        3 => (worker(), worker()).prop_map(|(a, b)| Step::Digest(a, b)),
        4 => worker().prop_map(Step::Asks),
    ]
}

#[derive(Clone, Debug)]
enum Said {
    Came(NewClient),
    Left(ClientDisconnect),
    Known(ServerId, Vec<PresenceKnown>),
    Who(Who),
    Answer(WhoAnswer),
}

/// Three workers with a way from each to each. Who hears news passes it on, so that a change has several ways.
struct Town {
    workers: Vec<Presence>,
    links: SlotMap<LinkId, (usize, usize)>,
    ways: BTreeMap<(usize, usize), (LinkId, VecDeque<Said>)>,
    /// What the changes that a worker has told make of who is online, in its eyes.
    told: Vec<BTreeSet<Place>>,
    now: u64,
}

impl Town {
    fn new() -> Self {
        let workers = (0..3).map(|number| presence(&format!("w{number}"), number)).collect();
        let mut links = SlotMap::with_key();
        let pairs = (0..3).flat_map(|from| (0..3).map(move |to| (from, to))).filter(|(from, to)| from != to);
        let ways = pairs.map(|pair| (pair, (links.insert(pair), VecDeque::new()))).collect();
        Town { workers, links, ways, told: vec![BTreeSet::new(); 3], now: 0 }
    }

    fn say(&mut self, from: usize, to: usize, said: Said) {
        if let Some((_, way)) = self.ways.get_mut(&(from, to)) {
            way.push_back(said);
        }
    }

    fn say_to_all(&mut self, from: usize, said: &Said) {
        (0..3).for_each(|to| self.say(from, to, said.clone()));
    }

    fn take(&mut self, at: usize, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Came(came) => assert!(self.told[at].insert(came.at.unwrap().place)),
                Change::Left(left) => assert!(self.told[at].remove(&left.at.place)),
            }
        }
    }

    fn step(&mut self, step: Step) {
        self.now += 10;
        let now = at(self.now);
        match step {
            Step::Comes(worker) => {
                let came = self.workers[worker].came(now, "ann".parse().unwrap(), SessionId(7));
                self.take(worker, vec![Change::Came(came.clone())]);
                self.say_to_all(worker, &Said::Came(came));
            }
            Step::Leaves(worker, which) => {
                let own = &self.workers[worker].tables[&self.workers[worker].own].clients;
                let Some(attachment) = own.keys().nth(which).copied() else { return };
                let left = self.workers[worker].left(attachment);
                self.take(worker, vec![Change::Left(left.clone())]);
                self.say_to_all(worker, &Said::Left(left));
            }
            Step::Digest(from, to) => {
                let known = self.workers[from].known(now.time);
                self.say(from, to, Said::Known(self.workers[from].own.0.clone(), known));
            }
            Step::Asks(worker) => {
                if let Some((link, who)) = self.workers[worker].next(now.time) {
                    let (from, _) = self.links[link];
                    self.say(worker, from, Said::Who(who));
                }
            }
            Step::Arrives(from, to, kept) => {
                let Some((link, way)) = self.ways.get_mut(&(from, to)) else { return };
                let (link, said) = (*link, way.pop_front());
                if let Some(said) = said.filter(|_| kept) {
                    self.hear(from, to, link, said);
                }
            }
        }
        self.workers.iter().for_each(|worker| drop(online(worker)));
    }

    fn hear(&mut self, from: usize, to: usize, link: LinkId, said: Said) {
        let now = at(self.now).time;
        let worker = &mut self.workers[to];
        let changes = match said {
            Said::Came(came) => {
                let heard = worker.heard_came(&came);
                return self.pass_on(to, heard, &Said::Came(came.clone()), Change::Came(came));
            }
            Said::Left(left) => {
                let heard = worker.heard_left(&left);
                return self.pass_on(to, heard, &Said::Left(left.clone()), Change::Left(left));
            }
            Said::Known(from, known) => worker.told(now, link, &from, known),
            Said::Who(who) => {
                let answer = worker.answer(&who, 300);
                return self.say(to, from, Said::Answer(answer));
            }
            Said::Answer(answer) => worker.answered(link, answer),
        };
        self.take(to, changes);
    }

    fn pass_on(&mut self, at: usize, heard: Heard, said: &Said, change: Change) {
        if heard != Heard::Nothing {
            self.say_to_all(at, said);
        }
        if heard == Heard::Change {
            self.take(at, vec![change]);
        }
    }

    /// From here on nothing is lost, and nobody comes or goes.
    fn settle(&mut self) {
        for _ in 0..12 {
            self.now += 1_000;
            for (from, to) in self.ways.keys().copied().collect::<Vec<_>>() {
                self.step(Step::Digest(from, to));
            }
            while self.ways.values().any(|(_, way)| !way.is_empty()) {
                for (from, to) in self.ways.keys().copied().collect::<Vec<_>>() {
                    self.step(Step::Arrives(from, to, true));
                    self.step(Step::Asks(to));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn in_the_end_everybody_knows_who_is_online_whatever_was_lost_or_late(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut town = Town::new();
        steps.into_iter().for_each(|step| town.step(step));
        town.settle();
        let truth: BTreeSet<Place> = town.workers.iter().flat_map(|worker| {
            worker.tables[&worker.own].clients.keys().map(|attachment| place(&worker.own, *attachment))
        }).collect();
        for (worker, told) in town.workers.iter().zip(&town.told) {
            prop_assert_eq!(&worker.all().map(|(place, _)| place).collect::<BTreeSet<_>>(), &truth);
            prop_assert_eq!(told, &truth, "its changes tell the same");
        }
    }
}

/// Each that tells another one how long ago a worker was heard adds the time that this takes to arrive: among ten, who is dead stays alive.
#[test]
fn who_is_dead_is_not_kept_alive_by_those_who_tell_each_other_of_it() {
    const LATENCY: u64 = 90;
    let mut dead = presence("x", 99);
    came(&mut dead, "ann");
    let mut others: Vec<Presence> = (0..10).map(|n| presence(&format!("w{n}"), n)).collect();
    for other in &mut others {
        exchange(1_000, other, &dead);
    }
    let mut on_the_way: VecDeque<(u64, usize, Vec<PresenceKnown>)> = VecDeque::new();
    for now in (1_000..61_000).step_by(10) {
        while on_the_way.front().is_some_and(|(at, ..)| *at <= now) {
            let (_, from, known) = on_the_way.pop_front().unwrap();
            let id = format!("w{from}").parse().unwrap();
            for (_, other) in others.iter_mut().enumerate().filter(|(at, _)| *at != from) {
                other.told(at(now).time, link(), &id, known.clone());
            }
        }
        for (number, other) in others.iter_mut().enumerate() {
            if now % 1_000 == number as u64 * 100 {
                other.sweep(at(now).time);
                on_the_way.push_back((now + LATENCY, number, other.known(at(now).time)));
            }
        }
    }
    let ghosts: Vec<String> = others.iter().flat_map(online).collect();
    assert!(ghosts.is_empty(), "a minute after it was heard last: {ghosts:?}");
}
