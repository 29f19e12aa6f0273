//! Sessions that outlive their connections: what a load must remember of each so that it goes on at another worker, as the library's
//! clients do, for a fraction of their cost. Of a delivery only the id is looked at.

use std::net::SocketAddr;

use common::id::ActivityId;
use common::position::{Position, Ranges, StreamId};
use common::session::SessionKey;
use common::wire::{Login, Message, Role};

use super::protocol::Noted;

/// What stands in a delivery before its id.
const BEFORE_ID: &[u8] = br#"{"command":"ACTIVITY_BROADCAST","id":""#;

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) key: SessionKey,
    /// The network that `position` is of.
    network: Option<String>,
    /// What it had when it began, or was told that it has.
    position: Position,
    /// What it has received since over its earlier connections, and over the one that stands.
    before: Ids,
    here: Ids,
    /// Up to here its own activities were reported on.
    pub(super) reported: u64,
    /// Where it was told to go, and with what to log in there.
    pub(super) to: Option<(SocketAddr, Option<String>)>,
    /// The other workers, as the one where it was told last.
    pub(super) others: Vec<SocketAddr>,
    /// How many were tried.
    pub(super) tried: usize,
}

impl Session {
    pub(super) fn new(key: SessionKey) -> Self {
        Session {
            key,
            network: None,
            position: Position::default(),
            before: Ids::default(),
            here: Ids::default(),
            reported: 0,
            to: None,
            others: Vec::new(),
            tried: 0,
        }
    }

    /// A delivery came. One without an id is none that can be missed.
    pub(super) fn delivered(&mut self, frame: &[u8]) -> Noted {
        let Some((beginning, number)) = split_id(frame) else { return Noted::New };
        match self.here.numbers(beginning).insert(number) {
            false => Noted::Again,
            true if self.before.contain(beginning, number) => Noted::Before,
            true => Noted::New,
        }
    }

    /// The worker said something else. Says whether the session is to stay there.
    ///
    /// # Errors
    /// A sentence, where something is lost.
    pub(super) fn told(
        &mut self,
        message: Message,
        resolve: impl Fn(&common::wire::Address) -> Result<SocketAddr, String>,
    ) -> Result<bool, String> {
        match message {
            Message::LoginSuccess(success) => {
                self.network = success.network.or(self.network.take());
                self.position.extend(&success.position.unwrap_or_default());
            }
            Message::Resumed(resumed) if !resumed.recovered => {
                return Err(format!("a session was told that it missed {}", resumed.gaps));
            }
            Message::Resumed(resumed) => self.position.extend(&resumed.position),
            Message::ActivitySendingReport(report) => {
                self.reported = self.reported.max(report.activity_seq.0)
            }
            Message::BackupList(list) => {
                let workers = list.servers.iter().filter(|server| server.role == Role::Worker);
                // Who cannot be found now is left; there are others, and other lists.
                self.others = workers.filter_map(|server| resolve(&server.address).ok()).collect();
            }
            Message::Quit(quit) => {
                let to = quit.address().map(|address| resolve(&address)).transpose()?;
                self.to = to.map(|address| (address, quit.token));
                return Ok(false);
            }
            Message::Redirect(redirect) => {
                self.to = Some((resolve(&redirect.address)?, redirect.token));
                return Ok(false);
            }
            _ => {}
        }
        Ok(true)
    }

    /// Makes a LOGIN the one of this session, from where it is.
    pub(super) fn resume(&mut self, login: &mut Login) {
        for (beginning, numbers) in self.here.0.drain(..) {
            let known = self.before.numbers(&beginning);
            numbers.iter().for_each(|(first, last)| known.add(first, last));
        }
        login.session = Some(self.key.clone());
        let mut position = self.position.clone();
        for (beginning, numbers) in &self.before.0 {
            let id = format!("{}0", String::from_utf8_lossy(beginning)).parse::<ActivityId>();
            let stream = StreamId::from(&id.expect("a server's ids are ids"));
            numbers.iter().for_each(|(first, last)| position.add(&stream, first, last));
        }
        login.network = self.network.clone();
        login.resume = self.network.is_some().then_some(position);
    }
}

/// Which ids: for each beginning, which numbers follow that.
#[derive(Debug, Default)]
struct Ids(Vec<(Box<[u8]>, Ranges)>);

impl Ids {
    fn numbers(&mut self, beginning: &[u8]) -> &mut Ranges {
        let place = self.0.iter().position(|(known, _)| **known == *beginning).unwrap_or_else(|| {
            self.0.push((beginning.into(), Ranges::default()));
            self.0.len() - 1
        });
        &mut self.0[place].1
    }

    fn contain(&self, beginning: &[u8], number: u64) -> bool {
        self.0.iter().any(|(known, numbers)| **known == *beginning && numbers.contains(number))
    }
}

/// The id in a delivery: all up to its number, and that.
fn split_id(frame: &[u8]) -> Option<(&[u8], u64)> {
    let id = frame.strip_prefix(BEFORE_ID)?;
    let id = &id[..memchr::memchr(b'"', id)?];
    let (beginning, number) = id.split_at(memchr::memrchr(b'/', id)? + 1);
    let digit = |number: u64, digit: &u8| number * 10 + u64::from(digit.wrapping_sub(b'0'));
    Some((beginning, number.iter().fold(0, digit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_goes_on_after_what_it_received() {
        let mut session = Session::new(SessionKey::new(1));
        let welcome = r#"{"command":"LOGIN_SUCCESS","network":"n","position":"a/00000000000000ff/0-6"}"#;
        let told = session.told(Message::decode(welcome.as_bytes()).unwrap(), |_| Err("nowhere".to_owned()));
        assert_eq!(told, Ok(true));
        for id in ["a/00000000000000ff/7", "b/00000000000000aa/3", "a/00000000000000ff/9"] {
            let frame = format!(r#"{{"command":"ACTIVITY_BROADCAST","id":"{id}","activity":{{}}}}"#);
            assert_eq!(session.delivered(frame.as_bytes()), Noted::New);
            assert_eq!(session.delivered(frame.as_bytes()), Noted::Again);
        }
        let mut login = Login::default();
        session.resume(&mut login);
        let frame = br#"{"command":"ACTIVITY_BROADCAST","id":"a/00000000000000ff/9","activity":{}}"#;
        assert_eq!(session.delivered(frame), Noted::Before);
        assert_eq!(session.delivered(frame), Noted::Again);
        assert_eq!(
            login.resume.unwrap().to_string(),
            "a/00000000000000ff/0-7+9-9,b/00000000000000aa/3-3".replace("9-9", "9").replace("3-3", "3")
        );
        assert_eq!(login.network.as_deref(), Some("n"));
    }

    #[test]
    fn a_session_remembers_where_else_workers_are() {
        let mut session = Session::new(SessionKey::new(1));
        let list = r#"{"command":"BACKUP_LIST","servers":[{"hostname":"127.0.0.1","port":1,"role":"worker"},
            {"hostname":"gone","port":2,"role":"worker"},{"hostname":"127.0.0.1","port":3,"role":"main"}]}"#;
        let told = session.told(Message::decode(list.replace('\n', " ").as_bytes()).unwrap(), |address| {
            address.to_string().parse().map_err(|_| "nobody knows it".to_owned())
        });
        assert_eq!(told, Ok(true));
        assert_eq!(session.others, ["127.0.0.1:1".parse().unwrap()]);
    }
}
