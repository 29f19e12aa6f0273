//! LOGIN: who is this, and where to?
//!
//! Four ways to be known, cheapest first: as `anonymous`; by having just registered on this connection; by a token; by a secret,
//! which costs a password hash. An unknown name is verified against a decoy, so that refusing it takes as long and says the
//! same as refusing a wrong secret.

use common::id::LinkId;
use common::machine::{Action, JobId};
use common::password;
use common::token::Claims;
use common::user::{Secret, Stamp, Username};
use common::wire::{Login, LoginFailed, LoginSuccess, Message, Redirect};
use tracing::debug;

use super::config::Effect;
use super::jobs::HashJob;
use super::links::{Overdue, Party};
use super::{Coordinator, Turn};

pub(super) const SECRET_RULE: &str = "a secret has 1 to 256 bytes";

/// Why a log-in failed. The text is for the client.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Unacceptable(String),
    #[error("wrong name or secret")]
    Wrong,
    #[error("{0} is being registered; log in when that is done")]
    BeingRegistered(Username),
    #[error("no worker is connected yet, try again")]
    NoWorker,
    #[error("too many log-ins and registrations are waiting; try again in a moment")]
    Busy,
    #[error("the secret could not be verified in time; try again in a moment")]
    TooSlow,
    #[error("no log-in within {0} s")]
    NoLogin(u64),
    #[error("this coordinator is shutting down; try again in a moment")]
    Draining,
}

impl Failure {
    /// Whether the same request may succeed later.
    fn is_passing(&self) -> bool {
        match self {
            Failure::Unacceptable(_) | Failure::Wrong | Failure::NoLogin(_) => false,
            Failure::BeingRegistered(_)
            | Failure::NoWorker
            | Failure::Busy
            | Failure::TooSlow
            | Failure::Draining => true,
        }
    }
}

/// How far one gets without a password hash.
enum Known {
    /// This is the user of that registration; `None` for the anonymous one.
    As(Username, Option<Stamp>),
    /// The secret decides.
    BySecret(Username, Secret),
}

impl Coordinator {
    pub(super) fn login(&mut self, turn: &mut Turn<'_>, link: LinkId, request: Login) {
        match self.recognise(turn, link, request) {
            Ok(Known::As(username, registration)) => self.admit(turn, link, username, registration),
            Ok(Known::BySecret(username, secret)) => self.verify(turn, link, username, secret),
            Err(failure) => self.fail_login(turn, link, &failure),
        }
    }

    fn recognise(&self, turn: &Turn<'_>, link: LinkId, request: Login) -> Result<Known, Failure> {
        let unacceptable = |error: &dyn std::fmt::Display| Failure::Unacceptable(error.to_string());
        let username: Username =
            request.username.parse().map_err(|error: common::user::UsernameError| unacceptable(&error))?;
        if !self.placement.is_open() {
            return Err(Failure::NoWorker);
        }
        if username.is_anonymous() {
            return Ok(Known::As(username, None));
        }
        if self.registry.is_held(&username) {
            return Err(Failure::BeingRegistered(username));
        }
        if let Some(registration) = self.just_registered(link, &username, request.secret.as_ref()) {
            return Ok(Known::As(username, Some(registration)));
        }
        let refused_token = match request.token.map(|token| self.check_token(turn, &username, &token)) {
            Some(Ok(registration)) => return Ok(Known::As(username, Some(registration))),
            Some(Err(failure)) => Some(failure),
            None => None,
        };
        match request.secret {
            Some(secret) if secret.is_acceptable() => Ok(Known::BySecret(username, secret)),
            Some(_) => Err(unacceptable(&SECRET_RULE)),
            None => {
                Err(refused_token.unwrap_or_else(|| unacceptable(&"a secret or a token is needed to log in")))
            }
        }
    }

    /// The registration of a user who has made it on this very connection, with this secret.
    fn just_registered(&self, link: LinkId, username: &Username, secret: Option<&Secret>) -> Option<Stamp> {
        let Party::Stranger { registered: Some(registered), .. } = &self.links.get(link)?.party else {
            return None;
        };
        let matches = registered.username == *username && registered.secret.matches(secret?);
        matches.then(|| registered.registration.clone())
    }

    fn check_token(&self, turn: &Turn<'_>, username: &Username, token: &str) -> Result<Stamp, Failure> {
        let claims = self.token_key.verify(token, turn.now.wall);
        let claims = claims.map_err(|error| Failure::Unacceptable(error.to_string()))?;
        let registration = self.registry.get(username).map(|record| &record.registration);
        match claims.registration {
            Some(claimed) if claims.username == *username && registration == Some(&claimed) => Ok(claimed),
            _ => Err(Failure::Unacceptable("the token is not this user's".to_owned())),
        }
    }

    fn verify(&mut self, turn: &mut Turn<'_>, link: LinkId, username: Username, secret: Secret) {
        if self.jobs.hashes() >= self.config.limits.hash_queue {
            return self.fail_login(turn, link, &Failure::Busy);
        }
        let record = self.registry.get(&username);
        let hash = record.map_or_else(password::decoy, |record| record.secret.clone());
        let registration = record.map(|record| record.registration.clone());
        let job = self.jobs.start(HashJob::Login { link, username, registration });
        if let Some(known) = self.links.get_mut(link) {
            known.party = Party::LoggingIn { deadline: turn.now.time + self.config.limits.login_deadline };
        }
        turn.actions.push(Action::Effect(Effect::Verify { job, secret, hash }));
    }

    /// The verdict on a secret has come.
    pub(super) fn verified(&mut self, turn: &mut Turn<'_>, job: JobId, matches: bool) {
        let (link, username, registration) = match self.jobs.finish(job) {
            HashJob::Login { link, username, registration } => (link, username, registration),
            HashJob::Register { .. } => unreachable!("a registration is hashed, not verified"),
        };
        match registration {
            // An unknown name fails whatever the decoy says.
            Some(registration) if matches => self.admit(turn, link, username, Some(registration)),
            _ => self.fail_login(turn, link, &Failure::Wrong),
        }
    }

    /// Sends a client who is known to a worker.
    fn admit(&mut self, turn: &mut Turn<'_>, link: LinkId, username: Username, registration: Option<Stamp>) {
        if self.links.get(link).is_none() {
            return;
        }
        let Some(address) = self.placement.choose(turn.now.time, &username) else {
            return self.fail_login(turn, link, &Failure::NoWorker);
        };
        debug!(%username, worker = %address, "logged in");
        let welcome =
            LoginSuccess { info: format!("logged in as {username}"), server: Some(self.config.id.clone()) };
        let expires = turn.now.wall + self.config.limits.token_life;
        let token = self.token_key.sign(&Claims { username, registration, expires });
        self.say(turn, link, welcome);
        self.dismiss(turn, link, Redirect { address, token: Some(token) });
    }

    /// A client has run out of time.
    pub(super) fn overdue(&mut self, turn: &mut Turn<'_>, link: LinkId, overdue: Overdue) {
        match overdue {
            Overdue::NoLogin => {
                let failure = Failure::NoLogin(self.config.limits.login_deadline.as_secs());
                self.fail_login(turn, link, &failure);
            }
            Overdue::LoginUnanswered => self.fail_login(turn, link, &Failure::TooSlow),
            Overdue::Stalled => self.abandon(turn, link, "it takes nothing of what waits for it"),
        }
    }

    pub(super) fn fail_login(&mut self, turn: &mut Turn<'_>, link: LinkId, failure: &Failure) {
        let retry_after = failure.is_passing().then(|| self.retry_after());
        let failed: Message = LoginFailed { info: failure.to_string(), retry_after }.into();
        self.close(turn, link, Some(&failed));
    }
}
