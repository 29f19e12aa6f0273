//! The command line, as meant.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use common::boot;
use common::id::ServerId;
use common::network_secret::{self, IfMissing};
use common::user::Secret;
use common::wire::Address;

use crate::args::Args;

/// What a worker's process needs to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where others reach it; `None` for where it turns out to listen.
    pub advertise: Option<Address>,
    /// Its name.
    pub id: ServerId,
    /// The coordinators to try; at least one.
    pub coordinators: Vec<Address>,
    /// Where it remembers the coordinators and keeps its log; `None` for nowhere.
    pub data_dir: Option<PathBuf>,
    /// How much of the log it keeps there, in bytes.
    pub retain_bytes: usize,
    /// For how long.
    pub retain_age: Duration,
    /// How long an early activity waits for those before it.
    pub ordering_period: Duration,
    /// How long clients have to go to other workers when this one ends.
    pub drain_timeout: Duration,
    /// After which silence the coordinator is taken to be gone.
    pub failure_timeout: Duration,
    /// The network secret.
    pub secret: Secret,
}

impl Config {
    /// Finds what the arguments refer to, and makes up a name where none was given.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn new(args: Args) -> Result<Self, String> {
        let secret = network_secret::load(args.secret_file.as_deref(), args.listen.ip(), IfMissing::Fail);
        // A worker whose name is made anew at every start has nothing to come back to.
        let of_its_own = |id: &ServerId| Some(dirs::data_dir()?.join("freshet").join(format!("worker-{id}")));
        Ok(Config {
            data_dir: args.data_dir.or_else(|| of_its_own(args.id.as_ref()?)),
            retain_bytes: args.retain_bytes.as_u64().try_into().unwrap_or(usize::MAX),
            retain_age: args.retain_age,
            ordering_period: args.ordering_period,
            drain_timeout: args.drain_timeout,
            failure_timeout: args.failure_timeout,
            listen: args.listen,
            advertise: args.advertise,
            id: args.id.unwrap_or_else(|| ServerId::generate("worker", boot::random_seed())),
            coordinators: args.coordinators,
            secret: secret.map_err(|error| error.to_string())?,
        })
    }
}
