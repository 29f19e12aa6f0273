//! Asking a coordinator one thing, on a connection of its own, without a session: how it is, or to change a user. Whom to ask is for
//! the caller to say.

use std::io;
use std::ops::ControlFlow;

use common::limits;
use common::user::Secret;
use common::wire::{self, Address, Lines, Message, PartialBudget, StatusReport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody was asked; somebody may be, later.
    #[error("{0}")]
    Unreachable(String),
    /// Somebody was asked, and did not answer. What was asked for may have happened.
    #[error("{0}")]
    Unanswered(String),
    /// Whoever was asked does not know the question: it is no coordinator, or one of another version. Nothing was done.
    #[error("no coordinator: {0}")]
    NoCoordinator(String),
    /// Somebody said no.
    #[error("refused: {0}")]
    Refused(String),
}

/// Asks the coordinator once how it is; who is no operator of its network is refused.
///
/// # Errors
/// See [`AskError`].
pub async fn status(coordinator: &Address, secret: &Secret) -> Result<StatusReport, AskError> {
    match ask(coordinator, &wire::Status { secret: secret.clone(), conflicts: false }.into()).await? {
        Message::StatusReport(report) => Ok(report),
        other => Err(AskError::Refused(format!("it answered with {}", other.command()))),
    }
}

/// Asks the coordinator once. AUTHENTICATION_FAIL is no answer but a refusal; who says INVALID_MESSAGE, or what is no message at all, is
/// somebody else.
pub(crate) async fn ask(coordinator: &Address, question: &Message) -> Result<Message, AskError> {
    let unanswered = |error: io::Error| AskError::Unanswered(error.to_string());
    let mut stream =
        common::net::connect(coordinator).await.map_err(|error| AskError::Unreachable(error.to_string()))?;
    stream.write_all(&question.encode()).await.map_err(unanswered)?;
    // A report names every worker, so it may be longer than what clients send.
    let mut lines = Lines::new(limits::SERVER_OUTBOX_BYTES, PartialBudget::default());
    let (mut buffer, mut answer) = (vec![0; 16 << 10], None);
    while answer.is_none() {
        let count = stream.read(&mut buffer).await.map_err(unanswered)?;
        if count == 0 {
            return Err(AskError::Unanswered("the connection was closed without an answer".to_owned()));
        }
        let fed = lines.feed(&buffer[..count], |line| {
            answer = Some(Message::decode(line));
            ControlFlow::Break(())
        });
        fed.map_err(|error| AskError::NoCoordinator(error.to_string()))?;
    }
    match answer.expect("the loop ended") {
        Ok(Message::AuthenticationFail(failed)) => Err(AskError::Refused(failed.info)),
        Ok(Message::InvalidMessage(invalid)) => Err(AskError::NoCoordinator(invalid.info)),
        Ok(answer) => Ok(answer),
        Err(error) => Err(AskError::NoCoordinator(error.to_string())),
    }
}
