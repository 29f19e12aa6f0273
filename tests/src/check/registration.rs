//! Registration. Of several who want a name one gets it; nobody hears of it before it is on the coordinator's disk; and there it stays.

use std::collections::BTreeMap;

use common::user::{Secret, UserRecord, Username};
use common::wire::{Message, Register};

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, Seen};

#[derive(Debug, Default)]
pub(super) struct Registration {
    /// The latest REGISTER on each connection.
    wanted: BTreeMap<ConnId, Register>,
    winners: BTreeMap<Username, (ConnId, Secret)>,
}

impl Registration {
    fn won(&mut self, scene: &Scene<'_>, conn: ConnId, existing: bool) -> Verdict {
        let register = self
            .wanted
            .get(&conn)
            .ok_or_else(|| format!("{conn:?} was told of a registration it never asked for"))?;
        let name: Username =
            register.username.parse().map_err(|error| format!("{:?}: {error}", register.username))?;
        if !scene.disk.holds(&name, &register.secret) {
            return Err(format!("{name} was told to {conn:?} as registered and is not on the disk so"));
        }
        if existing {
            // By its own repetition: its first answer may have been lost.
            return match self.winners.get(&name) {
                Some((other, secret)) if *secret != register.secret => {
                    Err(format!("{name} was told to {conn:?} as its own, and is {other:?}'s"))
                }
                _ => Ok(()),
            };
        }
        match self.winners.insert(name.clone(), (conn, register.secret.clone())) {
            Some((other, _)) => Err(format!("{name} was registered twice: over {other:?} and {conn:?}")),
            None => Ok(()),
        }
    }
}

fn on_disk(scene: &Scene<'_>, name: &Username, record: &UserRecord) -> Verdict {
    match scene.disk.users().registration(name, &record.registration) {
        Some(stored) if stored == record || stored.supersedes(record) => Ok(()),
        Some(_) => Err(format!("a worker was told another record of {name} than the one on disk")),
        None => Err(format!("a worker was told of {name} before it was on disk")),
    }
}

impl Check for Registration {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        _: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        let Seen::Received { conn, message, .. } = seen else { return Ok(()) };
        match message {
            Message::Register(register) => _ = self.wanted.insert(*conn, register.clone()),
            Message::RegisterSuccess(success) => {
                let what = if success.existing { "registrations repeated" } else { "registrations" };
                coverage.add(what, 1);
                self.won(scene, *conn, success.existing)?;
            }
            Message::RegisterFailed(failed) if failed.info.contains("being registered") => {
                coverage.add("registrations refused because the name was being registered", 1);
            }
            Message::LockAllowed(allowed) => on_disk(scene, &allowed.username, &allowed.user)?,
            Message::UserRegisterResult(result) => on_disk(scene, &result.username, &result.user)?,
            Message::UserAnswer(answer) => {
                answer.user.iter().try_for_each(|record| on_disk(scene, &answer.username, record))?;
            }
            Message::SyncUser(sync) => {
                sync.users.iter().try_for_each(|(name, record)| on_disk(scene, name, record))?
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, scene: &Scene<'_>, _: &Ledger) -> Verdict {
        match self.winners.iter().find(|(name, (_, secret))| !scene.disk.holds(name, secret)) {
            Some((name, _)) => Err(format!("{name} was acknowledged, and is lost")),
            None => Ok(()),
        }
    }
}
