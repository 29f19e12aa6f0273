//! The links to other workers, and which of them an activity goes to.
//!
//! **Invariants.** One link per worker; a new one replaces the old, where it is of the same start. A worker is named in our NEIGHBOURS only
//! once its own first NEIGHBOURS has arrived, because from then on everything that it originates comes by that link: nobody else needs to
//! pass it on to us. So a healthy mesh of N workers carries N−1 copies of an activity, and a broken one floods around the break.
//!
//! Not here: when to dial whom (`roster`), and what has been seen (`flood`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use common::id::{Incarnation, LinkId, Seq, ServerId};
use common::outbox::{Outbox, OutboxFull};
use common::time::Time;
use common::wire::Neighbours as NeighboursMessage;

use super::config::Limits;

/// Links to other workers.
#[derive(Debug)]
pub(super) struct Neighbours {
    links: BTreeMap<LinkId, Neighbour>,
    limits: Limits,
}

#[derive(Debug)]
struct Neighbour {
    id: ServerId,
    outbox: Outbox,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// We dialled it and sent AUTHENTICATE. It is to be answered by then.
    Greeting { until: Time },
    /// Each knows who the other is.
    Established {
        /// Which start of it this is.
        incarnation: Incarnation,
        heard: Time,
        /// The workers that it hears directly; none before its first NEIGHBOURS.
        links: Option<Rc<BTreeSet<ServerId>>>,
    },
}

/// A link that is to be closed, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overdue {
    pub(super) link: LinkId,
    pub(super) reason: &'static str,
}

impl Neighbours {
    /// No links.
    pub(super) fn new(limits: &Limits) -> Self {
        Neighbours { links: BTreeMap::new(), limits: limits.clone() }
    }

    /// `id` was dialled, and AUTHENTICATE goes out first on `link`.
    pub(super) fn dialled(&mut self, now: Time, link: LinkId, id: ServerId) {
        self.insert(link, id, Stage::Greeting { until: now + self.limits.server_answer });
    }

    /// Whom we dialled on `link`, if it has not answered AUTHENTICATE yet.
    pub(super) fn greeted(&self, link: LinkId) -> Option<&ServerId> {
        let neighbour = self.links.get(&link)?;
        matches!(neighbour.stage, Stage::Greeting { .. }).then_some(&neighbour.id)
    }

    /// A link to `id` beside `link`, which is about to take its place.
    pub(super) fn other_link(&self, id: &ServerId, link: LinkId) -> Option<LinkId> {
        let other = self.links.iter().find(|(other, neighbour)| **other != link && neighbour.id == *id);
        other.map(|(other, _)| *other)
    }

    /// Whether a link stands to a worker `id` that is of another start than this: there may be two. One that is gone is soon silent, and
    /// its link is closed.
    pub(super) fn has_twin(&self, id: &ServerId, of: Incarnation) -> bool {
        let is_other =
            |stage: &Stage| matches!(stage, Stage::Established { incarnation, .. } if *incarnation != of);
        self.links.values().any(|neighbour| neighbour.id == *id && is_other(&neighbour.stage))
    }

    /// Both sides of `link` know each other now.
    pub(super) fn established(&mut self, now: Time, link: LinkId, id: ServerId, incarnation: Incarnation) {
        let stage = Stage::Established { incarnation, heard: now, links: None };
        match self.links.get_mut(&link) {
            Some(neighbour) => neighbour.stage = stage,
            None => self.insert(link, id, stage),
        }
    }

    /// Something was heard on `link`. Says whether it is established.
    pub(super) fn heard(&mut self, now: Time, link: LinkId) -> bool {
        match self.links.get_mut(&link).map(|neighbour| &mut neighbour.stage) {
            Some(Stage::Established { heard, .. }) => {
                *heard = now;
                true
            }
            _ => false,
        }
    }

    /// The worker on `link` says whom it hears directly. Says whether this is its first word, which puts it among those that we name.
    pub(super) fn told(&mut self, link: LinkId, their_links: Vec<ServerId>) -> bool {
        let neighbour = self.links.get_mut(&link).expect("somebody told us");
        let Stage::Established { links, .. } = &mut neighbour.stage else {
            unreachable!("the router checks that the link is established")
        };
        links.replace(Rc::new(their_links.into_iter().collect())).is_none()
    }

    /// The link to `id`, where each knows who the other is.
    pub(super) fn link(&self, id: &ServerId) -> Option<LinkId> {
        let is_it = |neighbour: &Neighbour| neighbour.id == *id && neighbour.is_established();
        self.links.iter().find(|(_, neighbour)| is_it(neighbour)).map(|(link, _)| *link)
    }

    /// Who is at the other end of `link`.
    pub(super) fn id(&self, link: LinkId) -> Option<&ServerId> {
        self.links.get(&link).map(|neighbour| &neighbour.id)
    }

    /// The link is gone. Returns who was there, whether we named it, and what had not been written.
    pub(super) fn remove(&mut self, link: LinkId) -> Option<(ServerId, bool, Vec<u8>)> {
        let neighbour = self.links.remove(&link)?;
        let named = neighbour.is_named();
        Some((neighbour.id, named, neighbour.outbox.farewell(None)))
    }

    /// How many links there are.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// All links.
    pub(super) fn all(&self) -> Vec<LinkId> {
        self.links.keys().copied().collect()
    }

    /// Our NEIGHBOURS, without what is said now and then: whom we hear directly, and the number of our next activity.
    pub(super) fn message(&self, next: Seq) -> NeighboursMessage {
        let links = self.links.values().filter(|neighbour| neighbour.is_named());
        let links = links.map(|neighbour| neighbour.id.clone()).collect();
        NeighboursMessage {
            links,
            next,
            holds: None,
            past: None,
            presence: Vec::new(),
            doubles: Vec::new(),
            recovering: false,
            need_reply: false,
        }
    }

    /// The other workers to which there is a path, over others where need be, as far as can be seen from here.
    pub(super) fn reachable(&self) -> BTreeSet<ServerId> {
        let mut reachable: BTreeSet<_> = self.established_ids().into_iter().collect();
        for links in self.links.values().filter_map(Neighbour::links) {
            reachable.extend(links.iter().cloned());
        }
        reachable
    }

    /// The established workers.
    pub(super) fn established_ids(&self) -> Vec<ServerId> {
        let established = self.links.values().filter(|neighbour| neighbour.is_established());
        established.map(|neighbour| neighbour.id.clone()).collect()
    }

    /// Queues frames for one link, which exists.
    ///
    /// # Errors
    /// Too much waits already. Nothing was queued.
    pub(super) fn push(&mut self, now: Time, link: LinkId, frames: &[u8]) -> Result<(), OutboxFull> {
        self.links.get_mut(&link).expect("there is a link to push to").outbox.push_frame(now, frames)
    }

    /// Queues a frame for every established link. Returns those for which too much waits already.
    pub(super) fn push_to_all(&mut self, now: Time, frame: &[u8]) -> Vec<LinkId> {
        self.push_where(now, frame, |_, neighbour| neighbour.is_established())
    }

    /// Queues an activity of `origin` that came by `from` for everybody who may not have it from elsewhere: not who sent it, not its
    /// origin, not who has a link to its origin. Of such a link both ends have to know, where both can be asked: whichever first
    /// notices that it broke makes us step in. Returns those for whom too much waits already.
    pub(super) fn relay(&mut self, now: Time, frame: &[u8], from: LinkId, origin: &ServerId) -> Vec<LinkId> {
        let origins_links =
            self.links.values().find(|neighbour| neighbour.id == *origin).and_then(Neighbour::links).cloned();
        self.push_where(now, frame, |link, neighbour| {
            let linked = neighbour.links().is_some_and(|links| links.contains(origin))
                && origins_links.as_ref().is_none_or(|links| links.contains(&neighbour.id));
            *link != from && neighbour.id != *origin && neighbour.is_established() && !linked
        })
    }

    fn push_where(
        &mut self,
        now: Time,
        frame: &[u8],
        wanted: impl Fn(&LinkId, &Neighbour) -> bool,
    ) -> Vec<LinkId> {
        let mut full = Vec::new();
        for (link, neighbour) in &mut self.links {
            if wanted(link, neighbour) && neighbour.outbox.push_frame(now, frame).is_err() {
                full.push(*link);
            }
        }
        full
    }

    /// Links that are to be closed: an AUTHENTICATE unanswered, or silence.
    pub(super) fn overdue(&self, now: Time) -> Vec<Overdue> {
        let reason = |stage: &Stage| match stage {
            Stage::Greeting { until } if *until <= now => Some("it did not answer AUTHENTICATE"),
            Stage::Established { heard, .. } if now.since(*heard) >= self.limits.worker_silence => {
                Some("it went silent")
            }
            _ => None,
        };
        let overdue = |(link, neighbour): (&LinkId, &Neighbour)| {
            reason(&neighbour.stage).map(|reason| Overdue { link: *link, reason })
        };
        self.links.iter().filter_map(overdue).collect()
    }

    /// How many bytes wait for the worker that most waits for.
    pub(super) fn longest_queue(&self) -> usize {
        self.links.values().map(|neighbour| neighbour.outbox.len()).max().unwrap_or_default()
    }

    /// What is to be written next to `link`.
    pub(super) fn output(&self, link: LinkId) -> &[u8] {
        self.links.get(&link).map_or(&[], |neighbour| neighbour.outbox.pending())
    }

    /// The first `bytes` of the output have been written.
    pub(super) fn wrote(&mut self, now: Time, link: LinkId, bytes: usize) {
        self.links.get_mut(&link).expect("it was written to").outbox.wrote(now, bytes);
    }

    /// Asserts that no more waits than may.
    pub(super) fn assert_bounds(&self) {
        let mut ids = BTreeSet::new();
        for neighbour in self.links.values() {
            let waits = neighbour.outbox.len();
            assert!(waits <= self.limits.server_outbox_bytes, "{waits} bytes wait for {}", neighbour.id);
            assert!(
                !neighbour.is_established() || ids.insert(&neighbour.id),
                "two links to {}",
                neighbour.id
            );
        }
    }

    fn insert(&mut self, link: LinkId, id: ServerId, stage: Stage) {
        self.links
            .insert(link, Neighbour { id, outbox: Outbox::new(self.limits.server_outbox_bytes), stage });
    }
}

impl Neighbour {
    fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Established { .. })
    }

    /// Whether its first word has arrived, so that we name it.
    fn is_named(&self) -> bool {
        self.links().is_some()
    }

    /// The workers that it hears directly, where it has said so.
    fn links(&self) -> Option<&Rc<BTreeSet<ServerId>>> {
        match &self.stage {
            Stage::Established { links, .. } => links.as_ref(),
            Stage::Greeting { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    fn id(name: &str) -> ServerId {
        name.parse().unwrap()
    }

    /// Links to these workers, each of which hears the ones behind the colon: `b:a,c`.
    fn neighbours(text: &str) -> (Neighbours, BTreeMap<String, LinkId>) {
        let mut keys = SlotMap::<LinkId, ()>::with_key();
        let (mut neighbours, mut by_name) = (Neighbours::new(&Limits::default()), BTreeMap::new());
        for part in text.split_whitespace() {
            let (name, hears) = part.split_once(':').unwrap();
            let link = keys.insert(());
            neighbours.established(Time::ZERO, link, id(name), Incarnation(1));
            neighbours.told(link, hears.split(',').filter(|hears| !hears.is_empty()).map(id).collect());
            by_name.insert(name.to_owned(), link);
        }
        (neighbours, by_name)
    }

    fn relayed_to(text: &str, from: &str, origin: &str) -> Vec<String> {
        let (mut neighbours, links) = neighbours(text);
        assert_eq!(neighbours.relay(Time::ZERO, b"x\n", links[from], &id(origin)), []);
        links
            .into_iter()
            .filter(|(_, link)| !neighbours.output(*link).is_empty())
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn an_activity_is_passed_on_to_those_alone_who_may_not_have_it() {
        assert_eq!(relayed_to("a:b,c b:a c:a", "a", "a"), [] as [&str; 0], "a healthy mesh needs no relay");
        assert_eq!(relayed_to("a:b,c b: c:a", "a", "a"), ["b"]);
        assert_eq!(relayed_to("a:c b:a c:a", "a", "a"), ["b"], "one end has noticed the break");
        assert_eq!(relayed_to("b: c:x", "b", "x"), [] as [&str; 0], "the other end is not our neighbour");
        assert_eq!(relayed_to("a: b: c:", "b", "a"), ["c"], "neither back nor to its origin");
        assert_eq!(relayed_to("b:x c:", "b", "a"), ["c"]);
    }

    #[test]
    fn whom_we_have_not_heard_yet_we_do_not_name() {
        let mut keys = SlotMap::<LinkId, ()>::with_key();
        let link = keys.insert(());
        let mut neighbours = Neighbours::new(&Limits::default());
        let named = |neighbours: &Neighbours| {
            let message = neighbours.message(Seq(7));
            (message.links, message.next)
        };
        neighbours.established(Time::ZERO, link, id("b"), Incarnation(1));
        assert_eq!(named(&neighbours), (vec![], Seq(7)));
        assert!(neighbours.told(link, vec![]));
        assert!(!neighbours.told(link, vec![]));
        assert_eq!(named(&neighbours), (vec![id("b")], Seq(7)));
    }
}
