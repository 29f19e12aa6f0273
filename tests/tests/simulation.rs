//! A few hundred seeds of the simulator. `FRESHET_SEEDS=20000` runs more of them, `FRESHET_SEED=17` replays one with all its events,
//! `FRESHET_FAILURES=20` goes on until so many have failed.

use std::time::Duration;

use tests::sim::Telling;
use tests::sim::coverage::{Coverage, PER_SEEDS};
use tests::sim::crowd::one_more;
use tests::sim::explore::explore;
use tests::sim::run::{Plans, run, run_many, survey};

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

/// Runs the seeds that are asked for, or as many as usual. Returns what was covered, and by how many; nothing where one was replayed.
fn seeds(plans: Plans, usual: u64) -> Option<(Coverage, u64)> {
    if let Some(seed) = number("FRESHET_SEED") {
        let outcome = run(plans, seed, Telling::Everything);
        println!("{} events, hash {:016x}\n{}", outcome.events, outcome.hash, outcome.coverage.table());
        if let Some(failure) = outcome.failure {
            panic!("{failure}");
        }
        return None;
    }
    let seeds = number("FRESHET_SEEDS").unwrap_or(usual);
    let first = number("FRESHET_FIRST_SEED").unwrap_or(0);
    let coverage = match number("FRESHET_FAILURES") {
        None => run_many(plans, first, seeds).unwrap_or_else(|failure| panic!("{failure}")),
        Some(most) => {
            let (coverage, failures) = survey(plans, first, seeds, most as usize);
            failures.iter().for_each(|failure| println!("{}", failure.headline()));
            println!("{}", coverage.table());
            assert!(failures.is_empty(), "{} seeds failed", failures.len());
            coverage
        }
    };
    println!("{}", coverage.table());
    Some((coverage, seeds))
}

#[test]
fn what_is_promised_holds_in_all_seeds_and_enough_happens_in_them() {
    let Some((coverage, seeds)) = seeds(Plans::Any, PER_SEEDS) else { return };
    let missing = coverage.missing(seeds);
    assert!(
        missing.is_empty(),
        "the seeds were too quiet; of these happened too few:\n{}",
        missing.join("\n")
    );
}

#[test]
fn where_backups_are_required_no_name_is_given_twice_whatever_one_coordinator_has_alone() {
    seeds(Plans::Quorum, 60);
}

#[test]
fn small_worlds_hold_in_every_order_of_events_and_with_a_fault_at_every_moment() {
    let budget = number("FRESHET_SCHEDULES").unwrap_or(10_000) as usize;
    let explored = explore(budget, 3).unwrap_or_else(|failure| panic!("{failure}"));
    println!("schedules by decisions: {:?}; {} more are known", explored.schedules, explored.left);
    assert!(explored.schedules[1] > 100, "every fault at every moment: {:?}", explored.schedules);
}

#[test]
fn when_a_worker_joins_ten_with_ten_thousand_clients_they_are_even_within_a_minute_and_nobody_moves_twice() {
    let joined = one_more(10, number("FRESHET_CLIENTS").unwrap_or(10_000) as usize);
    let most = joined.moves.values().max();
    assert_eq!(most, Some(&1), "nobody moves twice: {:?}, {:?}", joined.even_after, joined.loads);
    assert!(joined.even_after.is_some_and(|after| after <= Duration::from_secs(60)), "{joined:?}");
    println!("even after {:?}, with {} moves: {:?}", joined.even_after, joined.moves.len(), joined.loads);
    assert_eq!(joined.loads.iter().sum::<u64>(), joined.live as u64, "everybody is somewhere");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..6 {
        let (once, again) = (run(Plans::Any, seed, Telling::Last), run(Plans::Any, seed, Telling::Last));
        assert_eq!((once.hash, once.events), (again.hash, again.events), "seed {seed}");
    }
    assert_ne!(run(Plans::Any, 0, Telling::Last).hash, run(Plans::Any, 1, Telling::Last).hash);
}
