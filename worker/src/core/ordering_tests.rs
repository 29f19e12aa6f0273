use std::time::Duration;

use super::*;

const PERIOD: Duration = Duration::from_millis(500);

/// What has been delivered, by number; negative where it was late, and with what was missing before it.
struct Delivery {
    ordering: Ordering,
    delivered: Vec<String>,
}

impl Delivery {
    fn new(sessions: usize, waiting_bytes: usize) -> Self {
        Delivery { ordering: Ordering::new(Limits { sessions, waiting_bytes }), delivered: Vec::new() }
    }

    fn offer(&mut self, millis: u64, session: u128, seq: u64) -> Turn {
        let id = id(seq);
        let turn = self.ordering.offer(at(millis), (SessionId(session), Seq(seq)), 0, &id, &frame(seq));
        match turn {
            Turn::Now => self.delivered.push(seq.to_string()),
            Turn::Late => self.delivered.push(format!("{seq} late")),
            Turn::Known | Turn::Early => {}
        }
        self.take_ready();
        turn
    }

    fn give_up(&mut self, millis: u64) {
        while self.ordering.waits_since().is_some_and(|since| since + PERIOD <= at(millis)) {
            self.ordering.give_up();
            self.take_ready();
        }
    }

    fn take_ready(&mut self) {
        while let Some(ready) = self.ordering.next_ready() {
            assert_eq!((&ready.id, &ready.frame), (&id(ready.seq.0), &frame(ready.seq.0)));
            self.delivered.push(match ready.missing_from {
                Some(first) => format!("{} without {first}", ready.seq),
                None => ready.seq.to_string(),
            });
        }
        self.ordering.assert_bounds();
    }
}

fn id(seq: u64) -> ActivityId {
    format!("w/0000000000000001/{seq}").parse().unwrap()
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
        let mut delivery = Delivery::new(10, 10_000);
        let mut arrivals: Vec<u64> = (1..30).chain(1..30).collect();
        rng.shuffle(&mut arrivals);
        let known = arrivals.iter().filter(|seq| delivery.offer(0, 7, **seq) == Turn::Known).count();
        let expected: Vec<_> = (1..30).map(|seq: u64| seq.to_string()).collect();
        assert_eq!((known, &delivery.delivered), (29, &expected));
        assert_eq!(delivery.ordering.waits_since(), None);
    }
}

#[test]
fn what_waits_does_so_under_all_its_ids() {
    // The second one was in the position of a client that fell behind before the first one's turn came, and went on elsewhere without it.
    let mut ordering = Delivery::new(10, 10_000).ordering;
    let double: ActivityId = "v/0000000000000001/9".parse().unwrap();
    assert_eq!(ordering.offer(at(0), (SessionId(7), Seq(2)), 0, &id(2), &frame(2)), Turn::Early);
    assert_eq!(ordering.offer(at(0), (SessionId(7), Seq(2)), 0, &double, &frame(2)), Turn::Known);
    assert_eq!(ordering.waiting().to_string(), "v/0000000000000001/9,w/0000000000000001/2");
    assert_eq!(ordering.offer(at(0), (SessionId(7), Seq(1)), 0, &id(1), &frame(1)), Turn::Now);
    assert!(ordering.next_ready().is_some() && ordering.waiting().is_empty());
}

#[test]
fn what_is_not_there_in_time_is_announced_and_late_when_it_comes() {
    let mut delivery = Delivery::new(10, 10_000);
    for (millis, seq) in [(0, 1), (10, 4), (20, 5), (30, 8)] {
        delivery.offer(millis, 7, seq);
    }
    assert_eq!(delivery.ordering.waiting().to_string(), "w/0000000000000001/4-5+8");
    delivery.give_up(509);
    assert_eq!(delivery.delivered, ["1"]);
    delivery.give_up(510);
    assert_eq!(delivery.delivered, ["1", "4 without 2", "5"], "the first gap took 5 with it");
    assert_eq!(delivery.ordering.waits_since(), Some(at(30)));
    assert_eq!(delivery.offer(520, 7, 3), Turn::Late);
    assert_eq!(delivery.offer(520, 7, 3), Turn::Known);
    delivery.give_up(530);
    assert_eq!(delivery.delivered[3..], ["3 late", "8 without 6"]);
    assert_eq!(delivery.ordering.gaps(), 2);
}

#[test]
fn a_session_that_is_new_here_in_the_middle_waits_for_its_beginning_and_misses_nothing() {
    let mut delivery = Delivery::new(10, 10_000);
    assert_eq!(delivery.offer(0, 7, 41), Turn::Early);
    delivery.give_up(500);
    assert_eq!(delivery.offer(500, 7, 42), Turn::Now);
    assert_eq!(delivery.delivered, ["41", "42"]);
    assert_eq!(delivery.offer(600, 7, 40), Turn::Late, "others may have it, and tell us in the end");
}

#[test]
fn of_two_activities_under_one_number_the_first_is_the_one() {
    let mut ordering = Delivery::new(10, 10_000).ordering;
    let session = SessionId(7);
    let id = "w/00000000000000ff/1".parse().unwrap();
    let mut offer = |seq, checksum| ordering.offer(at(0), (session, Seq(seq)), checksum, &id, b"x\n");
    assert_eq!(offer(1, 0), Turn::Now);
    assert_eq!(offer(5, 1), Turn::Early);
    // Another one under the same number, by way of another worker; and an older one that was caught up with.
    assert_eq!(offer(5, 2), Turn::Known);
    assert_eq!(offer(4, 3), Turn::Early);
    assert!(!ordering.contradicts(&session, Seq(5), 1));
    assert!(ordering.contradicts(&session, Seq(5), 2));
    assert!(ordering.contradicts(&session, Seq(4), 1));
    assert!(!ordering.contradicts(&session, Seq(6), 2), "nothing is known of it");
}

#[test]
fn the_contents_of_the_latest_numbers_are_remembered_in_whatever_order_they_came() {
    let mut rng = fastrand::Rng::with_seed(2);
    for _ in 0..200 {
        let (mut contents, mut model) = (Contents::default(), BTreeMap::<u64, u32>::new());
        for _ in 0..100 {
            let highest = model.keys().next_back().copied().unwrap_or(0);
            let far = rng.u8(..20) == 0;
            let number =
                if far { highest + rng.u64(..1 << 40) } else { (highest + 4).saturating_sub(rng.u64(..40)) };
            let checksum = rng.u32(..);
            contents.note(number, checksum);
            let highest = highest.max(number);
            if number + CONTENTS > highest {
                model.entry(number).or_insert(checksum);
            }
            model.retain(|number, _| number + CONTENTS > highest);
            for number in highest.saturating_sub(2 * CONTENTS)..highest + 2 {
                assert_eq!(contents.of(number), model.get(&number).copied(), "{number} of {highest}");
            }
        }
    }
}

#[test]
fn the_sessions_that_have_been_silent_for_longest_are_forgotten_and_none_that_waits() {
    let mut delivery = Delivery::new(10, 10_000);
    delivery.offer(0, 1, 2);
    for session in 2..40 {
        delivery.offer(0, session, 1);
        assert_eq!(delivery.offer(0, 39, 1), if session == 2 { Turn::Now } else { Turn::Known });
    }
    assert_eq!(delivery.offer(0, 2, 1), Turn::Now, "it is forgotten");
    assert_eq!(delivery.offer(0, 1, 1), Turn::Now);
    assert_eq!(delivery.delivered.last().unwrap(), "2", "it has waited all the time");
}

#[test]
fn when_too_much_waits_those_that_wait_longest_go_on_without() {
    let mut delivery = Delivery::new(10, 25);
    for (session, seq) in [(1, 1), (2, 1), (1, 3), (2, 3)] {
        delivery.offer(0, session, seq);
    }
    delivery.offer(1, 2, 5);
    assert_eq!(delivery.delivered, ["1", "1", "3 without 2"]);
    delivery.offer(1, 2, u64::from(u32::MAX));
    assert!(delivery.ordering.waits_since().is_some());
}

#[test]
fn ten_million_activities_of_a_thousand_sessions_cost_less_than_half_a_megabyte() {
    let mut ordering = Ordering::new(Limits { sessions: 65_536, waiting_bytes: 1 << 20 });
    for session in 0..1_000 {
        // As if the first ten thousand of each had come.
        ordering.remember(SessionId(session));
        ordering.young.get_mut(&SessionId(session)).unwrap().delivered.add(1, 9_999);
        let id = id(10_000);
        assert_eq!(ordering.offer(at(0), (SessionId(session), Seq(10_000)), 0, &id, b"x\n"), Turn::Now);
    }
    // A map is half full at the least; ranges grow by four; an allocation costs up to 16 bytes more.
    let each =
        size_of::<(SessionId, Numbers)>() * 2 + size_of::<(u64, u64)>() * 4 + size_of::<Contents>() + 32;
    assert!(ordering.young.len() * each < 500_000, "{each} bytes a session");
}

#[test]
fn a_session_that_speaks_when_the_generations_change_is_remembered() {
    let mut delivery = Delivery::new(4, 1_000);
    for session in [1, 2, 3, 4] {
        delivery.offer(0, session, 1);
    }
    // 1 and 2 are the old generation, 3 and 4 the young one, which is full. All four fit.
    assert_eq!(delivery.offer(1, 1, 1), Turn::Known, "it came again by another way");
    assert_eq!(delivery.offer(1, 1, 2), Turn::Now);
}

#[test]
fn what_waits_is_kept_when_its_session_speaks_as_the_generations_change() {
    let mut delivery = Delivery::new(4, 1_000);
    delivery.offer(0, 1, 1);
    delivery.offer(0, 1, 3);
    for session in [2, 3, 4] {
        delivery.offer(0, session, 1);
    }
    // As above: session 1 is old, and 3 waits there.
    let ordering = &mut delivery.ordering;
    assert_eq!(ordering.offer(at(1), (SessionId(1), Seq(5)), 0, &id(5), &frame(5)), Turn::Early);
    assert!(ordering.waits(&SessionId(1), Seq(3)), "it waits still");
}

#[test]
fn what_waits_is_gone_on_without_as_the_generations_change() {
    let mut delivery = Delivery::new(4, 1_000);
    delivery.offer(0, 1, 1);
    delivery.offer(0, 1, 3);
    for session in [2, 3, 4] {
        delivery.offer(0, session, 1);
    }
    delivery.delivered.clear();
    // The time is over. This is all that the worker does then.
    delivery.ordering.give_up();
    delivery.take_ready();
    assert_eq!(delivery.delivered, ["3 without 2"]);
}

#[test]
fn as_many_sessions_are_remembered_as_may_be() {
    let mut delivery = Delivery::new(8, 1_000);
    for seq in 1..=3 {
        for session in 1..=6 {
            assert_eq!(delivery.offer(seq, session, seq), Turn::Now, "number {seq} of session {session}");
        }
    }
}
