//! What is to happen, in order of time.

use std::collections::BTreeMap;

use common::time::Time;

/// Things with the time at which they happen. What falls on the same instant happens in the order in which it was pushed, so that
/// a run has one order only.
#[derive(Debug)]
pub struct Queue<T> {
    due: BTreeMap<(Time, u64), T>,
    pushed: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { due: BTreeMap::new(), pushed: 0 }
    }
}

impl<T> Queue<T> {
    /// Adds something that happens at `at`.
    pub fn push(&mut self, at: Time, what: T) {
        self.due.insert((at, self.pushed), what);
        self.pushed += 1;
    }

    /// When the next thing happens.
    pub fn next(&self) -> Option<Time> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next thing and its time.
    pub fn pop(&mut self) -> Option<(Time, T)> {
        self.due.pop_first().map(|((at, _), what)| (at, what))
    }

    /// The next thing.
    pub fn first(&self) -> Option<&T> {
        self.due.values().next()
    }

    /// Everything, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.due.values()
    }

    /// How many things happen at the same time as the next one, that one included.
    pub fn simultaneous(&self) -> usize {
        self.next_ones().count()
    }

    /// What happens at the same time as the next thing, that one included.
    pub fn next_ones(&self) -> impl Iterator<Item = &T> {
        let next = self.next();
        self.due.iter().take_while(move |((at, _), _)| Some(*at) == next).map(|(_, what)| what)
    }

    /// Takes one of the things that happen at the same time as the next one.
    pub fn pop_nth(&mut self, which: usize) -> Option<(Time, T)> {
        let (&key, _) = self.due.iter().nth(which)?;
        self.due.remove(&key).map(|what| (key.0, what))
    }

    /// Forgets what is not to happen after all.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.due.retain(|_, what| keep(what));
    }
}
