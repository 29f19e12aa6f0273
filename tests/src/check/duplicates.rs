//! No activity is handed up twice by a session of a client of ours, over whatever connections, workers and ids it came; and none comes
//! twice over one connection of a classic client.

use std::collections::BTreeSet;

use common::id::Seq;
use common::session::SessionId;
use common::wire::{ActivityBroadcast, Message};

use super::stream::Life;
use super::{Check, Ledger, Scene, Tag, Verdict};
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, Seen};

/// To whom an activity came: a session of ours, or a connection of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Receiver {
    Session(Life),
    Connection(ConnId),
}

#[derive(Debug, Default)]
pub(super) struct Duplicates {
    numbers: BTreeSet<(Receiver, SessionId, Seq)>,
    tags: BTreeSet<(Receiver, Tag)>,
}

impl Duplicates {
    fn came(&mut self, receiver: Receiver, name: &str, broadcast: &ActivityBroadcast) -> Verdict {
        let (Some(id), Some(session), Some(seq)) = (&broadcast.id, broadcast.session, broadcast.activity_seq)
        else {
            return Err(format!("{name} got an activity without an id, or without a session: {broadcast:?}"));
        };
        if !self.numbers.insert((receiver, session, seq)) {
            return Err(format!("{name} got number {seq} of {session} twice, the second time as {id}"));
        }
        match Tag::of(&broadcast.activity) {
            Some(tag) if !self.tags.insert((receiver, tag.clone())) => {
                Err(format!("{name} got {tag:?} twice, the second time as {id}, number {seq} of {session}"))
            }
            _ => Ok(()),
        }
    }
}

impl Check for Duplicates {
    fn observe(&mut self, scene: &Scene<'_>, _: &Ledger, seen: &Seen<Effect>, _: &mut Coverage) -> Verdict {
        match seen {
            Seen::Received { at, conn, message: Message::ActivityBroadcast(broadcast), .. }
                if !scene.role(*at).is_server() && scene.role(*at) != Role::Client =>
            {
                self.came(Receiver::Connection(*conn), scene.name(*at), broadcast)
            }
            Seen::Effect { at, effect: Effect::Client(client::core::Effect::Activity(broadcast)) } => {
                self.came(Receiver::Session((*at, scene.world[*at].run)), scene.name(*at), broadcast)
            }
            _ => Ok(()),
        }
    }
}
