//! The coordinator sends nobody to a worker that it has no connection to: neither to one that it knows to be gone, nor to one that has not
//! come yet.

use std::collections::BTreeMap;

use common::time::Time;
use common::wire::Message;

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, ProcessId, Seen};

#[derive(Debug, Default)]
pub(super) struct Placement {
    /// The workers' connections to the coordinator, in this run of it.
    connected: BTreeMap<ConnId, ProcessId>,
    run: u32,
    /// When each worker's last connection ended.
    ended: BTreeMap<ProcessId, Time>,
}

impl Placement {
    fn end(&mut self, conn: ConnId, now: Time) {
        if let Some(worker) = self.connected.remove(&conn) {
            self.ended.insert(worker, now);
        }
    }

    /// Another run of the coordinator begins without connections.
    fn follow_restarts(&mut self, scene: &Scene<'_>) {
        let run = scene.world[scene.cast.coordinator].run;
        if std::mem::replace(&mut self.run, run) != run {
            for (_, worker) in std::mem::take(&mut self.connected) {
                self.ended.insert(worker, scene.now);
            }
        }
    }
}

impl Check for Placement {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        _: &mut Coverage,
    ) -> Verdict {
        self.follow_restarts(scene);
        let coordinator = scene.cast.coordinator;
        match seen {
            Seen::Received { at, from, conn, message: Message::Authenticate(_) }
                if *at == coordinator && scene.role(*from) == Role::Worker =>
            {
                self.connected.insert(*conn, *from);
            }
            Seen::Closed { by, conn, .. } if *by == coordinator => self.end(*conn, scene.now),
            Seen::Lost { at, conn, .. } if *at == coordinator => self.end(*conn, scene.now),
            Seen::Received { at, from, conn, message: Message::Redirect(redirect) }
                if *from == coordinator =>
            {
                let worker =
                    scene.cast.workers.iter().find(|&&id| scene.world[id].address == redirect.address);
                let worker = *worker.ok_or_else(|| format!("{} is sent to nowhere", scene.name(*at)))?;
                let connected = self.connected.values().any(|connected| *connected == worker);
                let asked = ledger.attempts.get(conn).map_or(scene.now, |attempt| attempt.at);
                let since = self.ended.get(&worker).copied().unwrap_or_default();
                if !connected && since < asked {
                    let (at, worker) = (scene.name(*at), scene.name(worker));
                    return Err(format!("{at} is sent to {worker}, which the coordinator lost at {since}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
