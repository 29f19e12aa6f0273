//! What a worker shows of itself to whoever runs it: figures, and a check of its bounds.

use common::id::{ActivityId, Incarnation, Seq, ServerId};
use common::position::Position;
use common::session::SessionId;
use common::wire::{ActivityBroadcast, Message};

use super::retrieving::QUESTIONS;
use super::{Config, Counters, Link, Worker};

impl Worker {
    /// Clients that are logged in.
    pub fn load(&self) -> u64 {
        self.load
    }

    /// Whether a coordinator has let us in and the link stands.
    pub fn upstream(&self) -> bool {
        self.upstream.is_established()
    }

    /// The workers to which an established link stands.
    pub fn neighbours(&self) -> Vec<ServerId> {
        self.neighbours.established_ids()
    }

    /// Its name.
    pub fn id(&self) -> &ServerId {
        &self.config.id
    }

    /// Which start of it this is.
    pub fn incarnation(&self) -> Incarnation {
        self.config.incarnation
    }

    /// The id in the flood that it gives to what it takes from a client next.
    pub fn next_id(&self) -> ActivityId {
        let Config { id: origin, incarnation, .. } = &self.config;
        ActivityId { origin: origin.clone(), incarnation: *incarnation, seq: self.flood.next_seq() }
    }

    /// What has come early and waits for its turn.
    pub fn awaits_its_turn(&self) -> Position {
        self.ordering.waiting()
    }

    /// The activities that its log holds, by their ids in the flood.
    pub fn holds(&self) -> &Position {
        self.log.holds()
    }

    /// Those of them that are in memory.
    pub fn holds_in_memory(&self) -> Position {
        self.log.in_memory()
    }

    /// The activities that it has taken in, by their ids in the flood: those that its log held, and those that wait for their turn.
    pub fn seen(&self) -> &Position {
        self.flood.seen()
    }

    /// What it knows to have been published, has not got, and has not given up.
    pub fn missing(&self) -> Position {
        self.flood.missing()
    }

    /// The activities that its log holds, by their sessions and their numbers there, in the order of the log.
    pub fn held(&self) -> impl Iterator<Item = (SessionId, Seq)> {
        self.broadcasts().filter_map(|broadcast| Some((broadcast.session?, broadcast.activity_seq?)))
    }

    /// What it has gone on without, as far as its log says so: of which session, from which number, and before which.
    pub fn went_on_without(&self) -> impl Iterator<Item = (SessionId, Seq, Seq)> {
        self.broadcasts().filter_map(|broadcast| {
            Some((broadcast.session?, broadcast.missing_from?, broadcast.activity_seq?))
        })
    }

    /// What its log holds.
    fn broadcasts(&self) -> impl Iterator<Item = ActivityBroadcast> {
        let nothing = Position::default();
        let frames: Vec<Vec<u8>> =
            self.log.missing(&nothing, self.log.start()).map(|frame| frame.bytes.to_vec()).collect();
        frames.into_iter().filter_map(|frame| match Message::decode(frame.trim_ascii_end()) {
            Ok(Message::ActivityBroadcast(broadcast)) => Some(broadcast),
            _ => None,
        })
    }

    /// Whether it is asking others for what it missed before it takes clients.
    pub fn recovers(&self) -> bool {
        self.is_recovering()
    }

    /// What was dropped so far.
    pub fn dropped(&self) -> Counters {
        Counters { gaps: self.ordering.gaps(), ..self.counters }
    }

    /// Asserts that every queue and table is within its limit, and that the load is true.
    ///
    /// # Panics
    /// When one is not.
    pub fn assert_bounds(&self) {
        let limits = &self.config.limits;
        let mut logged_in = 0;
        for link in self.links.values() {
            if let Link::Client(session) = link {
                session.assert_bounds(limits.client_outbox_bytes);
                logged_in += u64::from(session.is_logged_in());
            }
        }
        assert_eq!(self.load, logged_in, "the load is the number of logged-in sessions");
        assert!(self.clients() <= limits.connections, "{} connections", self.clients());
        assert!(self.asking() <= limits.queries, "{} log-ins wait for an answer", self.asking());
        assert!(
            self.registrations.len() <= limits.under_registration,
            "{} names are held",
            self.registrations.len()
        );
        assert!(self.questions.len() <= QUESTIONS, "{} questions wait for the disk", self.questions.len());
        self.log.assert_bounds();
        self.flood.assert_bounds();
        self.ordering.assert_bounds();
        self.doubles.assert_bounds();
        self.deliveries.assert_bounds();
        self.reports.assert_bounds();
        let own = usize::try_from(self.load).expect("they are connections");
        self.presence.assert_bounds(own);
        self.neighbours.assert_bounds();
        self.upstream.assert_bounds();
    }
}
