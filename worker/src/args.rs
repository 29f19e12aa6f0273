//! The command line, as typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use common::boot::{self, LogArgs};
use common::id::ServerId;
use common::wire::{Address, DEFAULT_COORDINATOR};

const EXAMPLES: &str = "\
Examples:
  worker
      For the coordinator on this machine, on a free port. Start several in the same way: each has its own port and id.
  worker --coordinator 10.0.0.10:3780 --listen 0.0.0.0:4000 --advertise 10.0.0.11:4000 --secret-file /etc/freshet/secret
      For a coordinator, clients and workers on other machines.

The network secret, by which servers know each other, comes from --secret-file; else from the environment variable FRESHET_SECRET; \
else from freshet/secret in your configuration directory (~/.config on Linux), which the first coordinator makes. It must be the \
coordinator's. Listening on anything but loopback demands one of the first two.

A worker learns of the other coordinators from the main one, and goes to the next when that one fails. What it has learnt it keeps in its data directory, and at its next start tries those coordinators first, then the ones that are named with --coordinator. It keeps activities there, too, for clients and workers that missed them: a worker that is restarted still has them. It writes them behind, and synchronises once a second: a machine that loses power may lose the last second of them, which the other workers have. To move a worker to another network, give it another data directory.

While no coordinator can be reached, a worker keeps trying and serves the clients that it has. SIGTERM and Ctrl-C end it when its \
clients have gone to other workers, or, where there is none, have received what was published.";

/// Freshet's worker: carries client sessions, and passes activities on to its clients and to the other workers
#[derive(Debug, Parser)]
#[command(name = "worker", version, after_help = EXAMPLES)]
pub struct Args {
    /// A coordinator of the network; give several to try them in this order
    #[arg(long = "coordinator", value_name = "HOST:PORT", default_value = DEFAULT_COORDINATOR)]
    pub coordinators: Vec<Address>,

    /// Where to listen for clients and other workers; port 0 is any free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0", value_parser = boot::listen_address)]
    pub listen: SocketAddr,

    /// Where others reach this worker [default: where it listens]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<Address>,

    /// This worker's name, unique in the network [default: made at every start]
    #[arg(long, value_name = "ID")]
    pub id: Option<ServerId>,

    /// Where to remember the coordinators and to keep activities for those who missed them [default: with --id, freshet/worker-ID in your
    /// data directory, ~/.local/share on Linux; without, nowhere]
    #[arg(long, value_name = "DIR", env = "FRESHET_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// How many bytes of activities to keep in the data directory, at least 1MiB; what is older comes from memory (the latest 32MiB), or
    /// from other workers, if they have it
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = retain_bytes)]
    pub retain_bytes: ByteSize,

    /// How long to keep activities in the data directory, from 1s to 10years
    #[arg(long, value_name = "DURATION", default_value = "1day", value_parser = retain_age)]
    pub retain_age: Duration,

    /// How long an activity that came before others of its sender waits for them; 0s delivers whatever comes
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = humantime::parse_duration)]
    pub ordering_period: Duration,

    /// How long a worker that is told to end (SIGTERM) waits for its clients to go to other workers
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub drain_timeout: Duration,

    /// How long the coordinator may be silent before the next one is asked; longer than the coordinators' --heartbeat
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    pub failure_timeout: Duration,

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
                "{} is no address that others could connect to: say with --advertise host:port where they reach this worker",
                self.listen
            )),
            Some(Address { hostname, .. }) if matches!(hostname.as_str(), "0.0.0.0" | "::") => Err(format!(
                "{hostname} is no address that others could connect to: give --advertise a name or an address of this machine"
            )),
            _ if self.failure_timeout.is_zero() => {
                Err("--failure-timeout 0s would give up every coordinator at once: give it some seconds"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Reads a number of bytes, with or without a unit.
fn retain_bytes(text: &str) -> Result<ByteSize, String> {
    let bytes = text.parse().ok().filter(|bytes| *bytes >= ByteSize::mib(1));
    bytes.ok_or_else(|| {
        "not at least 1MiB: write a number of bytes, or one with a unit as in 500MB and 20GiB".to_owned()
    })
}

/// Reads how long something is kept.
fn retain_age(text: &str) -> Result<Duration, String> {
    let (least, most) = (Duration::from_secs(1), humantime::parse_duration("10years").expect("it is one"));
    let age = humantime::parse_duration(text).ok().filter(|age| (least..=most).contains(age));
    age.ok_or_else(|| "not from 1s to 10years: write a duration as in 90m, 12h and 7days".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        let args = Args::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        args.check().map(|()| args)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn with_no_flag_a_worker_takes_any_port_and_the_local_coordinator() {
        let args = parse("worker").unwrap();
        assert_eq!(
            (args.listen.port(), args.coordinators[0].to_string()),
            (0, DEFAULT_COORDINATOR.to_owned())
        );
        let args = parse("worker --coordinator a:1 --coordinator b:2").unwrap();
        assert_eq!(args.coordinators.len(), 2, "what is named takes the place of the default");
    }

    #[test]
    fn the_failure_timeout_is_the_networks_unless_told_otherwise_and_never_zero() {
        assert_eq!(parse("worker").unwrap().failure_timeout, common::limits::FAILURE_TIMEOUT);
        assert_eq!(
            parse("worker --failure-timeout 500ms").unwrap().failure_timeout,
            Duration::from_millis(500)
        );
        for wrong in ["0s", "2", "soon"] {
            assert!(parse(&format!("worker --failure-timeout {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_in_time_and_is_never_nothing() {
        let args = parse("worker").unwrap();
        assert_eq!(args.retain_bytes.as_u64(), common::limits::RETAIN_BYTES as u64);
        assert_eq!(args.retain_age, common::limits::RETAIN_AGE);
        let args = parse("worker --retain-bytes 20GB --retain-age 90m").unwrap();
        assert_eq!((args.retain_bytes.as_u64(), args.retain_age.as_secs()), (20_000_000_000, 5_400));
        for wrong in ["--retain-bytes 0", "--retain-bytes 1000kB", "--retain-bytes much"] {
            assert!(parse(&format!("worker {wrong}")).is_err(), "{wrong}");
        }
        for wrong in ["0s", "999ms", "11years", "500years", "9999999999years", "7"] {
            assert!(parse(&format!("worker --retain-age {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_times_of_activities_are_the_networks_unless_told_otherwise() {
        let args = parse("worker").unwrap();
        let times = (args.ordering_period, args.drain_timeout);
        assert_eq!(times, (common::limits::ORDERING_PERIOD, common::limits::DRAIN_TIMEOUT));
    }

    #[test]
    fn an_address_that_nobody_can_connect_to_is_not_advertised() {
        assert!(parse("worker --listen 0.0.0.0:1 --advertise example.org:1").is_ok());
        for line in [
            "worker --listen 0.0.0.0:4000",
            "worker --listen localhost:4000",
            "worker --listen [::]:4000",
            "worker --listen 0.0.0.0:4000 --advertise 0.0.0.0:4000",
            "worker --advertise example.org",
            "worker --coordinator example.org",
            "worker --id two_words?",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
