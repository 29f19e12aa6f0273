//! What a session is told before it begins, and what it may be told and may ask for while it lasts.

use std::time::Duration;

use common::id::{ActivityId, Seq, ServerId};
use common::limits;
use common::position;
use common::session::SessionKey;
use common::user::{Secret, Username};
use common::wire::{Activity, ActivityBroadcast, Address, BackupEntry, Durability};

use super::position::Position;
use super::presence::Presence;

/// Who wants a session, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// The coordinators, at least one, in the order in which to try them. BACKUP_LIST teaches the rest.
    pub coordinators: Vec<Address>,
    /// The servers that an earlier run was told of with [`Effect::Servers`]: its coordinators are tried before those, and where none
    /// answers, one of its workers may let us in.
    pub remembered: Vec<BackupEntry>,
    /// Whose session it is.
    pub username: Username,
    /// The secret; `anonymous` needs none.
    pub secret: Option<Secret>,
    /// Whether to register the name first.
    pub register: RegisterMode,
    /// Whether to start again by itself after a failure. Otherwise the first failure ends the session.
    pub reconnect: bool,
    /// Which session it is; a new one by default. Only one client at a time may go on with a session.
    pub session: Option<Session>,
    /// What to receive of what was before.
    pub start: Start,
    /// Whether to receive what was published while there was no connection. Who wants no activities can do without.
    pub resume: bool,
    /// Whether to be told who else is online.
    pub presence: bool,
    /// Seed of what the client draws at random: its pauses, and the key of a new session.
    pub seed: u64,
    /// Bounds.
    pub limits: Limits,
}

/// A session, over all its connections.
#[derive(Clone, Debug)]
pub struct Session {
    /// What its client alone knows of it.
    pub key: SessionKey,
    /// The number of the activity that is published next; that of the first one is 1.
    pub next: Seq,
}

impl Session {
    /// A new one.
    pub fn new(random: u128) -> Self {
        Session { key: SessionKey::new(random), next: Seq(1) }
    }
}

/// What to receive of what was before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Nothing.
    #[default]
    Now,
    /// So many of the latest activities, or as many as there are.
    Last(u64),
    /// Everything that is not in this position.
    After(Position),
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
    /// How long a coordinator may say nothing then: about as long as a takeover from one that fell silent takes, for which a backup lets us
    /// wait. In later rounds they may all be busy rather than gone, and are given `login_silence`.
    pub first_silence: Duration,
    /// The same, where a server has named it as the main one: that lets nobody wait. Who leaves it sooner waits at the one that takes over.
    pub main_silence: Duration,
    /// How long a coordinator may take from LOGIN_SUCCESS to REDIRECT. It sends both at once, so a longer wait means that the other
    /// side is no coordinator.
    pub redirect_wait: Duration,
    /// REDIRECTs in a row without a log-in. More: we are being sent round in circles, and start again after a pause.
    pub redirects: usize,
    /// Longest `retry_after` that is heeded: a mistaken server must not send us away for a year.
    pub longest_retry: Duration,
    /// How long a live connection may take nothing of what waits for it. Longer: it is given up.
    pub write_stall: Duration,
    /// How long a worker may say nothing that tells us every [`limits::HEARTBEAT`] where else to go. Longer: it is gone or cut off, and
    /// another one is asked.
    pub silence: Duration,
    /// The same while it owes us a report, which takes [`limits::REPORT_TIMEOUT`] at the most.
    pub report_silence: Duration,
    /// Activities that may be published ahead of their reports. Beyond: [`Client::has_room`](super::Client::has_room) says no.
    pub unreported_activities: usize,
    /// Bytes of such activities; the last one may exceed it by its own length. At five seconds for the slowest report, it is what
    /// keeps a line of 10 Mbit/s busy.
    pub unreported_bytes: usize,
    /// Activities that are acknowledged together at the latest.
    pub ack_every: u64,
    /// How long an activity waits to be acknowledged at the latest.
    pub ack_after: Duration,
    /// How long a log-out waits, on a live connection, for the reports on what was published before. A server needs
    /// [`limits::REPORT_TIMEOUT`] for one at the most.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            login_silence: limits::LOGIN_DEADLINE,
            first_dial: limits::FIRST_DIAL,
            first_silence: limits::FAILURE_TIMEOUT + limits::PULSE,
            main_silence: Duration::from_millis(1_500),
            redirect_wait: Duration::from_secs(5),
            redirects: 4,
            longest_retry: Duration::from_secs(60),
            write_stall: limits::WRITE_STALL,
            silence: limits::HEARTBEAT * 2 + Duration::from_secs(1),
            report_silence: limits::REPORT_TIMEOUT + Duration::from_secs(1),
            unreported_activities: limits::UNREPORTED,
            unreported_bytes: 8 << 20,
            ack_every: 4_096,
            ack_after: Duration::from_millis(100),
            farewell: limits::REPORT_TIMEOUT + Duration::from_secs(1),
        }
    }
}

/// What the user wishes.
#[derive(Clone, Debug)]
pub enum Input {
    /// Tell everybody. The driver asks [`Client::has_room`](super::Client::has_room) first.
    Publish(Activity),
    /// An activity arrived over the connection that stands, and nobody wants it: the driver did not read more of it than its id.
    Skipped(Option<ActivityId>),
    /// Say goodbye and end, after everything that was published has been reported, or [`Limits::farewell`]; where there is no
    /// connection, on the next one. What is published afterwards is ignored.
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
        /// What was before, and will not come: the position that what comes now counts from. `None` where the session goes on from
        /// where it was, and at a server that knows no positions. At another time than the first: what was between is lost.
        after: Option<Position>,
    },
    /// Everything has come that was missed while there was no connection, or that the session was to begin with, as far as anybody
    /// still has it; what comes now is new.
    Resumed {
        /// Nothing is missing.
        recovered: bool,
        /// What is missing, because no worker that could be asked has it any more.
        gaps: position::Position,
        /// What was received by now, or never will be; `None` where the server did not say of which network it is.
        position: Option<Position>,
    },
    /// Who else is online, where that is wanted; everybody first, whenever the session is live.
    Presence(Presence),
    /// What became of activities that were published. Each is reported once, in their order but where a worker died in between.
    Report(Report),
    /// These were written, in full or in part, to a server that gives no reports.
    Unreported {
        /// The number of the first.
        first: Seq,
        /// The number of the last.
        last: Seq,
    },
    /// The network has told which servers it has, and they are not those of before: the workers, then the coordinators in the
    /// order in which to try them. Whoever remembers them finds the network although the coordinators that it was told of are gone.
    Servers(Vec<BackupEntry>),
    /// Somebody, perhaps we, published this.
    Activity(ActivityBroadcast),
    /// One of those activities came again under this id, because its sender had sent it through two workers. It is received.
    Repeated(ActivityId),
    /// The session is not live: an attempt failed, or the connection was lost.
    Disconnected {
        /// Why, in words; those of the server, where one has put us off.
        reason: String,
        /// The server that was reached, and told us to come again later.
        put_off_by: Option<Address>,
        /// When the next attempt begins; `None` where there will be none.
        retry_in: Option<Duration>,
    },
    /// The coordinator said no, for good. The session ends.
    Refused {
        /// Why, in its words.
        info: String,
    },
}

/// How many sessions a run of activities reached. The counts are each activity's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The number of the first of them.
    pub first: Seq,
    /// The number of the last of them.
    pub last: Seq,
    /// Sessions that were connected when each worker took it in.
    pub client_count: u64,
    /// Those that have received it.
    pub succ_count: u64,
    /// Those that left before they had, or did not say so in time.
    pub fail_count: u64,
    /// `Replicated`: at least two workers hold it, so it survives the loss of any one. `Local`: one does.
    pub durability: Durability,
    /// Workers that could not be asked. What their clients received is not counted.
    pub unreachable: Vec<ServerId>,
}
