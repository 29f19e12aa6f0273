//! The coordinator's process: arguments, configuration, shell.

use std::process::ExitCode;

use coordinator::args::Args;
use coordinator::config::Config;
use coordinator::shell;

fn main() -> ExitCode {
    let args = Args::from_command_line();
    common::boot::run(async move {
        common::boot::init_logging(&args.log)?;
        shell::run(Config::new(args)?).await
    })
}
