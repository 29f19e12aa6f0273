//! Asking a coordinator what it knows: one question on a connection of its own, so no session.

use std::io;
use std::ops::ControlFlow;

use common::limits;
use common::user::Secret;
use common::wire::{self, Address, Lines, Message, PartialBudget, StatusReport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Nobody answered; somebody may, later.
    #[error("{0}")]
    Unreachable(String),
    /// Somebody said no.
    #[error("refused: {0}")]
    Refused(String),
}

/// Asks the coordinator once; who is no operator of its network is refused.
///
/// # Errors
/// See [`StatusError`].
pub async fn status(coordinator: &Address, secret: &Secret) -> Result<StatusReport, StatusError> {
    let unreachable = |error: io::Error| StatusError::Unreachable(error.to_string());
    let mut stream =
        TcpStream::connect((coordinator.hostname.as_str(), coordinator.port)).await.map_err(unreachable)?;
    let question = Message::from(wire::Status { secret: secret.clone() });
    stream.write_all(&question.encode()).await.map_err(unreachable)?;
    // A report names every worker, so it may be longer than what clients send.
    let mut lines = Lines::new(limits::SERVER_OUTBOX_BYTES, PartialBudget::default());
    let (mut buffer, mut answer) = (vec![0; 16 << 10], None);
    while answer.is_none() {
        let count = stream.read(&mut buffer).await.map_err(unreachable)?;
        if count == 0 {
            return Err(StatusError::Unreachable("the connection was closed without an answer".to_owned()));
        }
        let fed = lines.feed(&buffer[..count], |line| {
            answer = Some(Message::decode(line));
            ControlFlow::Break(())
        });
        fed.map_err(|error| StatusError::Refused(error.to_string()))?;
    }
    match answer.expect("the loop ended") {
        Ok(Message::StatusReport(report)) => Ok(report),
        Ok(Message::AuthenticationFail(failed)) => Err(StatusError::Refused(failed.info)),
        Ok(Message::InvalidMessage(invalid)) => Err(StatusError::Refused(invalid.info)),
        Ok(other) => Err(StatusError::Refused(format!("it answered with {}", other.command()))),
        Err(error) => Err(StatusError::Refused(error.to_string())),
    }
}
