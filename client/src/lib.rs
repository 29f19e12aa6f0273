//! Freshet's client: publish JSON activities, and receive everybody's.
//!
//! [`Client`] is the library, [`cli`] the command line around it. Underneath, [`core`] is one session as a state machine without I/O,
//! and [`shell`] runs it on sockets.

pub mod args;
mod ask;
pub mod cli;
pub mod core;
pub mod display;
mod memory;
mod sdk;
pub mod shell;

pub use crate::core::{Person, Position, PositionError, Presence, RegisterMode, Report, Start, Unfit};
pub use ask::{AskError, status};
pub use common::id::{ActivityId, Seq, ServerId};
pub use common::session::SessionId;
pub use common::user::{Secret, Username};
pub use common::wire::{Address, BackupEntry, Durability, Place, Role};
pub use sdk::{Activity, Client, Delivery, Error, Event, Options, Publisher};
pub use shell::Receive;
