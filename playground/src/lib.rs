//! A whole Freshet network on one machine: coordinators and workers, as child processes of the real binaries, so that
//! killing one is a real kill.
//!
//! [`binaries`] finds (or has cargo build) the three binaries, [`server`] starts and stops one of them, [`network`] starts all. The
//! playground program shows such a network to people; the tests in `tests/` torment one.

pub mod binaries;
pub mod network;
pub mod server;
