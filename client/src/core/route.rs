//! Whom to dial next: where servers redirect us; after a worker was lost another one, chosen at random, which lets us in by the token that
//! the lost one had renewed; the coordinators in turn; and, when no coordinator can be reached, the worker that we were last at, or where
//! that is gone or there was none, any that we know.
//!
//! Which workers and coordinators there are, the network says (BACKUP_LIST), to us or to an earlier run; before and beside that, whoever
//! opened the session.

use common::id::ServerId;
use common::limits;
use common::time::Time;
use common::wire::{Address, BackupEntry, BackupList, Redirect, Role};

/// Whom an attempt goes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    /// A coordinator: log in with the secret, and be redirected.
    Coordinator(Address),
    /// A worker that a server sent us to, perhaps with a token.
    Redirected(Redirect),
    /// A worker of the list, other than the one that was lost.
    Elsewhere(Redirect),
    /// The last worker, or another one that we know: workers let known users in by themselves while no coordinator answers.
    LastResort(Redirect),
}

impl Target {
    pub(super) fn address(&self) -> &Address {
        match self {
            Target::Coordinator(address) => address,
            Target::Redirected(redirect) | Target::Elsewhere(redirect) | Target::LastResort(redirect) => {
                &redirect.address
            }
        }
    }

    pub(super) fn is_coordinator(&self) -> bool {
        matches!(self, Target::Coordinator(_))
    }

    pub(super) fn token(&self) -> Option<&str> {
        match self {
            Target::Coordinator(_) => None,
            Target::Redirected(redirect) | Target::Elsewhere(redirect) | Target::LastResort(redirect) => {
                redirect.token.as_deref()
            }
        }
    }
}

/// The coordinators to try, in order: those of a BACKUP_LIST, the main one first, then those `given` that it does not name.
pub fn coordinators(listed: &[BackupEntry], given: &[Address]) -> Vec<Address> {
    let of = |main: bool| {
        let fits = move |role| role != Role::Worker && (role == Role::Main) == main;
        listed.iter().filter(move |entry| fits(entry.role)).map(|entry| &entry.address)
    };
    let mut order: Vec<Address> = Vec::new();
    for address in of(true).chain(of(false)).chain(given) {
        if !order.contains(address) {
            order.push(address.clone());
        }
    }
    order
}

/// Where we are in the list, and where we have been.
///
/// Invariant: the last `passed` of `order` have been tried since the last pause or log-in, and the others have not.
#[derive(Debug)]
pub(super) struct Route {
    /// The coordinators that the session was opened with.
    given: Vec<Address>,
    /// The last BACKUP_LIST, of this run or an earlier one: the workers by address, that it came from among them, then the coordinators
    /// in their order.
    listed: Vec<BackupEntry>,
    order: Vec<Address>,
    /// Whom a server has named last as the main coordinator.
    main: Option<Address>,
    passed: usize,
    /// REDIRECTs followed since the last pause or log-in.
    redirects: usize,
    max_redirects: usize,
    /// Where the last session was, unless we have looked for it there in vain.
    last_worker: Option<BackupEntry>,
    /// What the last worker gave us to log in with elsewhere, and until when.
    token: Option<(String, Time)>,
}

impl Route {
    /// From the coordinators that are given, and the servers that an earlier run was told of.
    ///
    /// # Panics
    /// Without a coordinator.
    pub(super) fn new(given: Vec<Address>, remembered: Vec<BackupEntry>, max_redirects: usize) -> Self {
        assert!(!given.is_empty(), "a client needs at least one coordinator");
        let order = coordinators(&remembered, &given);
        Route {
            given,
            listed: remembered,
            order,
            main: None,
            passed: 0,
            redirects: 0,
            max_redirects,
            last_worker: None,
            token: None,
        }
    }

    /// A new round, after a pause.
    pub(super) fn begin(&mut self, now: Time, rng: &mut fastrand::Rng) -> Target {
        self.passed = 0;
        self.redirects = 0;
        self.elsewhere(now, rng).unwrap_or_else(|| Target::Coordinator(self.order[0].clone()))
    }

    /// Another worker than the last one, where we have what lets us in without a coordinator.
    fn elsewhere(&self, now: Time, rng: &mut fastrand::Rng) -> Option<Target> {
        let token = Some(self.token(now)?);
        let last = self.last_worker.as_ref().map(|last| &last.address);
        let others: Vec<&Address> = self.workers().filter(|worker| Some(*worker) != last).collect();
        let address = rng.choice(others)?.clone();
        Some(Target::Elsewhere(Redirect { address, token }))
    }

    /// A worker to ask when no coordinator can be reached.
    fn last_resort(&self, now: Time, rng: &mut fastrand::Rng) -> Option<Target> {
        let address = match &self.last_worker {
            Some(last) => last.address.clone(),
            None => rng.choice(self.workers().collect::<Vec<_>>())?.clone(),
        };
        Some(Target::LastResort(Redirect { address, token: self.token(now) }))
    }

    fn workers(&self) -> impl Iterator<Item = &Address> {
        self.listed.iter().filter(|entry| entry.role == Role::Worker).map(|entry| &entry.address)
    }

    fn token(&self, now: Time) -> Option<String> {
        self.token.as_ref().filter(|(_, until)| now < *until).map(|(token, _)| token.clone())
    }

    /// A worker did not let us in by the token.
    pub(super) fn refused(&mut self, target: &Target) {
        if let Target::Elsewhere(_) = target {
            self.token = None;
        }
    }

    /// Whether there is more than one coordinator to go to. One that another one named may be none of those that we know.
    pub(super) fn has_a_choice(&self) -> bool {
        self.order.len() > 1 || self.main.as_ref().is_some_and(|main| !self.order.contains(main))
    }

    /// Whether this is the main coordinator, as far as servers have said.
    pub(super) fn is_main(&self, target: &Target) -> bool {
        target.is_coordinator() && self.main.as_ref() == Some(target.address())
    }

    /// This coordinator does not let us in now: others come first, from here on.
    pub(super) fn pass(&mut self, target: &Target) {
        let Target::Coordinator(address) = target else { return };
        // Where a redirect led us it need not be one that we know.
        let Some(index) = self.order.iter().position(|known| known == address) else { return };
        let untried = index < self.order.len() - self.passed;
        self.passed += usize::from(untried);
        let address = self.order.remove(index);
        self.order.push(address);
    }

    /// `target` cannot be reached, or fell silent. Who is next without a pause?
    pub(super) fn unreachable(
        &mut self,
        now: Time,
        target: &Target,
        rng: &mut fastrand::Rng,
    ) -> Option<Target> {
        match target {
            Target::Redirected(_) => return None,
            Target::LastResort(_) => {
                // Perhaps for good: the next round asks any.
                self.last_worker = None;
                return None;
            }
            Target::Coordinator(_) | Target::Elsewhere(_) => self.pass(target),
        }
        if self.passed < self.order.len() {
            return Some(Target::Coordinator(self.order[0].clone()));
        }
        self.last_resort(now, rng)
    }

    /// We are sent to a worker. `None`: once too often.
    pub(super) fn redirected(&mut self, redirect: Redirect) -> Option<Target> {
        self.redirects += 1;
        (self.redirects <= self.max_redirects).then_some(Target::Redirected(redirect))
    }

    /// A coordinator that is not the main one sends us to the one that it takes for it. `None`: once too often.
    pub(super) fn sent_on(&mut self, from: &Target, to: Address) -> Option<Target> {
        self.pass(from);
        self.main = Some(to.clone());
        self.redirects += 1;
        (self.redirects <= self.max_redirects).then_some(Target::Coordinator(to))
    }

    /// The session is live at this worker.
    pub(super) fn arrived(&mut self, id: Option<ServerId>, address: Address) {
        self.passed = 0;
        self.redirects = 0;
        self.last_worker = Some(BackupEntry { id, address, role: Role::Worker });
    }

    /// While the session is live: the network's servers are these. Returns them in our order, where that is news.
    pub(super) fn learn(&mut self, now: Time, list: BackupList) -> Option<&[BackupEntry]> {
        if let Some(token) = list.token {
            self.token = Some((token, now + limits::TOKEN_LIFE));
        }
        let (mut listed, mut others): (Vec<_>, Vec<_>) =
            list.servers.into_iter().partition(|entry| entry.role == Role::Worker);
        if others.is_empty() {
            // A worker that knows of no coordinator knows less than we do.
            return None;
        }
        // A worker tells of others, and we are to find this one, too, when all coordinators are gone.
        let known = |last: &&BackupEntry| listed.iter().all(|entry| entry.address != last.address);
        if let Some(last) = self.last_worker.as_ref().filter(known) {
            listed.insert(0, last.clone());
        }
        listed.truncate(limits::WORKERS);
        others.truncate(limits::MEMBERS);
        // They come shuffled, so that not all clients of a worker that is lost go to the same one.
        listed.sort_by(|one, other| one.address.cmp(&other.address));
        listed.append(&mut others);
        self.order = coordinators(&listed, &self.given);
        let main = listed.iter().find(|entry| entry.role == Role::Main);
        self.main = main.map(|entry| entry.address.clone());
        self.passed = 0;
        if listed == self.listed {
            return None;
        }
        self.listed = listed;
        Some(&self.listed)
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
