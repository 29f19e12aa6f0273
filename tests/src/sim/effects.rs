//! What machines ask for beside the network, and how the run looks at them from outside.

use std::time::Duration;

use common::machine::JobId;
use common::user::{PasswordHash, Secret};
use coordinator::core::Change;

use super::faults::Kind;
use super::node::{Effect, Input, Node};
use super::scenario::{Own, Scenario};
use super::segments::Segments;
use super::{ProcessId, disk};

impl Scenario {
    /// Does what a machine asks for, and brings the answer later.
    pub(super) fn answer(&mut self, at: ProcessId, effect: Effect) {
        use coordinator::core::{Effect as OfCoordinator, Input as ToCoordinator};
        use worker::core::{Effect as OfWorker, Input as ToWorker};
        let input = match effect {
            Effect::Client(client::core::Effect::Servers(servers)) => {
                self.cast.learnt.insert(at, servers);
                return;
            }
            Effect::Client(_) | Effect::Numbered(..) | Effect::WentOn => return,
            Effect::Worker(OfWorker::Remember(remembered)) => {
                if let Some(name) = self.cast.worker_names.get(&at) {
                    self.cast.remembered.insert(name.clone(), remembered);
                }
                return;
            }
            Effect::Worker(OfWorker::Segment(request)) => {
                let Some(disk) = self.disk_of(at) else { return };
                disk.request(request);
                let after = Duration::from_millis(self.rng.u64(1..30));
                let run = self.world[at].run;
                return self.own.push(self.world.now() + after, Own::SegmentDone(at, run));
            }
            Effect::Coordinator(OfCoordinator::Persist { job, change }) => {
                return self.write(at, job, change);
            }
            Effect::Coordinator(OfCoordinator::Cancel { job }) | Effect::Worker(OfWorker::Cancel { job }) => {
                return self.cancel(at, job);
            }
            Effect::Coordinator(OfCoordinator::Doubt { .. }) | Effect::Worker(OfWorker::Doubt { .. }) => {
                return self.coverage.add("hashes for clients that may be gone", 1);
            }
            Effect::Coordinator(OfCoordinator::Hash { job, secret, .. }) => {
                Input::Coordinator(ToCoordinator::Hashed { job, hash: self.hash(&secret) })
            }
            Effect::Coordinator(OfCoordinator::Verify { job, secret, hash, .. }) => {
                Input::Coordinator(ToCoordinator::Verified { job, matches: disk::verify(&secret, &hash) })
            }
            Effect::Worker(OfWorker::Hash { job, secret, .. }) => {
                Input::Worker(ToWorker::Hashed { job, hash: self.hash(&secret) })
            }
            Effect::Worker(OfWorker::Verify { job, secret, hash, .. }) => {
                Input::Worker(ToWorker::Verified { job, matches: disk::verify(&secret, &hash) })
            }
        };
        let input = self.give_up_by_lot(input);
        let after = if self.plan.instant { 0 } else { self.rng.u64(3..40) };
        let after = Duration::from_millis(after);
        self.own.push(self.world.now() + after, Own::Answer { to: at, run: self.world[at].run, input });
    }

    /// There is not always time for a hash.
    fn give_up_by_lot(&mut self, input: Input) -> Input {
        let given_up = !self.plan.instant && self.going && self.rng.u8(..50) == 0;
        let Some(job) = hash_job(&input).filter(|_| given_up) else { return input };
        self.coverage.add("hashes given up", 1);
        match input {
            Input::Coordinator(_) => Input::Coordinator(coordinator::core::Input::Unhashed { job }),
            _ => Input::Worker(worker::core::Input::Unhashed { job }),
        }
    }

    /// By lot, what is cancelled has begun, and is answered all the same.
    fn cancel(&mut self, at: ProcessId, job: JobId) {
        let run_of_it = self.world[at].run;
        if !self.plan.instant && self.rng.bool() {
            self.coverage.add("hashes cancelled before they began", 1);
            self.own.retain(|own| {
                !matches!(own, Own::Answer { to, run, input }
                    if (*to, *run) == (at, run_of_it) && hash_job(input) == Some(job))
            });
        }
    }

    fn hash(&mut self, secret: &Secret) -> PasswordHash {
        disk::hash(secret, self.rng.u64(..))
    }

    fn write(&mut self, at: ProcessId, job: JobId, change: Change) {
        let disk = self.disks.of_mut(at);
        disk.write(job, change);
        let usual = if self.plan.instant { Duration::ZERO } else { Duration::from_millis(30) };
        let most = usual + disk.delay;
        let after = most.mul_f64(self.rng.f64());
        let run = self.world[at].run;
        self.own.push(self.world.now() + after, Own::Written { at, run, job });
        // The worst moment to die, which chance alone would seldom find.
        if self.going && self.plan.faults.contains(&Kind::CoordinatorDies) && self.rng.u8(..5) == 0 {
            self.own.push(self.world.now() + after.mul_f64(self.rng.f64()), Own::DieWriting(at, run));
        }
    }

    /// The disk of a worker, where it has one.
    fn disk_of(&mut self, at: ProcessId) -> Option<&mut Segments> {
        self.cast.segments.get_mut(self.cast.worker_names.get(&at)?)
    }

    /// A worker's disk has done what it was asked for, unless the worker is gone.
    pub(super) fn segment_done(&mut self, at: ProcessId, run: u32) {
        let now = self.world.now();
        if self.world[at].run != run {
            return;
        }
        let Some((segment, frames)) = self.disk_of(at).and_then(|disk| disk.complete(now)) else { return };
        let input = Input::Worker(worker::core::Input::Segment { segment, frames });
        self.world.input(at, run, input);
    }

    /// A worker is about to go: some of what it was writing is written.
    pub(super) fn leave_disk(&mut self, at: ProcessId) {
        let (now, mut rng) = (self.world.now(), self.rng.fork());
        if let Some(disk) = self.disk_of(at) {
            disk.crash(now, &mut rng);
        }
    }

    /// A disk has done what it can, unless the coordinator that asked is gone.
    pub(super) fn written(&mut self, at: ProcessId, run: u32, job: JobId) {
        if self.world[at].run != run || !self.world[at].is_up() {
            return;
        }
        let input = if self.disks.of(at).fails {
            self.disks.of_mut(at).fail(job);
            coordinator::core::Input::PersistFailed { job, reason: "no space left on device".to_owned() }
        } else {
            self.disks.complete(at, job);
            coordinator::core::Input::Persisted { job }
        };
        self.world.input(at, run, Input::Coordinator(input));
    }

    /// Takes the counters of a worker before it goes.
    pub(super) fn harvest(&mut self, id: ProcessId) {
        self.leave_disk(id);
        let Some(worker) = self.world[id].machine.as_ref().and_then(Node::worker) else { return };
        let dropped = worker.dropped();
        self.coverage.add("clients dropped for falling behind", dropped.fell_behind);
        self.coverage.add("clients dropped for stalling", dropped.stalled);
        self.coverage.add("duplicates that arrived at a worker", dropped.duplicates);
        self.coverage.add("gaps given up", dropped.gaps);
    }

    /// The honest clients that are logged in.
    pub(super) fn live(&self) -> Vec<ProcessId> {
        self.cast.users.keys().copied().filter(|&id| self.is_live(id)).collect()
    }

    /// Whether a client is logged in.
    pub(super) fn is_live(&self, id: ProcessId) -> bool {
        self.world[id].machine.as_ref().is_some_and(Node::is_live)
    }

    /// Which client is not logged in and should be, or is and should not.
    pub(super) fn somebody_is_not_live(&self) -> Option<String> {
        let live = self.live();
        let wrong =
            self.cast.users.iter().find(|(id, user)| {
                user.away || live.contains(id) != self.cast.should_be_live(**id, &self.disks)
            });
        wrong.map(|(id, user)| {
            format!("{} ({}): {:?}", self.world[*id].name, user.username, self.world[*id].machine)
        })
    }

    /// Which misbehaving peer is still connected.
    pub(super) fn somebody_still_misbehaves(&self) -> Option<String> {
        self.world.processes().find_map(|(id, process)| match &process.machine {
            Some(Node::Mischief(mischief)) if !mischief.is_done() => {
                Some(format!("{} ({:?}) is still there", process.name, self.cast.role(id)))
            }
            _ => None,
        })
    }

    /// Who is still on an errand.
    pub(super) fn somebody_is_on_an_errand(&self) -> Option<String> {
        self.world.processes().find_map(|(_, process)| match &process.machine {
            Some(Node::Errand(errand)) if errand.outcome().is_none() => {
                Some(format!("{} still wants {:?}", process.name, errand.wish()))
            }
            _ => None,
        })
    }

    /// Which worker lacks which connection.
    pub(super) fn mesh_is_missing(&self) -> Option<String> {
        self.cast.workers.iter().find_map(|&id| {
            let reaches = |other: &&ProcessId| **other != id && !self.world.is_cut(id, **other);
            let others = self.cast.workers.iter().filter(reaches).count();
            let process = &self.world[id];
            let Some(worker) = process.machine.as_ref().and_then(Node::worker) else {
                return Some(format!("{} is down", process.name));
            };
            let neighbours = worker.neighbours();
            let whole = worker.upstream() && neighbours.len() == others;
            (!whole).then(|| {
                format!("{} has upstream: {}, neighbours: {neighbours:?}", process.name, worker.upstream())
            })
        })
    }
}

/// Which hash or verification this is the answer to.
fn hash_job(input: &Input) -> Option<JobId> {
    use coordinator::core::Input as ToCoordinator;
    use worker::core::Input as ToWorker;
    match input {
        Input::Coordinator(
            ToCoordinator::Hashed { job, .. }
            | ToCoordinator::Verified { job, .. }
            | ToCoordinator::Unhashed { job },
        )
        | Input::Worker(
            ToWorker::Hashed { job, .. } | ToWorker::Verified { job, .. } | ToWorker::Unhashed { job },
        ) => Some(*job),
        _ => None,
    }
}
