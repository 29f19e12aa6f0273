//! The coordinator as a state machine without I/O (see [`common::machine`]).
//!
//! This module routes: what comes from a link goes to the conversation that it belongs to. The conversations are
//! `registering`, `logging_in`, `changing` and `servers`, with what several of them share in `verifying` (secrets), `storing` (the disk)
//! and `refusals`; `housekeeping` is what time brings. They alone touch more than one of the leaves, which take values and return verdicts: `links` (connections and what waits for them), `registry` (users and held names),
//! `placement` (workers and where clients go), `feed` (what a worker is told of the users), `jobs` (what other threads
//! were asked).
//!
//! **Invariants.** Nobody is told of a registration, and no log-in with its name succeeds, before the disk has confirmed it. A peer
//! that is refused hears why before its connection closes. One peer's slowness never delays another's answer.
//!
//! What is *not* here: clocks, sockets, hashing, files. Hashing and the disk leave as an [`Effect`] and return as an [`Input`].
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod changing;
mod config;
mod feed;
mod housekeeping;
mod jobs;
mod links;
mod logging_in;
mod placement;
mod refusals;
mod registering;
mod registry;
mod reservations;
mod secrets;
mod servers;
mod storing;
mod verifying;

#[cfg(test)]
mod tests;

use common::id::{LinkId, ServerId};
use common::machine::{Action, Event, Machine};
use common::time::{Now, Time};
use common::wire::{
    AuthenticationFail, InvalidMessage, LoginFailed, Message, Millis, Role, State, StatusReport,
};
use tracing::{debug, info, warn};

pub use config::{Change, Config, Effect, Group, Input, Limits, Recovered};

use jobs::Jobs;
use links::{Links, Party};
use placement::Placement;
use registry::Registry;

/// The coordinator.
#[derive(Debug)]
pub struct Coordinator {
    config: Config,
    group: Group,
    rng: fastrand::Rng,
    links: Links,
    registry: Registry,
    placement: Placement,
    jobs: Jobs,
    /// When time-outs are looked at next.
    next_sweep: Time,
    /// When workers hear from us next.
    next_heartbeat: Time,
    draining: bool,
}

/// One event being handled: when, and what is to be done about it.
struct Turn<'a> {
    now: Now,
    actions: &'a mut Vec<Action<Effect>>,
}

impl Coordinator {
    /// A coordinator that starts now, with what its store held.
    pub fn new(now: Now, config: Config, recovered: Recovered) -> Self {
        let limits = &config.limits;
        Coordinator {
            group: recovered.group,
            rng: fastrand::Rng::with_seed(config.seed),
            links: Links::new(limits.clone()),
            registry: Registry::new(config.id.clone(), now.wall, recovered.users, limits),
            placement: Placement::new(limits.clone()),
            jobs: Jobs::default(),
            next_sweep: now.time,
            next_heartbeat: now.time + limits.heartbeat,
            draining: false,
            config,
        }
    }

    /// How it is.
    pub fn status(&self) -> StatusReport {
        StatusReport {
            id: self.config.id.clone(),
            network: self.group.network.clone(),
            role: Role::Main,
            highest_epoch: self.group.epoch.clone(),
            state: State::Normal,
            reasons: Vec::new(),
            users: self.registry.len() as u64,
            coordinators: Vec::new(),
            workers: self.placement.status(),
            history: self.group.history.clone(),
            conflict_count: 0,
            conflicts: Vec::new(),
        }
    }

    /// Checks that every queue and table is within its limit.
    ///
    /// # Panics
    /// Where one is not.
    pub fn assert_bounds(&self) {
        self.links.assert_bounds();
        self.registry.assert_bounds();
        self.placement.assert_bounds();
        assert!(self.jobs.hashes() <= self.config.limits.hash_queue, "{} hashes", self.jobs.hashes());
    }
}

impl Machine for Coordinator {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Now, event: Event<Input>, actions: &mut Vec<Action<Effect>>) {
        let turn = &mut Turn { now, actions };
        match event {
            Event::Accepted { link, peer } => self.accepted(turn, link, peer),
            Event::Received { link, message, .. } => self.received(turn, link, message),
            Event::Malformed { link, error } => self.invalid(turn, link, error.to_string()),
            Event::Wrote { link, bytes } => {
                self.links.wrote(now.time, link, bytes);
                self.feed(turn, link);
            }
            Event::Closed { link } => self.closed(link),
            Event::Input(Input::Hashed { job, hash }) => self.hashed(turn, job, hash),
            Event::Input(Input::Verified { job, matches }) => self.verified(turn, job, matches),
            Event::Input(Input::Persisted { job }) => self.persisted(turn, job),
            Event::Input(Input::PersistFailed { job, reason }) => self.persist_failed(turn, job, &reason),
            Event::Input(Input::Drain) => self.drain(turn),
            Event::Dialled { .. } | Event::DialFailed { .. } => unreachable!("a coordinator never dials"),
            Event::DeadlinePassed => {}
        }
        if now.time >= self.next_sweep {
            self.sweep(turn);
        }
    }

    fn deadline(&self) -> Option<Time> {
        let idle = self.links.is_empty() && self.placement.is_empty() && !self.registry.has_holds();
        (!idle).then_some(self.next_sweep)
    }

    fn output(&self, link: LinkId) -> &[u8] {
        self.links.pending(link)
    }
}

impl Coordinator {
    fn accepted(&mut self, turn: &mut Turn<'_>, link: LinkId, peer: std::net::IpAddr) {
        let refusal = if self.draining {
            "this coordinator is shutting down"
        } else if self.links.insert(turn.now.time, link, peer) {
            return;
        } else {
            "too many connections"
        };
        debug!(%peer, "refused a connection: {refusal}");
        let (info, retry_after) = (refusal.to_owned(), Some(self.retry_after()));
        let farewell = Message::from(LoginFailed { info, retry_after }).encode();
        turn.actions.push(Action::Close { link, farewell });
    }

    fn received(&mut self, turn: &mut Turn<'_>, link: LinkId, message: Message) {
        let Some(known) = self.links.get(link) else { return };
        if let Message::InvalidMessage(complaint) = &message {
            info!(peer = %known.peer, info = complaint.info, "a peer took us for invalid");
            return self.close(turn, link, None);
        }
        match &known.party {
            Party::Worker(worker) => {
                let id = worker.id.clone();
                self.hear_worker(turn, link, &id, message);
            }
            Party::Holding | Party::Verifying { .. } => match message {
                Message::Logout(_) => self.close(turn, link, None),
                _ => self.invalid(
                    turn,
                    link,
                    "a registration, log-in or change is under way on this connection; wait for its answer",
                ),
            },
            Party::Operator => match message {
                Message::Status(status) => self.operator(turn, link, &status.secret),
                Message::RemoveUser(request) => self.remove_user(turn, link, request),
                Message::Logout(_) => self.close(turn, link, None),
                other => self.invalid(
                    turn,
                    link,
                    format!("this connection is an operator's; {} needs another", other.command()),
                ),
            },
            Party::Stranger { .. } => self.hear_stranger(turn, link, message),
        }
    }

    fn hear_stranger(&mut self, turn: &mut Turn<'_>, link: LinkId, message: Message) {
        match message {
            Message::Register(request) => self.register(turn, link, request),
            Message::Login(request) => self.login(turn, link, request),
            Message::Logout(_) => self.close(turn, link, None),
            Message::Authenticate(request) => self.authenticate(turn, link, request),
            Message::ChangeSecret(request) => self.change_secret(turn, link, request),
            Message::Status(status) => self.operator(turn, link, &status.secret),
            Message::RemoveUser(request) => self.remove_user(turn, link, request),
            Message::ActivityMessage(_) => {
                let info = "log in first; then send activities to the server that REDIRECT names".to_owned();
                self.dismiss(turn, link, AuthenticationFail { info });
            }
            other => {
                self.invalid(turn, link, format!("{} is for servers: authenticate first", other.command()));
            }
        }
    }

    /// Queues a message for a link that may be gone, or goes now because too much waits.
    fn say(&mut self, turn: &mut Turn<'_>, link: LinkId, message: impl Into<Message>) {
        let Some(known) = self.links.get_mut(link) else { return };
        match known.say(turn.now.time, &message.into()) {
            Ok(()) => turn.actions.push(Action::Flush(link)),
            Err(full) => self.abandon(turn, link, &full.to_string()),
        }
    }

    /// Says a last word and closes.
    fn dismiss(&mut self, turn: &mut Turn<'_>, link: LinkId, last: impl Into<Message>) {
        self.close(turn, link, Some(&last.into()));
    }

    /// Refuses what makes no sense or is not allowed.
    fn invalid(&mut self, turn: &mut Turn<'_>, link: LinkId, info: impl Into<String>) {
        let info = info.into();
        if let Some(worker) = self.links.worker_mut(link) {
            warn!(worker = %worker.id, info, "a worker sent something invalid");
        }
        self.dismiss(turn, link, InvalidMessage { info });
    }

    /// Closes a link: all that waits is written first, then `last`.
    fn close(&mut self, turn: &mut Turn<'_>, link: LinkId, last: Option<&Message>) {
        if let Some(gone) = self.forget(link) {
            turn.actions.push(Action::Close { link, farewell: gone.farewell(last) });
        }
    }

    /// Closes a link without a word: its peer does not read.
    fn abandon(&mut self, turn: &mut Turn<'_>, link: LinkId, reason: &str) {
        if let Some(gone) = self.forget(link) {
            warn!(peer = %gone.peer, reason, "dropped a connection");
            turn.actions.push(Action::Close { link, farewell: Vec::new() });
        }
    }

    fn closed(&mut self, link: LinkId) {
        self.forget(link);
    }

    fn forget(&mut self, link: LinkId) -> Option<links::Link> {
        let gone = self.links.remove(link)?;
        if let Party::Worker(worker) = &gone.party {
            self.worker_lost(&worker.id, link);
        }
        Some(gone)
    }

    fn worker_lost(&mut self, id: &ServerId, link: LinkId) {
        info!(worker = %id, "the connection to a worker is gone; it gets no more clients");
        self.placement.disconnect(id, link);
    }

    /// When to try again: at least the limit, at most twice that, so that those refused together do not return together.
    fn retry_after(&mut self) -> Millis {
        let least = self.config.limits.retry_after;
        (least + least.mul_f64(self.rng.f64())).into()
    }
}
