//! Conversations with a coordinator, through a driver that is as small as one can be.

mod abuse;
mod adopting;
mod changing;
mod copies;
mod disks;
mod draining;
mod evening;
mod group;
mod logging_in;
mod placing;
mod quorum;
mod registering;
mod servers;
mod strangers;
mod takeovers;
mod town;
mod transferring;

use std::collections::VecDeque;
use std::time::Duration;

use common::id::{Incarnation, LinkId};
use common::machine::{Action, Event, JobId, Machine};
use common::password;
use common::time::{Now, Time, WallMillis};
use common::token::TokenKey;
use common::user::{PasswordHash, Secret, UserRecord, Username};
use common::users::Users;
use common::wire::{Message, UserRegisterResult};
use slotmap::SlotMap;

use super::{Config, Coordinator, Effect, Group, Input, Limits, Recovered};

const SECRET: &str = "the network's secret";
const KEY: [u8; 32] = [7; 32];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A coordinator, its peers, its clock, its disk and its hashing.
struct Net {
    coordinator: Coordinator,
    now: Now,
    links: SlotMap<LinkId, Peer>,
    /// Effects that have not been answered, in order.
    effects: VecDeque<Effect>,
    /// Hashes and verifications that are not wanted any more. All had begun, and can be answered still.
    cancelled: Vec<JobId>,
    doubted: Vec<JobId>,
    /// Whether effects are answered at once.
    prompt: bool,
    accepting: bool,
    exited: Option<Result<(), String>>,
}

#[derive(Default)]
struct Peer {
    heard: VecDeque<Message>,
    closed: bool,
    /// Takes nothing of what is written to it.
    deaf: bool,
}

impl Net {
    fn new() -> Self {
        Self::with(Limits::default(), Vec::new())
    }

    fn with(limits: Limits, users: Vec<(Username, UserRecord)>) -> Self {
        let config = Config {
            id: "c1".parse().unwrap(),
            address: "127.0.0.1:3780".parse().unwrap(),
            secret: Secret::new(SECRET),
            backups: Vec::new(),
            require_backups: 0,
            incarnation: Incarnation(1),
            seed: 1,
            limits,
        };
        let users = Users::from_iter(users);
        let group = Group {
            network: "net".to_owned(),
            token_key: TokenKey::new(KEY),
            epoch: None,
            history: Vec::new(),
            members: Vec::new(),
            forgotten: Vec::new(),
            stamps_until: WallMillis::default(),
        };
        let recovered = Recovered { group, seen: users.latest(), users };
        let now = Now { time: Time::from_micros(1), wall: WallMillis(1_000_000) };
        let mut net = Net {
            coordinator: Coordinator::new(now, config, recovered),
            now,
            links: SlotMap::with_key(),
            effects: VecDeque::new(),
            cancelled: Vec::new(),
            doubted: Vec::new(),
            prompt: true,
            accepting: true,
            exited: None,
        };
        // Nobody else is known: it reigns as soon as its epoch is on disk.
        net.event(Event::DeadlinePassed);
        net
    }

    fn connect(&mut self) -> LinkId {
        let link = self.links.insert(Peer::default());
        self.event(Event::Accepted { link, peer: "127.0.0.1".parse().unwrap() });
        link
    }

    /// A worker that has authenticated and heard what follows.
    fn worker(&mut self, id: &str) -> LinkId {
        let link = self.connect();
        self.authenticate(link, id, 0);
        assert_eq!(self.commands(link)[..2], ["AUTHENTICATE_SUCCESS", "BACKUP_LIST"]);
        link
    }

    fn authenticate(&mut self, link: LinkId, id: &str, load: u64) {
        let port = 4_000 + id.bytes().map(u16::from).sum::<u16>();
        self.say(
            link,
            &format!(
                r#"{{"command":"AUTHENTICATE","id":"{id}","hostname":"host","port":{port},"secret":"{SECRET}",
                "incarnation":"00000000000000aa","load":{load}}}"#
            ),
        );
    }

    fn say(&mut self, link: LinkId, line: &str) {
        let event = match Message::decode_with_epoch(line.as_bytes()) {
            Ok((message, epoch)) => Event::Received { link, message, epoch },
            Err(error) => Event::Malformed { link, error },
        };
        self.event(event);
    }

    fn register(&mut self, link: LinkId, name: &str, secret: &str) {
        self.say(link, &format!(r#"{{"command":"REGISTER","username":"{name}","secret":"{secret}"}}"#));
    }

    fn login(&mut self, link: LinkId, name: &str, secret: &str) {
        self.say(link, &format!(r#"{{"command":"LOGIN","username":"{name}","secret":"{secret}"}}"#));
    }

    fn change_secret(&mut self, link: LinkId, name: &str, secret: &str, new: &str) {
        self.say(
            link,
            &format!(
                r#"{{"command":"CHANGE_SECRET","username":"{name}","secret":"{secret}","new_secret":"{new}"}}"#
            ),
        );
    }

    fn remove(&mut self, link: LinkId, name: &str) {
        self.say(link, &format!(r#"{{"command":"REMOVE_USER","username":"{name}","secret":"{SECRET}"}}"#));
    }

    fn lock(&mut self, link: LinkId, name: &str) {
        let hash = password::decoy();
        let hash = hash.text();
        self.say(link, &format!(r#"{{"command":"LOCK_REQUEST","username":"{name}","secret":"{hash}"}}"#));
    }

    /// Registers on a connection of its own.
    fn has_registered(&mut self, name: &str, secret: &str) {
        let link = self.connect();
        self.register(link, name, secret);
        assert_eq!(self.commands(link), ["REGISTER_SUCCESS"]);
        self.vanish(link);
    }

    /// The peer says no more, and listens.
    fn finish(&mut self, link: LinkId) {
        self.event(Event::Ended { link });
    }

    /// The peer's connection breaks.
    fn vanish(&mut self, link: LinkId) {
        self.links.remove(link);
        self.event(Event::Closed { link });
    }

    /// The next message that the peer has heard.
    fn hear(&mut self, link: LinkId) -> Message {
        self.links[link].heard.pop_front().expect("something was said")
    }

    /// Everything that the peer has heard since it was last asked, but for the signs of life.
    fn hear_all(&mut self, link: LinkId) -> Vec<Message> {
        let heard = self.links[link].heard.drain(..);
        heard.filter(|message| !matches!(message, Message::Heartbeat(_))).collect()
    }

    fn commands(&mut self, link: LinkId) -> Vec<&'static str> {
        self.hear_all(link).iter().map(Message::command).collect()
    }

    fn is_closed(&self, link: LinkId) -> bool {
        self.links[link].closed
    }

    /// What a peer heard last: the command, its `info`, whether it may try again; and that nothing came before or after.
    fn refusal(&mut self, link: LinkId) -> (&'static str, String, bool) {
        assert!(self.is_closed(link), "the connection is open");
        let heard = self.hear_all(link);
        let [message] = &heard[..] else { panic!("one refusal, not {heard:?}") };
        let (info, retry) = match message {
            Message::InvalidMessage(m) => (&m.info, false),
            Message::AuthenticationFail(m) => (&m.info, false),
            Message::RegisterFailed(m) => (&m.info, m.retry_after.is_some()),
            Message::LoginFailed(m) => (&m.info, m.retry_after.is_some()),
            Message::ChangeSecretFailed(m) => (&m.info, m.retry_after.is_some()),
            other => panic!("{other:?} is no refusal"),
        };
        (message.command(), info.clone(), retry)
    }

    /// Time passes; the coordinator is woken whenever it wants to be.
    fn pass(&mut self, duration: Duration) {
        let end = self.now.time + duration;
        while let Some(deadline) = self.coordinator.deadline().filter(|deadline| *deadline <= end) {
            self.move_clocks(deadline.max(self.now.time));
            self.event(Event::DeadlinePassed);
        }
        self.move_clocks(end);
    }

    fn move_clocks(&mut self, to: Time) {
        self.now.wall = self.now.wall + (to - self.now.time);
        self.now.time = to;
    }

    /// From now on effects wait until they are answered by hand.
    fn hold_effects(&mut self) {
        self.prompt = false;
    }

    /// Answers the oldest effect.
    fn answer(&mut self) {
        let effect = self.effects.pop_front().expect("an effect is outstanding");
        let input = match effect {
            Effect::Hash { job, secret, .. } => Input::Hashed { job, hash: fake_hash(&secret) },
            Effect::Verify { job, secret, hash, .. } => {
                Input::Verified { job, matches: hash == fake_hash(&secret) }
            }
            Effect::Persist { job, .. } => Input::Persisted { job },
            Effect::Cancel { .. } | Effect::Doubt { .. } => unreachable!("it was put aside"),
        };
        self.event(Event::Input(input));
    }

    /// Answers the latest effect first.
    fn answer_last(&mut self) {
        let last = self.effects.pop_back().expect("an effect is outstanding");
        self.effects.push_front(last);
        self.answer();
    }

    /// There is no time for the oldest hash.
    fn give_up_hash(&mut self) {
        match self.effects.pop_front() {
            Some(Effect::Hash { job, .. } | Effect::Verify { job, .. }) => {
                self.event(Event::Input(Input::Unhashed { job }));
            }
            other => panic!("{other:?} is no hash"),
        }
    }

    fn answer_all(&mut self) {
        while !self.effects.is_empty() {
            self.answer();
        }
    }

    /// The disk refuses the batch that it was given.
    fn fail_disk(&mut self) {
        let effect = self.effects.pop_front().expect("an effect is outstanding");
        let Effect::Persist { job, .. } = effect else { panic!("{effect:?} is not for the disk") };
        self.event(Event::Input(Input::PersistFailed { job, reason: "no space left".to_owned() }));
    }

    /// The names in the one batch that the disk has been given and has not confirmed.
    fn batch(&self) -> Vec<&str> {
        let batch = |effect: &'_ Effect| matches!(effect, Effect::Persist { .. });
        assert!(
            self.effects.iter().filter(|effect| batch(effect)).count() <= 1,
            "the disk has one batch at a time"
        );
        match self.effects.iter().find(|effect| batch(effect)) {
            Some(Effect::Persist { change, .. }) => {
                change.users.iter().map(|(name, _)| name.as_str()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Load, expected clients, and whether it is connected, of each worker by id.
    fn workers(&self) -> Vec<(u64, u64, bool)> {
        let workers = self.coordinator.status(false).workers;
        workers.iter().map(|worker| (worker.load, worker.expected, worker.connected)).collect()
    }

    fn event(&mut self, event: Event<Input>) {
        let mut actions = Vec::new();
        self.coordinator.handle(self.now, event, &mut actions);
        self.coordinator.assert_bounds();
        let mut to_flush = Vec::new();
        for action in actions {
            self.act(action, &mut to_flush);
        }
        for link in to_flush {
            self.write(link);
        }
        while self.prompt && !self.effects.is_empty() {
            self.answer();
        }
    }

    fn act(&mut self, action: Action<Effect>, to_flush: &mut Vec<LinkId>) {
        match action {
            Action::Flush(link) => to_flush.push(link),
            Action::FlushAll | Action::Dial { .. } => panic!("a coordinator has no use for {action:?}"),
            Action::Close { link, farewell } => {
                let peer = &mut self.links[link];
                assert!(!peer.closed, "a link is closed twice");
                peer.closed = true;
                peer.hear(&farewell);
            }
            Action::StopAccepting => self.accepting = false,
            Action::Exit(outcome) => self.exited = Some(outcome),
            Action::Effect(Effect::Cancel { job }) => self.cancelled.push(job),
            Action::Effect(Effect::Doubt { job }) => self.doubted.push(job),
            Action::Effect(effect) => self.effects.push_back(effect),
        }
    }

    fn write(&mut self, link: LinkId) {
        let bytes = self.coordinator.output(link).to_vec();
        let Some(peer) = self.links.get_mut(link) else { return };
        if !bytes.is_empty() && !peer.deaf {
            peer.hear(&bytes);
            self.event(Event::Wrote { link, bytes: bytes.len() });
        }
    }
}

impl Peer {
    fn hear(&mut self, bytes: &[u8]) {
        assert!(bytes.is_empty() || bytes.ends_with(b"\n"), "messages are whole");
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.heard.push_back(Message::decode(line).expect("a coordinator says what can be understood"));
        }
    }
}

fn fake_hash(secret: &Secret) -> PasswordHash {
    use sha2::{Digest, Sha256};
    // Looks like one of Argon2id, and costs nothing: what is base 16 can be read as base 64.
    let digest: String = Sha256::digest(secret.expose()).iter().map(|byte| format!("{byte:02x}")).collect();
    PasswordHash::new(&format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ${}A", &digest[..42]))
}

/// The name in a USER_REGISTER_RESULT.
fn newcomer(message: &Message) -> &str {
    match message {
        Message::UserRegisterResult(UserRegisterResult { username, .. }) => username.as_str(),
        other => panic!("{other:?} tells of no new user"),
    }
}
