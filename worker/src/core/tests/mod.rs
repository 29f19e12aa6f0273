//! Conversations with a worker, and among workers, without a network: [`Node`] drives one core, [`mesh::Mesh`] wires several.

mod clients;
mod disk;
mod epochs;
mod lists;
mod mesh;
mod presence;
mod servers;
mod sessions;
mod slow;
mod stream;
mod takeover;
mod users;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use common::id::{Incarnation, LinkId};
use common::machine::{Action, DialError, DialId, Event, JobId, Machine};
use common::time::{Now, Time, WallMillis};
use common::token::TokenKey;
use common::user::{PasswordHash, Secret};
use common::wire::{Address, Message};
use slotmap::SlotMap;

use super::segment::SegmentId;
use super::{Config, Effect, Input, Limits, Remembered, Worker};

const SECRET: &str = "the network's secret";

const HOUR: Duration = Duration::from_secs(3_600);

/// A worker and the other ends of all its links.
struct Node {
    worker: Worker,
    now: Now,
    links: SlotMap<LinkId, ()>,
    dials: Vec<(DialId, Address)>,
    effects: Vec<Effect>,
    /// Hashes and verifications that are not wanted any more. All had begun, and are answered still.
    cancelled: Vec<JobId>,
    doubted: Vec<JobId>,
    /// What is to be kept for the next run.
    remembered: Remembered,
    /// The log's files, where there is a disk for them.
    disk: Option<BTreeMap<SegmentId, Vec<u8>>>,
    /// Links that the worker closed, and what it said last on them.
    closed: BTreeMap<LinkId, Vec<u8>>,
    accepting: bool,
    exit: Option<Result<(), String>>,
}

impl Node {
    fn new() -> Self {
        Node::with("w1", Limits::default())
    }

    fn with(id: &str, limits: Limits) -> Self {
        Node::remembering(id, limits, Remembered::default())
    }

    /// A worker that an earlier run has left this.
    fn remembering(id: &str, limits: Limits, remembered: Remembered) -> Self {
        Node::keeping(id, limits, remembered, None)
    }

    /// A worker that an earlier run has left this, and these files of its log.
    fn keeping(
        id: &str,
        limits: Limits,
        remembered: Remembered,
        disk: Option<BTreeMap<SegmentId, Vec<u8>>>,
    ) -> Self {
        // Attempts are answered when a test gets to it, unless it is about just that.
        let first_dial =
            if limits.first_dial == Limits::default().first_dial { HOUR } else { limits.first_dial };
        let limits = Limits { first_dial, ..limits };
        // Most stories begin when it has caught up.
        Node::starting(id, Limits { recovery: Duration::ZERO, ..limits }, remembered, disk)
    }

    /// The same with a worker that takes clients when it has caught up.
    fn starting(
        id: &str,
        limits: Limits,
        remembered: Remembered,
        disk: Option<BTreeMap<SegmentId, Vec<u8>>>,
    ) -> Self {
        let number: u64 = id.trim_start_matches(char::is_alphabetic).parse().unwrap();
        let now = Now { time: Time::ZERO, wall: WallMillis(1_000_000) };
        let config = Config {
            id: id.parse().unwrap(),
            address: Address::new(id, 1).unwrap(),
            secret: Secret::new(SECRET),
            coordinators: vec![Address::new("coordinator", 3780).unwrap()],
            remembered: remembered.clone(),
            kept: disk.as_ref().map(disk::kept),
            incarnation: Incarnation(number),
            seed: number,
            limits,
        };
        let mut node = Node {
            worker: Worker::new(now, config),
            now,
            links: SlotMap::with_key(),
            dials: Vec::new(),
            effects: Vec::new(),
            cancelled: Vec::new(),
            doubted: Vec::new(),
            remembered,
            disk,
            closed: BTreeMap::new(),
            accepting: true,
            exit: None,
        };
        node.wait(Duration::ZERO);
        node
    }

    /// A worker that a coordinator has let in, and the link to that.
    fn joined() -> (Self, LinkId) {
        let mut node = Node::new();
        let coordinator = node.answer_dial();
        assert!(node.hear(coordinator)[0].starts_with("AUTHENTICATE "));
        node.say(coordinator, &success("net", ""));
        assert_eq!(node.hear(coordinator), ["SERVER_LOAD 0"]);
        (node, coordinator)
    }

    fn event(&mut self, event: Event<Input>) {
        let mut actions = Vec::new();
        self.worker.handle(self.now, event, &mut actions);
        for action in actions {
            match action {
                Action::Dial { dial, address } => self.dials.push((dial, address)),
                Action::Close { link, farewell } => {
                    assert!(self.links.remove(link).is_some(), "a link is closed once");
                    self.closed.insert(link, farewell);
                }
                Action::StopAccepting => self.accepting = false,
                Action::Exit(outcome) => self.exit = Some(outcome),
                Action::Effect(Effect::Remember(remembered)) => self.remembered = remembered,
                Action::Effect(Effect::Cancel { job }) => self.cancelled.push(job),
                Action::Effect(Effect::Doubt { job }) => self.doubted.push(job),
                Action::Effect(Effect::Segment(request)) => self.ask_disk(request),
                Action::Effect(effect) => self.effects.push(effect),
                Action::Flush(_) | Action::FlushAll => {}
            }
        }
        self.worker.assert_bounds();
    }

    fn connect(&mut self) -> LinkId {
        let link = self.links.insert(());
        self.event(Event::Accepted { link, peer: IpAddr::V4(Ipv4Addr::LOCALHOST) });
        link
    }

    /// Where the first attempt under way goes.
    fn dialling(&self) -> String {
        self.dials.first().map(|(_, address)| address.to_string()).unwrap_or_default()
    }

    /// The first attempt under way succeeds.
    fn answer_dial(&mut self) -> LinkId {
        let (dial, _) = self.dials.remove(0);
        let link = self.links.insert(());
        self.event(Event::Dialled { dial, link });
        link
    }

    fn refuse_dial(&mut self) {
        let (dial, _) = self.dials.remove(0);
        self.event(Event::DialFailed { dial, error: DialError::Refused });
    }

    fn say(&mut self, link: LinkId, line: &str) {
        assert!(self.links.contains_key(link), "{line} is said on a closed link");
        match Message::decode_with_epoch(line.as_bytes()) {
            Ok((message, epoch)) => self.event(Event::Received { link, message, epoch }),
            Err(error) => self.event(Event::Malformed { link, error }),
        }
    }

    /// The peer says no more, and listens.
    fn finish(&mut self, link: LinkId) {
        self.event(Event::Ended { link });
    }

    fn hang_up(&mut self, link: LinkId) {
        self.links.remove(link);
        self.event(Event::Closed { link });
    }

    /// Takes at most `bytes` of what waits on `link`.
    fn read(&mut self, link: LinkId, bytes: usize) -> Vec<u8> {
        let output = self.worker.output(link);
        let taken = output[..bytes.min(output.len())].to_vec();
        if !taken.is_empty() {
            self.event(Event::Wrote { link, bytes: taken.len() });
        }
        taken
    }

    /// Everything that waits on `link`, the farewell included.
    fn read_all(&mut self, link: LinkId) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let piece = self.read(link, usize::MAX);
            if piece.is_empty() {
                all.extend(self.closed.remove(&link).unwrap_or_default());
                return all;
            }
            all.extend(piece);
        }
    }

    /// Everything that waits on `link`, told shortly, `(closed)` at the end where the worker closed it.
    fn hear(&mut self, link: LinkId) -> Vec<String> {
        let all = String::from_utf8(self.read_all(link)).unwrap();
        assert!(all.is_empty() || all.ends_with('\n'), "half a frame: {all:?}");
        let mut told: Vec<String> = all.lines().map(tell).collect();
        if !self.links.contains_key(link) {
            told.push("(closed)".to_owned());
        }
        told
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now.time + duration;
        while let Some(deadline) = self.worker.deadline().filter(|deadline| *deadline <= end) {
            self.pass(deadline - self.now.time);
            self.event(Event::DeadlinePassed);
        }
        self.pass(end - self.now.time);
    }

    /// Lets time pass while the coordinator on `link` says that it lives.
    fn wait_with(&mut self, link: LinkId, duration: Duration) {
        let end = self.now.time + duration;
        while self.now.time < end {
            self.say(link, r#"{"command":"HEARTBEAT","role":"main"}"#);
            self.wait(Duration::from_millis(500).min(end - self.now.time));
        }
    }

    fn pass(&mut self, duration: Duration) {
        self.now = Now { time: self.now.time + duration, wall: self.now.wall + duration };
    }

    /// The shell has no time for hashing.
    fn give_up_hashes(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            let (Effect::Hash { job, .. } | Effect::Verify { job, .. }) = effect else {
                panic!("{effect:?} is no hash")
            };
            self.event(Event::Input(Input::Unhashed { job }));
        }
    }

    /// The shell has done its hashing.
    fn hash(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            self.event(Event::Input(match effect {
                Effect::Hash { job, secret, .. } => Input::Hashed { job, hash: hash_of(secret.expose()) },
                Effect::Verify { job, secret, hash, .. } => {
                    Input::Verified { job, matches: hash == hash_of(secret.expose()) }
                }
                Effect::Remember(_) | Effect::Cancel { .. } | Effect::Doubt { .. } => {
                    unreachable!("it was put aside")
                }
                Effect::Segment(_) => unreachable!("it is hashed before anything is read"),
            }));
        }
    }

    /// A client that is logged in as anonymous, and has heard so.
    fn client(&mut self) -> LinkId {
        let link = self.connect();
        self.say(link, r#"{"command":"LOGIN","username":"anonymous"}"#);
        assert_eq!(self.hear(link), ["LOGIN_SUCCESS logged in as anonymous"]);
        link
    }

    fn publish(&mut self, link: LinkId, number: u64) {
        self.say(link, &format!(r#"{{"command":"ACTIVITY_MESSAGE","activity":{{"n":{number}}}}}"#));
    }
}

/// What the tests' shell makes of a secret.
fn hash_of(secret: &str) -> PasswordHash {
    PasswordHash::new(&format!("hash of {secret}"))
}

fn record(secret: &str) -> String {
    format!(r#"{{"registration":"1.0@c","changed":"1.0@c","secret":"{}"}}"#, hash_of(secret).text())
}

fn token_key() -> TokenKey {
    TokenKey::new([7; 32])
}

fn success(network: &str, servers: &str) -> String {
    let key = serde_text(&token_key());
    format!(
        r#"{{"command":"AUTHENTICATE_SUCCESS","id":"c","network":"{network}","token_key":{key},"servers":[{servers}]}}"#
    )
}

/// A key as it stands in a message.
fn serde_text(key: &TokenKey) -> String {
    let message = Message::from(common::wire::AuthenticateSuccess {
        id: "c".parse().unwrap(),
        incarnation: None,
        network: None,
        token_key: Some(key.clone()),
        servers: Vec::new(),
        seen: Default::default(),
    });
    let text = String::from_utf8(message.encode()).unwrap();
    let start = text.find("\"token_key\":").unwrap() + "\"token_key\":".len();
    text[start..].trim_end().trim_end_matches('}').to_owned()
}

/// A line, shortly.
fn tell(line: &str) -> String {
    let message = Message::decode(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
    let command = message.command();
    let retry = |retry: &Option<common::wire::Millis>| if retry.is_some() { " (again)" } else { "" };
    match &message {
        Message::LoginSuccess(it) => format!("{command} {}", it.info),
        Message::LoginFailed(it) => {
            let position = if it.position { " (position)" } else { "" };
            format!("{command} {}{}{position}", it.info, retry(&it.retry_after))
        }
        Message::RegisterSuccess(it) => format!("{command} {}", it.info),
        Message::RegisterFailed(it) => format!("{command} {}{}", it.info, retry(&it.retry_after)),
        Message::Redirect(it) if it.token.is_none() => format!("{command} {}", it.address),
        Message::InvalidMessage(it) => format!("{command} {}", it.info),
        Message::AuthenticationFail(it) => format!("{command} {}", it.info),
        Message::Authenticate(it) => {
            let after = if it.users_after.is_empty() {
                String::new()
            } else {
                format!(" {}", stamps(&it.users_after))
            };
            format!("{command} {} {:?}{after}", it.id, it.load)
        }
        Message::SyncUser(it) => {
            let names: Vec<_> = it.users.keys().map(|name| name.as_str()).collect();
            format!("{command} {} [{}]", names.join(","), stamps(&it.seen))
        }
        Message::MainAnswer(it) => {
            format!("{command} {}", it.main.as_ref().map_or("nobody", |main| main.as_str()))
        }
        Message::BackupList(it) => {
            let told = |entry: &common::wire::BackupEntry| format!("{:?}@{}", entry.role, entry.address);
            format!("{command} {}", it.servers.iter().map(told).collect::<Vec<_>>().join(" "))
        }
        Message::NewClient(it) => {
            let load = it.load.map_or(String::new(), |load| format!(" {load}"));
            format!("{command} {}{load}", it.username)
        }
        Message::DeLoad(it) => format!("{command} {}", it.load),
        Message::ServerLoad(it) => format!("{command} {}", it.load),
        Message::UserQuery(it) => format!("{command} {}", it.username),
        Message::LockRequest(it) => format!("{command} {} {}", it.username, it.secret.text()),
        Message::ActivityBroadcast(it) => {
            let missing = it.missing_from.map_or(String::new(), |first| format!("(without {first}) "));
            format!("{missing}{}{}", if it.late { "(late) " } else { "" }, it.activity.get())
        }
        Message::ActivityRetrieve(it) => format!("{command} {}", it.within),
        Message::ActivitySendingReport(it) => {
            let names: Vec<_> = it.unreachable.iter().map(|id| id.as_str()).collect();
            let first = it.first_seq.map_or(String::new(), |first| format!("{first}-"));
            format!(
                "{command} {first}{}: {}+{}={} {:?} [{}]",
                it.activity_seq,
                it.succ_count,
                it.fail_count,
                it.client_count,
                it.durability,
                names.join(",")
            )
        }
        Message::Resumed(it) => {
            format!("{command} {} [{}] {}", it.recovered, it.gaps, it.position)
        }
        Message::Quit(it) => format!(
            "{command} {} {}",
            it.address().map_or(String::new(), |address| address.to_string()),
            if it.token.is_some() { "(token)" } else { "" }
        ),
        Message::Neighbours(it) => {
            format!(
                "{command} {} {}",
                it.links.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(","),
                it.next
            )
        }
        _ => command.to_owned(),
    }
}

fn stamps(seen: &common::users::Seen) -> String {
    seen.stamps().map(|stamp| stamp.to_string()).collect::<Vec<_>>().join(" ")
}

/// A BACKUP_LIST of coordinators, the main one first: each is `id` at the host of that name.
fn backup_list(ids: &[&str]) -> String {
    let entry = |(place, id): (usize, &&str)| {
        let role = if place == 0 { "main" } else { "backup" };
        format!(r#"{{"id":"{id}","hostname":"{id}","port":3780,"role":"{role}"}}"#)
    };
    let servers: Vec<_> = ids.iter().enumerate().map(entry).collect();
    format!(r#"{{"command":"BACKUP_LIST","servers":[{}]}}"#, servers.join(","))
}

/// The same line with an epoch.
fn at(epoch: &str, line: &str) -> String {
    line.replacen('{', &format!(r#"{{"epoch":"{epoch}","#), 1)
}

/// The epoch that a line carries.
fn epoch_of(line: &str) -> Option<String> {
    Message::decode_with_epoch(line.as_bytes()).unwrap().1.map(|epoch| epoch.to_string())
}
