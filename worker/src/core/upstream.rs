//! The connection to the coordinator: which one to dial and when, and whether it works.
//!
//! Coordinators are tried in the order of the BACKUP_LIST, then those that were configured. When a link that has stood for a while is lost,
//! the first round is made without a pause: a backup is about to take over, and finding it is all there is to do. After that a pause
//! precedes each attempt, so that a network without a coordinator is not hammered. In the first round nobody is waited for who does not
//! even accept the connection: the host may be cut off, and others are there.
//!
//! Whoever a coordinator names as the main one is tried at once, also then.
//!
//! **Invariants.** At most one attempt or link at a time. While none works, another attempt is always ahead. However coordinators send us
//! to and fro, the attempts that are made without a pause are few until a link has stood for the failure time-out.

use std::collections::BTreeSet;
use std::time::Duration;

use common::backoff::Backoff;
use common::epoch::Epoch;
use common::id::{LinkId, ServerId};
use common::limits;
use common::outbox::{Outbox, OutboxFull};
use common::time::Time;
use common::wire::{Address, BackupEntry, Message, Role};

use super::config::Limits;

/// How often it is said that no coordinator can be reached, and why one does not let us in.
const COMPLAINT: Duration = Duration::from_secs(10);

/// Attempts that are made without a pause where a coordinator has sent us on, however long none worked. One leads from a backup to the main
/// coordinator; a second and a third may be needed while it changes.
const SENT_ON: usize = 4;

/// The way up.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Whom the operator named.
    configured: Vec<Address>,
    /// The coordinators as the main one listed them last: itself, those that take over after it in their order, others of the group.
    listed: Vec<BackupEntry>,
    /// In which order to try: the listed ones, then who else was configured.
    order: Vec<Address>,
    /// Which of `order` is tried now or next.
    turn: usize,
    /// Who is tried instead, having been named by a coordinator alone.
    detour: Option<Address>,
    /// Where the coordinator that we are about to leave has sent us.
    sent_on: Option<Address>,
    /// The coordinator that we are about to leave has ended a link that worked.
    shut_out: bool,
    /// Attempts since a link last stood for the failure time-out.
    attempts: usize,
    /// How many of them a coordinator has sent us on.
    detours: usize,
    backoff: Backoff,
    state: State,
    outbox: Outbox,
    /// Somebody has let us in since we started.
    was_let_in: bool,
    /// Who has refused us for good.
    refused_by: BTreeSet<Address>,
    /// Since when we are not let in any more, because another worker bears our id.
    taken: Option<Time>,
    complained: Option<Time>,
    /// Why somebody did not let us in, and when that was said.
    refusal: Option<(Time, String)>,
    limits: Limits,
}

#[derive(Debug)]
enum State {
    /// Nothing before then.
    Resting(Time),
    /// An attempt to connect, which is given up then in favour of the next coordinator; `None`: the driver's patience decides.
    Dialling(Option<Time>),
    /// AUTHENTICATE is sent. It is to be answered by then.
    Greeting { link: LinkId, until: Time },
    /// It works.
    Established { link: LinkId, id: ServerId, since: Time, heard: Time },
}

impl Upstream {
    /// No link yet; the first attempt is due at `now`. `remembered` is the BACKUP_LIST of an earlier run.
    pub(super) fn new(
        now: Time,
        configured: Vec<Address>,
        remembered: Vec<BackupEntry>,
        limits: &Limits,
    ) -> Self {
        assert!(!configured.is_empty(), "a worker knows at least one coordinator");
        let mut upstream = Upstream {
            order: configured.clone(),
            configured,
            listed: Vec::new(),
            turn: 0,
            detour: None,
            sent_on: None,
            shut_out: false,
            attempts: 0,
            detours: 0,
            backoff: Backoff::default(),
            state: State::Resting(now),
            outbox: Outbox::new(limits.server_outbox_bytes),
            was_let_in: false,
            refused_by: BTreeSet::new(),
            taken: None,
            complained: None,
            refusal: None,
            limits: limits.clone(),
        };
        upstream.learn(remembered);
        upstream.go_to_turn(0);
        upstream
    }

    /// The coordinator that is spoken to, or tried now or next.
    pub(super) fn address(&self) -> &Address {
        self.detour.as_ref().unwrap_or(&self.order[self.turn])
    }

    /// Whether a coordinator has let us in and the link stands.
    pub(super) fn is_established(&self) -> bool {
        matches!(self.state, State::Established { .. })
    }

    /// The main coordinator, where it has let us in and was heard within the failure time-out.
    pub(super) fn heard_main(&self, now: Time) -> Option<&ServerId> {
        match &self.state {
            State::Established { id, heard, .. } if now.since(*heard) < self.limits.failure_timeout => {
                Some(id)
            }
            _ => None,
        }
    }

    /// The coordinator refuses us for good. Says whether that means that this worker is set up wrongly: nobody has ever let it in, and this
    /// is the last of those whom its operator named that does so.
    pub(super) fn refused_for_good(&mut self) -> bool {
        let address = self.address().clone();
        let is_named = self.configured.contains(&address);
        // Nobody else is remembered: a list may be long, and change.
        if is_named {
            self.refused_by.insert(address);
        }
        let by_all = self.configured.iter().all(|named| self.refused_by.contains(named));
        is_named && !self.was_let_in && by_all
    }

    /// The coordinators as the main one listed them last, itself first.
    pub(super) fn listed(&self) -> &[BackupEntry] {
        &self.listed
    }

    /// The link, working or not yet.
    pub(super) fn link(&self) -> Option<LinkId> {
        match self.state {
            State::Greeting { link, .. } | State::Established { link, .. } => Some(link),
            State::Resting(_) | State::Dialling(_) => None,
        }
    }

    /// When to ask whether to dial, and whether the link is overdue.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Resting(until) | State::Greeting { until, .. } => Some(until),
            State::Established { heard, .. } => Some(heard + self.limits.failure_timeout),
            State::Dialling(until) => until,
        }
    }

    /// Whom to dial now, if it is time. The attempt counts as begun.
    pub(super) fn due(&mut self, now: Time) -> Option<Address> {
        match self.state {
            State::Resting(until) if until <= now => {
                self.attempts += 1;
                let others_first = self.order.len() > 1 && self.backoff.attempts() == 0;
                self.state = State::Dialling(others_first.then(|| now + self.limits.first_dial));
                Some(self.address().clone())
            }
            _ => None,
        }
    }

    /// Why the attempt is to be given up or the link closed, if it is.
    pub(super) fn overdue(&self, now: Time) -> Option<&'static str> {
        self.deadline().filter(|deadline| *deadline <= now)?;
        match self.state {
            State::Greeting { .. } => Some("it did not answer AUTHENTICATE"),
            State::Established { .. } => Some("it went silent"),
            State::Dialling(_) => Some("no connection could be made in time"),
            State::Resting(_) => None,
        }
    }

    /// The attempt succeeded.
    pub(super) fn dialled(&mut self, now: Time, link: LinkId) {
        assert!(matches!(self.state, State::Dialling(_)), "only what was dialled succeeds");
        self.state = State::Greeting { link, until: now + self.limits.server_answer };
    }

    /// The coordinator, whose name is `id`, has let us in.
    pub(super) fn established(&mut self, now: Time, id: ServerId) {
        let link = self.link().expect("somebody let us in");
        self.state = State::Established { link, id, since: now, heard: now };
        self.was_let_in = true;
        self.taken = None;
    }

    /// The coordinator says that another worker bears our id, and lives. Says whether that one has taken our place for good: we had been
    /// let in, and what was last heard from an earlier start of ourselves is no sign of life any more.
    pub(super) fn id_is_taken(&mut self, now: Time) -> bool {
        self.was_let_in && now.since(*self.taken.get_or_insert(now)) > limits::WORKER_DOUBT
    }

    /// Until when what the coordinator says of that may be right, where it has said so and not let us in since.
    pub(super) fn doubted_until(&self) -> Option<Time> {
        Some(self.taken.filter(|_| self.was_let_in)? + limits::WORKER_DOUBT * 4)
    }

    /// Something was heard from the coordinator.
    pub(super) fn heard(&mut self, now: Time) {
        if let State::Established { heard, since, .. } = &mut self.state {
            *heard = now;
            if now.since(*since) >= self.limits.failure_timeout {
                (self.attempts, self.detours) = (0, 0);
                self.backoff.reset();
                self.complained = None;
            }
        }
    }

    /// The attempt failed or the link is gone: the next coordinator is tried, or the one that this one has sent us to. Returns what had not
    /// been written.
    pub(super) fn lost(&mut self, now: Time, rng: &mut fastrand::Rng, reason: &str) -> Vec<u8> {
        let mut at_once = self.attempts < self.order.len();
        match self.sent_on.take() {
            Some(address) => {
                self.detours += 1;
                at_once |= self.detours <= SENT_ON;
                self.go_to(address);
            }
            None => {
                self.complain(now, reason);
                self.go_to_turn((self.turn + 1) % self.order.len());
            }
        }
        let pause = match () {
            () if std::mem::take(&mut self.shut_out) => limits::RECONNECT.1.mul_f64((1.0 + rng.f64()) / 2.0),
            () if at_once => Duration::ZERO,
            () => self.backoff.next(rng),
        };
        self.state = State::Resting(now + pause);
        std::mem::replace(&mut self.outbox, Outbox::new(self.limits.server_outbox_bytes)).farewell(None)
    }

    /// The coordinator has ended a link that worked: the next attempt comes after a long pause, for another worker that bears our id
    /// may have taken our place, and would be driven out in its turn.
    pub(super) fn shut_out(&mut self) {
        self.shut_out = true;
    }

    /// The coordinator says that we should go to `address`: that is tried next, once its own link is [`lost`](Self::lost).
    pub(super) fn send_on(&mut self, address: Address) {
        self.sent_on = Some(address);
    }

    /// The coordinators, as the main one lists them. Who was configured stays, last. Says whether this is news.
    pub(super) fn learn(&mut self, list: Vec<BackupEntry>) -> bool {
        let of = |role| move |entry: &&BackupEntry| entry.role == role;
        let mains = list.iter().filter(of(Role::Main)).take(1);
        let others = list.iter().filter(of(Role::Backup)).chain(list.iter().filter(of(Role::Seeking)));
        let listed = mains.chain(others).take(limits::MEMBERS);
        let listed: Vec<BackupEntry> = listed.cloned().collect();
        if listed.is_empty() || listed == self.listed {
            return false;
        }
        let current = self.address().clone();
        self.order.clear();
        for address in listed.iter().map(|entry| &entry.address).chain(&self.configured) {
            if !self.order.contains(address) {
                self.order.push(address.clone());
            }
        }
        self.listed = listed;
        match self.listed_as() {
            // It may have been dialled by another name.
            Some(address) => self.go_to(address),
            None => self.go_to(current),
        }
        true
    }

    /// Where the main coordinator listens, where the list names another one than that which has let us in.
    pub(super) fn main_elsewhere(&self) -> Option<Address> {
        let State::Established { id, .. } = &self.state else { return None };
        let main = self.listed.first().filter(|first| first.role == Role::Main)?;
        (main.id.as_ref()? != id).then(|| main.address.clone())
    }

    /// Queues a message for the coordinator, which carries `epoch`.
    ///
    /// # Errors
    /// Too much waits already. Nothing was queued.
    pub(super) fn push(
        &mut self,
        now: Time,
        message: &Message,
        epoch: Option<&Epoch>,
    ) -> Result<LinkId, OutboxFull> {
        let link = self.link().expect("there is a link to push to");
        self.outbox.push_at(now, message, epoch).map(|()| link)
    }

    /// What is to be written next.
    pub(super) fn output(&self) -> &[u8] {
        self.outbox.pending()
    }

    /// The first `bytes` of the output have been written.
    pub(super) fn wrote(&mut self, now: Time, bytes: usize) {
        self.outbox.wrote(now, bytes);
    }

    /// Asserts that no more waits than may.
    pub(super) fn assert_bounds(&self) {
        assert!(
            self.outbox.len() <= self.limits.server_outbox_bytes,
            "{} bytes wait upstream",
            self.outbox.len()
        );
        assert!(self.listed.len() <= limits::MEMBERS, "{} coordinators", self.listed.len());
    }

    /// Where the list says that the coordinator listens that has let us in.
    fn listed_as(&self) -> Option<Address> {
        let State::Established { id: ours, .. } = &self.state else { return None };
        let entry = self.listed.iter().find(|entry| entry.id.as_ref() == Some(ours))?;
        Some(entry.address.clone())
    }

    fn go_to(&mut self, address: Address) {
        match self.order.iter().position(|known| *known == address) {
            Some(turn) => self.go_to_turn(turn),
            None => {
                // The order is walked from its start when the detour is over.
                self.go_to_turn(self.order.len() - 1);
                self.detour = Some(address);
            }
        }
    }

    fn go_to_turn(&mut self, turn: usize) {
        self.turn = turn;
        self.detour = None;
    }

    /// Somebody has been told what is wrong with this coordinator, or that we leave: that it will be gone in a moment needs no second sentence.
    pub(super) fn complained(&mut self, now: Time) {
        self.complained = Some(now);
    }

    /// The coordinator does not let us in. The same is not said at every attempt.
    pub(super) fn refused(&mut self, now: Time, info: &str) {
        let known = |(at, said): &(Time, String)| said == info && now.since(*at) < COMPLAINT;
        if !self.refusal.as_ref().is_some_and(known) {
            let coordinator = self.address();
            tracing::warn!(%coordinator, "the coordinator does not let us in: {info}");
            self.refusal = Some((now, info.to_owned()));
        }
        self.complained(now);
    }

    fn complain(&mut self, now: Time, reason: &str) {
        if self.complained.is_none_or(|at| now.since(at) >= COMPLAINT) {
            let coordinator = self.address();
            tracing::warn!(%coordinator, "no coordinator: {reason}; trying on, and serving who is here");
            self.complained = Some(now);
        }
    }
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
