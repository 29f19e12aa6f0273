//! In which order is measured within a round? In another one each time, so that nobody is always the first after a pause, or always after
//! the same neighbour; and what is compared with each other is measured one right after the other.

use crate::cells::{Cell, ONE_WORKER, TWO_WORKERS};
use crate::systems::System;

/// Cells, by their place, and systems of a round (from 1), in order.
pub(crate) fn of(round: u32, cells: &[Cell]) -> Vec<(usize, System)> {
    let mut systems = System::ALL;
    systems.rotate_left((round as usize - 1) % System::ALL.len());
    let place = |name| cells.iter().position(|cell| cell.name == name);
    let mut beside = [place(ONE_WORKER), place(TWO_WORKERS)];
    if round.is_multiple_of(2) {
        beside.reverse();
    }
    let together = |cell| beside.contains(&Some(cell)) && !beside.contains(&None);
    let mut order = Vec::new();
    for cell in 0..cells.len() {
        let group = match (together(cell), place(ONE_WORKER) == Some(cell)) {
            (true, true) => beside.into_iter().flatten().collect(),
            (true, false) => continue,
            (false, _) => vec![cell],
        };
        for system in systems {
            let knows = |cell: &usize| system.knows(cells[*cell].setting);
            order.extend(group.iter().copied().filter(knows).map(|cell| (cell, system)));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{cells, data};

    fn cells() -> Vec<Cell> {
        cells::all(true, data::objects(None).unwrap())
    }

    #[test]
    fn each_round_measures_everything_once() {
        let cells = cells();
        let all: BTreeSet<_> =
            of(1, &cells).into_iter().map(|(cell, system)| (cell, system as usize)).collect();
        for round in 1..=7 {
            let order = of(round, &cells);
            assert_eq!(order.len(), (cells.len() - 1) * System::ALL.len() + 2);
            assert_eq!(all, order.into_iter().map(|(cell, system)| (cell, system as usize)).collect());
        }
    }

    #[test]
    fn each_system_is_once_the_first() {
        let cells = cells();
        let first = |round| of(round, &cells)[0].1 as usize;
        let firsts: BTreeSet<_> = (1..=System::ALL.len() as u32).map(first).collect();
        assert_eq!(firsts.len(), System::ALL.len());
    }

    #[test]
    fn two_workers_are_measured_right_beside_one_now_after_it_and_now_before() {
        let cells = cells();
        let names = |round| {
            let of_freshet = of(round, &cells).into_iter().filter(|(_, system)| *system == System::Freshet);
            let names: Vec<_> = of_freshet.map(|(cell, _)| cells[cell].name).collect();
            names
        };
        assert_eq!(names(1)[1..3], [ONE_WORKER, TWO_WORKERS]);
        assert_eq!(names(2)[1..3], [TWO_WORKERS, ONE_WORKER]);
        let order = of(2, &cells);
        let two = order.iter().position(|(cell, _)| cells[*cell].name == TWO_WORKERS).unwrap();
        assert_eq!((cells[order[two + 1].0].name, order[two].1), (ONE_WORKER, order[two + 1].1));
        // Each alone is measured as any other.
        let alone: Vec<_> = cells.into_iter().filter(|cell| cell.name == TWO_WORKERS).collect();
        assert_eq!(of(1, &alone).len(), 2);
    }
}
