//! What applications see of an activity.

use common::id::{ActivityId, Seq};
use common::session::SessionId;
use common::wire::ActivityBroadcast;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// An activity as it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Its identity in the network; classic servers give none.
    pub id: Option<ActivityId>,
    /// Who published it, as the network authenticated them.
    pub user: String,
    /// The activity, a JSON object, as its sender wrote it and with `authenticated_user` set.
    pub json: String,
    /// The session that it was published in; classic servers give none.
    pub session: Option<SessionId>,
    /// Its number there.
    pub number: Option<Seq>,
    /// Activities of this session that should have come before this one and did not come in time: the first of them. They may come
    /// later, and be `late`.
    pub missing_from: Option<Seq>,
    /// Others of its session that come after it were received before it.
    pub late: bool,
}

impl Activity {
    /// Reads the activity as a type of the application's own.
    ///
    /// # Errors
    /// When it is of another shape: anybody may publish any object.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.json)
    }
}

impl From<ActivityBroadcast> for Activity {
    fn from(broadcast: ActivityBroadcast) -> Self {
        #[derive(Deserialize)]
        struct Author {
            authenticated_user: String,
        }
        let json = broadcast.activity.get().to_owned();
        // A server that names nobody speaks for nobody in particular.
        let user = serde_json::from_str(&json).map_or_else(
            |_| common::user::ANONYMOUS.to_owned(),
            |Author { authenticated_user }| authenticated_user,
        );
        Activity {
            id: broadcast.id,
            user,
            json,
            session: broadcast.session,
            number: broadcast.activity_seq,
            missing_from: broadcast.missing_from,
            late: broadcast.late,
        }
    }
}
