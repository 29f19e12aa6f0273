//! The coordinator: it authenticates servers and users, registers users, and sends each client to the least-loaded worker.
//!
//! [`core`] decides and is simulated; [`shell`] gives it sockets, clocks and a disk; [`args`] and [`config`] turn the command line
//! into a configuration that cannot be wrong.

pub mod args;
pub mod config;
pub mod core;
pub mod shell;
