//! No activity comes twice over one connection of a client: neither the same id, nor another id with the same content.

use std::collections::BTreeSet;

use common::id::ActivityId;
use common::wire::Message;

use super::{Check, Ledger, Scene, Tag, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, Seen};

#[derive(Debug, Default)]
pub(super) struct Duplicates {
    ids: BTreeSet<(ConnId, ActivityId)>,
    tags: BTreeSet<(ConnId, Tag)>,
}

impl Check for Duplicates {
    fn observe(&mut self, scene: &Scene<'_>, _: &Ledger, seen: &Seen<Effect>, _: &mut Coverage) -> Verdict {
        let Seen::Received { at, conn, message: Message::ActivityBroadcast(broadcast), .. } = seen else {
            return Ok(());
        };
        if scene.role(*at).is_server() {
            return Ok(());
        }
        let id = broadcast
            .id
            .clone()
            .ok_or_else(|| format!("{} got an activity without an id", scene.name(*at)))?;
        if !self.ids.insert((*conn, id.clone())) {
            return Err(format!("{} got {id} twice over {conn:?}", scene.name(*at)));
        }
        match Tag::of(&broadcast.activity) {
            Some(tag) if !self.tags.insert((*conn, tag.clone())) => {
                Err(format!("{} got {tag:?} twice over {conn:?}, the second time as {id}", scene.name(*at)))
            }
            _ => Ok(()),
        }
    }
}
