//! The coordinator's process: arguments, configuration, shell.

use std::process::ExitCode;

use coordinator::args::{Command, CommandLine};
use coordinator::config::{Config, StoreConfig};
use coordinator::shell;

// Each password hash takes 19 MiB for some 20 ms. The system's allocator keeps such blocks once it has met them, on every thread
// that ever hashed: more than a gigabyte after a thousand log-ins. This one gives them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let CommandLine { command, run } = CommandLine::read();
    common::boot::run(async move {
        match command {
            None => {
                common::boot::init_logging(&run.server.log)?;
                shell::run(Config::new(run)?).await
            }
            Some(Command::Export { file, store }) => shell::export(&StoreConfig::new(store)?, &file),
            Some(Command::Import { file, other_network, store }) => {
                shell::import(&StoreConfig::new(store)?, &file, other_network)
            }
        }
    })
}
