//! Requests that wait for a takeover to be over.
//!
//! While nobody reigns, or the one who does is about to leave, a request is kept for a moment instead of being refused: when it is clear
//! who the main coordinator is, it is answered, or sent there. So a takeover costs clients and workers a pause and no failure.
//!
//! So does the repetition of a registration that has come from another server and is on its way to the backups, or that was only proposed
//! and is being adopted: where they are well, it is confirmed as one that they have.

use common::id::LinkId;
use common::wire::{AuthenticationFail, Message, Redirect, Register};

use super::refusals::{Asked, Refusal};
use super::reign::Reigning;
use super::{Coordinator, Turn};

/// Bytes of a request that is kept: more than any sensible one has.
const LONGEST: usize = 4 << 10;

/// What is done with a request now.
pub(super) enum Now {
    Answer,
    Park,
    Redirect,
}

impl Coordinator {
    /// What is to be done with a request that only the main coordinator answers.
    pub(super) fn disposition(&self, message: &Message) -> Now {
        match &self.reigning {
            // It reigns, say workers; that we do not hear it need not keep anybody else from it.
            Reigning::Seeking(_) if self.is_main_heard() && !matches!(message, Message::Authenticate(_)) => {
                Now::Redirect
            }
            Reigning::Seeking(_) => Now::Park,
            // One who may be gone is nobody to be sent to.
            Reigning::Backup(_) if self.main_is_quiet() => Now::Park,
            Reigning::Backup(_) => Now::Redirect,
            Reigning::Main(main) => {
                let homeless = matches!(message, Message::Login(_)) && !self.placement.is_open();
                let on_its_way =
                    matches!(message, Message::Register(register) if self.is_on_its_way(register));
                if main.handover.is_some() || (homeless && main.gathering.is_some()) || on_its_way {
                    Now::Park
                } else {
                    Now::Answer
                }
            }
        }
    }

    /// Whether the name is registered, and may be confirmed as soon as what was proposed is settled and every listed backup has all that
    /// is.
    fn is_on_its_way(&self, register: &Register) -> bool {
        self.something_is_unsettled()
            && self.may_change().is_ok()
            && register.username.parse().is_ok_and(|name| self.registry.get(&name).is_some())
    }

    /// What was on its way to the backups may have arrived: who waits for that is answered.
    pub(super) fn unpark_repetitions(&mut self, turn: &mut Turn<'_>) {
        if self.links.parked() > 0 && !self.something_is_unsettled() {
            self.unpark(turn);
        }
    }

    /// Whether workers hear the main coordinator, and not only have not noticed yet what this one has.
    pub(super) fn is_main_heard(&self) -> bool {
        let Reigning::Seeking(seeking) = &self.reigning else { return false };
        seeking.inquiry.heard().is_some()
            && self.attended.since(seeking.since) >= self.config.limits.pulse * 2
    }

    /// Sends a client or a worker to the main coordinator.
    pub(super) fn redirect(&mut self, turn: &mut Turn<'_>, link: LinkId, message: &Message) {
        match self.main_address() {
            Some(address) => self.dismiss(turn, link, Redirect { address, token: None }),
            None => self.refuse_request(turn, link, message, &Refusal::NoMain),
        }
    }

    /// Keeps a request until it is known who reigns.
    pub(super) fn park(&mut self, turn: &mut Turn<'_>, link: LinkId, message: Message) {
        let limits = &self.config.limits;
        let until = turn.now.time + limits.failure_timeout + limits.sync_timeout * 2;
        let too_many = self.links.parked() >= limits.parked;
        if too_many || self.draining || message.encode().len() > LONGEST {
            return self.refuse_request(turn, link, &message, &Refusal::NoMain);
        }
        if let Some(known) = self.links.get_mut(link) {
            known.park(until, message);
        }
    }

    /// It is known who reigns: whoever waited is answered, in the order in which they came.
    pub(super) fn unpark(&mut self, turn: &mut Turn<'_>) {
        for link in self.links.parked_in_order() {
            let message = self.links.get_mut(link).and_then(|known| known.unpark());
            if let Some(message) = message {
                self.hear_stranger(turn, link, message, None);
            }
        }
    }

    /// Says that a request cannot be answered now.
    pub(super) fn refuse_request(
        &mut self,
        turn: &mut Turn<'_>,
        link: LinkId,
        message: &Message,
        refusal: &Refusal,
    ) {
        let asked = match message {
            Message::Register(_) => Asked::Register,
            Message::ChangeSecret(_) => Asked::ChangeSecret,
            Message::RemoveUser(_) => Asked::RemoveUser,
            Message::ForgetCoordinator(_) => Asked::ForgetCoordinator,
            Message::Import(_) => Asked::Import,
            Message::Authenticate(_) => {
                let (info, retry_after) = (refusal.to_string(), Some(self.retry_after()));
                return self.dismiss(turn, link, AuthenticationFail { info, retry_after, taken: false });
            }
            _ => Asked::LogIn,
        };
        self.refuse(turn, link, asked, refusal);
    }
}
