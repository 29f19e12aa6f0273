//! Positions only grow: where a client asks to go on from, it has never been further. (No run here has so many workers that streams are forgotten.)

use std::collections::BTreeMap;

use common::position::Position;
use common::wire::Message;

use super::stream::Life;
use super::{Check, Ledger, Scene, Verdict};
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, Seen};

#[derive(Debug, Default)]
pub(super) struct Positions {
    last: BTreeMap<Life, (ConnId, Position)>,
}

impl Positions {
    fn is_at(&mut self, scene: &Scene<'_>, life: Life, conn: ConnId, position: &Position) -> Verdict {
        // A worker that was stopped may hear now what was said over an older connection.
        if self.last.get(&life).is_some_and(|(last, _)| *last > conn) {
            return Ok(());
        }
        match self.last.insert(life, (conn, position.clone())) {
            Some((_, last)) if !last.is_within(position) => {
                Err(format!("{} was at {last} and goes back to {position}", scene.name(life.0)))
            }
            _ => Ok(()),
        }
    }
}

impl Check for Positions {
    fn observe(&mut self, scene: &Scene<'_>, _: &Ledger, seen: &Seen<Effect>, _: &mut Coverage) -> Verdict {
        match seen {
            Seen::Received { at, from, conn, message: Message::Login(login), .. }
                if scene.role(*from) == Role::Client && scene.role(*at) == Role::Worker =>
            {
                let Some(position) = &login.resume else { return Ok(()) };
                self.is_at(scene, (*from, scene.world[*from].run), *conn, position)
            }
            _ => Ok(()),
        }
    }
}
