//! Every bound of the system: its name, its default, its reason, and what happens beyond it. Cores take theirs from a
//! `Config`, whose defaults are these.

use std::time::Duration;

/// Longest line on the wire, in bytes, without its line end. Longer: INVALID_MESSAGE as soon as the limit is passed.
/// 1 MiB holds any sensible activity, and a thousand peers at the limit are stopped by [`PARTIAL_LINES_BYTES`] before they hurt.
pub const LINE_BYTES: usize = 1 << 20;

/// What a worker may add to an activity (its id, the authenticated user): a line between servers may be longer by this.
pub const ENVELOPE_BYTES: usize = 4 << 10;

/// Deepest nesting of arrays and objects in a line. Deeper: INVALID_MESSAGE. 127 is what serde_json's own parser reads, so
/// whatever we pass on can be read by it.
pub const NESTING: usize = 127;

/// Deepest nesting of an activity in an ACTIVITY_MESSAGE. Deeper: INVALID_MESSAGE. ACTIVITY_RETRIEVED puts three levels around it.
pub const ACTIVITY_NESTING: usize = NESTING - 3;

/// Sum of all unfinished lines of a process, in bytes, beyond [`PARTIAL_LINE_FREE_BYTES`] each. The line that would exceed it is
/// refused with INVALID_MESSAGE; whole lines are never affected.
pub const PARTIAL_LINES_BYTES: usize = 32 << 20;

/// What each connection may hold of an unfinished line before it counts towards [`PARTIAL_LINES_BYTES`]: honest log-ins and
/// usual activities are never refused because of somebody else's megabytes.
pub const PARTIAL_LINE_FREE_BYTES: usize = 4 << 10;

/// Characters of a server's id.
pub const SERVER_ID_BYTES: usize = 64;

/// Characters (Unicode scalar values, after NFC) of a user's name.
pub const USERNAME_CHARS: usize = 64;

/// Bytes of a user's secret. Argon2 hashes any length; the bound keeps the work bounded.
pub const SECRET_BYTES: usize = 256;

/// How long an accepted connection may take until it has logged in or authenticated. Later: LOGIN_FAILED, closed.
pub const LOGIN_DEADLINE: Duration = Duration::from_secs(10);

/// Connections that a server holds at once. Beyond: the new one gets LOGIN_FAILED with `retry_after` and is closed.
pub const CONNECTIONS: usize = 20_000;

/// Connections that the kernel keeps for a server until it accepts them. Beyond, or beyond the system's own limit (4,096 on
/// Linux, `net.core.somaxconn`), it drops what belongs to new ones: who connects then waits for seconds, and who connects and says
/// nothing may wait for ever. The usual 128 are too few where a server's clients return all at once.
pub const BACKLOG: u32 = 4_096;

/// Bytes that the kernel takes for one connection beyond what is on its way to the peer (Linux, `TCP_NOTSENT_LOWAT`). By itself it
/// takes up to 4 MB for one that does not read: a thousand of those fill the memory that the system has for TCP, and all slow down.
pub const UNSENT_BYTES: u32 = 128 << 10;

/// Bytes of private replies that may wait for one client. A client that does not read its replies is dropped: a thousand
/// of them cost 64 MB.
pub const CLIENT_OUTBOX_BYTES: usize = 64 << 10;

/// Bytes that may wait for another server. It holds a burst of some seconds; a server that lags further is cut off and
/// comes back by itself.
pub const SERVER_OUTBOX_BYTES: usize = 16 << 20;

/// How long a connection may accept no byte of what waits for it before it is dropped.
pub const WRITE_STALL: Duration = Duration::from_secs(15);

/// How long a closed connection is kept to flush its farewell and drain what the peer still sends, so that a reset does not
/// eat the reason.
pub const LINGER: Duration = Duration::from_secs(2);

/// Password hashes that may wait for a free core. Beyond: the oldest of the address that has most waiting is given up, with LOGIN_FAILED or
/// REGISTER_FAILED and `retry_after`. At some 20 ms each, 256 are about five seconds of work on one core.
pub const HASH_QUEUE: usize = 256;

/// How long a password hash may wait for a free core. Longer: the same. By then others are served first, and whoever comes again is one of
/// them.
pub const HASH_PATIENCE: Duration = Duration::from_secs(2);

/// How long a name is held for a registration whose result does not come.
pub const REGISTRATION_HOLD: Duration = Duration::from_secs(10);

/// Names that are held for registrations at once. Beyond: REGISTER_FAILED or LOCK_DENIED with `retry_after`.
pub const UNDER_REGISTRATION: usize = 4_096;

/// How long a redirected client counts towards its worker's load before it has arrived there.
pub const REDIRECT_RESERVATION: Duration = Duration::from_secs(10);

/// Redirected clients that a worker is expected to see within [`REDIRECT_RESERVATION`]. Beyond: the oldest no longer counts.
pub const RESERVATIONS: usize = CONNECTIONS;

/// Clients that are on the way from one worker, or to one, to even out loads; a twentieth of the mean load where that is less. So a worker
/// that joins has its share after some twenty seconds, and nobody feels its newcomers' log-ins and replays.
pub const MOVING_CLIENTS: u64 = 100;

/// How long a token lets its bearer log in at a worker. Long enough for a slow connection, short enough to be worthless when
/// it leaks from a log.
pub const TOKEN_LIFE: Duration = Duration::from_secs(60);

/// How far ahead of our wall clock a stamp may lie. One that lies further is reported and does not pull our own stamps along: one
/// wrong clock must not spread.
pub const STAMP_AHEAD: Duration = Duration::from_secs(60);

/// How often workers and capable clients are told where to go when a server fails (BACKUP_LIST).
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// For how long a worker, which tells its load every second, may say nothing before new clients are sent to others, where there are
/// others, and another process may take its id. Not longer than a client waits there before it asks the coordinator again.
pub const WORKER_DOUBT: Duration = Duration::from_millis(2_500);

/// How long a server may be silent before it is taken for gone (seed `001`: 20 seconds).
pub const SERVER_SILENCE: Duration = Duration::from_secs(20);

/// How long a worker may be silent before its link to another one is given up and made anew. They tell each other every second what they
/// hold ([`DIGEST`]).
pub const WORKER_SILENCE: Duration = Duration::from_secs(6);

/// How often coordinators tell each other, and the main one its workers, that they live (`--heartbeat`).
pub const PULSE: Duration = Duration::from_millis(500);

/// After how long a silent coordinator is suspected to be gone (`--failure-timeout`). A closed connection is noticed at once; this is
/// for cut cables and stopped processes.
pub const FAILURE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the main coordinator waits for a backup to confirm an update. One that does not leaves the BACKUP_LIST, and is waited for no
/// longer.
pub const SYNC_TIMEOUT: Duration = Duration::from_secs(1);

/// First and longest pause between a coordinator's attempts to reach another one of its group, with full jitter.
pub const REDIAL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Coordinators of a group. Beyond: BACKUP_AUTHENTICATION_FAIL.
pub const MEMBERS: usize = 16;

/// Epochs that the history keeps, the latest ones.
pub const HISTORY: usize = 50;

/// Conflicts that one STATUS_REPORT lists.
pub const CONFLICTS: usize = 1_000;

/// Updates of users that a backup may be sent ahead of its confirmation while it catches up.
pub const SYNC_WINDOW: u64 = 16;

/// Workers that a backup asks whether they hear the main coordinator.
pub const ASKED_WORKERS: usize = 16;

/// Clients whose request waits for a takeover to be over. Beyond: they are told to try again.
pub const PARKED: usize = 4_096;

/// Workers of a network. Beyond: AUTHENTICATION_FAIL.
pub const WORKERS: usize = 1_000;

/// Users in one SYNC_USER. At some 300 bytes each, 500 stay well below [`LINE_BYTES`].
pub const SYNC_USERS: usize = 500;

/// Bytes that may wait for a worker before the feed of users pauses, so that a million of them never wait in memory and live
/// messages are not held up behind them.
pub const FEED_BYTES: usize = 64 << 10;

/// What a client without a worker, or in a full queue, is told to wait, at the least.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// First and longest pause between attempts to connect, each drawn at random from zero to the bound (full jitter).
pub const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long a connection attempt may take.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an attempt to reach a coordinator may take while there are others to try: its host may be cut off, and a healthy one accepts
/// within a round trip.
pub const FIRST_DIAL: Duration = Duration::from_secs(1);

/// After how long without a byte the kernel asks whether the other side of a connection is still there, how long it waits for an
/// answer, and how often it asks. A peer that vanished without a word is noticed within half a minute.
pub const KEEPALIVE: Duration = Duration::from_secs(15);

/// See [`KEEPALIVE`].
pub const KEEPALIVE_PROBE: Duration = Duration::from_secs(5);

/// See [`KEEPALIVE`].
pub const KEEPALIVE_PROBES: u32 = 3;

/// How long the other side of a connection may leave unacknowledged what was written to it, or take nothing more of it (Linux). While
/// something is unacknowledged the kernel asks for no sign of life, and would send it again for a quarter of an hour: this is when
/// [`KEEPALIVE`] would have given up.
pub const UNACKNOWLEDGED: Duration =
    KEEPALIVE.saturating_add(KEEPALIVE_PROBE.saturating_mul(KEEPALIVE_PROBES));

/// Bytes of the log that a worker keeps in memory. A client that falls further behind is dropped.
pub const LOG_BYTES: usize = 32 << 20;

/// Bytes of the log that a worker with a data directory keeps on disk. At a thousand activities a second and 250 bytes each it is more
/// than an hour.
pub const RETAIN_BYTES: usize = 1 << 30;

/// How long activities are kept on disk.
pub const RETAIN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes of the log that may wait for a worker's disk. What comes beyond is not written.
pub const UNWRITTEN_BYTES: usize = 32 << 20;

/// Bytes of activities a second that a worker takes in, from its clients together and from each other worker, where a client is further
/// behind than a quarter of [`LOG_BYTES`] that takes as much. More than that waits at its senders. Who takes less is slow: nobody
/// waits for it. It is thousands of activities a second, and a third of what a 100 Mbit/s line carries.
pub const INTAKE_BYTES: usize = 4 << 20;

/// PERIOD_FOR_ORDERING of seed `001`: how long an activity that came early waits for those before it.
pub const ORDERING_PERIOD: Duration = Duration::from_millis(500);

/// Bytes of activities that may wait for earlier ones, of all sessions together. Beyond: those that wait longest go on without.
pub const HELD_BYTES: usize = 4 << 20;

/// How long early activities wait for those before them at most, while others are being asked for what a cut kept back.
pub const CATCH_UP_PATIENCE: Duration = Duration::from_secs(10);

/// Length of the key that a client makes for its session, in bytes, at the least and at the most.
pub const SESSION_KEY_BYTES: (usize, usize) = (16, 64);

/// Sessions whose numbering a worker remembers at least; at most twice as many. Beyond: the one that has been silent for longest is forgotten, and what it sends again
/// through another worker may then be taken for new.
pub const SESSIONS: usize = 65_536;

/// Gaps that are remembered in a session's numbers. Beyond: the oldest is closed, and what would have filled it is taken for a duplicate.
pub const GAPS: usize = 64;

/// Activities of which a worker remembers that they have several ids, because their senders sent them again through other workers; they are
/// told to each new neighbour. Beyond: the one that has been known for longest is forgotten, and of who comes back with one of its ids
/// alone it may be said that the others are missing.
pub const DOUBLES: usize = 4_096;

/// Ranges that are remembered of the activities that were received, of all workers' incarnations together: 1 MiB. Beyond: [`GAPS`] of each,
/// as of a session. Thousands are usual for a moment after a cut, when what was published meanwhile fills in session by session.
pub const RANGES: usize = 65_536;

/// Activities that a client may publish ahead of their reports. Beyond: it waits.
pub const UNREPORTED: usize = 8_192;

/// How long the sender of an activity waits for its report at most. Who has not answered by then is named as unreachable.
pub const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Clients of other workers that a worker knows to be online. Beyond: those that come later are not shown. At some 200 bytes each, 50 MB.
pub const PRESENT: usize = 1 << 18;

/// Bytes of one WHO_ANSWER, about. A client that asks may leave three of them unread.
pub const WHO_BYTES: usize = 16 << 10;

/// How often workers tell each other what they hold.
pub const DIGEST: Duration = Duration::from_secs(1);

/// How long a worker that starts asks others for what it missed before it takes clients.
pub const RECOVERY: Duration = Duration::from_secs(5);

/// Bytes of activities in one ACTIVITY_RETRIEVED. At 100 Mbit/s what is live waits 20 ms for it, and a round trip of 50 ms still lets
/// 5 MB/s be caught up with.
pub const RETRIEVED_BYTES: usize = 256 << 10;

/// Bytes of activities a second that a worker which has clients catches up with. It leaves the rest of a worker's time to what is live, as
/// each byte is sent to each client. A minute of 500 activities a second takes three seconds.
pub const RETRIEVE_RATE: usize = 4 << 20;

/// How long a worker that leaves waits for its clients to have gone elsewhere (`--drain-timeout`). Who has not gone by then is cut off.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
