//! What a session is told before it begins, and what it may be told and may ask for while it lasts.

use std::time::Duration;

use common::id::ServerId;
use common::limits;
use common::user::{Secret, Username};
use common::wire::{Activity, ActivityBroadcast, Address, BackupEntry};

/// Who wants a session, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// The coordinators, at least one, in the order in which to try them. BACKUP_LIST teaches the rest.
    pub coordinators: Vec<Address>,
    /// Whose session it is.
    pub username: Username,
    /// The secret; `anonymous` needs none.
    pub secret: Option<Secret>,
    /// Whether to register the name first.
    pub register: RegisterMode,
    /// Whether to start again by itself after a failure. Otherwise the first failure ends the session.
    pub reconnect: bool,
    /// Seed of what the session draws at random: its pauses.
    pub seed: u64,
    /// Bounds.
    pub limits: Limits,
}

/// Whether to register the name before logging in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterMode {
    /// Log in; the name is registered, or needs no registration.
    No,
    /// Register; a name that is registered already is no failure. Then log in.
    IfMissing,
    /// Register and stop there. A name that is registered already with another secret is refused.
    Only,
}

/// Bounds of a session, with their defaults.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a server may say nothing while we log in. Longer: this attempt is given up. As long as a server gives us.
    pub login_silence: Duration,
    /// How long a coordinator may take to accept a connection while there is another one to try, in the first round of attempts.
    /// Longer: the next one. Later rounds wait as long as the driver does.
    pub first_dial: Duration,
    /// How long a coordinator may say nothing then: about as long as a takeover from one that fell silent takes. In later rounds they
    /// may all be busy rather than gone, and are given `login_silence`.
    pub first_silence: Duration,
    /// How long a coordinator may take from LOGIN_SUCCESS to REDIRECT. It sends both at once, so a longer wait means that the other
    /// side is no coordinator.
    pub redirect_wait: Duration,
    /// REDIRECTs in a row without a log-in. More: we are being sent round in circles, and start again after a pause.
    pub redirects: usize,
    /// Longest `retry_after` that is heeded: a mistaken server must not send us away for a year.
    pub longest_retry: Duration,
    /// How long a live connection may take nothing of what waits for it. Longer: it is given up.
    pub write_stall: Duration,
    /// Activities that may wait to be written. Beyond: [`Client::has_room`](super::Client::has_room) says no.
    pub queued_activities: usize,
    /// Bytes of activities that may wait to be written; the last one may exceed it by its own length.
    pub queued_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            login_silence: limits::LOGIN_DEADLINE,
            first_dial: Duration::from_secs(1),
            first_silence: limits::FAILURE_TIMEOUT + limits::PULSE,
            redirect_wait: Duration::from_secs(5),
            redirects: 4,
            longest_retry: Duration::from_secs(60),
            write_stall: limits::WRITE_STALL,
            queued_activities: 1_024,
            queued_bytes: 1 << 20,
        }
    }
}

/// What the user wishes.
#[derive(Clone, Debug)]
pub enum Input {
    /// Tell everybody. The driver asks [`Client::has_room`](super::Client::has_room) first.
    Publish(Activity),
    /// Say goodbye and end, after everything that waits has been said; where there is no connection, on the next one. What is
    /// published afterwards is ignored.
    Logout,
}

/// What the user is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The name is registered, with our secret.
    Registered {
        /// It was before.
        existing: bool,
    },
    /// The session is live: what is published goes out, what others publish comes in.
    LoggedIn {
        /// The worker's name, where it gave one.
        server: Option<ServerId>,
        /// Where it listens.
        address: Address,
    },
    /// The network has told which servers it has, and they are not those of before: the other workers, then the coordinators in the
    /// order in which to try them. Whoever remembers them finds the network although the coordinator that it was told of is gone.
    Servers(Vec<BackupEntry>),
    /// Somebody, perhaps we, published this.
    Activity(ActivityBroadcast),
    /// The session is not live: an attempt failed, or the connection was lost.
    Disconnected {
        /// Why, in words.
        reason: String,
        /// When the next attempt begins; `None` where there will be none.
        retry_in: Option<Duration>,
    },
    /// The coordinator said no, for good. The session ends.
    Refused {
        /// Why, in its words.
        info: String,
    },
}
