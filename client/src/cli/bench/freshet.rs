//! Freshet, as a load speaks it. Frames are told apart by their first and last bytes; of most deliveries nothing else is parsed.

use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};

use common::session::SessionKey;
use common::user::{Secret, Username};
use common::wire::{ActivityAck, Address, Login, Message};
use serde_json::{Map, Value};

use super::connect::{self, Opening};
use super::lasting::Session;
use super::protocol::{Frame, Noted, Protocol, not_published};

const DELIVERY: &[u8] = br#"{"command":"ACTIVITY_BROADCAST""#;

/// Clients that log in at once. Each secret is hashed, which takes a server some 20 ms, and whoever would wait for 2 s is sent away
/// (`HASH_PATIENCE`): on a busy machine that would hit some of 64.
const AT_ONCE: usize = 64;
const AT_ONCE_BY_SECRET: usize = 8;

/// As whom clients log in, and of which kind they are.
#[derive(Clone, Debug)]
pub struct As {
    /// The user.
    pub username: Username,
    /// Its secret; `anonymous` needs none.
    pub secret: Option<Secret>,
    /// Clients of the classic protocol, which acknowledge nothing.
    pub classic: bool,
}

/// Clients of a Freshet network.
#[derive(Debug)]
pub struct Freshet {
    identity: As,
    /// A worker for each connection, and what to log in with there.
    places: Vec<(SocketAddr, Option<String>)>,
    /// Where sessions outlive their connections: each one's.
    sessions: Option<Vec<Session>>,
}

impl Freshet {
    /// The same clients, whose sessions go on at other workers when a connection ends: those that they were told of,
    /// and the places of all of them, are tried in turn.
    #[must_use]
    pub fn lasting(mut self) -> Self {
        self.sessions = Some(Vec::new());
        self
    }

    /// How many workers they begin at.
    pub(super) fn workers(&self) -> usize {
        self.places.iter().map(|(worker, _)| worker).collect::<BTreeSet<_>>().len()
    }

    /// Clients that log in by themselves, each at the next of `workers` and after the last again at the first; by `token`, where there is
    /// one.
    ///
    /// # Errors
    /// A sentence.
    pub fn at(workers: &[Address], identity: As, token: Option<&str>) -> Result<Self, String> {
        let place = |worker| Ok((resolve(worker)?, token.map(str::to_owned)));
        let places = workers.iter().map(place).collect::<Result<_, String>>()?;
        Ok(Freshet { identity, places, sessions: None })
    }

    /// What a coordinator gives a client to log in with at a worker.
    ///
    /// # Errors
    /// A sentence.
    pub fn token(coordinator: &Address, identity: &As) -> Result<String, String> {
        let places = distribute(coordinator, identity, 1)?;
        let token = places.into_iter().find_map(|(_, token)| token);
        token.ok_or_else(|| format!("{coordinator} gave no token"))
    }

    /// Clients whom a coordinator distributes, so many.
    ///
    /// # Errors
    /// A sentence.
    pub fn through(coordinators: &[Address], identity: As, connections: usize) -> Result<Self, String> {
        let mut trouble = String::from("no coordinator is named");
        for coordinator in coordinators {
            match distribute(coordinator, &identity, connections) {
                Ok(places) => return Ok(Freshet { identity, places, sessions: None }),
                Err(error) => trouble = format!("{coordinator}: {error}"),
            }
        }
        Err(format!("{trouble}; see that a coordinator and a worker run, or name another with --coordinator"))
    }
}

impl Protocol for Freshet {
    const PUBLISHERS_RECEIVE: bool = true;

    fn hello(&mut self, connection: usize, _receives: bool) -> Result<(SocketAddr, Vec<u8>), String> {
        let (worker, token) = self.places[connection % self.places.len()].clone();
        let session = common::boot::random_seed();
        let mut login = log_in(&self.identity, token);
        if !self.identity.classic {
            let key = SessionKey::new(u128::from(session) << 64 | connection as u128);
            login.capabilities = capabilities();
            login.session = Some(key.clone());
            if let Some(sessions) = &mut self.sessions {
                sessions.push(Session::new(key));
            }
        }
        Ok((worker, Message::from(login).encode()))
    }

    fn at_once(&self) -> usize {
        let has_token = self.places.iter().all(|(_, token)| token.is_some());
        log_ins_at_once(&self.identity, has_token)
    }

    fn is_lasting(&self) -> bool {
        self.sessions.is_some()
    }

    fn note(&mut self, connection: usize, frame: &[u8]) -> Result<Noted, String> {
        let Some(session) = self.sessions.as_mut().and_then(|sessions| sessions.get_mut(connection)) else {
            return Ok(Noted::New);
        };
        if frame.starts_with(DELIVERY) {
            return Ok(session.delivered(frame));
        }
        let stays = session.told(decode(frame.trim_ascii_end())?, resolve)?;
        Ok(if stays { Noted::New } else { Noted::Leaves })
    }

    fn examine(&self, frame: &[u8], _end: usize, payload: &[u8]) -> Result<(), String> {
        let trouble = || not_published(frame, payload);
        let Message::ActivityBroadcast(broadcast) = decode(frame.trim_ascii_end())? else {
            return Err(trouble());
        };
        let object = |json: &[u8]| serde_json::from_slice::<Map<String, Value>>(json).map_err(|_| trouble());
        let mut activity = object(broadcast.activity.get().as_bytes())?;
        let author = activity.remove("authenticated_user");
        let is_authentic = author.is_some_and(|author| author == self.identity.username.as_str());
        match broadcast.id.is_some() && is_authentic && activity == object(payload)? {
            true => Ok(()),
            false => Err(trouble()),
        }
    }

    fn again(&mut self, connection: usize) -> Option<(SocketAddr, Vec<u8>, u64)> {
        let session = self.sessions.as_mut()?.get_mut(connection)?;
        let (worker, token) = session.to.take().unwrap_or_else(|| {
            // In turn one that it was told of, as others may listen elsewhere by now, and one where clients began.
            let (others, at) = (&session.others, connection + session.tried / 2);
            session.tried += 1;
            match session.tried % 2 == 1 && !others.is_empty() {
                true => (others[at % others.len()], None),
                false => (self.places[at % self.places.len()].0, None),
            }
        });
        let mut login = log_in(&self.identity, token);
        login.capabilities = capabilities();
        session.resume(&mut login);
        Some((worker, Message::from(login).encode(), session.reported))
    }

    fn welcome(&self, bytes: &[u8], _receives: bool) -> Result<Option<usize>, String> {
        let Some(end) = memchr::memchr(b'\n', bytes) else { return Ok(None) };
        match decode(&bytes[..end])? {
            Message::LoginSuccess(_) => Ok(Some(end + 1)),
            other => Err(refusal(other)),
        }
    }

    fn publish(&self, number: u64, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"command":"ACTIVITY_MESSAGE","#);
        if !self.identity.classic {
            out.extend_from_slice(format!("\"activity_seq\":{number},").as_bytes());
        }
        out.extend_from_slice(b"\"activity\":");
        out.extend_from_slice(payload);
        out.extend_from_slice(b"}\n");
    }

    fn frame(&self, bytes: &[u8]) -> Result<Option<Frame>, String> {
        let Some(end) = memchr::memchr(b'\n', bytes) else { return Ok(None) };
        if bytes.starts_with(DELIVERY) {
            return Ok(Some(Frame { len: end + 1, payload_end: Some(end - 1) }));
        }
        match decode(&bytes[..end])? {
            Message::BackupList(_) | Message::ActivitySendingReport(_) => {
                Ok(Some(Frame { len: end + 1, payload_end: None }))
            }
            Message::Resumed(_) | Message::Quit(_) | Message::Redirect(_) if self.is_lasting() => {
                Ok(Some(Frame { len: end + 1, payload_end: None }))
            }
            other => Err(refusal(other)),
        }
    }

    fn acknowledge(&self, received: u64, out: &mut Vec<u8>) -> bool {
        if !self.identity.classic {
            Message::from(ActivityAck { received }).encode_into(out);
        }
        !self.identity.classic
    }
}

fn capabilities() -> Vec<String> {
    vec!["backup_list".to_owned(), "session".to_owned()]
}

/// Asks a coordinator for a worker, once for each connection.
fn distribute(
    coordinator: &Address,
    identity: &As,
    connections: usize,
) -> Result<Vec<(SocketAddr, Option<String>)>, String> {
    let address = resolve(coordinator)?;
    let hello = Message::from(log_in(identity, None)).encode();
    let mut places = Vec::with_capacity(connections);
    let judge = |_: usize, bytes: &[u8]| {
        let lines: Vec<usize> = memchr::memchr_iter(b'\n', bytes).collect();
        let [first, rest @ ..] = &lines[..] else { return Ok(None) };
        match (decode(&bytes[..*first])?, rest) {
            (Message::LoginSuccess(_), []) => return Ok(None),
            (Message::LoginSuccess(_), [second, ..]) => match decode(&bytes[first + 1..*second])? {
                Message::Redirect(redirect) => places.push((resolve(&redirect.address)?, redirect.token)),
                other => return Err(refusal(other)),
            },
            (other, _) => return Err(refusal(other)),
        }
        Ok(Some(bytes.len()))
    };
    let opening = |_| Ok(Opening { address, hello: hello.clone() });
    connect::open(connections, log_ins_at_once(identity, false), opening, judge, |_, _, _| Ok(()))?;
    Ok(places)
}

fn log_ins_at_once(identity: &As, has_token: bool) -> usize {
    match identity.secret.is_some() && !has_token {
        true => AT_ONCE_BY_SECRET,
        false => AT_ONCE,
    }
}

fn log_in(identity: &As, token: Option<String>) -> Login {
    let secret = if token.is_none() { identity.secret.clone() } else { None };
    Login { username: identity.username.to_string(), secret, token, ..Login::default() }
}

fn decode(line: &[u8]) -> Result<Message, String> {
    Message::decode(line).map_err(|error| format!("a server said what is no message: {error}"))
}

fn refusal(message: Message) -> String {
    match message {
        Message::LoginFailed(failed) => format!("a server let a client not in: {}", failed.info),
        Message::AuthenticationFail(failed) => format!("a server let a client not in: {}", failed.info),
        Message::InvalidMessage(invalid) => format!("a server refused: {}", invalid.info),
        Message::Quit(_) | Message::Redirect(_) => {
            "a worker sent a client away: it is about to leave, or others have fewer clients".to_owned()
        }
        other => format!("a server said {}, which was not to come", other.command()),
    }
}

fn resolve(address: &Address) -> Result<SocketAddr, String> {
    let addresses = (address.hostname.as_str(), address.port).to_socket_addrs();
    let first = addresses.map_err(|error| format!("{address}: {error}"))?.next();
    first.ok_or_else(|| format!("{address} is no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_log_in_at_once_where_each_secret_is_hashed() {
        let worker = [Address::new("127.0.0.1", 1).unwrap()];
        let at_once = |secret: Option<&str>, token| {
            let secret = secret.map(Secret::new);
            let identity = As { username: "ann".parse().unwrap(), secret, classic: false };
            Freshet::at(&worker, identity, token).unwrap().at_once()
        };
        assert_eq!(at_once(Some("a secret of hers"), None), AT_ONCE_BY_SECRET);
        assert_eq!(at_once(Some("a secret of hers"), Some("a token")), AT_ONCE);
        assert_eq!(at_once(None, None), AT_ONCE);
    }

    #[test]
    fn a_delivery_must_have_an_id_its_author_and_what_was_published() {
        let identity = As { username: Username::anonymous(), secret: None, classic: false };
        let worker = Address::new("127.0.0.1", 1).unwrap();
        let freshet = Freshet::at(&[worker], identity, None).unwrap();
        let examine = |id: &str, activity: &str| {
            let frame = format!(r#"{{"command":"ACTIVITY_BROADCAST",{id}"activity":{activity}}}"#) + "\n";
            freshet.examine(frame.as_bytes(), frame.len() - 2, br#"{"actor":"ann","n":"1"}"#)
        };
        let id = r#""id":"w/00000000000000ff/7","#;
        assert_eq!(examine(id, r#"{"authenticated_user":"anonymous","actor":"ann","n":"1"}"#), Ok(()));
        for (id, activity) in [
            ("", r#"{"authenticated_user":"anonymous","actor":"ann","n":"1"}"#),
            (id, r#"{"authenticated_user":"eve","actor":"ann","n":"1"}"#),
            (id, r#"{"actor":"ann","n":"1"}"#),
            (id, r#"{"authenticated_user":"anonymous","actor":"eve","n":"1"}"#),
            (id, r#"{"authenticated_user":"anonymous","actor":"ann","n":"1","more":0}"#),
        ] {
            assert!(examine(id, activity).unwrap_err().contains("not what was published"), "{activity}");
        }
    }
}
