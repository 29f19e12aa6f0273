//! What servers say among themselves, and to operators who know the network secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fields::{Address, Millis, maybe_number, number};
use crate::id::{Incarnation, Seq, ServerId};
use crate::token::TokenKey;
use crate::user::{PasswordHash, Secret, UserRecord, Username};
use crate::users::Seen;

/// Worker → coordinator, worker → worker: who I am, where clients and workers reach me, and that I belong here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Authenticate {
    /// The sender's name.
    pub id: ServerId,
    /// Where it listens: `hostname` and `port`.
    #[serde(flatten)]
    pub address: Address,
    /// The network secret.
    pub secret: Secret,
    /// Which start of the sender this is.
    pub incarnation: Incarnation,
    /// To a worker: whom the sender means to reach. Somebody else may listen there by now, and must not take this for a new link
    /// in place of a good one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ServerId>,
    /// To a coordinator: how many clients the sender carries.
    #[serde(default, deserialize_with = "maybe_number", skip_serializing_if = "Option::is_none")]
    pub load: Option<u64>,
    /// To a coordinator: how much of the users the sender knows, so that only the rest is sent.
    #[serde(default, skip_serializing_if = "Seen::is_empty")]
    pub users_after: Seen,
}

/// You belong here. From a coordinator with what a worker needs; from a worker with its own identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuthenticateSuccess {
    /// The answering server's name.
    pub id: ServerId,
    /// From a worker: which start of it this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// From a coordinator: the network's id, made once by the first coordinator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// From a coordinator: the key to check tokens with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_key: Option<TokenKey>,
    /// From a coordinator: the other workers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerEntry>,
}

/// A worker and where it listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerEntry {
    /// Its name.
    pub id: ServerId,
    /// Where it listens: `hostname` and `port`.
    #[serde(flatten)]
    pub address: Address,
}

/// Wrong secret, or not who the connection belongs to. The connection closes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuthenticationFail {
    /// What was wrong.
    #[serde(default)]
    pub info: String,
}

/// Worker → coordinator: a session began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewClient {
    /// Whose.
    pub username: Username,
    /// How many clients the worker carries now, this one included.
    #[serde(deserialize_with = "number")]
    pub load: u64,
}

/// Worker → coordinator: a session ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeLoad {
    /// How many clients the worker carries now.
    #[serde(deserialize_with = "number")]
    pub load: u64,
}

/// Worker → coordinator, every few seconds: I live, and carry this many clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerLoad {
    /// How many clients the worker carries now.
    #[serde(deserialize_with = "number")]
    pub load: u64,
}

/// Coordinator → workers: a worker has joined, or has moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SynchronisedNewServer {
    /// Which, and where it listens: `id`, `hostname`, `port`.
    #[serde(flatten)]
    pub server: ServerEntry,
}

/// Coordinator → workers: a worker is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoveServer {
    /// Which.
    pub id: ServerId,
}

/// Worker → coordinator: somebody wants to register this name with me.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LockRequest {
    /// The wanted name.
    pub username: Username,
    /// The hash of the secret; secrets do not travel between servers.
    pub secret: PasswordHash,
}

/// Coordinator → worker: the name is registered and on disk, as asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LockAllowed {
    /// The name.
    pub username: Username,
    /// Its record: `registration`, `changed`, `secret`.
    #[serde(flatten)]
    pub user: UserRecord,
    /// What the registration survives.
    pub durability: super::client::Durability,
}

/// Coordinator → worker: the name is not to be had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LockDenied {
    /// The name.
    pub username: Username,
    /// Why, for the client's REGISTER_FAILED.
    #[serde(default)]
    pub info: String,
    /// When it makes sense to try again, in milliseconds; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Millis>,
    /// Whose it is, where it is registered: whoever asked for it again with the same secret is no stranger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserRecord>,
}

/// Coordinator → workers: a held name has become a user, or a user has changed or is removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserRegisterResult {
    /// The name.
    pub username: Username,
    /// Its record: `registration`, `changed`, `secret`.
    #[serde(flatten)]
    pub user: UserRecord,
}

/// Worker → coordinator: I have no record of this user; do you?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserQuery {
    /// Whose record.
    pub username: Username,
}

/// Coordinator → worker: the answer to USER_QUERY.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserAnswer {
    /// Whose record.
    pub username: Username,
    /// The record; absent where there is no such user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserRecord>,
}

/// Coordinator → worker: users that the worker does not know yet, a bounded number a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncUser {
    /// Records by name.
    pub users: BTreeMap<Username, UserRecord>,
}

/// Coordinator → workers, every few seconds: the coordinators, in the order in which to try them. It is a sign of life too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackupList {
    /// The first is the main one.
    pub servers: Vec<BackupEntry>,
}

/// A server of the BACKUP_LIST.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupEntry {
    /// Where it listens: `hostname` and `port`.
    #[serde(flatten)]
    pub address: Address,
    /// What it is.
    pub role: Role,
}

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The main coordinator.
    Main,
    /// A standby.
    Backup,
    /// A worker.
    Worker,
}

/// Worker → worker, first on every link, then every few seconds and on change: the workers that I have a working link to, and how
/// far my own activities go. Who receives an activity passes it on to those neighbours that do not have it from its origin:
/// neighbour and origin name each other here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Neighbours {
    /// Their names.
    pub links: Vec<ServerId>,
    /// The number that the sender's next activity will have. All before it have gone before this message, if the link stood.
    pub next: Seq,
}

/// Operator → coordinator: how are you?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The network secret.
    pub secret: Secret,
}

/// Coordinator → operator: the answer to STATUS. The connection stays open for the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The answering coordinator.
    pub id: ServerId,
    /// The network's id.
    pub network: String,
    /// Registered users.
    #[serde(deserialize_with = "number")]
    pub users: u64,
    /// The workers, by id.
    pub workers: Vec<WorkerStatus>,
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
