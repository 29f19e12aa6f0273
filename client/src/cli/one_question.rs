//! What the subcommands that need no session share: one question to whichever coordinator can answer it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use common::limits;
use common::network_secret::{self, IfMissing};
use common::user::Secret;
use common::wire::{Address, Message, Millis};
use tokio::time::timeout;

use super::attempt::Attempt;
use super::{known_coordinators, memory};
use crate::args::Connection;
use crate::ask::{AskError, ask};
use crate::core::Limits;
use crate::display::escape;
use crate::memory::Memory;

/// Pause between two rounds of attempts, at the least; at the most twice that.
const PAUSE: Duration = Duration::from_millis(250);

/// Asks the coordinators in turn, for so long, until one answers; goes where one that is not the main one sends us. A refusal that says
/// when to try again is heeded.
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
    walk(connection, patience, async |round: &mut Round| {
        if !may_repeat {
            // Giving up on an answer early would be giving up for good.
            round.silence = patience;
        }
        for coordinator in round.coordinators.clone() {
            match round.ask_following(coordinator, &question).await {
                (at, Ok(answer)) => match failure(&answer) {
                    None => return Some(Ok(answer)),
                    Some((info, None)) => return Some(Err(format!("{at} refused: {}", escape(info)))),
                    Some((info, wait)) => round.busy(&at, info, wait),
                },
                (at, Err(AskError::Refused(info))) => {
                    return Some(Err(format!("{at} refused: {}", escape(&info))));
                }
                (at, Err(AskError::Unanswered(reason))) if !may_repeat => {
                    let reason = escape(&reason);
                    return Some(Err(format!(
                        "{at} heard it and did not answer ({reason}): it may have been done, or not"
                    )));
                }
                (_, Err(AskError::Unanswered(_) | AskError::Unreachable(_) | AskError::NoCoordinator(_))) => {
                }
            }
        }
        None
    })
    .await
}

/// Does `round` after round, for so long, until one has an outcome.
///
/// # Errors
/// That of the round, or a sentence for people.
pub(super) async fn walk<T>(
    connection: &Connection,
    patience: Duration,
    mut round: impl AsyncFnMut(&mut Round) -> Option<Result<T, String>>,
) -> Result<T, String> {
    let mut state = Round::first(connection);
    let rounds = async {
        loop {
            if let Some(outcome) = round(&mut state).await {
                return outcome;
            }
            if let Some(sentence) = state.hopeless() {
                return Err(sentence);
            }
            tokio::time::sleep(state.pause.mul_f64(1.0 + fastrand::f64())).await;
            state.pause = PAUSE;
            state.strangers.clear();
            state.silence = limits::LOGIN_DEADLINE;
        }
    };
    match timeout(patience, rounds).await {
        Ok(outcome) => outcome,
        Err(_) => Err(state.last.failure(patience, &state.coordinators)),
    }
}

/// One round of attempts.
pub(super) struct Round {
    /// Whom to ask, in this order.
    pub(super) coordinators: Vec<Address>,
    /// How long to pause before the next round, at the least.
    pause: Duration,
    /// How long each may say nothing.
    silence: Duration,
    /// Who turned out to be no coordinator, and how.
    strangers: Vec<(Address, String)>,
    memory: Option<Memory>,
    /// What came of the last attempt; of the last one that was answered, if any was.
    pub(super) last: Attempt,
}

impl Round {
    fn first(connection: &Connection) -> Self {
        let coordinators = known_coordinators(connection);
        // As in a session: with a choice, the next one is asked when one of them says nothing, and only then waited for.
        let limits = Limits::default();
        let silence = if coordinators.len() > 1 { limits.first_silence } else { limits.login_silence };
        let (strangers, memory, last) = (Vec::new(), memory(connection), Attempt::default());
        Round { coordinators, pause: PAUSE, silence, strangers, memory, last }
    }

    /// Why there is no use in another round: each of those that are known is somebody else.
    fn hopeless(&self) -> Option<String> {
        let is_strange = |address: &Address| self.strangers.iter().any(|(stranger, _)| stranger == address);
        let (at, reason) = self.strangers.first().filter(|_| self.coordinators.iter().all(is_strange))?;
        let reason = escape(reason);
        Some(format!(
            "{at} is no coordinator, or one of another version ({reason}): name one with --coordinator"
        ))
    }

    /// Asks this one. Where somebody else listens by now, that is remembered.
    pub(super) async fn ask(&mut self, at: &Address, question: &Message) -> Result<Message, AskError> {
        self.unanswered(format!("{at}: no answer yet"));
        let answer = timeout(self.silence, ask(at, question)).await.unwrap_or_else(|_| {
            Err(AskError::Unanswered(format!("no answer in {}", humantime::format_duration(self.silence))))
        });
        if let Err(AskError::Unanswered(reason) | AskError::Unreachable(reason)) = &answer {
            self.unanswered(format!("{at}: {reason}"));
        }
        if let Err(AskError::NoCoordinator(reason)) = &answer {
            self.unanswered(format!("{at} is no coordinator: {reason}"));
            self.strangers.push((at.clone(), reason.clone()));
            if let Some(memory) = &self.memory {
                memory.forget_coordinator(at);
            }
        }
        answer
    }

    /// That somebody has no time for us says more than that others could not be reached.
    fn unanswered(&mut self, reason: String) {
        if let Attempt::Unanswered(last) = &mut self.last {
            *last = reason;
        }
    }

    /// This one has no time for us now.
    pub(super) fn busy(&mut self, at: &Address, info: &str, retry_after: Option<Millis>) {
        let wait = retry_after.map_or(PAUSE, Duration::from).min(Limits::default().longest_retry);
        self.pause = self.pause.max(wait);
        self.last = Attempt::PutOff(at.clone(), info.to_owned());
    }

    /// Asks this one, or whom it sends us to; says who was asked in the end.
    async fn ask_following(
        &mut self,
        mut at: Address,
        question: &Message,
    ) -> (Address, Result<Message, AskError>) {
        for _ in 0..=Limits::default().redirects {
            match self.ask(&at, question).await {
                Ok(Message::Redirect(redirect)) => at = redirect.address,
                answer => return (at, answer),
            }
        }
        let circles = "we are sent round in circles";
        self.unanswered(format!("{at}: {circles}"));
        (at, Err(AskError::Unreachable(circles.to_owned())))
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
fn failure(answer: &Message) -> Option<(&str, Option<Millis>)> {
    match answer {
        Message::ChangeSecretFailed(failed) => Some((&failed.info, failed.retry_after)),
        Message::RemoveUserFailed(failed) => Some((&failed.info, failed.retry_after)),
        Message::ForgetCoordinatorFailed(failed) => Some((&failed.info, failed.retry_after)),
        // Instead of any answer: there is no room for another connection.
        Message::LoginFailed(failed) => Some((&failed.info, failed.retry_after)),
        _ => None,
    }
}
