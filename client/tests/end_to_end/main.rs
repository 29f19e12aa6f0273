//! The client over real sockets, against servers that the tests play. With real servers it is tested in the crate `tests`.

mod command_line;
mod coordinators;
mod fake;
mod session;
