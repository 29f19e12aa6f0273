//! Several coordinators and whoever speaks to them, in one place: as small a network as one can be. Messages arrive at once and in order,
//! disks are prompt; processes are killed and stopped, and connections cut, by hand.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use common::id::{Incarnation, LinkId};
use common::machine::{Action, DialError, DialId, Event, Machine};
use common::time::{Now, Time, WallMillis};
use common::token::TokenKey;
use common::user::{Secret, UserRecord, Username};
use common::users::{Seen, Users};
use common::wire::{Address, Message};
use slotmap::SlotMap;

use super::super::{Change, Config, Coordinator, Effect, Group, Input, Limits, Recovered};
use super::{SECRET, fake_hash};

/// What is on a coordinator's disk.
pub(super) struct Disk {
    pub(super) users: Users,
    pub(super) seen: Seen,
    pub(super) group: Group,
}

impl Disk {
    pub(super) fn copy(&self) -> Disk {
        let users = all(&self.users).into_iter().collect();
        Disk { users, seen: self.seen.clone(), group: self.group.clone() }
    }
}

pub(super) struct Node {
    pub(super) coordinator: Option<Coordinator>,
    pub(super) disk: Disk,
    pub(super) backups: Vec<Address>,
    /// Whose name it bears: its own, unless its directory is a copy.
    pub(super) bears: usize,
    starts: u64,
    /// Stopped: it neither hears nor says anything.
    pub(super) stopped: bool,
    /// Which changes it does not finish, where it stalls.
    disk_stalls: Option<fn(&Change) -> bool>,
    disk_is_full: bool,
    waiting: VecDeque<Event<Input>>,
    held: VecDeque<Effect>,
    pub(super) exited: Option<Result<(), String>>,
    pub(super) require: usize,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Node(usize, LinkId),
    Outside(usize),
}

/// Somebody who is no coordinator.
#[derive(Default)]
pub(super) struct Outsider {
    pub(super) heard: VecDeque<Message>,
    pub(super) closed: bool,
    peer: Option<(usize, LinkId)>,
}

pub(super) struct Town {
    pub(super) nodes: Vec<Node>,
    now: Now,
    links: SlotMap<LinkId, ()>,
    queue: VecDeque<(usize, Event<Input>)>,
    running: bool,
    ends: BTreeMap<(usize, LinkId), End>,
    pub(super) outsiders: Vec<Outsider>,
    /// Pairs that cannot reach each other.
    cuts: Vec<(usize, usize)>,
    /// What workers answer who are asked whether they hear the main coordinator.
    pub(super) workers_hear: Option<usize>,
    /// Workers that no coordinator reaches, by their names.
    pub(super) out_of_reach: Vec<&'static str>,
    /// Workers that a coordinator has dialled in vain, by their ports.
    dialled_in_vain: Vec<u16>,
}

pub(super) fn name(node: usize) -> String {
    format!("c{node}")
}

pub(super) fn address(node: usize) -> Address {
    Address::new("town", 3_000 + node as u16).unwrap()
}

fn worker_port(id: &str) -> u16 {
    4_000 + id.bytes().map(u16::from).sum::<u16>()
}

impl Town {
    /// Coordinators that are not started yet; each names those before it.
    pub(super) fn new(count: usize) -> Self {
        let node = |number: usize| Node {
            coordinator: None,
            disk: Disk { users: Users::default(), seen: Seen::default(), group: blank(number) },
            backups: (0..number).map(address).collect(),
            bears: number,
            starts: 0,
            stopped: false,
            disk_stalls: None,
            disk_is_full: false,
            waiting: VecDeque::new(),
            held: VecDeque::new(),
            exited: None,
            require: 0,
        };
        Town {
            nodes: (0..count).map(node).collect(),
            now: Now { time: Time::from_micros(1), wall: WallMillis(1_000_000) },
            links: SlotMap::with_key(),
            queue: VecDeque::new(),
            running: false,
            ends: BTreeMap::new(),
            outsiders: Vec::new(),
            cuts: Vec::new(),
            workers_hear: None,
            out_of_reach: Vec::new(),
            dialled_in_vain: Vec::new(),
        }
    }

    /// All of them, started in order and in step.
    pub(super) fn in_step(count: usize) -> Self {
        let mut town = Town::new(count);
        (0..count).for_each(|node| town.start(node));
        town.pass(Duration::from_secs(3));
        for node in 1..count {
            assert_eq!(town.role(node), "backup", "{:?}", town.nodes[node].coordinator);
        }
        assert_eq!(town.role(0), "main");
        assert_eq!(town.troubles(0), [""; 0]);
        town
    }

    pub(super) fn start(&mut self, node: usize) {
        let place = &mut self.nodes[node];
        assert!(place.coordinator.is_none());
        place.starts += 1;
        place.exited = None;
        let config = Config {
            id: name(place.bears).parse().unwrap(),
            address: address(node),
            secret: Secret::new(SECRET),
            backups: place.backups.clone(),
            require_backups: place.require,
            incarnation: Incarnation(1_000 * node as u64 + place.starts),
            seed: place.starts,
            limits: Limits::default(),
        };
        let recovered = Recovered {
            group: place.disk.group.clone(),
            seen: place.disk.seen.clone(),
            users: all(&place.disk.users).into_iter().collect(),
        };
        place.coordinator = Some(Coordinator::new(self.now, config, recovered));
        self.event(node, Event::DeadlinePassed);
    }

    /// The process is gone, and its connections with it.
    pub(super) fn kill(&mut self, node: usize) {
        let place = &mut self.nodes[node];
        (place.coordinator, place.stopped, place.disk_stalls) = (None, false, None);
        (place.waiting, place.held) = (VecDeque::new(), VecDeque::new());
        self.break_links(|end| *end == node);
    }

    /// Both no longer hear each other. Neither is told.
    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.cuts.extend([(a, b), (b, a)]);
    }

    pub(super) fn heal(&mut self) {
        self.cuts.clear();
    }

    pub(super) fn stop(&mut self, node: usize) {
        self.nodes[node].stopped = true;
    }

    pub(super) fn resume(&mut self, node: usize) {
        self.nodes[node].stopped = false;
        while let Some(event) = self.nodes[node].waiting.pop_front() {
            self.event(node, event);
        }
    }

    /// What is handed to this disk from now on is neither written nor refused.
    pub(super) fn stall_disk(&mut self, node: usize) {
        self.nodes[node].disk_stalls = Some(|_| true);
    }

    /// Users that are handed to this disk from now on are neither written nor refused, and nothing comes after them.
    pub(super) fn stall_users(&mut self, node: usize) {
        self.nodes[node].disk_stalls = Some(|change| !change.users.is_empty());
    }

    /// This disk refuses everything from now on.
    pub(super) fn fill_disk(&mut self, node: usize) {
        self.nodes[node].disk_is_full = true;
    }

    /// All clocks are set back.
    pub(super) fn set_back(&mut self, by: Duration) {
        self.now.wall.0 -= by.as_millis() as u64;
    }

    pub(super) fn free_disk(&mut self, node: usize) {
        (self.nodes[node].disk_stalls, self.nodes[node].disk_is_full) = (None, false);
        while let Some(effect) = self.nodes[node].held.pop_front() {
            self.perform(node, effect);
        }
    }

    pub(super) fn drain(&mut self, node: usize) {
        self.event(node, Event::Input(Input::Drain));
    }

    pub(super) fn connect(&mut self, node: usize) -> usize {
        let link = self.links.insert(());
        let number = self.outsiders.len();
        self.ends.insert((node, link), End::Outside(number));
        self.outsiders.push(Outsider { peer: Some((node, link)), ..Outsider::default() });
        self.event(node, Event::Accepted { link, peer: "127.0.0.1".parse().unwrap() });
        number
    }

    pub(super) fn say(&mut self, outsider: usize, line: &str) {
        let (node, link) = self.outsiders[outsider].peer.expect("connected");
        let event = match Message::decode_with_epoch(line.as_bytes()) {
            Ok((message, epoch)) => Event::Received { link, message, epoch },
            Err(error) => Event::Malformed { link, error },
        };
        self.event(node, event);
    }

    /// An outsider says no more, and listens.
    pub(super) fn finish(&mut self, outsider: usize) {
        let (node, link) = self.outsiders[outsider].peer.expect("connected");
        self.event(node, Event::Ended { link });
    }

    /// Registers at this coordinator; the answer is for [`answer`](Self::answer).
    pub(super) fn register(&mut self, node: usize, name: &str, secret: &str) -> usize {
        let client = self.connect(node);
        self.say(client, &format!(r#"{{"command":"REGISTER","username":"{name}","secret":"{secret}"}}"#));
        client
    }

    /// A worker of this coordinator.
    pub(super) fn worker(&mut self, node: usize, id: &str) -> usize {
        let worker = self.connect(node);
        let port = worker_port(id);
        self.say(
            worker,
            &format!(
                r#"{{"command":"AUTHENTICATE","id":"{id}","hostname":"worker","port":{port},"secret":"{SECRET}",
                "incarnation":"00000000000000aa","load":0}}"#
            ),
        );
        worker
    }

    /// How often this worker was dialled and could not be reached.
    pub(super) fn dialled_in_vain(&self, id: &str) -> usize {
        self.dialled_in_vain.iter().filter(|port| **port == worker_port(id)).count()
    }

    /// Everything that somebody heard, but for signs of life, as it is called.
    pub(super) fn heard(&mut self, outsider: usize) -> Vec<Message> {
        let heard = self.outsiders[outsider].heard.drain(..);
        heard.filter(|message| !matches!(message, Message::Heartbeat(_) | Message::BackupList(_))).collect()
    }

    /// The one answer to a registration: its command and durability.
    pub(super) fn answer(&mut self, outsider: usize) -> String {
        match &self.heard(outsider)[..] {
            [Message::RegisterSuccess(success)] => {
                let existing = if success.existing { " existing" } else { "" };
                format!("{:?}{existing}", success.durability.unwrap()).to_lowercase()
            }
            [Message::RegisterFailed(failed)] => format!("failed: {}", failed.info),
            [Message::Redirect(redirect)] => format!("sent to {}", redirect.address),
            [] => "nothing yet".to_owned(),
            other => format!("{other:?}"),
        }
    }

    pub(super) fn status(&self, node: usize) -> common::wire::StatusReport {
        self.nodes[node].coordinator.as_ref().expect("it runs").status(true)
    }

    /// Why a coordinator says that not all is well, but for the workers that most towns lack.
    pub(super) fn troubles(&self, node: usize) -> Vec<String> {
        let reasons = self.status(node).reasons.into_iter();
        reasons.filter(|reason| reason != super::super::status::NO_WORKER).collect()
    }

    pub(super) fn role(&self, node: usize) -> &'static str {
        use common::wire::Role;
        match self.nodes[node].coordinator.as_ref().map(|_| self.status(node).role) {
            Some(Role::Main) => "main",
            Some(Role::Backup) => "backup",
            Some(Role::Seeking) => "seeking",
            Some(Role::Worker) => unreachable!(),
            None => "down",
        }
    }

    pub(super) fn roles(&self) -> Vec<&'static str> {
        (0..self.nodes.len()).map(|node| self.role(node)).collect()
    }

    /// Whether all disks hold the same users, and know so.
    pub(super) fn assert_equal_stores(&self) {
        for node in &self.nodes[1..] {
            assert_eq!(all(&node.disk.users), all(&self.nodes[0].disk.users));
            assert_eq!(node.disk.seen, self.nodes[0].disk.seen);
        }
    }

    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now.time + duration;
        loop {
            let deadline = |node: &Node| node.coordinator.as_ref().filter(|_| !node.stopped)?.deadline();
            let next = self
                .nodes
                .iter()
                .enumerate()
                .filter_map(|(number, node)| Some((deadline(node)?, number)))
                .min();
            let Some((at, node)) = next.filter(|(at, _)| *at <= end) else { break };
            let at = at.max(self.now.time);
            self.now.wall = self.now.wall + (at - self.now.time);
            // Time always moves on, so that a machine that spins is seen as one that gets nowhere.
            self.now.time = at + Duration::from_micros(1);
            self.event(node, Event::DeadlinePassed);
        }
        self.now.wall = self.now.wall + end.since(self.now.time);
        self.now.time = end.max(self.now.time);
    }

    /// Something happens, after all that has happened before has had its consequences.
    fn event(&mut self, node: usize, event: Event<Input>) {
        self.queue.push_back((node, event));
        if !std::mem::replace(&mut self.running, true) {
            while let Some((node, event)) = self.queue.pop_front() {
                self.tell(node, event);
            }
            self.running = false;
        }
    }

    fn tell(&mut self, node: usize, event: Event<Input>) {
        let place = &mut self.nodes[node];
        if place.stopped {
            return place.waiting.push_back(event);
        }
        let Some(coordinator) = &mut self.nodes[node].coordinator else { return };
        if let Event::Received { link, .. } | Event::Closed { link } = &event
            && !self.ends.contains_key(&(node, *link))
        {
            return;
        }
        if let Event::Closed { link } = &event {
            self.ends.remove(&(node, *link));
        }
        if std::env::var("TRACE").is_ok() {
            eprintln!("{:?} {node} {event:?}", self.now.time);
        }
        let mut actions = Vec::new();
        coordinator.handle(self.now, event, &mut actions);
        coordinator.assert_bounds();
        for action in actions {
            self.act(node, action);
        }
    }

    fn act(&mut self, node: usize, action: Action<Effect>) {
        match action {
            Action::Flush(link) => self.flush(node, link),
            Action::FlushAll | Action::StopAccepting => {}
            Action::Dial { dial, address } => self.dial(node, dial, &address),
            Action::Close { link, farewell } => {
                let end = self.ends.remove(&(node, link));
                self.deliver(node, link, end.clone(), &farewell);
                match end {
                    Some(End::Node(other, far)) if !self.is_cut(node, other) => {
                        self.event(other, Event::Closed { link: far });
                    }
                    Some(End::Outside(outsider)) if outsider != usize::MAX => {
                        self.outsiders[outsider].closed = true
                    }
                    _ => {}
                }
            }
            Action::Exit(outcome) => {
                self.nodes[node].exited = Some(outcome);
                self.kill(node);
            }
            Action::Effect(effect) => self.perform(node, effect),
        }
    }

    fn perform(&mut self, node: usize, effect: Effect) {
        let place = &mut self.nodes[node];
        let input = match effect {
            Effect::Persist { ref change, .. } if place.disk_stalls.is_some_and(|at| at(change)) => {
                return place.held.push_back(effect);
            }
            Effect::Cancel { .. } | Effect::Doubt { .. } => return,
            Effect::Persist { job, .. } if place.disk_is_full => {
                Input::PersistFailed { job, reason: "no space left".to_owned() }
            }
            Effect::Hash { job, secret, .. } => Input::Hashed { job, hash: fake_hash(&secret) },
            Effect::Verify { job, secret, hash, .. } => {
                Input::Verified { job, matches: hash == fake_hash(&secret) }
            }
            Effect::Persist { job, change: Change { users, seen, group } } => {
                users.into_iter().for_each(|(name, record)| _ = place.disk.users.merge(name, record));
                place.disk.seen = seen.unwrap_or(std::mem::take(&mut place.disk.seen));
                place.disk.group = group.unwrap_or_else(|| place.disk.group.clone());
                Input::Persisted { job }
            }
        };
        self.event(node, Event::Input(input));
    }

    fn dial(&mut self, node: usize, dial: DialId, to: &Address) {
        let reaches = |other: &usize| address(*other) == *to && !self.is_cut(node, *other);
        let other = (0..self.nodes.len()).find(reaches);
        let there = other.filter(|other| self.nodes[*other].coordinator.is_some());
        if to.hostname == "worker" {
            return self.dial_worker(node, dial, to.port);
        }
        let Some(there) = there else {
            let error = if other.is_some() { DialError::Refused } else { DialError::Unreachable };
            return self.event(node, Event::DialFailed { dial, error });
        };
        let (near, far) = (self.links.insert(()), self.links.insert(()));
        self.ends.insert((node, near), End::Node(there, far));
        self.ends.insert((there, far), End::Node(node, near));
        self.event(there, Event::Accepted { link: far, peer: "127.0.0.1".parse().unwrap() });
        self.event(node, Event::Dialled { dial, link: near });
    }

    fn dial_worker(&mut self, node: usize, dial: DialId, port: u16) {
        if self.out_of_reach.iter().any(|id| worker_port(id) == port) {
            self.dialled_in_vain.push(port);
            return;
        }
        let link = self.links.insert(());
        self.ends.insert((node, link), End::Outside(usize::MAX));
        self.event(node, Event::Dialled { dial, link });
    }

    fn flush(&mut self, node: usize, link: LinkId) {
        let Some(coordinator) = &self.nodes[node].coordinator else { return };
        let bytes = coordinator.output(link).to_vec();
        let end = self.ends.get(&(node, link)).cloned();
        if bytes.is_empty() || end.is_none() {
            return;
        }
        self.deliver(node, link, end, &bytes);
        self.tell(node, Event::Wrote { link, bytes: bytes.len() });
    }

    fn deliver(&mut self, from: usize, near: LinkId, to: Option<End>, bytes: &[u8]) {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let (message, epoch) =
                Message::decode_with_epoch(line).expect("a coordinator says what can be understood");
            match &to {
                Some(End::Node(node, link)) if !self.is_cut(from, *node) => {
                    self.event(*node, Event::Received { link: *link, message, epoch });
                }
                Some(End::Outside(usize::MAX)) => {
                    let main = self.workers_hear.map(|node| name(node).parse().unwrap());
                    let answer = Message::from(common::wire::MainAnswer { main });
                    self.event(from, Event::Received { link: near, message: answer, epoch: None });
                }
                Some(End::Outside(outsider)) => self.outsiders[*outsider].heard.push_back(message),
                _ => {}
            }
        }
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cuts.contains(&(a, b))
    }

    fn break_links(&mut self, of: impl Fn(&usize) -> bool) {
        let gone: Vec<_> = self
            .ends
            .iter()
            .filter(|((node, _), _)| of(node))
            .map(|(key, end)| (*key, end.clone()))
            .collect();
        for (key, end) in gone {
            self.ends.remove(&key);
            match end {
                End::Node(other, far) if !self.is_cut(key.0, other) => {
                    self.event(other, Event::Closed { link: far });
                }
                End::Outside(outsider) if outsider != usize::MAX => self.outsiders[outsider].closed = true,
                _ => {}
            }
        }
    }
}

pub(super) fn all(users: &Users) -> Vec<(Username, UserRecord)> {
    let nothing = Seen::default();
    let mut all: Vec<_> =
        users.beyond(&nothing).map(|(name, record)| (name.clone(), record.clone())).collect();
    all.sort_by(|a, b| (&a.0, &a.1.registration).cmp(&(&b.0, &b.1.registration)));
    all
}

fn blank(node: usize) -> Group {
    Group {
        network: format!("net-{node}"),
        token_key: TokenKey::new([node as u8; 32]),
        epoch: None,
        history: Vec::new(),
        members: Vec::new(),
        forgotten: Vec::new(),
        stamps_until: WallMillis::default(),
    }
}
