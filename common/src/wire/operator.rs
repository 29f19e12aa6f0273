//! What operators ask of coordinators, and how the network is.

use serde::{Deserialize, Serialize};

use super::fields::{Millis, maybe_number, number};
use super::server::{Role, ServerEntry};
use crate::epoch::{Epoch, Reign};
use crate::id::ServerId;
use crate::time::WallMillis;
use crate::user::{Secret, Stamp, Username};

/// Operator → coordinator: how are you?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The network secret.
    pub secret: Secret,
    /// List the conflicts too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub conflicts: bool,
}

/// Coordinator → operator: the answer to STATUS. The connection stays open for the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The answering coordinator.
    pub id: ServerId,
    /// The network's id.
    pub network: String,
    /// What the answering coordinator is.
    pub role: Role,
    /// The highest epoch that it has seen; absent where there was none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest_epoch: Option<Epoch>,
    /// `NORMAL` or `RECOVERING`.
    pub state: State,
    /// Why it is RECOVERING: sentences for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Registered users.
    #[serde(deserialize_with = "number")]
    pub users: u64,
    /// The coordinators of the group, in the order of the BACKUP_LIST, then those that are not listed.
    #[serde(default)]
    pub coordinators: Vec<CoordinatorStatus>,
    /// The workers, by id.
    pub workers: Vec<WorkerStatus>,
    /// The latest epochs, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Reign>,
    /// How many registrations lost their name to an earlier one.
    #[serde(deserialize_with = "number")]
    pub conflict_count: u64,
    /// The first of them, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
}

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Everything is as it should be.
    Normal,
    /// A server was lost and has not been replaced: a takeover, a reconnection, a merge or a catch-up is under way.
    Recovering,
}

/// What a coordinator knows of one of the group, itself included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorStatus {
    /// Which, and where it listens: `id`, `hostname`, `port`.
    #[serde(flatten)]
    pub server: ServerEntry,
    /// What it is, as far as is known; absent where it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The highest epoch that was heard from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_epoch: Option<Epoch>,
    /// Whether it is in the BACKUP_LIST: it holds all that was acknowledged.
    pub listed: bool,
    /// Updates that it has been sent and has not confirmed; absent where the answering coordinator does not send it any.
    #[serde(default, deserialize_with = "maybe_number", skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
}

/// A registration that lost its name to an earlier one, made elsewhere while the two could not see each other. It is kept aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The name.
    pub username: Username,
    /// The registration that lost.
    pub registration: Stamp,
    /// The registration that has the name.
    pub lost_to: Stamp,
    /// When the one that lost was made, by its coordinator's clock.
    pub registered: WallMillis,
}

/// What a coordinator knows of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Which, and where it listens: `id`, `hostname`, `port`.
    #[serde(flatten)]
    pub server: ServerEntry,
    /// Clients that it carries, by its own word.
    #[serde(deserialize_with = "number")]
    pub load: u64,
    /// Clients that were sent there and have not arrived yet.
    #[serde(deserialize_with = "number")]
    pub expected: u64,
    /// Whether its connection to the coordinator stands.
    pub connected: bool,
}

/// Operator → coordinator: end this registration for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoveUser {
    /// Whose.
    pub username: String,
    /// The network secret.
    pub secret: Secret,
}

/// Coordinator → operator: the user is removed. The connection stays open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoveUserSuccess {
    /// A sentence for people.
    #[serde(default)]
    pub info: String,
    /// What the removal survives.
    pub durability: super::client::Durability,
}

/// Coordinator → operator: the user is not removed. The connection stays open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoveUserFailed {
    /// Why.
    #[serde(default)]
    pub info: String,
    /// When it makes sense to try again, in milliseconds; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Millis>,
}

/// Operator → coordinator: this coordinator will not come back; it is no member of the group any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForgetCoordinator {
    /// Which.
    pub id: ServerId,
    /// The network secret.
    pub secret: Secret,
}

/// Coordinator → operator: it is forgotten. The connection stays open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForgetCoordinatorSuccess {
    /// A sentence for people.
    #[serde(default)]
    pub info: String,
}

/// Coordinator → operator: it is not forgotten. The connection stays open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForgetCoordinatorFailed {
    /// Why.
    #[serde(default)]
    pub info: String,
    /// When it makes sense to try again, in milliseconds; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Millis>,
}
