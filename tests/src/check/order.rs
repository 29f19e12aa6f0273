//! Order. What one session published comes in that order to everybody, but for what is marked late; and to whoever listens over one connection
//! nothing is left out without a word. What a sender's session numbers, it numbers in the order in which it was published, once.

use std::collections::BTreeMap;

use common::id::Seq;
use common::session::SessionId;
use common::wire::{ActivityBroadcast, Message};

use super::stream::Life;
use super::{Check, Ledger, Scene, Tag, Verdict};
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, Seen};

#[derive(Debug, Default)]
pub(super) struct Order {
    /// The last number of each session that came over each connection of a classic client, and to each of ours.
    over: BTreeMap<(ConnId, SessionId), Seq>,
    to: BTreeMap<(Life, SessionId), Seq>,
    /// What each session's numbers stand for.
    numbers: BTreeMap<SessionId, BTreeMap<Seq, u64>>,
}

impl Order {
    /// Numbers mean the same everywhere, and ascend with what was published.
    fn numbered(&mut self, session: SessionId, seq: Seq, tag: &Tag) -> Verdict {
        let numbers = self.numbers.entry(session).or_default();
        let known = *numbers.entry(seq).or_insert(tag.number);
        let before = numbers.range(..seq).next_back().is_none_or(|(_, number)| *number < tag.number);
        let after = numbers.range(seq.next()..).next().is_none_or(|(_, number)| *number > tag.number);
        if known != tag.number || !before || !after {
            return Err(format!("{tag:?} is number {seq} of {session}, and number {known} was it before"));
        }
        Ok(())
    }

    fn came_over(&mut self, name: &str, conn: ConnId, broadcast: &ActivityBroadcast) -> Verdict {
        let (Some(session), Some(seq)) = (broadcast.session, broadcast.activity_seq) else { return Ok(()) };
        if let Some(tag) = Tag::of(&broadcast.activity) {
            self.numbered(session, seq, &tag)?;
        }
        if broadcast.late {
            return Ok(());
        }
        let Some(last) = self.over.insert((conn, session), seq) else { return Ok(()) };
        match broadcast.missing_from {
            _ if seq <= last => {
                Err(format!("{name} got number {seq} of {session} over {conn:?} after {last}"))
            }
            None if seq > last.next() => {
                Err(format!("{name} got number {seq} of {session} over {conn:?} after {last} without a word"))
            }
            Some(missing) if missing != last.next() => Err(format!(
                "{name} got number {seq} of {session} over {conn:?} after {last}, and is told that {missing} is missing"
            )),
            _ => Ok(()),
        }
    }

    fn came_to(&mut self, name: &str, life: Life, broadcast: &ActivityBroadcast) -> Verdict {
        let (Some(session), Some(seq)) = (broadcast.session, broadcast.activity_seq) else { return Ok(()) };
        if broadcast.late {
            return Ok(());
        }
        match self.to.insert((life, session), seq) {
            Some(last) if seq <= last => {
                Err(format!("{name} was given number {seq} of {session} after {last}"))
            }
            _ => Ok(()),
        }
    }
}

impl Check for Order {
    fn observe(&mut self, scene: &Scene<'_>, _: &Ledger, seen: &Seen<Effect>, _: &mut Coverage) -> Verdict {
        match seen {
            Seen::Received { at, conn, message: Message::ActivityBroadcast(broadcast), .. }
                if scene.role(*at) == Role::Classic =>
            {
                self.came_over(scene.name(*at), *conn, broadcast)
            }
            Seen::Effect { at, effect: Effect::Client(client::core::Effect::Activity(broadcast)) } => {
                self.came_to(scene.name(*at), (*at, scene.world[*at].run), broadcast)
            }
            _ => Ok(()),
        }
    }
}
