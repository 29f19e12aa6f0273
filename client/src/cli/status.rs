//! `client status`: asks a coordinator what it knows, and shows it.

use common::wire::{self, Message, StatusReport};

use super::one_question::{ask_within, network_secret};
use crate::args::{Connection, Status};
use crate::display::escape;

pub(super) async fn run(connection: Connection, command: Status) -> Result<(), String> {
    let secret = network_secret(&connection)?;
    match ask_within(&connection, command.timeout, wire::Status { secret, conflicts: false }, true).await? {
        Message::StatusReport(report) => {
            print!("{}", if command.json { json(&report) } else { table(&report) });
            Ok(())
        }
        other => Err(format!("there is no status: the answer was {}", other.command())),
    }
}

fn json(report: &StatusReport) -> String {
    serde_json::to_string(report).expect("a report serialises") + "\n"
}

fn table(report: &StatusReport) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    let clients: u64 = report.workers.iter().map(|worker| worker.load).sum();
    writeln!(
        text,
        "coordinator {}, network {}: {} users, {clients} clients on {} workers",
        report.id,
        escape(&report.network),
        report.users,
        report.workers.len()
    )
    .expect("a String takes all");
    let width = report.workers.iter().map(|worker| worker.server.id.as_str().len()).max().unwrap_or(0);
    for worker in &report.workers {
        let id = worker.server.id.as_str();
        let state = if worker.connected { "" } else { "  connection lost" };
        let coming =
            if worker.expected > 0 { format!(" (+{} on their way)", worker.expected) } else { String::new() };
        let address = worker.server.address.to_string();
        writeln!(text, "  {id:width$}  {}  {} clients{coming}{state}", escape(&address), worker.load)
            .expect("a String takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use common::wire::Message;

    use super::*;

    #[test]
    fn the_table_shows_each_worker_with_its_load() {
        let report = r#"{"command":"STATUS_REPORT","id":"c1","network":"n1","users":3,"workers":[
            {"id":"worker-a","hostname":"127.0.0.1","port":4001,"load":453,"expected":2,"connected":true},
            {"id":"w","hostname":"::1","port":4002,"load":0,"expected":0,"connected":false}]}"#;
        let Ok(Message::StatusReport(report)) = Message::decode(report.as_bytes()) else {
            panic!("not a report")
        };
        assert_eq!(
            table(&report),
            "coordinator c1, network n1: 3 users, 453 clients on 2 workers\n  \
             worker-a  127.0.0.1:4001  453 clients (+2 on their way)\n  \
             w         [::1]:4002  0 clients  connection lost\n"
        );
    }
}
