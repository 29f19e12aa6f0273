//! `client status`: asks how the network is, and shows it. Unlike everybody else, who wants to find the network, it begins with the
//! coordinators that it was given: in a network cut in two, each side has a view of its own, and whoever names a coordinator wants that of
//! its side.

mod table;

pub(super) use table::columns;

use std::collections::VecDeque;
use std::time::SystemTime;

use common::boot;
use common::wire::{self, Address, BackupEntry, Message, Role, ServerEntry, StatusReport};

use super::memory;
use super::one_question::{Round, network_secret, walk};
use super::output::print;
use crate::args::{Connection, Status};
use crate::ask::AskError;
use crate::display::escape;

pub(super) async fn run(connection: Connection, command: Status) -> Result<(), String> {
    let secret = network_secret(&connection)?;
    let question = wire::Status { secret, conflicts: command.conflicts }.into();
    let (given, quiet) = (&connection.coordinators, connection.quiet);
    let ask = async |round: &mut Round| ask_around(round, given, quiet, &question).await;
    let report = walk(&connection, command.timeout, ask).await?;
    if let Some(memory) = memory(&connection) {
        memory.keep(&servers(&report));
    }
    print(&match command.json {
        true => serde_json::to_string(&report).expect("a report serialises") + "\n",
        false => table::table(&report, SystemTime::now()),
    })
}

/// The servers of a report, in the order in which they would be told to a session: whoever asked today finds them tomorrow.
fn servers(report: &StatusReport) -> Vec<BackupEntry> {
    let workers = report.workers.iter().map(|worker| (&worker.server, Role::Worker));
    let coordinators = report.coordinators.iter();
    // One that is not connected is no main coordinator, whatever it was.
    let coordinators =
        coordinators.map(|coordinator| (&coordinator.server, coordinator.role.unwrap_or(Role::Backup)));
    let entry = |(server, role): (&ServerEntry, Role)| BackupEntry {
        id: Some(server.id.clone()),
        address: server.address.clone(),
        role,
    };
    workers.chain(coordinators).map(entry).collect()
}

/// The report of those who were given, or, where none of them answers, of those that are remembered, and a word about that. `None`: nobody
/// answered.
async fn ask_around(
    round: &mut Round,
    given: &[Address],
    quiet: bool,
    question: &Message,
) -> Option<Result<StatusReport, String>> {
    if let Some(outcome) = ask_main(round, given.to_vec(), question).await {
        return Some(outcome);
    }
    let why = round.last.reason().to_owned();
    let others = round.coordinators.iter().filter(|known| !given.contains(known)).cloned().collect();
    let outcome = ask_main(round, others, question).await?;
    if let (Ok(report), false) = (&outcome, quiet) {
        let given: Vec<String> = given.iter().map(Address::to_string).collect();
        boot::note(&format!(
            "no status from {} ({}): this is what {} says, of which the network told before",
            given.join(", "),
            escape(&why),
            report.id
        ));
    }
    Some(outcome)
}

/// The report of the main coordinator that these know of; where it has none to give, that of the first of them that has. `None`: nobody
/// answered.
async fn ask_main(
    round: &mut Round,
    coordinators: Vec<Address>,
    question: &Message,
) -> Option<Result<StatusReport, String>> {
    let mut asked: Vec<Address> = Vec::new();
    let mut left: VecDeque<Address> = coordinators.into();
    let mut second_best = None;
    while let Some(at) = left.pop_front() {
        if asked.contains(&at) {
            continue;
        }
        match round.ask(&at, question).await {
            Ok(Message::StatusReport(report)) if report.role == Role::Main => return Some(Ok(report)),
            Ok(Message::StatusReport(report)) => {
                let main =
                    report.coordinators.iter().find(|coordinator| coordinator.role == Some(Role::Main));
                if let Some(main) = main {
                    left.push_front(main.server.address.clone());
                }
                second_best.get_or_insert(report);
            }
            // There is no room for another connection.
            Ok(Message::LoginFailed(failed)) => round.busy(&at, &failed.info, failed.retry_after),
            Ok(other) => {
                return Some(Err(format!("there is no status: the answer was {}", other.command())));
            }
            Err(AskError::Refused(info)) => return Some(Err(format!("{at} refused: {}", escape(&info)))),
            Err(AskError::Unanswered(_) | AskError::Unreachable(_) | AskError::NoCoordinator(_)) => {}
        }
        asked.push(at);
    }
    second_best.map(Ok)
}
