//! What is known of one worker.

use common::id::{Incarnation, LinkId};
use common::time::Time;
use common::user::Username;
use common::wire::{Address, ServerLoad};

use super::balancing::{OnTheWay, Share};
use super::config::Limits;
use super::reservations::Reservations;

/// A worker: where it is, how it is, and who is on the way to it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) address: Address,
    pub(super) link: Option<LinkId>,
    /// Which start of it this is; unknown of one that is connected elsewhere.
    pub(super) incarnation: Option<Incarnation>,
    pub(super) phase: Phase,
    /// Clients that it carries, and those of them that it can move.
    pub(super) load: u64,
    pub(super) movable: u64,
    pub(super) reservations: Reservations,
    /// Who moves here from other workers, and from here to others.
    pub(super) coming: OnTheWay,
    pub(super) going: OnTheWay,
    pub(super) heard: Time,
    /// Whether it has said nothing for longer than it should, as far as that was looked at.
    pub(super) silent: bool,
    /// The number of the choice that fell on it last.
    pub(super) chosen: u64,
}

/// Whether a worker takes clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not yet: it is still asking others for what it missed.
    Recovering,
    /// It does.
    Open,
    /// No more: it is about to leave.
    Leaving,
}

impl Worker {
    /// One that is not connected.
    pub(super) fn new(now: Time, address: Address, limits: &Limits) -> Self {
        Worker {
            address,
            link: None,
            incarnation: None,
            phase: Phase::Open,
            load: 0,
            movable: 0,
            reservations: Reservations::new(limits.reservations),
            coming: OnTheWay::default(),
            going: OnTheWay::default(),
            heard: now,
            silent: false,
            chosen: 0,
        }
    }

    /// Whether it takes clients.
    pub(super) fn is_open(&self) -> bool {
        self.link.is_some() && self.phase == Phase::Open
    }

    /// Whether it is connected and still catches up.
    pub(super) fn is_recovering(&self) -> bool {
        self.link.is_some() && self.phase == Phase::Recovering
    }

    /// Something came from it.
    pub(super) fn heard(&mut self, now: Time) {
        (self.heard, self.silent) = (now, false);
    }

    /// Whether its link stands, and something came over it lately.
    pub(super) fn lives(&self, now: Time, limits: &Limits) -> bool {
        self.link.is_some() && now.since(self.heard) < limits.worker_doubt
    }

    /// Its link is gone: nobody is on the way to it, or from it, that we could count on.
    pub(super) fn disconnect(&mut self) {
        (self.link, self.silent) = (None, false);
        self.reservations.clear();
        (self.coming, self.going) = (OnTheWay::default(), OnTheWay::default());
    }

    /// It carries so many clients. Says whether that has changed.
    pub(super) fn set_load(&mut self, load: u64) -> bool {
        let before = std::mem::replace(&mut self.load, load);
        self.going.seen(before.saturating_sub(load));
        before != load
    }

    /// It says how it is, beside its load.
    pub(super) fn take(&mut self, said: &ServerLoad) {
        self.movable = said.movable;
        self.phase = match self.phase {
            Phase::Leaving => Phase::Leaving,
            _ if said.recovering => Phase::Recovering,
            _ => Phase::Open,
        };
    }

    /// A client has arrived: one that was sent here, or moved here, or neither.
    pub(super) fn arrived(&mut self, username: &Username) {
        if !self.reservations.consume(username) {
            self.coming.seen(1);
        }
    }

    /// Forgets the clients that are no longer waited for, and sees whether it has gone silent.
    pub(super) fn look(&mut self, now: Time, limits: &Limits) {
        self.silent = self.link.is_some() && !self.lives(now, limits);
        self.reservations.expire(now);
        self.coming.expire(now);
        self.going.expire(now);
    }

    /// Clients that were sent here and have not arrived.
    pub(super) fn expected(&self) -> u64 {
        self.reservations.len() as u64 + self.coming.count()
    }

    /// Its load once everybody is where they were sent.
    pub(super) fn effective_load(&self) -> u64 {
        self.load.saturating_add(self.expected()).saturating_sub(self.going.count())
    }

    /// What it carries, to be evened out.
    pub(super) fn share(&self) -> Share {
        Share {
            load: self.effective_load(),
            movable: self.movable,
            going: self.going.count(),
            coming: self.coming.count(),
        }
    }
}
