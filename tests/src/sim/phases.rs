//! The phases of a run: everybody comes, things go wrong for a while, everything heals, and then all must be well.

use std::collections::BTreeSet;
use std::time::Duration;

use common::user::Secret;
use common::wire::ServerEntry;

use super::cast::{NETWORK_SECRET, Role};
use super::control::Crash;
use super::disk::Disk;
use super::errand::{Outcome, Wish};
use super::faults::Repair;
use super::making::blank_group;
use super::node::Node;
use super::scenario::{GLANCE, Own, Scenario};
use super::{ConnId, ProcessId};
use crate::check::{Health, Tag, evenness, loads, loads_but_for_expected, logs, whole};

/// How long the network may take to come up, or to come back after everything has healed: longer than any time-out and pause.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long no activity must have arrived for none to be on its way.
const QUIET: Duration = Duration::from_secs(2);

/// How long the coordinator may take to hear that somebody has left, where nothing is wrong. Half of the time after which workers tell
/// every load anew: it is told at once.
const AT_ONCE: Duration = Duration::from_millis(500);

/// How long the next coordinator may take to begin when the main one has crashed while all was well: it is refused at once, and waits for
/// no time-out. Two ways there and back in a far network, the disk, and the pause between two looks.
const TAKEN_OVER: Duration = Duration::from_millis(1_000);

/// How long a registration may take when the main coordinator has just gone, and its backup knows. A second, and what a far network and
/// the pauses of whoever asks add to it.
const AFTER_CRASH: Duration = Duration::from_secs(8);

/// The same where the backup has to wait until the silence is long enough.
const AFTER_SILENCE: Duration = Duration::from_secs(20);

/// How long what was published last may take to reach everybody.
const DELIVERY: Duration = Duration::from_secs(15);

/// How long workers may take to catch up with each other once they are linked again.
const CAUGHT_UP: Duration = Duration::from_secs(10);

impl Scenario {
    /// The servers start, and find each other.
    pub(super) fn come_up(&mut self) -> Result<(), String> {
        self.own.push(self.world.now(), Own::Glance);
        let mut coordinators = self.cast.coordinators.clone();
        self.rng.shuffle(&mut coordinators);
        for id in coordinators {
            self.start(id);
            if self.plan.staggered {
                let pause = Duration::from_millis(self.rng.u64(0..3_000));
                self.advance(pause)?;
            }
        }
        for (one, other) in self.missing_links() {
            self.world.cut(one, other, Duration::ZERO);
        }
        for id in self.cast.workers.clone() {
            self.start(id);
        }
        self.wait_for("the workers to find each other", PATIENCE, Self::mesh_is_missing)?;
        self.wait_for("the coordinators to find each other", PATIENCE, Self::group_is_not_whole)?;
        self.advance(Duration::from_secs(1))?;
        self.health.group_since = Some(self.world.now());
        self.health.since = Some(self.world.now());
        self.health.whole_since = self.health.since.filter(|_| self.plan.missing_links.is_empty());
        Ok(())
    }

    /// All clients come at once, and are spread evenly.
    pub(super) fn arrive(&mut self) -> Result<(), String> {
        for id in self.cast.users.keys().copied().collect::<Vec<_>>() {
            self.start(id);
        }
        self.coverage.add("names that two wanted at once", self.plan.races as u64);
        self.wait_for("everybody to log in", PATIENCE, Self::somebody_is_not_live)?;
        evenness(&self.scene())
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
        self.own.push(now, Own::Errand);
        self.own.push(now, Own::Fault);
        self.going = true;
        if !self.plan.is_calm() {
            self.health = Health::default();
        }
        self.advance(self.plan.duration)?;
        self.going = false;
        Ok(())
    }

    /// Everything has healed: in the end everybody is where they should be, and every number is true.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        self.wait_for("every break to be noticed", PATIENCE, |this| this.world.deceives().then(String::new))?;
        self.wait_for("the workers to find each other again", PATIENCE, Self::mesh_is_missing)?;
        self.wait_for("the coordinators to agree again", PATIENCE, Self::group_is_not_whole)?;
        self.wait_for("every errand to be over", PATIENCE, Self::somebody_is_on_an_errand)?;
        self.wait_for("the coordinators to agree again", PATIENCE, Self::group_is_not_whole)?;
        self.bring_back();
        let conflicts = self.scene().main().map_or(0, |main| self.disks.of(main).users().conflicts().count());
        self.coverage.add("registrations that lost their name to an earlier one", conflicts as u64);
        self.wait_for("everybody to be logged in again", PATIENCE, Self::somebody_is_not_live)?;
        self.wait_for("every misbehaving peer to be thrown out", PATIENCE, Self::somebody_still_misbehaves)?;
        self.wait_for("what was published before to arrive", PATIENCE, |this| {
            let last = this.watch.ledger.last_arrival;
            (this.world.now().since(last) < QUIET).then(|| format!("something came at {last}"))
        })?;
        self.wait_for("every load to be true", PATIENCE, Self::loads_are_wrong)?;
        self.wait_for("everything to be reported", PATIENCE, Self::something_is_unreported)?;
        self.wait_for("the workers to hold the same", CAUGHT_UP, Self::logs_differ)
    }

    /// From now on nothing is wrong.
    pub(super) fn finale(&mut self) -> Result<(), String> {
        self.advance(Duration::from_secs(1))?;
        self.health.since.get_or_insert(self.world.now());
        self.health.whole_since.get_or_insert(self.world.now());
        self.health.group_since.get_or_insert(self.world.now());
        self.register_a_few();
        self.wait_for("a few registrations", DELIVERY, Self::somebody_is_on_an_errand)?;
        self.everybody_hears_everybody()
    }

    /// A fresh activity of everybody reaches everybody.
    fn everybody_hears_everybody(&mut self) -> Result<(), String> {
        let mut live = self.live();
        // Who is about to leave waits for its reports, and publishes nothing more.
        live.retain(|id| !self.cast.users[id].away);
        let mut fresh: Vec<Tag> = Vec::new();
        for &id in &live {
            fresh.extend(self.publish(id));
        }
        if fresh.len() != live.len() {
            return Err(format!("{} of {} live clients could publish", fresh.len(), live.len()));
        }
        let (sessions, listening): (BTreeSet<ConnId>, BTreeSet<ProcessId>) =
            self.watch.ledger.open_sessions().map(|(conn, session)| (*conn, session.client)).unzip();
        let before = self.fell_behind();
        self.wait_for("a fresh activity of everybody to reach everybody", DELIVERY, |this| {
            let mut live = this.live();
            // A classic client that falls behind what a small log keeps is dropped, and has no position from which to go on. One that was
            // just then away for the same reason hears what is published after it has come, and needs no excuse.
            let begun = this.watch.ledger.open_sessions().filter(|(conn, _)| !sessions.contains(conn));
            let anew: Vec<ProcessId> = begun.map(|(_, session)| session.client).collect();
            live.retain(|id| this.cast.role(*id) == Role::Client || !anew.contains(id));
            let excused =
                this.live().iter().filter(|id| listening.contains(id) && !live.contains(id)).count();
            let dropped = this.fell_behind() - before;
            if excused as u64 > dropped {
                return Some(format!("{excused} classic clients began anew, and {dropped} fell behind"));
            }
            this.watch.ledger.not_received(&live, &fresh)
        })?;
        self.wait_for("everything to be reported", DELIVERY, Self::something_is_unreported)?;
        self.advance(Duration::from_secs(1))
    }

    /// How many clients the workers that live have dropped for falling behind.
    fn fell_behind(&self) -> u64 {
        let workers = self.cast.workers.iter().filter_map(|&id| self.world[id].machine.as_ref()?.worker());
        workers.map(|worker| worker.dropped().fell_behind).sum()
    }

    /// Somebody leaves, and the coordinator hears of it at once.
    pub(super) fn goodbye(&mut self) -> Result<(), String> {
        let live = self.live();
        if let Some(id) = self.rng.choice(live) {
            self.publish(id);
            self.logs_out(id);
            self.advance(GLANCE)?;
        }
        self.wait_for("the coordinator to hear that somebody left", AT_ONCE, |this| {
            loads_but_for_expected(&this.scene(), &this.watch.ledger, u64::MAX).err()
        })
    }

    /// The coordinator dies, and nobody notices: sessions go on, and every registered user can log in at any worker.
    pub(super) fn alone(&mut self) -> Result<(), String> {
        let sessions = self.sessions_that_stay();
        self.health.group_since = None;
        for id in self.cast.coordinators.clone() {
            self.world.crash(id, Crash::Kill);
            self.ended(id);
        }
        self.own.retain(|own| !matches!(own, Own::Repair(Repair::Start(_))));
        let seconds = self.cast.add_seconds(&mut self.world, &self.disks, true);
        self.wait_for("registered users to log in while no coordinator lives", PATIENCE, |this| {
            seconds.iter().find(|&&id| !this.is_live(id)).map(|&id| format!("{:?}", this.world[id].machine))
        })?;
        self.everybody_hears_everybody()?;
        let ended = |conn: &&ConnId| self.has_ended(**conn);
        if let Some(conn) = sessions.iter().find(ended) {
            return Err(format!("the session over {conn:?} ended because the coordinator died"));
        }
        Ok(())
    }

    /// The connections of all sessions but those that were told to leave, and wait for a last report.
    fn sessions_that_stay(&self) -> Vec<ConnId> {
        let stays = |client: &ProcessId| self.cast.users.get(client).is_none_or(|user| !user.away);
        let sessions = self.watch.ledger.open_sessions();
        sessions.filter(|(_, session)| stays(&session.client)).map(|(conn, _)| *conn).collect()
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
        for id in self.cast.coordinators.clone() {
            self.start(id);
        }
        let seconds = self.cast.add_seconds(&mut self.world, &self.disks, false);
        self.wait_for("registered users to log in at a coordinator that was restarted", PATIENCE, |this| {
            seconds.iter().find(|&&id| !this.is_live(id)).map(|&id| format!("{:?}", this.world[id].machine))
        })?;
        self.wait_for("the coordinators to agree once more", PATIENCE, Self::group_is_not_whole)?;
        self.wait_for("every load to be true again", PATIENCE, Self::loads_are_wrong)
    }

    /// Whether a session is over, and its client has neither logged out nor been sent elsewhere.
    fn has_ended(&self, conn: ConnId) -> bool {
        let ledger = &self.watch.ledger;
        let session = &ledger.sessions[&conn];
        let left = self.cast.users.get(&session.client).is_some_and(|user| user.away);
        session.ended.is_some() && !left && !ledger.stream.moved.contains(&conn)
    }

    fn loads_are_wrong(&self) -> Option<String> {
        loads(&self.scene(), &self.watch.ledger).err()
    }

    fn logs_differ(&self) -> Option<String> {
        logs(&self.scene()).err().filter(|_| self.plan.log_bytes.is_none())
    }

    /// Which client of ours that is logged in has published something that it was not told the fate of.
    fn something_is_unreported(&self) -> Option<String> {
        self.live().into_iter().find_map(|id| match self.world[id].machine.as_ref()? {
            Node::Client(client) if client.unreported() > 0 => {
                Some(format!("{} waits for {} reports", self.world[id].name, client.unreported()))
            }
            _ => None,
        })
    }

    fn group_is_not_whole(&self) -> Option<String> {
        whole(&self.scene()).err()
    }

    /// Clients that gave up while two sides had different users, and are in the right now that there is one.
    fn bring_back(&mut self) {
        for id in self.cast.users.keys().copied().collect::<Vec<_>>() {
            if !self.cast.should_be_live(id, &self.disks) {
                continue;
            }
            if matches!(&self.world[id].machine, Some(Node::Classic(classic)) if classic.is_done()) {
                self.world.crash(id, Crash::Kill);
            }
            if !self.world[id].is_up() {
                self.start(id);
            }
        }
    }

    /// A backup dies while all is well. It is forgotten by command, or its disk is lost; in any case it comes back, and belongs to the
    /// group again.
    pub(super) fn replacement(&mut self) -> Result<(), String> {
        let Some(main) = self.scene().main() else { return Ok(()) };
        let backups: Vec<ProcessId> =
            self.cast.coordinators.iter().copied().filter(|id| *id != main).collect();
        let Some(backup) = self.rng.choice(backups) else { return Ok(()) };
        self.health.group_since = None;
        self.world.crash(backup, Crash::Kill);
        self.ended(backup);
        self.advance(Duration::from_secs(1))?;
        if self.rng.bool() {
            let network_secret = Secret::new(NETWORK_SECRET);
            let id = self.cast.server_id(backup);
            let wish = Wish::Forget { id: id.clone(), network_secret };
            let errand = self.cast.add_errand(&mut self.world, wish);
            self.wait_for("a coordinator to be forgotten", AFTER_CRASH, Self::somebody_is_on_an_errand)?;
            let forgotten = matches!(&self.world[errand].machine, Some(Node::Errand(errand)) if errand.outcome() == Some(Outcome::Done));
            let remembered = |member: &ServerEntry| member.id == id;
            if !forgotten || self.disks.of(main).group().members.iter().any(remembered) {
                return Err(format!("{id} was to be forgotten, and is a member still"));
            }
            self.coverage.add("coordinators forgotten", 1);
        } else {
            *self.disks.of_mut(backup) = Disk::blank(blank_group(&mut self.rng));
            self.coverage.add("coordinators that lost their disk", 1);
        }
        self.start(backup);
        self.wait_for(
            "a coordinator that was replaced to be one of the group",
            PATIENCE,
            Self::group_is_not_whole,
        )
    }

    /// The main coordinator dies or leaves while all is well: the next takes over, and clients notice nothing.
    pub(super) fn succession(&mut self) -> Result<(), String> {
        let (true, Some(main)) = (self.cast.coordinators.len() > 1, self.scene().main()) else {
            return Ok(());
        };
        self.health.group_since = None;
        let sessions = self.sessions_that_stay();
        let patience = match self.rng.u8(..3) {
            0 => {
                self.drain(main, "main coordinators told to leave");
                AFTER_CRASH
            }
            1 => {
                self.kill(main, "coordinators killed");
                if self.world[main].is_dark() {
                    AFTER_SILENCE
                } else {
                    self.wait_for("the next coordinator to take over", TAKEN_OVER, |this| {
                        this.scene().main().is_none().then(|| "nobody reigns".to_owned())
                    })?;
                    AFTER_CRASH
                }
            }
            _ => {
                self.pause_for(main, Duration::from_secs(20));
                AFTER_SILENCE
            }
        };
        self.register_a_few();
        let patience = if self.plan.can_spare_one() { patience } else { PATIENCE };
        self.wait_for(
            "registrations at the next main coordinator",
            patience,
            Self::somebody_is_on_an_errand,
        )?;
        self.everybody_hears_everybody()?;
        let ended = |conn: &&ConnId| self.has_ended(**conn);
        if let Some(conn) = sessions.iter().find(ended) {
            return Err(format!("the session over {conn:?} ended because of a takeover"));
        }
        self.wait_for("the coordinators to agree after a takeover", PATIENCE, Self::group_is_not_whole)
    }
}
