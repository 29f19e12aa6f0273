//! What a server's answer means while a session logs in. Values in, verdict out.

use std::time::Duration;

use common::wire::{LoginSuccess, Message, Redirect};

/// What was said last, and waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// REGISTER.
    Registering,
    /// LOGIN.
    LoggingIn,
    /// LOGIN, and the coordinator said LOGIN_SUCCESS: REDIRECT must follow.
    AwaitingRedirect,
}

/// What an answer means.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// The name is ours: now, or `existing` since before.
    Registered { existing: bool },
    /// The name cannot be registered; perhaps because it is.
    NotRegistered(String),
    /// Logged in.
    Welcome(LoginSuccess),
    /// Welcome at this coordinator; log in at that worker.
    GoTo(Redirect),
    /// Not here but there: at the main coordinator, says a coordinator that is not; at another worker, says a worker.
    SentOn(Redirect),
    /// Not now; try again after so long.
    Later(String, Duration),
    /// No.
    Refused(String),
    /// Not from the position that we gave.
    NotFromThere(String),
    /// An answer to something else: there is no talking to this server.
    Nonsense(String),
}

/// Judges the answer to `step`.
pub(super) fn judge(step: Step, answer: Message) -> Verdict {
    match (step, answer) {
        (Step::Registering, Message::RegisterSuccess(success)) => {
            Verdict::Registered { existing: success.existing }
        }
        (Step::Registering, Message::RegisterFailed(failed)) => match failed.retry_after {
            Some(wait) => Verdict::Later(reason(failed.info), wait.into()),
            None => Verdict::NotRegistered(reason(failed.info)),
        },
        (Step::LoggingIn, Message::LoginSuccess(success)) => Verdict::Welcome(success),
        (Step::AwaitingRedirect, Message::Redirect(redirect)) => Verdict::GoTo(redirect),
        (Step::Registering | Step::LoggingIn, Message::Redirect(redirect)) => Verdict::SentOn(redirect),
        // Also in place of REGISTER_SUCCESS: a server that closes a connection for being late says so.
        (_, Message::LoginFailed(failed)) => match failed.retry_after {
            Some(wait) => Verdict::Later(reason(failed.info), wait.into()),
            None if failed.position => Verdict::NotFromThere(reason(failed.info)),
            None => Verdict::Refused(reason(failed.info)),
        },
        (_, Message::AuthenticationFail(failed)) => Verdict::Refused(reason(failed.info)),
        (_, Message::InvalidMessage(invalid)) => Verdict::Refused(reason(invalid.info)),
        (Step::AwaitingRedirect, _) => Verdict::Nonsense(NO_REDIRECT.to_owned()),
        (_, other) => Verdict::Nonsense(format!("it answered a log-in with {}", other.command())),
    }
}

/// What to say when LOGIN_SUCCESS is not followed by REDIRECT.
pub(super) const NO_REDIRECT: &str = "it let us in but sent us to no worker: is it a coordinator?";

/// A server's reason, or a sentence in its place: classic servers may give none.
pub(super) fn reason(info: String) -> String {
    if info.is_empty() { "the server gave no reason".to_owned() } else { info }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(step: Step, line: &str) -> Verdict {
        judge(step, Message::decode(line.as_bytes()).unwrap())
    }

    #[test]
    fn a_failure_with_retry_after_is_for_later_and_one_without_is_final() {
        let later =
            judged(Step::LoggingIn, r#"{"command":"LOGIN_FAILED","info":"busy","retry_after":"1500"}"#);
        assert_eq!(later, Verdict::Later("busy".to_owned(), Duration::from_millis(1_500)));
        let never = judged(Step::LoggingIn, r#"{"command":"LOGIN_FAILED"}"#);
        assert_eq!(never, Verdict::Refused("the server gave no reason".to_owned()));
        let position =
            judged(Step::LoggingIn, r#"{"command":"LOGIN_FAILED","info":"not of ours","position":true}"#);
        assert_eq!(position, Verdict::NotFromThere("not of ours".to_owned()));
    }

    #[test]
    fn an_answer_to_something_else_is_nonsense() {
        assert!(matches!(judged(Step::LoggingIn, r#"{"command":"REGISTER_SUCCESS"}"#), Verdict::Nonsense(_)));
        assert!(matches!(judged(Step::Registering, r#"{"command":"LOGIN_SUCCESS"}"#), Verdict::Nonsense(_)));
        let broadcast = r#"{"command":"ACTIVITY_BROADCAST","activity":{}}"#;
        assert_eq!(judged(Step::AwaitingRedirect, broadcast), Verdict::Nonsense(NO_REDIRECT.to_owned()));
    }
}
