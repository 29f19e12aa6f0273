//! Why a wish is not fulfilled, and how whoever had it is told.

use common::id::LinkId;
use common::user::Username;
use common::users;
use common::wire::{
    ChangeSecretFailed, ForgetCoordinatorFailed, ImportFailed, LoginFailed, Message, Millis, RegisterFailed,
    RemoveUserFailed,
};

use super::registry::Unavailable;
use super::{Coordinator, Turn};

pub(super) const SECRET_RULE: &str = "a secret has 1 to 256 bytes";

/// What somebody asked for, which decides how a refusal is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    LogIn,
    Register,
    ChangeSecret,
    RemoveUser,
    ForgetCoordinator,
    Import,
}

/// Why it is refused. The text is for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0}")]
    Unacceptable(String),
    #[error("anonymous is for everybody: log in with it, or choose another name to register")]
    Anonymous,
    #[error("wrong name or secret")]
    Wrong,
    #[error("{0}")]
    Unavailable(#[from] Unavailable),
    #[error("{0} is being registered; log in when that is done")]
    NotYet(Username),
    #[error("{0} is not registered")]
    NotRegistered(Username),
    #[error("{0} has changed just now; try again")]
    Changed(Username),
    #[error("no worker is connected yet, try again")]
    NoWorker,
    #[error("the workers are still catching up with what they missed; try again in a moment")]
    Recovering,
    #[error("too many log-ins and registrations are waiting; try again in a moment")]
    Busy,
    #[error("the secret could not be hashed in time; try again in a moment")]
    TooSlow,
    #[error("it could not be stored; try again in a moment")]
    NotStored,
    #[error("no log-in within {0} s")]
    NoLogin(u64),
    #[error("this coordinator is shutting down; try again in a moment")]
    Draining,
    #[error("no main coordinator is known at the moment; try again")]
    NoMain,
    #[error("this coordinator is just hearing of users that others know; try again in a moment")]
    Incomplete,
    #[error("another coordinator has taken over just now; try again")]
    SteppedDown,
    #[error("fewer than {0} backups are in step (--require-backups); try again in a moment")]
    TooFewBackups(usize),
    #[error(
        "the file holds users of {theirs}, this coordinator belongs to {ours}: to have both in one network, say --other-network"
    )]
    OtherNetwork { theirs: String, ours: String },
    #[error("{}", users::lost_name(name))]
    Conflict { name: Username },
}

impl Refusal {
    /// Whether the same request may succeed later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Refusal::Unacceptable(_)
            | Refusal::Anonymous
            | Refusal::Wrong
            | Refusal::Unavailable(Unavailable::Registered(_))
            | Refusal::NotRegistered(_)
            | Refusal::Conflict { .. }
            | Refusal::OtherNetwork { .. }
            | Refusal::NoLogin(_) => false,
            Refusal::Unavailable(_)
            | Refusal::NotYet(_)
            | Refusal::Changed(_)
            | Refusal::NoWorker
            | Refusal::Recovering
            | Refusal::Busy
            | Refusal::TooSlow
            | Refusal::NotStored
            | Refusal::Draining
            | Refusal::NoMain
            | Refusal::Incomplete
            | Refusal::SteppedDown
            | Refusal::TooFewBackups(_) => true,
        }
    }
}

/// By how much sooner one may try again what fails only while somebody takes over.
const BRIEF: u64 = 10;

impl Refusal {
    /// Whether it is over as soon as somebody has taken over, or has been heard.
    fn is_brief(&self) -> bool {
        matches!(self, Refusal::NoMain | Refusal::SteppedDown | Refusal::Incomplete | Refusal::Changed(_))
    }
}

impl Coordinator {
    /// Tells whoever asked, and closes the connection: of an operator it stays open.
    pub(super) fn refuse(&mut self, turn: &mut Turn<'_>, link: LinkId, asked: Asked, refusal: &Refusal) {
        let info = refusal.to_string();
        let retry_after = refusal.is_passing().then(|| {
            let pause = self.retry_after();
            // A takeover or a merge is over in a moment, and spreads its clients by itself.
            if refusal.is_brief() { Millis(pause.0 / BRIEF) } else { pause }
        });
        let last: Message = match asked {
            Asked::LogIn => LoginFailed { info, retry_after, position: false }.into(),
            Asked::Register => RegisterFailed { info, retry_after }.into(),
            Asked::ChangeSecret => ChangeSecretFailed { info, retry_after }.into(),
            Asked::RemoveUser => return self.say(turn, link, RemoveUserFailed { info, retry_after }),
            Asked::ForgetCoordinator => {
                return self.say(turn, link, ForgetCoordinatorFailed { info, retry_after });
            }
            Asked::Import => return self.say(turn, link, ImportFailed { info, retry_after }),
        };
        self.dismiss(turn, link, last);
    }
}
