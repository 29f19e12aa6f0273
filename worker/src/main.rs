//! The worker's process: arguments, configuration, shell.

use std::process::ExitCode;

use worker::args::Args;
use worker::config::Config;
use worker::shell;

// Each password hash takes 19 MiB for some 20 ms. The system's allocator keeps such blocks once it has met them, on every thread
// that ever hashed: more than a gigabyte after a thousand log-ins. This one gives them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::from_command_line();
    common::boot::run(async move {
        common::boot::init_logging(&args.log)?;
        shell::run(Config::new(args)?).await
    })
}
