//! What became of activities, as far as any worker has said: per session, runs of activities of which the same is known.
//!
//! An activity that was sent again to another worker, before the two have heard of each other, comes to some under one id and to some under
//! another. Who moves meanwhile is given both, which its worker cannot know, and is counted by both. So only what was counted under one
//! id is added up, and of two such sums the greater one is told: at least so many have it.
//!
//! **Invariants.** A worker's count of an activity is taken once, its first word, however often and in whatever pieces it arrives. Nobody
//! is counted twice who moved. What is kept is bounded by numbers and by time: whoever has not been counted for lately is forgotten, and of
//! one session the oldest.
//!
//! Not here: whom to report to, and when (`reports`).

use std::collections::BTreeMap;
use std::time::Duration;

use common::id::{Incarnation, Seq, ServerId};
use common::limits;
use common::session::SessionId;
use common::time::Time;
use common::wire::DeliveryCount;

/// How long a session's counts are kept at least after the last of them: several time-outs of a report, so that who sends again
/// elsewhere is told the same.
const MEMORY: Duration = Duration::from_secs(60);

/// Runs of a session. Beyond: the oldest are forgotten. Whatever a client waits for is kept, even where no two activities of it had the
/// same fate.
const SESSION_RUNS: usize = limits::UNREPORTED;

/// Runs of all sessions together that were counted for lately. Beyond: [`MEMORY`] is shorter. Two times as many at some 200 bytes: 50 MB.
const RUNS: usize = 1 << 17;

/// The counts of all workers.
///
/// Two generations: a session that is counted for is or comes into the young one. When that has lasted for [`MEMORY`], or is full, the
/// old one is forgotten and the young one becomes it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    young: Generation,
    old: Generation,
    since: Time,
}

#[derive(Debug, Default)]
struct Generation {
    sessions: BTreeMap<SessionId, Session>,
    /// Of all sessions.
    runs: usize,
}

/// What is known of a session's activities, each run under the first of them.
#[derive(Debug, Default)]
struct Session(BTreeMap<Seq, Run>);

#[derive(Clone, Debug)]
struct Run {
    /// Behind the last activity.
    end: Seq,
    /// When the first of these counts came. Of runs that were joined, the latest.
    since: Time,
    sum: Sum,
}

/// What became of an activity at all workers that have counted it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// What was counted under each id that it has, in the order of those who took it in.
    ids: Vec<Clients>,
    /// Who has counted it, in order.
    pub(super) workers: Vec<ServerId>,
}

/// What became of an activity at the workers that have it under one id.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clients {
    taken_by: Incarnation,
    /// Sessions that were attached there.
    attached: u64,
    /// Those that have it.
    have: u64,
}

impl Tally {
    /// Takes `worker`'s counts. Returns those that are news.
    pub(super) fn counted(
        &mut self,
        now: Time,
        worker: &ServerId,
        counts: &[DeliveryCount],
    ) -> Vec<DeliveryCount> {
        let mut news = Vec::new();
        for count in counts {
            if count.first <= count.last && count.succ_count <= count.client_count {
                self.make_room(now);
                let session = self.young_session(count.session);
                let before = session.0.len();
                session.add(now, worker, count, &mut news);
                let after = session.0.len();
                self.young.runs = self.young.runs + after - before;
            }
        }
        news
    }

    /// What became of `session`'s activity `seq`, and up to where that is so, that one excluded; none where nobody has counted it.
    pub(super) fn sum(&self, session: SessionId, seq: Seq) -> (Option<&Sum>, Seq) {
        let (run, end) = self.run(session, seq);
        (run.map(|run| &run.sum), end)
    }

    /// Since when something is known of that. It may have been known for longer.
    pub(super) fn since(&self, session: SessionId, seq: Seq) -> Option<Time> {
        self.run(session, seq).0.map(|run| run.since)
    }

    /// Asserts that no more is kept than may be.
    pub(super) fn assert_bounds(&self) {
        for generation in [&self.young, &self.old] {
            let runs: usize = generation.sessions.values().map(|session| session.0.len()).sum();
            assert_eq!(runs, generation.runs, "all runs are counted");
            assert!(runs <= RUNS + SESSION_RUNS, "{runs} runs are kept");
        }
    }

    fn run(&self, session: SessionId, seq: Seq) -> (Option<&Run>, Seq) {
        let known = self.young.sessions.get(&session).or_else(|| self.old.sessions.get(&session));
        let Some(Session(runs)) = known else { return (None, Seq(u64::MAX)) };
        match runs.range(..=seq).next_back() {
            Some((_, run)) if seq < run.end => (Some(run), run.end),
            _ => (None, runs.range(seq..).next().map_or(Seq(u64::MAX), |(first, _)| *first)),
        }
    }

    fn make_room(&mut self, now: Time) {
        if now.since(self.since) >= MEMORY || self.young.runs >= RUNS {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
    }

    fn young_session(&mut self, session: SessionId) -> &mut Session {
        if let Some(known) = self.old.sessions.remove(&session) {
            self.old.runs -= known.0.len();
            self.young.runs += known.0.len();
            self.young.sessions.insert(session, known);
        }
        self.young.sessions.entry(session).or_default()
    }
}

impl Session {
    /// Adds `worker`'s count to those of which it has not counted any yet, and appends these to `news`.
    fn add(&mut self, now: Time, worker: &ServerId, count: &DeliveryCount, news: &mut Vec<DeliveryCount>) {
        let (first, end) = (count.first, count.last.next());
        self.split(first);
        self.split(end);
        let mut next = first;
        while next < end {
            let (start, run_end) = match self.0.range(next..end).next() {
                Some((start, run)) => (*start, run.end),
                None => (end, end),
            };
            if next < start {
                // Nobody has counted these.
                self.0.insert(next, Run { end: start, since: now, sum: Sum::default() });
                continue;
            }
            let run = self.0.get_mut(&start).expect("it was just found or inserted");
            if run.sum.add(worker, count) {
                let last = Seq(run_end.0 - 1);
                DeliveryCount { first: start, last, ..count.clone() }.append_to(news);
            }
            next = run_end;
        }
        self.join(first, end);
        while self.0.len() > SESSION_RUNS {
            self.0.pop_first();
        }
    }

    /// Sees to it that a run that reaches across `at` ends there and another begins.
    fn split(&mut self, at: Seq) {
        if let Some((_, run)) = self.0.range_mut(..at).next_back()
            && at < run.end
        {
            let rest = run.clone();
            run.end = at;
            self.0.insert(at, rest);
        }
    }

    /// Joins runs that touch and say the same, where one begins between `first` and `end`, both included.
    fn join(&mut self, first: Seq, end: Seq) {
        let starts: Vec<Seq> = self.0.range(first..=end).map(|(start, _)| *start).collect();
        for start in starts {
            let run = &self.0[&start];
            let Run { end: run_end, since, ref sum } = *run;
            let before = self.0.range(..start).next_back();
            if let Some((before, _)) = before.filter(|(_, before)| before.end == start && before.sum == *sum)
            {
                let before = *before;
                self.0.remove(&start);
                let before = self.0.get_mut(&before).expect("it was just found");
                (before.end, before.since) = (run_end, before.since.max(since));
            }
        }
    }
}

impl Sum {
    /// How many sessions were attached, and how many of them have it. Nobody is counted twice.
    pub(super) fn clients(&self) -> (u64, u64) {
        let most = self.ids.iter().max_by_key(|clients| (clients.have, clients.attached));
        most.map_or((0, 0), |clients| (clients.attached, clients.have))
    }

    /// Adds `worker`'s count, where it has not counted before. Says whether that was so.
    fn add(&mut self, worker: &ServerId, count: &DeliveryCount) -> bool {
        let Err(place) = self.workers.binary_search(worker) else { return false };
        self.workers.insert(place, worker.clone());
        let place = self.ids.binary_search_by_key(&count.taken_by, |clients| clients.taken_by);
        let place = place.unwrap_or_else(|place| {
            self.ids.insert(place, Clients { taken_by: count.taken_by, attached: 0, have: 0 });
            place
        });
        let clients = &mut self.ids[place];
        clients.attached = clients.attached.saturating_add(count.client_count);
        clients.have = clients.have.saturating_add(count.succ_count);
        true
    }
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
