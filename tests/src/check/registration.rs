//! Registration. Nobody hears of one before it is on the disk of the coordinator that says so; and of several who want a name one gets it,
//! as far as a coordinator can know. (Two coordinators that cannot reach each other may each give it away; [`super::durability`] looks
//! after both.)

use std::collections::BTreeMap;

use common::user::{Secret, Stamp, UserRecord, Username};
use common::wire::{Message, Register};

use super::ledger::Request;
use super::{Check, Ledger, Scene, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::disk::matches;
use crate::sim::node::Effect;
use crate::sim::{ConnId, ProcessId, Seen};

#[derive(Debug, Default)]
pub(super) struct Registration {
    /// The latest REGISTER on each connection.
    wanted: BTreeMap<ConnId, Register>,
    /// Those of them that came to a coordinator that had given the name to somebody else, by that registration.
    hopeless: BTreeMap<ConnId, Stamp>,
    /// Who got a name where there is only one coordinator.
    winners: BTreeMap<Username, (ConnId, Secret)>,
}

impl Registration {
    fn asked(&mut self, scene: &Scene<'_>, at: ProcessId, conn: ConnId, register: &Register) {
        self.wanted.insert(conn, register.clone());
        if let (true, Ok(name)) = (scene.is_coordinator(at), register.username.parse::<Username>()) {
            let owner = scene.disks.of(at).users().get(&name);
            match owner.filter(|owner| !matches(&register.secret, owner)) {
                Some(owner) => self.hopeless.insert(conn, owner.registration.clone()),
                None => self.hopeless.remove(&conn),
            };
        }
    }

    /// A coordinator says that a name is registered.
    fn won(&mut self, scene: &Scene<'_>, by: ProcessId, conn: ConnId, register: &Register) -> Verdict {
        let name: Username =
            register.username.parse().map_err(|error| format!("{:?}: {error}", register.username))?;
        let by_name = scene.name(by);
        if !scene.disks.of(by).holds(&name, &register.secret) {
            return Err(format!(
                "{by_name} told {conn:?} that {name} is registered, and has it not on its disk so"
            ));
        }
        // It may have been removed while this one waited, or have lost the name to an earlier registration: this one's, from elsewhere.
        let stays = |owner: &Stamp| {
            let disk = scene.disks.of(by);
            let lost = disk.users().get(&name).is_some_and(|winner| winner.registration < *owner);
            !lost && disk.registration(&name, owner).is_none_or(|owner| !owner.is_removed())
        };
        if self.hopeless.get(&conn).is_some_and(stays) {
            return Err(format!(
                "{by_name} gave {name} to {conn:?}, and had it on its disk as somebody else's"
            ));
        }
        if scene.cast.coordinators.len() > 1 {
            return Ok(());
        }
        match self.winners.insert(name.clone(), (conn, register.secret.clone())) {
            Some((other, secret)) if secret != register.secret => {
                Err(format!("{name} was registered twice: over {other:?} and {conn:?}"))
            }
            _ => Ok(()),
        }
    }
}

/// What a coordinator tells a worker is on its disk; what a worker tells was once on somebody's.
fn on_disk(scene: &Scene<'_>, from: ProcessId, name: &Username, record: &UserRecord) -> Verdict {
    let from_name = scene.name(from);
    if !scene.is_coordinator(from) {
        return match scene.disks.ever(name).contains(record) {
            true => Ok(()),
            false => Err(format!("{from_name} tells of a record of {name} that was never written")),
        };
    }
    match scene.disks.of(from).registration(name, &record.registration) {
        Some(stored) if stored == record || stored.supersedes(record) => Ok(()),
        Some(_) => {
            Err(format!("{from_name} told a worker another record of {name} than the one on its disk"))
        }
        None => Err(format!("{from_name} told a worker of {name} before that was on its disk")),
    }
}

impl Check for Registration {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        if let Seen::Said { by, conn, message: Message::RegisterSuccess(success), .. } = seen {
            coverage.add(if success.existing { "registrations repeated" } else { "registrations" }, 1);
            return match ledger.requests.get(conn) {
                Some(Request::Register(register)) => self.won(scene, *by, *conn, register),
                _ => Err(format!("{conn:?} was told of a registration it never asked for")),
            };
        }
        let Seen::Received { at, from, conn, message, .. } = seen else { return Ok(()) };
        let of_worker = scene.role(*at) == crate::sim::cast::Role::Worker || !scene.is_coordinator(*from);
        match message {
            Message::Register(register) => self.asked(scene, *at, *conn, register),
            Message::RegisterSuccess(_) if !scene.is_coordinator(*from) => {
                let register = self.wanted.get(conn);
                let register = register
                    .ok_or_else(|| format!("{conn:?} was told of a registration it never asked for"))?;
                let name: Username = register.username.parse().map_err(|error| format!("{error}"))?;
                coverage.add("registrations", 1);
                if !scene.disks.ever(&name).iter().any(|record| matches(&register.secret, record)) {
                    return Err(format!("{name} was told to {conn:?} as registered and was never written"));
                }
            }
            Message::RegisterFailed(failed) if failed.info.contains("being registered") => {
                coverage.add("registrations refused because the name was being registered", 1);
            }
            Message::LockAllowed(allowed) => on_disk(scene, *from, &allowed.username, &allowed.user)?,
            Message::UserRegisterResult(result) => on_disk(scene, *from, &result.username, &result.user)?,
            Message::UserAnswer(answer) => {
                answer.user.iter().try_for_each(|record| on_disk(scene, *from, &answer.username, record))?;
            }
            Message::SyncUser(sync) if of_worker => {
                sync.users.iter().try_for_each(|(name, record)| on_disk(scene, *from, name, record))?
            }
            _ => {}
        }
        Ok(())
    }
}
