//! Leaving: with a backup that takes over first, or without.
//!
//! A main coordinator that is told to stop finishes what is under way, keeps new requests waiting, and has the first backup take over.
//! When that one reigns, whoever waits is sent there, and this process ends. Without a backup in step there is nobody to wait for.
//!
//! One whose disk takes nothing hands over in the same way, and stays: as a backup that is not listed before its disk takes everything
//! again.

use std::time::Duration;

use common::id::ServerId;
use common::machine::Action;
use common::time::Time;
use common::wire::Promote;
use tracing::{info, warn};

use super::links::Party;
use super::refusals::Refusal;
use super::reign::Reigning;
use super::{Coordinator, Turn};

/// How long a handover may take as a whole.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// How long what is under way may take before the backup is told.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// How long one whose backup did not take over waits before it asks for that again.
const PAUSE: Duration = Duration::from_secs(30);

/// A handover under way.
#[derive(Debug)]
pub(super) struct Handover {
    since: Time,
    promoted: Option<ServerId>,
    /// Whether this process ends when somebody else reigns; else it is a backup then.
    pub(super) leaves: bool,
}

impl Handover {
    /// When to look again.
    pub(super) fn deadline(&self, now: Time) -> Time {
        [self.since + UNDER_WAY, self.since + PATIENCE].into_iter().find(|at| *at > now).unwrap_or(now)
    }
}

impl Coordinator {
    /// This process is told to stop.
    pub(super) fn leave(&mut self, turn: &mut Turn<'_>) {
        if self.draining || self.leaving.is_some() {
            return;
        }
        let listed = self.standbys.listed().len();
        match &mut self.reigning {
            Reigning::Main(main) if main.handover.is_some() || listed > 0 => {
                info!("shutting down; a backup takes over first");
                let begun = Handover { since: turn.now.time, promoted: None, leaves: true };
                main.handover.get_or_insert(begun).leaves = true;
                self.hand_over(turn);
            }
            Reigning::Main(_) if self.group.members.len() > 1 => {
                warn!(
                    "shutting down without a backup in step: until a coordinator starts, nobody registers or logs in"
                );
                self.drain(turn);
            }
            _ => self.drain(turn),
        }
    }

    /// The disk has failed again: a backup in step is to reign, whose disk takes what it is told.
    pub(super) fn hand_over_for_want_of_a_disk(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.time;
        let listed = !self.standbys.listed().is_empty();
        let Reigning::Main(main) = &mut self.reigning else { return };
        let paused = main.handed_over_in_vain.is_some_and(|since| now.since(since) < PAUSE);
        if listed && main.handover.is_none() && !paused && !self.draining {
            warn!("a backup is to take over, because the disk takes nothing");
            main.handover = Some(Handover { since: now, promoted: None, leaves: false });
            self.hand_over(turn);
        }
    }

    /// No backup takes over.
    fn abandon_handover(&mut self, turn: &mut Turn<'_>) {
        let Reigning::Main(main) = &mut self.reigning else { return };
        if main.handover.take().is_some_and(|handover| handover.leaves) {
            warn!("shutting down, although no backup has taken over");
            return self.drain(turn);
        }
        warn!("no backup has taken over: this stays the main coordinator");
        main.handed_over_in_vain = Some(turn.now.time);
        self.unpark(turn);
    }

    /// Goes on with a handover.
    pub(super) fn hand_over(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.time;
        let too_late = self.leaving.is_some_and(|until| until <= now);
        if self.draining {
            return self.end(turn, too_late);
        }
        if too_late {
            warn!("shutting down, although no backup has taken over");
            return self.drain(turn);
        }
        let Reigning::Main(main) = &self.reigning else { return };
        let Some(handover) = &main.handover else { return };
        let Some(first) = self.standbys.listed().first().cloned() else { return self.abandon_handover(turn) };
        if now.since(handover.since) >= PATIENCE {
            return self.abandon_handover(turn);
        }
        let busy = self.registry.has_holds()
            || !self.links.which(|party| matches!(party, Party::Verifying { .. })).is_empty();
        if handover.promoted.as_ref() == Some(&first) || (busy && now.since(handover.since) < UNDER_WAY) {
            return;
        }
        let Some(link) = self.standbys.named(&first).map(|standby| standby.link) else { return };
        info!(backup = %first, "handing over");
        self.say(turn, link, Promote {});
        if let Reigning::Main(main) = &mut self.reigning
            && let Some(handover) = &mut main.handover
        {
            handover.promoted = Some(first);
        }
    }

    /// Stops accepting, says goodbye to everybody but those who wait for what is under way and the workers that must hear of it, and
    /// ends when it is done.
    pub(super) fn drain(&mut self, turn: &mut Turn<'_>) {
        if self.draining {
            return;
        }
        info!("shutting down");
        self.draining = true;
        self.leaving = Some(turn.now.time + PATIENCE);
        turn.actions.push(Action::StopAccepting);
        self.release_unhashed(turn);
        for link in self.links.which(|party| !party.is_server()) {
            match self.links.get(link).map(|known| &known.party) {
                Some(Party::Verifying { purpose, .. }) => {
                    let asked = purpose.asked();
                    self.refuse(turn, link, asked, &Refusal::Draining);
                }
                Some(Party::Parked { message, .. }) => {
                    let message = message.as_ref().clone();
                    self.refuse_request(turn, link, &message, &Refusal::Draining);
                }
                _ if self.registry.is_asked_by(link) => {}
                _ => self.close(turn, link, None),
            }
        }
        self.finish_drain(turn);
    }

    /// Ends, where this process is draining and nothing is under way.
    pub(super) fn finish_drain(&mut self, turn: &mut Turn<'_>) {
        self.end(turn, false);
    }

    fn end(&mut self, turn: &mut Turn<'_>, too_late: bool) {
        // What waits for backups is left to whoever reigns next.
        let busy = self.registry.is_busy() && !self.standbys.are_too_few();
        let done = self.writing.is_failing() || (self.writing.is_idle() && !busy);
        if !self.draining || self.ended || !(done || too_late) {
            return;
        }
        if !done {
            warn!("shutting down, although not everything that was asked for could be done");
        }
        self.ended = true;
        for link in self.links.which(|_| true) {
            self.close(turn, link, None);
        }
        turn.actions.push(Action::Exit(Ok(())));
    }
}
