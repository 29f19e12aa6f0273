//! What makes activities arrive once, in order, and be accounted for: acknowledgements, reports, catching up, resuming, and moving on.
//! ACTIVITY_MESSAGE and ACTIVITY_BROADCAST themselves are in [`client`](super::client).

use serde::{Deserialize, Serialize};

use super::client::{ActivityBroadcast, Durability};
use super::fields::{Address, maybe_number, number};
use crate::id::{ActivityId, Incarnation, Seq, ServerId};
use crate::position::{After, Position};
use crate::session::SessionId;

/// Capable client → worker: so many activities have arrived over this connection, all up to here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivityAck {
    /// ACTIVITY_BROADCASTs received over this connection, replayed ones included.
    #[serde(deserialize_with = "number")]
    pub received: u64,
}

/// Worker → capable client: this is how many your activities reached. Sent for each exactly once a connection, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivitySendingReport {
    /// The first activity that this report is for; absent where it is for `activity_seq` alone. The counts are each one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seq: Option<Seq>,
    /// The last activity that this report is for.
    pub activity_seq: Seq,
    /// Sessions that were attached when each worker took it in.
    #[serde(deserialize_with = "number")]
    pub client_count: u64,
    /// Those that have it: a capable client said so, a classic one took its last byte.
    #[serde(deserialize_with = "number")]
    pub succ_count: u64,
    /// Those that left before they had it, or did not say so in time.
    #[serde(deserialize_with = "number")]
    pub fail_count: u64,
    /// `replicated`: at least two workers hold it. `local`: one does.
    pub durability: Durability,
    /// Workers that could not be asked. What their clients received is not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<ServerId>,
}

/// Worker → workers, every few milliseconds where there is something to tell: what became of activities at one worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivitySuccInfo {
    /// Where they were counted. Whoever passes this on leaves it as it is, so that nothing is counted twice.
    pub worker: ServerId,
    /// Which start of that worker.
    pub incarnation: Incarnation,
    /// The counts, each for a run of one session's activities.
    pub counts: Vec<DeliveryCount>,
}

/// What became of each of a run of activities at one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryCount {
    /// Whose activities.
    pub session: SessionId,
    /// The first of them.
    pub first: Seq,
    /// The last of them.
    pub last: Seq,
    /// Which start of a worker took them in, as their ids say. What was sent again to another worker may have two: whoever moved between
    /// them is counted under both, so these counts are not to be added.
    pub taken_by: Incarnation,
    /// Sessions that were attached when the worker took each of them in.
    #[serde(deserialize_with = "number")]
    pub client_count: u64,
    /// Those that have it. The others left before they had it, or did not say so in time.
    #[serde(deserialize_with = "number")]
    pub succ_count: u64,
}

impl DeliveryCount {
    /// Appends this to `runs`: as part of the last one, where it follows on that with the same counts.
    pub fn append_to(self, runs: &mut Vec<DeliveryCount>) {
        match runs.last_mut() {
            Some(run)
                if run.session == self.session
                    && run.last.next() == self.first
                    && run.taken_by == self.taken_by
                    && (run.client_count, run.succ_count) == (self.client_count, self.succ_count) =>
            {
                run.last = self.last;
            }
            _ => runs.push(self),
        }
    }
}

/// An activity that was taken in more than once, because its sender sent it again through another worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Double {
    /// The session that it was published in.
    pub session: SessionId,
    /// Its number there.
    pub activity_seq: Seq,
    /// Ids under which it is known.
    pub ids: Vec<ActivityId>,
}

/// Worker ↔ worker, client → worker: send me what I miss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivityRetrieve {
    /// What the sender has: a position, or one activity, which stands for everything of its origin up to there.
    pub after: After,
    /// To tell the answers to several requests apart.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "is_zero")]
    pub request: u64,
    /// Only what is in here, where that is said.
    #[serde(default, skip_serializing_if = "Position::is_empty")]
    pub within: Position,
    /// Ask me for what you miss, too.
    #[serde(default, rename = "needReply", skip_serializing_if = "std::ops::Not::not")]
    pub need_reply: bool,
}

/// The answer to ACTIVITY_RETRIEVE, in pieces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivityRetrieved {
    /// Which request.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "is_zero")]
    pub request: u64,
    /// Some of what was missed, each sender's in order.
    pub activities: Vec<ActivityBroadcast>,
    /// This was the last piece.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

/// Worker → capable client that wanted to resume, after the last activity that was replayed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resumed {
    /// Everything that it had missed was replayed. False also where nobody can tell, because no worker that could be asked knows anything
    /// of what the client has.
    pub recovered: bool,
    /// What was not, because no worker that could be asked has it any more.
    #[serde(default, skip_serializing_if = "Position::is_empty")]
    pub gaps: Position,
    /// What the client has now, with what it will never get.
    pub position: Position,
}

/// Worker → its clients, neighbours and coordinator: I am about to leave; go there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quit {
    /// To a client: the host of another worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_server_ip: Option<String>,
    /// To a client: its port.
    #[serde(default, deserialize_with = "maybe_number", skip_serializing_if = "Option::is_none")]
    pub new_server_port: Option<u64>,
    /// To a client: what to log in with there, instead of the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl Quit {
    /// To a client: go there.
    pub fn to(address: Address, token: Option<String>) -> Self {
        Quit { new_server_ip: Some(address.hostname), new_server_port: Some(address.port.into()), token }
    }

    /// Where a client is to go, where that is said.
    pub fn address(&self) -> Option<Address> {
        Address::new(self.new_server_ip.clone()?, self.new_server_port?.try_into().ok()?).ok()
    }
}

/// Main coordinator → worker: you have more clients than others; send some there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MoveClients {
    /// How many at most.
    #[serde(deserialize_with = "number")]
    pub count: u64,
    /// To which worker.
    pub to: ServerId,
}

pub(super) fn is_zero(number: &u64) -> bool {
    *number == 0
}
