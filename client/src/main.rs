//! `client`: see [`client::args`] for what it takes, [`client::cli`] for what it does.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    common::boot::run(client::cli::run(client::args::Args::parse()))
}
