//! What a coordinator is made of, what it is told and what it asks for.

use std::net::IpAddr;
use std::time::Duration;

use common::epoch::{Epoch, Reign};
use common::id::{Incarnation, ServerId};
use common::limits;
use common::machine::JobId;
use common::time::WallMillis;
use common::token::TokenKey;
use common::user::{PasswordHash, Secret, Stamp, UserRecord, Username};
use common::users::{Seen, Users};
use common::wire::{Address, ServerEntry};
use serde::{Deserialize, Serialize};

/// Who this coordinator is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name.
    pub id: ServerId,
    /// Where others reach it.
    pub address: Address,
    /// The network secret, by which it knows its servers.
    pub secret: Secret,
    /// Other coordinators of the group, as the operator named them.
    pub backups: Vec<Address>,
    /// How many backups must hold a registration before it is acknowledged: with fewer it is refused.
    pub require_backups: usize,
    /// Which start of it this is.
    pub incarnation: Incarnation,
    /// Where its randomness starts.
    pub seed: u64,
    /// Its bounds.
    pub limits: Limits,
}

/// What the store held when this coordinator started.
#[derive(Debug)]
pub struct Recovered {
    /// The group that it belongs to.
    pub group: Group,
    /// How much of the users it knows for certain; what lies beyond was proposed by a main coordinator and never settled.
    pub seen: Seen,
    /// The users.
    pub users: Users,
}

/// What a coordinator keeps of its group. All of it is written together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The network's id.
    pub network: String,
    /// The key that tokens are signed with.
    pub token_key: TokenKey,
    /// The highest epoch that it has seen; `None` before the first.
    pub epoch: Option<Epoch>,
    /// The latest epochs, oldest first.
    pub history: Vec<Reign>,
    /// Every coordinator that has joined and was not forgotten, this one included, by name.
    pub members: Vec<ServerEntry>,
    /// Who was a member and is not to be one again because somebody remembers it.
    #[serde(default)]
    pub forgotten: Vec<ServerId>,
    /// No stamp of this coordinator that others may have lies beyond this.
    #[serde(default)]
    pub stamps_until: WallMillis,
}

impl Group {
    /// Takes a coordinator in, or takes note of where it is now. Says whether that is news.
    pub(super) fn include(&mut self, member: ServerEntry) -> bool {
        match self.members.binary_search_by(|known| known.id.cmp(&member.id)) {
            Ok(at) if self.members[at] == member => false,
            Ok(at) => {
                self.members[at] = member;
                true
            }
            Err(at) => {
                self.members.insert(at, member);
                true
            }
        }
    }

    /// This coordinator is no member any more. Says whether it was one.
    pub(super) fn forget(&mut self, id: &ServerId) -> bool {
        let before = self.members.len();
        self.members.retain(|member| member.id != *id);
        let was = before != self.members.len();
        if was && !self.forgotten.contains(id) {
            self.forgotten.push(id.clone());
            // One that was forgotten long ago is remembered by nobody.
            let surplus = self.forgotten.len().saturating_sub(limits::HISTORY);
            self.forgotten.drain(..surplus);
        }
        was
    }

    /// The reign in which somebody wrote this, as far as it is known.
    pub(super) fn epoch_of(&self, written: &Stamp) -> Option<&Epoch> {
        let reigned =
            |reign: &&Reign| reign.epoch.coordinator == written.coordinator && reign.since <= written.wall;
        self.history.iter().filter(reigned).map(|reign| &reign.epoch).max()
    }

    /// Takes epochs into the history, which keeps the latest.
    pub(super) fn remember(&mut self, reigns: Vec<Reign>) {
        self.history.extend(reigns);
        self.history.sort();
        self.history.dedup();
        let surplus = self.history.len().saturating_sub(limits::HISTORY);
        self.history.drain(..surplus);
    }
}

/// The bounds of a coordinator; [`common::limits`] says for each why it is what it is by default.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// How long a connection may take to log in.
    pub login_deadline: Duration,
    /// How long a connection may take nothing of what waits for it.
    pub write_stall: Duration,
    /// Bytes that may wait for a client.
    pub client_outbox_bytes: usize,
    /// Bytes that may wait for a server or an operator.
    pub server_outbox_bytes: usize,
    /// How long a name is held while its secret is being hashed.
    pub registration_hold: Duration,
    /// Names held at once.
    pub under_registration: usize,
    /// How long a redirected client counts before it arrives.
    pub reservation: Duration,
    /// Redirected clients that count, per worker.
    pub reservations: usize,
    /// Clients that are on the way from a worker, or to it, to even out loads.
    pub moving_clients: u64,
    /// How long a token is valid.
    pub token_life: Duration,
    /// How far ahead of our clock the stamps of others are followed.
    pub stamp_ahead: Duration,
    /// How often workers hear the BACKUP_LIST.
    pub heartbeat: Duration,
    /// How often the other coordinators and the workers hear that this one lives.
    pub pulse: Duration,
    /// After how long a silent coordinator is suspected to be gone.
    pub failure_timeout: Duration,
    /// How long an update may take to be confirmed by a backup.
    pub sync_timeout: Duration,
    /// First and longest pause between attempts to reach another coordinator.
    pub redial: (Duration, Duration),
    /// Coordinators of a group.
    pub members: usize,
    /// Updates that a backup which catches up may be sent ahead of its confirmation.
    pub sync_window: u64,
    /// Workers that are asked whether they hear the main coordinator.
    pub asked_workers: usize,
    /// Clients whose request waits for a takeover to be over.
    pub parked: usize,
    /// How long a worker may be silent before others are preferred.
    pub worker_doubt: Duration,
    /// How long a worker may be silent before it is removed.
    pub server_silence: Duration,
    /// Workers at once.
    pub workers: usize,
    /// Users in one SYNC_USER.
    pub sync_users: usize,
    /// Bytes that may wait for a worker before the feed of users pauses.
    pub feed_bytes: usize,
    /// What a refused peer is told to wait, at the least; at the most twice that.
    pub retry_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: limits::CONNECTIONS,
            login_deadline: limits::LOGIN_DEADLINE,
            write_stall: limits::WRITE_STALL,
            client_outbox_bytes: limits::CLIENT_OUTBOX_BYTES,
            server_outbox_bytes: limits::SERVER_OUTBOX_BYTES,
            registration_hold: limits::REGISTRATION_HOLD,
            under_registration: limits::UNDER_REGISTRATION,
            reservation: limits::REDIRECT_RESERVATION,
            reservations: limits::RESERVATIONS,
            moving_clients: limits::MOVING_CLIENTS,
            token_life: limits::TOKEN_LIFE,
            stamp_ahead: limits::STAMP_AHEAD,
            heartbeat: limits::HEARTBEAT,
            pulse: limits::PULSE,
            failure_timeout: limits::FAILURE_TIMEOUT,
            sync_timeout: limits::SYNC_TIMEOUT,
            redial: limits::REDIAL,
            members: limits::MEMBERS,
            sync_window: limits::SYNC_WINDOW,
            asked_workers: limits::ASKED_WORKERS,
            parked: limits::PARKED,
            worker_doubt: limits::WORKER_DOUBT,
            server_silence: limits::SERVER_SILENCE,
            workers: limits::WORKERS,
            sync_users: limits::SYNC_USERS,
            feed_bytes: limits::FEED_BYTES,
            retry_after: limits::RETRY_AFTER,
        }
    }
}

/// What a coordinator is told beside the network. Every job is answered exactly once, but for what is cancelled.
#[derive(Debug)]
pub enum Input {
    /// The answer to [`Effect::Hash`].
    Hashed {
        /// Which job.
        job: JobId,
        /// The hash.
        hash: PasswordHash,
    },
    /// The answer to [`Effect::Verify`].
    Verified {
        /// Which job.
        job: JobId,
        /// Whether the secret is the one that was hashed.
        matches: bool,
    },
    /// The other answer to both: there is too much to do.
    Unhashed {
        /// Which job.
        job: JobId,
    },
    /// The answer to [`Effect::Persist`]: the change is on disk and survives a crash from now on.
    Persisted {
        /// Which job.
        job: JobId,
    },
    /// The other answer to [`Effect::Persist`]: nothing of the change may be relied upon.
    PersistFailed {
        /// Which job.
        job: JobId,
        /// Why, for the log.
        reason: String,
    },
    /// Finish what is under way, say goodbye and exit.
    Drain,
}

/// What a coordinator asks for beside the network.
#[derive(Debug)]
pub enum Effect {
    /// Hash this secret.
    Hash {
        /// Which job.
        job: JobId,
        /// For whom.
        from: IpAddr,
        /// The secret.
        secret: Secret,
    },
    /// Check this secret.
    Verify {
        /// Which job.
        job: JobId,
        /// For whom.
        from: IpAddr,
        /// The secret.
        secret: Secret,
        /// What it should match.
        hash: PasswordHash,
    },
    /// Nobody waits for this hash or verification any more: where it has not begun, it is not to be done, and not answered. An answer
    /// that comes all the same is ignored.
    Cancel {
        /// Which job.
        job: JobId,
    },
    /// Whoever waits for this hash or verification may be gone: it is to be done after all others.
    Doubt {
        /// Which job.
        job: JobId,
    },
    /// Write this to disk, all or none, and have it survive a crash before answering. At most one change is outstanding.
    Persist {
        /// Which job.
        job: JobId,
        /// What.
        change: Change,
    },
}

/// A change of what is on disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Users to be written, each in place of what was kept of the same registration.
    pub users: Vec<(Username, UserRecord)>,
    /// What is known for certain from now on; `None`: as before.
    pub seen: Option<Seen>,
    /// The group from now on; `None`: as before.
    pub group: Option<Group>,
}
