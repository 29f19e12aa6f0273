//! `coordinator export` and `coordinator import`, as somebody runs them: what they print.

use std::path::Path;

use common::boot::Clock;
use indicatif::{ProgressBar, ProgressStyle};

use super::store::{Store, StoreError};
use super::transfer::{self, Imported, TransferError};

/// Writes the users of the coordinator that keeps them in `data_dir`, and does not run, to `file`.
///
/// # Errors
/// A sentence that says what to do.
pub fn export(data_dir: &Path, file: &Path) -> Result<(), String> {
    if !Store::exists(data_dir) {
        return Err(format!(
            "no coordinator keeps users in {}: name its directory with --data-dir",
            data_dir.display()
        ));
    }
    let bar = progress("exported {human_pos} users");
    let export = || -> Result<u64, TransferError> {
        let (store, _) = Store::open(data_dir, None)?;
        transfer::export(&store.snapshot()?, file, Clock::start().now().wall, |count| bar.set_position(count))
    };
    let outcome = export();
    bar.finish_and_clear();
    let count = outcome.map_err(|error| explain(&error))?;
    println!("exported {} to {}", registrations(count), file.display());
    Ok(())
}

/// Takes users from `file` into the store of the coordinator that keeps them in `data_dir`, and does not run; makes the store where there
/// is none.
///
/// # Errors
/// A sentence that says what to do.
pub fn import(data_dir: &Path, file: &Path, other_network: bool) -> Result<(), String> {
    let bar = progress("{bar:40} {percent}% of {binary_total_bytes}");
    let import = || -> Result<Imported, TransferError> {
        let (mut store, opened) = Store::open(data_dir, None)?;
        transfer::import(&mut store, opened, file, Clock::start().now().wall, other_network, |read, of| {
            bar.set_length(of);
            bar.set_position(read);
        })
    };
    let outcome = import();
    bar.finish_and_clear();
    let Imported { total, news } = outcome.map_err(|error| explain(&error))?;
    println!("imported {} from {}: {news} of them were news", registrations(total), file.display());
    Ok(())
}

/// A line of progress on standard error, where that is a terminal.
fn progress(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is right");
    ProgressBar::no_length().with_style(style)
}

fn registrations(count: u64) -> String {
    if count == 1 { "1 registration".to_owned() } else { format!("{count} registrations") }
}

fn explain(error: &TransferError) -> String {
    match error {
        TransferError::Store(StoreError::Busy(directory)) => {
            format!(
                "the coordinator that keeps its users in {} is running: stop it first",
                directory.display()
            )
        }
        other => other.to_string(),
    }
}
