//! Nobody is logged in but with a name that is on disk and its secret, with a token that is valid for it by the server's own clock, or as
//! the anonymous user.

use common::user::Username;
use common::wire::Message;

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::Seen;
use crate::sim::coverage::Coverage;
use crate::sim::disk::matches;
use crate::sim::node::Effect;

#[derive(Debug)]
pub(super) struct Login;

impl Check for Login {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        _: &mut Coverage,
    ) -> Verdict {
        let Seen::Received { at, from, conn, message: Message::LoginSuccess(_) } = seen else {
            return Ok(());
        };
        let who = format!("{} at {}", scene.name(*at), scene.name(*from));
        let attempt =
            ledger.attempts.get(conn).ok_or_else(|| format!("{who} was logged in without asking"))?;
        let name: Username = attempt.login.username.parse().map_err(|error| format!("{who}: {error}"))?;
        if name.is_anonymous() {
            return Ok(());
        }
        let Some(record) = scene.disk.users().get(&name) else {
            return Err(format!("{who} was logged in as {name} before that was registered"));
        };
        let by_secret = attempt.login.secret.as_ref().is_some_and(|secret| matches(secret, record));
        let claims =
            attempt.login.token.as_ref().map(|token| scene.cast.token_key.verify(token, attempt.wall));
        let by_token = matches!(&claims, Some(Ok(claims))
            if claims.username == name && claims.registration.as_ref() == Some(&record.registration));
        if by_secret || by_token {
            Ok(())
        } else {
            Err(format!("{who} was logged in as {name} without its secret; its token: {claims:?}"))
        }
    }
}
