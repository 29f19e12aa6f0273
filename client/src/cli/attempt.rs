//! What came of the last attempt to do something, for the sentence that says why it was not done in time.

use std::time::Duration;

use common::wire::Address;

use crate::Event;
use crate::display::escape;

/// What came of it. Who could not be reached is to be looked for; who said no is there, and knows why.
#[derive(Debug, PartialEq)]
pub(super) enum Attempt {
    /// Nobody was reached, or nobody answered: why.
    Unanswered(String),
    /// This server was asked, and has no time for us now: why, in its words.
    PutOff(Address, String),
}

impl Default for Attempt {
    fn default() -> Self {
        Attempt::Unanswered("no answer yet".to_owned())
    }
}

impl Attempt {
    /// What a session tells of its own attempts.
    pub(super) fn note(&mut self, event: Event) {
        let Event::Disconnected { reason, put_off_by, .. } = event else { return };
        *self = match put_off_by {
            Some(server) => Attempt::PutOff(server, reason),
            None => Attempt::Unanswered(reason),
        };
    }

    /// Why it was not done.
    pub(super) fn reason(&self) -> &str {
        match self {
            Attempt::Unanswered(reason) | Attempt::PutOff(_, reason) => reason,
        }
    }

    /// That it was not done within `patience`, why, and what to do.
    pub(super) fn failure(&self, patience: Duration, coordinators: &[Address]) -> String {
        let patience = humantime::format_duration(patience);
        match self {
            Attempt::Unanswered(reason) => {
                let tried: Vec<String> = coordinators.iter().map(Address::to_string).collect();
                format!(
                    "not connected within {patience} (tried {}; last: {}); see that a coordinator and a worker run, or name another with --coordinator",
                    tried.join(", "),
                    escape(reason)
                )
            }
            Attempt::PutOff(server, reason) => format!(
                "not done within {patience}: {} answers: {}. It runs: see in `client status` and in its log what it lacks, then try again",
                escape(&server.to_string()),
                escape(reason)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A registration that was refused because no standby was in step ended with the advice to see that a coordinator runs. One did.
    #[test]
    fn who_was_put_off_is_told_why_and_not_to_look_for_another_coordinator() {
        let server: Address = "10.0.0.1:3780".parse().unwrap();
        let retry_in = Some(Duration::from_secs(1));
        let mut last = Attempt::default();
        let said = |last: &Attempt| last.failure(Duration::from_secs(8), std::slice::from_ref(&server));
        assert!(
            said(&last).starts_with("not connected within 8s (tried 10.0.0.1:3780; last: no answer yet)")
        );

        let reason = "fewer than 1 backups are in step".to_owned();
        last.note(Event::Disconnected { reason, put_off_by: Some(server.clone()), retry_in });
        let sentence = said(&last);
        assert!(
            sentence.starts_with("not done within 8s: 10.0.0.1:3780 answers: fewer than 1"),
            "{sentence}"
        );
        assert!(sentence.contains("client status") && !sentence.contains("--coordinator"), "{sentence}");

        last.note(Event::Disconnected { reason: "gone".to_owned(), put_off_by: None, retry_in });
        assert_eq!(last, Attempt::Unanswered("gone".to_owned()), "since then it cannot be reached");
    }
}
