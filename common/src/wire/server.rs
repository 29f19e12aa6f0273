//! What workers and coordinators say to each other, and workers among themselves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fields::{Address, Millis, maybe_number, number};
use super::presence::{Attached, PresenceKnown};
use super::stream::Double;
use crate::epoch::Reign;
use crate::id::{Incarnation, Seq, ServerId};
use crate::position::Position;
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
    /// To a coordinator: the sender is still asking other workers for what it missed, and takes no clients yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovering: bool,
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
    /// From a coordinator: how much of the users it knows. A worker that knows more says so with SYNC_USER.
    #[serde(default, skip_serializing_if = "Seen::is_empty")]
    pub seen: Seen,
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

/// Wrong secret, or not who the connection belongs to; or nobody can be let in just now. The connection closes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuthenticationFail {
    /// What was wrong.
    #[serde(default)]
    pub info: String,
    /// When it makes sense to try again, in milliseconds; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Millis>,
    /// Another server bears that id, and lives.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken: bool,
}

/// Worker → coordinator, workers, and clients that want to know: a session began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewClient {
    /// Whose.
    pub username: Username,
    /// To the coordinator: how many clients the worker carries now, this one included.
    #[serde(default, deserialize_with = "maybe_number", skip_serializing_if = "Option::is_none")]
    pub load: Option<u64>,
    /// To workers and clients: which, and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Attached>,
}

/// Worker → coordinator: a session ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeLoad {
    /// How many clients the worker carries now.
    #[serde(deserialize_with = "number")]
    pub load: u64,
}

/// Worker → coordinator, every few seconds: I live, and carry this many clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerLoad {
    /// How many clients the worker carries now.
    #[serde(deserialize_with = "number")]
    pub load: u64,
    /// How many of them can be moved to another worker.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "super::stream::is_zero")]
    pub movable: u64,
    /// It is still asking other workers for what it missed, and takes no clients yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovering: bool,
}

/// Main coordinator → workers, backups: a worker has joined, or has moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SynchronisedNewServer {
    /// Which, and where it listens: `id`, `hostname`, `port`.
    #[serde(flatten)]
    pub server: ServerEntry,
    /// To a backup: the number of this update, to be confirmed.
    #[serde(default, deserialize_with = "maybe_number", skip_serializing_if = "Option::is_none")]
    pub update: Option<u64>,
}

/// Main coordinator → workers, backups: a worker is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoveServer {
    /// Which.
    pub id: ServerId,
    /// To a backup: the number of this update, to be confirmed.
    #[serde(default, deserialize_with = "maybe_number", skip_serializing_if = "Option::is_none")]
    pub update: Option<u64>,
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

/// Coordinator ↔ worker, backup → main: users that the receiver does not know yet, a bounded number a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncUser {
    /// Records by name.
    pub users: BTreeMap<Username, UserRecord>,
    /// How much of the users the receiver knows with this message, if it got those before. With `override`: how much the sender knows.
    #[serde(default, skip_serializing_if = "Seen::is_empty")]
    pub seen: Seen,
    /// Answer with what the sender lacks, by what it `seen`s.
    #[serde(default, rename = "override", skip_serializing_if = "std::ops::Not::not")]
    pub r#override: bool,
    /// With `override`, from a backup: the coordinators that it knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<ServerEntry>,
    /// With `override`, from a backup: the latest epochs that it knows of, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Reign>,
}

impl SyncUser {
    /// Users, and how much the receiver knows with them.
    pub fn of_users(users: BTreeMap<Username, UserRecord>, seen: Seen) -> Self {
        SyncUser { users, seen, r#override: false, members: Vec::new(), history: Vec::new() }
    }
}

/// Main coordinator → workers and backups, worker → capable clients, every few seconds and on change: where to go, in this order, when a
/// server fails. Workers and clients keep it on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackupList {
    /// To a server: the main coordinator, then the backups in the order in which they take over. To a client: other workers, then these.
    pub servers: Vec<BackupEntry>,
    /// To a client, now and then: what to log in with at another worker, instead of the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// A server of the BACKUP_LIST.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupEntry {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ServerId>,
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
    /// A backup coordinator, which follows the main one.
    Backup,
    /// A coordinator that knows of no main one, and looks for it or is about to become it.
    Seeking,
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
    /// The activities that the sender holds, and sends to who asks with ACTIVITY_RETRIEVE. Every second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<Position>,
    /// What is behind all who begin to listen, and the sender cannot give: it has held it, or knows that nobody does. First on a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<Position>,
    /// Of which workers the sender knows who their clients are, and how far; itself among them. Every second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presence: Vec<PresenceKnown>,
    /// Activities that have several ids: what has become known of them, and on a new link all that is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubles: Vec<Double>,
    /// Whether the sender takes no clients yet: it fetches what it missed. Said with `holds`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovering: bool,
    /// Say at once what you hold.
    #[serde(default, rename = "needReply", skip_serializing_if = "std::ops::Not::not")]
    pub need_reply: bool,
}
