//! Order. What one sender sent over one connection comes in that order over every connection of a client; and so does everything that
//! entered through one start of one worker, which is what the senders' order is made of.

use std::collections::BTreeMap;

use common::id::{Incarnation, Seq, ServerId};
use common::wire::Message;

use super::{Check, Ledger, Scene, Tag, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, Seen};

#[derive(Debug, Default)]
pub(super) struct Order {
    /// The last number of each sending connection, at each receiving one.
    by_sender: BTreeMap<(ConnId, ConnId), u64>,
    by_origin: BTreeMap<(ConnId, ServerId, Incarnation), Seq>,
}

impl Check for Order {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        _: &mut Coverage,
    ) -> Verdict {
        let Seen::Received { at, conn, message: Message::ActivityBroadcast(broadcast), .. } = seen else {
            return Ok(());
        };
        if scene.role(*at).is_server() {
            return Ok(());
        }
        let at = scene.name(*at);
        if let Some(id) = &broadcast.id {
            let last = self.by_origin.insert((*conn, id.origin.clone(), id.incarnation), id.seq);
            if let Some(last) = last.filter(|last| *last >= id.seq) {
                return Err(format!("{at} got {id} over {conn:?} after number {last} of that origin"));
            }
        }
        let tag = Tag::of(&broadcast.activity);
        if let Some((tag, accepted)) =
            tag.and_then(|tag| ledger.accepted.get(&tag).map(|accepted| (tag, accepted)))
        {
            let last = self.by_sender.insert((*conn, accepted.conn), tag.number);
            if let Some(last) = last.filter(|last| *last >= tag.number) {
                return Err(format!("{at} got {tag:?} over {conn:?} after number {last} of that sender"));
            }
        }
        Ok(())
    }
}
