//! The command line, as typed. What it means is for `cli` to say.

mod after;
mod bench;

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args as ClapArgs, CommandFactory, Parser, Subcommand};
use common::id::ServerId;
use common::user::Username;
use common::wire::{Address, DEFAULT_COORDINATOR};

pub use after::After;
pub use bench::{Bench, Pids};

/// The longest time that can be given: what is longer is a mistake, and some are beyond the end of the system's clock.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3_600);

/// Publish and receive activities on a Freshet network
///
/// Without a subcommand, an interactive session: type a line and everybody receives it. It follows redirects and reconnects by
/// itself. When standard input is no terminal, its lines are sent as by `client send`.
#[derive(Clone, Debug, Parser)]
#[command(version, propagate_version = true, after_long_help = EXAMPLES)]
pub struct Args {
    /// What to do; without it, an interactive session
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Whom to connect as, and where to.
    #[command(flatten)]
    pub connection: Connection,
}

impl Args {
    /// Reads this process's command line. Where it makes no sense, says so and exits with code 2.
    pub fn read() -> Self {
        let args = Args::parse();
        match args.check() {
            Ok(()) => args,
            Err(sentence) => Args::command().error(ErrorKind::ValueValidation, sentence).exit(),
        }
    }

    /// What no single argument shows.
    fn check(&self) -> Result<(), String> {
        match &self.command {
            Some(Command::Bench(bench)) => bench.check(),
            _ => Ok(()),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  client                                       join as anonymous, on this machine
  client --username ann register               register the name ann; asks for a secret
  client --username ann                        join as ann
  echo '{\"type\":\"Note\",\"content\":\"hi\"}' | client send
  client tail --json | jq .activity
  client --coordinator 10.0.0.1:3780 --coordinator 10.0.0.2:3780 tail

Coordinators:
  They are tried in turn. What a network tells of its servers is remembered, in freshet/servers in your data directory \
(~/.local/share on Linux), so that the next run that names one of the same coordinators finds it although they are gone. Those that are \
remembered are tried first, but by `status`. Where no coordinator answers, a worker that is remembered lets in whom it knows.

Secrets:
  A user's secret comes from the file named by --secret-file, from the environment variable FRESHET_USER_SECRET, or \
is asked for on the terminal. It is never taken from the command line, where others could read it.

Exit codes:
  0  done    1  not done; a sentence on standard error says why    2  a mistake on the command line";

/// Whom to connect as, and where to. Every subcommand takes these.
#[derive(Clone, Debug, ClapArgs)]
pub struct Connection {
    /// A coordinator; may be given several times, to be tried in turn, after those that the network told of before (by `status`: before
    /// them)
    #[arg(
        long = "coordinator",
        global = true,
        value_name = "HOST:PORT",
        env = "FRESHET_COORDINATOR",
        value_delimiter = ',',
        default_value = DEFAULT_COORDINATOR
    )]
    pub coordinators: Vec<Address>,

    /// The name to log in with
    #[arg(long, global = true, value_name = "NAME", env = "FRESHET_USERNAME", default_value = "anonymous")]
    pub username: Username,

    /// A file that holds the user's secret (for `status`, `remove-user` and `forget-coordinator`: the network's)
    #[arg(long, global = true, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,

    /// Say nothing on standard error but errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Register --username, so that nobody else can use it
    #[command(after_help = "\
Examples:
  client --username ann register                                 asks for a secret, twice
  client --username ann --secret-file ann.secret register")]
    Register(Register),

    /// Change the secret of --username
    #[command(after_help = "\
The secret so far comes from --secret-file, FRESHET_USER_SECRET, or is asked for; the new one from --new-secret-file, or is \
asked for, twice. Sessions go on.

Examples:
  client --username ann passwd                                   asks for both
  client --username ann --secret-file old passwd --new-secret-file new")]
    Passwd(Passwd),

    /// Send activities, and print how many clients have received each of them
    #[command(after_help = "\
An activity is acknowledged when its report has come: how many clients have it, of how many, and whether it survives the loss of a \
server (replicated) or not (local). One that was under way when a connection broke is sent again, and arrives once. The exit code is 1 \
where an activity is not acknowledged in time; it may have arrived all the same.

An invalid line is reported with its number; the others are sent all the same, and the exit code is 1.

Examples:
  client send '{\"type\":\"Note\",\"content\":\"hello\"}'
  client send --json '{\"type\":\"Alarm\"}' | jq .succ_count
  client --username ci send < results.jsonl
  make 2>&1 | jq -Rc '{type:\"Log\",line:.}' | client send")]
    Send(Send),

    /// Print activities as they come
    #[command(after_help = "\
It reconnects by itself, and prints then what was published meanwhile; where no server has some of it any more, standard error says \
so. Ctrl-C ends it with exit code 0. At the end, standard error tells the position, to go on from with --after.

With --json, an activity that came after later ones of its sender has \"late\":true, one that came without some before it \
has \"missing_from\", the number of the first of those, and {\"gaps\":…} tells what nobody has any more: {\"gaps\":\"\"} that some may \
be lost, and nobody knows what, because the servers have started again without what they knew of it.

Examples:
  client tail
  client tail --last 20                                          begin with the latest twenty
  client tail --json | jq -r .activity.type
  client tail --count 1 --json                                   wait for one activity
  client tail --after \"$(cat position)\"                         what came since
  client tail --after w1/00000193f2a1b0c4/41                     what came through that start of w1 since, and all of others")]
    Tail(Tail),

    /// Show who else is online, and where
    #[command(after_help = "\
Every session counts, of whatever client. With --json, since is in milliseconds since 1970 UTC.

Examples:
  client who
  client who --json | jq -r .username | sort -u")]
    Who(Who),

    /// Play a file of activities through the network, one session per user, and report how it went
    #[command(after_help = "\
The file holds one JSON object a line, and may be compressed with gzip. With --user-from actor, each distinct value of \
\"actor\" becomes a user: it is registered where it is not, and gets a session of its own. All sessions log in, then the \
activities are sent in the order of the file, as fast as they come back: each is done when its own sender has received it.

All users get one secret: --secret-file, FRESHET_USER_SECRET, or the fixed text freshet-replay, which is no secret at all. \
So replay test data only, or give a secret.

Examples:
  client replay activities.jsonl.gz --user-from actor
  client replay log.jsonl --rate 50                              as --username, fifty a second
  zstdcat log.jsonl.zst | client replay -                        from standard input")]
    Replay(Replay),

    /// Measure how much the network carries, and how fast; every delivery is checked
    #[command(after_help = "\
Closed loop (without --rate): each publisher has at most --window activities under way, and goes on when every subscriber has them. Open \
loop (with --rate): activities are published at that pace whatever becomes of them, and a latency counts from when an activity was to be \
sent. Whoever publishes is one of the subscribers, because everybody receives everything.

The exit code is 1 where a subscriber did not receive everything, once and in order. Do not run it on a network that others use.

Examples:
  client bench                                                   one publisher, a hundred subscribers
  client bench --publishers 10 --subscribers 1000 --size 1024
  client bench --rate 200 --duration 30s --json                  latencies at 20,000 deliveries a second
  client bench --pid $(pgrep -x worker)                          and what the worker uses for it
  client bench --reconnect --rate 200 --duration 1m              while you kill workers: sessions go on at others")]
    Bench(Bench),

    /// Remove a user: its sessions end, and its name is free
    #[command(after_help = "\
It needs the network's secret, as `client status` does. There is no way back: whoever registers the name again is another user.

Examples:
  client remove-user eve
  client --coordinator 10.0.0.1:3780 --secret-file network.secret remove-user eve")]
    RemoveUser(RemoveUser),

    /// Forget a coordinator that will not come back: it is no member of the group any more
    #[command(after_help = "\
The group shrinks by this command alone: status misses a member that is merely away, and --require-backups counts it. A coordinator \
that is connected is not forgotten: stop it first. Should it come back all the same, it joins anew.

It needs the network's secret, as `client status` does.

Examples:
  client forget-coordinator coordinator-5f2c91ab                 its id, as `client status` shows it
  client --coordinator 10.0.0.2:3780 --secret-file network.secret forget-coordinator a")]
    ForgetCoordinator(ForgetCoordinator),

    /// Show how the network is: coordinators, workers, loads, who took over from whom
    #[command(after_help = "\
The coordinators named with --coordinator are asked. Where one is a standby, the main coordinator that it hears is asked in its place, and \
where that does not answer, the standby says what it knows itself. Where nobody answers who was named, others are asked of which the network \
told before, and standard error says so. So in a network that is cut in two you see either side: name one of its coordinators.

NORMAL: everything is as it should be. RECOVERING: a server \
was lost and has not been replaced, or no worker takes clients; the reasons follow. While there is a worker, service goes on.

A registration that lost its name to one with the same secret, the same person's perhaps, or a repetition, counts as a conflict like \
any other: the hashes do not show it.

A standby is listed when it holds all that was acknowledged, and is so many updates behind while it confirms the latest.

It needs the network's secret, from --secret-file, the environment variable FRESHET_SECRET, or the file that the first \
coordinator on this machine made.

Examples:
  client status
  client status --conflicts                                      and which registrations lost their name
  client --coordinator 10.0.0.1:3780 --coordinator 10.0.0.2:3780 status
  client --coordinator 10.0.0.1:3780 --secret-file network.secret status --json")]
    Status(Status),
}

/// `client register`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Register {
    /// How long to try
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

/// `client passwd`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Passwd {
    /// A file that holds the new secret
    #[arg(long, value_name = "FILE")]
    pub new_secret_file: Option<PathBuf>,

    /// How long to try
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

/// `client remove-user`.
#[derive(Clone, Debug, ClapArgs)]
pub struct RemoveUser {
    /// Whom to remove
    #[arg(value_name = "NAME")]
    pub name: Username,

    /// How long to try
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

/// `client forget-coordinator`.
#[derive(Clone, Debug, ClapArgs)]
pub struct ForgetCoordinator {
    /// Which one
    #[arg(value_name = "ID")]
    pub id: ServerId,

    /// How long to try
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

/// `client send`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Send {
    /// The activity, a JSON object; without it, standard input, one a line
    #[arg(value_name = "JSON")]
    pub activity: Option<String>,

    /// How long to try to connect, and how long to wait for the report on an activity
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,

    /// Print the reports as JSON, one a line, in the order of the activities
    #[arg(long)]
    pub json: bool,
}

/// `client tail`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Tail {
    /// Print JSON, {"id":…,"activity":…} a line, for programs to read
    #[arg(long)]
    pub json: bool,

    /// Exit after so many activities
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// Begin with everything after this position, as an earlier run told it; or after one activity, by its id: then without it and what
    /// came before it through the same worker
    #[arg(long, value_name = "POSITION", conflicts_with = "last")]
    pub after: Option<After>,

    /// Begin with so many of the latest activities
    #[arg(long, value_name = "N")]
    pub last: Option<u64>,
}

/// `client who`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Who {
    /// Print JSON, {"username":…,"worker":…,"session":…,"since":…} a line, for programs to read
    #[arg(long)]
    pub json: bool,

    /// How long to try
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

/// `client replay`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Replay {
    /// The activities, one JSON object a line; .gz or not; - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Send each activity as the user that this key of it names; without it, all as --username
    #[arg(long, value_name = "KEY")]
    pub user_from: Option<String>,

    /// Send at most so many activities a second
    #[arg(long, value_name = "R", value_parser = positive)]
    pub rate: Option<f64>,

    /// Let at most so many activities be on their way at once
    #[arg(long, value_name = "W", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub window: u32,

    /// Let at most so many sessions register and log in at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub logins: u32,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// `client status`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Status {
    /// List the registrations that lost their name to an earlier one, made on the other side of a cut
    #[arg(long)]
    pub conflicts: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// How long to try
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    (duration <= LONGEST).then_some(duration).ok_or_else(|| "ten years at most".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "a number, for example 50".to_owned())?;
    // Below this an hour passes between two activities, and above less than a nanosecond: both are mistakes.
    let sensible = (1.0 / 3_600.0..=1e9).contains(&number);
    sensible
        .then_some(number)
        .ok_or_else(|| "a number of activities a second, one an hour to a billion".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_of_the_connection_may_stand_before_and_after_the_subcommand() {
        for line in [
            &["client", "--username", "ann", "--coordinator", "a:1", "--coordinator", "b:2", "tail"][..],
            &["client", "tail", "--username", "ann", "--coordinator", "a:1,b:2"],
        ] {
            let args = Args::try_parse_from(line).unwrap();
            assert_eq!(args.connection.username.as_str(), "ann");
            let coordinators: Vec<String> =
                args.connection.coordinators.iter().map(Address::to_string).collect();
            assert_eq!(coordinators, ["a:1", "b:2"]);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            &["client", "--username", "a\nb"][..],
            &["client", "--coordinator", "nowhere"],
            &["client", "replay", "x", "--rate", "0"],
            &["client", "replay", "x", "--rate", "nan"],
            &["client", "replay", "x", "--rate", "1e300"],
            &["client", "who", "--timeout", "500000000000years"],
            &["client", "replay", "x", "--window", "0"],
            &["client", "--secret", "hunter2"],
            &["client", "tail", "--conflicts"],
            &["client", "tail", "--after", "w/00000000000000ff/7-9"],
            &["client", "tail", "--after", "n1@", "--last", "7"],
        ] {
            assert!(Args::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
