//! Whom to dial next: the coordinators in turn, where they redirect us, and, when none of them can be reached, the worker
//! that we were last at.

use common::wire::{Address, Redirect};

/// Whom an attempt goes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    /// A coordinator: log in with the secret, and be redirected.
    Coordinator(Address),
    /// A worker that a server sent us to, perhaps with a token.
    Redirected(Redirect),
    /// The worker of the last session: workers let known users in by themselves while no coordinator answers.
    LastWorker(Address),
}

impl Target {
    pub(super) fn address(&self) -> &Address {
        match self {
            Target::Coordinator(address) | Target::LastWorker(address) => address,
            Target::Redirected(redirect) => &redirect.address,
        }
    }

    pub(super) fn is_coordinator(&self) -> bool {
        matches!(self, Target::Coordinator(_))
    }

    pub(super) fn token(&self) -> Option<&str> {
        match self {
            Target::Redirected(redirect) => redirect.token.as_deref(),
            Target::Coordinator(_) | Target::LastWorker(_) => None,
        }
    }
}

/// Where we are in the list, and where we have been.
///
/// Invariant: `current` is an index of `coordinators`.
#[derive(Debug)]
pub(super) struct Route {
    coordinators: Vec<Address>,
    /// The coordinator to begin with: the last one that answered.
    current: usize,
    /// Coordinators that could not be reached since the last pause.
    failed: usize,
    /// REDIRECTs followed since the last pause or log-in.
    redirects: usize,
    max_redirects: usize,
    last_worker: Option<Address>,
}

impl Route {
    /// # Panics
    /// Without a coordinator.
    pub(super) fn new(coordinators: Vec<Address>, max_redirects: usize) -> Self {
        assert!(!coordinators.is_empty(), "a client needs at least one coordinator");
        Route { coordinators, current: 0, failed: 0, redirects: 0, max_redirects, last_worker: None }
    }

    /// A new round, after a pause.
    pub(super) fn begin(&mut self) -> Target {
        self.failed = 0;
        self.redirects = 0;
        self.coordinator()
    }

    /// The coordinator whose turn it is.
    pub(super) fn coordinator(&self) -> Target {
        Target::Coordinator(self.coordinators[self.current].clone())
    }

    /// `target` cannot be reached, or fell silent. Who is next without a pause?
    pub(super) fn unreachable(&mut self, target: &Target) -> Option<Target> {
        if !target.is_coordinator() {
            return None;
        }
        self.failed += 1;
        self.current = (self.current + 1) % self.coordinators.len();
        if self.failed < self.coordinators.len() {
            return Some(self.coordinator());
        }
        self.last_worker.clone().map(Target::LastWorker)
    }

    /// We are sent to a worker. `None`: once too often.
    pub(super) fn redirected(&mut self, redirect: Redirect) -> Option<Target> {
        self.redirects += 1;
        (self.redirects <= self.max_redirects).then_some(Target::Redirected(redirect))
    }

    /// The session is live at this worker.
    pub(super) fn arrived(&mut self, worker: Address) {
        self.redirects = 0;
        self.last_worker = Some(worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        Address::new("10.0.0.1", port).unwrap()
    }

    #[test]
    fn coordinators_are_tried_in_turn_then_the_last_worker_then_there_is_a_pause() {
        let mut route = Route::new(vec![address(1), address(2)], 8);
        let first = route.begin();
        assert_eq!(first, Target::Coordinator(address(1)));
        let second = route.unreachable(&first).unwrap();
        assert_eq!(second, Target::Coordinator(address(2)));
        assert_eq!(route.unreachable(&second), None, "there is no last worker yet");
        route.arrived(address(9));
        let first = route.begin();
        let second = route.unreachable(&first).unwrap();
        let third = route.unreachable(&second).unwrap();
        assert_eq!(third, Target::LastWorker(address(9)));
        assert_eq!(route.unreachable(&third), None);
    }

    #[test]
    fn the_next_round_begins_with_the_coordinator_that_answered() {
        let mut route = Route::new(vec![address(1), address(2)], 8);
        let first = route.begin();
        route.unreachable(&first).unwrap();
        assert_eq!(route.begin(), Target::Coordinator(address(2)));
    }

    #[test]
    fn nobody_is_sent_round_in_circles() {
        let mut route = Route::new(vec![address(1)], 2);
        let redirect = Redirect { address: address(9), token: None };
        assert!(route.redirected(redirect.clone()).is_some() && route.redirected(redirect.clone()).is_some());
        assert_eq!(route.redirected(redirect.clone()), None);
        route.begin();
        assert!(route.redirected(redirect).is_some());
    }
}
