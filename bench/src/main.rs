//! Compares Freshet with NATS, Redis Pub/Sub and Mosquitto: the same load, the same machine, interleaved rounds, medians and ratios.
//!
//! The servers have one CPU, the load has another. In each round every cell is measured once with every system, each freshly started and in
//! another order than in the round before (`order`), so that what else the machine does falls on all of them alike. Where it is busy, CPU
//! for a delivery says more than deliveries a second.

mod cells;
mod conditions;
mod crosscheck;
mod data;
mod interrupt;
mod mqtt;
mod nats;
mod order;
mod output;
mod ratio;
mod redis;
mod systems;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use client::cli::bench::Outcome;
use playground::binaries::{self, Binaries};
use rustix::thread::CpuSet;

use cells::{Cell, Figures};
use output::Output;
use systems::Cpus;
use table::Table;

/// Compare Freshet with NATS, Redis Pub/Sub and Mosquitto on this machine
#[derive(Debug, Parser)]
#[command(
    name = "compare",
    after_help = "\
Examples:
  bench/compare                                   everything, some twenty minutes
  bench/compare --quick                           a first look, in some minutes
  bench/compare --cell 1x100 --cell 10x100        these cells alone
  bench/compare --output table.md                 the table to a file as well

Exit codes:
  0  all was measured, whatever came of it    1  something was not, or not everything came once and in order
  2  a mistake on the command line            129, 130, 143  interrupted: nothing is left behind"
)]
struct Args {
    /// Short measurements, few rounds, fewer idle connections
    #[arg(long)]
    quick: bool,

    /// How many rounds [default: 5; with --quick 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,

    /// Measure this cell alone (and 1x100 with two-workers, which is compared with it); may be given several times
    #[arg(long = "cell", value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(cells::NAMES))]
    cells: Vec<String>,

    /// Activities for the cell real-data, one in each line, compressed by gzip; without it, some of the same sizes are made up
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,

    /// A file to write the table to
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// A file to write every round's figures to, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// The CPU of the servers
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    servers_cpu: usize,

    /// The CPU of the load
    #[arg(long, value_name = "CPU", default_value_t = 1)]
    load_cpu: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(sentence) = args.check(&available_cpus()) {
        Args::command().error(ErrorKind::ValueValidation, sentence).exit();
    }
    let outcome = interrupt::watch().and_then(|()| compare(&args));
    let Err(sentence) = outcome else { return ExitCode::SUCCESS };
    common::boot::note(&format!("error: {sentence}"));
    interrupt::code().map_or(ExitCode::FAILURE, ExitCode::from)
}

impl Args {
    /// What no single argument shows: whether the CPUs, of which `available` can be had, are there, and are two.
    fn check(&self, available: &[usize]) -> Result<(), String> {
        let there = available.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let advice = format!("say with --servers-cpu and --load-cpu which two of CPUs {there} to use");
        match (self.servers_cpu, self.load_cpu) {
            _ if available.len() < 2 => Err(format!(
                "servers and load need a CPU each, and there is CPU {there} alone: use a machine with two"
            )),
            (servers, load) if servers == load => Err(format!("servers and load need a CPU each: {advice}")),
            (servers, load) => match [servers, load].into_iter().find(|cpu| !available.contains(cpu)) {
                Some(cpu) => Err(format!("CPU {cpu} is not there: {advice}")),
                None => Ok(()),
            },
        }
    }

    /// Whether to measure a cell: it is asked for, or one that is compared with it.
    fn wants(&self, cell: &Cell) -> bool {
        let asked = |name: &str| self.cells.iter().any(|cell| cell == name);
        let is_partner = cell.name == cells::ONE_WORKER && asked(cells::TWO_WORKERS);
        self.cells.is_empty() || asked(cell.name) || is_partner
    }
}

fn compare(args: &Args) -> Result<(), String> {
    common::boot::raise_file_limit();
    let outputs = [&args.output, &args.json].map(|path| path.as_deref().map(Output::new).transpose());
    let [output, json] = outputs;
    let (output, json) = (output?, json?);
    let binaries = binaries::locate()?;
    let cpus = Cpus { servers: args.servers_cpu, load: args.load_cpu };
    let rounds = args.rounds.unwrap_or(if args.quick { 2 } else { 5 });
    let objects = data::objects(args.data.as_deref())?;
    let cells = cells::all(args.quick, objects).into_iter().filter(|cell| args.wants(cell)).collect();
    let mut table = Table::new(cells);
    let mut failed = measure(&mut table, rounds, &binaries, cpus)?;
    let crosscheck = match args.cells.is_empty() {
        true => crosscheck::run(args.quick, cpus).unwrap_or_else(|error| {
            failed.push("the cross-check".to_owned());
            format!("{error}\n\n")
        }),
        false => String::new(),
    };
    interrupt::check()?;
    let conditions = conditions::lines(&binaries, args, rounds, table.cells());
    let list: String = conditions.iter().map(|line| format!("- {line}\n")).collect();
    let text = format!("{}\n{crosscheck}{list}", table.text());
    print!("{text}");
    output.map_or(Ok(()), |output| output.write(&text))?;
    json.map_or(Ok(()), |json| json.write(&format!("{}\n", table.json(&conditions))))?;
    match failed.as_slice() {
        [] => Ok(()),
        failed => Err(format!("not everything was measured, see above: {}", failed.join("; "))),
    }
}

/// Measures every cell with every system, once a round. Returns what failed.
///
/// # Errors
/// A sentence, where it was interrupted.
fn measure(table: &mut Table, rounds: u32, binaries: &Binaries, cpus: Cpus) -> Result<Vec<String>, String> {
    let mut failed = Vec::new();
    for round in 1..=rounds {
        for (index, system) in order::of(round, table.cells()) {
            let cell = table.cells()[index].clone();
            let outcome = system.measure(binaries, &cell, cpus).and_then(|outcome| sound(&cell, outcome));
            interrupt::check()?;
            let what = format!("round {round}, {}, {}", cell.name, system.name());
            let line = match outcome {
                Ok(outcome) => {
                    table.add(index, system, round, &outcome);
                    table::line(cell.figures, &outcome)
                }
                Err(error) => {
                    failed.push(what.clone());
                    error
                }
            };
            common::boot::note(&format!("{what}: {line}"));
        }
    }
    Ok(failed)
}

/// An outcome counts where everything came, once and in order, from servers that lived.
fn sound(cell: &Cell, outcome: Outcome) -> Result<Outcome, String> {
    match outcome.faults.sentence() {
        Some(sentence) => Err(sentence),
        None if !outcome.gone.is_empty() => Err("a server has ended meanwhile".to_owned()),
        None if outcome.deliveries == 0 && cell.figures != Figures::Connects => {
            Err("nothing came in the time that was measured".to_owned())
        }
        None => Ok(outcome),
    }
}

/// The CPUs that this process may use.
fn available_cpus() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// This process, and what it starts from now on, runs on `cpu` alone.
fn pin(cpu: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).map_err(|error| format!("cannot run on CPU {cpu}: {error}"))
}

/// Reads a length.
fn number(digits: &[u8]) -> Result<usize, String> {
    let text = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
    text.ok_or_else(|| format!("{:?} is no length", String::from_utf8_lossy(digits)))
}

#[cfg(test)]
mod tests {
    use client::cli::bench::{Frame, Protocol};

    use super::*;

    #[test]
    fn what_cannot_be_measured_is_a_mistake_on_the_command_line() {
        for line in [
            ["--rounds", "0"],
            ["--rounds", "99999999999"],
            ["--load-cpu", "99999999999999999999"],
            ["--cell", "nowhere"],
        ] {
            assert!(Args::try_parse_from([&["compare"][..], &line].concat()).is_err(), "{line:?}");
        }
        let check = |line: &[&str], available: &[usize]| {
            Args::try_parse_from([&["compare"], line].concat()).unwrap().check(available)
        };
        assert_eq!(check(&[], &[0, 1]), Ok(()));
        assert_eq!(check(&["--servers-cpu", "3", "--load-cpu", "2"], &[2, 3]), Ok(()));
        for (line, available, part) in [
            (&["--load-cpu", "7"][..], &[0, 1][..], "CPU 7 is not there"),
            (&["--load-cpu", "9999999"], &[0, 1], "CPU 9999999 is not there"),
            (&["--servers-cpu", "1"], &[0, 1], "a CPU each"),
            (&[], &[0], "use a machine with two"),
        ] {
            let sentence = check(line, available).unwrap_err();
            assert!(sentence.contains(part), "{line:?}: {sentence}");
        }
    }

    #[test]
    fn two_workers_are_measured_beside_one() {
        let args = Args::try_parse_from(["compare", "--cell", "two-workers"]).unwrap();
        let cells = cells::all(true, data::objects(None).unwrap());
        let wanted: Vec<_> = cells.iter().filter(|cell| args.wants(cell)).map(|cell| cell.name).collect();
        assert_eq!(wanted, ["1x100", "two-workers"]);
    }

    /// A frame is found whole, and is not found before it is.
    fn check(protocol: &impl Protocol, frame: &[u8], payload_end: Option<usize>) {
        let longer = [frame, frame].concat();
        let expected = Some(Frame { len: frame.len(), payload_end });
        assert_eq!(protocol.frame(&longer), Ok(expected));
        for len in 0..frame.len() {
            assert_eq!(protocol.frame(&frame[..len]), Ok(None), "{len} bytes");
        }
    }

    #[test]
    fn deliveries_of_each_protocol_are_found_by_their_ends() {
        let address = "127.0.0.1:1".parse().unwrap();
        check(&nats::Nats(address), b"MSG b 1 5\r\n{\r\n }\r\n", Some(16));
        check(&nats::Nats(address), b"PING\r\n", None);
        check(&redis::Redis(address), b"*3\r\n$7\r\nmessage\r\n$1\r\nb\r\n$2\r\n{}\r\n", Some(30));
        check(&redis::Redis(address), b":100\r\n", None);
        let mut long = vec![0x30, 0x80 | 3, 1, 0, 1, b'b'];
        long.resize(3 + 131, b'x');
        check(&mqtt::Mqtt(address), &long, Some(134));
    }

    #[test]
    fn what_mqtt_publishes_is_what_it_delivers() {
        let mqtt = mqtt::Mqtt("127.0.0.1:1".parse().unwrap());
        for size in [2, 124, 125, 1_024, 20_000] {
            let mut out = Vec::new();
            mqtt.publish(1, &vec![b'x'; size], &mut out);
            let len = out.len();
            assert_eq!(mqtt.frame(&out), Ok(Some(Frame { len, payload_end: Some(len) })));
        }
    }
}
