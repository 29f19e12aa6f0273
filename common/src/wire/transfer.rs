//! What an operator and a coordinator say to move users to a file and back: some at a time, each question answered before the next, so
//! that neither side has to remember the other.

use serde::{Deserialize, Serialize};

use super::client::Durability;
use super::fields::{Millis, number};
use crate::user::{Secret, UserRecord, Username};
use crate::users::Seen;

/// A registration and whose it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The name.
    pub username: Username,
    /// Its record: `registration`, `changed`, `secret`.
    #[serde(flatten)]
    pub user: UserRecord,
}

/// Operator → coordinator: which users do you keep?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// The network secret.
    pub secret: Secret,
    /// Those before here are known: the `next` of the last answer.
    #[serde(default, skip_serializing_if = "Seen::is_empty")]
    pub after: Seen,
}

/// Coordinator → operator: the next users, removed ones included; none when there are no more. The connection stays open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exported {
    /// The network's id.
    pub network: String,
    /// Some registrations.
    pub users: Vec<Registration>,
    /// Where the next ones begin.
    #[serde(default, skip_serializing_if = "Seen::is_empty")]
    pub next: Seen,
}

/// Operator → coordinator: take these users in, as far as they are news.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Import {
    /// The network secret.
    pub secret: Secret,
    /// The network that they come from, to be refused where it is another one; absent to be taken in from any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Some registrations, 500 at the most.
    pub users: Vec<Registration>,
}

/// Coordinator → operator: these users are kept from now on. The connection stays open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Imported {
    /// Registrations of which something was not known.
    #[serde(deserialize_with = "number")]
    pub news: u64,
    /// What they survive.
    pub durability: Durability,
}

/// Coordinator → operator: these users are not taken in, or not all of them. Asking again does no harm. The connection stays open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportFailed {
    /// Why.
    #[serde(default)]
    pub info: String,
    /// When it makes sense to try again, in milliseconds; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Millis>,
}
