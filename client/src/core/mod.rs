//! One session as a state machine: dial a coordinator, register where asked to, log in, follow the REDIRECT, log in at the
//! worker by token, publish and receive; and begin again, with full jitter, when something breaks. Where there are several
//! coordinators they are tried in turn without a pause; one that is not the main one sends us to it, and there we begin anew.
//!
//! **Invariants.** At most one connection at a time; events of an older one mean nothing. A coordinator's refusal is final. A
//! worker's is not: it may not have heard of the user yet, so it counts as a failed attempt.
//!
//! **What is promised of publishing, and what is not.** Activities wait in order until they are written. When a connection
//! breaks, those that were written to it, in full or in part, may or may not have arrived; they are not sent again, so nothing is
//! published twice and something may be lost. What was not written yet goes out on the next connection.
//!
//! What is *not* here: sockets, clocks, anything shown to a user (`shell`, `cli`), and acknowledgements of delivery: the sender's
//! own ACTIVITY_BROADCAST is the sign that an activity went round.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod config;
mod connect;
mod login;
mod queue;
mod route;
#[cfg(test)]
mod tests;

use std::time::Duration;

use common::backoff::Backoff;
use common::id::LinkId;
use common::machine::{self, DialId, Event, Machine};
use common::outbox::Outbox;
use common::time::{Now, Time};
use common::wire::{Activity, Logout, Message};

pub use config::{Config, Effect, Input, Limits, RegisterMode};
use login::Step;
use queue::Queue;
pub use queue::{Unfit, one_line};
pub use route::coordinators;
use route::{Route, Target};

type Action = machine::Action<Effect>;

/// One session.
#[derive(Debug)]
pub struct Client {
    config: Config,
    state: State,
    route: Route,
    queue: Queue,
    /// What is still to be registered.
    register: RegisterMode,
    /// Why the name could not be registered, while the log-in that settles whether it is ours is under way.
    not_registered: Option<String>,
    /// Whether to log out as soon as what waits is sent.
    leaving: bool,
    backoff: Backoff,
    rng: fastrand::Rng,
    dials: u64,
}

#[derive(Debug)]
enum State {
    Pausing { until: Time },
    Dialling { dial: DialId, target: Target, until: Option<Time> },
    LoggingIn { link: LinkId, target: Target, step: Step, outbox: Outbox, until: Time },
    Live { link: LinkId, since: Time },
    Done,
}

impl Client {
    /// A session that dials as soon as it is run: its first deadline is `now`.
    ///
    /// # Panics
    /// Without a coordinator.
    pub fn new(now: Now, config: Config) -> Self {
        Client {
            state: State::Pausing { until: now.time },
            route: Route::new(config.coordinators.clone(), config.limits.redirects),
            queue: Queue::new(&config.limits),
            register: config.register,
            not_registered: None,
            leaving: false,
            backoff: Backoff::default(),
            rng: fastrand::Rng::with_seed(config.seed),
            dials: 0,
            config,
        }
    }

    /// Whether the session is logged in at a worker.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    /// Activities that are not written in full yet.
    pub fn queued(&self) -> usize {
        self.queue.activities()
    }

    /// Whether another activity may be published now. A driver that has one waits until there is room.
    pub fn has_room(&self) -> bool {
        self.queue.has_room()
    }

    /// Whether an activity can be published at all: one line on the wire must hold it.
    ///
    /// # Errors
    /// Why not.
    pub fn check(activity: &Activity) -> Result<(), Unfit> {
        queue::check(activity)
    }

    /// # Panics
    /// When a queue exceeds its limit.
    pub fn assert_bounds(&self) {
        self.queue.assert_bounds();
    }
}

impl Machine for Client {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Now, event: Event<Input>, actions: &mut Vec<Action>) {
        let now = now.time;
        match event {
            Event::DeadlinePassed => self.deadline_passed(now, actions),
            Event::Dialled { dial, link } => self.dialled(now, dial, link, actions),
            Event::DialFailed { dial, error } => {
                if matches!(&self.state, State::Dialling { dial: current, .. } if *current == dial) {
                    self.connection_lost(now, error.to_string(), actions);
                }
            }
            Event::Received { link, message, .. } if self.is_current(link) => {
                self.received(now, message, actions)
            }
            Event::Malformed { link, error } if self.is_current(link) => {
                self.hang_up(now, format!("it sent what is no message: {error}"), actions);
            }
            Event::Wrote { link, bytes } if self.is_current(link) => self.wrote(now, bytes),
            Event::Closed { link } if self.is_current(link) => {
                self.connection_lost(now, "the connection was lost".to_owned(), actions);
            }
            Event::Input(Input::Publish(activity)) => self.publish(now, activity, actions),
            Event::Input(Input::Logout) => self.log_out(actions),
            // Of a link that is no longer ours; or of one that was accepted, which a client never does.
            Event::Received { .. }
            | Event::Malformed { .. }
            | Event::Wrote { .. }
            | Event::Closed { .. }
            | Event::Accepted { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        match &self.state {
            State::Pausing { until } | State::LoggingIn { until, .. } => Some(*until),
            // What waited before the connection stood did not wait for this connection.
            State::Live { since, .. } => {
                self.queue.stalled_since().map(|stalled| stalled.max(*since) + self.config.limits.write_stall)
            }
            State::Dialling { until, .. } => *until,
            State::Done => None,
        }
    }

    fn output(&self, link: LinkId) -> &[u8] {
        match &self.state {
            State::LoggingIn { link: current, outbox, .. } if *current == link => outbox.pending(),
            State::Live { link: current, .. } if *current == link => self.queue.pending(),
            _ => &[],
        }
    }
}

/// The live session.
impl Client {
    fn heard(&mut self, now: Time, link: LinkId, message: Message, actions: &mut Vec<Action>) {
        match message {
            Message::ActivityBroadcast(broadcast) => {
                actions.push(Action::Effect(Effect::Activity(broadcast)))
            }
            Message::BackupList(list) => {
                if let Some(servers) = self.route.learn(list.servers) {
                    actions.push(Action::Effect(Effect::Servers(servers.to_vec())));
                }
            }
            Message::Redirect(redirect) => {
                self.queue.connection_lost(now);
                self.follow(now, link, redirect, actions);
            }
            Message::InvalidMessage(invalid) => self.hang_up(now, login::reason(invalid.info), actions),
            Message::AuthenticationFail(failed) => self.hang_up(now, login::reason(failed.info), actions),
            Message::LoginFailed(failed) => self.hang_up(now, login::reason(failed.info), actions),
            other => {
                self.hang_up(now, format!("it sent {}, which is not for clients", other.command()), actions)
            }
        }
    }

    fn publish(&mut self, now: Time, activity: Activity, actions: &mut Vec<Action>) {
        if self.leaving || matches!(self.state, State::Done) {
            return;
        }
        self.queue.push(now, activity);
        if let State::Live { link, .. } = self.state {
            actions.push(Action::Flush(link));
        }
    }

    fn wrote(&mut self, now: Time, bytes: usize) {
        match &mut self.state {
            State::LoggingIn { outbox, .. } => outbox.wrote(now, bytes),
            State::Live { .. } => self.queue.wrote(now, bytes),
            _ => {}
        }
    }

    /// Says goodbye; where something waits and there is nobody to say it to, as soon as there is.
    fn log_out(&mut self, actions: &mut Vec<Action>) {
        self.leaving = true;
        match self.state {
            State::Live { link, .. } => {
                let mut farewell = self.queue.pending().to_vec();
                Message::from(Logout {}).encode_into(&mut farewell);
                self.finish(link, farewell, actions);
            }
            State::LoggingIn { link, .. } if self.queue.activities() == 0 => {
                self.finish(link, Vec::new(), actions)
            }
            State::Pausing { .. } | State::Dialling { .. } if self.queue.activities() == 0 => {
                self.exit(Ok(()), actions);
            }
            _ => {}
        }
    }
}

/// Endings, for now and for good.
impl Client {
    fn is_current(&self, link: LinkId) -> bool {
        match &self.state {
            State::LoggingIn { link: current, .. } | State::Live { link: current, .. } => *current == link,
            State::Pausing { .. } | State::Dialling { .. } | State::Done => false,
        }
    }

    /// There is no going on with this connection.
    fn hang_up(&mut self, now: Time, reason: String, actions: &mut Vec<Action>) {
        if let State::LoggingIn { link, .. } | State::Live { link, .. } = self.state {
            actions.push(Action::Close { link, farewell: Vec::new() });
        }
        self.connection_lost(now, reason, actions);
    }

    /// The connection, or the attempt to make one, is gone.
    fn connection_lost(&mut self, now: Time, reason: String, actions: &mut Vec<Action>) {
        match &self.state {
            State::Dialling { target, .. } | State::LoggingIn { target, .. } => {
                let reason = format!("{}: {reason}", target.address());
                match self.route.unreachable(&target.clone()) {
                    Some(next) => self.dial(now, next, actions),
                    None => self.pause(now, reason, Duration::ZERO, actions),
                }
            }
            State::Live { .. } => {
                self.queue.connection_lost(now);
                self.pause(now, reason, Duration::ZERO, actions);
            }
            State::Pausing { .. } | State::Done => {}
        }
    }

    /// Starts again after at least so long, where that is wanted.
    fn pause(&mut self, now: Time, reason: String, at_least: Duration, actions: &mut Vec<Action>) {
        if !self.config.reconnect {
            actions.push(Action::Effect(Effect::Disconnected { reason: reason.clone(), retry_in: None }));
            return self.exit(Err(reason), actions);
        }
        let wait = at_least.min(self.config.limits.longest_retry) + self.backoff.next(&mut self.rng);
        self.state = State::Pausing { until: now + wait };
        actions.push(Action::Effect(Effect::Disconnected { reason, retry_in: Some(wait) }));
    }

    fn refused(&mut self, info: String, actions: &mut Vec<Action>) {
        let info = match self.not_registered.take() {
            Some(registering) => format!("{info} (registering the name was refused, too: {registering})"),
            None => info,
        };
        actions.push(Action::Effect(Effect::Refused { info: info.clone() }));
        self.exit(Err(info), actions);
    }

    fn finish(&mut self, link: LinkId, farewell: Vec<u8>, actions: &mut Vec<Action>) {
        actions.push(Action::Close { link, farewell });
        self.exit(Ok(()), actions);
    }

    fn exit(&mut self, result: Result<(), String>, actions: &mut Vec<Action>) {
        self.state = State::Done;
        actions.push(Action::Exit(result));
    }
}
