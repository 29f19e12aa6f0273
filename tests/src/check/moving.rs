//! Who is sent on loses nothing by it. A client of ours that was told to go closes the connection, and not the worker, unless that has no
//! more time to leave, or throws the client out for something else; before, it acknowledges whatever came to it. A client of the original
//! protocol is sent on when it has been given all that others at its worker had been given when that was told to leave.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::time::Time;
use common::wire::{ActivityBroadcast, Message};

use super::stream::Life;
use super::{Check, Ledger, Scene, Tag, Verdict};
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, ProcessId, Seen};

/// A worker that leaves waits at least so long for those whom it has sent on.
const PATIENCE: Duration = Duration::from_secs(7);

#[derive(Debug, Default)]
pub(super) struct Moving {
    /// How many activities came over each connection of a client of ours, and how many of them it has acknowledged.
    came: BTreeMap<ConnId, u64>,
    acknowledged: BTreeMap<ConnId, u64>,
    /// The worker of each connection that a client logged in over, and when it heard that it was.
    at: BTreeMap<ConnId, (Life, Time)>,
    /// Connections that a worker closed with a complaint: whom it tells to go may fall behind before it has read that, and hears of both at
    /// once. A worker that closes because it has told somebody to go complains of nothing. Or that it closed inside of an activity: that is
    /// whom the log has left behind there, and no complaint could follow.
    thrown_out: BTreeSet<ConnId>,
    /// Connections of workers that the network has broken.
    broken: BTreeSet<ConnId>,
    /// Connections over which a client is being replayed what it missed.
    replays: BTreeSet<ConnId>,
    /// What each worker has given to somebody live, and when it first did.
    given: BTreeMap<Life, BTreeMap<Tag, Time>>,
    /// What came over each connection of a client of the original protocol.
    has: BTreeMap<ConnId, BTreeSet<Tag>>,
}

impl Moving {
    fn comes(&mut self, scene: &Scene<'_>, at: ProcessId, conn: ConnId, broadcast: &ActivityBroadcast) {
        *self.came.entry(conn).or_default() += 1;
        let (Some((worker, _)), Some(tag)) = (self.at.get(&conn), Tag::of(&broadcast.activity)) else {
            return;
        };
        if !self.replays.contains(&conn) {
            self.given.entry(*worker).or_default().entry(tag.clone()).or_insert(scene.now);
        }
        if scene.role(at) == Role::Classic {
            self.has.entry(conn).or_default().insert(tag);
        }
    }

    /// A client of ours is told to go to another worker.
    fn told(&self, scene: &Scene<'_>, ledger: &Ledger, at: ProcessId, conn: ConnId) -> Verdict {
        let Some((worker, _)) = self.at.get(&conn) else { return Ok(()) };
        let runs = scene.world[worker.0].is_up() && scene.world[worker.0].run == worker.1;
        let leaves = ledger.draining.get(worker);
        let has_time = leaves.is_none_or(|since| *since + PATIENCE > scene.now);
        let excused = self.thrown_out.contains(&conn) || self.broken.contains(&conn);
        match ledger.stream.server_ends.get(&conn) {
            Some(ended) if runs && has_time && !excused => Err(format!(
                "{} is told to leave over {conn:?}, which its worker had closed at {ended}",
                scene.name(at)
            )),
            _ => Ok(()),
        }
    }

    /// A client of the original protocol is sent on.
    fn sent_on(&self, scene: &Scene<'_>, ledger: &Ledger, at: ProcessId, conn: ConnId) -> Verdict {
        let Some((worker, since)) = self.at.get(&conn) else { return Ok(()) };
        let Some(left) = ledger.draining.get(worker) else { return Ok(()) };
        if *left + PATIENCE <= scene.now {
            return Ok(());
        }
        let given = self.given.get(worker).into_iter().flatten();
        let mut due = given.filter(|(tag, at)| ledger.accepted[tag].at > *since && **at < *left);
        match due.find(|(tag, _)| !self.has.get(&conn).is_some_and(|has| has.contains(tag))) {
            Some((tag, given)) => Err(format!(
                "{} is sent on over {conn:?} without {tag:?}, which others had got there at {given}",
                scene.name(at)
            )),
            None => Ok(()),
        }
    }

    /// A worker finds that a client has closed its connection.
    fn left(&self, scene: &Scene<'_>, ledger: &Ledger, from: ProcessId, conn: ConnId) -> Verdict {
        let came = self.came.get(&conn).copied().unwrap_or(0);
        let acknowledged = self.acknowledged.get(&conn).copied().unwrap_or(0);
        if !ledger.stream.moved.contains(&conn) || acknowledged >= came {
            return Ok(());
        }
        Err(format!(
            "{} went where it was sent over {conn:?} when it had got {came} activities and acknowledged {acknowledged}",
            scene.name(from)
        ))
    }
}

impl Check for Moving {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        _: &mut Coverage,
    ) -> Verdict {
        match seen {
            Seen::Received { at, from, run, conn, message, .. } => match (scene.role(*at), message) {
                (Role::Client | Role::Classic, Message::LoginSuccess(_))
                    if scene.role(*from) == Role::Worker =>
                {
                    self.at.insert(*conn, ((*from, *run), scene.now));
                    Ok(())
                }
                (Role::Client | Role::Classic, Message::ActivityBroadcast(broadcast)) => {
                    self.comes(scene, *at, *conn, broadcast);
                    Ok(())
                }
                (Role::Worker, Message::Login(login)) if login.resume.is_some() => {
                    self.replays.insert(*conn);
                    Ok(())
                }
                (Role::Client, Message::Resumed(_)) => {
                    self.replays.remove(conn);
                    Ok(())
                }
                (Role::Worker, Message::ActivityAck(ack)) => {
                    self.acknowledged.insert(*conn, ack.received);
                    Ok(())
                }
                (Role::Client, Message::Quit(_)) => self.told(scene, ledger, *at, *conn),
                (Role::Classic, Message::Redirect(_)) if scene.role(*from) == Role::Worker => {
                    self.sent_on(scene, ledger, *at, *conn)
                }
                _ => Ok(()),
            },
            Seen::Closed { by, conn, last, torn, .. }
                if scene.role(*by) == Role::Worker && (*torn || is_complaint(last.as_ref())) =>
            {
                self.thrown_out.insert(*conn);
                Ok(())
            }
            // What it said before may be on its way.
            Seen::Lost { at, conn, clean: false, .. } if scene.role(*at) == Role::Worker => {
                self.broken.insert(*conn);
                Ok(())
            }
            Seen::Lost { at, from, conn, clean: true }
                if scene.role(*at) == Role::Worker && scene.role(*from) == Role::Client =>
            {
                self.left(scene, ledger, *from, *conn)
            }
            _ => Ok(()),
        }
    }
}

fn is_complaint(last: Option<&Message>) -> bool {
    matches!(last, Some(Message::InvalidMessage(_) | Message::AuthenticationFail(_)))
}
