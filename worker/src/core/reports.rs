//! What the senders of activities are told: how many received each, in order, and when.
//!
//! A report is due when every worker that can be reached has counted the activity, or at the time-out. Every worker hears all counts
//! ([`Tally`]), so any can report what is sent to it: also what was sent before to another that has died.
//!
//! **Invariants.** Nothing is reported before this worker itself has counted it, but at the time-out. Who sends gets one report
//! for each activity, in order. A report counts what some worker has counted, each once, and names every worker that it
//! knows of and that has not.
//!
//! Not here: how deliveries are counted (`deliveries`), and how counts get here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use common::id::{Incarnation, Seq, ServerId};
use common::limits::WORKERS;
use common::session::SessionId;
use common::time::Time;
use common::wire::{ActivitySendingReport, DeliveryCount, Durability};

use super::tally::{Sum, Tally};

/// How long reports are collected, so that one tells of many activities. Also how exactly the time is kept at which something was sent.
const COLLECT: Duration = Duration::from_millis(5);

/// How long a worker that has started is waited for to count what was sent before. It counts what it fetches from others, soon, and never
/// what it has on disk.
const STARTED: Duration = Duration::from_secs(1);

/// Who counted what, and who is to be told.
#[derive(Debug)]
pub(super) struct Reports {
    own: ServerId,
    /// When this worker began. Until a while after that it has heard few counts of what was sent before.
    begun: Time,
    timeout: Duration,
    tally: Tally,
    /// Whose counts are waited for, ourselves included.
    reachable: BTreeSet<ServerId>,
    /// Who is named where it has not counted.
    known: BTreeSet<ServerId>,
    /// The latest start of others, and when it was noticed; the beginning of time where it was the first.
    starts: BTreeMap<ServerId, (Incarnation, Time)>,
    /// What each attached session has sent here and was not told of.
    owed: BTreeMap<SessionId, VecDeque<Owed>>,
    /// When what is owed was sent, in order. What was reported in time may still be here.
    sent: VecDeque<(Time, SessionId)>,
    /// Of whom something may have become due, and when to see.
    news_for: BTreeSet<SessionId>,
    collected: Option<Time>,
}

/// A run of activities that were sent at about the same time.
#[derive(Clone, Copy, Debug)]
struct Owed {
    first: Seq,
    last: Seq,
    sent: Time,
    /// They were known already.
    again: bool,
}

impl Reports {
    /// Nothing was sent to `own`, which begins now, and it is alone. A report waits for `timeout` at most.
    pub(super) fn new(begun: Time, own: ServerId, timeout: Duration) -> Self {
        Reports {
            reachable: BTreeSet::from([own.clone()]),
            known: BTreeSet::from([own.clone()]),
            starts: BTreeMap::new(),
            own,
            begun,
            timeout,
            tally: Tally::default(),
            owed: BTreeMap::new(),
            sent: VecDeque::new(),
            news_for: BTreeSet::new(),
            collected: None,
        }
    }

    /// These other workers can be reached by some path, and these belong to the network. To be told whenever that may have changed.
    pub(super) fn network(
        &mut self,
        now: Time,
        mut reachable: BTreeSet<ServerId>,
        known: &BTreeSet<ServerId>,
    ) {
        reachable.insert(self.own.clone());
        let known = &reachable | known;
        if (&self.reachable, &self.known) != (&reachable, &known) {
            (self.reachable, self.known) = (reachable, known);
            let everybody: Vec<_> = self.owed.keys().copied().collect();
            everybody.into_iter().for_each(|session| self.look_at(now, session));
        }
    }

    /// A link to this start of `worker` stands.
    pub(super) fn linked(&mut self, now: Time, worker: &ServerId, start: Incarnation) {
        let before = self.starts.get(worker).map(|(before, _)| *before);
        if before != Some(start) {
            if self.starts.len() >= 2 * WORKERS {
                self.starts.retain(|other, _| self.known.contains(other));
            }
            self.starts.insert(worker.clone(), (start, before.map_or(Time::ZERO, |_| now)));
        }
    }

    /// Time has passed. To be called every second.
    pub(super) fn sweep(&mut self, now: Time) {
        let old = |(session, owed): (&SessionId, &VecDeque<Owed>)| {
            (owed[0].sent + STARTED <= now).then_some(*session)
        };
        let old: Vec<_> = self.owed.iter().filter_map(old).collect();
        old.into_iter().for_each(|session| self.look_at(now, session));
    }

    /// `worker`, which may be this one, says what became of activities. Returns what of it is news: that is to be passed on.
    pub(super) fn counted(
        &mut self,
        now: Time,
        worker: &ServerId,
        counts: &[DeliveryCount],
    ) -> Vec<DeliveryCount> {
        let news = self.tally.counted(now, worker, counts);
        for count in &news {
            if self.owed.contains_key(&count.session) {
                self.look_at(now, count.session);
            }
        }
        news
    }

    /// An attached session has sent `seq`, perhaps `again`: it is to be told what became of it. On one connection it sends each one
    /// once, in order.
    pub(super) fn owed(&mut self, now: Time, session: SessionId, seq: Seq, again: bool) {
        self.look_at(now, session);
        let owed = self.owed.entry(session).or_default();
        match owed.back_mut() {
            Some(run) if run.last.next() == seq && run.again == again && now.since(run.sent) < COLLECT => {
                run.last = seq;
            }
            _ => {
                owed.push_back(Owed { first: seq, last: seq, sent: now, again });
                self.sent.push_back((now, session));
            }
        }
    }

    /// A session is not attached here any more. Where it sends again what it was not told of, it will be owed again.
    pub(super) fn detached(&mut self, session: SessionId) {
        self.owed.remove(&session);
        self.news_for.remove(&session);
    }

    /// When to see what is [`due`](Self::due).
    pub(super) fn deadline(&self) -> Option<Time> {
        let timeout = self.sent.front().map(|(sent, _)| *sent + self.timeout);
        self.collected.into_iter().chain(timeout).min()
    }

    /// What is to be told now, and to whom: each session's in order.
    pub(super) fn due(&mut self, now: Time) -> Vec<(SessionId, ActivitySendingReport)> {
        if self.deadline().is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.collect_late(now);
        self.collected = None;
        let mut due = Vec::new();
        for session in std::mem::take(&mut self.news_for) {
            due.extend(self.due_to(now, session).into_iter().map(|report| (session, report)));
        }
        due
    }

    /// Asserts that no more is kept than may be, and that whoever waits has a deadline.
    pub(super) fn assert_bounds(&self) {
        self.tally.assert_bounds();
        assert!(self.owed.values().all(|owed| !owed.is_empty()), "somebody is owed nothing");
        assert!(self.owed.is_empty() || !self.sent.is_empty(), "what is owed has a time-out");
        assert!(self.news_for.is_empty() || self.collected.is_some(), "what is collected is looked at");
    }

    fn look_at(&mut self, now: Time, session: SessionId) {
        self.news_for.insert(session);
        self.collected.get_or_insert(now + COLLECT);
    }

    /// Sees to those who have waited for as long as they may, and forgets when what is reported was sent.
    fn collect_late(&mut self, now: Time) {
        while let Some((sent, session)) = self.sent.front().copied() {
            let waits = self.owed.get(&session).is_some_and(|owed| owed[0].sent <= sent);
            if waits && now < sent + self.timeout {
                break;
            }
            self.sent.pop_front();
            if waits {
                self.news_for.insert(session);
            }
        }
    }

    fn due_to(&mut self, now: Time, session: SessionId) -> Vec<ActivitySendingReport> {
        let mut reports = Vec::new();
        let Some(mut owed) = self.owed.remove(&session) else { return reports };
        while let Some(run) = owed.front_mut() {
            let (sum, end) = self.tally.sum(session, run.first);
            // Who sends again elsewhere does not begin to wait anew.
            let sent = self.tally.since(session, run.first).map_or(run.sent, |since| run.sent.min(since));
            // What this worker has on disk from before its start it never counts, and what others counted then it has not heard.
            let is_unknown = run.again && run.sent < self.begun + 2 * self.timeout;
            let is_late = sent + if is_unknown { STARTED } else { self.timeout } <= now;
            let Some(report) = self.report(now, (sent, is_late), sum.unwrap_or(&Sum::default())) else {
                break;
            };
            let last = run.last.min(Seq(end.0 - 1));
            append(&mut reports, ActivitySendingReport { activity_seq: last, ..report }, run.first);
            if last == run.last {
                owed.pop_front();
            } else {
                run.first = last.next();
            }
        }
        if !owed.is_empty() {
            self.owed.insert(session, owed);
        }
        reports
    }

    /// The report of an activity that was `sent` then, and of which `sum` is known; its `activity_seq` is left open. None where somebody
    /// is still waited for, as nobody is where it `is_late`.
    fn report(&self, now: Time, (sent, is_late): (Time, bool), sum: &Sum) -> Option<ActivitySendingReport> {
        let has_counted = |worker: &ServerId| sum.workers.binary_search(worker).is_ok();
        let has_started = |worker: &ServerId| {
            self.starts.get(worker).is_some_and(|(_, start)| *start > sent && *start + STARTED <= now)
        };
        if !is_late && !self.reachable.iter().all(|worker| has_counted(worker) || has_started(worker)) {
            return None;
        }
        let (client_count, succ_count) = sum.clients();
        Some(ActivitySendingReport {
            first_seq: None,
            activity_seq: Seq(0),
            client_count,
            succ_count,
            fail_count: client_count - succ_count,
            durability: if sum.workers.len() > 1 { Durability::Replicated } else { Durability::Local },
            unreachable: self.known.iter().filter(|worker| !has_counted(worker)).cloned().collect(),
        })
    }
}

/// Appends the report of all from `first` to its `activity_seq`: to the last one, where it follows on that and says the same.
fn append(reports: &mut Vec<ActivitySendingReport>, report: ActivitySendingReport, first: Seq) {
    if let Some(last) = reports.last_mut()
        && last.activity_seq.next() == first
        && *last
            == (ActivitySendingReport {
                first_seq: last.first_seq,
                activity_seq: last.activity_seq,
                ..report.clone()
            })
    {
        last.first_seq.get_or_insert(last.activity_seq);
        last.activity_seq = report.activity_seq;
    } else {
        let first_seq = Some(first).filter(|first| *first < report.activity_seq);
        reports.push(ActivitySendingReport { first_seq, ..report });
    }
}

#[cfg(test)]
#[path = "reports_tests.rs"]
mod tests;
