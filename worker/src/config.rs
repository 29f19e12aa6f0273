//! The command line, as meant.

use std::net::SocketAddr;

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
        Ok(Config {
            listen: args.listen,
            advertise: args.advertise,
            id: args.id.unwrap_or_else(|| ServerId::generate("worker", boot::random_seed())),
            coordinators: args.coordinators,
            secret: secret.map_err(|error| error.to_string())?,
        })
    }
}
