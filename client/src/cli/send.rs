//! `client send`: publishes, and waits until each activity has gone round and come back.

use std::time::Duration;

use common::wire::Activity;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::outstanding::Outstanding;
use super::{ended, input, log_in_within, options, report};
use crate::args::{Connection, Send};
use crate::{Client, Event, Receive};

/// Activities on their way at once. Enough to fill the line; few enough to remember each.
const WINDOW: usize = 256;

pub(super) async fn run(connection: Connection, command: Send) -> Result<(), String> {
    let activities = match command.activity {
        Some(text) => {
            let (sender, receiver) = mpsc::channel(1);
            // The channel is empty and has room for one.
            let _ = sender.try_send((1, Ok(text)));
            receiver
        }
        None => input::lines(),
    };
    let options = options(&connection)?.receive(Receive::Own);
    let client = log_in_within(Client::open(options), command.timeout, &connection.coordinators).await?;
    Sending::new(&connection, command.timeout).run(client, activities).await
}

struct Sending {
    outstanding: Outstanding<()>,
    quiet: bool,
    sent: usize,
    invalid: usize,
    missing: usize,
}

impl Sending {
    fn new(connection: &Connection, patience: Duration) -> Self {
        let outstanding = Outstanding::new(connection.username.clone(), patience);
        Sending { outstanding, quiet: connection.quiet, sent: 0, invalid: 0, missing: 0 }
    }

    async fn run(
        mut self,
        mut client: Client,
        mut lines: mpsc::Receiver<(u64, Result<String, String>)>,
    ) -> Result<(), String> {
        let publisher = client.publisher();
        let mut more = true;
        while more || !self.outstanding.is_empty() {
            let deadline = self.outstanding.deadline();
            tokio::select! {
                line = lines.recv(), if more && self.outstanding.len() < WINDOW => match line {
                    Some((number, text)) => {
                        if let Some(activity) = self.checked(number, text) {
                            self.outstanding.sent(Instant::now(), &activity, ());
                            self.sent += 1;
                            // The window is smaller than what a session queues, so this does not wait for the network.
                            if publisher.publish(&activity).await.is_err() {
                                return Err(ended(client).await);
                            }
                        }
                    }
                    None => more = false,
                },
                event = client.event() => match event {
                    Some(Event::Activity(broadcast)) => {
                        self.outstanding.arrived(&broadcast.activity);
                    }
                    Some(event) => report(&event, self.quiet),
                    None => return Err(ended(client).await),
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.missing += self.outstanding.give_up(Instant::now());
                }
            }
        }
        let patience = Duration::from_secs(2);
        // All that can be known is known; a goodbye that takes long is no reason to fail.
        let _ = tokio::time::timeout(patience, client.close()).await;
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

    fn result(&self) -> Result<(), String> {
        match (self.missing, self.invalid) {
            (0, 0) => Ok(()),
            (0, invalid) => Err(format!("{invalid} invalid, {} sent", self.sent)),
            (missing, _) => Err(format!(
                "{missing} of {} activities did not come back in time: they may have been lost when a connection broke",
                self.sent
            )),
        }
    }
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
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(126), "]".repeat(126));
        assert_eq!(parse(&deep).unwrap_err(), "nests deeper than 126 levels");
    }
}
