//! `client bench`: how much a network carries, and how fast, with every delivery checked.
//!
//! A load of its own instead of the library's clients: it is to measure the servers, and costs far less than they do (`load`). It speaks
//! any [`Protocol`], so that other systems can be measured in the same way; [`Freshet`] is the one of this network.

mod connect;
mod freshet;
mod lasting;
mod ledger;
mod load;
mod meter;
mod payload;
mod plan;
mod process;
mod protocol;
mod report;

use std::time::Duration;

use crate::args::{Bench, Connection, Pids};

pub use freshet::{As, Freshet};
pub use load::run;
pub use payload::{LEAST_BYTES, PUBLISHERS, Payloads};
pub use plan::{Faults, Outcome, Pace, Plan, Servers};
pub use process::Usage;
pub use protocol::{Frame, Noted, Protocol};
use report::{Clients, Report};

/// Runs the subcommand. It blocks this thread, which does nothing else.
pub(super) fn bench(connection: &Connection, command: &Bench) -> Result<(), String> {
    common::boot::raise_file_limit();
    let plan = plan(command);
    let secret = match connection.username.is_anonymous() {
        true => None,
        false => super::given_secret(connection)?,
    };
    let identity = As { username: connection.username.clone(), secret, classic: command.classic };
    let freshet = match &command.worker {
        Some(worker) => Freshet::at(std::slice::from_ref(worker), identity, None)?,
        None => Freshet::through(&super::known_coordinators(connection), identity, plan.subscribers)?,
    };
    let freshet = if command.reconnect { freshet.lasting() } else { freshet };
    let clients =
        Clients { workers: freshet.workers(), classic: command.classic, reconnect: command.reconnect };
    let outcome = run(freshet, &plan)?;
    let report = Report::new(&plan, clients, &outcome);
    super::output::print(&format!("{}\n", if command.json { report.json() } else { report.text() }))?;
    match (outcome.faults.sentence(), outcome.deliveries) {
        (Some(sentence), _) => Err(sentence),
        (None, 0) => {
            Err("nothing came in the time that was measured: lengthen --duration, or heighten --rate"
                .to_owned())
        }
        (None, _) => Ok(()),
    }
}

fn plan(command: &Bench) -> Plan {
    let (publishers, subscribers) = (command.publishers as usize, command.subscribers as usize);
    let pace = match command.rate {
        Some(rate) => Pace::Rate(rate),
        None => {
            let window = command.window as usize;
            Pace::Window { window, piece: (window / 4).clamp(1, 16) }
        }
    };
    Plan {
        publishers,
        subscribers,
        payloads: Payloads::OfSize(command.size as usize),
        pace,
        settle: Duration::ZERO,
        warm_up: command.warm_up,
        duration: command.duration,
        pids: command.pids.iter().flat_map(|Pids(pids)| pids).copied().collect(),
        awake: false,
    }
}
