//! Runs seeds: one, or many on all cores.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::coverage::Coverage;
use super::scenario::Scenario;
use super::trace::Telling;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The hash of everything that happened.
    pub hash: u64,
    /// How many events that was.
    pub events: u64,
    /// What kinds of things happened.
    pub coverage: Coverage,
    /// What did not hold.
    pub failure: Option<Failure>,
}

/// What plans are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plans {
    /// All that there are.
    Any,
    /// Groups of three that require backups.
    Quorum,
}

impl Plans {
    /// The test that runs them, as far as its name says which it is.
    fn test(self) -> &'static str {
        match self {
            Plans::Any => "in_all_seeds",
            Plans::Quorum => "no_name_is_given_twice",
        }
    }
}

/// A run in which something did not hold.
#[derive(Debug)]
pub struct Failure {
    plans: Plans,
    seed: u64,
    what: String,
    last_events: Vec<String>,
}

impl Failure {
    /// Which seed failed, and what did not hold, in a line.
    pub fn headline(&self) -> String {
        format!("seed {} failed: {}", self.seed, self.what)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        writeln!(f, "the last events were:")?;
        for event in &self.last_events {
            writeln!(f, "  {event}")?;
        }
        writeln!(f, "replay it, with every event, by:")?;
        write!(
            f,
            "  FRESHET_SEED={} cargo test -p tests --test simulation {} -- --nocapture",
            self.seed,
            self.plans.test()
        )
    }
}

/// Runs one seed.
pub fn run(plans: Plans, seed: u64, telling: Telling) -> Outcome {
    let mut scenario = Scenario::new(plans, seed);
    scenario.trace().set_telling(telling);
    if telling == Telling::Everything {
        println!("{:#?}", scenario.plan());
    }
    // A core that finds itself in a state that must not be panics; that is a finding like any other.
    let result =
        catch_unwind(AssertUnwindSafe(|| scenario.run())).unwrap_or_else(|panic| Err(words(&*panic)));
    let trace = scenario.trace();
    let failure = result.err().map(|what| Failure {
        plans,
        seed,
        what,
        last_events: trace.recent().map(str::to_owned).collect(),
    });
    Outcome {
        hash: trace.hash(),
        events: trace.events(),
        coverage: std::mem::take(&mut scenario.coverage),
        failure,
    }
}

/// Runs `count` seeds from `first` on, on as many threads as there are cores; stops at the first failure.
///
/// # Errors
/// The failure.
pub fn run_many(plans: Plans, first: u64, count: u64) -> Result<Coverage, Failure> {
    match survey(plans, first, count, 1) {
        (coverage, failures) if failures.is_empty() => Ok(coverage),
        (_, mut failures) => Err(failures.remove(0)),
    }
}

/// The same up to so many failures. Returns what was covered all the same.
pub fn survey(plans: Plans, first: u64, count: u64, most: usize) -> (Coverage, Vec<Failure>) {
    let next = AtomicU64::new(first);
    let total = Mutex::new((Coverage::default(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let mut outcome = run(plans, seed, Telling::Nothing);
                    if outcome.failure.is_some() {
                        // The same again, in words.
                        outcome.failure = run(plans, seed, Telling::Last).failure.or(outcome.failure);
                    }
                    let mut total = total.lock().expect("no thread panics with it");
                    total.0.merge(&outcome.coverage);
                    if let Some(failure) = outcome.failure {
                        total.1.push(failure);
                        if total.1.len() >= most {
                            next.store(first + count, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    total.into_inner().expect("no thread panics with it")
}

pub(super) fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a panic: {}", text.unwrap_or("without words"))
}
