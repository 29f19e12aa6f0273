//! Who is told to try again later does so, and no earlier: that is how a server keeps a crowd away that it has no room for.

use std::collections::BTreeMap;
use std::time::Duration;

use common::time::Time;
use common::wire::Message;

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, ProcessId, Seen};

#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Until when each run of a client was told to wait.
    until: BTreeMap<(ProcessId, u32), (Time, ConnId)>,
}

impl Check for Patience {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        _: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        let Seen::Received { at, from, run, conn, message, .. } = seen else { return Ok(()) };
        let wait = match message {
            Message::LoginFailed(failed) => failed.retry_after,
            Message::RegisterFailed(failed) => failed.retry_after,
            Message::Login(_) | Message::Register(_) => {
                let until = self.until.get(&(*from, *run));
                // What was said before, on an earlier connection, may arrive late.
                return match until.filter(|(until, told)| scene.now < *until && conn > told) {
                    Some((until, _)) => Err(format!("{} was told to wait until {until}", scene.name(*from))),
                    None => Ok(()),
                };
            }
            _ => None,
        };
        if let Some(wait) = wait.filter(|_| scene.role(*at).is_honest_client()) {
            coverage.add("clients told to try again later", 1);
            self.until.insert((*at, scene.world[*at].run), (scene.now + Duration::from(wait), *conn));
        }
        Ok(())
    }
}
