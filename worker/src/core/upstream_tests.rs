use std::time::Duration;

use slotmap::SlotMap;

use super::*;

fn address(port: u16) -> Address {
    Address::new("h", port).unwrap()
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn id(port: u16) -> ServerId {
    format!("c{port}").parse().unwrap()
}

/// The coordinators at these ports, the main one first.
fn list(ports: &[u16]) -> Vec<BackupEntry> {
    let role = |place| if place == 0 { Role::Main } else { Role::Backup };
    let entry = |(place, port)| BackupEntry { id: Some(id(port)), address: address(port), role: role(place) };
    ports.iter().copied().enumerate().map(entry).collect()
}

/// A way up, and somebody who makes its attempts.
struct Walk {
    upstream: Upstream,
    rng: fastrand::Rng,
    now: Time,
    links: SlotMap<LinkId, ()>,
}

impl Walk {
    fn new(configured: &[u16], remembered: &[u16]) -> Self {
        let configured = configured.iter().copied().map(address).collect();
        let upstream = Upstream::new(at(0), configured, list(remembered), &Limits::default());
        Walk { upstream, rng: fastrand::Rng::with_seed(1), now: at(0), links: SlotMap::with_key() }
    }

    /// Makes the next attempt, whenever it is due: which port, and whether there was no pause before it.
    fn dial(&mut self) -> (u16, bool) {
        let at_once = self.upstream.deadline() == Some(self.now);
        self.now = self.now.max(self.upstream.deadline().unwrap());
        let port = self.upstream.due(self.now).expect("an attempt is due").port;
        assert_eq!(self.upstream.due(self.now), None, "one attempt at a time");
        (port, at_once)
    }

    fn lose(&mut self) {
        self.upstream.lost(self.now, &mut self.rng, "refused");
    }

    /// The attempt that is under way leads to the coordinator, which lets us in and is heard for a while.
    fn join(&mut self, seconds: u64) {
        self.upstream.dialled(self.now, self.links.insert(()));
        let id = id(self.upstream.address().port);
        self.upstream.established(self.now, id);
        self.now = self.now + Duration::from_secs(seconds);
        self.upstream.heard(self.now);
    }
}

#[test]
fn coordinators_are_tried_in_turn_for_ever_and_without_a_pause_in_the_first_round_alone() {
    let mut walk = Walk::new(&[1, 2], &[]);
    let mut tried = Vec::new();
    for _ in 0..5 {
        tried.push(walk.dial());
        walk.lose();
    }
    assert_eq!(tried, [(1, true), (2, true), (1, false), (2, false), (1, false)]);
    walk.dial();
    walk.join(10);
    walk.lose();
    assert_eq!(walk.dial(), (1, true), "a link that stood for a while begins a new round");
}

#[test]
fn a_coordinator_that_lets_us_in_and_goes_is_not_hammered() {
    let mut walk = Walk::new(&[1], &[]);
    let mut without_pause = 0;
    for _ in 0..20 {
        without_pause += u32::from(walk.dial().1);
        walk.join(0);
        walk.lose();
    }
    assert_eq!(without_pause, 1);
}

#[test]
fn who_sends_us_on_is_followed_at_once_but_not_for_ever() {
    let mut walk = Walk::new(&[1], &[]);
    let mut tried = Vec::new();
    for attempt in 0..20 {
        tried.push(walk.dial());
        walk.join(0);
        walk.upstream.send_on(address(if attempt % 2 == 0 { 9 } else { 1 }));
        walk.lose();
    }
    assert_eq!(tried[..3], [(1, true), (9, true), (1, true)]);
    assert!(tried.iter().skip(SENT_ON + 1).all(|(_, at_once)| !at_once), "{tried:?}");
}

/// All coordinators were gone for long, and are back: the one that is found first has followed another, and says so.
#[test]
fn who_sends_us_on_is_followed_at_once_also_after_a_long_time_without_any() {
    let mut walk = Walk::new(&[1, 2], &[]);
    walk.dial();
    walk.join(10);
    for _ in 0..9 {
        walk.lose();
        walk.dial();
    }
    let here = walk.upstream.address().clone();
    let there = address(3 - here.port);
    walk.upstream.dialled(walk.now, walk.links.insert(()));
    walk.upstream.send_on(there.clone());
    walk.lose();
    assert_eq!(walk.dial(), (there.port, true));
}

#[test]
fn where_a_detour_leads_nowhere_the_order_is_walked_from_its_start() {
    let mut walk = Walk::new(&[1, 2], &[]);
    walk.dial();
    walk.upstream.send_on(address(9));
    walk.lose();
    assert_eq!(walk.dial().0, 9);
    walk.lose();
    assert_eq!(walk.dial().0, 1);
}

#[test]
fn silence_and_an_unanswered_greeting_are_overdue() {
    let mut walk = Walk::new(&[1], &[]);
    walk.dial();
    walk.upstream.dialled(at(0), walk.links.insert(()));
    assert_eq!((walk.upstream.overdue(at(4)), walk.upstream.overdue(at(5)).is_some()), (None, true));
    walk.upstream.established(at(4), id(1));
    walk.upstream.heard(at(5));
    assert_eq!((walk.upstream.overdue(at(6)), walk.upstream.deadline()), (None, Some(at(7))));
    assert_eq!(walk.upstream.heard_main(at(6)), Some(&id(1)));
    assert_eq!((walk.upstream.overdue(at(7)).is_some(), walk.upstream.heard_main(at(7))), (true, None));
}

#[test]
fn a_host_that_does_not_answer_is_left_for_the_next_in_the_first_round_alone() {
    let mut walk = Walk::new(&[1, 2], &[]);
    let mut patience = Vec::new();
    for _ in 0..4 {
        walk.dial();
        patience.push(walk.upstream.deadline().map(|until| until.since(walk.now).as_secs()));
        walk.now = walk.upstream.deadline().unwrap_or(walk.now);
        assert_eq!(walk.upstream.overdue(walk.now).is_some(), patience.last().unwrap().is_some());
        walk.lose();
    }
    assert_eq!(patience, [Some(1), Some(1), None, None]);
    let mut alone = Walk::new(&[1], &[]);
    alone.dial();
    assert_eq!(alone.upstream.deadline(), None, "there is nobody else to try");
}

#[test]
fn the_backup_list_says_whom_to_try_and_the_configured_ones_come_last() {
    let mut walk = Walk::new(&[1, 3], &[]);
    walk.dial();
    walk.join(10);
    let mut listed = list(&[1, 2]);
    listed.rotate_left(1);
    listed.push(BackupEntry { id: None, address: address(9), role: Role::Worker });
    listed.insert(0, BackupEntry { id: None, address: address(4), role: Role::Seeking });
    assert!(walk.upstream.learn(listed.clone()));
    assert!(!walk.upstream.learn(listed), "no news");
    assert_eq!(walk.upstream.order, [address(1), address(2), address(4), address(3)]);
    assert_eq!(walk.upstream.main_elsewhere(), None);
    assert!(!walk.upstream.learn(Vec::new()), "nobody lists nobody");
    walk.lose();
    assert_eq!(walk.dial(), (2, true));
}

#[test]
fn whoever_was_dialled_by_another_name_is_recognised_by_its_id() {
    let mut walk = Walk::new(&[7], &[]);
    walk.dial();
    walk.upstream.dialled(walk.now, walk.links.insert(()));
    walk.upstream.established(walk.now, id(1));
    walk.upstream.learn(list(&[1, 2]));
    assert_eq!(walk.upstream.main_elsewhere(), None);
    walk.lose();
    assert_eq!(walk.dial().0, 2);
}

#[test]
fn a_list_that_names_another_main_coordinator_says_where_we_belong() {
    let mut walk = Walk::new(&[1], &[]);
    walk.dial();
    walk.join(0);
    walk.upstream.learn(list(&[2, 1]));
    assert_eq!(walk.upstream.main_elsewhere(), Some(address(2)));
}

#[test]
fn remembered_coordinators_are_tried_before_those_that_were_named() {
    let mut walk = Walk::new(&[1], &[2, 3]);
    let mut tried = Vec::new();
    for _ in 0..3 {
        tried.push(walk.dial());
        walk.lose();
    }
    assert_eq!(tried, [(2, true), (3, true), (1, true)]);
}

#[test]
fn only_who_was_never_let_in_and_is_refused_by_all_who_were_named_is_set_up_wrongly() {
    // A worker ended whose own address was named first, although the second one named was a coordinator.
    let mut walk = Walk::new(&[1, 3], &[2]);
    let mut refused = Vec::new();
    for _ in 0..3 {
        refused.push((walk.dial().0, walk.upstream.refused_for_good()));
        walk.lose();
    }
    assert_eq!(refused, [(2, false), (1, false), (3, true)]);
    walk.dial();
    walk.join(0);
    walk.lose();
    assert!(!walk.upstream.refused_for_good());
}
