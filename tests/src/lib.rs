//! The deterministic simulator, the checkers of what Freshet promises, and networks of real processes.
//!
//! [`sim`] runs a whole network of the real cores in one thread on virtual time, and does to it what can happen to one: processes die and
//! return, links delay, stall and break, disks are slow, clients misbehave. [`check`] watches: one promise, one checker. The tests in
//! `tests/simulation.rs` run a few hundred seeds, see to it that enough has happened in them, and show how to replay one that failed.
//!
//! The shells (sockets, files, processes) are not simulated: [`cluster`] runs the real binaries, for the other tests.

pub mod check;
pub mod cluster;
pub mod sim;
