//! What a worker is told at its start, what it asks of its shell, and what it counts.

use std::time::Duration;

use common::id::{Incarnation, ServerId};
use common::limits;
use common::machine::JobId;
use common::user::{PasswordHash, Secret};
use common::wire::Address;

/// Everything that a worker must know to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name, unique in the network.
    pub id: ServerId,
    /// Where clients and other workers reach it.
    pub address: Address,
    /// The network secret.
    pub secret: Secret,
    /// The coordinators to try, in order; at least one. BACKUP_LIST teaches the rest.
    pub coordinators: Vec<Address>,
    /// Which start of this worker this is; random.
    pub incarnation: Incarnation,
    /// Seeds all that the worker draws: pauses, and the key of the secrets' digests.
    pub seed: u64,
    /// Its bounds.
    pub limits: Limits,
}

/// The bounds of a worker. The defaults, their reasons and what happens beyond them: [`common::limits`], where not said here.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// How long an accepted connection may take to log in.
    pub login_deadline: Duration,
    /// Bytes of an activity as its sender wrote it.
    pub activity_bytes: usize,
    /// Bytes of the log.
    pub log_bytes: usize,
    /// Bytes of activities a second that are taken in where those who receive them cannot keep up.
    pub intake_bytes: usize,
    /// Bytes of private replies that may wait for a client. What a closing client is still sent is bounded by this too.
    pub client_outbox_bytes: usize,
    /// Bytes that may wait for another server.
    pub server_outbox_bytes: usize,
    /// How long a client may take none of what waits for it.
    pub write_stall: Duration,
    /// Log-ins by secret and registrations that may be under way at once.
    pub hash_queue: usize,
    /// Names that may be held for registrations at once.
    pub under_registration: usize,
    /// How long the coordinator may take to answer LOCK_REQUEST.
    pub registration_hold: Duration,
    /// What a client is told to wait before it tries again, at the least; at the most twice as long.
    pub retry_after: Duration,
    /// How often servers hear of each other.
    pub heartbeat: Duration,
    /// After which silence a server's connection is closed.
    pub server_silence: Duration,
    /// How long a server may take to answer AUTHENTICATE or USER_QUERY. Longer: the link is closed and dialled again; the user is taken
    /// not to exist. Neither needs a disk: a healthy server takes milliseconds, and 5 s spare one that is busy.
    pub server_answer: Duration,
    /// PERIOD_FOR_ORDERING.
    pub ordering_period: Duration,
    /// Bytes of one origin's activities that may wait for earlier ones.
    pub held_bytes: usize,
    /// How long a worker that no coordinator lists is remembered without a link. A minute outlasts a coordinator's restart, after
    /// which the workers come back one by one.
    pub unlisted: Duration,
    /// How long a drain may take to flush the clients. 3 s outlast a slow network; a client that takes longer is stalled.
    pub drain: Duration,
    /// How often deadlines and stalls are looked for; what is noticed is late by this at most.
    pub sweep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: limits::CONNECTIONS,
            login_deadline: limits::LOGIN_DEADLINE,
            activity_bytes: limits::LINE_BYTES,
            log_bytes: limits::LOG_BYTES,
            intake_bytes: limits::INTAKE_BYTES,
            client_outbox_bytes: limits::CLIENT_OUTBOX_BYTES,
            server_outbox_bytes: limits::SERVER_OUTBOX_BYTES,
            write_stall: limits::WRITE_STALL,
            hash_queue: limits::HASH_QUEUE,
            under_registration: limits::UNDER_REGISTRATION,
            registration_hold: limits::REGISTRATION_HOLD,
            retry_after: limits::RETRY_AFTER,
            heartbeat: limits::HEARTBEAT,
            server_silence: limits::SERVER_SILENCE,
            server_answer: Duration::from_secs(5),
            ordering_period: limits::ORDERING_PERIOD,
            held_bytes: limits::HELD_BYTES,
            unlisted: Duration::from_secs(60),
            drain: Duration::from_secs(3),
            sweep: Duration::from_secs(1),
        }
    }
}

/// What a worker is told beside the network.
#[derive(Debug)]
pub enum Input {
    /// The result of [`Effect::Hash`].
    Hashed {
        /// Which.
        job: JobId,
        /// The hash.
        hash: PasswordHash,
    },
    /// The result of [`Effect::Verify`].
    Verified {
        /// Which.
        job: JobId,
        /// Whether the secret is the one that was hashed.
        matches: bool,
    },
    /// This process was asked to stop: finish what is under way, then exit.
    Drain,
}

/// What a worker asks for beside the network.
#[derive(Debug)]
pub enum Effect {
    /// Hash a secret; answer with [`Input::Hashed`].
    Hash {
        /// Which.
        job: JobId,
        /// The secret.
        secret: Secret,
    },
    /// Verify a secret; answer with [`Input::Verified`].
    Verify {
        /// Which.
        job: JobId,
        /// The secret.
        secret: Secret,
        /// What it is to match.
        hash: PasswordHash,
    },
}

/// What a worker has dropped since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Clients whose next activity had left the log before they took it.
    pub fell_behind: u64,
    /// Clients that took nothing of what waited for them for [`Limits::write_stall`], or let too many replies wait.
    pub stalled: u64,
    /// Activities that arrived although they had been seen.
    pub duplicates: u64,
    /// Gaps in an origin's activities that were not waited for any longer.
    pub gaps: u64,
}
