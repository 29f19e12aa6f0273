//! A client of the original protocol, as somebody else may have written it: a script of lines, knowing nothing of tokens, of `retry_after`
//! beyond reading it, or of our types. It registers, logs in, follows the REDIRECT, logs in again by name and secret, repeats both in every
//! ACTIVITY_MESSAGE, and begins again a moment after a connection is lost.

use std::time::Duration;

use common::id::LinkId;
use common::machine::{self, DialId, Event, Machine};
use common::time::{Now, Time};
use common::user::Username;
use common::wire::{Address, Message};
use serde_json::json;

/// How long it waits for any answer.
const PATIENCE: Duration = Duration::from_secs(12);

/// How many REDIRECTs it follows before it pauses.
const HOPS: u32 = 5;

/// Who it is and where it goes.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it logs in: one after the other, until it is let in.
    pub coordinators: Vec<Address>,
    /// The worker where it registers; without one, where it logs in.
    pub register_at: Option<Address>,
    /// Its name.
    pub username: Username,
    /// Its secret.
    pub secret: String,
    /// Whether it ends lines with CR LF.
    pub crlf: bool,
    /// For its pauses.
    pub seed: u64,
}

/// What it is told to do.
#[derive(Debug)]
pub enum Input {
    /// Send this, if it is logged in.
    Publish(String),
    /// Log out and go.
    Logout,
}

type Action = machine::Action<std::convert::Infallible>;

/// The client.
#[derive(Debug)]
pub struct Classic {
    config: Config,
    rng: fastrand::Rng,
    state: State,
    /// Where it is, or is going.
    target: Address,
    /// Which coordinator it asks next.
    turn: usize,
    hops: u32,
    dials: u64,
    registered: bool,
    /// Whether it goes to its target at once.
    known_worker: bool,
    waiting: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pausing { until: Time },
    Dialling { step: Step },
    Talking { link: LinkId, step: Step, until: Time },
    Live { link: LinkId },
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Register,
    LogIn,
    /// It was let in by a coordinator, which is about to name a worker.
    BeSentOn,
    Arrive,
}

impl Classic {
    /// A client that begins at once.
    pub fn new(now: Now, config: Config) -> Self {
        Classic {
            rng: fastrand::Rng::with_seed(config.seed),
            state: State::Pausing { until: now.time },
            target: config.coordinators[0].clone(),
            turn: 0,
            hops: 0,
            dials: 0,
            registered: config.username.is_anonymous(),
            known_worker: false,
            waiting: Vec::new(),
            config,
        }
    }

    /// A client that is registered already, and logs in by name and secret at the worker that it knows.
    pub fn at_worker(now: Now, config: Config, worker: Address) -> Self {
        Classic { registered: true, known_worker: true, target: worker, ..Classic::new(now, config) }
    }

    /// A client that is registered already.
    pub fn registered(now: Now, config: Config) -> Self {
        Classic { registered: true, ..Classic::new(now, config) }
    }

    /// Whether it is logged in at a worker.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    /// Whether it has given up.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn dial(&mut self, step: Step, actions: &mut Vec<Action>) {
        let coordinator = &self.config.coordinators[self.turn % self.config.coordinators.len()];
        let address = match step {
            Step::Register => self.config.register_at.as_ref().unwrap_or(coordinator),
            Step::LogIn => coordinator,
            Step::BeSentOn | Step::Arrive => &self.target,
        };
        self.dial_address(step, address.clone(), actions);
    }

    fn dial_address(&mut self, step: Step, address: Address, actions: &mut Vec<Action>) {
        self.dials += 1;
        actions.push(Action::Dial { dial: DialId(self.dials), address });
        self.state = State::Dialling { step };
    }

    /// Goes where it is sent, unless that is too far.
    fn follow(&mut self, now: Time, step: Step, address: Address, actions: &mut Vec<Action>) {
        self.hops += 1;
        if self.hops > HOPS {
            return self.pause(now, Duration::ZERO);
        }
        self.target = address.clone();
        self.waiting.clear();
        // A backup sends to the main coordinator, where a client is not where it is going to.
        let at_coordinator = step == Step::Arrive && self.config.coordinators.contains(&address);
        self.dial_address(if at_coordinator { Step::LogIn } else { step }, address, actions);
    }

    fn begin(&mut self, actions: &mut Vec<Action>) {
        let step = match (self.registered, self.known_worker) {
            (false, _) => Step::Register,
            (true, false) => Step::LogIn,
            (true, true) => Step::Arrive,
        };
        self.dial(step, actions);
    }

    fn pause(&mut self, now: Time, least: Duration) {
        self.waiting.clear();
        (self.turn, self.hops) = (self.turn + 1, 0);
        self.state = State::Pausing { until: now + least + Duration::from_millis(self.rng.u64(100..2_000)) };
    }

    fn say(&mut self, link: LinkId, line: &serde_json::Value, actions: &mut Vec<Action>) {
        self.waiting.extend_from_slice(line.to_string().as_bytes());
        self.waiting.extend_from_slice(if self.config.crlf { b"\r\n" } else { b"\n" });
        actions.push(Action::Flush(link));
    }

    fn introduce(&mut self, now: Time, link: LinkId, step: Step, actions: &mut Vec<Action>) {
        let command = if step == Step::Register { "REGISTER" } else { "LOGIN" };
        let mut line = json!({ "command": command, "username": self.config.username.as_str() });
        if !self.config.username.is_anonymous() {
            line["secret"] = json!(self.config.secret);
        }
        self.state = State::Talking { link, step, until: now + PATIENCE };
        self.say(link, &line, actions);
    }

    /// Hangs up without a word.
    fn leave(&mut self, link: LinkId, actions: &mut Vec<Action>) {
        self.waiting.clear();
        actions.push(Action::Close { link, farewell: Vec::new() });
    }

    fn received(&mut self, now: Time, link: LinkId, message: Message, actions: &mut Vec<Action>) {
        let step = match self.state {
            State::Talking { step, .. } => step,
            // Live: activities are looked at by the checkers.
            _ => {
                if let Message::Redirect(redirect) = message {
                    self.leave(link, actions);
                    self.follow(now, Step::Arrive, redirect.address, actions);
                }
                return;
            }
        };
        match (step, message) {
            (Step::Register, Message::RegisterSuccess(_)) => {
                self.registered = true;
                if self.config.register_at.is_none() {
                    return self.introduce(now, link, Step::LogIn, actions);
                }
                self.leave(link, actions);
                self.dial(Step::LogIn, actions);
            }
            (Step::Register, Message::RegisterFailed(failed)) => {
                self.leave(link, actions);
                match failed.retry_after {
                    Some(wait) => self.pause(now, wait.into()),
                    // Somebody has the name: ourselves, if the success was lost on its way.
                    None => self.dial(Step::LogIn, actions),
                }
            }
            (Step::Register, Message::Redirect(redirect)) => {
                self.leave(link, actions);
                self.follow(now, Step::Register, redirect.address, actions);
            }
            // Who has not been let in before is sent to a coordinator.
            (Step::LogIn, Message::Redirect(redirect)) => {
                self.leave(link, actions);
                self.follow(now, Step::LogIn, redirect.address, actions);
            }
            (Step::BeSentOn | Step::Arrive, Message::Redirect(redirect)) => {
                self.leave(link, actions);
                self.follow(now, Step::Arrive, redirect.address, actions);
            }
            (Step::LogIn, Message::LoginSuccess(_)) => {
                if let State::Talking { step, .. } = &mut self.state {
                    *step = Step::BeSentOn;
                }
            }
            (Step::Arrive, Message::LoginSuccess(_)) => self.state = State::Live { link },
            (Step::LogIn, Message::LoginFailed(failed))
                if failed.retry_after.is_none() && !self.registered =>
            {
                self.leave(link, actions);
                self.state = State::Done;
            }
            (_, Message::LoginFailed(failed)) => {
                self.leave(link, actions);
                self.pause(now, failed.retry_after.map_or(Duration::ZERO, Duration::from));
            }
            _ => {
                self.leave(link, actions);
                self.pause(now, Duration::ZERO);
            }
        }
    }

    fn publish(&mut self, text: &str, actions: &mut Vec<Action>) {
        let State::Live { link } = self.state else { return };
        let name = json!(self.config.username.as_str());
        let secret = json!(self.config.secret);
        let mut line = format!(r#"{{"command":"ACTIVITY_MESSAGE","username":{name},"#);
        if !self.config.username.is_anonymous() {
            line += &format!(r#""secret":{secret},"#);
        }
        line += &format!(r#""activity":{text}}}"#);
        line += if self.config.crlf { "\r\n" } else { "\n" };
        self.waiting.extend_from_slice(line.as_bytes());
        actions.push(Action::Flush(link));
    }

    fn log_out(&mut self, actions: &mut Vec<Action>) {
        match self.state {
            State::Live { link } | State::Talking { link, .. } => {
                let mut farewell = std::mem::take(&mut self.waiting);
                farewell.extend_from_slice(b"{\"command\":\"LOGOUT\"}\n");
                actions.push(Action::Close { link, farewell });
            }
            State::Pausing { .. } | State::Dialling { .. } | State::Done => {}
        }
        self.state = State::Done;
        actions.push(Action::Exit(Ok(())));
    }

    fn is_current(&self, link: LinkId) -> bool {
        match self.state {
            State::Talking { link: current, .. } | State::Live { link: current } => current == link,
            State::Pausing { .. } | State::Dialling { .. } | State::Done => false,
        }
    }
}

impl Machine for Classic {
    type Input = Input;
    type Effect = std::convert::Infallible;

    fn handle(&mut self, now: Now, event: Event<Input>, actions: &mut Vec<Action>) {
        let now = now.time;
        match event {
            Event::Dialled { link, .. } => match self.state {
                State::Dialling { step } => self.introduce(now, link, step, actions),
                _ => actions.push(Action::Close { link, farewell: Vec::new() }),
            },
            Event::DialFailed { .. } if matches!(self.state, State::Dialling { .. }) => {
                self.pause(now, Duration::ZERO)
            }
            Event::Received { link, message, .. } if self.is_current(link) => {
                self.received(now, link, message, actions)
            }
            Event::Malformed { link, .. } | Event::Ended { link } if self.is_current(link) => {
                self.leave(link, actions);
                self.pause(now, Duration::ZERO);
            }
            Event::Wrote { link, bytes } if self.is_current(link) => _ = self.waiting.drain(..bytes),
            Event::Closed { link } if self.is_current(link) => self.pause(now, Duration::ZERO),
            Event::DeadlinePassed => match self.state {
                State::Pausing { until } if until <= now => self.begin(actions),
                State::Talking { link, until, .. } if until <= now => {
                    self.leave(link, actions);
                    self.pause(now, Duration::ZERO);
                }
                _ => {}
            },
            Event::Input(Input::Publish(text)) => self.publish(&text, actions),
            Event::Input(Input::Logout) => self.log_out(actions),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Pausing { until } | State::Talking { until, .. } => Some(until),
            State::Dialling { .. } | State::Live { .. } | State::Done => None,
        }
    }

    fn output(&self, link: LinkId) -> &[u8] {
        if self.is_current(link) { &self.waiting } else { &[] }
    }
}
