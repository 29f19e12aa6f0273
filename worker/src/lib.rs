//! Freshet's worker: carries client sessions, and floods activities among the workers. See ARCHITECTURE.md.
//!
//! [`core`] is the worker itself, a state machine; [`shell`] runs it for real. The binary is a thin `main` around them.

pub mod args;
pub mod config;
pub mod core;
pub mod shell;
