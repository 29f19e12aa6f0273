//! What a worker counts is true: of an activity it counts no more clients than were logged in to it meanwhile, and no more that have it
//! than were sent it live: clients of ours by what came to them, others by what may have been written to them. And what a sender is told
//! adds up over all.

use std::collections::{BTreeMap, BTreeSet};

use client::core::Report;
use common::id::{Incarnation, Seq, ServerId};
use common::session::SessionId;
use common::time::Time;
use common::wire::{ActivityBroadcast, ActivitySuccInfo, Message};

use super::stream::Life;
use super::{Check, Ledger, Scene, Tag, Verdict};
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::{Effect, Node};
use crate::sim::{ConnId, ProcessId, Seen};

/// How long a worker may take a client for present that is gone, when their connection lets something through.
const NOTICED: std::time::Duration = std::time::Duration::from_secs(15);

/// A worker in one of its runs.
type Run = (ServerId, Incarnation);

#[derive(Debug, Default)]
pub(super) struct Counts {
    tags: BTreeMap<(SessionId, Seq), Tag>,
    readers: BTreeMap<ConnId, Reader>,
    /// Of clients of ours, the connections over which an activity came live.
    given: BTreeMap<(Run, Tag), BTreeSet<ConnId>>,
}

/// Who has asked a worker to be let in.
#[derive(Debug)]
struct Reader {
    worker: Run,
    acknowledges: bool,
    /// It is being replayed what it missed.
    replays: bool,
}

impl Counts {
    fn asks(&mut self, scene: &Scene<'_>, worker: ProcessId, conn: ConnId, login: &common::wire::Login) {
        let Some(machine) = scene.world[worker].machine.as_ref().and_then(Node::worker) else { return };
        let reader = Reader {
            worker: (machine.id().clone(), machine.incarnation()),
            acknowledges: login.session.is_some(),
            replays: login.resume.is_some() || login.last.is_some(),
        };
        self.readers.insert(conn, reader);
    }

    fn comes(&mut self, conn: ConnId, broadcast: &ActivityBroadcast) {
        let Some(tag) = Tag::of(&broadcast.activity) else { return };
        if let Some(reader) = self.readers.get(&conn).filter(|reader| reader.acknowledges && !reader.replays)
        {
            self.given.entry((reader.worker.clone(), tag)).or_default().insert(conn);
        }
    }

    fn learn(&mut self, broadcast: &ActivityBroadcast) {
        if let (Some(session), Some(seq), Some(tag)) =
            (broadcast.session, broadcast.activity_seq, Tag::of(&broadcast.activity))
        {
            self.tags.insert((session, seq), tag);
        }
    }

    /// How many clients of a worker, or of all, may count an activity that was taken at `taken`, and how many may have it.
    fn most(
        &self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        worker: Option<&Run>,
        tag: &Tag,
        taken: Time,
    ) -> (u64, u64) {
        let noticed = |conn| {
            let session = ledger.sessions.get(conn)?;
            let trouble = scene.ways.trouble_until(session.client, session.worker);
            Some(session.ended?.max(trouble) + NOTICED)
        };
        let (mut attached, mut have) = (0, 0);
        for (conn, reader) in &self.readers {
            if worker.is_some_and(|worker| reader.worker != *worker) {
                continue;
            }
            let ended = ledger.stream.server_ends.get(conn).copied();
            if ended.or_else(|| noticed(conn)).is_some_and(|ended| ended < taken) {
                continue;
            }
            attached += 1;
            let given = || self.given.get(&(reader.worker.clone(), tag.clone()));
            have += u64::from(!reader.acknowledges || given().is_some_and(|given| given.contains(conn)));
        }
        (attached, have)
    }

    fn counted(&self, scene: &Scene<'_>, ledger: &Ledger, info: &ActivitySuccInfo) -> Verdict {
        let run = (info.worker.clone(), info.incarnation);
        for count in &info.counts {
            for seq in count.first.0..=count.last.0 {
                let Some(tag) = self.tags.get(&(count.session, Seq(seq))) else { continue };
                let Some(accepted) = ledger.accepted.get(tag) else { continue };
                let (attached, have) = self.most(scene, ledger, Some(&run), tag, accepted.at);
                if count.client_count > attached || count.succ_count > have {
                    return Err(format!(
                        "{} counts {count:?}; of {tag:?}, taken at {}, it could count {attached} clients at {}, and {have} may have it",
                        info.worker, accepted.at, scene.now
                    ));
                }
            }
        }
        Ok(())
    }

    fn reported(&self, scene: &Scene<'_>, ledger: &Ledger, life: Life, report: &Report) -> Verdict {
        let published = &ledger.stream.listeners[&life].published;
        for number in report.first.0..=report.last.0 {
            let Some(tag) = usize::try_from(number - 1).ok().and_then(|index| published.get(index)) else {
                continue;
            };
            let Some(accepted) = ledger.accepted.get(tag) else { continue };
            let (attached, have) = self.most(scene, ledger, None, tag, accepted.at);
            if report.client_count > attached || report.succ_count > have {
                return Err(format!(
                    "{tag:?}, taken at {}, was for {attached} clients at the most, and {have} may have it: {report:?}",
                    accepted.at
                ));
            }
        }
        Ok(())
    }
}

impl Check for Counts {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        _: &mut Coverage,
    ) -> Verdict {
        match seen {
            Seen::Received { at, from, conn, message, .. } => match message {
                Message::Login(login) if scene.role(*at) == Role::Worker => {
                    self.asks(scene, *at, *conn, login);
                    Ok(())
                }
                Message::ActivityBroadcast(broadcast) => {
                    self.learn(broadcast);
                    self.comes(*conn, broadcast);
                    Ok(())
                }
                Message::Resumed(_) => {
                    if let Some(reader) = self.readers.get_mut(conn) {
                        reader.replays = false;
                    }
                    Ok(())
                }
                Message::ActivitySuccInfo(info) if scene.role(*from) == Role::Worker => {
                    self.counted(scene, ledger, info)
                }
                _ => Ok(()),
            },
            Seen::Effect { at, effect: Effect::Client(client::core::Effect::Report(report)) } => {
                self.reported(scene, ledger, (*at, scene.world[*at].run), report)
            }
            _ => Ok(()),
        }
    }
}
