use proptest::prelude::*;

use super::*;

fn shares(loads: &[u64]) -> Vec<Share> {
    loads.iter().map(|&load| Share { load, movable: load, going: 0, coming: 0 }).collect()
}

/// Every client that is told to move has moved when the next portion is asked for. Says how many each worker gave and took.
fn even_out(shares: &mut [Share], rounds: usize) -> Vec<(u64, u64)> {
    let mut balancing = Balancing::new(100);
    let mut moved = vec![(0, 0); shares.len()];
    for _ in 0..rounds {
        for Transfer { from, to, count } in balancing.plan(shares) {
            assert!(count <= shares[from].movable, "more are moved than can be");
            shares[from].load -= count;
            shares[from].movable -= count;
            shares[to].load += count;
            moved[from].0 += count;
            moved[to].1 += count;
        }
    }
    moved
}

fn loads(shares: &[Share]) -> Vec<u64> {
    shares.iter().map(|share| share.load).collect()
}

#[test]
fn a_worker_that_joins_gets_the_surplus_of_the_others_and_nobody_else_moves() {
    let mut workers = shares(&[1_000; 11]);
    (workers[10].load, workers[10].movable) = (0, 0);
    let moved = even_out(&mut workers, 30);
    assert!(workers.iter().all(|worker| worker.load.abs_diff(909) <= 909 / 20), "{:?}", loads(&workers));
    assert_eq!(moved[10].0, 0, "nobody is sent back");
    assert!(moved[..10].iter().all(|(gave, took)| (1..=92).contains(gave) && *took == 0), "{moved:?}");
}

#[test]
fn a_portion_is_a_twentieth_of_the_mean_and_no_more_than_the_limit() {
    for (full, portion) in [(1_000, 25), (20, 1), (10, 1), (100_000, 100)] {
        let plan = Balancing::new(100).plan(&shares(&[full, 0]));
        assert_eq!(plan, [Transfer { from: 0, to: 1, count: portion }], "{full} clients and none");
    }
}

#[test]
fn what_hardly_matters_is_left_alone_and_what_was_begun_is_not_left_half_way() {
    for even in [&[105, 95][..], &[4, 0], &[3, 1, 2], &[0, 0], &[7], &[]] {
        assert_eq!(Balancing::new(100).plan(&shares(even)), [], "{even:?}");
    }
    let mut balancing = Balancing::new(100);
    assert_eq!(balancing.plan(&shares(&[106, 94])), [Transfer { from: 0, to: 1, count: 5 }]);
    assert_eq!(balancing.plan(&shares(&[103, 97])), [Transfer { from: 0, to: 1, count: 3 }]);
    assert_eq!(balancing.plan(&shares(&[102, 98])), []);
    assert_eq!(balancing.plan(&shares(&[103, 97])), [], "it does not begin again for so little");
}

#[test]
fn only_those_who_can_move_are_moved() {
    let mut workers = shares(&[100, 100, 0]);
    workers[0].movable = 0;
    workers[1].movable = 7;
    let moved = even_out(&mut workers, 30);
    assert_eq!(moved, [(0, 0), (7, 0), (0, 7)]);
}

#[test]
fn those_on_their_way_are_waited_for() {
    let mut workers = shares(&[1_000, 1_000, 100]);
    (workers[0].going, workers[2].coming) = (35, 33);
    let plan = Balancing::new(100).plan(&workers);
    assert_eq!(plan, [Transfer { from: 1, to: 2, count: 2 }]);
    workers[2].coming = 35;
    assert_eq!(Balancing::new(100).plan(&workers), []);
}

#[test]
fn clients_that_are_not_seen_in_time_are_no_longer_on_the_way() {
    let at = Time::from_micros;
    let mut way = OnTheWay::default();
    way.add(5, at(10));
    way.add(5, at(20));
    way.seen(7);
    assert_eq!(way.count(), 3);
    way.expire(at(10));
    assert_eq!(way.count(), 3, "the first five have been seen");
    way.seen(1);
    way.expire(at(20));
    assert_eq!(way.count(), 0);
    way.seen(1);
    assert_eq!(way.count(), 0);
}

proptest! {
    #[test]
    fn whatever_the_loads_they_become_even_and_nobody_gives_what_it_takes(
        loads in proptest::collection::vec(0..2_000u64, 2..20),
    ) {
        let mut workers = shares(&loads);
        let moved = even_out(&mut workers, 500);
        let mean = loads.iter().sum::<u64>() / loads.len() as u64;
        for (worker, (gave, took)) in workers.iter().zip(moved) {
            prop_assert!(worker.load.abs_diff(mean) <= (mean / 20).max(2) + 1, "{:?} of {:?}", workers, loads);
            prop_assert!(gave == 0 || took == 0);
        }
    }

    #[test]
    fn what_workers_claim_is_bounded_by_what_they_are_asked(
        claims in proptest::collection::vec((any::<u64>(), any::<u64>(), 0..200u64, 0..200u64), 0..6),
    ) {
        let shares: Vec<_> =
            claims.iter().map(|&(load, movable, going, coming)| Share { load, movable, going, coming }).collect();
        for transfer in Balancing::new(100).plan(&shares) {
            prop_assert!((1..=100).contains(&transfer.count) && transfer.from != transfer.to);
        }
    }
}
