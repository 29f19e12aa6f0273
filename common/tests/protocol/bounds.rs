//! Every limit by its name, with its default as the page writes it.

use std::time::Duration;

use common::limits;

/// The order is that of `limits.rs` by and large; nothing depends on it.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    fn bytes(bytes: usize) -> String {
        match bytes {
            bytes if bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
            bytes if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
            bytes if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
            bytes => format!("{bytes} bytes"),
        }
    }
    fn time(duration: Duration) -> String {
        humantime::format_duration(duration).to_string()
    }
    vec![
        ("LINE_BYTES", bytes(limits::LINE_BYTES)),
        ("ENVELOPE_BYTES", bytes(limits::ENVELOPE_BYTES)),
        ("NESTING", limits::NESTING.to_string()),
        ("ACTIVITY_NESTING", limits::ACTIVITY_NESTING.to_string()),
        ("PARTIAL_LINES_BYTES", bytes(limits::PARTIAL_LINES_BYTES)),
        ("PARTIAL_LINE_FREE_BYTES", bytes(limits::PARTIAL_LINE_FREE_BYTES)),
        ("SERVER_ID_BYTES", bytes(limits::SERVER_ID_BYTES)),
        ("USERNAME_CHARS", limits::USERNAME_CHARS.to_string()),
        ("SECRET_BYTES", bytes(limits::SECRET_BYTES)),
        ("LOGIN_DEADLINE", time(limits::LOGIN_DEADLINE)),
        ("CONNECTIONS", limits::CONNECTIONS.to_string()),
        ("CLIENT_OUTBOX_BYTES", bytes(limits::CLIENT_OUTBOX_BYTES)),
        ("SERVER_OUTBOX_BYTES", bytes(limits::SERVER_OUTBOX_BYTES)),
        ("WRITE_STALL", time(limits::WRITE_STALL)),
        ("BACKLOG", limits::BACKLOG.to_string()),
        ("UNSENT_BYTES", bytes(limits::UNSENT_BYTES as usize)),
        ("KEEPALIVE", time(limits::KEEPALIVE)),
        ("KEEPALIVE_PROBE", time(limits::KEEPALIVE_PROBE)),
        ("KEEPALIVE_PROBES", limits::KEEPALIVE_PROBES.to_string()),
        ("UNACKNOWLEDGED", time(limits::UNACKNOWLEDGED)),
        ("LINGER", time(limits::LINGER)),
        ("HASH_QUEUE", limits::HASH_QUEUE.to_string()),
        ("HASH_PATIENCE", time(limits::HASH_PATIENCE)),
        ("REGISTRATION_HOLD", time(limits::REGISTRATION_HOLD)),
        ("UNDER_REGISTRATION", limits::UNDER_REGISTRATION.to_string()),
        ("REDIRECT_RESERVATION", time(limits::REDIRECT_RESERVATION)),
        ("RESERVATIONS", limits::RESERVATIONS.to_string()),
        ("MOVING_CLIENTS", limits::MOVING_CLIENTS.to_string()),
        ("TOKEN_LIFE", time(limits::TOKEN_LIFE)),
        ("STAMP_AHEAD", time(limits::STAMP_AHEAD)),
        ("HEARTBEAT", time(limits::HEARTBEAT)),
        ("SERVER_SILENCE", time(limits::SERVER_SILENCE)),
        ("WORKER_DOUBT", time(limits::WORKER_DOUBT)),
        ("WORKER_SILENCE", time(limits::WORKER_SILENCE)),
        ("WORKERS", limits::WORKERS.to_string()),
        ("PULSE", time(limits::PULSE)),
        ("FAILURE_TIMEOUT", time(limits::FAILURE_TIMEOUT)),
        ("SYNC_TIMEOUT", time(limits::SYNC_TIMEOUT)),
        ("REDIAL", format!("{} to {}", time(limits::REDIAL.0), time(limits::REDIAL.1))),
        ("MEMBERS", limits::MEMBERS.to_string()),
        ("HISTORY", limits::HISTORY.to_string()),
        ("CONFLICTS", limits::CONFLICTS.to_string()),
        ("SYNC_WINDOW", limits::SYNC_WINDOW.to_string()),
        ("ASKED_WORKERS", limits::ASKED_WORKERS.to_string()),
        ("PARKED", limits::PARKED.to_string()),
        ("SYNC_USERS", limits::SYNC_USERS.to_string()),
        ("FEED_BYTES", bytes(limits::FEED_BYTES)),
        ("RETRY_AFTER", time(limits::RETRY_AFTER)),
        ("RECONNECT", format!("{} to {}", time(limits::RECONNECT.0), time(limits::RECONNECT.1))),
        ("DIAL_TIMEOUT", time(limits::DIAL_TIMEOUT)),
        ("FIRST_DIAL", time(limits::FIRST_DIAL)),
        ("LOG_BYTES", bytes(limits::LOG_BYTES)),
        ("RETAIN_BYTES", bytes(limits::RETAIN_BYTES)),
        ("RETAIN_AGE", time(limits::RETAIN_AGE)),
        ("UNWRITTEN_BYTES", bytes(limits::UNWRITTEN_BYTES)),
        ("INTAKE_BYTES", format!("{} a second", bytes(limits::INTAKE_BYTES))),
        ("ORDERING_PERIOD", time(limits::ORDERING_PERIOD)),
        ("HELD_BYTES", bytes(limits::HELD_BYTES)),
        ("CATCH_UP_PATIENCE", time(limits::CATCH_UP_PATIENCE)),
        (
            "SESSION_KEY_BYTES",
            format!("{} to {} bytes", limits::SESSION_KEY_BYTES.0, limits::SESSION_KEY_BYTES.1),
        ),
        ("SESSIONS", limits::SESSIONS.to_string()),
        ("GAPS", limits::GAPS.to_string()),
        ("RANGES", limits::RANGES.to_string()),
        ("DOUBLES", limits::DOUBLES.to_string()),
        ("UNREPORTED", limits::UNREPORTED.to_string()),
        ("REPORT_TIMEOUT", time(limits::REPORT_TIMEOUT)),
        ("PRESENT", limits::PRESENT.to_string()),
        ("WHO_BYTES", bytes(limits::WHO_BYTES)),
        ("DIGEST", time(limits::DIGEST)),
        ("RECOVERY", time(limits::RECOVERY)),
        ("DRAIN_TIMEOUT", time(limits::DRAIN_TIMEOUT)),
        ("RETRIEVED_BYTES", bytes(limits::RETRIEVED_BYTES)),
        ("RETRIEVE_RATE", format!("{} a second", bytes(limits::RETRIEVE_RATE))),
    ]
}
