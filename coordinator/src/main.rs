//! The coordinator's process: arguments, configuration, shell.

use std::process::ExitCode;

use coordinator::args::{Command, CommandLine};
use coordinator::config::{Config, StoreConfig};
use coordinator::shell;

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
