//! Loads. Once it is quiet, what a worker says it carries, what the coordinator believes and the connections that stand are the same; and a
//! burst of log-ins ends with loads within one of each other.

use super::{Ledger, Scene, Verdict};
use crate::sim::ProcessId;
use crate::sim::node::Node;

/// Whether every load is what it should be, and nobody is expected anywhere. It may take a while after the last change: heartbeats,
/// reservations.
pub fn loads(scene: &Scene<'_>, ledger: &Ledger) -> Verdict {
    loads_but_for_expected(scene, ledger, 0)
}

/// The same where so many may be expected: clients that were told to move, or that a worker was told to move and has not.
pub fn loads_but_for_expected(scene: &Scene<'_>, ledger: &Ledger, most: u64) -> Verdict {
    let main = scene.main().ok_or("there is no main coordinator")?;
    let status = scene.coordinator(main).ok_or("the main coordinator is down")?.status(false);
    let workers: Vec<_> = status.workers.iter().filter(|worker| worker.connected).collect();
    if workers.len() != scene.cast.workers.len() || workers.len() != status.workers.len() {
        return Err(format!("the coordinator knows {:?}", status.workers));
    }
    for &id in &scene.cast.workers {
        let process = &scene.world[id];
        let truth = ledger.open_sessions().filter(|(_, session)| session.worker == id).count() as u64;
        let own = load(scene, id);
        let Some(seen) = workers.iter().find(|worker| worker.server.address == process.address) else {
            return Err(format!("the coordinator does not know {}", process.name));
        };
        if (own, seen.load) != (truth, truth) || seen.expected > most {
            return Err(format!(
                "{} carries {truth} clients, says {own}, and the coordinator believes in {} and expects {}",
                process.name, seen.load, seen.expected
            ));
        }
    }
    Ok(())
}

/// Whether the workers' loads are within one of each other.
pub fn evenness(scene: &Scene<'_>) -> Verdict {
    let loads: Vec<u64> = scene.cast.workers.iter().map(|&id| load(scene, id)).collect();
    let (least, most) = (loads.iter().min().copied().unwrap_or(0), loads.iter().max().copied().unwrap_or(0));
    if most - least <= 1 {
        Ok(())
    } else {
        Err(format!("balance: after a burst of log-ins the loads are {loads:?}"))
    }
}

fn load(scene: &Scene<'_>, id: ProcessId) -> u64 {
    scene.world[id].machine.as_ref().and_then(Node::worker).map_or(0, |worker| worker.load())
}
