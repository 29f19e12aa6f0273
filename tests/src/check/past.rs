//! A session begins with its log-in: what a worker had given to somebody before a client asked it to be let in is not for that client.

use std::collections::BTreeMap;

use common::id::ActivityId;
use common::time::Time;
use common::wire::Message;

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, ProcessId, Seen};

/// A worker, from its start to its end.
type Run = (ProcessId, u32);

#[derive(Debug, Default)]
pub(super) struct Past {
    /// Where and when each connection asked to be let in.
    asked: BTreeMap<ConnId, (Run, Time)>,
    /// When each run first gave an activity to a client.
    given: BTreeMap<(Run, ActivityId), Time>,
}

impl Check for Past {
    fn observe(&mut self, scene: &Scene<'_>, _: &Ledger, seen: &Seen<Effect>, _: &mut Coverage) -> Verdict {
        let Seen::Received { at, conn, message, .. } = seen else { return Ok(()) };
        match message {
            // Who resumes asks for what was before.
            Message::Login(login) if login.resume.is_none() && login.last.is_none() => {
                self.asked.entry(*conn).or_insert(((*at, scene.world[*at].run), scene.now));
                Ok(())
            }
            Message::ActivityBroadcast(broadcast) => {
                let (Some((run, asked)), Some(id)) = (self.asked.get(conn), &broadcast.id) else {
                    return Ok(());
                };
                let given = *self.given.entry((*run, id.clone())).or_insert(scene.now);
                if given >= *asked {
                    return Ok(());
                }
                let at = scene.name(*at);
                Err(format!(
                    "{at} asked to be let in at {asked} and got {id}, which others had got at {given}"
                ))
            }
            _ => Ok(()),
        }
    }
}
