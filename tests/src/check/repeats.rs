//! Whoever lost the answer to a registration may ask again: nobody is told that a name is registered which never was anybody's but its own.

use std::collections::BTreeMap;

use common::user::Username;
use common::wire::{Message, Register};

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::disk::matches;
use crate::sim::node::Effect;
use crate::sim::{ConnId, Seen};

#[derive(Debug, Default)]
pub(super) struct Repeats {
    wanted: BTreeMap<ConnId, Register>,
}

impl Check for Repeats {
    fn observe(&mut self, scene: &Scene<'_>, _: &Ledger, seen: &Seen<Effect>, _: &mut Coverage) -> Verdict {
        let Seen::Received { at, from, conn, message, .. } = seen else { return Ok(()) };
        match message {
            Message::Register(register) => _ = self.wanted.insert(*conn, register.clone()),
            Message::RegisterFailed(failed) if failed.retry_after.is_none() => {
                let Some(register) = self.wanted.get(conn) else { return Ok(()) };
                let Ok(name) = register.username.parse::<Username>() else { return Ok(()) };
                let ever = scene.disks.ever(&name);
                if !ever.is_empty() && ever.iter().all(|record| matches(&register.secret, record)) {
                    return Err(format!(
                        "{} was refused {name} by {} ({}), which never was anybody else's",
                        scene.name(*at),
                        scene.name(*from),
                        failed.info
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
