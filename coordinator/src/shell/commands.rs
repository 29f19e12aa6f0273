//! `coordinator export` and `coordinator import`, as somebody runs them: whom they ask, and what they print.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use common::boot::Clock;
use common::network_secret::{self, IfMissing};
use indicatif::{ProgressBar, ProgressStyle};

use super::remote::Remote;
use super::store::{Opened, Store, StoreError};
use super::transfer::{self, Imported};
use crate::config::StoreConfig;

/// Writes the users of a coordinator to `file`.
///
/// # Errors
/// A sentence that says what to do.
pub fn export(config: &StoreConfig, file: &Path) -> Result<(), String> {
    if !Store::exists(&config.data_dir) {
        let directory = config.data_dir.display();
        return Err(format!("no coordinator keeps users in {directory}: name its directory with --data-dir"));
    }
    let bar = progress("exported {human_pos} users");
    let (now, count) = (Clock::start().now().wall, |count| bar.set_position(count));
    let outcome = find(config).and_then(|keeper| match keeper {
        Keeper::Running(remote) => remote.export(file, now, count).map_err(|error| error.to_string()),
        Keeper::Stopped(store, _) => {
            let snapshot = store.snapshot().map_err(|error| error.to_string())?;
            transfer::export(&snapshot, file, now, count).map_err(|error| error.to_string())
        }
    });
    bar.finish_and_clear();
    println!("exported {} to {}", registrations(outcome?), file.display());
    Ok(())
}

/// Takes users from `file` into the store of a coordinator, which is made where there is none.
///
/// # Errors
/// A sentence that says what to do.
pub fn import(config: &StoreConfig, file: &Path, other_network: bool) -> Result<(), String> {
    let bar = progress("{bar:40} {percent}% of {binary_total_bytes}");
    let read = |read, of| {
        bar.set_length(of);
        bar.set_position(read);
    };
    let outcome = find(config).and_then(|keeper| match keeper {
        Keeper::Running(remote) => {
            remote.import(file, other_network, read).map_err(|error| error.to_string())
        }
        Keeper::Stopped(mut store, opened) => {
            let now = Clock::start().now().wall;
            let imported = transfer::import(&mut store, *opened, file, now, other_network, read);
            imported.map_err(|error| error.to_string())
        }
    });
    bar.finish_and_clear();
    let Imported { total, news } = outcome?;
    println!("imported {} from {}: {news} of them were news", registrations(total), file.display());
    Ok(())
}

/// Who keeps the users.
enum Keeper {
    /// A coordinator that runs.
    Running(Remote),
    /// Nobody, at the moment.
    Stopped(Store, Box<Opened>),
}

fn find(config: &StoreConfig) -> Result<Keeper, String> {
    match Store::open(&config.data_dir, None) {
        Ok((store, opened)) => Ok(Keeper::Stopped(store, opened.into())),
        Err(busy @ StoreError::Busy(_)) => {
            let address = Store::whereabouts(&config.data_dir).ok_or_else(|| busy.to_string())?;
            let (file, here) = (config.secret_file.as_deref(), IpAddr::V4(Ipv4Addr::LOCALHOST));
            let secret =
                network_secret::load(file, here, IfMissing::Fail).map_err(|error| error.to_string())?;
            Remote::connect(address, secret).map(Keeper::Running).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A line of progress on standard error, where that is a terminal.
fn progress(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is right");
    ProgressBar::no_length().with_style(style)
}

fn registrations(count: u64) -> String {
    if count == 1 { "1 registration".to_owned() } else { format!("{count} registrations") }
}
