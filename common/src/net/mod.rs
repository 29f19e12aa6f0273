//! The network shell: runs one [`Machine`](crate::machine::Machine) on tokio.
