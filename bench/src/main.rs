//! Compares Freshet with NATS, Redis Pub/Sub and Mosquitto: the same load, the same machine, interleaved rounds, medians and ratios.
//!
//! The servers have one CPU, the load has another. In each round every cell is measured once with every system, each freshly started, so
//! that what else the machine does falls on all of them alike. Where it is busy, CPU for a delivery says more than deliveries a second.

mod cells;
mod crosscheck;
mod data;
mod mqtt;
mod nats;
mod redis;
mod systems;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use playground::binaries;

use cells::Cell;
use systems::{Cpus, System};
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
  bench/compare --output table.md                 the table to a file as well"
)]
struct Args {
    /// Short measurements, few rounds, fewer idle connections
    #[arg(long)]
    quick: bool,

    /// How many rounds [default: 5; with --quick 2]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,

    /// Measure this cell alone; may be given several times
    #[arg(long = "cell", value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(cells::NAMES))]
    cells: Vec<String>,

    /// Activities for the cell real-data, one in each line, compressed by gzip; without it, some of the same sizes are made up
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,

    /// A file to write the table to
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// The CPU of the servers
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    servers_cpu: usize,

    /// The CPU of the load
    #[arg(long, value_name = "CPU", default_value_t = 1)]
    load_cpu: usize,
}

fn main() -> ExitCode {
    match compare(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            common::boot::note(&format!("error: {sentence}"));
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Result<(), String> {
    common::boot::raise_file_limit();
    let binaries = binaries::locate()?;
    let cpus = Cpus { servers: args.servers_cpu, load: args.load_cpu };
    let rounds = args.rounds.unwrap_or(if args.quick { 2 } else { 5 });
    let wanted = |cell: &Cell| args.cells.is_empty() || args.cells.iter().any(|name| name == cell.name);
    let objects = data::objects(args.data.as_deref())?;
    let cells: Vec<Cell> = cells::all(args.quick, objects).into_iter().filter(wanted).collect();
    let mut table = Table::new(cells);
    for round in 1..=rounds {
        for index in 0..table.cells().len() {
            for system in System::ALL {
                let cell = &table.cells()[index];
                if !system.knows(cell.setting) {
                    continue;
                }
                match system.measure(&binaries, cell, cpus) {
                    Ok(outcome) => {
                        common::boot::note(&format!(
                            "round {round}, {}, {}: {}",
                            cell.name,
                            system.name(),
                            table::line(cell.figures, &outcome)
                        ));
                        table.add(index, system, &outcome);
                    }
                    Err(error) => {
                        common::boot::note(&format!(
                            "round {round}, {}, {}: {error}",
                            cell.name,
                            system.name()
                        ));
                    }
                }
            }
        }
    }
    let crosscheck = match args.cells.is_empty() {
        true => crosscheck::run(args.quick, cpus).unwrap_or_else(|error| format!("{error}\n\n")),
        false => String::new(),
    };
    let text = format!("{}\n{crosscheck}{}", table.text(), conditions(&binaries, args, rounds));
    print!("{text}");
    match &args.output {
        Some(path) => {
            std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
        }
        None => Ok(()),
    }
}

/// Under which conditions it was measured.
fn conditions(binaries: &binaries::Binaries, args: &Args, rounds: usize) -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model =
        info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let mut text = format!(
        "{}, Linux {}; servers on CPU {}, load on CPU {}; {rounds} rounds; load average at the end {}\n\n",
        model.map_or("unknown CPU", |(_, model)| model),
        read("/proc/sys/kernel/osrelease").trim(),
        args.servers_cpu,
        args.load_cpu,
        read("/proc/loadavg").trim(),
    );
    for system in System::ALL {
        text.push_str(&format!("- {}: {}; {}\n", system.name(), system.version(binaries), system.settings()));
    }
    text
}

/// This process, and what it starts from now on, runs on `cpu` alone.
fn pin(cpu: usize) -> Result<(), String> {
    let mut set = rustix::thread::CpuSet::new();
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
