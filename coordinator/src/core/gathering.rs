//! The first moments of a reign, and of a merge: who may know users that this main coordinator does not know?
//!
//! Backups that hold more, workers that outlived the coordinator which told them, the other side of a cut: as long as they are on their
//! way, and for the sync time-out at the most, nothing is proposed, and nobody is refused for good.

use common::id::ServerId;
use common::users::Seen;

use super::refusals::Refusal;
use super::reign::Reigning;
use super::writing::{Then, Write};
use super::{Coordinator, Turn};

impl Coordinator {
    /// Whether all who may know more than we do are here.
    pub(super) fn has_gathered(&self) -> bool {
        let Reigning::Main(main) = &self.reigning else { return false };
        let in_step = |id: &Option<ServerId>| id.as_ref().is_some_and(|id| self.standbys.is_listed(id));
        self.peers.up().all(|(_, peer, _)| in_step(&peer.id))
            && main.expected.iter().all(|id| self.placement.is_connected(id))
    }

    /// Whether enough members have been heard for anything to be promised (`--require-backups`).
    pub(super) fn has_merged_enough(&self) -> bool {
        let Reigning::Main(main) = &self.reigning else { return false };
        let needed = self.config.require_backups;
        needed == 0 || main.merged.len() + needed >= self.group.members.len()
    }

    /// Whoever waits is told so where backups are missing, or the group has grown by members that have not been heard.
    pub(super) fn deny_without_enough(&mut self, turn: &mut Turn<'_>) {
        if !self.has_merged_enough() || self.standbys.are_too_few() {
            self.deny_waiting(turn, &Refusal::TooFewBackups(self.config.require_backups));
        }
    }

    /// Whether there may be users of whom this main coordinator is about to hear.
    pub(super) fn is_incomplete(&self) -> bool {
        matches!(&self.reigning, Reigning::Main(main) if main.gathering.is_some() || main.merging.is_some())
    }

    /// A worker says how much of the users it knows: more than we do is waited for.
    pub(super) fn expect_from_worker(&mut self, turn: &Turn<'_>, seen: &Seen) {
        let until = turn.now.time + self.config.limits.sync_timeout;
        let Reigning::Main(main) = &mut self.reigning else { return };
        if !self.registry.seen().joined_with(&main.claimed.certain).covers_all(seen) {
            main.known_to_workers.merge(seen);
            main.merging = Some(until);
        }
    }

    /// Ends the time of merging, where it is over.
    pub(super) fn end_merging(&mut self, turn: &mut Turn<'_>) {
        let Reigning::Main(main) = &mut self.reigning else { return };
        let known = self.registry.seen().joined_with(&main.claimed.certain);
        let over = self.standbys.have_uploaded() && known.covers_all(&main.known_to_workers);
        if main.merging.is_some_and(|until| until <= turn.now.time || over) {
            main.merging = None;
            self.propose_next(turn);
        }
    }

    /// Believes what was claimed, once all is adopted that it may not include.
    pub(super) fn believe_claimed(&mut self, turn: &mut Turn<'_>) {
        let Reigning::Main(main) = &mut self.reigning else { return };
        main.unadopted.retain(|entry| self.registry.is_latest(entry));
        if main.unadopted.is_empty() && !main.claimed.is_empty() {
            let claim = std::mem::take(&mut main.claimed);
            self.write(turn, Write { claim, ..Write::nothing(Then::Nothing) });
        }
    }

    /// Ends the time of gathering, where it is over.
    pub(super) fn end_gathering(&mut self, turn: &mut Turn<'_>) {
        let over = self.has_gathered() && self.placement.is_open();
        let Reigning::Main(main) = &mut self.reigning else { return };
        if main.gathering.is_some_and(|until| until <= turn.now.time || over) {
            main.gathering = None;
            self.unpark(turn);
            self.propose_next(turn);
        }
    }
}
