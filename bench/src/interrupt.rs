//! An interrupted run leaves nothing behind: no server, no directory.
//!
//! All that is started and made belongs to a value that ends it when it is dropped, also where a step fails or panics. So what a signal
//! needs is that the one thread that measures comes to its end soon: its servers are killed, whereupon whatever it waits for fails, and it
//! looks here before it begins anything new.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

/// The code that shells use for a process that a signal ended; 0 while there was none.
static CODE: AtomicU8 = AtomicU8::new(0);

/// How long to wait until it is looked once more for servers: one may just have been started.
const AGAIN: Duration = Duration::from_millis(20);

/// From now on SIGINT, SIGTERM and SIGHUP (its terminal is gone) do not end this process, but what it has started.
///
/// # Errors
/// A sentence, where the system does not let it.
pub(crate) fn watch() -> Result<(), String> {
    let trouble = |error: std::io::Error| format!("cannot listen for signals: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(trouble)?;
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _entered = runtime.enter();
        let listen = |kind| signal(kind).map_err(trouble);
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            let code = tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
                _ = hang_up.recv() => 129,
            };
            CODE.store(code, Ordering::SeqCst);
        });
        loop {
            kill_children();
            std::thread::sleep(AGAIN);
        }
    });
    Ok(())
}

/// With which code to end, where a signal has come.
pub(crate) fn code() -> Option<u8> {
    Some(CODE.load(Ordering::SeqCst)).filter(|code| *code != 0)
}

/// Whether to go on.
///
/// # Errors
/// A sentence, where a signal has come.
pub(crate) fn check() -> Result<(), String> {
    code().map_or(Ok(()), |_| Err("interrupted".to_owned()))
}

/// Kills the processes that this one has started.
fn kill_children() {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.filter(|process| parent(&process.path()) == Some(std::process::id())) {
        let pid = process.file_name().to_str().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        // It may have ended by itself.
        let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
    }
}

/// Who has started the process that this directory of `/proc` is about: the second field after its name, which ends with a bracket.
fn parent(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}
