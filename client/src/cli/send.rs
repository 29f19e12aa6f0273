//! `client send`: publishes, and prints what became of each activity.

use std::time::Duration;

use common::wire::Activity;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{error::Elapsed, timeout};

use super::output::print;
use super::{ended, input, log_in_within, options, outcome, report};
use crate::args::{Connection, Send};
use crate::{Client, Error, Receive, Report};

/// Activities on their way at once. Enough to fill the line; few enough to remember each.
const WINDOW: usize = 1_024;

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

pub(super) async fn run(connection: Connection, command: Send) -> Result<(), String> {
    let numbered = command.activity.is_none();
    let activities = match command.activity {
        Some(text) => {
            let (sender, receiver) = mpsc::channel(1);
            // The channel is empty and has room for one.
            let _ = sender.try_send((1, Ok(text)));
            receiver
        }
        None => input::lines(),
    };
    let options = options(&connection)?.receive(Receive::Nothing);
    let client = log_in_within(Client::open(options), command.timeout, &connection.coordinators).await?;
    let sending = Sending {
        patience: command.timeout,
        json: command.json,
        quiet: connection.quiet,
        numbered,
        run: None,
        sent: 0,
        invalid: 0,
        missing: 0,
        unreported: 0,
    };
    sending.run(client, activities).await
}

struct Sending {
    patience: Duration,
    json: bool,
    quiet: bool,
    /// Whether there are lines at all.
    numbered: bool,
    /// Reports on one line after the other that were the same, for people: the first and the last line, and the report.
    run: Option<(u64, u64, Report)>,
    sent: usize,
    invalid: usize,
    /// Activities whose report did not come in time.
    missing: usize,
    /// Activities that a server took which gives no reports.
    unreported: usize,
}

impl Sending {
    async fn run(
        mut self,
        mut client: Client,
        mut lines: mpsc::Receiver<(u64, Result<String, String>)>,
    ) -> Result<(), String> {
        let publisher = client.publisher();
        let mut waiting = FuturesOrdered::new();
        let mut more = true;
        while more || !waiting.is_empty() {
            tokio::select! {
                line = lines.recv(), if more && waiting.len() < WINDOW => match line {
                    Some((number, text)) => {
                        let Some(activity) = self.checked(number, text) else { continue };
                        self.sent += 1;
                        // The window is smaller than what a session queues, so this does not wait for the network.
                        let Ok(delivery) = publisher.submit(&activity).await else {
                            return Err(ended(client).await);
                        };
                        let patience = self.patience;
                        waiting.push_back(async move { (number, timeout(patience, delivery).await) });
                    }
                    None => more = false,
                },
                Some((number, result)) = waiting.next() => self.settled(number, result)?,
                event = client.event() => match event {
                    Some(event) => report(&event, self.quiet),
                    None => return Err(ended(client).await),
                },
            }
        }
        self.print_run()?;
        // All that can be known is known; a goodbye that takes long is no reason to fail.
        let _ = timeout(GOODBYE, client.close()).await;
        self.result()
    }

    fn checked(&mut self, number: u64, text: Result<String, String>) -> Option<Activity> {
        let checked = text.and_then(|text| parse(&text));
        checked
            .map_err(|error| {
                common::boot::note(&format!("line {number} was not sent: {error}"));
                self.invalid += 1;
            })
            .ok()
    }

    /// It is known what became of the activity of this line.
    fn settled(&mut self, line: u64, result: Result<Result<Report, Error>, Elapsed>) -> Result<(), String> {
        match result {
            Ok(Ok(report)) if self.json => print(&json_line(line, &report))?,
            Ok(Ok(report)) => match &mut self.run {
                Some((_, last, same)) if *last + 1 == line && is_same(same, &report) => *last = line,
                _ => {
                    self.print_run()?;
                    self.run = Some((line, line, report));
                }
            },
            Ok(Err(Error::NoReport)) => self.unreported += 1,
            Ok(Err(_)) | Err(_) => self.missing += 1,
        }
        Ok(())
    }

    fn print_run(&mut self) -> Result<(), String> {
        let Some((first, last, report)) = self.run.take() else { return Ok(()) };
        let lines = match (self.numbered, first == last) {
            (false, _) => String::new(),
            (true, true) => format!("line {first}: "),
            (true, false) => format!("lines {first} to {last}: "),
        };
        print(&format!("{lines}{}\n", outcome(&report)))
    }

    fn result(&self) -> Result<(), String> {
        let sent = self.sent;
        match self {
            Sending { missing: 0, unreported: 0, invalid: 0, .. } => Ok(()),
            Sending { missing: 0, unreported: 0, invalid, .. } => {
                Err(format!("{invalid} invalid, {sent} sent"))
            }
            Sending { missing: 0, unreported, .. } => Err(format!(
                "{unreported} of {sent} activities were sent to a server that does not say what became of them"
            )),
            Sending { missing, .. } => Err(format!(
                "{missing} of {sent} activities were not acknowledged in time; they may have arrived all the same"
            )),
        }
    }
}

/// Whether two reports say the same of their activities.
fn is_same(one: &Report, other: &Report) -> bool {
    *one == Report { first: one.first, last: one.last, ..other.clone() }
}

fn json_line(line: u64, report: &Report) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        line: u64,
        client_count: u64,
        succ_count: u64,
        fail_count: u64,
        durability: crate::Durability,
        unreachable: &'a [crate::ServerId],
    }
    let Report { client_count, succ_count, fail_count, durability, ref unreachable, .. } = *report;
    let line = Line { line, client_count, succ_count, fail_count, durability, unreachable };
    serde_json::to_string(&line).expect("numbers and names serialise") + "\n"
}

/// An activity that can be sent.
pub(super) fn parse(text: &str) -> Result<Activity, String> {
    let text = input::short_enough(text)?;
    let activity = Activity::parse(text).map_err(|error| format!("not a JSON object: {error}"))?;
    crate::core::Client::check(&activity).map_err(|error| error.to_string())?;
    Ok(activity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_that_a_line_can_carry_is_an_activity() {
        assert_eq!(parse(" {\"a\": 1}\r").unwrap().get(), "{\"a\": 1}");
        for wrong in ["", "hello", "[1]", "{\"a\":1} x", "{\"a\":1"] {
            assert!(parse(wrong).is_err_and(|error| error.starts_with("not a JSON object")), "{wrong}");
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(common::limits::LINE_BYTES));
        assert_eq!(parse(&long).unwrap_err(), "longer than 1048576 bytes");
        assert_eq!(
            parse(&long[..long.len() - 1]).unwrap_err(),
            "longer than 1048576 bytes",
            "whatever is in it"
        );
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(124), "]".repeat(124));
        assert_eq!(parse(&deep).unwrap_err(), "nests deeper than 124 levels");
    }
}
