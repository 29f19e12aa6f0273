//! Freshet's client.

pub mod core;
