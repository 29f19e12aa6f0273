//! What the subcommands that need no session share: one question to whichever coordinator answers first.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use common::network_secret::{self, IfMissing};
use common::user::Secret;
use common::wire::{Message, Millis};

use super::unreachable;
use crate::args::Connection;
use crate::ask::{AskError, ask};
use crate::display::escape;

/// Pause between two rounds of attempts.
const PAUSE: Duration = Duration::from_millis(250);

/// Asks the coordinators in turn, for so long, until one answers. A refusal that says when to try again is heeded.
///
/// # Errors
/// A sentence for people. A question that may not be asked twice ends with the first coordinator that heard it and did not answer.
pub(super) async fn ask_within(
    connection: &Connection,
    patience: Duration,
    question: impl Into<Message>,
    may_repeat: bool,
) -> Result<Message, String> {
    let question = question.into();
    let mut last = String::from("no answer yet");
    let attempts = async {
        loop {
            let mut pause = PAUSE;
            for coordinator in &connection.coordinators {
                match ask(coordinator, &question).await {
                    Ok(answer) => match failure(&answer) {
                        None => return Ok(answer),
                        Some((info, None)) => return Err(format!("{coordinator} refused: {}", escape(info))),
                        Some((info, Some(wait))) => {
                            last = format!("{coordinator}: {info}");
                            pause = pause.max((*wait).into());
                        }
                    },
                    Err(AskError::Refused(info)) => {
                        return Err(format!("{coordinator} refused: {}", escape(&info)));
                    }
                    Err(AskError::Unanswered(reason)) if !may_repeat => {
                        return Err(format!(
                            "{coordinator} heard it and did not answer ({}): it may have been done, or not",
                            escape(&reason)
                        ));
                    }
                    Err(AskError::Unanswered(reason) | AskError::Unreachable(reason)) => {
                        last = format!("{coordinator}: {reason}");
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    };
    match tokio::time::timeout(patience, attempts).await {
        Ok(outcome) => outcome,
        Err(_) => Err(unreachable(&last, patience, &connection.coordinators)),
    }
}

/// The network's secret, for what only operators may ask.
pub(super) fn network_secret(connection: &Connection) -> Result<Secret, String> {
    // Nobody connects to us, so there is nobody to protect by insisting on a given secret.
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    network_secret::load(connection.secret_file.as_deref(), loopback, IfMissing::Fail)
        .map_err(|error| error.to_string())
}

/// What a refusal says, and when to try again.
fn failure(answer: &Message) -> Option<(&str, Option<&Millis>)> {
    let (info, retry_after) = match answer {
        Message::ChangeSecretFailed(failed) => (&failed.info, &failed.retry_after),
        Message::RemoveUserFailed(failed) => (&failed.info, &failed.retry_after),
        // Instead of any answer: there is no room for another connection.
        Message::LoginFailed(failed) => (&failed.info, &failed.retry_after),
        _ => return None,
    };
    Some((info, retry_after.as_ref()))
}
