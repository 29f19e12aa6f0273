//! The command line, as meant.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use common::id::ServerId;
use common::network_secret::{self, IfMissing};
use common::user::Secret;
use common::wire::Address;

use crate::args::{Args, StoreArgs};
use crate::core::Limits;

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
    /// Other coordinators of the group.
    pub backups: Vec<Address>,
    /// How many of them must hold a registration.
    pub require_backups: usize,
    /// Its bounds.
    pub limits: Limits,
    /// Where users are exported to, and how often; `None` for never.
    pub export: Option<(PathBuf, Duration)>,
}

impl Config {
    /// Finds what the arguments refer to. Makes the network secret where there is none and may be one.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn new(args: Args) -> Result<Self, String> {
        let server = args.server;
        let secret = network_secret::load(server.secret_file.as_deref(), args.listen.ip(), IfMissing::Create);
        let data_dir = data_dir(args.data_dir)?;
        let export_file = args.export_file.unwrap_or_else(|| data_dir.join("users.jsonl"));
        Ok(Config {
            listen: args.listen,
            advertise: server.advertise,
            id: args.id,
            secret: secret.map_err(|error| error.to_string())?,
            backups: args.backups,
            require_backups: args.require_backups,
            limits: Limits {
                pulse: args.heartbeat,
                failure_timeout: args.failure_timeout,
                sync_timeout: args.sync_timeout,
                ..Limits::default()
            },
            export: args.export_every.map(|every| (export_file, every)),
            data_dir,
        })
    }
}

/// Whose users are exported or imported.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where its store is.
    pub data_dir: PathBuf,
    /// A file with the network secret, which is needed where the coordinator is running.
    pub secret_file: Option<PathBuf>,
}

impl StoreConfig {
    /// Finds what the arguments refer to.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn new(args: StoreArgs) -> Result<Self, String> {
        Ok(StoreConfig { data_dir: data_dir(args.data_dir)?, secret_file: args.secret_file })
    }
}

fn data_dir(named: Option<PathBuf>) -> Result<PathBuf, String> {
    let data_dir = named.or_else(|| Some(dirs::data_dir()?.join("freshet").join("coordinator")));
    data_dir.ok_or_else(|| "there is no data directory for this user: name one with --data-dir".to_owned())
}
