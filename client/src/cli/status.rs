//! `client status`: asks a coordinator what it knows, and shows it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use common::network_secret::{self, IfMissing};
use common::wire::StatusReport;

use super::unreachable;
use crate::args::{Connection, Status};
use crate::display::escape;
use crate::status::{StatusError, status};

/// Pause between two rounds of attempts.
const PAUSE: Duration = Duration::from_millis(250);

pub(super) async fn run(connection: Connection, command: Status) -> Result<(), String> {
    // Nobody connects to us, so there is nobody to protect by insisting on a given secret.
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let secret = network_secret::load(connection.secret_file.as_deref(), loopback, IfMissing::Fail)
        .map_err(|error| error.to_string())?;
    let mut last = String::from("no answer yet");
    let attempts = async {
        loop {
            for coordinator in &connection.coordinators {
                match status(coordinator, &secret).await {
                    Ok(report) => return Ok(report),
                    Err(StatusError::Refused(info)) => {
                        return Err(format!("{coordinator} refused: {}", escape(&info)));
                    }
                    Err(StatusError::Unreachable(reason)) => last = format!("{coordinator}: {reason}"),
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(command.timeout, attempts).await {
        Ok(Ok(report)) => {
            print!("{}", if command.json { json(&report) } else { table(&report) });
            Ok(())
        }
        Ok(Err(refused)) => Err(refused),
        Err(_) => Err(unreachable(&last, command.timeout, &connection.coordinators)),
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
