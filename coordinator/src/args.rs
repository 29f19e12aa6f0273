//! The command line, as typed.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use common::boot::ServerArgs;
use common::id::ServerId;
use common::limits;
use common::wire::Address;

const EXAMPLES: &str = "\
Examples:
  coordinator
      On this machine alone; users are kept in the data directory, and the network secret is made where there is none.
  coordinator --listen 127.0.0.1:3790 --data-dir /tmp/second --backup 127.0.0.1:3780
      A hot standby for it: it holds the same users, and takes over when the first one fails.
  coordinator --listen 0.0.0.0:3780 --advertise a.example.org:3780 --backup b.example.org:3780 --secret-file /etc/freshet/secret
      For workers and clients on other machines, with a second coordinator at b.example.org. Which of the two is started first does not \
matter.
  coordinator export users.jsonl
  coordinator import users.jsonl
      Users to a file, and back; see `coordinator export --help`.

The network secret, by which servers know each other, comes from --secret-file; else from the environment variable FRESHET_SECRET; \
else from freshet/secret in your configuration directory (~/.config on Linux), which the first coordinator makes, readable by you \
alone. Listening on anything but loopback demands one of the first two. Make one with `openssl rand -hex 32`.

SIGTERM and Ctrl-C end the coordinator when what it has promised is on disk and a standby, where there is one, has taken over; clients \
that are connected to workers notice nothing.";

const EXPORT_EXAMPLES: &str = "\
Examples:
  coordinator export users.jsonl
  coordinator export --data-dir /var/lib/freshet /backup/users.jsonl

The coordinator may be running or not; one that runs and says nothing for 10 seconds is not waited for. The file holds names and Argon2id hashes, no secrets; keep it private all the same. It appears as a whole or not at all, and ends with a \
checksum. To have one made by the running coordinator time and again, see --export-every.";

const IMPORT_EXAMPLES: &str = "\
Examples:
  coordinator import users.jsonl
  coordinator import --data-dir /var/lib/freshet /backup/users.jsonl

The coordinator may be running or not; every coordinator of its network and all workers learn of the users. Users that are known stay as they are, unless the file knows of a later change; a name that somebody else has taken since goes to whoever \
registered it first. A user that was removed does not come back. A file that is damaged or cut off changes nothing, and what was imported \
once is not imported twice.";

/// Freshet's coordinator: registers and logs in users, and sends each client to the least-loaded worker
#[derive(Debug, Parser)]
#[command(name = "coordinator", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    /// What to do; without it, run a coordinator
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to run.
    #[command(flatten)]
    pub run: Args,
}

/// What to do beside running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write all users to a file
    #[command(after_help = EXPORT_EXAMPLES)]
    Export {
        /// The file
        file: PathBuf,
        /// Where the users are.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Take in users from a file that `export` has written
    #[command(after_help = IMPORT_EXAMPLES)]
    Import {
        /// The file
        file: PathBuf,
        /// Take in users of another network too
        #[arg(long)]
        other_network: bool,
        /// Where the users are.
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// Whose users are exported or imported.
#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    /// The coordinator's data directory [default: freshet/coordinator in your data directory, ~/.local/share on Linux]
    #[arg(long, value_name = "DIR", env = "FRESHET_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// A file with the network secret, for a coordinator that is running [default: as it finds it]
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

/// How a coordinator runs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen for clients and workers
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:3780", value_parser = common::boot::listen_address)]
    pub listen: SocketAddr,

    /// Where to keep users [default: freshet/coordinator in your data directory, ~/.local/share on Linux]
    #[arg(long, value_name = "DIR", env = "FRESHET_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// This coordinator's name [default: made at the first start and kept with the users]
    #[arg(long, value_name = "ID")]
    pub id: Option<ServerId>,

    /// Another coordinator of the group; give several to name several. One of them is the main one, the others are hot standbys
    #[arg(long = "backup", value_name = "HOST:PORT")]
    pub backups: Vec<Address>,

    /// Refuse registrations that fewer standbys than this could hold
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub require_backups: usize,

    /// How often coordinators and workers hear that this coordinator lives
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = humantime::parse_duration)]
    pub heartbeat: Duration,

    /// After how long a silent coordinator is taken for gone; one that crashes is noticed at once
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    pub failure_timeout: Duration,

    /// How long a registration waits for a standby, which then leaves the list of those that may take over
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    pub sync_timeout: Duration,

    /// Export all users to a file, this often
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub export_every: Option<Duration>,

    /// Where to [default: users.jsonl in the data directory]
    #[arg(long, value_name = "FILE", requires = "export_every")]
    pub export_file: Option<PathBuf>,

    /// What every server takes.
    #[command(flatten)]
    pub server: ServerArgs,
}

impl CommandLine {
    /// Reads this process's command line. Where it makes no sense, says so and exits with code 2.
    pub fn read() -> Self {
        let line = CommandLine::parse();
        match line.check() {
            Ok(()) => line,
            Err(sentence) => CommandLine::command().error(ErrorKind::ValueValidation, sentence).exit(),
        }
    }

    /// What no single argument shows.
    fn check(&self) -> Result<(), String> {
        if self.command.is_some() { Ok(()) } else { self.run.check() }
    }
}

impl Args {
    fn check(&self) -> Result<(), String> {
        self.server.check(self.listen, "coordinator")?;
        if let Some(itself) = self.backups.iter().find(|backup| self.is_itself(backup)) {
            return Err(format!("--backup {itself} is this coordinator itself: name the other ones"));
        }
        within("--require-backups", self.require_backups, 0, limits::MEMBERS - 1)?;
        let millis = Duration::from_millis;
        for (flag, value, least, most) in [
            ("--heartbeat", Some(self.heartbeat), millis(10), millis(10_000)),
            ("--failure-timeout", Some(self.failure_timeout), millis(20), millis(60_000)),
            ("--sync-timeout", Some(self.sync_timeout), millis(10), limits::REGISTRATION_HOLD / 2),
            ("--export-every", self.export_every, millis(1_000), millis(365 * 86_400_000)),
        ] {
            if let Some(value) = value {
                within(flag, humantime::Duration::from(value), least.into(), most.into())?;
            }
        }
        if self.heartbeat * 2 > self.failure_timeout {
            return Err(format!(
                "--failure-timeout {} is too short for --heartbeat {}: one late heartbeat would look like a failure; make it twice as long, or longer",
                humantime::Duration::from(self.failure_timeout),
                humantime::Duration::from(self.heartbeat)
            ));
        }
        Ok(())
    }

    /// Whether this is where we listen, as far as can be told without asking anybody.
    fn is_itself(&self, other: &Address) -> bool {
        let same_host = match other.hostname.parse::<IpAddr>() {
            Ok(ip) => ip == self.listen.ip() || ip.is_loopback() && self.listen.ip().is_unspecified(),
            Err(_) => {
                other.hostname == "localhost"
                    && (self.listen.ip().is_loopback() || self.listen.ip().is_unspecified())
            }
        };
        self.server.advertise.as_ref() == Some(other) || same_host && other.port == self.listen.port()
    }
}

fn within<T: PartialOrd + Display>(flag: &str, value: T, least: T, most: T) -> Result<(), String> {
    if value < least || value > most {
        return Err(format!("{flag} {value} is out of range: it can be {least} to {most}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<(), String> {
        let line = CommandLine::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        line.check()
    }

    fn refusal(line: &str) -> String {
        check(line).expect_err(line)
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn an_address_that_nobody_can_connect_to_is_not_advertised() {
        assert_eq!(check("coordinator"), Ok(()));
        assert_eq!(check("coordinator --listen 0.0.0.0:1 --advertise example.org:1"), Ok(()));
        for line in [
            "coordinator --listen 0.0.0.0:3780",
            "coordinator --advertise example.org",
            "coordinator --id two_words?",
            "coordinator --listen here",
        ] {
            refusal(line);
        }
    }

    #[test]
    fn no_coordinator_is_its_own_backup() {
        let shared = "coordinator --listen 0.0.0.0:3780 --advertise a:3780";
        assert_eq!(check("coordinator --backup b:3780 --backup c:3780 --backup 127.0.0.1:3781"), Ok(()));
        assert_eq!(check("coordinator --listen 127.0.0.1:0 --backup 127.0.0.1:3780"), Ok(()));
        assert_eq!(check(&format!("{shared} --backup b:3780")), Ok(()));
        for line in [
            "coordinator --backup 127.0.0.1:3780",
            "coordinator --backup b:1 --backup localhost:3780",
            "coordinator --listen [::1]:3780 --backup [::1]:3780",
            &format!("{shared} --backup a:3780"),
            &format!("{shared} --backup localhost:3780"),
            &format!("{shared} --backup [::1]:3780"),
        ] {
            assert!(refusal(line).contains("is this coordinator itself"), "{line}");
        }
    }

    #[test]
    fn durations_are_within_bounds_and_fit_together() {
        assert_eq!(check("coordinator --heartbeat 100ms --failure-timeout 1s --sync-timeout 2s"), Ok(()));
        for line in [
            "coordinator --heartbeat 1ms",
            "coordinator --heartbeat 1h --failure-timeout 2h",
            "coordinator --failure-timeout 5m",
            "coordinator --sync-timeout 0s",
            "coordinator --sync-timeout 1m",
            "coordinator --export-every 10ms",
            "coordinator --require-backups 16",
        ] {
            assert!(refusal(line).contains("it can be"), "{line}: {}", refusal(line));
        }
        assert!(refusal("coordinator --heartbeat 2s").contains("too short"));
        refusal("coordinator --heartbeat often");
        refusal("coordinator --require-backups -1");
    }

    #[test]
    fn an_export_file_is_for_periodic_exports_and_a_subcommand_takes_nothing_of_running() {
        assert_eq!(check("coordinator --export-every 15m --export-file a"), Ok(()));
        assert_eq!(check("coordinator import --data-dir d --other-network f"), Ok(()));
        refusal("coordinator --export-file a");
        refusal("coordinator export");
        refusal("coordinator --listen 127.0.0.1:1 export f");
        refusal("coordinator export f --listen 127.0.0.1:1");
    }
}
