//! A coordinator has its epoch on disk before it says anything as the main one, and another's before it confirms anything of that; and no
//! two reigns share an epoch: not two coordinators', and not two of one.

use std::collections::BTreeMap;

use common::epoch::Epoch;
use common::wire::{Message, Role};

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, ProcessId, Seen};

#[derive(Debug, Default)]
pub(super) struct Epochs {
    reigns: BTreeMap<Epoch, (ProcessId, u32)>,
    /// In which epoch the updates of a connection are.
    followed: BTreeMap<ConnId, Epoch>,
}

/// Whether only a main coordinator says so.
fn is_of_main(message: &Message) -> bool {
    match message {
        Message::Heartbeat(beat) => beat.standing.role == Role::Main,
        Message::SynchroniseServerAddresses(_)
        | Message::SynchroniseServerLoad(_)
        | Message::SynchroniseUserStore(_)
        | Message::SynchronisedNewServer(_)
        | Message::RemoveServer(_)
        | Message::AuthenticateSuccess(_)
        | Message::LockAllowed(_)
        | Message::UserRegisterResult(_) => true,
        _ => false,
    }
}

impl Check for Epochs {
    fn observe(&mut self, scene: &Scene<'_>, _: &Ledger, seen: &Seen<Effect>, _: &mut Coverage) -> Verdict {
        if let Seen::Received {
            conn,
            message: Message::SynchroniseServerAddresses(_),
            epoch: Some(epoch),
            ..
        } = seen
        {
            self.followed.insert(*conn, epoch.clone());
        }
        let Seen::Said { by, conn, message, epoch, .. } = seen else { return Ok(()) };
        let followed = self.followed.get(conn).filter(|_| matches!(message, Message::Synchronised(_)));
        if let Some(followed) = followed.filter(|followed| scene.disks.of(*by).epoch() < Some(followed)) {
            let name = scene.name(*by);
            return Err(format!("{name} confirms what was said in {followed}, which is not on its disk"));
        }
        if !is_of_main(message) {
            return Ok(());
        }
        let (name, command, on_disk) = (scene.name(*by), message.command(), scene.disks.of(*by).epoch());
        let Some(epoch) = epoch else {
            return Err(format!("{name} says {command} without an epoch"));
        };
        if epoch.coordinator != scene.cast.server_id(*by) {
            return Err(format!("{name} says {command} as the main coordinator, and knows of {epoch}"));
        }
        if on_disk < Some(epoch) {
            return Err(format!("{name} says {command} in {epoch}, and has {on_disk:?} on its disk"));
        }
        let run = (*by, scene.world[*by].run);
        let reign = *self.reigns.entry(epoch.clone()).or_insert(run);
        if reign != run {
            return Err(format!("{name} reigns in {epoch}, in which {} reigned before", scene.name(reign.0)));
        }
        Ok(())
    }
}
