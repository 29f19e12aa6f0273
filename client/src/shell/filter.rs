//! Which broadcasts a session parses at all. In a process with a thousand sessions each activity arrives a thousand times; telling
//! at a glance that a line is somebody else's is what makes that cheap.

use common::id::ActivityId;
use common::user::Username;
use memchr::memmem;

/// Which activities a session hands up. All arrive, and all are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Receive {
    /// Every activity.
    #[default]
    Everything,
    /// Those that this session's user published, and perhaps a few that mention them. It relies on Freshet's own way of writing
    /// `authenticated_user`, without spaces.
    Own,
    /// None.
    Nothing,
}

/// Tells what a session does not want, without parsing it.
#[derive(Debug)]
pub(super) enum Filter {
    None,
    /// Boxed: most sessions have none, and those that do are many.
    AllBut(Box<memmem::Finder<'static>>),
    All,
}

impl Filter {
    pub(super) fn new(receive: Receive, username: &Username) -> Self {
        match receive {
            Receive::Everything => Filter::None,
            Receive::Own => {
                let name = serde_json::to_string(username).expect("a string serialises");
                let own = memmem::Finder::new(&format!("\"authenticated_user\":{name}")).into_owned();
                Filter::AllBut(Box::new(own))
            }
            Receive::Nothing => Filter::All,
        }
    }

    /// Whether the session can do without this broadcast.
    pub(super) fn skips(&self, broadcast: &[u8]) -> bool {
        match self {
            Filter::None => false,
            Filter::AllBut(own) => own.find(broadcast).is_none(),
            Filter::All => true,
        }
    }
}

/// How an ACTIVITY_BROADCAST begins, as Freshet writes it: the command comes first.
const BROADCAST: &[u8] = b"{\"command\":\"ACTIVITY_BROADCAST\"";

/// Whether a line is an ACTIVITY_BROADCAST.
pub(super) fn is_broadcast(line: &[u8]) -> bool {
    line.starts_with(BROADCAST)
}

/// The id of an ACTIVITY_BROADCAST, as Freshet writes it: next to the command.
pub(super) fn id(broadcast: &[u8]) -> Option<ActivityId> {
    let rest = broadcast.strip_prefix(BROADCAST)?.strip_prefix(b",\"id\":\"")?;
    let end = memchr::memchr(b'"', rest)?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use common::wire::{Activity, ActivityBroadcast, Message};

    use super::*;

    #[test]
    fn a_session_recognises_its_own_activities_however_its_name_is_spelt() {
        for name in ["ann", "a\"b\\c", "Zoë", "anonymous"] {
            let username: Username = name.parse().unwrap();
            let filter = Filter::new(Receive::Own, &username);
            let line = |by: &Username| {
                let activity = Activity::parse(r#"{"n":1}"#).unwrap().authenticated(by);
                Message::from(ActivityBroadcast::from(activity)).encode()
            };
            assert!(is_broadcast(&line(&username)));
            assert!(!filter.skips(&line(&username)), "{name} misses an activity of its own");
            assert!(filter.skips(&line(&"somebody".parse().unwrap())));
            assert!(filter.skips(&line(&format!("{name}x").parse().unwrap())));
        }
    }

    #[test]
    fn the_id_of_a_broadcast_is_read_without_reading_the_rest() {
        let activity = Activity::parse(r#"{"n":1}"#).unwrap();
        let expected: Option<ActivityId> = "w/00000000000000ff/7".parse().ok();
        let named = ActivityBroadcast { id: expected.clone(), ..activity.clone().into() };
        assert_eq!(id(&Message::from(named).encode()), expected);
        assert_eq!(id(&Message::from(ActivityBroadcast::from(activity)).encode()), None);
        assert_eq!(id(br#"{"command":"ACTIVITY_BROADCAST","id":"nonsense","activity":{}}"#), None);
        assert_eq!(id(br#"{"command":"ACTIVITY_BROADCAST","id":"w/00"#), None);
    }
}
