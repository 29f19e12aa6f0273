//! Somebody who wants one thing done: a name registered, a secret changed, a user removed; a coordinator forgotten; all users copied, and
//! brought back from that copy some seconds later. It goes from coordinator to coordinator, follows
//! REDIRECTs, and repeats itself word for word until it is told how it went. Whoever loses an answer asks again; that must be safe.

use std::time::Duration;

use common::id::{LinkId, ServerId};
use common::machine::{self, DialId, Event, Machine};
use common::time::{Now, Time};
use common::user::{Secret, Username};
use common::users::Seen;
use common::wire::{
    Address, ChangeSecret, Export, ForgetCoordinator, Import, Message, Register, Registration, RemoveUser,
};

/// How long it waits for any answer.
const PATIENCE: Duration = Duration::from_secs(6);

/// How long it goes on asking.
const GIVES_UP: Duration = Duration::from_secs(90);

/// How many REDIRECTs it follows before it pauses.
const HOPS: u32 = 5;

/// What it wants.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Wish {
    Register {
        username: Username,
        secret: Secret,
    },
    ChangeSecret {
        username: Username,
        secret: Secret,
        new: Secret,
    },
    Remove {
        username: Username,
        network_secret: Secret,
    },
    Forget {
        id: ServerId,
        network_secret: Secret,
    },
    /// Everything is exported, and imported again later.
    Restore {
        network_secret: Secret,
        pause: Duration,
    },
}

/// How far a [`Wish::Restore`] has come.
#[derive(Debug, Default)]
struct Copied {
    network: Option<String>,
    pieces: Vec<Vec<Registration>>,
    after: Seen,
    /// The piece that is to be imported next; `None` while there is more to export.
    next: Option<usize>,
}

impl Wish {
    fn message(&self, copied: &Copied) -> Message {
        match self.clone() {
            Wish::Forget { id, network_secret } => ForgetCoordinator { id, secret: network_secret }.into(),
            Wish::Restore { network_secret: secret, .. } => match copied.next {
                None => Export { secret, after: copied.after.clone() }.into(),
                Some(piece) => {
                    let users = copied.pieces.get(piece).cloned().unwrap_or_default();
                    Import { secret, network: copied.network.clone(), users }.into()
                }
            },
            Wish::Register { username, secret } => Register { username: username.to_string(), secret }.into(),
            Wish::ChangeSecret { username, secret, new } => {
                ChangeSecret { username: username.to_string(), secret, new_secret: new }.into()
            }
            Wish::Remove { username, network_secret } => {
                RemoveUser { username: username.to_string(), secret: network_secret }.into()
            }
        }
    }
}

/// Who it asks, and for what.
#[derive(Clone, Debug)]
pub struct Config {
    /// Coordinators, or a worker for a registration.
    pub servers: Vec<Address>,
    /// What it wants.
    pub wish: Wish,
    /// For its pauses.
    pub seed: u64,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As wished.
    Done,
    /// The answer was no.
    Refused,
    /// Nobody answered for too long: it may be done or not.
    Unknown,
}

type Action = machine::Action<std::convert::Infallible>;

/// The peer.
#[derive(Debug)]
pub struct Errand {
    config: Config,
    rng: fastrand::Rng,
    turn: usize,
    hops: u32,
    state: State,
    waiting: Vec<u8>,
    copied: Copied,
    until: Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Pausing(Time),
    /// Until when.
    Dialling(Time),
    Asked(LinkId, Time),
    Over(Outcome),
}

impl Errand {
    /// One that begins at once.
    pub fn new(now: Now, config: Config) -> Self {
        let mut rng = fastrand::Rng::with_seed(config.seed);
        let turn = rng.usize(..config.servers.len());
        let until = now.time + GIVES_UP;
        let state = State::Pausing(now.time);
        Errand { config, rng, turn, hops: 0, state, waiting: Vec::new(), copied: Copied::default(), until }
    }

    /// How it went, when it is over.
    pub fn outcome(&self) -> Option<Outcome> {
        if let State::Over(outcome) = self.state { Some(outcome) } else { None }
    }

    /// What it wants.
    pub fn wish(&self) -> &Wish {
        &self.config.wish
    }

    fn dial(&mut self, now: Time, address: Address, actions: &mut Vec<Action>) {
        self.state = State::Dialling(now + PATIENCE);
        actions.push(Action::Dial { dial: DialId(1), address });
    }

    /// Asks the next one after a pause.
    fn again(&mut self, now: Time, wait: Duration) {
        self.waiting.clear();
        self.hops = 0;
        self.turn += 1;
        self.state = match now > self.until {
            true => State::Over(Outcome::Unknown),
            false => State::Pausing(now + wait + Duration::from_millis(self.rng.u64(20..400))),
        };
    }

    fn leave(&mut self, link: LinkId, actions: &mut Vec<Action>) {
        self.waiting.clear();
        actions.push(Action::Close { link, farewell: Vec::new() });
    }

    /// Asks over the connection that there is.
    fn ask(&mut self, now: Time, link: LinkId, actions: &mut Vec<Action>) {
        self.waiting = self.config.wish.message(&self.copied).encode();
        self.state = State::Asked(link, now + PATIENCE);
        actions.push(Action::Flush(link));
    }

    /// A piece was exported or imported. Says whether there is more to be done at once.
    fn copies(&mut self, message: &Message) -> bool {
        match message {
            Message::Exported(exported) if exported.users.is_empty() => {
                self.copied.next = Some(0);
                false
            }
            Message::Exported(exported) => {
                self.copied.network = Some(exported.network.clone());
                self.copied.after = exported.next.clone();
                self.copied.pieces.push(exported.users.clone());
                true
            }
            Message::Imported(_) => {
                self.copied.next = self.copied.next.map(|piece| piece + 1);
                self.copied.next.is_some_and(|piece| piece < self.copied.pieces.len())
            }
            _ => false,
        }
    }

    fn received(&mut self, now: Time, link: LinkId, message: Message, actions: &mut Vec<Action>) {
        if self.copies(&message) {
            return self.ask(now, link, actions);
        }
        self.leave(link, actions);
        let wait = match message {
            Message::Exported(_) => {
                let Wish::Restore { pause, .. } = self.config.wish else { return };
                return self.again(now, pause);
            }
            Message::Imported(_) | Message::ForgetCoordinatorSuccess(_) => {
                self.state = State::Over(Outcome::Done);
                return;
            }
            Message::ImportFailed(failed) => failed.retry_after,
            Message::ForgetCoordinatorFailed(failed) => failed.retry_after,
            Message::RegisterSuccess(_) | Message::ChangeSecretSuccess(_) | Message::RemoveUserSuccess(_) => {
                self.state = State::Over(Outcome::Done);
                return;
            }
            Message::Redirect(redirect) if self.hops < HOPS => {
                self.hops += 1;
                return self.dial(now, redirect.address, actions);
            }
            Message::RegisterFailed(failed) => failed.retry_after,
            Message::ChangeSecretFailed(failed) => failed.retry_after,
            Message::RemoveUserFailed(failed) => failed.retry_after,
            Message::LoginFailed(failed) => failed.retry_after,
            _ => return self.again(now, Duration::ZERO),
        };
        match wait {
            Some(wait) => self.again(now, wait.into()),
            None => self.state = State::Over(Outcome::Refused),
        }
    }
}

impl Machine for Errand {
    type Input = std::convert::Infallible;
    type Effect = std::convert::Infallible;

    fn handle(&mut self, now: Now, event: Event<Self::Input>, actions: &mut Vec<Action>) {
        let now = now.time;
        match event {
            Event::DeadlinePassed => match self.state {
                State::Pausing(at) if at <= now => {
                    let address = self.config.servers[self.turn % self.config.servers.len()].clone();
                    self.dial(now, address, actions);
                }
                // Whoever was dialled died in the very moment.
                State::Dialling(until) if until <= now => self.again(now, Duration::ZERO),
                State::Asked(link, until) if until <= now => {
                    self.leave(link, actions);
                    self.again(now, Duration::ZERO);
                }
                _ => {}
            },
            Event::Dialled { link, .. } if matches!(self.state, State::Dialling(_)) => {
                self.ask(now, link, actions)
            }
            Event::Dialled { link, .. } => self.leave(link, actions),
            Event::Received { link, message, .. } => self.received(now, link, message, actions),
            Event::Wrote { bytes, .. } => _ = self.waiting.drain(..bytes),
            Event::Malformed { link, .. } => {
                self.leave(link, actions);
                self.again(now, Duration::ZERO);
            }
            Event::Ended { link } => {
                self.leave(link, actions);
                self.again(now, Duration::ZERO);
            }
            Event::DialFailed { .. } if !matches!(self.state, State::Dialling(_)) => {}
            Event::Closed { .. } | Event::DialFailed { .. } => self.again(now, Duration::ZERO),
            Event::Accepted { .. } => {}
            Event::Input(never) => match never {},
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Pausing(at) | State::Asked(_, at) | State::Dialling(at) => Some(at),
            State::Over(_) => None,
        }
    }

    fn output(&self, link: LinkId) -> &[u8] {
        match self.state {
            State::Asked(current, _) if current == link => &self.waiting,
            _ => &[],
        }
    }
}
