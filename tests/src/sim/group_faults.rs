//! What goes wrong among several coordinators.

use std::time::Duration;

use super::ProcessId;
use super::cast::Role;
use super::control::Crash;
use super::faults::Repair;
use super::node::Input;
use super::scenario::{Own, Scenario};
use super::ways::draw_sides;

impl Scenario {
    pub(super) fn cut_one_way(&mut self, from: ProcessId) {
        let to = if self.rng.bool() { self.cast.any_coordinator() } else { self.cast.any_worker() };
        if from == to {
            return;
        }
        let (from, to) = if self.rng.bool() { (from, to) } else { (to, from) };
        let span = self.span();
        self.ways.trouble_between(from, to, self.world.now());
        self.world.cut_one_way(from, to);
        self.repair(span, Repair::Mend(from, to));
        self.fault(
            "ways cut in one direction",
            format_args!("{to:?} hears nothing of {from:?} for {span:?}"),
        );
    }

    /// The way between two coordinators is cut where it stands and mended where it does not, now and `times` more.
    pub(super) fn flap(&mut self, one: ProcessId, other: ProcessId, times: u32) {
        let now = self.world.now();
        self.ways.trouble_between(one, other, now);
        if self.world.is_cut(one, other) || times == 0 {
            self.world.mend(one, other);
        } else {
            let noticed = Duration::from_millis(self.rng.u64(0..3_000));
            self.world.cut(one, other, noticed);
            self.ways.trouble_between(one, other, now + noticed);
        }
        self.world
            .trace
            .note(now, format_args!("the way between {one:?} and {other:?} flaps, {times} times more"));
        if times > 0 {
            let most = if self.rng.bool() { 300 } else { 3_500 };
            self.own
                .push(now + Duration::from_millis(self.rng.u64(10..most)), Own::Flap(one, other, times - 1));
        }
    }

    /// A coordinator's ways to all servers but `spared` (to all, where that is itself) are cut or mended together, now and `times` more.
    pub(super) fn loosen(&mut self, one: ProcessId, spared: ProcessId, times: u32) {
        let now = self.world.now();
        let servers = self.cast.coordinators.iter().chain(&self.cast.workers);
        let others: Vec<ProcessId> = servers.copied().filter(|&id| id != one && id != spared).collect();
        let noticed = Duration::from_millis(self.rng.u64(0..3_000));
        let cuts = times > 0 && others.first().is_some_and(|&other| !self.world.is_cut(one, other));
        for other in others {
            if cuts {
                self.world.cut(one, other, noticed);
                self.ways.trouble_between(one, other, now + noticed);
            } else {
                self.world.mend(one, other);
                self.ways.trouble_between(one, other, now);
            }
        }
        self.world
            .trace
            .note(now, format_args!("{one:?} has a loose contact, {times} times more; it keeps {spared:?}"));
        if times > 0 {
            let most = if self.rng.bool() { 300 } else { 3_500 };
            let next = now + Duration::from_millis(self.rng.u64(10..most));
            self.own.push(next, Own::Loosen(one, spared, times - 1));
        }
    }

    /// The network falls into two or three parts. Coordinators are spread over them; somebody on each side wants the same name.
    pub(super) fn divide(&mut self) {
        if self.world.sides().is_some() {
            return;
        }
        let count = if self.rng.u8(..4) == 0 { 3 } else { 2 };
        let rivals = self.cast.add_rivals(&mut self.world);
        let all: Vec<ProcessId> = self.world.processes().map(|(id, _)| id).collect();
        let mut sides = draw_sides(all.into_iter(), &self.cast.coordinators, count, &mut self.rng);
        for (number, worker) in self.cast.workers.iter().enumerate() {
            sides.of.insert(*worker, number % count);
        }
        for (rival, coordinator) in rivals.iter().zip(self.cast.coordinators.iter().cycle()) {
            sides.of.insert(*rival, sides.of(*coordinator));
        }
        let (noticed, span) = (self.notice(), self.span() + Duration::from_secs(3));
        self.ways.trouble_everywhere(self.world.now() + noticed);
        self.fault("partitions", format_args!("the network falls apart for {span:?}: {sides:?}"));
        self.world.divide(sides, noticed);
        for rival in rivals {
            self.own.push(
                self.world.now() + noticed + Duration::from_millis(self.rng.u64(500..4_000)),
                Own::Return(rival),
            );
        }
        self.coverage.add("names that two wanted at once", 1);
        self.repair(span, Repair::Reunite);
    }

    /// All coordinators die, and the one that knows least returns first.
    pub(super) fn kill_all_coordinators(&mut self) {
        let mut by_state = self.cast.coordinators.clone();
        by_state.sort_by_key(|&id| {
            let disk = self.disks.of(id);
            (disk.epoch().cloned(), disk.records().len())
        });
        let now = self.world.now();
        for (place, id) in by_state.into_iter().enumerate() {
            if self.world[id].is_up() {
                self.fault("coordinators killed all at once", format_args!("{id:?} dies"));
                self.world.crash(id, Crash::Kill);
                self.ended(id);
            }
            let wait = Duration::from_millis(500 + 2_000 * place as u64);
            self.own.push(now + wait, Own::Repair(Repair::Start(id)));
        }
    }

    pub(super) fn send_away(&mut self, id: ProcessId) {
        let others = self.cast.coordinators.iter().filter(|&&other| other != id && self.world[other].is_up());
        if others.count() == 0 || !self.world[id].is_up() {
            return;
        }
        self.fault("coordinators that went for long", format_args!("{id:?} goes for long"));
        self.world.crash(id, Crash::PowerLoss { noticed: Duration::from_secs(15) });
        self.ended(id);
        self.own.retain(|own| !matches!(own, Own::Repair(Repair::Start(start)) if *start == id));
    }

    pub(super) fn drain(&mut self, id: ProcessId, what: &'static str) {
        if !self.world[id].is_up() {
            return;
        }
        let run = self.world[id].run;
        self.fault(what, format_args!("{id:?} is told to drain"));
        let now = self.world.now();
        self.watch.ledger.draining.entry((id, run)).or_insert(now);
        self.ways.trouble_with(id, now);
        let input = match self.cast.role(id) {
            Role::Coordinator => Input::Coordinator(coordinator::core::Input::Drain),
            _ => Input::Worker(worker::core::Input::Drain),
        };
        self.world.input(id, run, input);
    }
}
