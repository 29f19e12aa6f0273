//! What every binary does first and last: logging, clocks, limits of the operating system, signals, the exit code.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::time::{Now, Time, WallMillis};
use crate::wire::Address;

/// What the command lines of all servers have in common.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// Where others reach this server [default: where it listens]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<Address>,

    /// A file with the network secret, readable by you alone
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,

    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogArgs,
}

impl ServerArgs {
    /// Checks that others can connect to where a server that listens there says that it is. `what` it is stands in the sentence.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn check(&self, listen: SocketAddr, what: &str) -> Result<(), String> {
        match &self.advertise {
            None if listen.ip().is_unspecified() => Err(format!(
                "{listen} is no address that others could connect to: say with --advertise host:port where they reach this {what}"
            )),
            Some(Address { hostname, .. }) if matches!(hostname.as_str(), "0.0.0.0" | "::") => Err(format!(
                "{hostname} is no address that others could connect to: give --advertise a name or an address of this machine"
            )),
            _ => Ok(()),
        }
    }
}

/// What --listen is given.
///
/// # Errors
/// What to give instead.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| match text.parse::<Address>() {
        Ok(_) => "an IP address is needed here, as in 127.0.0.1:3780; names are for --advertise".to_owned(),
        Err(_) => "an IP address and a port are needed here, as in 127.0.0.1:3780".to_owned(),
    })
}

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
    let filter = filter(&args.log).map_err(|error| format!("--log {:?}: {error}", args.log))?;
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

/// The filter that a text means. A word that is no level would be taken for the name of a module, and nothing else would be logged.
fn filter(text: &str) -> Result<EnvFilter, String> {
    let has_level = |directive: &str| directive.contains('=') || directive.parse::<LevelFilter>().is_ok();
    if let Some(word) = text.split(',').map(str::trim).find(|word| !word.is_empty() && !has_level(word)) {
        let levels = "error, warn, info, debug, trace or off";
        return Err(format!("{word:?} is no level: say {levels}, or give it one, as in worker=debug"));
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
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

    /// When the first of them shows `time`.
    pub fn instant(&self, time: Time) -> Instant {
        self.start + time.since(Time::ZERO)
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

/// Waits for SIGTERM or Ctrl-C, from the moment of the call on: before it, they end the process. A second one ends it at once, with the
/// code that shells use for it.
pub fn shutdown_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("this process may handle SIGTERM");
    let mut interrupt = signal(SignalKind::interrupt()).expect("this process may handle SIGINT");
    async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tokio::spawn(async move {
            let code = tokio::select! { _ = terminate.recv() => 143, _ = interrupt.recv() => 130 };
            std::process::exit(code);
        });
    }
}

/// Says a sentence on standard error. Where nobody hears it (a closed pipe, a full disk) there is nobody to tell that, either.
pub fn note(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "{sentence}");
}

/// Runs a binary's future on one thread, and turns its outcome into a sentence and an exit code (1 for failure).
pub fn run(main: impl Future<Output = Result<(), String>> + 'static) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    let outcome = match runtime {
        Ok(runtime) => {
            // As a task: whenever what the runtime blocks on itself is woken, the system is asked once more in vain whether there is news.
            let main = runtime.spawn_local(main);
            let outcome = runtime.block_on(main).expect("main does not panic, and nobody aborts it");
            // Work on other threads (a name look-up, a hash) must not delay the exit.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(format!("cannot start: {error}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            note(&format!("error: {sentence}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_was_mistyped_is_no_filter() {
        for right in ["info", "WARN", "off", "info,worker=debug", "worker[{link}]=trace,warn", "3", ""] {
            assert!(filter(right).is_ok(), "{right}");
        }
        for wrong in ["lod", "info,worker", "worker=loud"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn where_to_listen_is_an_address_and_no_name() {
        assert_eq!(listen_address("[::1]:0").unwrap().port(), 0);
        for (wrong, why) in
            [("localhost:5791", "names are for --advertise"), ("127.0.0.1", "a port"), ("x", "a port")]
        {
            assert!(listen_address(wrong).unwrap_err().contains(why), "{wrong}");
        }
    }

    #[test]
    fn an_address_that_nobody_can_connect_to_is_not_advertised() {
        let check = |listen: &str, advertise: Option<&str>| {
            let advertise = advertise.map(|address| address.parse().unwrap());
            let log = LogArgs { log: "info".to_owned(), log_json: false };
            let args = ServerArgs { advertise, secret_file: None, log };
            args.check(listen.parse().unwrap(), "server")
        };
        assert_eq!(check("127.0.0.1:0", None), Ok(()));
        assert_eq!(check("0.0.0.0:1", Some("example.org:1")), Ok(()));
        for (listen, advertise) in [
            ("0.0.0.0:3780", None),
            ("[::]:3780", None),
            ("0.0.0.0:3780", Some("0.0.0.0:3780")),
            ("127.0.0.1:3780", Some("[::]:3780")),
        ] {
            assert!(check(listen, advertise).is_err(), "{listen} {advertise:?}");
        }
    }
}
