//! What a worker is told at its start, what it asks of its shell, and what it counts.

use std::net::IpAddr;
use std::time::Duration;

use common::epoch::Epoch;
use common::id::{Incarnation, ServerId};
use common::limits;
use common::machine::JobId;
use common::position::Position;
use common::user::{PasswordHash, Secret};
use common::wire::{Address, BackupEntry, Double, ServerEntry};
use serde::{Deserialize, Serialize};

use super::segment::{Kept, SegmentId, SegmentRequest};

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
    /// What an earlier run learnt of the coordinators; they are tried first.
    pub remembered: Remembered,
    /// What an earlier run left of its log on disk, in ascending order; `None` where there is no disk for it.
    pub kept: Option<Vec<Kept>>,
    /// Which start of this worker this is; random.
    pub incarnation: Incarnation,
    /// Seeds all that the worker draws: pauses, and the key of the secrets' digests.
    pub seed: u64,
    /// Its bounds.
    pub limits: Limits,
}

/// What a worker keeps from one run to the next. It is a cache: without it, the worker asks the coordinators that its operator named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The network that it belonged to.
    pub network: Option<String>,
    /// The highest epoch that it had heard of there.
    pub epoch: Option<Epoch>,
    /// The coordinators, as the main one listed them last.
    pub servers: Vec<BackupEntry>,
    /// The other workers, as the main one listed them last. While no coordinator can say so, they are sought there.
    #[serde(default)]
    pub workers: Vec<ServerEntry>,
    /// What was in its log on disk, and was let go of. Others may keep more, or for longer; it is not fetched again, or it would take the
    /// place of what is newer.
    #[serde(default)]
    pub let_go: Position,
    /// Activities that have several ids, and others that it let go of and nobody else was known to have: the latest.
    #[serde(default)]
    pub doubles: Vec<Double>,
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
    /// Bytes of the log in memory.
    pub log_bytes: usize,
    /// Bytes of the log on disk.
    pub retain_bytes: usize,
    /// How long activities are kept on disk.
    pub retain_age: Duration,
    /// Bytes of activities a second that are taken in where those who receive them cannot keep up.
    pub intake_bytes: usize,
    /// Bytes of private replies that may wait for a client. What a closing client is still sent is bounded by this too.
    pub client_outbox_bytes: usize,
    /// Bytes that may wait for another server.
    pub server_outbox_bytes: usize,
    /// How long a client may take none of what waits for it.
    pub write_stall: Duration,
    /// Log-ins that may wait for the coordinator's answer at once.
    pub queries: usize,
    /// Names that may be held for registrations at once.
    pub under_registration: usize,
    /// How long the coordinator may take to answer LOCK_REQUEST.
    pub registration_hold: Duration,
    /// What a client is told to wait before it tries again, at the least; at the most twice as long.
    pub retry_after: Duration,
    /// How often clients hear where else to go.
    pub heartbeat: Duration,
    /// After which silence a coordinator's question about the main one is taken to be its last.
    pub server_silence: Duration,
    /// After which silence the connection to another worker is closed.
    pub worker_silence: Duration,
    /// After which silence the connection to the coordinator is closed, and the next one asked.
    pub failure_timeout: Duration,
    /// How long a server may take to answer AUTHENTICATE or USER_QUERY. Longer: the link is closed and the next one dialled; the user's
    /// record is taken to be as it is known here. A healthy server takes milliseconds; 5 s spare a coordinator that is about to take over
    /// and lets us wait until it knows whether it does.
    pub server_answer: Duration,
    /// How long a coordinator may take to accept a connection while there are others to try, in the first round of attempts. Longer: the
    /// next one. Later rounds wait as long as the driver does.
    pub first_dial: Duration,
    /// Users in one SYNC_USER.
    pub sync_users: usize,
    /// Bytes that may wait for the coordinator before it is told of more users.
    pub feed_bytes: usize,
    /// PERIOD_FOR_ORDERING.
    pub ordering_period: Duration,
    /// Bytes of activities that may wait for earlier ones, of all sessions.
    pub held_bytes: usize,
    /// Sessions whose numbering is remembered.
    pub sessions: usize,
    /// How long a report waits for counts.
    pub report_timeout: Duration,
    /// How long a worker that starts takes no clients, because it asks others for what it missed.
    pub recovery: Duration,
    /// How long a worker that no coordinator lists is remembered without a link. A minute outlasts a coordinator's restart, after
    /// which the workers come back one by one.
    pub unlisted: Duration,
    /// How long a drain may take: to hand over the clients, and again to tell the other workers what became of what was published.
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
            retain_bytes: limits::RETAIN_BYTES,
            retain_age: limits::RETAIN_AGE,
            intake_bytes: limits::INTAKE_BYTES,
            client_outbox_bytes: limits::CLIENT_OUTBOX_BYTES,
            server_outbox_bytes: limits::SERVER_OUTBOX_BYTES,
            write_stall: limits::WRITE_STALL,
            queries: limits::HASH_QUEUE,
            under_registration: limits::UNDER_REGISTRATION,
            registration_hold: limits::REGISTRATION_HOLD,
            retry_after: limits::RETRY_AFTER,
            heartbeat: limits::HEARTBEAT,
            server_silence: limits::SERVER_SILENCE,
            worker_silence: limits::WORKER_SILENCE,
            failure_timeout: limits::FAILURE_TIMEOUT,
            server_answer: Duration::from_secs(5),
            first_dial: limits::FIRST_DIAL,
            sync_users: limits::SYNC_USERS,
            feed_bytes: limits::FEED_BYTES,
            ordering_period: limits::ORDERING_PERIOD,
            held_bytes: limits::HELD_BYTES,
            sessions: limits::SESSIONS,
            report_timeout: limits::REPORT_TIMEOUT,
            recovery: limits::RECOVERY,
            unlisted: Duration::from_secs(60),
            drain: limits::DRAIN_TIMEOUT,
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
    /// There is too much to do for either.
    Unhashed {
        /// Which.
        job: JobId,
    },
    /// The result of [`SegmentRequest::Read`].
    Segment {
        /// Which.
        segment: SegmentId,
        /// What could be read of its frames; nothing, where it could not be read at all.
        frames: Vec<u8>,
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
        /// For whom.
        from: IpAddr,
        /// The secret.
        secret: Secret,
    },
    /// Do this with a segment of the log. Asked for where [`Config::kept`] is there.
    Segment(SegmentRequest),
    /// Verify a secret; answer with [`Input::Verified`].
    Verify {
        /// Which.
        job: JobId,
        /// For whom.
        from: IpAddr,
        /// The secret.
        secret: Secret,
        /// What it is to match.
        hash: PasswordHash,
    },
    /// Nobody waits for this hash or verification any more: where it has not begun, it is not to be done, and not answered. An answer
    /// that comes all the same is ignored.
    Cancel {
        /// Which.
        job: JobId,
    },
    /// Whoever waits for this hash or verification may be gone: it is to be done after all others.
    Doubt {
        /// Which.
        job: JobId,
    },
    /// Keep this for the next run, in place of what was to be kept before. There is no answer: nothing waits for it.
    Remember(Remembered),
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
    /// Gaps in a session's activities that were not waited for any longer.
    pub gaps: u64,
}
