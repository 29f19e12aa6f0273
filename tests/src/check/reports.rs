//! Reports. Senders hear of each activity once, in order, and never of what they have not sent. A report adds up; it claims no more
//! receivers than there are, and two workers where it says `replicated`; and it names nobody unreachable who was well and within reach.
//! Where nothing is wrong and nobody comes or goes, it is exact, and there within a second.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::core::Report;
use common::id::{Seq, ServerId};
use common::wire::{ActivitySendingReport, Durability, Message};

use super::stream::Life;
use super::{Check, Ledger, Scene, Session, Tag, Verdict};
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, ProcessId, Seen};

/// How long a report may take where nothing is wrong, beside what the network takes.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How long it may take where somebody confirms nothing, beside that.
const AT_LAST: Duration = Duration::from_secs(5);

/// How long everything must have stood still for a report to be exact.
const STILL: Duration = Duration::from_secs(2);

/// How long a worker may take a client for present that is gone.
const NOTICED: Duration = Duration::from_secs(15);

/// Who has been well for so long is reachable: longer than a report waits, and than it takes to notice that somebody is back.
const WELL: Duration = Duration::from_secs(25);

#[derive(Debug)]
pub(super) struct Reports {
    /// How long a report may take because of the network.
    far: Duration,
    /// The last number that each connection was told of.
    told: BTreeMap<ConnId, Seq>,
    /// The last number that each session was told of.
    handed: BTreeMap<Life, Seq>,
    /// To which sessions of clients of ours each activity was handed up: what came and was passed over does not count.
    received: BTreeMap<Tag, BTreeSet<Life>>,
    workers: usize,
}

impl Reports {
    pub(super) fn new(far: Duration, workers: usize) -> Self {
        Reports { far, told: BTreeMap::new(), handed: BTreeMap::new(), received: BTreeMap::new(), workers }
    }

    /// What a worker says over one connection.
    fn wired(&mut self, name: &str, conn: ConnId, report: &ActivitySendingReport) -> Verdict {
        let first = report.first_seq.unwrap_or(report.activity_seq);
        match self.told.insert(conn, report.activity_seq) {
            Some(last) if first != last.next() => {
                Err(format!("{name} is told of {first} after {last} over {conn:?}"))
            }
            _ if report.client_count != report.succ_count + report.fail_count => {
                Err(format!("{name} is told {report:?}, which does not add up"))
            }
            _ => Ok(()),
        }
    }

    fn reported(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        life: Life,
        report: &Report,
        coverage: &mut Coverage,
    ) -> Verdict {
        let name = scene.name(life.0);
        let listener = &ledger.stream.listeners[&life];
        let before = self.handed.insert(life, report.last).unwrap_or(Seq(0));
        if report.first != before.next() {
            return Err(format!("{name} is handed {report:?} after {before}"));
        }
        coverage.add("reports that say replicated", u64::from(report.durability == Durability::Replicated));
        coverage.add("reports that say local", u64::from(report.durability == Durability::Local));
        coverage.add("reports that name somebody unreachable", u64::from(!report.unreachable.is_empty()));
        for number in report.first.0..=report.last.0 {
            let index = usize::try_from(number - 1).expect("it is no large number");
            let Some(tag) = listener.published.get(index) else {
                return Err(format!("{name} is told of number {number}, which it never sent: {report:?}"));
            };
            let Some(holding) = ledger.stream.holdings.get(tag) else {
                return Err(format!("{name} is told of {tag:?}, which no worker ever took: {report:?}"));
            };
            if report.durability == Durability::Replicated && holding.ever.len() < 2 {
                return Err(format!(
                    "{tag:?} is replicated, and only {:?} have it: {report:?}",
                    holding.ever
                ));
            }
            let (ours, others) = self.receivers(scene, ledger, tag);
            if report.succ_count > ours + others {
                return Err(format!(
                    "{tag:?} has reached {ours} clients of ours and {others} others at the most: {report:?}"
                ));
            }
            self.is_exact(scene, ledger, tag, report, coverage)?;
        }
        for id in &report.unreachable {
            self.is_unreachable(scene, life, id).map_err(|why| format!("{why}: {report:?} to {name}"))?;
        }
        Ok(())
    }

    /// How many clients of ours have received an activity, and how many others may have.
    fn receivers(&self, scene: &Scene<'_>, ledger: &Ledger, tag: &Tag) -> (u64, u64) {
        let ours = self.received.get(tag).map_or(0, BTreeSet::len);
        let taken = ledger.accepted[tag].at;
        let ended = |conn: &ConnId| {
            let told = ledger.stream.server_ends.get(conn).copied();
            // What is on its way over a connection that stalls is there for its worker, and so is the goodbye of its client.
            let noticed = || {
                let session = ledger.sessions.get(conn)?;
                let trouble = scene.ways.trouble_until(session.client, session.worker);
                Some(session.ended?.max(trouble) + NOTICED)
            };
            told.or_else(noticed)
        };
        let others = ledger.attempts.iter().filter(|(conn, attempt)| {
            attempt.login.session.is_none()
                && scene.role(attempt.server) == Role::Worker
                && ended(conn).is_none_or(|ended| ended >= taken)
        });
        (ours as u64, others.count() as u64)
    }

    fn is_exact(
        &self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        tag: &Tag,
        report: &Report,
        coverage: &mut Coverage,
    ) -> Verdict {
        let taken = ledger.accepted[tag].at;
        if !scene.healthy_at(taken) || ledger.stream.last_change + STILL > taken {
            return Ok(());
        }
        coverage.add("reports where nothing was wrong", 1);
        // A misbehaving peer whose session goes on for long takes what comes and does not say so: it is waited for, and has not got it.
        let sessions: Vec<&Session> = ledger.open_sessions().map(|(_, session)| session).collect();
        let silent = sessions.iter().filter(|session| !scene.role(session.client).is_honest_client()).count();
        let took = scene.now.since(taken);
        if took > self.far + if silent > 0 { AT_LAST } else { AT_ONCE } {
            return Err(format!(
                "the report of {tag:?} took {took:?} although nothing was wrong: {report:?}"
            ));
        }
        let durability = if self.workers > 1 { Durability::Replicated } else { Durability::Local };
        let exact = report.client_count == sessions.len() as u64
            && report.fail_count <= silent as u64
            && report.unreachable.is_empty()
            && report.durability == durability;
        if exact {
            Ok(())
        } else {
            Err(format!(
                "{tag:?} was for {} clients, {silent} of which confirm nothing, and nothing was wrong: {report:?}",
                sessions.len()
            ))
        }
    }

    /// Whether a worker that is named was gone, or out of somebody's reach.
    fn is_unreachable(&self, scene: &Scene<'_>, life: Life, id: &ServerId) -> Verdict {
        let is_it = |worker: &&ProcessId| {
            let machine = scene.world[**worker].machine.as_ref();
            machine.and_then(crate::sim::node::Node::worker).is_some_and(|worker| worker.id() == id)
        };
        let Some(&worker) = scene.cast.workers.iter().find(is_it) else { return Ok(()) };
        let reaches =
            |other: &ProcessId| *other == worker || scene.ways.are_clear(scene.world, worker, *other, WELL);
        let is_well = scene.ways.is_well(scene.world, life.0, WELL) && scene.cast.workers.iter().all(reaches);
        if is_well { Err(format!("{id} was within reach")) } else { Ok(()) }
    }
}

impl Check for Reports {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        match seen {
            Seen::Effect { at, effect: Effect::Client(client::core::Effect::Activity(broadcast)) } => {
                if let Some(tag) = Tag::of(&broadcast.activity) {
                    self.received.entry(tag).or_default().insert((*at, scene.world[*at].run));
                }
                Ok(())
            }
            Seen::Received { at, conn, message: Message::ActivitySendingReport(report), .. } => {
                self.wired(scene.name(*at), *conn, report)
            }
            Seen::Effect { at, effect: Effect::Client(client::core::Effect::Report(report)) } => {
                self.reported(scene, ledger, (*at, scene.world[*at].run), report, coverage)
            }
            _ => Ok(()),
        }
    }
}
