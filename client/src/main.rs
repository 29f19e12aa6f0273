//! `client`: see [`client::args`] for what it takes, [`client::cli`] for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    common::boot::run(client::cli::run(client::args::Args::read()))
}
