use proptest::prelude::*;

use super::*;

fn at(secs: u64) -> Time {
    Time::ZERO + Duration::from_secs(secs)
}

fn count(session: u128, first: u64, last: u64, client_count: u64, succ_count: u64) -> DeliveryCount {
    let (first, last) = (Seq(first), Seq(last));
    let taken_by = Incarnation(1);
    DeliveryCount { session: SessionId(session), first, last, taken_by, client_count, succ_count }
}

fn worker(name: &str) -> ServerId {
    name.parse().unwrap()
}

fn clients(tally: &Tally, session: u128, seq: u64) -> Option<u64> {
    tally.sum(SessionId(session), Seq(seq)).0.map(|sum| sum.clients().0)
}

#[test]
fn the_first_word_of_a_worker_counts_and_only_that_is_news() {
    let mut tally = Tally::default();
    assert_eq!(tally.counted(at(0), &worker("a"), &[count(7, 3, 5, 2, 2)]), [count(7, 3, 5, 2, 2)]);
    assert_eq!(tally.counted(at(0), &worker("a"), &[count(7, 3, 5, 2, 2)]), []);
    assert_eq!(
        tally.counted(at(0), &worker("a"), &[count(7, 1, 9, 4, 1)]),
        [count(7, 1, 2, 4, 1), count(7, 6, 9, 4, 1)]
    );
    assert_eq!(tally.counted(at(0), &worker("b"), &[count(7, 5, 6, 1, 0)]), [count(7, 5, 6, 1, 0)]);
    let (sum, end) = tally.sum(SessionId(7), Seq(5));
    let sum = sum.expect("it was counted");
    assert_eq!((sum.clients(), end), ((3, 2), Seq(6)));
    assert_eq!(sum.workers, [worker("a"), worker("b")]);
    assert_eq!(clients(&tally, 7, 6), Some(5));
    assert_eq!(clients(&tally, 7, 10), None);
    tally.assert_bounds();
}

/// Everybody is at `a` and has activities 4 and 5 when `a` is cut off, before their sender has heard so. They all move to `b`, where it
/// sends 5 again, and 6. Then `a` is back and tells its counts.
#[test]
fn who_moved_and_was_given_an_activity_under_two_ids_is_not_counted_twice() {
    let mut tally = Tally::default();
    let again = |first, last, client_count, succ_count| DeliveryCount {
        taken_by: Incarnation(2),
        ..count(7, first, last, client_count, succ_count)
    };
    tally.counted(at(0), &worker("a"), &[count(7, 4, 5, 11, 11)]);
    assert_eq!(tally.counted(at(1), &worker("b"), &[again(5, 6, 12, 9)]), [again(5, 6, 12, 9)]);
    let told = |tally: &Tally, seq| tally.sum(SessionId(7), Seq(seq)).0.map(Sum::clients);
    assert_eq!([4, 5, 6].map(|seq| told(&tally, seq)), [(11, 11), (11, 11), (12, 9)].map(Some));
    // Those that `c` serves have had nothing from either.
    tally.counted(at(2), &worker("c"), &[again(5, 6, 4, 4)]);
    assert_eq!([5, 6].map(|seq| told(&tally, seq)), [(16, 13); 2].map(Some));
    tally.assert_bounds();
}

#[test]
fn counts_that_cannot_be_are_ignored() {
    let mut tally = Tally::default();
    let wrong = [count(7, 5, 4, 1, 1), count(7, 1, 1, 1, 2)];
    assert_eq!(tally.counted(at(0), &worker("a"), &wrong), []);
    let last = Seq::MAX.0;
    assert_eq!(tally.counted(at(0), &worker("a"), &[count(7, 0, last, 1, 1)]).len(), 1);
    assert_eq!(clients(&tally, 7, last), Some(1));
}

#[test]
fn a_session_that_publishes_all_day_costs_little() {
    let mut tally = Tally::default();
    for seq in 0..100_000 {
        for (name, lag) in [("a", 0), ("b", 3), ("c", 20)] {
            if seq >= lag {
                tally.counted(at(seq / 10), &worker(name), &[count(7, seq - lag, seq - lag, 5, 5)]);
            }
        }
    }
    assert_eq!(tally.young.runs, 3, "what all have counted, what two have, and what one has");
    tally.assert_bounds();
}

#[test]
fn who_is_silent_is_forgotten_after_a_while_and_who_is_not_is_not() {
    let mut tally = Tally::default();
    for second in 0..180 {
        let everybody = [count(7, second, second, 5, 5), count(8, second, second, 5, 5)];
        let talks = if second < 100 { 2 } else { 1 };
        tally.counted(at(second), &worker("a"), &everybody[..talks]);
        assert!(clients(&tally, 8, 0).is_some() || second >= 160, "forgotten after {second} s");
    }
    tally.counted(at(240), &worker("a"), &[count(7, 500, 500, 1, 1)]);
    assert_eq!((clients(&tally, 7, 0), clients(&tally, 8, 0)), (Some(5), None));
    tally.assert_bounds();
}

#[test]
fn fates_that_all_differ_are_kept_within_bounds_and_the_latest_of_each_session_stay() {
    let mut tally = Tally::default();
    for session in 0..40 {
        for seq in 0..SESSION_RUNS as u64 + 100 {
            tally.counted(at(0), &worker("a"), &[count(session, seq, seq, seq % 2, 0)]);
        }
    }
    tally.assert_bounds();
    assert_eq!(clients(&tally, 39, 99), None);
    assert_eq!(clients(&tally, 39, 100), Some(0));
    assert_eq!(clients(&tally, 0, 100), None, "those who have been silent for longest are forgotten");
}

proptest! {
    #[test]
    fn it_sums_up_each_workers_first_word(
        said in proptest::collection::vec((0..3usize, 0..2u64, 0..20u64, 1..8u64, 0..3u64), 0..40),
    ) {
        let workers = ["a", "b", "c"].map(worker);
        let mut tally = Tally::default();
        let mut by_hand: BTreeMap<(u64, u64), BTreeMap<usize, u64>> = BTreeMap::new();
        for (who, session, first, length, clients) in said {
            let said = count(session.into(), first, first + length - 1, clients, clients / 2);
            let news = tally.counted(at(0), &workers[who], &[said]);
            tally.assert_bounds();
            let mut expected = Vec::new();
            for seq in first..first + length {
                let words = by_hand.entry((session, seq)).or_default();
                if let std::collections::btree_map::Entry::Vacant(first_word) = words.entry(who) {
                    first_word.insert(clients);
                    count(session.into(), seq, seq, clients, clients / 2).append_to(&mut expected);
                }
            }
            prop_assert_eq!(news, expected);
        }
        for session in 0..2 {
            let mut seq = 0;
            while seq < 40 {
                let (sum, end) = tally.sum(SessionId(session.into()), Seq(seq));
                for seq in seq..end.0.min(40) {
                    let expected = by_hand.get(&(session, seq)).map(|words| {
                        let attached: u64 = words.values().sum();
                        let have: u64 = words.values().map(|clients| clients / 2).sum();
                        let counted: Vec<_> = words.keys().map(|who| workers[*who].clone()).collect();
                        ((attached, have), counted)
                    });
                    prop_assert_eq!(sum.map(|sum| (sum.clients(), sum.workers.clone())), expected);
                }
                seq = end.0;
            }
        }
    }
}
