use std::time::Duration;

use super::*;

/// What has been delivered, by the numbers that the frames hold.
struct Delivery {
    flood: Flood,
    delivered: Vec<u64>,
}

impl Delivery {
    fn new(limits: Limits) -> Self {
        Delivery { flood: Flood::new("me".parse().unwrap(), Incarnation(1), limits), delivered: Vec::new() }
    }

    fn offer(&mut self, millis: u64, id: &str, seq: u64) -> Novelty {
        let (origin, incarnation) = id.split_once('/').unwrap();
        let incarnation = Incarnation(incarnation.parse().unwrap());
        let id = ActivityId { origin: origin.parse().unwrap(), incarnation, seq: Seq(seq) };
        let novelty = self.flood.offer(at(millis), &id, &frame(seq));
        if novelty == Novelty::Next {
            self.delivered.push(seq);
        }
        self.take_ready();
        novelty
    }

    fn give_up(&mut self, millis: u64) {
        self.flood.give_up(at(millis));
        self.take_ready();
    }

    fn take_ready(&mut self) {
        while let Some(frame) = self.flood.next_ready() {
            self.delivered.push(std::str::from_utf8(&frame).unwrap().trim_end().parse().unwrap());
        }
        self.flood.assert_bounds();
    }
}

fn frame(seq: u64) -> Vec<u8> {
    format!("{seq:09}\n").into_bytes()
}

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

#[test]
fn whatever_the_order_of_arrival_each_is_delivered_once_and_in_order() {
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..100 {
        let mut delivery = Delivery::new(Limits::default());
        let mut arrivals: Vec<u64> = (1..30).chain(1..30).collect();
        rng.shuffle(&mut arrivals);
        delivery.offer(0, "a/1", 0);
        let seen = arrivals.iter().filter(|seq| delivery.offer(0, "a/1", **seq) == Novelty::Seen).count();
        assert_eq!((seen, &delivery.delivered), (29, &(0..30).collect()));
        assert_eq!(delivery.flood.deadline(), None);
    }
}

#[test]
fn a_gap_is_given_up_after_the_ordering_period_and_stays_given_up() {
    let mut delivery = Delivery::new(Limits::default());
    delivery.offer(0, "a/1", 4);
    assert_eq!(delivery.offer(10, "a/1", 6), Novelty::Early);
    assert_eq!(delivery.offer(20, "a/1", 7), Novelty::Early);
    assert_eq!(delivery.flood.deadline(), Some(at(510)));
    delivery.give_up(509);
    assert_eq!(delivery.delivered, [4]);
    delivery.give_up(510);
    assert_eq!((&delivery.delivered[..], delivery.flood.gaps()), (&[4, 6, 7][..], 1));
    assert_eq!(delivery.offer(520, "a/1", 5), Novelty::Seen);
    assert_eq!(delivery.offer(520, "a/1", 8), Novelty::Next);
}

#[test]
fn each_waits_for_its_own_period_behind_a_later_gap() {
    let mut delivery = Delivery::new(Limits::default());
    delivery.offer(0, "a/1", 0);
    delivery.offer(0, "a/1", 2);
    delivery.offer(300, "a/1", 4);
    delivery.give_up(500);
    assert_eq!((&delivery.delivered[..], delivery.flood.deadline()), (&[0, 2][..], Some(at(800))));
    delivery.offer(600, "a/1", 3);
    assert_eq!((&delivery.delivered[..], delivery.flood.deadline()), (&[0, 2, 3, 4][..], None));
}

#[test]
fn more_than_may_be_held_is_not() {
    let mut delivery = Delivery::new(Limits { held_bytes: 30, ..Limits::default() });
    delivery.offer(0, "a/1", 0);
    for seq in [2, 3, 4] {
        assert_eq!(delivery.offer(0, "a/1", seq), Novelty::Early);
    }
    assert_eq!(delivery.delivered, [0]);
    delivery.offer(0, "a/1", 6);
    assert_eq!((&delivery.delivered[..], delivery.flood.gaps()), (&[0, 2, 3, 4, 6][..], 2));
}

#[test]
fn an_origin_begins_where_it_says_or_where_it_is_first_heard() {
    let mut delivery = Delivery::new(Limits::default());
    delivery.flood.announced(at(0), &"a".parse().unwrap(), Incarnation(1), Seq(5));
    assert_eq!(delivery.offer(0, "a/1", 4), Novelty::Seen);
    assert_eq!(delivery.offer(0, "a/1", 6), Novelty::Early);
    delivery.flood.announced(at(0), &"a".parse().unwrap(), Incarnation(1), Seq(9));
    assert_eq!(delivery.offer(0, "a/1", 5), Novelty::Next);
    assert_eq!(delivery.offer(0, "b/1", 7), Novelty::Next);
    assert_eq!(delivery.delivered, [5, 6, 7]);
}

#[test]
fn our_own_activities_come_back_as_seen_but_those_of_our_former_self_are_news() {
    let mut delivery = Delivery::new(Limits::default());
    assert_eq!((delivery.flood.next_id().seq, delivery.flood.next_id().seq), (Seq(0), Seq(1)));
    assert_eq!(delivery.flood.next_seq(), Seq(2));
    assert_eq!(delivery.offer(0, "me/1", 0), Novelty::Seen);
    assert_eq!(delivery.offer(0, "me/9", 0), Novelty::Next);
    assert_eq!(delivery.offer(0, "me/9", 0), Novelty::Seen);
}

#[test]
fn who_was_silent_for_longest_is_forgotten_beyond_the_bounds() {
    let mut delivery = Delivery::new(Limits::default());
    delivery.offer(0, "a/1", 0);
    delivery.offer(1, "a/2", 0);
    delivery.offer(2, "a/3", 0);
    delivery.offer(3, "a/4", 0);
    delivery.offer(4, "a/1", 2);
    delivery.offer(5, "a/5", 0);
    assert_eq!(delivery.offer(6, "a/1", 0), Novelty::Seen, "it was heard lately");
    assert_eq!(delivery.offer(6, "a/2", 0), Novelty::Next, "it was forgotten");
    for number in 0..1_100 {
        delivery.offer(7 + number, &format!("o{number}/1"), 0);
    }
    assert!(delivery.delivered.contains(&2), "what a forgotten origin still held was delivered");
    assert_eq!(delivery.flood.deadline(), None);
}
