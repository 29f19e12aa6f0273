//! A process: a place where machines start, run and die.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use common::id::LinkId;
use common::time::{Now, Time, WallMillis};
use common::wire::Address;
use slotmap::SlotMap;

use super::network::{ConnId, Side};
use super::{Due, ProcessId};

/// Where every wall clock starts: some day in 2026.
const EPOCH: u64 = 1_790_000_000_000;

/// How often a process may try to connect to others within [`STORM`]: far more often than any that pauses between its attempts.
const DIALS: usize = 200;

/// See [`DIALS`].
const STORM: Duration = Duration::from_secs(10);

/// One process of the simulated network. It keeps its name and address however often it dies; everything else dies with it.
#[derive(Debug)]
pub struct Process<M> {
    /// What the trace calls it.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// What runs there; nothing while it is down.
    pub machine: Option<M>,
    /// How often it was started. What was meant for an earlier run never reaches a later one.
    pub run: u32,
    /// Whether it takes connections.
    pub(super) accepting: bool,
    /// Its machine is without power: nobody even refuses connections.
    pub(super) dark: bool,
    /// Whether what it says is shown as soon as it says it.
    pub(super) overheard: bool,
    /// Stopped by the system: nothing happens to it until it is resumed.
    pub(super) paused: bool,
    /// The next connection that it closes it closes half: it says no more, and listens.
    pub(super) closes_half: bool,
    /// Whether it reads its connections.
    pub(super) reading: bool,
    /// What waits for it to be resumed, or to read again.
    pub(super) parked: Vec<Due>,
    pub(super) links: SlotMap<LinkId, (ConnId, Side)>,
    /// The deadline that the queue holds for it.
    pub(super) wake: Option<Time>,
    /// Deadlines that passed in a row without time passing.
    pub(super) spins: u32,
    /// When it last tried to connect to somebody, oldest first.
    dials: VecDeque<Time>,
    started: Time,
    skew_ms: i64,
}

impl<M> Process<M> {
    pub(super) fn new(name: String, address: Address) -> Self {
        Process {
            name,
            address,
            machine: None,
            run: 0,
            accepting: false,
            dark: false,
            overheard: false,
            paused: false,
            closes_half: false,
            reading: true,
            parked: Vec::new(),
            links: SlotMap::with_key(),
            wake: None,
            spins: 0,
            dials: VecDeque::new(),
            started: Time::ZERO,
            skew_ms: 0,
        }
    }

    /// Makes place for a new run.
    pub(super) fn begin(&mut self, now: Time) {
        assert!(self.machine.is_none(), "{} runs already", self.name);
        let (name, address) = (std::mem::take(&mut self.name), self.address.clone());
        *self = Process {
            run: self.run + 1,
            skew_ms: self.skew_ms,
            overheard: self.overheard,
            closes_half: self.closes_half,
            started: now,
            ..Process::new(name, address)
        };
        self.accepting = true;
    }

    /// The run ends.
    pub(super) fn end(&mut self) {
        self.machine = None;
        self.accepting = false;
        self.paused = false;
        self.reading = true;
        self.wake = None;
        self.links.clear();
    }

    /// It tries to connect to somebody.
    ///
    /// # Panics
    /// When it does little else.
    pub(super) fn dials(&mut self, now: Time) {
        self.dials.push_back(now);
        while self.dials.front().is_some_and(|first| now.since(*first) > STORM) {
            self.dials.pop_front();
        }
        let dials = self.dials.len();
        assert!(dials <= DIALS, "{} storms: it dials {dials} times within {STORM:?}", self.name);
    }

    /// Whether something runs here.
    pub fn is_up(&self) -> bool {
        self.machine.is_some()
    }

    /// Whether it runs, and is stopped by the system.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether it is down for want of power.
    pub fn is_dark(&self) -> bool {
        self.dark
    }

    /// What its own clocks show. The monotonic one starts with the process: times of two processes have nothing in common.
    pub fn clocks(&self, now: Time) -> Now {
        let millis = EPOCH + now.as_micros() / 1000;
        Now {
            time: Time::from_micros(now.since(self.started).as_micros() as u64),
            wall: WallMillis(millis.saturating_add_signed(self.skew_ms)),
        }
    }

    /// When its own clock shows `local`.
    pub(super) fn when(&self, local: Time) -> Time {
        self.started + Duration::from_micros(local.as_micros())
    }

    /// Sets its wall clock off by `millis`.
    pub(super) fn skew(&mut self, millis: i64) {
        self.skew_ms = millis;
    }
}

/// An address like no other, for process number `number`.
pub(super) fn address_of(number: usize) -> (IpAddr, Address) {
    let ip = IpAddr::V4(Ipv4Addr::new(10, 0, (number / 250) as u8, (number % 250 + 1) as u8));
    (ip, Address::new(ip.to_string(), 3780).expect("an IP address is a hostname"))
}

impl ProcessId {
    /// The address that peers see.
    pub(super) fn ip(self) -> IpAddr {
        address_of(self.0).0
    }
}
