//! The connections: who is at the other end, what waits for them, and how long they may take.
//!
//! **Invariant:** every link is in exactly one state of [`Party`], and what waits for it is bounded by its outbox. A link that is
//! closed is forgotten here first; nothing is said to it afterwards.

use std::net::{IpAddr, Ipv4Addr};

use common::epoch::Epoch;
use common::id::{LinkId, ServerId};
use common::outbox::{Outbox, OutboxFull};
use common::time::Time;
use common::user::{Secret, Stamp, Username};
use common::wire::Message;
use slotmap::SecondaryMap;

use super::config::Limits;
use super::feed::Cursor;
use super::peers::PeerId;
use super::refusals::Asked;
use super::secrets::Digest;

/// The table of links.
#[derive(Debug)]
pub(super) struct Links {
    table: SecondaryMap<LinkId, Link>,
    limits: Limits,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: IpAddr,
    pub(super) party: Party,
    /// It says no more, and is kept for what it is still to hear.
    pub(super) has_ended: bool,
    outbox: Outbox,
}

/// Who is at the other end.
#[derive(Debug)]
pub(super) enum Party {
    /// Somebody who has not logged in, and must until `deadline`.
    Stranger { deadline: Time, proven: Option<Proven> },
    /// A client whose secret is being verified, which must be done by `deadline`.
    Verifying { deadline: Time, purpose: Purpose },
    /// A client for whom a name is held: its registration, or its new secret, is under way.
    Holding,
    /// A client or a worker whose request waits until it is known who reigns, which must be by `deadline`.
    Parked { deadline: Time, message: Box<Message>, proven: Option<Proven> },
    /// Somebody who knows the network secret.
    Operator,
    /// A worker.
    Worker(Box<WorkerLink>),
    /// Another coordinator that was dialled and has not answered.
    Greeting(PeerId),
    /// Another coordinator.
    Peer(PeerId),
    /// A worker that was dialled to be asked whether it hears the main coordinator.
    Asked(ServerId),
}

impl Party {
    /// Whether it is a server, to which every message carries an epoch.
    pub(super) fn is_server(&self) -> bool {
        matches!(self, Party::Worker(_) | Party::Greeting(_) | Party::Peer(_) | Party::Asked(_))
    }
}

/// What a secret is verified for.
#[derive(Debug)]
pub(super) enum Purpose {
    LogIn,
    /// To register again what is registered; with the digest of the secret.
    Register(Digest),
    /// To have this secret instead.
    ChangeSecret(Secret),
}

impl Purpose {
    pub(super) fn asked(&self) -> Asked {
        match self {
            Purpose::LogIn => Asked::LogIn,
            Purpose::Register(_) => Asked::Register,
            Purpose::ChangeSecret(_) => Asked::ChangeSecret,
        }
    }
}

/// What is remembered of a client that has shown its secret and not logged in yet.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) username: Username,
    /// The last change of the user's record: what is remembered holds for no other.
    pub(super) changed: Stamp,
    pub(super) secret: Digest,
}

/// The connection of an authenticated worker.
#[derive(Debug)]
pub(super) struct WorkerLink {
    pub(super) id: ServerId,
    /// What of the users it has been told.
    pub(super) cursor: Cursor,
    /// It was told of several at once, and not yet that this was all.
    pub(super) owed_claim: bool,
}

/// Why a link has run out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Connected, and never logged in.
    NoLogin,
    /// It was not known in time who reigns.
    Parked,
    /// Its secret could not be verified in time.
    Unverified(Asked),
    /// It takes nothing of what waits for it.
    Stalled,
}

impl Links {
    pub(super) fn new(limits: Limits) -> Self {
        Links { table: SecondaryMap::new(), limits }
    }

    /// Takes in a new connection. Says `false`, and takes nothing, where there are as many as there may be.
    pub(super) fn insert(&mut self, now: Time, link: LinkId, peer: IpAddr) -> bool {
        if self.table.len() >= self.limits.connections {
            return false;
        }
        let party = Party::Stranger { deadline: now + self.limits.login_deadline, proven: None };
        let outbox = Outbox::new(self.limits.client_outbox_bytes);
        self.table.insert(link, Link { peer, party, has_ended: false, outbox });
        true
    }

    /// Takes in a connection that this coordinator has made itself.
    pub(super) fn dialled(&mut self, link: LinkId, party: Party) {
        debug_assert!(party.is_server());
        let (outbox, peer) =
            (Outbox::new(self.limits.server_outbox_bytes), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.table.insert(link, Link { peer, party, has_ended: false, outbox });
    }

    /// How many requests wait until it is known who reigns.
    pub(super) fn parked(&self) -> usize {
        self.table.values().filter(|link| matches!(link.party, Party::Parked { .. })).count()
    }

    /// Those whose request is kept, whoever waits longest first.
    pub(super) fn parked_in_order(&self) -> Vec<LinkId> {
        let parked = self.table.iter().filter_map(|(id, link)| match link.party {
            Party::Parked { deadline, .. } => Some((deadline, id)),
            _ => None,
        });
        let mut parked: Vec<_> = parked.collect();
        parked.sort_unstable();
        parked.into_iter().map(|(_, id)| id).collect()
    }

    pub(super) fn get(&self, link: LinkId) -> Option<&Link> {
        self.table.get(link)
    }

    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.table.get_mut(link)
    }

    /// The worker at the other end, where it is one.
    pub(super) fn worker_mut(&mut self, link: LinkId) -> Option<&mut WorkerLink> {
        match &mut self.table.get_mut(link)?.party {
            Party::Worker(worker) => Some(worker),
            _ => None,
        }
    }

    /// Forgets a link.
    pub(super) fn remove(&mut self, link: LinkId) -> Option<Link> {
        self.table.remove(link)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The links of which `wanted` holds.
    pub(super) fn which(&self, wanted: impl Fn(&Party) -> bool) -> Vec<LinkId> {
        self.table.iter().filter(|(_, link)| wanted(&link.party)).map(|(id, _)| id).collect()
    }

    /// Somebody has shown the network secret: more may wait for them than for a client.
    pub(super) fn promote(&mut self, link: LinkId, party: Party) {
        if let Some(link) = self.table.get_mut(link) {
            link.party = party;
            link.outbox.set_limit(self.limits.server_outbox_bytes);
        }
    }

    /// What waits for a link.
    pub(super) fn pending(&self, link: LinkId) -> &[u8] {
        self.table.get(link).map_or(&[], |link| link.outbox.pending())
    }

    /// The first `bytes` of what waited have left.
    pub(super) fn wrote(&mut self, now: Time, link: LinkId, bytes: usize) {
        if let Some(link) = self.table.get_mut(link) {
            link.outbox.wrote(now, bytes);
        }
    }

    /// The links that have run out of time.
    pub(super) fn overdue(&self, now: Time) -> Vec<(LinkId, Overdue)> {
        let overdue = |(id, link): (LinkId, &Link)| Some((id, link.overdue(now, &self.limits)?));
        self.table.iter().filter_map(overdue).collect()
    }

    pub(super) fn assert_bounds(&self) {
        assert!(self.table.len() <= self.limits.connections, "{} links", self.table.len());
        for link in self.table.values() {
            let limit = match &link.party {
                Party::Worker(worker) => {
                    worker.cursor.assert_bounds(self.limits.sync_users);
                    self.limits.server_outbox_bytes
                }
                Party::Operator | Party::Greeting(_) | Party::Peer(_) | Party::Asked(_) => {
                    self.limits.server_outbox_bytes
                }
                _ => self.limits.client_outbox_bytes,
            };
            assert!(link.outbox.len() <= limit, "{} bytes wait for one link", link.outbox.len());
        }
    }
}

impl Link {
    /// Queues a message; one for a server carries the epoch.
    pub(super) fn say(
        &mut self,
        now: Time,
        message: &Message,
        epoch: Option<&Epoch>,
    ) -> Result<(), OutboxFull> {
        let epoch = epoch.filter(|_| self.party.is_server());
        self.outbox.push_at(now, message, epoch)
    }

    /// Everything that waits, and the last words.
    pub(super) fn farewell(self, last: Option<&Message>, epoch: Option<&Epoch>) -> Vec<u8> {
        let server = self.party.is_server() || matches!(last, Some(Message::AuthenticationFail(_)));
        self.outbox.farewell_at(last, epoch.filter(|_| server))
    }

    /// Keeps a request.
    pub(super) fn park(&mut self, deadline: Time, message: Message) {
        let proven = match &mut self.party {
            Party::Stranger { proven, .. } => proven.take(),
            _ => None,
        };
        self.party = Party::Parked { deadline, message: Box::new(message), proven };
    }

    /// Gives back the request that was kept.
    pub(super) fn unpark(&mut self) -> Option<Message> {
        let Party::Parked { deadline, message, proven } = &mut self.party else { return None };
        let (deadline, proven) = (*deadline, proven.take());
        let message = std::mem::replace(&mut **message, Message::Logout(common::wire::Logout {}));
        self.party = Party::Stranger { deadline, proven };
        Some(message)
    }

    fn overdue(&self, now: Time, limits: &Limits) -> Option<Overdue> {
        if self.outbox.stalled_since().is_some_and(|since| now.since(since) >= limits.write_stall) {
            return Some(Overdue::Stalled);
        }
        match &self.party {
            Party::Stranger { deadline, .. } if *deadline <= now => Some(Overdue::NoLogin),
            Party::Parked { deadline, .. } if *deadline <= now => Some(Overdue::Parked),
            Party::Verifying { deadline, purpose } if *deadline <= now => {
                Some(Overdue::Unverified(purpose.asked()))
            }
            _ => None,
        }
    }
}
