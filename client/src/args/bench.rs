//! The command line of `client bench`. Each value has bounds, and so have those that multiply: beyond them nothing is measured but what
//! this machine's memory holds.

use std::str::FromStr;
use std::time::Duration;

use clap::Args as ClapArgs;
use common::wire::Address;

use super::{duration, positive};

/// Pairs of a publisher and a subscriber: for each it is known what was received last.
const PAIRS: u64 = 10_000_000;
/// Bytes of activities that are under way, of all publishers together; and how many activities of each in an open loop, at least.
const UNDER_WAY_BYTES: u64 = 1 << 30;
const OPEN_WINDOW: u32 = 16;

/// `client bench`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Bench {
    /// How many publish
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=9_999))]
    pub publishers: u32,

    /// How many receive, those who publish included
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub subscribers: u32,

    /// How many bytes an activity has
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u32).range(32..=65_536))]
    pub size: u32,

    /// Publish so many activities a second, all publishers together; without it, as fast as they arrive
    #[arg(long, value_name = "R", value_parser = positive)]
    pub rate: Option<f64>,

    /// Without --rate: let at most so many activities of each publisher be under way
    #[arg(long, value_name = "W", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub window: u32,

    /// How long to measure
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = some_time)]
    pub duration: Duration,

    /// How long to run before it is measured
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub warm_up: Duration,

    /// Servers' processes on this machine, whose CPU time and memory to tell
    #[arg(long = "pid", value_name = "PID", num_args = 1..)]
    pub pids: Vec<Pids>,

    /// Log in at this worker, instead of where the coordinator says
    #[arg(long, value_name = "HOST:PORT")]
    pub worker: Option<Address>,

    /// Let sessions whose connection ends go on at other workers, as the library's do, instead of giving up
    #[arg(long, conflicts_with_all = ["classic", "worker"])]
    pub reconnect: bool,

    /// Be clients of the classic protocol, which acknowledge nothing
    #[arg(long)]
    pub classic: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Processes, as `pgrep` lists them: with white space or commas between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pids(pub Vec<u32>);

impl FromStr for Pids {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
        match words.map(str::parse).collect::<Result<Vec<_>, _>>() {
            Ok(pids) if !pids.is_empty() => Ok(Pids(pids)),
            _ => Err("numbers of processes, as `pgrep -x worker` lists them".to_owned()),
        }
    }
}

impl Bench {
    /// What no single argument shows.
    pub(super) fn check(&self) -> Result<(), String> {
        let (publishers, subscribers) = (u64::from(self.publishers), u64::from(self.subscribers));
        let window = if self.rate.is_some() { OPEN_WINDOW } else { self.window };
        if publishers > subscribers {
            return Err(
                "whoever publishes receives as well: --publishers is at most --subscribers".to_owned()
            );
        }
        if publishers * subscribers > PAIRS {
            return Err(format!("--publishers times --subscribers is {PAIRS} at most: lessen one of them"));
        }
        if publishers * u64::from(window) * u64::from(self.size) > UNDER_WAY_BYTES {
            return Err(
                "more than 1 GiB would be under way: lessen --publishers, --window or --size".to_owned()
            );
        }
        Ok(())
    }
}

fn some_time(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    (!duration.is_zero()).then_some(duration).ok_or_else(|| "more than nothing, for example 10s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Args, Command};
    use super::*;

    /// What is said of a command line: by a single argument's bounds, or by those of several together.
    fn parse(line: &[&str]) -> Result<Bench, String> {
        use clap::Parser;
        let args = Args::try_parse_from([&["client", "bench"], line].concat());
        let args = args.map_err(|error| error.to_string())?;
        args.check()?;
        match args.command {
            Some(Command::Bench(bench)) => Ok(bench),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn absurd_values_are_mistakes_on_the_command_line() {
        for line in [
            &["--duration", "10000000000000000000s"][..],
            &["--duration", "500000000000years"],
            &["--duration", "0s"],
            &["--warm-up", "500000000000years"],
            &["--rate", "0"],
            &["--rate", "-1"],
            &["--rate", "inf"],
            &["--rate", "1e300"],
            &["--rate", "1e-300"],
            &["--window", "0"],
            &["--window", "9999999999"],
            &["--size", "0"],
            &["--size", "9999999999"],
            &["--subscribers", "0"],
            &["--subscribers", "9999999999"],
            &["--publishers", "0"],
            &["--publishers", "9999999999"],
            &["--pid", "x"],
            &["--pid", ""],
            &["--pid", "99999999999"],
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
        for (line, part) in [
            (&["--publishers", "10", "--subscribers", "2"][..], "at most --subscribers"),
            (&["--publishers", "9999", "--subscribers", "60000"], "lessen one of them"),
            (&["--publishers", "100", "--window", "4096", "--size", "65536"], "more than 1 GiB"),
            (&["--publishers", "2000", "--subscribers", "2000", "--rate", "1", "--size", "65536"], "1 GiB"),
        ] {
            let sentence = parse(line).unwrap_err();
            assert!(sentence.contains(part), "{line:?}: {sentence}");
        }
        for line in [
            &["--publishers", "10", "--subscribers", "10"][..],
            &["--publishers", "1000", "--subscribers", "10000", "--window", "1"],
            &["--window", "4096", "--size", "65536"],
            &["--duration", "1ms", "--rate", "0.1"],
        ] {
            assert_eq!(parse(line).map(drop), Ok(()), "{line:?}");
        }
    }

    #[test]
    fn processes_are_given_as_pgrep_lists_them() {
        for line in [
            &["--pid", "1", "--pid", "2"][..],
            &["--pid", "1", "2", "--json"],
            &["--pid", "1\n2"],
            &["--pid=1,2"],
        ] {
            let pids: Vec<u32> = parse(line).unwrap().pids.into_iter().flat_map(|Pids(pids)| pids).collect();
            assert_eq!(pids, [1, 2], "{line:?}");
        }
    }
}
