//! What several checkers need to know of activities: who was given them, who holds them, and what their senders were told.

use std::collections::{BTreeMap, BTreeSet};

use common::id::ActivityId;
use common::position::Position;
use common::time::Time;
use common::wire::{ActivityBroadcast, Message};

use super::{Scene, Tag};
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, ProcessId, Seen};

/// A process from one start to its end: of a client of ours that is one session, of a worker one incarnation.
pub type Life = (ProcessId, u32);

/// One session of a client of ours.
#[derive(Clone, Debug, Default)]
pub struct Listener {
    /// When it was first let in.
    pub since: Option<Time>,
    /// What was handed up to it, and when.
    pub handed: BTreeMap<Tag, Time>,
    /// The ids under which activities came to it.
    pub ids: BTreeSet<ActivityId>,
    /// What it published, in order: the first is number 1.
    pub published: Vec<Tag>,
    /// How many of these it was told the fate of.
    pub reported: usize,
    /// What it was told is lost.
    pub gaps: Position,
    /// Up to when it was told that it begins anew.
    pub anew: Option<Time>,
}

/// Where an activity is.
#[derive(Clone, Debug)]
pub struct Holding {
    /// Since when somebody has held it all the time.
    pub since: Time,
    /// The workers that have received it, and run.
    pub holders: BTreeSet<Life>,
    /// All workers that ever received it.
    pub ever: BTreeSet<Life>,
    /// The ids that workers gave it, also those of which nobody has heard.
    pub ids: BTreeSet<ActivityId>,
}

/// The facts.
#[derive(Debug, Default)]
pub struct Stream {
    /// Clients of ours.
    pub listeners: BTreeMap<Life, Listener>,
    /// Activities at workers.
    pub holdings: BTreeMap<Tag, Holding>,
    /// Connections whose client was sent to another worker.
    pub moved: BTreeSet<ConnId>,
    /// When the server's end of a connection that a client logged in over was closed.
    pub server_ends: BTreeMap<ConnId, Time>,
    /// When somebody last came to a worker, or left one.
    pub last_change: Time,
    /// Which worker each client of ours was last at.
    last_worker: BTreeMap<Life, ProcessId>,
}

impl Stream {
    /// A client of ours publishes.
    pub fn published(&mut self, life: Life, tag: Tag) {
        self.listeners.entry(life).or_default().published.push(tag);
    }

    /// A process is dead.
    pub(super) fn died(&mut self, id: ProcessId, now: Time) {
        self.last_change = now;
        for holding in self.holdings.values_mut() {
            holding.holders.retain(|(worker, _)| *worker != id);
        }
    }

    /// Writes down what has just happened.
    pub(super) fn observe(&mut self, scene: &Scene<'_>, seen: &Seen<Effect>, coverage: &mut Coverage) {
        match seen {
            Seen::Received { at, from, run, message, .. } if scene.role(*at) == Role::Worker => {
                self.worker_heard(scene, *at, (*from, *run), message, coverage);
            }
            Seen::Received { at, conn, message, .. } if scene.role(*at).is_honest_client() => {
                self.client_heard(scene, *at, *conn, message, coverage);
            }
            Seen::Closed { by: at, to: peer, conn, .. } | Seen::Lost { at, from: peer, conn, .. } => {
                let (at, peer) = (scene.role(*at), scene.role(*peer));
                if at == Role::Worker {
                    self.server_ends.entry(*conn).or_insert(scene.now);
                }
                if at == Role::Worker || peer == Role::Worker {
                    self.last_change = scene.now;
                }
            }
            Seen::Effect { effect: Effect::Numbered(id, tag), .. } => self.named(tag, id),
            Seen::Effect { at, effect: Effect::Client(effect) } => {
                self.told((*at, scene.world[*at].run), effect, scene.now);
            }
            _ => {}
        }
    }

    fn worker_heard(
        &mut self,
        scene: &Scene<'_>,
        at: ProcessId,
        from: Life,
        message: &Message,
        coverage: &mut Coverage,
    ) {
        let worker = (at, scene.world[at].run);
        match message {
            Message::Login(login) => {
                self.last_change = scene.now;
                let last = self.last_worker.insert(from, at);
                let elsewhere = login.resume.is_some() && last.is_some_and(|last| last != at);
                coverage.add("resumes elsewhere", u64::from(elsewhere));
            }
            Message::ActivityMessage(message) => {
                if let Some(tag) = Tag::of(&message.activity) {
                    let again = self.holdings.get(&tag);
                    let died = |holding: &Holding| holding.ever.len() > holding.holders.len();
                    coverage.add("activities sent again", u64::from(again.is_some()));
                    coverage.add("activities sent again after a death", u64::from(again.is_some_and(died)));
                    self.hold(worker, tag, None, scene.now);
                }
            }
            Message::ActivityBroadcast(broadcast) => self.hold_broadcast(worker, broadcast, scene.now),
            Message::ActivityRetrieved(retrieved) => {
                coverage.add("activities retrieved from another worker", retrieved.activities.len() as u64);
                for broadcast in scene.taken(at, retrieved) {
                    self.hold_broadcast(worker, broadcast, scene.now);
                }
            }
            _ => {}
        }
    }

    fn hold_broadcast(&mut self, worker: Life, broadcast: &ActivityBroadcast, now: Time) {
        if let Some(tag) = Tag::of(&broadcast.activity) {
            self.hold(worker, tag, broadcast.id.as_ref(), now);
        }
    }

    fn hold(&mut self, worker: Life, tag: Tag, id: Option<&ActivityId>, now: Time) {
        let fresh =
            || Holding { since: now, holders: BTreeSet::new(), ever: BTreeSet::new(), ids: BTreeSet::new() };
        let holding = self.holdings.entry(tag).or_insert_with(fresh);
        if holding.holders.is_empty() {
            holding.since = now;
        }
        holding.holders.insert(worker);
        holding.ever.insert(worker);
        holding.ids.extend(id.cloned());
    }

    /// An activity that some worker has received has this id.
    fn named(&mut self, tag: &Tag, id: &ActivityId) {
        if let Some(holding) = self.holdings.get_mut(tag) {
            holding.ids.insert(id.clone());
        }
    }

    fn client_heard(
        &mut self,
        scene: &Scene<'_>,
        at: ProcessId,
        conn: ConnId,
        message: &Message,
        coverage: &mut Coverage,
    ) {
        match message {
            Message::ActivityBroadcast(broadcast) => {
                coverage.add("late activities", u64::from(broadcast.late));
                coverage.add("gaps announced", u64::from(broadcast.missing_from.is_some()));
                let Some(tag) = Tag::of(&broadcast.activity) else { return };
                if let Some(id) = &broadcast.id {
                    self.named(&tag, id);
                }
            }
            Message::Resumed(resumed) => {
                coverage.add("resumes", 1);
                coverage.add("resumes with a gap", u64::from(!resumed.recovered));
                let life = (at, scene.world[at].run);
                self.listeners.entry(life).or_default().gaps.extend(&resumed.gaps);
            }
            Message::Quit(_) => {
                coverage.add("clients told to move", 1);
                self.moved.insert(conn);
            }
            Message::Redirect(_) => _ = self.moved.insert(conn),
            _ => {}
        }
    }

    fn told(&mut self, life: Life, effect: &client::core::Effect, now: Time) {
        use client::core::Effect;
        let listener = self.listeners.entry(life).or_default();
        match effect {
            Effect::LoggedIn { after, .. } => match listener.since {
                None => listener.since = Some(now),
                Some(_) if after.is_some() => listener.anew = Some(now),
                Some(_) => {}
            },
            Effect::Activity(broadcast) => {
                listener.ids.extend(broadcast.id.clone());
                if let Some(tag) = Tag::of(&broadcast.activity) {
                    listener.handed.entry(tag).or_insert(now);
                }
            }
            Effect::Repeated(id) => _ = listener.ids.insert(id.clone()),
            Effect::Report(report) => {
                listener.reported = usize::try_from(report.last.0).expect("it was published");
            }
            _ => {}
        }
    }
}
