//! The phases of a run: everybody comes, things go wrong for a while, everything heals, and then all must be well.

use std::time::Duration;

use super::cast::Role;
use super::control::Crash;
use super::faults::Repair;
use super::scenario::{GLANCE, Own, Scenario};
use super::{ConnId, ProcessId};
use crate::check::{Scene, Tag, evenness, loads};

/// How long the network may take to come up, or to come back after everything has healed: longer than any time-out and pause.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long no activity must have arrived for none to be on its way.
const QUIET: Duration = Duration::from_secs(2);

/// How long the coordinator may take to hear that somebody has left, where nothing is wrong. Less than the time between two heartbeats, which
/// tell every load anew: it is told at once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How long what was published last may take to reach everybody.
const DELIVERY: Duration = Duration::from_secs(15);

impl Scenario {
    /// The servers start, and find each other.
    pub(super) fn come_up(&mut self) -> Result<(), String> {
        self.cast.start(&mut self.world, self.cast.coordinator, &self.disk);
        for (one, other) in self.missing_links() {
            self.world.cut(one, other, Duration::ZERO);
        }
        for id in self.cast.workers.clone() {
            self.cast.start(&mut self.world, id, &self.disk);
        }
        self.wait_for("the workers to find each other", PATIENCE, Self::mesh_is_missing)?;
        self.advance(Duration::from_secs(1))?;
        self.health.since = Some(self.world.now());
        self.health.whole_since = self.health.since.filter(|_| self.plan.missing_links.is_empty());
        Ok(())
    }

    /// All clients come at once, and are spread evenly.
    pub(super) fn arrive(&mut self) -> Result<(), String> {
        for id in self.cast.users.keys().copied().collect::<Vec<_>>() {
            self.cast.start(&mut self.world, id, &self.disk);
        }
        self.coverage.add("names that two wanted at once", self.plan.races as u64);
        self.wait_for("everybody to log in", PATIENCE, Self::somebody_is_not_live)?;
        evenness(&Scene::new(&self.world, &self.cast, &self.disk, self.health))
    }

    /// The workers that cannot reach each other at first.
    fn missing_links(&self) -> Vec<(ProcessId, ProcessId)> {
        let worker = |index: usize| self.cast.workers[index];
        self.plan.missing_links.iter().map(|&(one, other)| (worker(one), worker(other))).collect()
    }

    /// Clients go about their business while things go wrong.
    pub(super) fn go_about(&mut self) -> Result<(), String> {
        let now = self.world.now();
        for id in self.cast.users.keys().copied().collect::<Vec<_>>() {
            self.own.push(now + self.plan.between_activities.mul_f64(self.rng.f64()), Own::Publish(id));
        }
        for (one, other) in self.missing_links() {
            let at = now + self.plan.duration.mul_f64(self.rng.f64());
            self.own.push(at, Own::Repair(Repair::Mend(one, other)));
        }
        self.own.push(now, Own::Misbehave);
        self.own.push(now, Own::Leave);
        self.own.push(now + self.plan.between_newcomers.mul_f64(self.rng.f64()), Own::Newcomer);
        self.own.push(now, Own::Fault);
        self.going = true;
        self.advance(self.plan.duration)?;
        self.going = false;
        Ok(())
    }

    /// Everything has healed: in the end everybody is where they should be, and every number is true.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        self.wait_for("every break to be noticed", PATIENCE, |this| this.world.deceives().then(String::new))?;
        self.wait_for("the workers to find each other again", PATIENCE, Self::mesh_is_missing)?;
        self.wait_for("everybody to be logged in again", PATIENCE, Self::somebody_is_not_live)?;
        self.wait_for("every misbehaving peer to be thrown out", PATIENCE, Self::somebody_still_misbehaves)?;
        self.wait_for("what was published before to arrive", PATIENCE, |this| {
            let last = this.watch.ledger.last_arrival;
            (this.world.now().since(last) < QUIET).then(|| format!("something came at {last}"))
        })?;
        self.wait_for("every load to be true", PATIENCE, Self::loads_are_wrong)
    }

    /// From now on nothing is wrong.
    pub(super) fn finale(&mut self) -> Result<(), String> {
        self.advance(Duration::from_secs(1))?;
        self.health.since.get_or_insert(self.world.now());
        self.health.whole_since.get_or_insert(self.world.now());
        self.everybody_hears_everybody()
    }

    /// A fresh activity of everybody reaches everybody.
    fn everybody_hears_everybody(&mut self) -> Result<(), String> {
        let live = self.live();
        let mut fresh: Vec<Tag> = Vec::new();
        for &id in &live {
            fresh.extend(self.publish(id));
        }
        if fresh.len() != live.len() {
            return Err(format!("{} of {} live clients could publish", fresh.len(), live.len()));
        }
        self.wait_for("a fresh activity of everybody to reach everybody", DELIVERY, |this| {
            this.watch.ledger.not_received(&this.live(), &fresh)
        })?;
        self.advance(Duration::from_secs(1))
    }

    /// Somebody leaves, and the coordinator hears of it at once.
    pub(super) fn goodbye(&mut self) -> Result<(), String> {
        let live = self.live();
        if let Some(id) = self.rng.choice(live) {
            self.publish(id);
            self.logs_out(id);
            self.advance(GLANCE)?;
        }
        self.wait_for("the coordinator to hear that somebody left", AT_ONCE, Self::loads_are_wrong)
    }

    /// The coordinator dies, and nobody notices: sessions go on, and every registered user can log in at any worker.
    pub(super) fn alone(&mut self) -> Result<(), String> {
        let sessions: Vec<ConnId> = self.watch.ledger.open_sessions().map(|(conn, _)| *conn).collect();
        self.world.crash(self.cast.coordinator, Crash::Kill);
        self.ended(self.cast.coordinator);
        let seconds = self.cast.add_seconds(&mut self.world, &self.disk, true);
        self.wait_for("registered users to log in while no coordinator lives", PATIENCE, |this| {
            seconds.iter().find(|&&id| !this.is_live(id)).map(|&id| format!("{:?}", this.world[id].machine))
        })?;
        self.everybody_hears_everybody()?;
        let ended = |conn: &&ConnId| self.watch.ledger.sessions[conn].ended.is_some();
        if let Some(conn) = sessions.iter().find(ended) {
            return Err(format!("the session over {conn:?} ended because the coordinator died"));
        }
        Ok(())
    }

    /// Clients of ours lose their connections while no coordinator lives, and get back in where they were.
    pub(super) fn clients_return_to_their_workers(&mut self) -> Result<(), String> {
        let sessions = self.watch.ledger.open_sessions();
        let ours = sessions.filter(|(_, session)| self.cast.role(session.client) == Role::Client);
        let broken: Vec<(ConnId, ProcessId)> = ours.map(|(conn, session)| (*conn, session.client)).collect();
        for (conn, _) in &broken {
            self.world.break_connection(*conn, Duration::ZERO);
        }
        self.coverage.add("clients that returned while no coordinator lived", broken.len() as u64);
        self.wait_for("clients to get back in while no coordinator lives", PATIENCE, |this| {
            let is_out = |(old, client): &&(ConnId, ProcessId)| {
                let mut sessions = this.watch.ledger.open_sessions();
                !sessions.any(|(conn, session)| session.client == *client && conn != old)
            };
            broken.iter().find(is_out).map(|(_, client)| format!("{:?}", this.world[*client].machine))
        })?;
        self.everybody_hears_everybody()
    }

    /// The coordinator is back, and knows every user.
    pub(super) fn together_again(&mut self) -> Result<(), String> {
        self.cast.start(&mut self.world, self.cast.coordinator, &self.disk);
        let seconds = self.cast.add_seconds(&mut self.world, &self.disk, false);
        self.wait_for("registered users to log in at a coordinator that was restarted", PATIENCE, |this| {
            seconds.iter().find(|&&id| !this.is_live(id)).map(|&id| format!("{:?}", this.world[id].machine))
        })?;
        self.wait_for("every load to be true again", PATIENCE, Self::loads_are_wrong)
    }

    fn loads_are_wrong(&self) -> Option<String> {
        loads(&Scene::new(&self.world, &self.cast, &self.disk, self.health), &self.watch.ledger).err()
    }
}
