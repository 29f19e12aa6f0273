//! Whom to connect as, where to, and what to receive.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use common::user::{Secret, Username};
use common::wire::{Address, PartialBudget};

use crate::core::{self, Position, RegisterMode, Start};
use crate::memory::Memory;
use crate::shell::{self, Receive};

/// Whom to connect as, and where to.
#[derive(Clone, Debug)]
pub struct Options {
    /// The coordinators, in the order in which to try them, after those that are remembered.
    pub coordinators: Vec<Address>,
    /// Whose session it is.
    pub username: Username,
    /// The user's secret; `anonymous` needs none.
    pub secret: Option<Secret>,
    /// Whether to register the name first.
    pub register: RegisterMode,
    /// Whether to start again after a failure, which is the default.
    pub reconnect: bool,
    /// Which activities to hand up.
    pub receive: Receive,
    /// Whether to be told who else is online; by default not.
    pub presence: bool,
    /// Which activities of before to receive; by default none.
    pub start: Start,
    /// Counts the activities that arrive. Sessions may share one.
    pub received: Arc<AtomicU64>,
    /// Bounds what unfinished lines hold. Sessions of one process should share one.
    pub partial_budget: PartialBudget,
    /// A directory in which the network's servers are remembered; by default there is none.
    pub remember: Option<PathBuf>,
}

impl Options {
    /// As `anonymous`, at this coordinator; everything else is said with the other methods.
    pub fn new(coordinator: Address) -> Self {
        Options {
            coordinators: vec![coordinator],
            username: Username::anonymous(),
            secret: None,
            register: RegisterMode::No,
            reconnect: true,
            receive: Receive::Everything,
            presence: false,
            start: Start::Now,
            received: Arc::default(),
            partial_budget: PartialBudget::default(),
            remember: None,
        }
    }

    /// As this user.
    pub fn user(mut self, username: Username, secret: Secret) -> Self {
        self.username = username;
        self.secret = Some(secret);
        self
    }

    /// Registers the name first where it is not registered.
    pub fn register_if_missing(mut self) -> Self {
        self.register = RegisterMode::IfMissing;
        self
    }

    /// Also tries this coordinator.
    pub fn or_at(mut self, coordinator: Address) -> Self {
        self.coordinators.push(coordinator);
        self
    }

    /// Hands up these activities only. One who publishes and never asks for activities says [`Receive::Nothing`]: a session whose
    /// activities nobody takes stops reading, and is dropped by its worker.
    pub fn receive(mut self, receive: Receive) -> Self {
        self.receive = receive;
        self
    }

    /// Begins with everything that came after this position: what [`Client::position`](super::Client::position) said, perhaps in
    /// another process. What the network no longer has is told with [`Event::Resumed`](super::Event::Resumed). A position of another
    /// network ends the session.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let kept = "net-9f1c2e7ad04b6358@worker-1c9e04d7/8d3f61c2a90e57b4/0-41+43";
    /// let options = client::Options::new("127.0.0.1:3780".parse()?).resume(kept.parse()?);
    /// # let _ = options; Ok(()) }
    /// ```
    pub fn resume(mut self, position: Position) -> Self {
        self.start = Start::After(position);
        self
    }

    /// Begins with so many of the latest activities, or as many as the network still has.
    pub fn last(mut self, count: u64) -> Self {
        self.start = Start::Last(count);
        self
    }

    /// Tells who else is online, with [`Event::Presence`](super::Event::Presence): everybody whenever the session is live, and then who
    /// comes and goes.
    pub fn presence(mut self) -> Self {
        self.presence = true;
        self
    }

    /// Remembers the network's servers in this directory, which is made where it is missing: in one file, which belongs to this user alone,
    /// for each coordinator named here. With it, the network is found although they are gone; where all coordinators are, a worker may let
    /// a known user in. Sessions may share it.
    pub fn remember(mut self, directory: impl Into<PathBuf>) -> Self {
        self.remember = Some(directory.into());
        self
    }

    /// Ends at the first failure instead of starting again.
    pub fn once(mut self) -> Self {
        self.reconnect = false;
        self
    }

    pub(super) fn split(self) -> (core::Config, shell::Options) {
        let memory = self.remember.map(|directory| Memory::new(directory, &self.coordinators));
        let remembered = memory.as_ref().map_or_else(Vec::new, Memory::recall);
        let config = core::Config {
            coordinators: self.coordinators,
            remembered,
            username: self.username,
            secret: self.secret,
            register: self.register,
            reconnect: self.reconnect,
            session: Some(core::Session::new(random_key())),
            presence: self.presence,
            start: self.start,
            resume: self.receive != Receive::Nothing,
            seed: common::boot::random_seed(),
            limits: core::Limits::default(),
        };
        let options = shell::Options {
            receive: self.receive,
            received: self.received,
            partial_budget: self.partial_budget,
            memory,
        };
        (config, options)
    }
}

fn random_key() -> u128 {
    u128::from(common::boot::random_seed()) << 64 | u128::from(common::boot::random_seed())
}
