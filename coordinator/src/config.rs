//! The command line, as meant.

use std::net::SocketAddr;
use std::path::PathBuf;

use common::id::ServerId;
use common::network_secret::{self, IfMissing};
use common::user::Secret;
use common::wire::Address;

use crate::args::Args;

/// What a coordinator's process needs to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where others reach it; `None` for where it turns out to listen.
    pub advertise: Option<Address>,
    /// Where its store is.
    pub data_dir: PathBuf,
    /// Its name; `None` for the one that the store knows or makes.
    pub id: Option<ServerId>,
    /// The network secret.
    pub secret: Secret,
}

impl Config {
    /// Finds what the arguments refer to. Makes the network secret where there is none and may be one.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn new(args: Args) -> Result<Self, String> {
        let secret = network_secret::load(args.secret_file.as_deref(), args.listen.ip(), IfMissing::Create);
        let data_dir = args.data_dir.or_else(|| Some(dirs::data_dir()?.join("freshet").join("coordinator")));
        Ok(Config {
            listen: args.listen,
            advertise: args.advertise,
            data_dir: data_dir.ok_or("there is no data directory for this user: name one with --data-dir")?,
            id: args.id,
            secret: secret.map_err(|error| error.to_string())?,
        })
    }
}
