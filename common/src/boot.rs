//! What every binary does first and last: logging, clocks, limits of the operating system, signals, the exit code.

use std::future::Future;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use tracing_subscriber::EnvFilter;

use crate::time::{Now, Time, WallMillis};

/// How a server logs.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// What to log: a level (error, warn, info, debug, trace), or a filter such as worker=debug
    #[arg(long, value_name = "FILTER", env = "FRESHET_LOG", default_value = "info")]
    pub log: String,

    /// Log JSON, one object a line, for machines to read
    #[arg(long)]
    pub log_json: bool,
}

/// Sends the log to standard error.
///
/// # Errors
/// A sentence, where the filter makes no sense.
pub fn init_logging(args: &LogArgs) -> Result<(), String> {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| format!("--log {:?}: {error}", args.log))?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if args.log_json {
        builder.json().init();
    } else {
        use std::io::IsTerminal;
        builder.with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()).init();
    }
    Ok(())
}

/// The two clocks of this process. Copies show the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts the monotonic clock at zero.
    pub fn start() -> Self {
        Clock { start: Instant::now() }
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        let time = Time::ZERO + self.start.elapsed();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { time, wall: WallMillis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)) }
    }
}

/// Sixty-four random bits from the operating system, to seed what a core draws.
///
/// # Panics
/// When the operating system has no randomness to give.
pub fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    u64::from_ne_bytes(bytes)
}

/// Raises the limit on open files as far as this user may: every connection is one. Returns what it is now.
pub fn raise_file_limit() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024)
}

/// Waits for SIGTERM or Ctrl-C. A second one ends the process at once, with the code that shells use for it.
pub async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("this process may handle SIGTERM");
    let mut interrupt = signal(SignalKind::interrupt()).expect("this process may handle SIGINT");
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    tokio::spawn(async move {
        let code = tokio::select! { _ = terminate.recv() => 143, _ = interrupt.recv() => 130 };
        std::process::exit(code);
    });
}

/// Runs a binary's future on one thread, and turns its outcome into a sentence and an exit code (1 for failure).
pub fn run(main: impl Future<Output = Result<(), String>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = tokio::task::LocalSet::new().block_on(&runtime, main);
            // Work on other threads (a name look-up, a hash) must not delay the exit.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(format!("cannot start: {error}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}
