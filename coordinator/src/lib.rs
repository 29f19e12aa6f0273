//! The coordinator: it authenticates servers and users, registers users, and sends each client to the least-loaded worker.
//!
//! [`core`] decides and is simulated.

pub mod core;
