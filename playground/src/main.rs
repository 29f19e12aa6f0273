//! Starts a whole Freshet network on this machine, plays real activities through it, shows what happens, and lets whoever watches kill
//! parts of it.

mod board;
mod keys;
mod play;
mod screen;
mod stage;

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use clap::Parser;
use common::boot;
use common::wire::Address;
use playground::binaries;
use playground::network::{Network, Setup};

use board::Board;
use keys::{Key, Keys};
use screen::Screen;
use stage::Condition;

/// Starts a whole Freshet network on this machine (two coordinators and some workers, each a process of its own), plays a
/// sample of real activities through it, and shows what happens until Ctrl-C. Its keys kill and start each part: kill the main
/// coordinator, and see the standby take over.
#[derive(Debug, Parser)]
#[command(after_help = "Keys:
  a, b                           kill a coordinator (kill -9), or start it anew
  1, 2, 3 ...                    kill a worker, or start it anew
  q, Ctrl-C                      drain and stop everything

Examples:
  playground                     two coordinators, three workers, 20 activities a second
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

/// How often the picture is drawn.
const FRAME: Duration = Duration::from_millis(250);

fn main() -> ExitCode {
    let args = Args::parse();
    boot::raise_file_limit();
    boot::run(run(args))
}

async fn run(args: Args) -> Result<(), String> {
    let stop = boot::shutdown_signal();
    tokio::pin!(stop);
    boot::note(&format!("Building and starting two coordinators and {} workers ...", args.workers));
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
    let coordinators: Vec<Address> =
        network.coordinators().map(|coordinator| coordinator.address().clone()).collect();
    let board = Rc::new(RefCell::new(Board::new(board::parts(&network))));
    let (wish, wishes) = mpsc::channel();
    let (tell, mut news) = tokio::sync::mpsc::unbounded_channel();
    let stage = tokio::task::spawn_blocking(move || stage::tend(network, &wishes, tell));
    let players = play::start(&coordinators, args.rate, &board);
    let mut screen = Screen::new(how_to_join(&coordinators[0]));
    let watcher = tokio::task::spawn_local(play::watch_status(coordinators, Rc::clone(&board)));
    let mut keys = Keys::open();
    let mut frames = tokio::time::interval(FRAME);
    loop {
        tokio::select! {
            _ = frames.tick() => screen.draw(&mut board.borrow_mut()),
            Some(news) = news.recv() => board.borrow_mut().heard(news),
            key = Keys::next(&mut keys) => match key {
                Key::Quit => break,
                Key::Char(key) => press(key, &board.borrow(), &wish),
            },
            () = &mut stop => break,
        }
    }
    drop(keys);
    screen.finish();
    boot::note("Draining ...");
    watcher.abort();
    players.stop().await;
    drop(wish);
    stage.await.map_err(|error| error.to_string())?
}

/// Kills or starts the part of that key, unless it is being started already.
fn press(key: char, board: &Board, wish: &mpsc::Sender<String>) {
    if let Some(part) = board.part(key)
        && part.condition != Condition::Starting
    {
        // Where the stage is gone, the end has come.
        let _ = wish.send(part.name.clone());
    }
}

/// On the usual port, so that clients need no flag; on any other where that is taken.
fn start(workers: usize, data: std::path::PathBuf) -> Result<Network, String> {
    let binaries = binaries::locate()?;
    let usual = std::net::TcpListener::bind(common::wire::DEFAULT_COORDINATOR).is_ok();
    let listen = if usual { common::wire::DEFAULT_COORDINATOR } else { "127.0.0.1:0" };
    let setup = Setup { listen: listen.to_owned(), workers, data, environment: Vec::new() };
    let mut network = Network::start(binaries, setup)?;
    network.start_standby()?;
    Ok(network)
}

/// The three commands with which the reader joins.
fn how_to_join(coordinator: &Address) -> Vec<String> {
    let client =
        if std::env::var_os("CARGO").is_some() { "cargo run --release -p client --" } else { "client" };
    let usual = coordinator.to_string() == common::wire::DEFAULT_COORDINATOR;
    let at = if usual { String::new() } else { format!(" --coordinator {coordinator}") };
    vec![
        format!("{client}{at}                          type, and everybody reads"),
        format!("{client}{at} status                   coordinators, workers, who took over when"),
        format!("{client}{at} send '{{\"type\":\"Note\",\"content\":\"hello\"}}'"),
    ]
}
