//! The wire protocol: one JSON object a line, UTF-8, over TCP.
//!
//! [`Message`] is the closed enum of everything that may be said; the payloads lie in [`client`] (what clients and servers say to each
//! other), [`server`] (workers and coordinators), [`group`] (coordinators among themselves), [`operator`], [`stream`] (reports, catching up, resuming), [`presence`] (who is online) and
//! [`transfer`] (users to a file and back). [`Lines`] cuts bytes into lines, [`Message::decode`] and [`Message::encode_into`] turn lines
//! into messages and back. `docs/protocol.md` is the reference, and a test holds it against these types.
//!
//! Liberal in what is accepted (RFC 761, 2.10): unknown fields are ignored, numbers may come as strings, old spellings of
//! commands and fields are known. Strict where it matters: duplicate fields, wrong types, bad UTF-8, too long or too deep.

mod activity;
pub mod client;
mod codec;
mod fields;
pub mod group;
mod message;
pub mod operator;
mod plain;
pub mod presence;
pub mod server;
pub mod stream;
pub mod transfer;

pub use activity::Activity;
pub use client::*;
pub use codec::{Lines, PartialBudget, WireError};
pub use fields::{Address, AddressError, DEFAULT_COORDINATOR, Millis, Number};
pub use group::*;
pub use message::Message;
pub use operator::*;
pub use presence::*;
pub use server::*;
pub use stream::*;
pub use transfer::*;
