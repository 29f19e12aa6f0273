//! Starts a whole Freshet network on this machine, plays real activities through it, and shows what happens.

mod board;
mod play;
mod screen;

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use common::boot;
use common::wire::Address;
use playground::binaries;
use playground::network::{Network, Setup};

use board::Board;
use screen::Screen;

/// Starts a whole Freshet network on this machine (one coordinator and some workers, each a process of its own), plays a
/// sample of real activities through it, and shows what happens until Ctrl-C.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  playground                     one coordinator, three workers, 20 activities a second
  playground --workers 5 --rate 200
  playground | cat               a line every few seconds instead of a picture")]
struct Args {
    /// How many workers to start
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    workers: u8,

    /// Activities a second
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
}

/// How long a server may take to drain.
const DRAIN: Duration = Duration::from_secs(10);

/// How often the picture is drawn, and the coordinator asked.
const FRAME: Duration = Duration::from_millis(250);

fn main() -> ExitCode {
    let args = Args::parse();
    boot::raise_file_limit();
    boot::run(run(args))
}

async fn run(args: Args) -> Result<(), String> {
    let stop = boot::shutdown_signal();
    tokio::pin!(stop);
    eprintln!("Building and starting a coordinator and {} workers ...", args.workers);
    let directory =
        tempfile::tempdir().map_err(|error| format!("cannot make a temporary directory: {error}"))?;
    let network = {
        let (workers, data) = (usize::from(args.workers), directory.path().to_owned());
        let start = tokio::task::spawn_blocking(move || start(workers, data));
        tokio::select! {
            started = start => started.map_err(|error| error.to_string())??,
            () = &mut stop => return Ok(()),
        }
    };
    let coordinator = network.address().clone();
    let board = Rc::new(RefCell::new(Board::new(&network)));
    let players = play::start(&coordinator, args.rate, &board);
    let watcher = tokio::task::spawn_local(play::watch_loads(coordinator.clone(), Rc::clone(&board)));
    let mut screen = Screen::new(how_to_join(&coordinator));
    let mut frames = tokio::time::interval(FRAME);
    loop {
        tokio::select! {
            _ = frames.tick() => screen.draw(&mut board.borrow_mut()),
            () = &mut stop => break,
        }
    }
    screen.finish();
    eprintln!("Draining ...");
    watcher.abort();
    players.stop().await;
    tokio::task::spawn_blocking(move || drain(network)).await.map_err(|error| error.to_string())?
}

/// On the usual port, so that clients need no flag; on any other where that is taken.
fn start(workers: usize, data: std::path::PathBuf) -> Result<Network, String> {
    let binaries = binaries::locate()?;
    let usual = std::net::TcpListener::bind(common::wire::DEFAULT_COORDINATOR).is_ok();
    let listen = if usual { common::wire::DEFAULT_COORDINATOR } else { "127.0.0.1:0" };
    Network::start(binaries, Setup { listen: listen.to_owned(), workers, data, environment: Vec::new() })
}

fn drain(mut network: Network) -> Result<(), String> {
    let Network { coordinator, workers, .. } = &mut network;
    for server in workers.iter_mut().chain([coordinator]) {
        let status = server.terminate(DRAIN)?;
        if !status.success() {
            return Err(format!("{} ended with {status}:\n{}", server.name(), server.log_tail(10)));
        }
    }
    Ok(())
}

/// The three commands with which the reader joins.
fn how_to_join(coordinator: &Address) -> Vec<String> {
    let client =
        if std::env::var_os("CARGO").is_some() { "cargo run --release -p client --" } else { "client" };
    let usual = coordinator.to_string() == common::wire::DEFAULT_COORDINATOR;
    let at = if usual { String::new() } else { format!(" --coordinator {coordinator}") };
    vec![
        format!("{client}{at}                          type, and everybody reads"),
        format!("{client}{at} tail --count 10          see ten activities"),
        format!("{client}{at} send '{{\"type\":\"Note\",\"content\":\"hello\"}}'"),
    ]
}
