//! LOGIN: who is this, and where to?
//!
//! Four ways to be known, cheapest first: as `anonymous`; by having just registered on this connection; by a token; by a secret,
//! which costs a password hash (`verifying`).

use common::id::LinkId;
use common::token::Claims;
use common::user::{Secret, Stamp, Username};
use common::wire::{Login, LoginSuccess, Redirect};
use tracing::debug;

use super::links::{Overdue, Purpose};
use super::refusals::{Asked, Refusal, SECRET_RULE};
use super::{Coordinator, Turn};

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
            Ok(Known::BySecret(username, secret)) => {
                self.verify(turn, link, username, secret, Purpose::LogIn);
            }
            Err(refusal) => self.refuse(turn, link, Asked::LogIn, &refusal),
        }
    }

    fn recognise(&self, turn: &Turn<'_>, link: LinkId, request: Login) -> Result<Known, Refusal> {
        let unacceptable = |error: &dyn std::fmt::Display| Refusal::Unacceptable(error.to_string());
        let username: Username =
            request.username.parse().map_err(|error: common::user::UsernameError| unacceptable(&error))?;
        if !self.placement.is_open() {
            return Err(self.no_worker());
        }
        if username.is_anonymous() {
            return Ok(Known::As(username, None));
        }
        if self.registry.is_being_registered(&username) {
            return Err(Refusal::NotYet(username));
        }
        let remembered = request.secret.as_ref().and_then(|secret| self.remembered(link, &username, secret));
        if let Some(user) = remembered {
            return Ok(Known::As(username, Some(user.registration.clone())));
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

    /// Why nobody can be sent anywhere.
    fn no_worker(&self) -> Refusal {
        if self.placement.recovering().next().is_some() { Refusal::Recovering } else { Refusal::NoWorker }
    }

    fn check_token(&self, turn: &Turn<'_>, username: &Username, token: &str) -> Result<Stamp, Refusal> {
        let claims = self.group.token_key.verify(token, turn.now.wall);
        let claims = claims.map_err(|error| Refusal::Unacceptable(error.to_string()))?;
        let registration = self.registry.get(username).map(|record| &record.registration);
        match claims.registration {
            Some(claimed) if claims.username == *username && registration == Some(&claimed) => Ok(claimed),
            _ => Err(Refusal::Unacceptable("the token is not this user's".to_owned())),
        }
    }

    /// Sends a client who is known to a worker.
    pub(super) fn admit(
        &mut self,
        turn: &mut Turn<'_>,
        link: LinkId,
        username: Username,
        registration: Option<Stamp>,
    ) {
        if self.links.get(link).is_none() {
            return;
        }
        let Some(address) = self.placement.choose(turn.now.time, &username) else {
            return self.refuse(turn, link, Asked::LogIn, &self.no_worker());
        };
        debug!(%username, worker = %address, "logged in");
        let welcome = LoginSuccess {
            info: format!("logged in as {username}"),
            server: Some(self.config.id.clone()),
            ..LoginSuccess::default()
        };
        let expires = turn.now.wall + self.config.limits.token_life;
        let token = self.group.token_key.sign(&Claims { username, registration, expires });
        self.say(turn, link, welcome);
        self.dismiss(turn, link, Redirect { address, token: Some(token) });
    }

    /// A client has run out of time.
    pub(super) fn overdue(&mut self, turn: &mut Turn<'_>, link: LinkId, overdue: Overdue) {
        match overdue {
            Overdue::NoLogin => {
                let refusal = Refusal::NoLogin(self.config.limits.login_deadline.as_secs());
                self.refuse(turn, link, Asked::LogIn, &refusal);
            }
            Overdue::Parked => {
                let message = self.links.get_mut(link).and_then(|known| known.unpark());
                if let Some(message) = message {
                    self.refuse_request(turn, link, &message, &Refusal::NoMain);
                }
            }
            Overdue::Unverified(asked) => self.refuse(turn, link, asked, &Refusal::TooSlow),
            Overdue::Stalled => self.abandon(turn, link, "it takes nothing of what waits for it"),
        }
    }
}
