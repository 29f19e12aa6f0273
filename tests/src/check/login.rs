//! Nobody is logged in but with a name that is on disk and its secret, with a token that is valid for it by the server's own clock, or as
//! the anonymous user. A coordinator says so before it sends anybody on, and whoever comes while the name is being registered is told to
//! come again.

use std::collections::{BTreeMap, BTreeSet};

use common::time::Time;
use common::user::{Secret, Username};
use common::wire::{LoginFailed, Message, Register};

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::disk::matches;
use crate::sim::node::Effect;
use crate::sim::{ConnId, ProcessId, Seen};

/// When a log-in was asked for, and with which secret.
type Refused = (Time, Option<Secret>);

#[derive(Debug, Default)]
pub(super) struct Login {
    /// Connections on which a log-in has succeeded.
    welcomed: BTreeSet<ConnId>,
    /// The registrations that a coordinator was asked for, and when.
    registering: BTreeMap<ConnId, (Time, Register)>,
    /// The log-ins that a coordinator refused for good, by name, and when it had been asked.
    refused: BTreeMap<(ProcessId, Username), Vec<Refused>>,
}

impl Login {
    /// Somebody is logged in.
    fn welcomes(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        (at, from, conn): (ProcessId, ProcessId, ConnId),
    ) -> Verdict {
        self.welcomed.insert(conn);
        let who = format!("{} at {}", scene.name(at), scene.name(from));
        let attempt =
            ledger.attempts.get(&conn).ok_or_else(|| format!("{who} was logged in without asking"))?;
        let name: Username = attempt.login.username.parse().map_err(|error| format!("{who}: {error}"))?;
        if name.is_anonymous() {
            return Ok(());
        }
        let records = scene.disks.ever(&name);
        if records.is_empty() {
            return Err(format!("{who} was logged in as {name} before that was registered"));
        }
        let by_secret = attempt
            .login
            .secret
            .as_ref()
            .is_some_and(|secret| records.iter().any(|record| matches(secret, record)));
        // Coordinators that have not met yet have keys of their own.
        let keys = scene.disks.iter().map(|(_, disk)| &disk.group().token_key);
        let verify = |token: &String| keys.map(|key| key.verify(token, attempt.wall)).collect::<Vec<_>>();
        let claims = attempt.login.token.as_ref().map(verify).unwrap_or_default();
        let by_token = claims.iter().flatten().any(|claims| {
            claims.username == name
                && records.iter().any(|record| claims.registration.as_ref() == Some(&record.registration))
        });
        if by_secret || by_token {
            Ok(())
        } else {
            Err(format!("{who} was logged in as {name} without its secret; its token: {claims:?}"))
        }
    }

    fn refuses(
        &mut self,
        ledger: &Ledger,
        by: ProcessId,
        conn: ConnId,
        failed: &LoginFailed,
        coverage: &mut Coverage,
    ) {
        let Some(attempt) = ledger.attempts.get(&conn) else { return };
        if failed.info.contains("being registered") {
            coverage.add("log-ins put off because the name was being registered", 1);
        }
        if let Ok(name) = attempt.login.username.parse()
            && failed.retry_after.is_none()
        {
            self.refused.entry((by, name)).or_default().push((attempt.at, attempt.login.secret.clone()));
        }
    }

    /// A registration has succeeded: since it was asked for, its name was held or registered, and its secret not wrong.
    fn registered(&mut self, by: ProcessId, conn: ConnId) -> Verdict {
        let Some((since, register)) = self.registering.remove(&conn) else { return Ok(()) };
        let name: Username = register.username.parse().map_err(|error| format!("{error}"))?;
        let wronged = self.refused.get(&(by, name.clone())).into_iter().flatten().find(|(asked, secret)| {
            *asked > since && secret.as_ref().is_some_and(|secret| secret.equals(&register.secret))
        });
        match wronged {
            Some((asked, _)) => Err(format!(
                "a log-in as {name} was refused for good at {asked}, although {conn:?} had held the name since {since}"
            )),
            None => Ok(()),
        }
    }
}

/// A coordinator lets somebody in: by secret, it is that of the name's owner on its disk, and not of another registration of the name.
fn whose_name_it_is(scene: &Scene<'_>, ledger: &Ledger, by: ProcessId, conn: ConnId) -> Verdict {
    let Some(login) = ledger.attempts.get(&conn).map(|attempt| &attempt.login) else { return Ok(()) };
    let (Some(secret), None, Ok(name)) = (&login.secret, &login.token, login.username.parse::<Username>())
    else {
        return Ok(());
    };
    if name.is_anonymous() || scene.disks.of(by).holds(&name, secret) {
        return Ok(());
    }
    Err(format!("{} logs in as {name} somebody who has not its secret", scene.name(by)))
}

impl Check for Login {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        if let Seen::Said { by, conn, message: Message::LoginSuccess(_), .. } = seen {
            return whose_name_it_is(scene, ledger, *by, *conn);
        }
        let Seen::Received { at, from, conn, message, .. } = seen else { return Ok(()) };
        match message {
            Message::LoginSuccess(_) => self.welcomes(scene, ledger, (*at, *from, *conn))?,
            // A backup sends everybody on to the main coordinator.
            Message::Redirect(redirect)
                if scene.is_coordinator(*from)
                    && !self.welcomed.contains(conn)
                    && !scene
                        .cast
                        .coordinators
                        .iter()
                        .any(|&id| scene.world[id].address == redirect.address) =>
            {
                return Err(format!(
                    "{} was sent on without a word whether it is logged in",
                    scene.name(*at)
                ));
            }
            Message::LoginFailed(failed) if scene.is_coordinator(*from) => {
                self.refuses(ledger, *from, *conn, failed, coverage);
            }
            Message::Register(register) if scene.is_coordinator(*at) => {
                self.registering.insert(*conn, (scene.now, register.clone()));
            }
            Message::RegisterSuccess(_) if scene.is_coordinator(*from) => self.registered(*from, *conn)?,
            _ => {}
        }
        Ok(())
    }
}
