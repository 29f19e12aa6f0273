//! The worker as a state machine: carries client sessions, appends what they publish to one log, and floods it among the workers.
//!
//! What is absent: sockets, clocks, threads, files, password hashing. The shell brings bytes and time, and does the hashing
//! ([`Effect`]).
//!
//! The leaves know nothing of each other: `session` (one client), `log`, `flood` (what has been seen), `intake` (how fast), `neighbours`
//! and `roster` (other workers), `upstream` (the coordinator), `users`, `register` (held names), `secrets`. Only [`Worker`] routes between
//! them: this file takes events apart; `clients`, `logging_in` and `registering` hold the conversation with clients, `coordinators` and
//! `workers` those with other servers, `timers` what happens without anybody speaking.
//!
//! **Invariants.** Appending an activity costs nothing per client: clients read the log at their own pace. The load is the number
//! of sessions that are logged in at this moment.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod activities;
mod ahead;
mod attachment;
mod attending;
mod catch_up;
mod clients;
mod config;
mod coordinators;
mod deliveries;
mod doubles;
mod draining;
pub mod encoding;
mod epochs;
mod flood;
mod intake;
mod lists;
pub mod log;
mod logging_in;
mod neighbours;
mod observed;
pub mod ordering;
mod presence;
mod recovering;
mod register;
mod registering;
mod reporting;
mod reports;
mod resuming;
mod retrieving;
mod roster;
mod secrets;
pub mod segment;
mod session;
mod tally;
mod timers;
mod upstream;
mod users;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use common::epoch::Epoch;
use common::id::{LinkId, ServerId};
use common::machine::{Action, DialError, DialId, Event, JobId, Machine};
use common::position::Position;
use common::session::SessionId;
use common::time::{Now, Time};
use common::user::Username;
use common::wire::{ActivityRetrieve, BackupEntry, InvalidMessage, LoginFailed, Message};
use slotmap::SecondaryMap;

pub use config::{Config, Counters, Effect, Input, Limits, Remembered};

use ahead::Ahead;
use catch_up::CatchUp;
use deliveries::Deliveries;
use doubles::Doubles;
use draining::Drain;
use encoding::Encoder;
use flood::Flood;
use intake::{Behind, Intake};
use log::{Log, Retention};
use logging_in::Verification;
use neighbours::Neighbours;
use ordering::Ordering;
use presence::Presence;
use recovering::Recovery;
use register::Registrations;
use reports::Reports;
use roster::Roster;
use secrets::Digests;
use session::{Phase, Session};
use upstream::Upstream;
use users::{Above, Users};

type Actions = Vec<Action<Effect>>;

/// A worker.
#[derive(Debug)]
pub struct Worker {
    config: Config,
    rng: fastrand::Rng,
    links: SecondaryMap<LinkId, Link>,

    log: Log,
    intake: Intake,
    flood: Flood,
    ordering: Ordering,
    doubles: Doubles,
    catch_up: CatchUp,
    /// What other workers asked for, where the disk is waited for.
    questions: Vec<(LinkId, ActivityRetrieve)>,
    deliveries: Deliveries,
    ahead: Ahead,
    reports: Reports,
    /// What was missed while this worker was not there is still being asked for; none when it takes clients.
    recovery: Option<Recovery>,
    presence: Presence,
    neighbours: Neighbours,
    roster: Roster,
    upstream: Upstream,
    users: Users,
    registrations: Registrations,
    digests: Digests,

    /// The highest epoch that was heard of.
    epoch: Option<Epoch>,
    /// It has risen during this event.
    epoch_is_news: bool,
    /// What the coordinator is being told of users; none where it knows what we know.
    users_above: Option<Above>,
    /// Where clients may go, as of the last sweep.
    destinations: Vec<BackupEntry>,

    /// Clients that wait for the coordinator's answer about a user whom we do not know.
    queries: BTreeMap<Username, Vec<LinkId>>,
    /// What the shell is hashing, and for whom.
    jobs: BTreeMap<JobId, Job>,
    next_job: u64,
    /// Attempts to connect that are under way and not given up.
    dials: BTreeMap<DialId, Dial>,
    next_dial: u64,

    load: u64,
    /// Clients that read the log, and not still what they missed.
    attached: u64,
    /// Where the sessions are attached that outlive their connections.
    sessions: BTreeMap<SessionId, LinkId>,
    /// Clients that want to know who comes and goes.
    watchers: BTreeSet<LinkId>,
    counters: Counters,
    /// Clients that say no more and have been told something during this event.
    answered: Vec<LinkId>,
    /// During this event something was appended to the log, or queued for many.
    flush_all: bool,
    encoder: Encoder,
    /// The frame being built; kept for its memory.
    frame: Vec<u8>,
    next_sweep: Time,
    /// Until when it may be taken for dead: it slept, and hears only now what has become of it meanwhile.
    waking: Option<Time>,
    drain: Option<Drain>,
    /// What to say at the end, where another worker has taken our place.
    displaced: Option<String>,
}

/// Whose connection it is.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are clients")]
enum Link {
    /// Everybody who connected and has not authenticated as a worker.
    Client(Session),
    Upstream,
    Neighbour,
}

#[derive(Debug)]
enum Job {
    Verification(Verification),
    Registration(Username),
}

#[derive(Debug)]
enum Dial {
    Upstream,
    Neighbour(ServerId),
}

impl Worker {
    /// A worker that starts now: its first deadline is `now`, and then it dials a coordinator.
    pub fn new(now: Now, mut config: Config) -> Self {
        let mut rng = fastrand::Rng::with_seed(config.seed);
        let limits = &config.limits;
        let retention = Retention { bytes: limits.retain_bytes, age: limits.retain_age };
        let mut ordering =
            Ordering::new(ordering::Limits { sessions: limits.sessions, waiting_bytes: limits.held_bytes });
        let log = match config.kept.take() {
            Some(kept) => {
                for (session, numbers) in kept.iter().flat_map(|kept| &kept.summary.sessions) {
                    ordering.restore_numbers(*session, numbers);
                }
                let let_go = config.remembered.let_go.clone();
                Log::restored(now.time, limits.log_bytes, retention, kept, let_go)
            }
            None => Log::new(limits.log_bytes),
        };
        for frame in log.missing(&Position::default(), log.start()) {
            if let Some((session, seq)) = log::session_of(frame.bytes)
                && let Some(checksum) = encoding::checksum_of(frame.bytes)
            {
                ordering.restore(session, seq, checksum);
            }
        }
        Worker {
            links: SecondaryMap::new(),
            intake: Intake::new(limits.intake_bytes, limits.log_bytes / 32, log.end()),
            flood: Flood::new(config.id.clone(), config.incarnation, log.holds().clone(), &log.let_go()),
            log,
            ordering,
            doubles: Doubles::of(&config.remembered.doubles),
            catch_up: CatchUp::new(limits.server_answer),
            questions: Vec::new(),
            deliveries: Deliveries::new(limits.report_timeout - limits.report_timeout / 5),
            ahead: Ahead::default(),
            reports: Reports::new(now.time, config.id.clone(), limits.report_timeout),
            recovery: Some(Recovery::new(now.time, limits)),
            presence: Presence::new(
                (config.id.clone(), config.incarnation),
                limits.server_silence,
                limits.server_answer,
            ),
            neighbours: Neighbours::new(limits),
            roster: Roster::new(
                now.time,
                config.id.clone(),
                limits.unlisted,
                config.remembered.workers.clone(),
            ),
            upstream: Upstream::new(
                now.time,
                config.coordinators.clone(),
                config.remembered.servers.clone(),
                limits,
            ),
            users: Users::of(config.remembered.network.clone()),
            registrations: Registrations::default(),
            digests: Digests::new(&mut rng),
            epoch: config.remembered.epoch.clone(),
            epoch_is_news: false,
            users_above: None,
            destinations: Vec::new(),
            queries: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next_job: 0,
            dials: BTreeMap::new(),
            next_dial: 0,
            load: 0,
            attached: 0,
            sessions: BTreeMap::new(),
            watchers: BTreeSet::new(),
            counters: Counters::default(),
            answered: Vec::new(),
            flush_all: false,
            encoder: Encoder::default(),
            frame: Vec::new(),
            next_sweep: now.time + limits.sweep,
            waking: None,
            drain: None,
            displaced: None,
            rng,
            config,
        }
    }

    /// Connections that do not belong to servers.
    fn clients(&self) -> usize {
        self.links.len() - self.neighbours.len() - usize::from(self.upstream.link().is_some())
    }

    fn accepted(&mut self, now: Now, link: LinkId, peer: IpAddr, out: &mut Actions) {
        if self.clients() >= self.config.limits.connections {
            let info = format!("this server carries {} connections and takes no more", self.clients());
            let retry_after = Some(self.retry_after());
            let farewell = Message::from(LoginFailed { info, retry_after, position: false }).encode();
            out.push(Action::Close { link, farewell });
            return;
        }
        let limits = &self.config.limits;
        let until = now.time + limits.login_deadline;
        let session = Session::new(peer, now.time, until, limits.client_outbox_bytes);
        self.links.insert(link, Link::Client(session));
    }

    fn dialled(&mut self, now: Now, dial: DialId, link: LinkId, out: &mut Actions) {
        match self.dials.remove(&dial).filter(|_| self.drain.is_none()) {
            Some(Dial::Upstream) => self.greet_coordinator(now, link, out),
            Some(Dial::Neighbour(id)) => self.greet_neighbour(now, link, id, out),
            // It was given up.
            None => out.push(Action::Close { link, farewell: Vec::new() }),
        }
    }

    fn dial_failed(&mut self, now: Now, dial: DialId, error: DialError) {
        match self.dials.remove(&dial) {
            Some(Dial::Upstream) => {
                let reason = format!("{}: {error}", self.upstream.address());
                self.upstream.lost(now.time, &mut self.rng, &reason);
            }
            Some(Dial::Neighbour(id)) => self.roster.dial_failed(now.time, &id, &mut self.rng),
            // It was given up.
            None => {}
        }
    }

    fn received(
        &mut self,
        now: Now,
        link: LinkId,
        message: Message,
        epoch: Option<&Epoch>,
        out: &mut Actions,
    ) {
        if let Some(Link::Upstream | Link::Neighbour) = self.links.get(link)
            && let Some(absurdity) = self.absurdity(epoch)
        {
            return self.refuse(now, link, absurdity, out);
        }
        match self.links.get(link) {
            Some(Link::Client(_)) => self.client_said(now, link, message, epoch, out),
            Some(Link::Upstream) => self.coordinator_said(now, link, message, epoch, out),
            Some(Link::Neighbour) => self.neighbour_said(now, link, message, epoch, out),
            None => unreachable!("nothing is received on a link that is gone"),
        }
    }

    fn wrote(&mut self, now: Now, link: LinkId, bytes: usize, out: &mut Actions) {
        match self.links.get_mut(link).expect("nothing is written to a link that is gone") {
            Link::Client(session) => {
                session.wrote(now.time, &self.log, bytes);
                if session.replay().is_some() {
                    self.continue_replay(now, link, out);
                }
            }
            Link::Upstream => {
                self.upstream.wrote(now.time, bytes);
                self.tell_users(now, out);
            }
            Link::Neighbour => self.neighbours.wrote(now.time, link, bytes),
        }
    }

    /// Closes a link after `last`.
    fn close(&mut self, now: Now, link: LinkId, last: Option<Message>, out: &mut Actions) {
        if self.links.contains_key(link) {
            let farewell = self.gone(now, link, last.as_ref(), out);
            out.push(Action::Close { link, farewell });
        }
    }

    /// Says INVALID_MESSAGE and closes.
    fn refuse(&mut self, now: Now, link: LinkId, info: impl Into<String>, out: &mut Actions) {
        let info = info.into();
        tracing::debug!(?link, %info, "refused a message");
        self.close(now, link, Some(InvalidMessage { info }.into()), out);
    }

    /// Whoever is at the other end says no more. A server is gone then. A client may still wait for an answer to what it said; where none
    /// is under way, it gets what there is for it.
    fn ended(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        let Some(Link::Client(session)) = self.links.get_mut(link) else {
            return self.close(now, link, None, out);
        };
        session.end();
        if session.is_over() {
            return self.close(now, link, None, out);
        }
        let job = match session.phase() {
            Phase::Verifying { job, .. } => Some(*job),
            Phase::Registering { username, .. } => self.registrations.hashed_by(username),
            _ => None,
        };
        out.extend(job.map(|job| Action::Effect(Effect::Doubt { job })));
    }

    /// Closes the links of clients that say no more and have heard what they waited for.
    fn close_answered(&mut self, now: Now, out: &mut Actions) {
        for link in std::mem::take(&mut self.answered) {
            if matches!(self.links.get(link), Some(Link::Client(session)) if session.is_over()) {
                self.close(now, link, None, out);
            }
        }
    }

    /// A link is gone or about to be: nothing remembers it afterwards. Returns what it should still be told, `last` at the end.
    fn gone(&mut self, now: Now, link: LinkId, last: Option<&Message>, out: &mut Actions) -> Vec<u8> {
        let mut farewell = match self.links.remove(link).expect("a link goes once") {
            Link::Client(session) => return self.client_gone(now, link, session, last, out),
            Link::Upstream => self.coordinator_gone(now, out),
            Link::Neighbour => self.neighbour_gone(now, link, out),
        };
        if let Some(message) = last {
            message.encode_at(self.epoch.as_ref(), &mut farewell);
        }
        farewell
    }

    /// Finds out who cannot keep up with what comes in.
    fn look_after_readers(&mut self, now: Now) {
        let limits = &self.config.limits;
        let mut clients = false;
        for link in self.links.values_mut() {
            if let Link::Client(session) = link {
                clients |=
                    session.is_outpaced(now.time, &self.log, limits.log_bytes / 4, limits.intake_bytes);
            }
        }
        let workers = self.neighbours.longest_queue() > limits.server_outbox_bytes / 2;
        self.intake.looked(now.time, self.log.end(), Behind { clients, workers });
    }

    fn start_job(&mut self, job: Job) -> JobId {
        let id = JobId(self.next_job);
        self.next_job += 1;
        self.jobs.insert(id, job);
        id
    }

    /// Whoever waited for it is gone: in an overload, the time is better spent on those who still wait.
    fn cancel_job(&mut self, job: JobId, out: &mut Actions) {
        self.jobs.remove(&job);
        out.push(Action::Effect(Effect::Cancel { job }));
    }

    /// Log-ins that wait for the coordinator's answer.
    fn asking(&self) -> usize {
        self.queries.values().map(Vec::len).sum()
    }
}

impl Machine for Worker {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Now, event: Event<Input>, actions: &mut Actions) {
        let mut wrote_to = None;
        self.notice_sleep(now.time);
        match event {
            Event::Accepted { link, peer } => self.accepted(now, link, peer, actions),
            Event::Dialled { dial, link } => self.dialled(now, dial, link, actions),
            Event::DialFailed { dial, error } => self.dial_failed(now, dial, error),
            Event::Received { link, message, epoch } => {
                self.received(now, link, message, epoch.as_ref(), actions);
            }
            Event::Malformed { link, error } => self.refuse(now, link, error.to_string(), actions),
            Event::Wrote { link, bytes } => {
                self.wrote(now, link, bytes, actions);
                wrote_to = Some(link);
            }
            Event::Ended { link } => self.ended(now, link, actions),
            Event::Closed { link } => {
                self.gone(now, link, None, actions);
            }
            Event::DeadlinePassed => self.deadline_passed(now, actions),
            Event::Input(Input::Hashed { job, hash }) => self.hashed(now, job, hash, actions),
            Event::Input(Input::Verified { job, matches }) => self.verified(now, job, matches, actions),
            Event::Input(Input::Unhashed { job }) => self.unhashed(now, job, actions),
            Event::Input(Input::Segment { segment, frames }) => {
                self.segment_was_read(now, segment, &frames, actions);
            }
            Event::Input(Input::Drain) => self.start_drain(now, actions),
        }
        self.close_answered(now, actions);
        if self.intake.is_due(now.time, self.log.end()) {
            self.look_after_readers(now);
        }
        self.see_to_recovery(now, actions);
        while let Some(request) = self.log.next_request() {
            actions.push(Action::Effect(Effect::Segment(request)));
        }
        self.spread_epoch(now, actions);
        if std::mem::take(&mut self.flush_all) {
            actions.push(Action::FlushAll);
        }
        if self.drain.is_some() {
            self.continue_drain(now, wrote_to, actions);
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.next_deadline()
    }

    fn output(&self, link: LinkId) -> &[u8] {
        match self.links.get(link) {
            Some(Link::Client(session)) => session.output(&self.log),
            Some(Link::Upstream) => self.upstream.output(),
            Some(Link::Neighbour) => self.neighbours.output(link),
            None => &[],
        }
    }

    fn read_after(&self, link: LinkId) -> Option<Time> {
        match self.links.get(link)? {
            Link::Client(session) => {
                let attachment = session.attachment()?;
                let quiet_until = Some(attachment.quiet_until).filter(|until| *until > Time::ZERO);
                self.intake.clients_after().max(quiet_until)
            }
            Link::Neighbour => self.intake.worker_after(link),
            Link::Upstream => None,
        }
    }
}

#[cfg(test)]
mod tests;
