//! The other coordinators of the group: where they are, whether a link stands, and what they say of themselves.
//!
//! Every pair keeps one link, dialled by whoever finds none. Where both dial at one moment, that of the smaller name stays.
//! **Invariants.** A peer has at most one attempt and one link. What is known of it is what came over that link; a link that is gone takes
//! it along, but for when it was last heard and whether it has crashed: a refused connection says that nobody listens there any more.

use std::collections::BTreeMap;
use std::time::Duration;

use common::backoff::Backoff;
use common::epoch::Epoch;
use common::id::{Incarnation, LinkId, ServerId};
use common::time::Time;
use common::wire::{Address, Role, ServerEntry, Standing};

/// How long a link must have stood for its loss to be worth an attempt at once.
const STANDS: Duration = Duration::from_secs(1);

/// Our own number for a peer: its name is not known before it has been reached, and its address may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PeerId(u32);

/// The table of peers.
#[derive(Debug)]
pub(super) struct Peers {
    table: BTreeMap<PeerId, Peer>,
    next: u32,
    redial: (Duration, Duration),
}

/// Another coordinator.
#[derive(Debug)]
pub(super) struct Peer {
    /// Where it is dialled.
    pub(super) address: Address,
    /// Its name, once it has said so.
    pub(super) id: Option<ServerId>,
    /// Whether it was named on the command line.
    pub(super) configured: bool,
    pub(super) contact: Contact,
    /// When it was last heard.
    pub(super) heard: Option<Time>,
    /// The latest attempt was refused: nobody listens there.
    pub(super) crashed: bool,
    /// It has refused us, for good.
    pub(super) hostile: bool,
    /// What it said last is that it belongs to another network.
    pub(super) foreign: bool,
    backoff: Backoff,
}

/// The way to a peer.
#[derive(Debug)]
pub(super) enum Contact {
    /// Nothing before then.
    Resting(Time),
    Dialling,
    /// BACKUP_AUTHENTICATE is sent. It is to be answered by then.
    Greeting(LinkId, Time),
    /// Both know each other.
    Up(Up),
}

/// A link that stands, and what came over it.
#[derive(Clone, Debug)]
pub(super) struct Up {
    pub(super) link: LinkId,
    pub(super) incarnation: Incarnation,
    /// We dialled it.
    pub(super) ours: bool,
    pub(super) since: Time,
    pub(super) heard: Time,
    pub(super) standing: Standing,
    /// The highest epoch that it has shown.
    pub(super) epoch: Option<Epoch>,
}

impl Peers {
    pub(super) fn new(redial: (Duration, Duration)) -> Self {
        Peers { table: BTreeMap::new(), next: 0, redial }
    }

    /// Takes note of a coordinator; of a known one the name. Nobody is noted twice.
    pub(super) fn note(
        &mut self,
        now: Time,
        address: &Address,
        id: Option<&ServerId>,
        configured: bool,
    ) -> PeerId {
        let is_it = |peer: &Peer| peer.address == *address || (id.is_some() && peer.id.as_ref() == id);
        if let Some((number, peer)) = self.table.iter_mut().find(|(_, peer)| is_it(peer)) {
            peer.configured |= configured;
            if peer.id.is_none() {
                peer.id = id.cloned();
            }
            return *number;
        }
        let number = PeerId(self.next);
        self.next += 1;
        let peer = Peer {
            address: address.clone(),
            id: id.cloned(),
            configured,
            contact: Contact::Resting(now),
            heard: None,
            crashed: false,
            hostile: false,
            foreign: false,
            backoff: Backoff::within(self.redial),
        };
        self.table.insert(number, peer);
        number
    }

    pub(super) fn get(&self, number: PeerId) -> Option<&Peer> {
        self.table.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: PeerId) -> Option<&mut Peer> {
        self.table.get_mut(&number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.table.iter().map(|(number, peer)| (*number, peer))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// How a peer is called for people: by its name, where it is known.
    pub(super) fn name(&self, number: PeerId) -> String {
        let name =
            |peer: &Peer| peer.id.as_ref().map_or_else(|| peer.address.to_string(), ServerId::to_string);
        self.get(number).map(name).unwrap_or_default()
    }

    /// The peer of this name.
    pub(super) fn named(&self, id: &ServerId) -> Option<(PeerId, &Peer)> {
        self.iter().find(|(_, peer)| peer.id.as_ref() == Some(id))
    }

    /// The peers whose links stand.
    pub(super) fn up(&self) -> impl Iterator<Item = (PeerId, &Peer, &Up)> {
        self.iter().filter_map(|(number, peer)| Some((number, peer, peer.up()?)))
    }

    /// The link to this peer, where it stands.
    pub(super) fn link(&self, number: PeerId) -> Option<LinkId> {
        Some(self.get(number)?.up()?.link)
    }

    /// Who is to be dialled now; the attempts count as begun.
    pub(super) fn due(&mut self, now: Time) -> Vec<(PeerId, Address)> {
        let mut due = Vec::new();
        for (number, peer) in &mut self.table {
            if matches!(peer.contact, Contact::Resting(until) if until <= now) {
                peer.contact = Contact::Dialling;
                due.push((*number, peer.address.clone()));
            }
        }
        due
    }

    /// When somebody is to be dialled next.
    pub(super) fn deadline(&self) -> Option<Time> {
        let resting = |peer: &Peer| match peer.contact {
            Contact::Resting(until) => Some(until),
            _ => None,
        };
        self.table.values().filter_map(resting).min()
    }

    /// An attempt or a link is over; the next attempt comes after a pause.
    pub(super) fn lost(&mut self, now: Time, number: PeerId, crashed: bool, rng: &mut fastrand::Rng) {
        let Some(peer) = self.table.get_mut(&number) else { return };
        peer.crashed = crashed;
        let pause = peer.backoff.next(rng);
        peer.contact = Contact::Resting(now + pause);
    }

    /// The next attempt is made after this pause. The peer lives: it has said so.
    pub(super) fn rest(&mut self, now: Time, number: PeerId, pause: Duration) {
        self.lives(now, number);
        if let Some(peer) = self.table.get_mut(&number) {
            peer.contact = Contact::Resting(now + pause);
        }
    }

    /// A link that stood is gone: the next attempt is made at once, or after a pause where it had hardly come to stand.
    pub(super) fn closed(&mut self, now: Time, number: PeerId, rng: &mut fastrand::Rng) {
        let Some(peer) = self.table.get_mut(&number) else { return };
        let stood = peer.up().is_some_and(|up| now.since(up.since) >= STANDS);
        if stood {
            peer.backoff.reset();
        }
        peer.crashed = false;
        let pause = if stood { Duration::ZERO } else { peer.backoff.next(rng) };
        peer.contact = Contact::Resting(now + pause);
    }

    /// Both know each other. Where the same coordinator was noted under another address too, that note is dropped.
    pub(super) fn established(&mut self, number: PeerId, server: ServerEntry, up: Up) -> Vec<PeerId> {
        let double = |(other, peer): (&PeerId, &Peer)| {
            (*other != number && peer.id.as_ref() == Some(&server.id)).then_some(*other)
        };
        let doubles: Vec<PeerId> = self.table.iter().filter_map(double).collect();
        if let Some(peer) = self.table.get_mut(&number) {
            peer.heard = Some(up.heard);
            (peer.crashed, peer.hostile, peer.foreign) = (false, false, false);
            peer.id = Some(server.id);
            peer.address = server.address;
            peer.contact = Contact::Up(up);
        }
        doubles
    }

    /// Forgets a peer.
    pub(super) fn remove(&mut self, number: PeerId) -> Option<Peer> {
        self.table.remove(&number)
    }

    /// A peer has shown that it lives, on whatever link.
    pub(super) fn lives(&mut self, now: Time, number: PeerId) {
        if let Some(peer) = self.table.get_mut(&number) {
            (peer.heard, peer.crashed) = (Some(now), false);
        }
    }

    /// A peer was heard.
    pub(super) fn heard(&mut self, now: Time, number: PeerId, epoch: Option<&Epoch>) {
        if let Some(peer) = self.table.get_mut(&number)
            && let Contact::Up(up) = &mut peer.contact
        {
            peer.heard = Some(now);
            up.heard = now;
            if up.epoch.as_ref() < epoch {
                up.epoch = epoch.cloned();
            }
        }
    }

    /// The links on which too little is heard: unanswered greetings, and silence for `timeout`.
    pub(super) fn overdue(&self, now: Time, timeout: Duration) -> Vec<LinkId> {
        let overdue = self.table.values().filter_map(|peer| peer.contact.patience(timeout));
        overdue.filter(|(_, until)| *until <= now).map(|(link, _)| link).collect()
    }

    /// When the next link is overdue.
    pub(super) fn patience(&self, timeout: Duration) -> Option<Time> {
        self.table.values().filter_map(|peer| peer.contact.patience(timeout)).map(|(_, until)| until).min()
    }
}

impl Contact {
    /// Until when something is to be heard on which link.
    fn patience(&self, timeout: Duration) -> Option<(LinkId, Time)> {
        match self {
            Contact::Greeting(link, until) => Some((*link, *until)),
            Contact::Up(up) => Some((up.link, up.heard + timeout)),
            Contact::Dialling | Contact::Resting(_) => None,
        }
    }
}

impl Peer {
    pub(super) fn up(&self) -> Option<&Up> {
        match &self.contact {
            Contact::Up(up) => Some(up),
            _ => None,
        }
    }

    pub(super) fn up_mut(&mut self) -> Option<&mut Up> {
        match &mut self.contact {
            Contact::Up(up) => Some(up),
            _ => None,
        }
    }
}

impl Up {
    /// Whether it keeps no users, and would join any network.
    pub(super) fn is_blank(&self) -> bool {
        self.standing.network.is_none()
    }

    pub(super) fn is_main(&self) -> bool {
        self.standing.role == Role::Main
    }
}
