//! The worker's process: a socket, a clock, hashing, a small file and the log's files for the core. What is *not* here: any decision.

mod memory;
mod segment_files;
mod segments;

pub use memory::{Busy, Memory};
pub use segments::Segments;

use std::cell::Cell;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::boot;
use common::id::Incarnation;
use common::net::{self, Hasher, Options};
use common::wire::Address;
use tokio::sync::mpsc::{self, UnboundedSender};
use tracing::info;

use crate::config::Config;
use crate::core::{self, Effect, Input, Limits, Worker};

/// What a worker that ends gives its disk at the least.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// Runs a worker until it is told to end. Must be called inside a `LocalSet`.
///
/// # Errors
/// A sentence that says what to do.
pub async fn run(config: Config) -> Result<(), String> {
    boot::raise_file_limit();
    let listener = net::listen(config.listen, "--listen").await?;
    let bound =
        listener.local_addr().map_err(|error| format!("cannot tell where this worker listens: {error}"))?;
    let address = config.advertise.unwrap_or_else(|| Address::from(bound));
    let (memory, remembered) = match &config.data_dir {
        Some(directory) => Memory::open(directory).map_err(|error| error.to_string())?,
        None => Default::default(),
    };
    let (inputs, results) = mpsc::unbounded_channel();
    let limits = Limits {
        failure_timeout: config.failure_timeout,
        ordering_period: config.ordering_period,
        drain: config.drain_timeout,
        retain_bytes: config.retain_bytes,
        retain_age: config.retain_age,
        ..Limits::default()
    };
    // It ends before the memory does, whose lock is its, too.
    let (segments, kept) = match config.data_dir.filter(|_| memory.is_open()) {
        Some(directory) => {
            let answers = inputs.clone();
            let answer = move |segment, frames| drop(answers.send(Input::Segment { segment, frames }));
            let (segments, kept) = Segments::open(&directory, limits.log_bytes, answer)?;
            (segments, Some(kept))
        }
        None => Default::default(),
    };
    let coordinators: Vec<String> = config.coordinators.iter().map(Address::to_string).collect();
    info!(id = %config.id, %address, coordinator = coordinators.join(" "), "the worker is ready");

    let clock = boot::Clock::start();
    let settings = core::Config {
        id: config.id,
        address,
        secret: config.secret,
        coordinators: config.coordinators,
        remembered,
        kept,
        incarnation: Incarnation(boot::random_seed()),
        seed: boot::random_seed(),
        limits,
    };
    let worker = Worker::new(clock.now(), settings);
    let told_to_end = Rc::new(Cell::new(None));
    tokio::task::spawn_local(drain_on_signal(inputs.clone(), told_to_end.clone()));
    let hasher = Hasher::new();
    let perform = |effect| perform(effect, &hasher, &memory, &segments, &inputs);
    let outcome = net::drive(worker, Some(listener), Options::new(clock), results, perform).await;
    // A disk that hangs does not keep it here.
    let now = Instant::now();
    let until = told_to_end.get().unwrap_or(now) + config.drain_timeout;
    let until = until.max(now + LAST_WRITES);
    segments.finish(until);
    memory.finish(until);
    outcome
}

/// Waits for a thread to end, until then. Says whether it has.
fn ends(thread: &JoinHandle<()>, until: Instant) -> bool {
    while !thread.is_finished() {
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Starts an effect. Its result, where it has one, comes back as an input.
fn perform(
    effect: Effect,
    hasher: &Hasher,
    memory: &Memory,
    segments: &Segments,
    inputs: &UnboundedSender<Input>,
) {
    let inputs = inputs.clone();
    // Nobody listens any more where the machine has exited: then nobody misses the answer either.
    let answer = move |input| drop(inputs.send(input));
    match effect {
        Effect::Hash { job, from, secret } => hasher.hash(job, from, secret, move |hash| {
            answer(hash.map_or(Input::Unhashed { job }, |hash| Input::Hashed { job, hash }));
        }),
        Effect::Verify { job, from, secret, hash } => {
            hasher.verify(job, from, secret, hash, move |matches| {
                answer(matches.map_or(Input::Unhashed { job }, |matches| Input::Verified { job, matches }));
            })
        }
        Effect::Cancel { job } => hasher.cancel(job),
        Effect::Doubt { job } => hasher.doubt(job),
        Effect::Segment(request) => segments.request(request),
        Effect::Remember(remembered) => memory.keep(remembered),
    }
}

async fn drain_on_signal(inputs: UnboundedSender<Input>, told_to_end: Rc<Cell<Option<Instant>>>) {
    boot::shutdown_signal().await;
    told_to_end.set(Some(Instant::now()));
    drop(inputs.send(Input::Drain));
}
