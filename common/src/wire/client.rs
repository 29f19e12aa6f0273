//! What clients and servers say to each other. All but LOGIN's and REDIRECT's `token`, the `retry_after`s and `server` are the
//! classic protocol's; additions to a known command are ignored by classic clients.

use serde::{Deserialize, Serialize};

use super::activity::Activity;
use super::fields::{Address, Millis, maybe_number};
use crate::id::{ActivityId, Seq, ServerId};
use crate::position::Position;
use crate::session::{SessionId, SessionKey};
use crate::user::Secret;

/// Client → coordinator or worker: take this name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Register {
    /// The wanted name; 1 to 64 characters.
    pub username: String,
    /// The secret to log in with; 1 to 256 bytes.
    pub secret: Secret,
}

/// The name is the client's: taken now, or before with this very secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisterSuccess {
    /// A sentence for people.
    #[serde(default)]
    pub info: String,
    /// What the registration survives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// The name was registered before, with this secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub existing: bool,
}

/// What an acknowledgement survives (promise 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// On one coordinator's disk: survives any crash, not the loss of that disk.
    Local,
    /// On the disk of every coordinator in the BACKUP_LIST: survives any one failure.
    Replicated,
}

/// The name was not taken. The connection closes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisterFailed {
    /// Why: is registered, is being registered, not a name, …
    #[serde(default)]
    pub info: String,
    /// When it makes sense to try again, in milliseconds; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Millis>,
}

/// Client → coordinator: let me log in with another secret from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeSecret {
    /// Whose secret.
    pub username: String,
    /// The secret so far.
    pub secret: Secret,
    /// The secret from now on; 1 to 256 bytes.
    pub new_secret: Secret,
}

/// The new secret holds, and the old one does not any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeSecretSuccess {
    /// A sentence for people.
    #[serde(default)]
    pub info: String,
    /// What the change survives.
    pub durability: Durability,
}

/// The secret is what it was. The connection closes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeSecretFailed {
    /// Why.
    #[serde(default)]
    pub info: String,
    /// When it makes sense to try again, in milliseconds; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Millis>,
}

/// Client → coordinator or worker: by token, by name and secret, or as `anonymous`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Login {
    /// Who; `anonymous` needs no secret.
    pub username: String,
    /// The secret; not needed with a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// What a REDIRECT gave; spares the worker a password hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What the client understands beyond the classic commands; a classic client declares nothing. `backup_list`: BACKUP_LIST.
    /// `session`: all that goes with `session`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// With the capability `session`: the key of the session that goes on here, or begins. The client numbers what it publishes, gets a
    /// report for each, acknowledges what it receives, and can be moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionKey>,
    /// With the capability `session`: what the client has received. It gets what it missed since, then RESUMED, then what is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Position>,
    /// With the capability `session`, without `resume`: how many of the latest activities to begin with.
    #[serde(default, deserialize_with = "maybe_number", skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// With `resume`: the network that the position is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// Welcome. From a coordinator a REDIRECT follows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoginSuccess {
    /// A sentence for people.
    #[serde(default)]
    pub info: String,
    /// Which server speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerId>,
    /// From a worker, to a client with the capability `session` that did not want to resume: what it will not get, because it was
    /// before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// From a worker, to a client with the capability `session`: the network that positions are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// Not logged in. The connection closes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoginFailed {
    /// Why.
    #[serde(default)]
    pub info: String,
    /// When it makes sense to try again, in milliseconds; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Millis>,
    /// It is the position that is refused: nobody can go on from there here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub position: bool,
}

/// Client → server: goodbye. The connection closes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logout {}

/// Go there and log in. The connection closes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Redirect {
    /// Where to: `hostname` and `port`.
    #[serde(flatten)]
    pub address: Address,
    /// What to log in with there, instead of the secret, within a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Client → worker: tell everybody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivityMessage {
    /// Classic clients repeat who they are; it must be who logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Classic clients repeat their secret; it must be the one they logged in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Its number in the client's session: the first is 1, and each next one is one more. Of clients with the capability `session`; what
    /// others say here is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity_seq: Option<Seq>,
    /// What to tell.
    pub activity: Activity,
}

/// Worker → clients and workers: this happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivityBroadcast {
    /// Its identity in the flood. Classic servers lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ActivityId>,
    /// The session that it was published in. With `activity_seq`, its identity however often it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Its number there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity_seq: Option<Seq>,
    /// To clients: activities of this session that should have come before this one and did not come in time: the first of them.
    /// They may come later, and be `late`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_from: Option<Seq>,
    /// To clients: others of its session that come after it went before it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// What its sender wrote, with `authenticated_user` set.
    pub activity: Activity,
}

impl From<Activity> for ActivityBroadcast {
    /// The activity and nothing else.
    fn from(activity: Activity) -> Self {
        ActivityBroadcast {
            id: None,
            session: None,
            activity_seq: None,
            missing_from: None,
            late: false,
            activity,
        }
    }
}

/// Any → any: what you sent makes no sense or is not allowed here. The connection closes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InvalidMessage {
    /// What was wrong.
    #[serde(default)]
    pub info: String,
}
