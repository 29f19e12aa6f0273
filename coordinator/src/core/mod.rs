//! The coordinator as a state machine without I/O (see [`common::machine`]).
//!
//! This module routes: what comes from a link goes to the conversation that it belongs to. With clients these are `registering`,
//! `logging_in` and `changing`, with workers `servers`, and what several of them share is in `verifying` (secrets), `storing` (what counts,
//! and who hears of it), `parking` (requests that wait for a takeover) and `refusals`. With other coordinators they are `greeting` (who is
//! there), `twins` (whether it is the only one of its name), `reign` (who is the main one), `deciding` (whether to become it), `gathering`
//! (who may know more), `inquiry` (do workers hear it?), `replicating` (the main one's side), `following` (a backup's side) and `handover`.
//! `transferring` moves users to an operator's file and back, `writing` is the way to the disk, `housekeeping` what time brings, `status`
//! what an operator sees. They alone touch more than one of the leaves, which take values and return verdicts: `links` (connections and
//! what waits for them), `registry` (users and held names) with `lost` (what of them was forgotten), `complaints` (what was said of others
//! in the log), `placement` (workers and where clients go) with `balancing` (who sends clients to whom), `peers` (the other coordinators),
//! `standbys` (how far each backup is), `feed` (what somebody is told of the users), `jobs` (what other threads were asked).
//!
//! **Invariants.** Nobody is told of a registration, and no log-in with its name succeeds, before our own disk and every listed backup have
//! confirmed it. Nothing is done in an epoch once a higher one is known. A peer that is refused hears why before its connection
//! closes. One peer's slowness never delays another's answer.
//!
//! What is *not* here: clocks, sockets, hashing, files. Hashing and the disk leave as an [`Effect`] and return as an [`Input`].
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod balancing;
mod changing;
mod complaints;
mod config;
mod deciding;
mod feed;
mod following;
mod forgetting;
mod gathering;
mod greeting;
mod handover;
mod housekeeping;
mod inquiry;
mod jobs;
mod links;
mod logging_in;
mod lost;
mod parking;
mod peers;
mod placement;
mod refusals;
mod registering;
mod registry;
mod reign;
mod replicating;
mod reservations;
mod secrets;
mod servers;
mod standbys;
mod status;
mod storing;
mod transferring;
mod twins;
mod verifying;
mod worker;
mod writing;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use common::epoch::Epoch;
use common::id::{LinkId, ServerId};
use common::machine::{Action, DialId, Event, Machine};
use common::time::{Now, Time, WallMillis};
use common::user::{UserRecord, Username};
use common::users::Seen;
use common::wire::{AuthenticationFail, InvalidMessage, LoginFailed, Message, Millis};
use tracing::{debug, warn};

pub use config::{Change, Config, Effect, Group, Input, Limits, Recovered};

use complaints::Complaints;
use jobs::Jobs;
use links::{Links, Party};
use peers::{PeerId, Peers};
use placement::Placement;
use registry::{Done, Registry};
use reign::{Lost, Reigning, Seeking};
use standbys::Standbys;
use transferring::Importing;
use twins::Doubt;
use writing::Writing;

/// The coordinator.
#[derive(Debug)]
pub struct Coordinator {
    config: Config,
    /// The group as it is on disk, or about to be.
    group: Group,
    /// The highest epoch that this coordinator has seen, or reigns in: what it says to other servers carries it.
    epoch: Option<Epoch>,
    reigning: Reigning,
    /// Whether somebody is linked with another coordinator of this id.
    doubt: Option<Doubt>,
    /// Its place in the BACKUP_LIST that it heard last.
    rank: Option<u64>,
    /// That list, by name.
    ranks: Vec<ServerId>,
    rng: fastrand::Rng,
    dials: Dials,
    links: Links,
    peers: Peers,
    standbys: Standbys,
    registry: Registry,
    /// How far stamps of ours are reserved on disk.
    reserved: WallMillis,
    /// The batch that is proposed to backups.
    proposed: Vec<(Username, UserRecord)>,
    /// How many listed backups had confirmed the batch that was settled last.
    batch_copies: usize,
    /// What of it is still to be answered.
    done: Vec<Done>,
    /// What backups were told that is known for certain.
    certain_told: Seen,
    writing: Writing,
    placement: Placement,
    jobs: Jobs,
    /// Links whose peers say no more and have been told something during this event.
    answered: Vec<LinkId>,
    /// Imports that have not been answered.
    imports: Vec<Importing>,
    complaints: Complaints,
    /// When this machine was attended to last.
    attended: Time,
    /// When time-outs are looked at next.
    next_sweep: Time,
    /// When coordinators and workers hear next that we live.
    next_pulse: Time,
    /// When workers hear the BACKUP_LIST next.
    next_heartbeat: Time,
    /// When this one took over from one that was silent, not long ago.
    took_over_in_silence: Vec<Time>,
    /// It has handed over, and ends as soon as it follows somebody, or then.
    leaving: Option<Time>,
    draining: bool,
    ended: bool,
}

/// Whom an attempt to connect is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Dialled {
    Peer(PeerId),
    Worker(ServerId),
}

/// Attempts to connect that are under way.
#[derive(Debug, Default)]
struct Dials {
    under_way: BTreeMap<DialId, Dialled>,
    next: u64,
}

impl Dials {
    fn insert(&mut self, whom: Dialled) -> DialId {
        let dial = DialId(self.next);
        self.next += 1;
        self.under_way.insert(dial, whom);
        dial
    }

    fn finish(&mut self, dial: DialId) -> Dialled {
        self.under_way.remove(&dial).expect("the driver answers each attempt once")
    }
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
        let Recovered { group, seen, users } = recovered;
        let mut peers = Peers::new(limits.redial);
        for address in &config.backups {
            peers.note(now.time, address, None, true);
        }
        for member in group.members.iter().filter(|member| member.id != config.id) {
            peers.note(now.time, &member.address, Some(&member.id), false);
        }
        Coordinator {
            epoch: group.epoch.clone(),
            group,
            reigning: Reigning::Seeking(Seeking::new(now.time, Lost::default())),
            doubt: None,
            rank: None,
            ranks: Vec::new(),
            rng: fastrand::Rng::with_seed(config.seed),
            dials: Dials::default(),
            links: Links::new(limits.clone()),
            peers,
            standbys: Standbys::new(config.require_backups),
            registry: Registry::new(
                config.id.clone(),
                now.wall,
                users,
                seen,
                limits,
                config.require_backups > 0,
            ),
            reserved: WallMillis::default(),
            proposed: Vec::new(),
            batch_copies: 0,
            done: Vec::new(),
            certain_told: Seen::default(),
            writing: Writing::default(),
            placement: Placement::new(limits.clone()),
            jobs: Jobs::default(),
            answered: Vec::new(),
            imports: Vec::new(),
            complaints: Complaints::default(),
            attended: now.time,
            next_sweep: now.time,
            next_pulse: now.time,
            next_heartbeat: now.time + limits.heartbeat,
            took_over_in_silence: Vec::new(),
            leaving: None,
            draining: false,
            ended: false,
            config,
        }
    }

    /// The highest epoch that this coordinator has seen.
    pub fn epoch(&self) -> Option<&Epoch> {
        self.epoch.as_ref()
    }

    /// Checks that every queue and table is within its limit.
    ///
    /// # Panics
    /// Where one is not.
    pub fn assert_bounds(&self) {
        self.links.assert_bounds();
        self.registry.assert_bounds();
        self.placement.assert_bounds();
        self.complaints.assert_bounds();
        self.standbys.assert_bounds(self.config.limits.sync_users);
        assert!(
            self.peers.len() <= self.config.limits.members + self.config.backups.len(),
            "{} peers",
            self.peers.len()
        );
        assert!(self.jobs.hashes() <= self.config.limits.connections, "{} hashes", self.jobs.hashes());
    }
}

impl Machine for Coordinator {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Now, event: Event<Input>, actions: &mut Vec<Action<Effect>>) {
        self.attended = now.time;
        let turn = &mut Turn { now, actions };
        match event {
            Event::Accepted { link, peer } => self.accepted(turn, link, peer),
            Event::Received { link, message, epoch } => self.received(turn, link, message, epoch),
            Event::Malformed { link, error } => self.invalid(turn, link, error.to_string()),
            Event::Wrote { link, bytes } => {
                self.links.wrote(now.time, link, bytes);
                self.feed(turn, link);
                self.feed_backup(turn, link);
                self.upload(turn);
            }
            Event::Ended { link } => self.ended(turn, link),
            Event::Closed { link } => _ = self.forget(turn, link),
            Event::Input(Input::Hashed { job, hash }) => self.hashed(turn, job, hash),
            Event::Input(Input::Verified { job, matches }) => self.verified(turn, job, matches),
            Event::Input(Input::Unhashed { job }) => self.unhashed(turn, job),
            Event::Input(Input::Persisted { job }) => self.persisted(turn, job),
            Event::Input(Input::PersistFailed { job, reason }) => self.persist_failed(turn, job, &reason),
            Event::Input(Input::Drain) => self.leave(turn),
            Event::Dialled { dial, link } => match self.dials.finish(dial) {
                Dialled::Peer(number) => self.greet(turn, number, link),
                Dialled::Worker(id) => self.asked_dialled(turn, &id, dial, Some(link)),
            },
            Event::DialFailed { dial, error } => match self.dials.finish(dial) {
                Dialled::Peer(number) => self.peer_unreachable(turn, number, error),
                Dialled::Worker(id) => self.asked_dialled(turn, &id, dial, None),
            },
            Event::DeadlinePassed => {}
        }
        self.close_answered(turn);
        if !self.ended {
            self.attend(turn);
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.next_attention().filter(|_| !self.ended)
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
        let farewell = Message::from(LoginFailed { info, retry_after, position: false }).encode();
        turn.actions.push(Action::Close { link, farewell });
    }

    fn received(&mut self, turn: &mut Turn<'_>, link: LinkId, message: Message, epoch: Option<Epoch>) {
        let Some(known) = self.links.get(link) else { return };
        let is_server =
            matches!(known.party, Party::Worker(_) | Party::Peer(_) | Party::Greeting(_) | Party::Asked(_));
        if is_server && let Some(absurdity) = self.absurdity(epoch.as_ref()) {
            let whom = self.whom(known);
            self.complain(turn, &whom, &format!("refused a message: {absurdity}"));
            return self.invalid(turn, link, absurdity);
        }
        if let Message::InvalidMessage(complaint) = &message {
            let (whom, is_known) =
                (self.whom(known), matches!(known.party, Party::Worker(_) | Party::Peer(_)));
            self.complain(turn, &whom, &format!("it took us for invalid: {}", complaint.info));
            if is_known {
                self.hear_epoch(turn, epoch.as_ref());
            }
            return self.close(turn, link, None);
        }
        match &known.party {
            Party::Worker(worker) => {
                let id = worker.id.clone();
                self.hear_epoch(turn, epoch.as_ref());
                if self.links.get(link).is_some() {
                    self.hear_worker(turn, link, &id, message);
                }
            }
            Party::Peer(number) => {
                let number = *number;
                self.hear_peer(turn, link, number, message, epoch);
            }
            Party::Greeting(number) => {
                let number = *number;
                self.peer_answered(turn, link, number, message, epoch);
            }
            Party::Asked(id) => {
                let id = id.clone();
                if let Message::MainAnswer(answer) = message {
                    self.main_answer(&id, answer);
                    self.hear_epoch(turn, epoch.as_ref());
                } else {
                    self.close(turn, link, None);
                }
            }
            Party::Holding | Party::Verifying { .. } | Party::Parked { .. } => match message {
                Message::Logout(_) => self.close(turn, link, None),
                _ => self.invalid(
                    turn,
                    link,
                    "a registration, log-in or change is under way on this connection; wait for its answer",
                ),
            },
            Party::Operator => match message {
                Message::Status(status) => self.operator(turn, link, &status),
                Message::RemoveUser(_) | Message::Import(_) | Message::ForgetCoordinator(_) => {
                    self.request(turn, link, message);
                }
                Message::Export(request) => self.export(turn, link, request),
                Message::Logout(_) => self.close(turn, link, None),
                other => self.invalid(
                    turn,
                    link,
                    format!("this connection is an operator's; {} needs another", other.command()),
                ),
            },
            Party::Stranger { .. } => self.hear_stranger(turn, link, message, epoch),
        }
    }

    fn hear_stranger(&mut self, turn: &mut Turn<'_>, link: LinkId, message: Message, epoch: Option<Epoch>) {
        match message {
            Message::Authenticate(request) if !self.knows_secret(turn, link, &request.secret) => {}
            Message::RemoveUser(request) if !self.knows_secret(turn, link, &request.secret) => {}
            Message::ForgetCoordinator(request) if !self.knows_secret(turn, link, &request.secret) => {}
            Message::Import(request) if !self.knows_secret(turn, link, &request.secret) => {}
            Message::Register(_)
            | Message::Login(_)
            | Message::ChangeSecret(_)
            | Message::RemoveUser(_)
            | Message::ForgetCoordinator(_)
            | Message::Import(_)
            | Message::Authenticate(_) => {
                if matches!(message, Message::Authenticate(_)) {
                    if let Some(absurdity) = self.absurdity(epoch.as_ref()) {
                        return self.fail_authentication(turn, link, absurdity);
                    }
                    self.hear_epoch(turn, epoch.as_ref());
                }
                self.request(turn, link, message);
            }
            Message::Logout(_) => self.close(turn, link, None),
            Message::Status(status) => self.operator(turn, link, &status),
            Message::Export(request) => self.export(turn, link, request),
            Message::BackupAuthenticate(request) => self.admit_peer(turn, link, request, epoch),
            Message::ActivityMessage(_) => {
                let info = "log in first; then send activities to the server that REDIRECT names".to_owned();
                self.dismiss(turn, link, AuthenticationFail { info, retry_after: None, taken: false });
            }
            other => {
                self.invalid(turn, link, format!("{} is for servers: authenticate first", other.command()));
            }
        }
    }

    /// What only the main coordinator answers.
    fn request(&mut self, turn: &mut Turn<'_>, link: LinkId, message: Message) {
        match self.disposition(&message) {
            parking::Now::Park => return self.park(turn, link, message),
            parking::Now::Redirect => return self.redirect(turn, link, &message),
            parking::Now::Answer => {}
        }
        match message {
            Message::Register(request) => self.register(turn, link, request),
            Message::Login(request) => self.login(turn, link, request),
            Message::ChangeSecret(request) => self.change_secret(turn, link, request),
            Message::RemoveUser(request) => self.remove_user(turn, link, request),
            Message::ForgetCoordinator(request) => self.forget_coordinator(turn, link, &request),
            Message::Import(request) => self.import(turn, link, request),
            Message::Authenticate(request) => self.authenticate(turn, link, request),
            other => unreachable!("{} is no request", other.command()),
        }
    }

    /// Whoever is at the other end says no more. A client may still wait for the answer to what it said.
    fn ended(&mut self, turn: &mut Turn<'_>, link: LinkId) {
        if !self.owes(link) {
            return self.close(turn, link, None);
        }
        if let Some(known) = self.links.get_mut(link) {
            known.has_ended = true;
        }
        if let Some(job) = self.jobs.of(link) {
            turn.actions.push(Action::Effect(Effect::Doubt { job }));
        }
    }

    /// Whether an answer is under way. A server that says no more is gone, and is owed nothing.
    fn owes(&self, link: LinkId) -> bool {
        match self.links.get(link).map(|known| &known.party) {
            Some(Party::Verifying { .. } | Party::Holding) => true,
            Some(Party::Parked { message, .. }) => !matches!(**message, Message::Authenticate(_)),
            Some(Party::Operator) => {
                self.registry.is_asked_by(link) || self.imports.iter().any(|import| import.link == link)
            }
            _ => false,
        }
    }

    /// Closes the links of those who say no more and have had their answers.
    fn close_answered(&mut self, turn: &mut Turn<'_>) {
        for link in std::mem::take(&mut self.answered) {
            if !self.owes(link) {
                self.close(turn, link, None);
            }
        }
    }

    /// Queues a message for a link that may be gone, or goes now because too much waits.
    fn say(&mut self, turn: &mut Turn<'_>, link: LinkId, message: impl Into<Message>) {
        let Some(known) = self.links.get_mut(link) else { return };
        if known.has_ended {
            self.answered.push(link);
        }
        match known.say(turn.now.time, &message.into(), self.epoch.as_ref()) {
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
        if let Some(gone) = self.forget(turn, link) {
            turn.actions.push(Action::Close { link, farewell: gone.farewell(last, self.epoch.as_ref()) });
        }
    }

    /// Closes a link without a word: its peer does not read.
    fn abandon(&mut self, turn: &mut Turn<'_>, link: LinkId, reason: &str) {
        if let Some(gone) = self.forget(turn, link) {
            warn!(peer = self.whom(&gone), reason, "dropped a connection");
            turn.actions.push(Action::Close { link, farewell: Vec::new() });
        }
    }

    /// Says in the log what is wrong with another server, unless that was said a moment ago.
    fn complain(&mut self, turn: &Turn<'_>, whom: &str, what: &str) {
        if self.complaints.is_news(turn.now.time, whom, what) {
            warn!(whom, "{what}");
        } else {
            debug!(whom, "{what}, again");
        }
    }

    /// Who is at the other end of a link, for people.
    fn whom(&self, link: &links::Link) -> String {
        match &link.party {
            Party::Peer(number) | Party::Greeting(number) => self.peers.name(*number),
            Party::Worker(worker) => worker.id.to_string(),
            Party::Asked(worker) => worker.to_string(),
            _ => link.peer.to_string(),
        }
    }

    /// A link is gone or about to be: nothing remembers it afterwards.
    fn forget(&mut self, turn: &mut Turn<'_>, link: LinkId) -> Option<links::Link> {
        let gone = self.links.remove(link)?;
        match &gone.party {
            Party::Worker(worker) => self.worker_lost(turn, &worker.id, link),
            Party::Peer(number) | Party::Greeting(number) => self.peer_closed(turn, *number, link),
            Party::Asked(id) => self.asked_gone(id, link),
            Party::Verifying { .. } | Party::Holding => self.cancel_hash(turn, link),
            Party::Operator => self.imports.retain(|importing| importing.link != link),
            _ => {}
        }
        Some(gone)
    }

    /// When to try again: at least the limit, at most twice that, so that those refused together do not return together.
    fn retry_after(&mut self) -> Millis {
        let least = self.config.limits.retry_after;
        (least + least.mul_f64(self.rng.f64())).into()
    }
}
