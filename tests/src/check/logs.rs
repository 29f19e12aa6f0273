//! Once everything has healed and it is quiet, all workers hold the same activities, under whatever ids. Where logs are small, that need
//! not be: what they had no room for any more, they do not ask for.

use std::collections::BTreeSet;

use common::id::Seq;
use common::session::SessionId;

use super::{Scene, Verdict};
use crate::sim::node::Node;

/// Whether all workers hold the same.
pub fn logs(scene: &Scene<'_>) -> Verdict {
    let mut all: Option<(&str, BTreeSet<(SessionId, Seq)>)> = None;
    for &id in &scene.cast.workers {
        let Some(worker) = scene.world[id].machine.as_ref().and_then(Node::worker) else { continue };
        let held: BTreeSet<(SessionId, Seq)> = worker.held().collect();
        match &all {
            None => all = Some((scene.name(id), held)),
            Some((other, theirs)) => {
                if let Some((session, seq)) = held.symmetric_difference(theirs).next() {
                    return Err(format!(
                        "either {} or {other} does not hold number {seq} of {session}",
                        scene.name(id)
                    ));
                }
            }
        }
    }
    Ok(())
}
