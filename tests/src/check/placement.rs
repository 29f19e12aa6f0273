//! A coordinator sends nobody to a worker that it has no connection to: neither to one that it knows to be gone, nor to one that has not
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
    /// By coordinator.
    of: BTreeMap<ProcessId, Connected>,
}

/// What one coordinator can know.
#[derive(Debug, Default)]
struct Connected {
    /// The workers' connections to it, in this run of it.
    connected: BTreeMap<ConnId, ProcessId>,
    run: u32,
    /// When each worker's last connection ended.
    ended: BTreeMap<ProcessId, Time>,
}

impl Connected {
    fn end(&mut self, conn: ConnId, now: Time) {
        if let Some(worker) = self.connected.remove(&conn) {
            self.ended.insert(worker, now);
        }
    }

    /// Another run of it begins without connections.
    fn follow_restarts(&mut self, scene: &Scene<'_>, id: ProcessId) {
        let run = scene.world[id].run;
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
        let id = match seen {
            Seen::Received { at, .. } if scene.is_coordinator(*at) => *at,
            Seen::Received { from, .. } if scene.is_coordinator(*from) => *from,
            Seen::Closed { by: id, .. } | Seen::Lost { at: id, .. } if scene.is_coordinator(*id) => *id,
            _ => return Ok(()),
        };
        let known = self.of.entry(id).or_default();
        known.follow_restarts(scene, id);
        match seen {
            Seen::Received { at, from, conn, message: Message::Authenticate(_), .. }
                if *at == id && scene.role(*from) == Role::Worker =>
            {
                known.connected.insert(*conn, *from);
            }
            Seen::Closed { conn, .. } | Seen::Lost { conn, .. } => known.end(*conn, scene.now),
            Seen::Received { at, from, conn, message: Message::Redirect(redirect), .. } if *from == id => {
                let is_there = |other: &&ProcessId| scene.world[**other].address == redirect.address;
                if scene.cast.coordinators.iter().any(|other| is_there(&other)) {
                    return Ok(());
                }
                let worker = scene.cast.workers.iter().find(is_there);
                let worker = *worker.ok_or_else(|| format!("{} is sent to nowhere", scene.name(*at)))?;
                let connected = known.connected.values().any(|connected| *connected == worker);
                let asked = ledger.attempts.get(conn).map_or(scene.now, |attempt| attempt.at);
                let since = known.ended.get(&worker).copied().unwrap_or_default();
                if !connected && since < asked {
                    let (at, worker, id) = (scene.name(*at), scene.name(worker), scene.name(id));
                    return Err(format!("{at} is sent to {worker}, which {id} lost at {since}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
