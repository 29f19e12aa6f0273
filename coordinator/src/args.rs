//! The command line, as typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use common::boot::LogArgs;
use common::id::ServerId;
use common::wire::Address;

const EXAMPLES: &str = "\
Examples:
  coordinator
      On this machine alone; users are kept in the data directory, and the network secret is made where there is none.
  coordinator --listen 127.0.0.1:0 --data-dir /tmp/try
      A throw-away coordinator on a free port; the log says which.
  coordinator --listen 0.0.0.0:3780 --advertise chat.example.org:3780 --secret-file /etc/freshet/secret
      For workers and clients on other machines.

The network secret, by which servers know each other, comes from --secret-file; else from the environment variable FRESHET_SECRET; \
else from freshet/secret in your configuration directory (~/.config on Linux), which the first coordinator makes, readable by you \
alone. Listening on anything but loopback demands one of the first two. Make one with `openssl rand -hex 32`.

SIGTERM and Ctrl-C end the coordinator when what it has promised is on disk; clients that are connected to workers notice nothing.";

/// Freshet's coordinator: registers and logs in users, and sends each client to the least-loaded worker
#[derive(Debug, Parser)]
#[command(name = "coordinator", version, after_help = EXAMPLES)]
pub struct Args {
    /// Where to listen for clients and workers
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:3780")]
    pub listen: SocketAddr,

    /// Where others reach this coordinator [default: where it listens]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<Address>,

    /// Where to keep users [default: freshet/coordinator in your data directory, ~/.local/share on Linux]
    #[arg(long, value_name = "DIR", env = "FRESHET_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// This coordinator's name [default: made at the first start and kept with the users]
    #[arg(long, value_name = "ID")]
    pub id: Option<ServerId>,

    /// A file with the network secret, readable by you alone
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,

    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogArgs,
}

impl Args {
    /// Reads this process's command line. Where it makes no sense, says so and exits with code 2.
    pub fn from_command_line() -> Self {
        let args = Args::parse();
        match args.check() {
            Ok(()) => args,
            Err(sentence) => Args::command().error(ErrorKind::ValueValidation, sentence).exit(),
        }
    }

    /// What no single argument shows.
    fn check(&self) -> Result<(), String> {
        match &self.advertise {
            None if self.listen.ip().is_unspecified() => Err(format!(
                "{} is no address that others could connect to: say with --advertise host:port where they reach this coordinator",
                self.listen
            )),
            Some(Address { hostname, .. }) if matches!(hostname.as_str(), "0.0.0.0" | "::") => Err(format!(
                "{hostname} is no address that others could connect to: give --advertise a name or an address of this machine"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<(), String> {
        let args = Args::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        args.check()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn an_address_that_nobody_can_connect_to_is_not_advertised() {
        assert_eq!(check("coordinator"), Ok(()));
        assert_eq!(check("coordinator --listen 0.0.0.0:1 --advertise example.org:1"), Ok(()));
        for line in [
            "coordinator --listen 0.0.0.0:3780",
            "coordinator --listen [::]:3780",
            "coordinator --listen 0.0.0.0:3780 --advertise 0.0.0.0:3780",
            "coordinator --advertise example.org",
            "coordinator --id two_words?",
            "coordinator --listen here",
        ] {
            assert!(check(line).is_err(), "{line}");
        }
    }
}
