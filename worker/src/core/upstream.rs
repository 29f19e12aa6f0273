//! The connection to the coordinator: which one to dial and when, and whether it works.
//!
//! **Invariant.** At most one attempt or link at a time. While none works, another attempt is always ahead.

use common::backoff::Backoff;
use common::id::LinkId;
use common::outbox::{Outbox, OutboxFull};
use common::time::Time;
use common::wire::{Address, BackupEntry, Message, Role};

use super::config::Limits;

/// How often it is said that no coordinator can be reached.
const COMPLAINT: std::time::Duration = std::time::Duration::from_secs(10);

/// The way up.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Whom the operator named.
    configured: Vec<Address>,
    /// In which order to try; the BACKUP_LIST's first, then who else was configured.
    order: Vec<Address>,
    /// Which of `order` is tried now or next.
    turn: usize,
    backoff: Backoff,
    state: State,
    outbox: Outbox,
    complained: Option<Time>,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing before then.
    Resting(Time),
    Dialling,
    /// AUTHENTICATE is sent. It is to be answered by then.
    Greeting(LinkId, Time),
    /// It works; when it was last heard.
    Established(LinkId, Time),
}

impl Upstream {
    /// No link yet; the first attempt is due at `now`.
    pub(super) fn new(now: Time, configured: Vec<Address>, limits: &Limits) -> Self {
        assert!(!configured.is_empty(), "a worker knows at least one coordinator");
        Upstream {
            order: configured.clone(),
            configured,
            turn: 0,
            backoff: Backoff::default(),
            state: State::Resting(now),
            outbox: Outbox::new(limits.server_outbox_bytes),
            complained: None,
            limits: limits.clone(),
        }
    }

    /// The coordinator that is spoken to, or tried now or next.
    pub(super) fn address(&self) -> &Address {
        &self.order[self.turn]
    }

    /// Whether a coordinator has let us in and the link stands.
    pub(super) fn is_established(&self) -> bool {
        matches!(self.state, State::Established(..))
    }

    /// The link, working or not yet.
    pub(super) fn link(&self) -> Option<LinkId> {
        match self.state {
            State::Greeting(link, _) | State::Established(link, _) => Some(link),
            State::Resting(_) | State::Dialling => None,
        }
    }

    /// When to ask whether to dial.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Resting(until) => Some(until),
            _ => None,
        }
    }

    /// Whom to dial now, if it is time. The attempt counts as begun.
    pub(super) fn due(&mut self, now: Time) -> Option<Address> {
        self.deadline().filter(|at| *at <= now)?;
        self.state = State::Dialling;
        Some(self.address().clone())
    }

    /// The attempt succeeded.
    pub(super) fn dialled(&mut self, now: Time, link: LinkId) {
        assert!(matches!(self.state, State::Dialling), "only what was dialled succeeds");
        self.state = State::Greeting(link, now + self.limits.server_answer);
    }

    /// The coordinator has let us in.
    pub(super) fn established(&mut self, now: Time) {
        let link = self.link().expect("somebody let us in");
        self.state = State::Established(link, now);
        self.backoff.reset();
        self.complained = None;
    }

    /// Something was heard from the coordinator.
    pub(super) fn heard(&mut self, now: Time) {
        if let State::Established(_, heard) = &mut self.state {
            *heard = now;
        }
    }

    /// The attempt failed or the link is gone: the next coordinator is tried after a pause. Returns what had not been written.
    pub(super) fn lost(&mut self, now: Time, rng: &mut fastrand::Rng, reason: &str) -> Vec<u8> {
        let address = self.address().to_string();
        if self.complained.is_none_or(|at| now.since(at) >= COMPLAINT) {
            tracing::warn!(coordinator = %address, "no coordinator: {reason}; trying on, and serving who is here");
            self.complained = Some(now);
        }
        self.turn = (self.turn + 1) % self.order.len();
        self.state = State::Resting(now + self.backoff.next(rng));
        std::mem::replace(&mut self.outbox, Outbox::new(self.limits.server_outbox_bytes)).farewell(None)
    }

    /// Why the link is to be closed, if it is: an AUTHENTICATE unanswered, or silence.
    pub(super) fn overdue(&self, now: Time) -> Option<&'static str> {
        match self.state {
            State::Greeting(_, until) if until <= now => Some("it did not answer AUTHENTICATE"),
            State::Established(_, heard) if now.since(heard) >= self.limits.server_silence => {
                Some("it went silent")
            }
            _ => None,
        }
    }

    /// The coordinators, as the main one lists them. Who was configured stays, last.
    pub(super) fn learn(&mut self, list: Vec<BackupEntry>) {
        let current = self.address().clone();
        let is = |role| move |entry: &&BackupEntry| entry.role == role;
        let listed = list.iter().filter(is(Role::Main)).chain(list.iter().filter(is(Role::Backup)));
        let mut order: Vec<Address> = Vec::new();
        for address in listed.map(|entry| &entry.address).chain(&self.configured) {
            if !order.contains(address) {
                order.push(address.clone());
            }
        }
        // One that is known by another name than it was dialled by keeps its place until it is lost.
        self.turn = order.iter().position(|address| *address == current).unwrap_or(order.len() - 1);
        self.order = order;
    }

    /// Queues a message for the coordinator.
    ///
    /// # Errors
    /// Too much waits already. Nothing was queued.
    pub(super) fn push(&mut self, now: Time, message: &Message) -> Result<LinkId, OutboxFull> {
        let link = self.link().expect("there is a link to push to");
        self.outbox.push(now, message).map(|()| link)
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
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use slotmap::SlotMap;

    use super::*;

    fn address(port: u16) -> Address {
        Address::new("h", port).unwrap()
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn coordinators_are_tried_in_turn_for_ever() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut upstream = Upstream::new(at(0), vec![address(1), address(2)], &Limits::default());
        let mut tried = Vec::new();
        for attempt in 0..4 {
            let now = at(attempt * 10);
            tried.push(upstream.due(now).unwrap().port);
            assert_eq!(upstream.due(now), None, "one attempt at a time");
            upstream.lost(now, &mut rng, "refused");
        }
        assert_eq!(tried, [1, 2, 1, 2]);
    }

    #[test]
    fn silence_and_an_unanswered_greeting_are_overdue() {
        let link = SlotMap::<LinkId, ()>::with_key().insert(());
        let mut upstream = Upstream::new(at(0), vec![address(1)], &Limits::default());
        upstream.due(at(0));
        upstream.dialled(at(0), link);
        assert_eq!((upstream.overdue(at(4)), upstream.overdue(at(5)).is_some()), (None, true));
        upstream.established(at(4));
        upstream.heard(at(5));
        assert_eq!((upstream.overdue(at(24)), upstream.overdue(at(25)).is_some()), (None, true));
    }

    #[test]
    fn the_backup_list_says_whom_to_try_and_the_configured_ones_come_last() {
        let mut upstream = Upstream::new(at(0), vec![address(1), address(3)], &Limits::default());
        let entry = |port, role| BackupEntry { address: address(port), role };
        upstream.learn(vec![entry(2, Role::Backup), entry(1, Role::Main), entry(9, Role::Worker)]);
        assert_eq!(upstream.order, [address(1), address(2), address(3)]);
        assert_eq!(*upstream.address(), address(1));
    }
}
