//! Freshet's worker: carries client sessions, and floods activities among the workers. See ARCHITECTURE.md.

pub mod core;
