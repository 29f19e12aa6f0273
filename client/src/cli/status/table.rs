//! A report for people to read, within eighty columns where names are of a usual length.

use std::time::{Duration, SystemTime};

use common::epoch::{Epoch, Reign};
use common::time::WallMillis;
use common::wire::{Conflict, CoordinatorStatus, Role, State, StatusReport, WorkerStatus};

use crate::display::escape;

/// Epochs that are shown, the latest ones.
const REIGNS: usize = 10;

/// The report as text, line ends included.
pub(super) fn table(report: &StatusReport, now: SystemTime) -> String {
    let mut lines = summary(report);
    section(&mut lines, "coordinators", columns(report.coordinators.iter().map(coordinator)));
    section(&mut lines, "workers", columns(report.workers.iter().map(worker)));
    let earlier = report.history.len().saturating_sub(REIGNS);
    let mut reigns: Vec<String> =
        report.history[earlier..].iter().flat_map(|reign| took_over(reign, now)).collect();
    if earlier > 0 {
        reigns.insert(0, format!("{earlier} earlier ones: see --json"));
    }
    section(&mut lines, "epochs", reigns);
    section(&mut lines, "conflicts", conflicts(report));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn summary(report: &StatusReport) -> Vec<String> {
    let connected = report.workers.iter().filter(|worker| worker.connected);
    let clients: u64 = connected.map(|worker| worker.load).sum();
    let state = match report.state {
        State::Normal => "NORMAL",
        State::Recovering => "RECOVERING",
    };
    let epoch =
        report.highest_epoch.as_ref().map_or("no epoch yet".to_owned(), |epoch| format!("epoch {epoch}"));
    let mut lines = vec![
        format!("{state}, {}, {}", counted(report.users, "user"), counted(clients, "client")),
        format!("network {}, {epoch}", escape(&report.network)),
        format!("as {} says, which is {}", report.id, role(report.role)),
    ];
    lines.splice(1..1, report.reasons.iter().map(|reason| format!("  because {}", escape(reason))));
    lines
}

fn section(lines: &mut Vec<String>, title: &str, content: Vec<String>) {
    if !content.is_empty() {
        lines.push(String::new());
        lines.push(title.to_owned());
        lines.extend(content.iter().map(|line| format!("  {line}")));
    }
}

fn coordinator(coordinator: &CoordinatorStatus) -> [String; 5] {
    let epoch = coordinator.heard_epoch.as_ref().map_or(String::new(), Epoch::to_string);
    let behind = match (coordinator.listed, coordinator.behind) {
        (true, None | Some(0)) => "listed".to_owned(),
        (true, Some(behind)) => format!("listed, {behind} behind"),
        (false, None) => "not listed".to_owned(),
        (false, Some(behind)) => format!("not listed, {behind} behind"),
    };
    let role = coordinator.role.map_or("not connected", role);
    let server = &coordinator.server;
    let address = server.address.to_string();
    [server.id.to_string(), escape(&address).into_owned(), role.to_owned(), epoch, behind]
}

fn worker(worker: &WorkerStatus) -> [String; 3] {
    let coming =
        if worker.expected > 0 { format!(" (+{} on their way)", worker.expected) } else { String::new() };
    let state = if worker.connected { "" } else { ", connection lost" };
    let address = worker.server.address.to_string();
    [
        worker.server.id.to_string(),
        escape(&address).into_owned(),
        format!("{}{coming}{state}", counted(worker.load, "client")),
    ]
}

/// Two lines: who, when; and why.
fn took_over(reign: &Reign, now: SystemTime) -> [String; 2] {
    let from = reign.after.as_ref().map_or(String::new(), |after| format!(", after {after}"));
    [format!("{}{from}, {}", reign.epoch, when(reign.since, now)), format!("    {}", escape(&reign.why))]
}

fn conflicts(report: &StatusReport) -> Vec<String> {
    let mut lines: Vec<String> = report.conflicts.iter().flat_map(conflict).collect();
    let hidden = report.conflict_count.saturating_sub(report.conflicts.len() as u64);
    match (hidden, report.conflicts.is_empty()) {
        (0, _) => {}
        (1, true) => lines.push("a registration lost its name to an earlier one: see --conflicts".to_owned()),
        (_, true) => {
            lines.push(format!("{hidden} registrations lost their names to earlier ones: see --conflicts"));
        }
        (_, false) => lines.push(format!("and {hidden} more")),
    }
    lines
}

fn conflict(conflict: &Conflict) -> [String; 2] {
    let (name, lost, kept) = (escape(conflict.username.as_str()), &conflict.registration, &conflict.lost_to);
    [
        format!("{name}, registered at {}, {}", lost.coordinator, date(time(conflict.registered))),
        format!("    lost to the one at {}, {}", kept.coordinator, date(time(kept.wall))),
    ]
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Main => "main",
        Role::Backup => "standby",
        Role::Seeking => "seeking",
        Role::Worker => "worker",
    }
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A date, and how long ago that was, where the clocks make sense.
fn when(wall: WallMillis, now: SystemTime) -> String {
    let then = time(wall);
    match now.duration_since(then) {
        Ok(age) => {
            // A day or an hour and what is left of it says enough.
            let seconds = match age.as_secs() {
                seconds @ 0..3_600 => seconds,
                seconds @ 3_600..86_400 => seconds / 60 * 60,
                seconds => seconds / 3_600 * 3_600,
            };
            format!("{} ({} ago)", date(then), humantime::format_duration(Duration::from_secs(seconds)))
        }
        Err(_) => date(then),
    }
}

fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A wall clock of somebody else may say anything; what lies beyond the year 9999 is shown as its end.
fn time(wall: WallMillis) -> SystemTime {
    const LAST: u64 = 253_402_300_799_000;
    SystemTime::UNIX_EPOCH + Duration::from_millis(wall.0.min(LAST))
}

/// Rows, each cell as wide as the widest of its column.
/// Rows with their cells in columns.
pub(in crate::cli) fn columns<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> Vec<String> {
    let rows: Vec<[String; N]> = rows.collect();
    let width = |column: usize| rows.iter().map(|row| console::measure_text_width(&row[column])).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use common::wire::Message;

    use super::*;

    fn shown(report: &str) -> String {
        let Ok(Message::StatusReport(report)) = Message::decode(report.as_bytes()) else {
            panic!("not a report: {report}")
        };
        table(&report, time(WallMillis(1_750_000_000_000)))
    }

    #[test]
    fn a_report_shows_who_is_who_how_far_and_why_within_eighty_columns() {
        let text = shown(
            r#"{"command":"STATUS_REPORT","id":"coordinator-2","network":"5f0c2b7e9a314d68","role":"main",
            "highest_epoch":"2@coordinator-2","state":"RECOVERING","reasons":["coordinator-1 is not connected"],
            "users":3,"conflict_count":2,
            "coordinators":[
              {"id":"coordinator-2","hostname":"127.0.0.1","port":3781,"role":"main",
               "heard_epoch":"2@coordinator-2","listed":true},
              {"id":"coordinator-3","hostname":"127.0.0.1","port":3782,"role":"backup",
               "heard_epoch":"2@coordinator-2","listed":false,"behind":17},
              {"id":"coordinator-1","hostname":"127.0.0.1","port":3780,"listed":false}],
            "workers":[
              {"id":"worker-a","hostname":"127.0.0.1","port":4001,"load":453,"expected":2,"connected":true},
              {"id":"w","hostname":"::1","port":4002,"load":1,"expected":0,"connected":false}],
            "history":[
              {"epoch":"1@coordinator-1","since":1749900000000,"why":"it was the first"},
              {"epoch":"2@coordinator-2","since":1749999875000,"after":"coordinator-1",
               "why":"coordinator-1 refused the connection"}]}"#,
        );
        let expected = "\
RECOVERING, 3 users, 453 clients
  because coordinator-1 is not connected
network 5f0c2b7e9a314d68, epoch 2@coordinator-2
as coordinator-2 says, which is main

coordinators
  coordinator-2  127.0.0.1:3781  main           2@coordinator-2  listed
  coordinator-3  127.0.0.1:3782  standby        2@coordinator-2  not listed, 17 behind
  coordinator-1  127.0.0.1:3780  not connected                   not listed

workers
  worker-a  127.0.0.1:4001  453 clients (+2 on their way)
  w         [::1]:4002      1 client, connection lost

epochs
  1@coordinator-1, 2025-06-14T11:20:00Z (1day 3h ago)
      it was the first
  2@coordinator-2, after coordinator-1, 2025-06-15T15:04:35Z (2m 5s ago)
      coordinator-1 refused the connection

conflicts
  2 registrations lost their names to earlier ones: see --conflicts
";
        assert_eq!(text, expected);
    }

    #[test]
    fn conflicts_are_listed_where_they_were_asked_for() {
        let text = shown(
            r#"{"command":"STATUS_REPORT","id":"c1","network":"n1","role":"backup","state":"NORMAL","users":1,
            "workers":[],"conflict_count":3,"conflicts":[{"username":"ann\u061c","registration":"1750000000000.0@c2",
            "lost_to":"1749999000000.3@c1","registered":18446744073709551615}]}"#,
        );
        assert!(text.contains("as c1 says, which is standby"), "{text}");
        let listed = "  ann\\u061c, registered at c2, 9999-12-31T23:59:59Z
      lost to the one at c1, 2025-06-15T14:50:00Z
  and 2 more
";
        assert!(text.ends_with(listed), "{text}");
    }
}
