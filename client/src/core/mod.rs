//! One session as a state machine: dial a coordinator, register where asked to, log in, follow the REDIRECT, log in at the
//! worker by token, publish and receive; and begin again, with full jitter, when something breaks. Where there are several
//! coordinators they are tried in turn without a pause; one that is not the main one sends us to it, and there we begin anew.
//!
//! **Invariants.** At most one connection at a time; events of an older one mean nothing. A coordinator's refusal is final. A
//! worker's is not: it may not have heard of the user yet, so it counts as a failed attempt.
//!
//! **What is promised of publishing.** What is published has its number in the session, and is kept until the server has reported what
//! became of it: when a connection breaks, it is sent again over the next one, and the network knows it by its number. So it arrives once,
//! and is reported once. At a server of the classic protocol, which gives no reports, what was written may be lost with the connection,
//! and is not sent again.
//!
//! **What is promised of receiving.** Each activity is handed up once. After a connection was lost, the worker is told what has been
//! received, and sends the rest first; where nobody has some of it any more, that is told ([`Effect::Resumed`]).
//!
//! What is *not* here: sockets, clocks, and anything shown to a user (`shell`, `cli`).

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod config;
mod connect;
mod live;
mod login;
mod outgoing;
mod position;
mod presence;
mod receipt;
mod route;
#[cfg(test)]
mod tests;

use std::time::Duration;

use common::backoff::Backoff;
use common::id::{LinkId, Seq};
use common::machine::{self, DialId, Event, Machine};
use common::outbox::Outbox;
use common::session::SessionKey;
use common::time::{Now, Time};
use common::wire::{Activity, Address};

pub use config::{Config, Effect, Input, Limits, RegisterMode, Report, Session, Start};
use live::Live;
use login::Step;
use outgoing::Outgoing;
pub use outgoing::{Unfit, one_line};
pub use position::{Position, PositionError};
use presence::Attendance;
pub use presence::{Person, Presence};
use receipt::Receipt;
pub use route::coordinators;
use route::{Route, Target};

type Action = machine::Action<Effect>;

/// One session.
#[derive(Debug)]
pub struct Client {
    config: Config,
    state: State,
    route: Route,
    key: SessionKey,
    outgoing: Outgoing,
    receipt: Receipt,
    attendance: Attendance,
    /// What is still to be registered.
    register: RegisterMode,
    /// Why the name could not be registered, while the log-in that settles whether it is ours is under way.
    not_registered: Option<String>,
    /// Whether to log out as soon as what was published is reported.
    leaving: bool,
    backoff: Backoff,
    /// Rounds of attempts since the last session, the one under way included.
    rounds: u32,
    rng: fastrand::Rng,
    dials: u64,
}

#[derive(Debug)]
enum State {
    Pausing { until: Time },
    Dialling { dial: DialId, target: Target, until: Option<Time> },
    LoggingIn { link: LinkId, target: Target, step: Step, outbox: Outbox, until: Time },
    Live(Live),
    Done,
}

impl Client {
    /// A session that dials as soon as it is run: its first deadline is `now`.
    ///
    /// # Panics
    /// Without a coordinator.
    pub fn new(now: Now, config: Config) -> Self {
        let mut rng = fastrand::Rng::with_seed(config.seed);
        let session = config.session.clone().unwrap_or_else(|| Session::new(rng.u128(..)));
        Client {
            state: State::Pausing { until: now.time },
            route: Route::new(
                config.coordinators.clone(),
                config.remembered.clone(),
                config.limits.redirects,
            ),
            key: session.key,
            outgoing: Outgoing::new(session.next, &config.limits),
            receipt: Receipt::new(config.start.clone(), config.resume),
            attendance: Attendance::default(),
            register: config.register,
            not_registered: None,
            leaving: false,
            backoff: Backoff::default(),
            rounds: 0,
            rng,
            dials: 0,
            config,
        }
    }

    /// Whether the session is logged in at a worker.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Live(_))
    }

    /// Activities that were published and are not reported on yet; at a server that gives no reports, not written in full yet.
    pub fn unreported(&self) -> usize {
        self.outgoing.len()
    }

    /// Whether another activity may be published now. A driver that has one waits until there is room.
    pub fn has_room(&self) -> bool {
        self.outgoing.has_room()
    }

    /// The number in the session that the next activity will have.
    pub fn next_number(&self) -> Seq {
        self.outgoing.next()
    }

    /// What has been received; `None` before a worker has said where the session begins.
    pub fn position(&self) -> Option<&Position> {
        self.receipt.position()
    }

    /// Whether an activity can be published at all: one line on the wire must hold it.
    ///
    /// # Errors
    /// Why not.
    pub fn check(activity: &Activity) -> Result<(), Unfit> {
        outgoing::check(activity)
    }

    /// # Panics
    /// When a queue exceeds its limit.
    pub fn assert_bounds(&self) {
        self.outgoing.assert_bounds();
        self.receipt.assert_bounds();
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
            Event::Wrote { link, bytes } if self.is_current(link) => self.wrote(now, bytes, actions),
            Event::Ended { link } if self.is_current(link) => {
                self.hang_up(now, "the connection was lost".to_owned(), actions);
            }
            Event::Closed { link } if self.is_current(link) => {
                self.connection_lost(now, "the connection was lost".to_owned(), actions);
            }
            Event::Input(Input::Publish(activity)) => self.publish(now, activity, actions),
            Event::Input(Input::Skipped(id)) => {
                self.receipt.skipped(id.as_ref());
                self.count(now, actions);
            }
            Event::Input(Input::Logout) => self.log_out(now, actions),
            // Of a link that is no longer ours; or of one that was accepted, which a client never does.
            Event::Received { .. }
            | Event::Malformed { .. }
            | Event::Wrote { .. }
            | Event::Ended { .. }
            | Event::Closed { .. }
            | Event::Accepted { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        match &self.state {
            State::Pausing { until } | State::LoggingIn { until, .. } => Some(*until),
            State::Live(live) => live.deadline(&self.config.limits),
            State::Dialling { until, .. } => *until,
            State::Done => None,
        }
    }

    fn output(&self, link: LinkId) -> &[u8] {
        match &self.state {
            State::LoggingIn { link: current, outbox, .. } if *current == link => outbox.pending(),
            State::Live(live) if live.link == link => live.outbox.pending(),
            _ => &[],
        }
    }
}

/// Endings, for now and for good.
impl Client {
    fn is_current(&self, link: LinkId) -> bool {
        match &self.state {
            State::LoggingIn { link: current, .. } | State::Live(Live { link: current, .. }) => {
                *current == link
            }
            State::Pausing { .. } | State::Dialling { .. } | State::Done => false,
        }
    }

    /// There is no going on with this connection.
    fn hang_up(&mut self, now: Time, reason: String, actions: &mut Vec<Action>) {
        if let State::LoggingIn { link, .. } | State::Live(Live { link, .. }) = self.state {
            actions.push(Action::Close { link, farewell: Vec::new() });
        }
        self.connection_lost(now, reason, actions);
    }

    /// The connection, or the attempt to make one, is gone.
    fn connection_lost(&mut self, now: Time, reason: String, actions: &mut Vec<Action>) {
        match &self.state {
            State::Dialling { target, .. } | State::LoggingIn { target, .. } => {
                let reason = format!("{}: {reason}", target.address());
                let next = self.route.unreachable(now, &target.clone(), &mut self.rng);
                // A worker registers nobody while no coordinator answers.
                match next.filter(|next| next.is_coordinator() || self.register != RegisterMode::Only) {
                    Some(next) => self.dial(now, next, actions),
                    None => self.pause(now, reason, None, actions),
                }
            }
            State::Live(_) => {
                self.drop_connection(now, actions);
                self.pause(now, reason, None, actions);
            }
            State::Pausing { .. } | State::Done => {}
        }
    }

    /// Starts again, where that is wanted, after a moment: a longer one where a server has put us off for so long.
    fn pause(
        &mut self,
        now: Time,
        reason: String,
        put_off: Option<(Address, Duration)>,
        actions: &mut Vec<Action>,
    ) {
        let (put_off_by, at_least) = put_off.unzip();
        if !self.config.reconnect {
            let told = Effect::Disconnected { reason: reason.clone(), put_off_by, retry_in: None };
            actions.push(Action::Effect(told));
            return self.exit(Err(reason), actions);
        }
        let at_least = at_least.unwrap_or_default().min(self.config.limits.longest_retry);
        let wait = at_least + self.backoff.next(&mut self.rng);
        self.state = State::Pausing { until: now + wait };
        actions.push(Action::Effect(Effect::Disconnected { reason, put_off_by, retry_in: Some(wait) }));
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
