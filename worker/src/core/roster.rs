//! The workers that are known: where they listen, and when to dial them.
//!
//! **Invariant.** Of two workers the one with the smaller id dials, so that two never dial each other at once.

use std::collections::BTreeMap;
use std::time::Duration;

use common::backoff::Backoff;
use common::id::ServerId;
use common::time::Time;
use common::wire::{Address, ServerEntry};

/// Workers that are remembered. Far more than a mesh of direct links can carry.
const KNOWN: usize = 1_024;

/// How long a link must have stood for its loss to be an accident. Two workers that use one id replace each other's links much sooner.
const STOOD: Duration = Duration::from_secs(2);

/// The known workers, but for ourselves.
#[derive(Debug)]
pub(super) struct Roster {
    own: ServerId,
    known: BTreeMap<ServerId, Known>,
    /// How long a worker is remembered that has neither a link nor a place in a coordinator's list.
    unlisted: Duration,
}

#[derive(Debug)]
struct Known {
    address: Address,
    contact: Contact,
    backoff: Backoff,
    standing: Standing,
    /// It has said that it takes no clients yet.
    recovering: bool,
}

/// What coordinators say of a known worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The last one that said anything lists it.
    Listed,
    /// None has said anything: it came to us, or was linked with us, by itself.
    Unheard,
    /// It is listed no more, since then.
    Unlisted(Time),
    /// It has said that it leaves; since then.
    Leaving(Time),
}

/// How we stand with a known worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contact {
    /// No link. If we are the one to dial: not before then.
    None(Time),
    /// An attempt, or its handshake, is under way.
    Dialling,
    /// A link stands, since then.
    Linked(Time),
}

impl Roster {
    /// The workers that an earlier run of `own` knew are where they were, as far as is known.
    pub(super) fn new(now: Time, own: ServerId, unlisted: Duration, remembered: Vec<ServerEntry>) -> Self {
        let mut roster = Roster { own, known: BTreeMap::new(), unlisted };
        for server in remembered {
            roster.learn(now, server);
        }
        roster
    }

    /// Whom a coordinator lists.
    pub(super) fn listed_ones(&self) -> Vec<ServerEntry> {
        let listed = self.known.iter().filter(|(_, known)| known.standing == Standing::Listed);
        listed.map(|(id, known)| ServerEntry { id: id.clone(), address: known.address.clone() }).collect()
    }

    /// A coordinator lists exactly these. Who is missing is remembered for a while: it may come back to the coordinator.
    pub(super) fn listed(&mut self, now: Time, servers: Vec<ServerEntry>) {
        for known in self.known.values_mut() {
            if !known.is_unlisted() {
                known.standing = Standing::Unlisted(now);
            }
        }
        for server in servers {
            self.joined(now, server);
        }
    }

    /// A coordinator says that this worker exists, there.
    pub(super) fn joined(&mut self, now: Time, server: ServerEntry) {
        if let Some(known) = self.learn(now, server) {
            // Whoever says that one that leaves exists has not heard of that yet.
            if !known.is_leaving() || !known.contact.is_link() {
                known.standing = Standing::Listed;
            }
        }
    }

    /// This worker says that it leaves.
    pub(super) fn leaves(&mut self, now: Time, id: &ServerId) {
        if let Some(known) = self.known.get_mut(id) {
            known.standing = Standing::Leaving(now);
        }
    }

    /// A worker to which a link stands says whether it takes no clients yet.
    pub(super) fn recovers(&mut self, id: &ServerId, recovering: bool) {
        if let Some(known) = self.known.get_mut(id) {
            known.recovering = recovering;
        }
    }

    /// Of those that are [`reachable`](Self::reachable) the ones to which clients may be sent.
    pub(super) fn open(&self) -> impl Iterator<Item = (&ServerId, &Address)> {
        let is_open = |known: &Known| !known.recovering && !known.is_leaving();
        self.reachable().filter(move |(id, _)| is_open(&self.known[*id]))
    }

    /// Whether one of them takes no clients yet, and will.
    pub(super) fn somebody_recovers(&self) -> bool {
        self.known.values().any(|known| known.recovering && known.contact.is_link() && !known.is_leaving())
    }

    /// A coordinator says that this worker is gone. If its link stands, it is not.
    pub(super) fn removed(&mut self, now: Time, id: &ServerId) {
        match self.known.get_mut(id) {
            Some(known) if known.contact.is_link() => {
                if !known.is_leaving() {
                    known.standing = Standing::Unlisted(now);
                }
            }
            _ => {
                self.known.remove(id);
            }
        }
    }

    /// This worker has authenticated at us or we at it: its link stands.
    pub(super) fn linked(&mut self, now: Time, server: ServerEntry) {
        if let Some(known) = self.learn(now, server) {
            known.contact = Contact::Linked(now);
            if let Standing::Leaving(since) = known.standing {
                // It is another start of it.
                known.standing = Standing::Unlisted(since);
            }
        }
    }

    /// An attempt to reach `id` failed. It may have been forgotten and learnt anew meanwhile, and a later attempt have made a link.
    pub(super) fn dial_failed(&mut self, now: Time, id: &ServerId, rng: &mut fastrand::Rng) {
        if self.dialled(id).is_some() {
            self.lost(now, id, rng);
        }
    }

    /// The link is gone, whether or not its handshake was over. Only where it had stood for a while a new series of attempts begins.
    pub(super) fn lost(&mut self, now: Time, id: &ServerId, rng: &mut fastrand::Rng) {
        if let Some(known) = self.known.get_mut(id) {
            if matches!(known.contact, Contact::Linked(since) if now.since(since) >= STOOD) {
                known.backoff.reset();
            }
            known.contact = Contact::None(now + known.backoff.next(rng));
            known.recovering = false;
        }
    }

    /// Where `id` listens, if an attempt to reach it is under way.
    pub(super) fn dialled(&self, id: &ServerId) -> Option<&Address> {
        self.known.get(id).filter(|known| known.contact == Contact::Dialling).map(|known| &known.address)
    }

    /// The workers that belong to the network, as far as is known, and where they listen: those that a coordinator lists or of which none has
    /// said anything, and those to which a link stands.
    pub(super) fn reachable(&self) -> impl Iterator<Item = (&ServerId, &Address)> {
        let reachable = |known: &Known| !known.is_unlisted() || known.contact.is_link();
        self.known.iter().filter(move |(_, known)| reachable(known)).map(|(id, known)| (id, &known.address))
    }

    /// Where `id` listens, if it is known.
    pub(super) fn address(&self, id: &ServerId) -> Option<&Address> {
        self.known.get(id).map(|known| &known.address)
    }

    /// Whether a link stands to every worker that a coordinator lists.
    pub(super) fn all_linked(&self) -> bool {
        self.known.values().all(|known| known.standing != Standing::Listed || known.contact.is_link())
    }

    /// Forgets who has been neither linked nor listed for long.
    pub(super) fn forget_unlisted(&mut self, now: Time) {
        self.known.retain(|_, known| {
            let unlisted =
                matches!(known.standing, Standing::Unlisted(since) | Standing::Leaving(since) if now.since(since) >= self.unlisted);
            !unlisted || known.contact.is_link()
        });
    }

    /// When to ask whom to dial.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.ours_to_dial().filter_map(|(_, known)| known.contact.dial_at()).min()
    }

    /// Whom to dial now, and where. The attempts count as begun.
    pub(super) fn due(&mut self, now: Time) -> Vec<(ServerId, Address)> {
        let due = |known: &Known| known.contact.dial_at().is_some_and(|at| at <= now);
        let ids: Vec<_> =
            self.ours_to_dial().filter(|(_, known)| due(known)).map(|(id, _)| id.clone()).collect();
        ids.into_iter()
            .map(|id| {
                let known = self.known.get_mut(&id).expect("it was just found");
                known.contact = Contact::Dialling;
                (id, known.address.clone())
            })
            .collect()
    }

    fn ours_to_dial(&self) -> impl Iterator<Item = (&ServerId, &Known)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.known.range::<ServerId, _>((Excluded(&self.own), Unbounded))
    }

    fn learn(&mut self, now: Time, server: ServerEntry) -> Option<&mut Known> {
        if server.id == self.own {
            return None;
        }
        if !self.known.contains_key(&server.id) && self.known.len() == KNOWN {
            tracing::warn!(id = %server.id, "more than {KNOWN} workers; not remembering this one");
            return None;
        }
        let known = self.known.entry(server.id).or_insert_with(|| Known {
            address: server.address.clone(),
            contact: Contact::None(now),
            backoff: Backoff::default(),
            standing: Standing::Unheard,
            recovering: false,
        });
        if known.address != server.address {
            // It has moved: no need to wait out the pause for its old place.
            known.address = server.address;
            known.backoff.reset();
            if let Contact::None(at) = &mut known.contact {
                *at = now;
            }
        }
        Some(known)
    }
}

impl Known {
    fn is_leaving(&self) -> bool {
        matches!(self.standing, Standing::Leaving(_))
    }

    fn is_unlisted(&self) -> bool {
        matches!(self.standing, Standing::Unlisted(_) | Standing::Leaving(_))
    }
}

impl Contact {
    fn dial_at(self) -> Option<Time> {
        match self {
            Contact::None(at) => Some(at),
            Contact::Dialling | Contact::Linked(_) => None,
        }
    }

    fn is_link(self) -> bool {
        matches!(self, Contact::Linked(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, port: u16) -> ServerEntry {
        ServerEntry { id: id.parse().unwrap(), address: Address::new("h", port).unwrap() }
    }

    fn roster() -> Roster {
        Roster::new(at(0), "m".parse().unwrap(), Duration::from_secs(60), Vec::new())
    }

    fn due(roster: &mut Roster, now: Time) -> Vec<String> {
        roster.due(now).into_iter().map(|(id, address)| format!("{id}@{address}")).collect()
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    /// Two that were started again while no coordinator lived did not find each other, nor those with greater ids.
    #[test]
    fn whom_an_earlier_run_knew_is_dialled_before_any_coordinator_has_spoken() {
        let remembered = vec![entry("a", 1), entry("z", 3)];
        let mut roster = Roster::new(at(0), "m".parse().unwrap(), Duration::from_secs(60), remembered);
        assert_eq!(due(&mut roster, at(0)), ["z@h:3"]);
        assert!(roster.listed_ones().is_empty() && roster.all_linked());
        roster.listed(at(1), vec![entry("y", 2)]);
        assert_eq!(roster.listed_ones(), [entry("y", 2)]);
        roster.forget_unlisted(at(61));
        assert_eq!(roster.known.len(), 1, "the others are not listed");
    }

    #[test]
    fn of_two_workers_the_one_with_the_smaller_id_dials() {
        let mut roster = roster();
        roster.listed(at(0), vec![entry("a", 1), entry("m", 2), entry("z", 3)]);
        assert_eq!(roster.deadline(), Some(at(0)));
        assert_eq!(due(&mut roster, at(0)), ["z@h:3"]);
        assert_eq!((due(&mut roster, at(9)), roster.deadline()), (vec![], None), "once is enough");
        roster.lost(at(1), &"z".parse().unwrap(), &mut fastrand::Rng::with_seed(1));
        assert_eq!(due(&mut roster, at(7)), ["z@h:3"]);
    }

    #[test]
    fn who_is_not_listed_any_more_is_forgotten_after_a_while_unless_linked() {
        let mut roster = roster();
        roster.listed(at(0), vec![entry("x", 1), entry("y", 2), entry("z", 3)]);
        roster.due(at(0));
        roster.linked(at(0), entry("z", 3));
        roster.listed(at(10), vec![entry("y", 2)]);
        roster.forget_unlisted(at(69));
        assert_eq!(roster.known.len(), 3);
        roster.forget_unlisted(at(70));
        assert_eq!(roster.known.keys().map(ServerId::as_str).collect::<Vec<_>>(), ["y", "z"]);
    }

    #[test]
    fn who_is_removed_is_forgotten_unless_its_link_stands() {
        let mut roster = roster();
        roster.listed(at(0), vec![entry("y", 2), entry("z", 3)]);
        roster.linked(at(0), entry("z", 3));
        roster.removed(at(1), &"y".parse().unwrap());
        roster.removed(at(1), &"z".parse().unwrap());
        assert_eq!(roster.known.keys().map(ServerId::as_str).collect::<Vec<_>>(), ["z"]);
    }

    /// A worker that had started while no coordinator lived forgot the others when their links ended, and told senders that everybody had
    /// what these had not.
    #[test]
    fn of_whom_no_coordinator_has_said_anything_belongs_to_the_network_without_a_link_too() {
        let mut roster = roster();
        let (y, mut rng) = ("y".parse().unwrap(), fastrand::Rng::with_seed(1));
        let reachable =
            |roster: &Roster| roster.reachable().map(|(id, _)| id.to_string()).collect::<Vec<_>>();
        for id in ["y", "z"] {
            roster.linked(at(0), entry(id, 2));
        }
        roster.removed(at(1), &y);
        for id in ["y", "z"] {
            roster.lost(at(2), &id.parse().unwrap(), &mut rng);
        }
        assert_eq!(reachable(&roster), ["z"], "the other one has left");
        roster.listed(at(3), vec![entry("x", 1)]);
        assert_eq!(reachable(&roster), ["x"]);
    }

    #[test]
    fn a_link_that_is_lost_again_and_again_is_made_ever_more_slowly_until_one_has_stood_for_a_while() {
        let mut roster = roster();
        let (z, mut rng) = ("z".parse().unwrap(), fastrand::Rng::with_seed(1));
        roster.joined(at(0), entry("z", 3));
        let mut now = at(0);
        let mut attempts = 0;
        while now < at(60) {
            now = roster.deadline().expect("another attempt is ahead");
            assert_eq!(due(&mut roster, now), ["z@h:3"]);
            roster.linked(now, entry("z", 3));
            roster.lost(now + Duration::from_millis(10), &z, &mut rng);
            attempts += 1;
        }
        assert!(attempts < 40, "{attempts} attempts in a minute");
        roster.due(roster.deadline().unwrap());
        roster.linked(now, entry("z", 3));
        roster.lost(now + STOOD, &z, &mut rng);
        assert!(roster.deadline().unwrap() <= now + STOOD + common::limits::RECONNECT.0);
    }

    #[test]
    fn an_attempt_that_fails_late_does_not_count_against_the_link_that_a_later_one_made() {
        let mut roster = roster();
        let (z, mut rng) = ("z".parse().unwrap(), fastrand::Rng::with_seed(1));
        roster.joined(at(0), entry("z", 3));
        assert_eq!(due(&mut roster, at(0)), ["z@h:3"]);
        roster.removed(at(1), &z);
        roster.joined(at(1), entry("z", 3));
        assert_eq!(due(&mut roster, at(1)), ["z@h:3"], "it is learnt anew");
        roster.linked(at(2), entry("z", 3));
        roster.dial_failed(at(3), &z, &mut rng);
        assert_eq!((due(&mut roster, at(60)), roster.all_linked()), (vec![], true));
    }

    #[test]
    fn who_has_moved_is_dialled_at_its_new_place_at_once() {
        let mut roster = roster();
        roster.joined(at(0), entry("z", 3));
        roster.due(at(0));
        roster.lost(at(0), &"z".parse().unwrap(), &mut fastrand::Rng::with_seed(7));
        roster.joined(at(0), entry("z", 4));
        assert_eq!(due(&mut roster, at(0)), ["z@h:4"]);
    }
}
