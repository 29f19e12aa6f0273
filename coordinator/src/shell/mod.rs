//! The coordinator's process: a socket, a clock, hashing and a disk for the core.
//!
//! Hashing runs on a bounded pool of threads, the disk on a thread of its own; both answer with an input. What is *not* here:
//! any decision.

mod commands;
mod disk;
mod exports;
mod remote;
mod store;
mod transfer;
mod users_file;

pub use commands::{export, import};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use common::boot;
use common::id::Incarnation;
use common::net::{self, Hasher, Options};
use common::wire::Address;
use tokio::sync::mpsc::{self, UnboundedSender};
use tracing::info;

use crate::config::Config;
use crate::core::{self, Coordinator, Effect, Input};
use disk::Disk;
use exports::Exports;
use store::Store;

/// Runs a coordinator until it is told to end. Must be called inside a `LocalSet`.
///
/// # Errors
/// A sentence that says what to do.
pub async fn run(config: Config) -> Result<(), String> {
    boot::raise_file_limit();
    let listener = net::listen(config.listen, "--listen").await?;
    let bound = listener
        .local_addr()
        .map_err(|error| format!("cannot tell where this coordinator listens: {error}"))?;
    let address = config.advertise.unwrap_or_else(|| Address::from(bound));
    let (mut store, opened) = Store::open(&config.data_dir, config.id).map_err(|error| error.to_string())?;
    let (id, users) = (opened.id, opened.recovered.users.len());
    store.announce(&reachable(bound)).map_err(|error| error.to_string())?;
    let exports = config.export.map(|(path, every)| Exports::new(path, every)).transpose()?;

    let clock = boot::Clock::start();
    let settings = core::Config {
        id: id.clone(),
        address: address.clone(),
        secret: config.secret,
        backups: config.backups,
        require_backups: config.require_backups,
        incarnation: Incarnation(boot::random_seed()),
        seed: boot::random_seed(),
        limits: config.limits,
    };
    let coordinator = Coordinator::new(clock.now(), settings, opened.recovered);
    let (inputs, results) = mpsc::unbounded_channel();
    let (mut disk, disk_ended) = Disk::start(store, exports, inputs.clone());
    // Who is told that it is ready may tell it to end.
    tokio::task::spawn_local(drain_on(boot::shutdown_signal(), inputs.clone()));

    info!(%id, %address, users, data_dir = %config.data_dir.display(), "the coordinator is ready");
    let hasher = Hasher::new();
    let perform = |effect| perform(effect, &hasher, &disk, &inputs);
    let outcome = tokio::select! {
        outcome = net::drive(coordinator, Some(listener), Options::new(clock), results, perform) => outcome,
        _ = disk_ended => Err("the store has failed in a way that it should not; start again, and please report what is said above".to_owned()),
    };
    disk.stop();
    outcome
}

/// Starts an effect. Its result comes back as an input.
fn perform(effect: Effect, hasher: &Hasher, disk: &Disk, inputs: &UnboundedSender<Input>) {
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
        Effect::Persist { job, change } => disk.write(job, change),
    }
}

/// Where somebody on this machine reaches what listens there.
fn reachable(bound: SocketAddr) -> Address {
    let mut address = bound;
    match bound.ip() {
        ip if !ip.is_unspecified() => {}
        IpAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
    }
    Address::from(address)
}

async fn drain_on(signal: impl Future<Output = ()>, inputs: UnboundedSender<Input>) {
    signal.await;
    drop(inputs.send(Input::Drain));
}
