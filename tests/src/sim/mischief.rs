//! Peers that say what they must not. Each connects, says its piece, and waits to be thrown out; some come again, and some say nothing that
//! is wrong, but too much of it, and go by themselves.

mod kind;

use std::time::Duration;

use common::id::LinkId;
use common::machine::{self, DialId, Event, Machine};
use common::time::{Now, Time};
use common::user::Username;
use common::wire::{Address, LoginFailed, Message, Redirect};
use serde_json::json;

pub use kind::{KINDS, Kind};

/// Whose account it uses, and against whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it does.
    pub kind: Kind,
    /// Where tokens come from.
    pub coordinator: Address,
    /// Whom it bothers: a worker, or the coordinator.
    pub target: Address,
    /// A registered name.
    pub username: Username,
    /// Its secret.
    pub secret: String,
    /// Another registered name.
    pub victim: Username,
    /// How long a stale token is kept.
    pub keep_token: Duration,
    /// The key of its session.
    pub session: String,
    /// What it publishes as an honest client would.
    pub activities: Vec<String>,
}

type Action = machine::Action<std::convert::Infallible>;

/// The peer.
#[derive(Debug)]
pub struct Mischief {
    config: Config,
    state: State,
    token: Option<String>,
    hops: u32,
    /// How often it has been logged in, and answered.
    round: u32,
    answers: u32,
    waiting: Vec<u8>,
}

/// How many REDIRECTs it follows.
const HOPS: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Beginning(Time),
    Dialling,
    LoggingIn(LinkId),
    KeepingToken(Time),
    Said(LinkId),
    Done,
}

impl Mischief {
    /// A peer that begins at once.
    pub fn new(now: Now, config: Config) -> Self {
        let state = State::Beginning(now.time);
        Mischief { config, state, token: None, hops: 0, round: 0, answers: 0, waiting: Vec::new() }
    }

    /// Whether it has been thrown out, or never got in.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn login(&self) -> String {
        let mut login = json!({ "command": "LOGIN", "username": self.config.username.as_str(), "secret": self.config.secret });
        if self.config.kind.has_a_session() {
            let many = self.config.kind == Kind::ManySessions;
            login["capabilities"] = json!(["session"]);
            login["session"] =
                json!(format!("{}-{}", self.config.session, if many { self.round } else { 0 }));
        }
        if let Some((resume, network)) = self.config.kind.resume() {
            login["resume"] = json!(resume);
            if !network.is_empty() {
                login["network"] = json!(network);
            }
        }
        login.to_string()
    }

    /// What it must not say.
    fn piece(&self) -> Vec<u8> {
        let (name, victim) = (self.config.username.as_str(), self.config.victim.as_str());
        let text = match self.config.kind {
            Kind::NotJson => "{\"command\":\"LOGIN\",".to_owned(),
            Kind::NotUtf8 => return b"{\"command\":\"LOGIN\",\"username\":\"\xff\xfe\"}\n".to_vec(),
            Kind::UnknownCommand => json!({ "command": "SUDO" }).to_string(),
            Kind::NestsTooDeep => format!("{{\"command\":\"LOGIN\",\"x\":{}{}}}", "[".repeat(200), "]".repeat(200)),
            Kind::PublishesBeforeLogin => json!({ "command": "ACTIVITY_MESSAGE", "activity": { "forged": true } }).to_string(),
            Kind::ForgesServerCommand => json!({ "command": "SERVER_LOAD", "load": 1_000 }).to_string(),
            Kind::ForgesBroadcastWhenLoggedIn => {
                json!({ "command": "ACTIVITY_BROADCAST", "activity": { "authenticated_user": victim } }).to_string()
            }
            Kind::SpeaksForAnother => {
                json!({ "command": "ACTIVITY_MESSAGE", "username": victim, "activity": { "forged": true } }).to_string()
            }
            Kind::RepeatsAWrongSecret => {
                json!({ "command": "ACTIVITY_MESSAGE", "username": name, "secret": "guess", "activity": { "forged": true } })
                    .to_string()
            }
            Kind::LogsInTwice | Kind::HalfCloses => self.login(),
            Kind::WrongSecret => json!({ "command": "LOGIN", "username": victim, "secret": "guess" }).to_string(),
            Kind::WrongNetworkSecret => json!({ "command": "AUTHENTICATE", "id": "worker-evil", "hostname": "10.9.9.9", "port": 1,
                "secret": "not the network secret", "incarnation": "00000000000000ff", "load": 0 })
            .to_string(),
            Kind::StaleToken => json!({ "command": "LOGIN", "username": name, "token": self.token }).to_string(),
            Kind::StolenToken => json!({ "command": "LOGIN", "username": victim, "token": self.token }).to_string(),
            Kind::HalfALine => return b"{\"command\":\"LOG".to_vec(),
            kind => kind.in_session(self.round, &self.config.activities),
        };
        (text + "\n").into_bytes()
    }

    fn dial(&mut self, address: Address, actions: &mut Vec<Action>) {
        self.state = State::Dialling;
        actions.push(Action::Dial { dial: DialId(1), address });
    }

    fn dialled(&mut self, link: LinkId, actions: &mut Vec<Action>) {
        let first = self.config.kind.logs_in() || (self.config.kind.wants_a_token() && self.token.is_none());
        if self.config.kind == Kind::HalfCloses {
            self.state = State::Said(link);
            return actions.push(Action::Close { link, farewell: self.piece() });
        }
        if first {
            self.waiting = (self.login() + "\n").into_bytes();
            self.state = State::LoggingIn(link);
        } else {
            self.waiting = self.piece();
            self.state = State::Said(link);
        }
        actions.push(Action::Flush(link));
    }

    /// It has got what it wanted, and goes, or comes again.
    fn is_through(&mut self, link: LinkId, actions: &mut Vec<Action>) {
        actions.push(Action::Close { link, farewell: Vec::new() });
        self.waiting.clear();
        self.round += 1;
        if self.round < self.config.kind.rounds() {
            self.dial(self.config.target.clone(), actions);
        } else {
            self.state = State::Done;
        }
    }

    /// Whether what comes is the last of its own in this round, and it is to come again.
    fn is_last(&self, activity: &str) -> bool {
        let last = match self.config.kind {
            Kind::RepeatsWithAnother if self.round == 0 => self.config.activities.last(),
            Kind::ManySessions => self.config.activities.get(self.round as usize),
            _ => None,
        };
        // Its name was put in front.
        last.is_some_and(|last| activity.ends_with(&last[1..]))
    }

    fn received(&mut self, now: Time, link: LinkId, message: Message, actions: &mut Vec<Action>) {
        match message {
            Message::LoginSuccess(_)
                if self.config.kind.logs_in() && self.state == State::LoggingIn(link) =>
            {
                self.waiting = self.piece();
                if self.waiting == b"\n" {
                    self.waiting.clear();
                }
                self.state = State::Said(link);
                actions.push(Action::Flush(link));
            }
            Message::ActivityBroadcast(broadcast) if self.is_last(broadcast.activity.get()) => {
                self.is_through(link, actions);
            }
            Message::Resumed(_) => self.is_through(link, actions),
            Message::ActivityRetrieved(_) if self.answers == self.config.kind.asks_again() => {
                self.is_through(link, actions);
            }
            Message::ActivityRetrieved(_) => {
                self.answers += 1;
                self.waiting.extend(self.piece());
                actions.push(Action::Flush(link));
            }
            // There was no time for its secret.
            Message::LoginFailed(LoginFailed { retry_after: Some(pause), .. })
                if self.config.kind.has_a_session() && self.state == State::LoggingIn(link) =>
            {
                actions.push(Action::Close { link, farewell: Vec::new() });
                self.waiting.clear();
                self.state = State::Beginning(now + pause.into());
            }
            // A backup sends everybody to the main coordinator.
            Message::Redirect(Redirect { address, token: None }) if self.state == State::LoggingIn(link) => {
                actions.push(Action::Close { link, farewell: Vec::new() });
                self.waiting.clear();
                self.hops += 1;
                if self.hops > HOPS {
                    self.state = State::Done;
                } else {
                    self.dial(address, actions);
                }
            }
            Message::Redirect(redirect) if self.state == State::LoggingIn(link) => {
                actions.push(Action::Close { link, farewell: Vec::new() });
                self.token = redirect.token;
                self.waiting.clear();
                let stale = self.config.kind == Kind::StaleToken;
                self.state = State::KeepingToken(if stale { now + self.config.keep_token } else { now });
            }
            // A refusal, or activities that it is not interested in: the server closes when it is done.
            _ => {}
        }
    }
}

impl Machine for Mischief {
    type Input = std::convert::Infallible;
    type Effect = std::convert::Infallible;

    fn handle(&mut self, now: Now, event: Event<Self::Input>, actions: &mut Vec<Action>) {
        match event {
            Event::DeadlinePassed => match self.state {
                State::Beginning(_) if self.config.kind.wants_a_token() => {
                    self.dial(self.config.coordinator.clone(), actions)
                }
                State::Beginning(_) | State::KeepingToken(_) => {
                    self.dial(self.config.target.clone(), actions)
                }
                _ => {}
            },
            Event::Dialled { link, .. } => self.dialled(link, actions),
            Event::Received { link, message, .. } => self.received(now.time, link, message, actions),
            Event::Wrote { bytes, .. } => _ = self.waiting.drain(..bytes),
            Event::Ended { link } => {
                actions.push(Action::Close { link, farewell: Vec::new() });
                self.state = State::Done;
            }
            Event::Closed { .. } | Event::DialFailed { .. } => self.state = State::Done,
            Event::Malformed { link, .. } => {
                actions.push(Action::Close { link, farewell: Vec::new() });
                self.state = State::Done;
            }
            Event::Accepted { .. } => {}
            Event::Input(never) => match never {},
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Beginning(at) | State::KeepingToken(at) => Some(at),
            _ => None,
        }
    }

    fn output(&self, link: LinkId) -> &[u8] {
        match self.state {
            State::LoggingIn(current) | State::Said(current) if current == link => &self.waiting,
            _ => &[],
        }
    }
}
