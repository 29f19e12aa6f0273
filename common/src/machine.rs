//! The one shape of every machine in Freshet.
//!
//! A machine is a state machine and nothing else: no socket, no clock, no thread, no file, no randomness of its own. Whoever
//! drives it (the tokio shell in [`crate::net`], or the simulator in `tests`) tells it what happened ([`Event`]), does what it
//! asks for ([`Action`]), reads what it has to say on a link ([`Machine::output`]) and wakes it at its
//! [`deadline`](Machine::deadline). Nothing else crosses.
//!
//! Bytes to send are *pulled*: a machine says [`Action::Flush`], the driver writes a prefix of `output(link)`, and reports how
//! much with [`Event::Wrote`]. So a machine always knows what has not left yet, back-pressure is its decision, and a worker
//! can let the driver write straight from its log. And before a driver reads from a link it asks the machine when
//! ([`Machine::read_after`]), so that back-pressure reaches those who send.
//!
//! **Invariants.** A driver delivers the events of one link in order: `Accepted` or `Dialled` first, nothing received after `Ended`,
//! `Closed` last, nothing after `Closed` or after the machine's own `Action::Close`. A machine never acts on a link that it has not been
//! told of. The same events at the same times give the same actions.

use std::net::IpAddr;

use crate::epoch::Epoch;
use crate::id::LinkId;
use crate::time::{Now, Time};
use crate::wire::{Address, Message, WireError};

/// A state machine that a driver can run.
pub trait Machine {
    /// What it is told beside the network: results of its own effects, wishes of its user.
    type Input;
    /// What it asks for beside the network: a disk write, a password hash, something to show.
    type Effect;

    /// Takes one event and appends what is to be done, in order.
    fn handle(&mut self, now: Now, event: Event<Self::Input>, actions: &mut Vec<Action<Self::Effect>>);

    /// When to call [`handle`](Self::handle) with [`Event::DeadlinePassed`] if nothing happens before.
    fn deadline(&self) -> Option<Time>;

    /// The bytes that wait to be written to `link`: one contiguous run, not necessarily all. Empty: nothing waits.
    fn output(&self, link: LinkId) -> &[u8];

    /// Before when nothing is to be read from `link`; `None` where it is to be read as it comes. A driver asks each time before it
    /// reads. What is not read waits at its sender, who so learns to send more slowly.
    fn read_after(&self, _link: LinkId) -> Option<Time> {
        None
    }
}

/// The machine's own number for a connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// The machine's own number for an effect whose result comes back as an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// What a machine is told.
#[derive(Debug)]
pub enum Event<I> {
    /// Somebody connected.
    Accepted {
        /// The new link.
        link: LinkId,
        /// The peer's address, for logs and limits.
        peer: IpAddr,
    },
    /// An attempt of ours succeeded.
    Dialled {
        /// The attempt, as numbered in [`Action::Dial`].
        dial: DialId,
        /// The new link.
        link: LinkId,
    },
    /// An attempt of ours failed.
    DialFailed {
        /// The attempt, as numbered in [`Action::Dial`].
        dial: DialId,
        /// Why.
        error: DialError,
    },
    /// A well-formed message arrived.
    Received {
        /// From whom.
        link: LinkId,
        /// The message. Its fields are of the right types; whether they make sense is the machine's to judge.
        message: Message,
        /// The epoch that it carries; `None` where it carries none. Only a server's word counts.
        epoch: Option<Epoch>,
    },
    /// Something arrived that is no message. The driver reads no more from this link; the machine closes it.
    Malformed {
        /// From whom.
        link: LinkId,
        /// What was wrong with it.
        error: WireError,
    },
    /// The driver wrote the first `bytes` of [`Machine::output`].
    Wrote {
        /// To whom.
        link: LinkId,
        /// How many; at least one.
        bytes: usize,
    },
    /// The peer will say no more. It may still listen (a half-closed connection), or be gone: that cannot be told apart. The machine
    /// closes the link, now or when it has said what it still owes.
    Ended {
        /// Who.
        link: LinkId,
    },
    /// The connection broke.
    Closed {
        /// Which link; it is gone.
        link: LinkId,
    },
    /// The time that [`Machine::deadline`] named has come.
    DeadlinePassed,
    /// What only this kind of machine knows.
    Input(I),
}

/// What a machine wants done.
#[derive(Debug)]
pub enum Action<E> {
    /// Connect to `address`; answer with [`Event::Dialled`] or [`Event::DialFailed`].
    Dial {
        /// The machine's number for this attempt.
        dial: DialId,
        /// Where to.
        address: Address,
    },
    /// There is something to write to this link.
    Flush(LinkId),
    /// There may be something to write to every link.
    FlushAll,
    /// Write the farewell, close our direction, drain the peer's for a moment so that no reset eats the farewell, then drop the
    /// connection. The machine has already forgotten the link.
    Close {
        /// Which link.
        link: LinkId,
        /// The last bytes to write.
        farewell: Vec<u8>,
    },
    /// Stop accepting connections: this process is draining.
    StopAccepting,
    /// This process is done: flush what lingers and exit. An error is a sentence that says what happened and what to do.
    Exit(Result<(), String>),
    /// What only this kind of machine asks for.
    Effect(E),
}

/// Why a connection attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// Nobody listens there: the process is gone.
    #[error("connection refused: nobody listens there")]
    Refused,
    /// No answer, or no route: nothing is known about the process.
    #[error("no answer: the host is unreachable")]
    Unreachable,
    /// No such host, or nobody could say where it is.
    #[error("the host's name does not resolve")]
    Unresolved,
}
