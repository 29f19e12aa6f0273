//! Once a coordinator has heard of a higher epoch, it acknowledges nothing in its own; and nobody confirms an update of a lower epoch than
//! it knows. Its sender was right when it said so: it is told of the higher epoch, and not told off.

use std::collections::BTreeMap;

use common::epoch::Epoch;
use common::wire::Message;

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, ProcessId, Seen};

#[derive(Debug, Default)]
pub(super) struct Fencing {
    /// The highest epoch that each run of a coordinator has heard of.
    heard: BTreeMap<(ProcessId, u32), Epoch>,
    /// Updates that are out of date, by connection: the first of them, and its epoch.
    stale: BTreeMap<ConnId, (u64, Epoch)>,
}

impl Fencing {
    fn hears(
        &mut self,
        scene: &Scene<'_>,
        at: ProcessId,
        conn: ConnId,
        message: &Message,
        epoch: &Epoch,
        coverage: &mut Coverage,
    ) {
        let known = self.known(scene, at).cloned();
        let update = match message {
            Message::SynchroniseServerAddresses(update) => Some(update.update),
            Message::SynchroniseServerLoad(update) => Some(update.update),
            Message::SynchroniseUserStore(update) => Some(update.update),
            _ => None,
        };
        match update {
            Some(update) if known.as_ref() > Some(epoch) => {
                coverage.add("updates of a lower epoch", 1);
                self.stale.entry(conn).or_insert_with(|| (update, epoch.clone()));
            }
            // The numbers begin again with every reign.
            Some(1) => _ = self.stale.remove(&conn),
            _ => {}
        }
        if known.as_ref() < Some(epoch) {
            self.heard.insert((at, scene.world[at].run), epoch.clone());
        }
    }

    /// The highest epoch that a coordinator knows.
    fn known<'a>(&'a self, scene: &'a Scene<'_>, id: ProcessId) -> Option<&'a Epoch> {
        self.heard.get(&(id, scene.world[id].run)).max(scene.disks.of(id).epoch())
    }

    fn acknowledges(&self, scene: &Scene<'_>, by: ProcessId, command: &str) -> Verdict {
        let (name, own) = (scene.name(by), scene.disks.of(by).epoch());
        let me = scene.cast.server_id(by);
        let heard = self.heard.get(&(by, scene.world[by].run));
        match own {
            Some(own) if own.coordinator != me => {
                Err(format!("{name} says {command}, and has the epoch {own} of another on its disk"))
            }
            _ if heard > own => Err(format!("{name} says {command} in {own:?}, and has heard of {heard:?}")),
            _ => Ok(()),
        }
    }
}

impl Check for Fencing {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        _: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        match seen {
            Seen::Received { at, from, conn, message, epoch: Some(epoch), .. }
                if scene.is_coordinator(*at) && scene.role(*from).is_server() =>
            {
                self.hears(scene, *at, *conn, message, epoch, coverage);
                Ok(())
            }
            Seen::Said {
                by,
                message:
                    message @ (Message::RegisterSuccess(_)
                    | Message::LockAllowed(_)
                    | Message::ChangeSecretSuccess(_)
                    | Message::RemoveUserSuccess(_)),
                ..
            } => self.acknowledges(scene, *by, message.command()),
            Seen::Said { by, to, message: Message::InvalidMessage(invalid), .. }
                if scene.is_coordinator(*to) =>
            {
                let (by, to) = (scene.name(*by), scene.name(*to));
                Err(format!("{by} tells {to} off instead of saying what it has heard of: {}", invalid.info))
            }
            Seen::Said { by, conn, message: Message::Synchronised(confirmed), .. } => {
                let known = self.known(scene, *by);
                match self.stale.get(conn) {
                    // What was only on its own disk, and said to nobody, may have given way since.
                    Some((stale, epoch)) if confirmed.update >= *stale && known > Some(epoch) => {
                        Err(format!("{} confirms update {stale} of a lower epoch", scene.name(*by)))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
