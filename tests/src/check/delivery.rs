//! What is not lost reaches everybody. Every activity that some running worker has held all the time since it was taken (or taken again)
//! has been handed up to every client of ours that was there before and still is, over whatever connections: that is every acknowledged
//! one, unless all that held it died before others had caught up. A client that was told of a gap is excused for what lies in it, and where
//! logs are small, what no log holds any more is nobody's. In calm runs nothing is excused.

use std::collections::BTreeSet;

use common::id::ActivityId;
use worker::core::Worker;

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::Seen;
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;

#[derive(Debug)]
pub(super) struct Delivery {
    calm: bool,
    /// Logs are small, so that history is lost.
    small: bool,
}

impl Delivery {
    pub(super) fn new(calm: bool, small: bool) -> Self {
        Delivery { calm, small }
    }
}

impl Check for Delivery {
    fn observe(&mut self, _: &Scene<'_>, _: &Ledger, _: &Seen<Effect>, _: &mut Coverage) -> Verdict {
        Ok(())
    }

    fn finish(&mut self, scene: &Scene<'_>, ledger: &Ledger) -> Verdict {
        missed(scene, ledger, self.calm, self.small).map_or(Ok(()), Err)
    }
}

/// Who has missed what.
pub(super) fn missed(scene: &Scene<'_>, ledger: &Ledger, calm: bool, small: bool) -> Option<String> {
    let stream = &ledger.stream;
    let workers = scene.cast.workers.iter().filter_map(|id| scene.world[*id].machine.as_ref()?.worker());
    let workers: Vec<&Worker> = workers.collect();
    let is_held = |ids: &BTreeSet<ActivityId>| {
        !small || ids.iter().any(|id| workers.iter().any(|worker| worker.holds().contains(id)))
    };
    for ((id, run), listener) in &stream.listeners {
        let process = &scene.world[*id];
        let Some(since) = listener.since.filter(|_| process.is_up() && process.run == *run) else { continue };
        if scene.cast.users.get(id).is_none_or(|user| user.away) {
            continue;
        }
        if calm && (!listener.gaps.is_empty() || listener.anew.is_some()) {
            return Some(format!("{} was told of a gap where nothing was wrong", process.name));
        }
        for (tag, holding) in &stream.holdings {
            // What only a disk held for a while was published before it was held anew.
            let is_new = holding.since > since && ledger.accepted[tag].at > since;
            let is_due = is_new && !holding.holders.is_empty();
            // Of several ids, a worker whose log has lost the activity knows one, and speaks of that one.
            let excused = holding.ids.iter().any(|id| listener.gaps.contains(id))
                || listener.anew.is_some_and(|anew| holding.since <= anew);
            if is_due && !excused && !listener.handed.contains_key(tag) && is_held(&holding.ids) {
                return Some(format!(
                    "{} was never given {tag:?} ({:?}), held since {} by {:?}",
                    process.name, holding.ids, holding.since, holding.holders
                ));
            }
        }
    }
    None
}
