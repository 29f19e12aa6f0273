//! Whom to dial next: where servers redirect us; after a worker was lost another one, chosen at random, which lets us in by the token that
//! the lost one had renewed; the coordinators in turn; and, when no coordinator can be reached, the worker that we were last at.
//!
//! Which workers and coordinators there are, the network says (BACKUP_LIST), and, before and beside that, whoever opened the session.

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
    /// The worker of the last session: workers let known users in by themselves while no coordinator answers.
    LastWorker(Redirect),
}

impl Target {
    pub(super) fn address(&self) -> &Address {
        match self {
            Target::Coordinator(address) => address,
            Target::Redirected(redirect) | Target::Elsewhere(redirect) | Target::LastWorker(redirect) => {
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
            Target::Redirected(redirect) | Target::Elsewhere(redirect) | Target::LastWorker(redirect) => {
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
    /// The last BACKUP_LIST: the other workers by address, then the coordinators in their order.
    listed: Vec<BackupEntry>,
    order: Vec<Address>,
    passed: usize,
    /// REDIRECTs followed since the last pause or log-in.
    redirects: usize,
    max_redirects: usize,
    last_worker: Option<Address>,
    /// What the last worker gave us to log in with elsewhere, and until when.
    token: Option<(String, Time)>,
}

impl Route {
    /// # Panics
    /// Without a coordinator.
    pub(super) fn new(given: Vec<Address>, max_redirects: usize) -> Self {
        assert!(!given.is_empty(), "a client needs at least one coordinator");
        let order = coordinators(&[], &given);
        Route {
            given,
            listed: Vec::new(),
            order,
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
        let other = |entry: &&BackupEntry| {
            entry.role == Role::Worker && Some(&entry.address) != self.last_worker.as_ref()
        };
        let workers: Vec<&BackupEntry> = self.listed.iter().filter(other).collect();
        let address = rng.choice(workers)?.address.clone();
        Some(Target::Elsewhere(Redirect { address, token }))
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

    /// Whether there is more than one coordinator to go to.
    pub(super) fn has_a_choice(&self) -> bool {
        self.order.len() > 1
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
    pub(super) fn unreachable(&mut self, now: Time, target: &Target) -> Option<Target> {
        if let Target::Redirected(_) | Target::LastWorker(_) = target {
            return None;
        }
        self.pass(target);
        if self.passed < self.order.len() {
            return Some(Target::Coordinator(self.order[0].clone()));
        }
        let address = self.last_worker.clone()?;
        Some(Target::LastWorker(Redirect { address, token: self.token(now) }))
    }

    /// We are sent to a worker. `None`: once too often.
    pub(super) fn redirected(&mut self, redirect: Redirect) -> Option<Target> {
        self.redirects += 1;
        (self.redirects <= self.max_redirects).then_some(Target::Redirected(redirect))
    }

    /// A coordinator that is not the main one sends us to the one that it takes for it. `None`: once too often.
    pub(super) fn sent_on(&mut self, from: &Target, to: Address) -> Option<Target> {
        self.pass(from);
        self.redirects += 1;
        (self.redirects <= self.max_redirects).then_some(Target::Coordinator(to))
    }

    /// The session is live at this worker.
    pub(super) fn arrived(&mut self, worker: Address) {
        self.passed = 0;
        self.redirects = 0;
        self.last_worker = Some(worker);
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
        listed.truncate(limits::WORKERS);
        others.truncate(limits::MEMBERS);
        // They come shuffled, so that not all clients of a worker that is lost go to the same one.
        listed.sort_by(|one, other| one.address.cmp(&other.address));
        listed.append(&mut others);
        self.order = coordinators(&listed, &self.given);
        self.passed = 0;
        if listed == self.listed {
            return None;
        }
        self.listed = listed;
        Some(&self.listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        Address::new("10.0.0.1", port).unwrap()
    }

    fn coordinator(port: u16) -> Target {
        Target::Coordinator(address(port))
    }

    fn entry(port: u16, role: Role) -> BackupEntry {
        BackupEntry { id: None, address: address(port), role }
    }

    fn route(ports: &[u16]) -> Route {
        Route::new(ports.iter().copied().map(address).collect(), 2)
    }

    fn begin(route: &mut Route) -> Target {
        route.begin(Time::ZERO, &mut fastrand::Rng::with_seed(7))
    }

    fn list(servers: Vec<BackupEntry>) -> BackupList {
        BackupList { servers, token: None }
    }

    #[test]
    fn coordinators_are_tried_in_turn_then_the_last_worker_then_there_is_a_pause() {
        let mut route = route(&[1, 2]);
        assert_eq!(begin(&mut route), coordinator(1));
        assert_eq!(route.unreachable(Time::ZERO, &coordinator(1)), Some(coordinator(2)));
        assert_eq!(route.unreachable(Time::ZERO, &coordinator(2)), None, "there is no last worker yet");
        route.arrived(address(9));
        assert_eq!(begin(&mut route), coordinator(1));
        route.unreachable(Time::ZERO, &coordinator(1)).unwrap();
        let last = route.unreachable(Time::ZERO, &coordinator(2)).unwrap();
        assert_eq!(last, Target::LastWorker(Redirect { address: address(9), token: None }));
        assert_eq!(route.unreachable(Time::ZERO, &last), None);
    }

    #[test]
    fn the_next_round_begins_with_the_coordinator_that_answered() {
        let mut route = route(&[1, 2]);
        begin(&mut route);
        route.unreachable(Time::ZERO, &coordinator(1)).unwrap();
        assert_eq!(begin(&mut route), coordinator(2));
    }

    #[test]
    fn nobody_is_sent_round_in_circles() {
        let mut route = route(&[1]);
        let redirect = Redirect { address: address(9), token: None };
        assert!(route.redirected(redirect.clone()).is_some() && route.redirected(redirect.clone()).is_some());
        assert_eq!(route.redirected(redirect.clone()), None);
        begin(&mut route);
        assert_eq!(route.sent_on(&coordinator(1), address(2)), Some(coordinator(2)));
        assert_eq!(route.sent_on(&coordinator(2), address(1)), Some(coordinator(1)));
        assert_eq!(route.sent_on(&coordinator(1), address(2)), None);
    }

    #[test]
    fn who_sent_us_on_in_vain_is_not_asked_again_in_the_same_round() {
        let mut route = route(&[1, 2, 3]);
        assert_eq!(begin(&mut route), coordinator(1));
        let main = route.sent_on(&coordinator(1), address(2)).unwrap();
        assert_eq!(route.unreachable(Time::ZERO, &main), Some(coordinator(3)));
        // The same dead one once more.
        let main = route.sent_on(&coordinator(3), address(2)).unwrap();
        assert_eq!(route.unreachable(Time::ZERO, &main), None);
        // One that we did not know counts for nobody.
        begin(&mut route);
        let stranger = route.sent_on(&coordinator(1), address(7)).unwrap();
        assert!(matches!(route.unreachable(Time::ZERO, &stranger), Some(Target::Coordinator(_))));
    }

    #[test]
    fn a_list_says_where_to_begin_and_those_given_come_last() {
        let mut route = route(&[1, 2]);
        let servers = vec![
            entry(9, Role::Worker),
            entry(8, Role::Worker),
            entry(3, Role::Backup),
            entry(2, Role::Main),
            entry(4, Role::Seeking),
        ];
        let learned = route.learn(Time::ZERO, list(servers.clone())).expect("it is news").to_vec();
        assert_eq!(learned[..2], [entry(8, Role::Worker), entry(9, Role::Worker)]);
        assert_eq!(route.order, [2, 3, 4, 1].map(address));
        let mut shuffled = servers;
        shuffled.swap(0, 1);
        assert_eq!(route.learn(Time::ZERO, list(shuffled)), None, "the workers come shuffled every time");
        assert_eq!(route.learn(Time::ZERO, list(vec![entry(8, Role::Worker)])), None);
        assert_eq!(begin(&mut route), coordinator(2), "a list without coordinators makes us forget none");
    }

    #[test]
    fn an_absurd_list_is_cut() {
        let mut route = route(&[1]);
        let servers = (1..=5_000).flat_map(|port| [entry(port, Role::Backup), entry(port, Role::Worker)]);
        assert_eq!(
            route.learn(Time::ZERO, list(servers.collect())).unwrap().len(),
            limits::WORKERS + limits::MEMBERS
        );
        assert_eq!(route.order.len(), limits::MEMBERS);
    }

    #[test]
    fn who_loses_a_worker_goes_to_another_at_random_by_its_token_and_then_to_the_coordinators() {
        let mut route = route(&[1, 2]);
        route.arrived(address(9));
        let servers = vec![
            entry(9, Role::Worker),
            entry(8, Role::Worker),
            entry(7, Role::Worker),
            entry(1, Role::Main),
        ];
        route.learn(Time::ZERO, BackupList { servers: servers.clone(), token: Some("t".to_owned()) });
        route.learn(Time::ZERO, list(servers));
        let mut rng = fastrand::Rng::with_seed(7);
        let mut chosen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let target = route.begin(Time::ZERO, &mut rng);
            assert_eq!((target.token(), target.is_coordinator()), (Some("t"), false));
            chosen.insert(target.address().port);
        }
        assert_eq!(chosen.into_iter().collect::<Vec<_>>(), [7, 8], "the lost one is not among them");

        let elsewhere = begin(&mut route);
        assert_eq!(route.unreachable(Time::ZERO, &elsewhere), Some(coordinator(1)));
        route.unreachable(Time::ZERO, &coordinator(1)).unwrap();
        let last = route.unreachable(Time::ZERO, &coordinator(2)).unwrap();
        assert_eq!(last, Target::LastWorker(Redirect { address: address(9), token: Some("t".to_owned()) }));

        let late = Time::ZERO + limits::TOKEN_LIFE;
        assert_eq!(route.begin(late, &mut rng), coordinator(1), "it has expired");
        assert!(!begin(&mut route).is_coordinator());
        route.refused(&elsewhere);
        assert_eq!(begin(&mut route), coordinator(1), "it is worth nothing");
    }
}
