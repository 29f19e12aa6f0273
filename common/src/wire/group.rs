//! What coordinators say among themselves, and ask workers of each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fields::{Address, Millis, maybe_number, number};
use super::server::{Role, ServerEntry};
use crate::epoch::Reign;
use crate::id::{Incarnation, ServerId};
use crate::token::TokenKey;
use crate::user::{Secret, UserRecord, Username};
use crate::users::Seen;

/// What a coordinator says of itself to the others, in several messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What it is.
    pub role: Role,
    /// Its place in the BACKUP_LIST that it heard last: 0 is the main one. Absent where it is not listed.
    #[serde(default, deserialize_with = "maybe_number", skip_serializing_if = "Option::is_none")]
    pub rank: Option<u64>,
    /// Whose updates it follows: the main coordinator that it hears, itself where it is the main one. Absent where it hears none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<ServerId>,
    /// The network that it keeps users of; absent where it has none yet, and would join any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// Coordinator → coordinator: who I am, where I listen, and that I belong to this group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackupAuthenticate {
    /// The sender's name.
    pub id: ServerId,
    /// Where it listens: `hostname` and `port`.
    #[serde(flatten)]
    pub address: Address,
    /// The network secret.
    pub secret: Secret,
    /// Which start of the sender this is.
    pub incarnation: Incarnation,
    /// What it is: `role`, `rank`, `main`, `network`.
    #[serde(flatten)]
    pub standing: Standing,
}

/// Coordinator → coordinator: you belong here; and the same of myself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackupAuthenticationSuccess {
    /// The answering coordinator's name.
    pub id: ServerId,
    /// Where it listens: `hostname` and `port`.
    #[serde(flatten)]
    pub address: Address,
    /// Which start of it this is.
    pub incarnation: Incarnation,
    /// What it is: `role`, `rank`, `main`, `network`.
    #[serde(flatten)]
    pub standing: Standing,
}

/// Coordinator → coordinator: you do not belong here. The connection closes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackupAuthenticationFail {
    /// Why.
    #[serde(default)]
    pub info: String,
    /// Only as long as another coordinator of the same id lives: when it makes sense to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Millis>,
    /// The answering coordinator's name, where the secret was right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ServerId>,
    /// The network whose users it keeps, where the secret was right and it keeps any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// Coordinator → coordinators, main coordinator → workers: I live, and this is what I am.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// `role`, `rank`, `main`, `network`.
    #[serde(flatten)]
    pub standing: Standing,
}

/// Main coordinator → backup, first and on change: the group and its servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SynchroniseServerAddresses {
    /// The number of this update, to be confirmed.
    #[serde(deserialize_with = "number")]
    pub update: u64,
    /// The network's id.
    pub network: String,
    /// The key that tokens are signed with.
    pub token_key: TokenKey,
    /// The workers.
    pub servers: Vec<ServerEntry>,
    /// The members of the group: every coordinator that has joined it and was not forgotten.
    pub members: Vec<ServerEntry>,
    /// Former members, by name: they belong to the group again when they come back themselves, and not because somebody remembers them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<ServerId>,
    /// The history of epochs, oldest first.
    pub history: Vec<Reign>,
    /// How much of the users the main coordinator knows. A backup that knows more says so with SYNC_USER.
    #[serde(default, skip_serializing_if = "Seen::is_empty")]
    pub seen: Seen,
}

/// Main coordinator → backup: the workers' loads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SynchroniseServerLoad {
    /// The number of this update, to be confirmed.
    #[serde(deserialize_with = "number")]
    pub update: u64,
    /// Clients that each worker carries.
    pub loads: BTreeMap<ServerId, u64>,
}

/// Main coordinator → backup: users, on joining all that the backup lacks, then every change before it counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SynchroniseUserStore {
    /// The number of this update, to be confirmed when it is on disk.
    #[serde(deserialize_with = "number")]
    pub update: u64,
    /// Records by name.
    pub users: BTreeMap<Username, UserRecord>,
    /// How much of the users the backup knows with this update. What lies beyond it is proposed, and counts when the main coordinator
    /// says so in a later update, or does not live to say it.
    #[serde(default, skip_serializing_if = "Seen::is_empty")]
    pub seen: Seen,
}

/// Backup → main coordinator: all updates up to this one are taken in, and those of users on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Synchronised {
    /// The number of the update.
    #[serde(deserialize_with = "number")]
    pub update: u64,
}

/// Backup → worker: do you hear the main coordinator, which I do not hear?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MainQuery {
    /// The asking coordinator.
    pub id: ServerId,
    /// The network secret.
    pub secret: Secret,
}

/// Worker → backup: the answer to MAIN_QUERY. The connection stays open for the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MainAnswer {
    /// The main coordinator that the worker hears; absent where it hears none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<ServerId>,
}

/// Main coordinator → first backup: I am about to leave; take over now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promote {}
