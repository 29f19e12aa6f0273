//! Who is online, and where. NEW_CLIENT itself is in [`server`](super::server).
//!
//! A worker numbers what changes with its clients: who comes, who goes. The number of a client's coming names its attachment from then
//! on, the number of the latest change says how far somebody knows the worker's clients.

use serde::{Deserialize, Serialize};

use super::fields::{Millis, number};
use super::stream::is_zero;
use crate::id::{Incarnation, ServerId};
use crate::session::SessionId;
use crate::time::WallMillis;
use crate::user::Username;

/// A session's attachment to a worker, unlike any other before or after it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Which worker.
    pub worker: ServerId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// The number of this change there; from 1.
    #[serde(deserialize_with = "number")]
    pub attachment: u64,
}

/// A session that is online, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Where: `worker`, `incarnation`, `attachment`.
    #[serde(flatten)]
    pub place: Place,
    /// Which session.
    pub session: SessionId,
    /// When it came there, by the worker's clock.
    pub since: WallMillis,
}

/// Worker → workers and clients that want to know: a session has left a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientDisconnect {
    /// Whose.
    pub username: Username,
    /// Which, and where it was.
    pub at: Attached,
    /// To a worker: the number of this change there.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "is_zero")]
    pub change: u64,
}

/// How far somebody knows the clients of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceKnown {
    /// Which worker.
    pub worker: ServerId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// The number of the latest change that is known, with all before it; 0 where they are not all known.
    #[serde(deserialize_with = "number")]
    pub change: u64,
    /// How long ago the worker itself has said that it lives.
    pub silent: Millis,
    /// The number of that word: each later one has a higher number. 0 where its version does not number them.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "is_zero")]
    pub pulse: u64,
}

/// Client → worker, worker → worker: who is online?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Who {
    /// Those behind this place: the `next` of the last answer. Absent: from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Place>,
}

/// The answer to WHO: some of the clients of one worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhoAnswer {
    /// Which worker.
    pub worker: ServerId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// The clients are those behind this attachment.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "is_zero")]
    pub after: u64,
    /// How far the answering worker knows its clients; 0 where they are not all known.
    #[serde(deserialize_with = "number")]
    pub change: u64,
    /// Its clients, by attachment.
    pub clients: Vec<PresentClient>,
    /// What to ask for next; absent where there is no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Place>,
}

/// A client of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresentClient {
    /// The number of its attachment there.
    #[serde(deserialize_with = "number")]
    pub attachment: u64,
    /// Whose session.
    pub username: Username,
    /// Which session.
    pub session: SessionId,
    /// When it came there, by the worker's clock.
    pub since: WallMillis,
}

/// Worker → client that wants to know who comes and goes: it was not told everything, because it took too little of it. Ask WHO again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PresenceMissed {}
