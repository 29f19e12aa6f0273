//! Whether to follow somebody, to wait for somebody, or to take over.
//!
//! A coordinator that seeks asks this after everything that happens. It never waits without an end: for one that can be heard as long as it
//! is heard, for one that cannot for the failure time-out; for longer where this one has taken over from silent ones of late, so that a
//! link that comes and goes does not take the reign along each time.

use std::cmp::Reverse;
use std::time::Duration;

use common::id::ServerId;
use common::time::Time;
use common::wire::Role;

use super::handover;
use super::peers::{Peer, PeerId, Up};
use super::reign::{Reigning, Seeking, Why};
use super::{Coordinator, Turn};

/// Takeovers longer ago than this do not count.
const OF_LATE: Duration = Duration::from_secs(300);

/// So many of them are nothing out of the ordinary.
const ORDINARY: usize = 1;

/// By how much more patience may grow: the failure time-out times two to the power of this.
const PATIENT: usize = 2;

impl Coordinator {
    /// Whether there is a main coordinator, and who it is: follows it, waits, or takes over.
    pub(super) fn decide(&mut self, turn: &mut Turn<'_>) {
        let Reigning::Seeking(seeking) = &self.reigning else { return };
        if seeking.rising.is_some() || self.draining {
            return;
        }
        // The one that hands over still reigns, and is not followed while it waits for that.
        let promoted =
            seeking.lost.why == Why::HandedOver && turn.now.time.since(seeking.since) < handover::PATIENCE;
        if let Some(main) = self.main_to_follow().filter(|_| !promoted) {
            return self.follow(turn, main);
        }
        let (waits, mut next) = self.waits_for_coordinators(turn.now.time);
        let doubted = self.doubted_until(turn.now.time);
        next = [next, doubted].into_iter().flatten().min();
        let waits = waits
            || doubted.is_some()
            || (!self.is_loss_certain() && {
                let (asking, until) = self.inquire(turn);
                next = [next, until].into_iter().flatten().min();
                asking
            });
        if waits || self.leaving.is_some() {
            if let Reigning::Seeking(seeking) = &mut self.reigning {
                seeking.next = next;
            }
        } else {
            self.rise(turn);
        }
    }

    fn is_loss_certain(&self) -> bool {
        matches!(&self.reigning, Reigning::Seeking(seeking) if seeking.lost.is_certain())
    }

    /// The main coordinator of the highest epoch, where a link to it stands and it may be followed.
    fn main_to_follow(&self) -> Option<PeerId> {
        let may_follow = |up: &Up| {
            up.is_main()
                && up.epoch.as_ref() >= self.epoch.as_ref()
                && (self.registry.is_blank() || !up.is_blank())
        };
        let mains = self.peers.up().filter(|(_, _, up)| may_follow(up));
        mains.max_by_key(|(_, _, up)| up.epoch.clone()).map(|(number, ..)| number)
    }

    /// Whether some other coordinator is to be waited for, and when to look again.
    fn waits_for_coordinators(&self, now: Time) -> (bool, Option<Time>) {
        let Reigning::Seeking(seeking) = &self.reigning else { return (false, None) };
        let patience = self.patience(now);
        if seeking.lost.why == Why::HandedOver {
            return (false, None);
        }
        let (mut waits, mut next) = (false, None);
        for (_, peer) in self.peers.iter() {
            let (waits_for_it, until) = match peer.up() {
                Some(up) => self.waits_for_linked(seeking, peer, up),
                None => (false, self.waits_for_missing(seeking, peer, patience)),
            };
            let until = until.filter(|until| *until > now);
            waits |= waits_for_it || until.is_some();
            next = [next, until].into_iter().flatten().min();
        }
        (waits, next)
    }

    /// Whether a coordinator that can be heard is to be waited for, or until when.
    fn waits_for_linked(&self, seeking: &Seeking, peer: &Peer, up: &Up) -> (bool, Option<Time>) {
        let acceptable = self.registry.is_blank() || !up.is_blank();
        if acceptable && self.gave_way_to(seeking, peer) {
            return (false, Some(seeking.since + self.config.limits.failure_timeout));
        }
        let hears_a_main = up.standing.role == Role::Backup && !seeking.lost.is_certain();
        (hears_a_main || (!up.is_main() && self.has_better_claim(up, peer.id.as_ref())), None)
    }

    /// How long one that is silent is waited for: twice as long for every time beyond the ordinary that this process has taken over from a
    /// silent one of late. (Route flap damping, RFC 2439, holds unstable routes back by the same reasoning.)
    fn patience(&self, now: Time) -> Duration {
        let of_late = self.took_over_in_silence.iter().filter(|at| now.since(**at) < OF_LATE).count();
        self.config.limits.failure_timeout * (1 << of_late.saturating_sub(ORDINARY).min(PATIENT))
    }

    /// This one takes over from one that is silent.
    pub(super) fn note_takeover_in_silence(&mut self, now: Time) {
        self.took_over_in_silence.retain(|at| now.since(*at) < OF_LATE);
        self.took_over_in_silence.push(now);
    }

    /// Until when a coordinator without a link is to be waited for.
    fn waits_for_missing(&self, seeking: &Seeking, peer: &Peer, patience: Duration) -> Option<Time> {
        let mine = self.ranks.iter().position(|id| *id == self.config.id);
        let before_me = &self.ranks[..mine.unwrap_or(self.ranks.len())];
        let is_before_me = peer.id.as_ref().is_some_and(|id| before_me.contains(id));
        let gone = peer.crashed || peer.hostile || (seeking.lost.is_certain() && !is_before_me);
        let since = match peer.heard {
            Some(heard) if !self.gave_way_to(seeking, peer) => heard,
            _ => seeking.since,
        };
        (!gone).then(|| since + patience)
    }

    /// Whether this is whose epoch made this coordinator give way: it is to have it.
    fn gave_way_to(&self, seeking: &Seeking, peer: &Peer) -> bool {
        let reigns = self.epoch.as_ref().map(|epoch| &epoch.coordinator);
        seeking.lost.why == Why::SteppedDown && peer.id.as_ref() == reigns
    }

    /// Whether the coordinator at the other end is to take over rather than this one.
    fn has_better_claim(&self, up: &Up, id: Option<&ServerId>) -> bool {
        let theirs = (up.is_blank(), Reverse(up.epoch.as_ref()), up.standing.rank.unwrap_or(u64::MAX), id);
        let rank = self.standing().rank.unwrap_or(u64::MAX);
        let ours = (self.registry.is_blank(), Reverse(self.epoch.as_ref()), rank, Some(&self.config.id));
        theirs < ours
    }
}
