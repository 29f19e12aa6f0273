//! `client status`: asks the main coordinator how the network is, or whoever answers in its place, and shows it.

mod table;

pub(super) use table::columns;

use std::collections::VecDeque;
use std::time::SystemTime;

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
    let report =
        walk(&connection, command.timeout, async |round: &mut Round| ask_main(round, &question).await)
            .await?;
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

/// The main coordinator's report; where it has none to give, that of the first other one that has. `None`: nobody answered.
async fn ask_main(round: &mut Round, question: &Message) -> Option<Result<StatusReport, String>> {
    let mut asked: Vec<Address> = Vec::new();
    let mut left: VecDeque<Address> = round.coordinators.clone().into();
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
            Err(AskError::Unanswered(_) | AskError::Unreachable(_)) => {}
        }
        asked.push(at);
    }
    second_best.map(Ok)
}
