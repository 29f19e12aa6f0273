//! The worker's process: arguments, configuration, shell.

use std::process::ExitCode;

use worker::args::Args;
use worker::config::Config;
use worker::shell;

fn main() -> ExitCode {
    let args = Args::from_command_line();
    common::boot::run(async move {
        common::boot::init_logging(&args.log)?;
        shell::run(Config::new(args)?).await
    })
}
