//! What several checkers need to know: who was logged in where and when, what was published, accepted and received.

use std::collections::{BTreeMap, BTreeSet};

use common::time::{Time, WallMillis};
use common::user::{UserRecord, Username};
use common::wire::{Activity, ChangeSecret, Durability, Login, Message, Register, RemoveUser};
use serde::Deserialize;

use super::Scene;
use super::stream::Stream;
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, ProcessId, Seen};

/// The identity of an activity, carried in it: its sender's process, and its number among all that were published.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Tag {
    /// The sender's process.
    pub from: String,
    /// Its number.
    pub number: u64,
}

impl Tag {
    /// Reads it from an activity; `None` where it carries none.
    pub fn of(activity: &Activity) -> Option<Tag> {
        serde_json::from_str(activity.get()).ok()
    }
}

/// A connection over which a client is, or was, logged in at a worker.
#[derive(Clone, Debug)]
pub struct Session {
    /// Whose.
    pub client: ProcessId,
    /// Where.
    pub worker: ProcessId,
    /// When the client heard that it was logged in.
    pub since: Time,
    /// When either side was done with it.
    pub ended: Option<Time>,
}

/// A log-in as a server heard it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Who heard it.
    pub server: ProcessId,
    /// What it said.
    pub login: Login,
    /// When that was.
    pub at: Time,
    /// The server's wall clock then.
    pub wall: WallMillis,
}

/// When and over which connection a worker took an activity.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Over which connection.
    pub conn: ConnId,
    /// When.
    pub at: Time,
}

/// What somebody asks of a coordinator.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Request {
    Register(Register),
    Change(ChangeSecret),
    Remove(RemoveUser),
}

impl Request {
    fn of(message: &Message) -> Option<Request> {
        match message {
            Message::Register(register) => Some(Request::Register(register.clone())),
            Message::ChangeSecret(change) => Some(Request::Change(change.clone())),
            Message::RemoveUser(remove) => Some(Request::Remove(remove.clone())),
            _ => None,
        }
    }

    /// Whom it concerns.
    pub fn username(&self) -> Option<Username> {
        let name = match self {
            Request::Register(register) => &register.username,
            Request::Change(change) => &change.username,
            Request::Remove(remove) => &remove.username,
        };
        name.parse().ok()
    }
}

/// A coordinator has said that something is done.
#[derive(Clone, Debug)]
pub struct Ack {
    /// Whose account.
    pub username: Username,
    /// What the coordinator's own disk held of it at that moment.
    pub record: Option<UserRecord>,
    /// What it is to survive.
    pub durability: Durability,
    /// It was done before.
    pub existing: bool,
    /// Who said so.
    pub by: ProcessId,
    /// When.
    pub at: Time,
}

/// The facts.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Log-ins at workers.
    pub sessions: BTreeMap<ConnId, Session>,
    /// The latest LOGIN on each connection.
    pub attempts: BTreeMap<ConnId, Attempt>,
    /// What was published, and what everybody is to receive of it.
    pub expected: BTreeMap<Tag, String>,
    /// What workers took.
    pub accepted: BTreeMap<Tag, Accepted>,
    /// What came over each connection of a client.
    pub received: BTreeMap<ConnId, BTreeSet<Tag>>,
    /// When an activity last arrived anywhere.
    pub last_arrival: Time,
    /// The latest request concerning an account on each connection of a coordinator.
    pub requests: BTreeMap<ConnId, Request>,
    /// What coordinators have acknowledged.
    pub acks: Vec<Ack>,
    /// When each coordinator last began to reign.
    pub reigns: BTreeMap<ProcessId, Time>,
    /// Activities: who has them, and what their senders were told.
    pub stream: Stream,
    /// Servers that were told to drain, by process and run, and when.
    pub draining: BTreeMap<(ProcessId, u32), Time>,
}

impl Ledger {
    /// A client publishes; everybody is to receive `expected`.
    pub fn published(&mut self, tag: Tag, expected: String) {
        self.expected.insert(tag, expected);
    }

    /// A process is dead: its sessions are over.
    pub fn died(&mut self, id: ProcessId, now: Time) {
        self.stream.died(id, now);
        for session in self.sessions.values_mut() {
            if session.client == id || session.worker == id {
                session.ended.get_or_insert(now);
            }
        }
    }

    /// The sessions that are not over.
    pub fn open_sessions(&self) -> impl Iterator<Item = (&ConnId, &Session)> {
        self.sessions.iter().filter(|(_, session)| session.ended.is_none())
    }

    /// Whether an activity was handed up to a client of ours in the session that it has, or had last.
    pub fn handed(&self, client: ProcessId, tag: &Tag) -> bool {
        let sessions = self.stream.listeners.range((client, 0)..=(client, u32::MAX));
        sessions.last().is_some_and(|(_, listener)| listener.handed.contains_key(tag))
    }

    /// Who of `clients` has not received which of `tags`: a client of ours in the session that it has, another over its connection.
    pub fn not_received(&self, clients: &[ProcessId], tags: &[Tag]) -> Option<String> {
        clients.iter().find_map(|client| {
            let Some((conn, _)) = self.open_sessions().find(|(_, session)| session.client == *client) else {
                return Some(format!("{client:?} has no session"));
            };
            let received = self.received.get(conn);
            let has = |tag: &Tag| {
                received.is_some_and(|received| received.contains(tag)) || self.handed(*client, tag)
            };
            let missing = tags.iter().find(|tag| !has(tag))?;
            Some(format!("{client:?} has not received {missing:?} over {conn:?}"))
        })
    }

    /// Writes down what has just happened.
    pub(super) fn observe(&mut self, scene: &Scene<'_>, seen: &Seen<Effect>, coverage: &mut Coverage) {
        self.stream.observe(scene, seen, coverage);
        match seen {
            Seen::Received { at, from, conn, message, .. } => {
                self.received(scene, (*at, *from, *conn), message, coverage)
            }
            Seen::Closed { conn, .. } | Seen::Lost { conn, .. } => {
                if let Some(session) = self.sessions.get_mut(conn) {
                    session.ended.get_or_insert(scene.now);
                }
            }
            Seen::Effect {
                at,
                effect: Effect::Coordinator(coordinator::core::Effect::Persist { change, .. }),
            } => {
                let epoch = change.group.as_ref().and_then(|group| group.epoch.as_ref());
                let own = epoch.filter(|epoch| epoch.coordinator == scene.cast.server_id(*at));
                if own.is_some() && own > scene.disks.of(*at).epoch() {
                    self.reigns.insert(*at, scene.now);
                }
            }
            Seen::Malformed { .. } | Seen::Effect { .. } | Seen::Exited { .. } => {}
            Seen::Said { by, to, conn, message, .. } => self.said(scene, (*by, *to, *conn), message),
        }
    }

    /// A coordinator says something: is it an acknowledgement?
    fn said(&mut self, scene: &Scene<'_>, (by, _, conn): (ProcessId, ProcessId, ConnId), message: &Message) {
        let (name, durability) = match message {
            Message::LockAllowed(allowed) => (Some(allowed.username.clone()), Some(allowed.durability)),
            Message::RegisterSuccess(success) => (None, success.durability),
            Message::ChangeSecretSuccess(success) => (None, Some(success.durability)),
            Message::RemoveUserSuccess(success) => (None, Some(success.durability)),
            _ => return,
        };
        let name = name.or_else(|| self.requests.get(&conn)?.username());
        let (Some(username), Some(durability)) = (name, durability) else { return };
        let existing = matches!(message, Message::RegisterSuccess(success) if success.existing);
        let removal = matches!(message, Message::RemoveUserSuccess(_));
        let disk = scene.disks.of(by);
        // What a removal leaves behind is the latest tombstone of the name.
        let removed = || {
            let records = disk.users().registrations(&username).iter();
            records.filter(|record| record.is_removed()).max_by_key(|record| record.changed.clone())
        };
        let record = if removal { removed() } else { disk.users().get(&username) };
        let record = record.cloned();
        self.acks.push(Ack { username, record, durability, existing, by, at: scene.now });
    }

    fn received(
        &mut self,
        scene: &Scene<'_>,
        (at, from, conn): (ProcessId, ProcessId, ConnId),
        message: &Message,
        coverage: &mut Coverage,
    ) {
        let by_server = scene.role(at).is_server();
        if scene.is_coordinator(at)
            && let Some(request) = Request::of(message)
        {
            self.requests.insert(conn, request);
        }
        if matches!(message, Message::ActivityBroadcast(_)) {
            self.last_arrival = scene.now;
        }
        match message {
            Message::Login(login) if by_server => {
                let wall = scene.world[at].clocks(scene.now).wall;
                self.attempts.insert(conn, Attempt { server: at, login: login.clone(), at: scene.now, wall });
            }
            Message::LoginSuccess(_) if !by_server && scene.role(from) == Role::Worker => {
                let again = self.sessions.values().any(|session| session.client == at);
                coverage.add("reconnections", u64::from(again));
                self.sessions
                    .insert(conn, Session { client: at, worker: from, since: scene.now, ended: None });
            }
            Message::ActivityMessage(message) if by_server => {
                if let Some(tag) = Tag::of(&message.activity) {
                    self.accepted.entry(tag).or_insert(Accepted { conn, at: scene.now });
                }
            }
            Message::ActivityBroadcast(broadcast) if !by_server => {
                coverage.add("activities delivered", 1);
                if let Some(tag) = Tag::of(&broadcast.activity) {
                    self.received.entry(conn).or_default().insert(tag);
                }
            }
            _ => {}
        }
    }
}
