//! FORGET_COORDINATOR: a member of the group that will not come back.
//!
//! The group shrinks by command alone: a member that is merely away may hold what nobody else does, and with `--require-backups` a new
//! main coordinator waits for it.

use common::id::{LinkId, ServerId};
use common::wire::{ForgetCoordinator, ForgetCoordinatorSuccess};
use tracing::info;

use super::links::Party;
use super::refusals::{Asked, Refusal};
use super::writing::{Then, Write};
use super::{Coordinator, Turn};

impl Coordinator {
    pub(super) fn forget_coordinator(
        &mut self,
        turn: &mut Turn<'_>,
        link: LinkId,
        request: &ForgetCoordinator,
    ) {
        self.links.promote(link, Party::Operator);
        let id = &request.id;
        let up = self.peers.named(id).is_some_and(|(_, peer)| peer.up().is_some());
        let objection = match () {
            () if *id == self.config.id => Some(format!("{id} is the main coordinator")),
            () if up => Some(format!("{id} is connected: stop it first")),
            () if !self.group.members.iter().any(|member| member.id == *id) => {
                Some(format!("{id} is no member of this group"))
            }
            () => None,
        };
        if self.writing.is_failing() {
            return self.refuse(turn, link, Asked::ForgetCoordinator, &Refusal::NotStored);
        }
        if let Some(objection) = objection {
            return self.refuse(turn, link, Asked::ForgetCoordinator, &Refusal::Unacceptable(objection));
        }
        info!(coordinator = %id, "forgotten");
        self.group.forget(id);
        self.forget_peers(turn, std::slice::from_ref(id));
        self.standbys.delist(id);
        let group = Some(self.group.clone());
        self.tell_group(turn);
        self.tell_list(turn);
        self.write(turn, Write { group, ..Write::nothing(Then::Forgotten { link, id: id.clone() }) });
    }

    /// A member is forgotten on our disk too.
    pub(super) fn forgotten(&mut self, turn: &mut Turn<'_>, link: LinkId, id: &ServerId) {
        if !self.is_main() {
            return self.refuse(turn, link, Asked::ForgetCoordinator, &Refusal::SteppedDown);
        }
        let info = format!("{id} is no member of this group any more; should it come back, it joins anew");
        self.say(turn, link, ForgetCoordinatorSuccess { info });
    }

    /// Nobody dials a coordinator any more that was forgotten, unless it is there.
    pub(super) fn forget_peers(&mut self, turn: &mut Turn<'_>, forgotten: &[ServerId]) {
        for id in forgotten {
            let gone = self.peers.named(id).filter(|(_, peer)| peer.up().is_none() && !peer.configured);
            if let Some(number) = gone.map(|(number, _)| number) {
                for link in
                    self.links.which(|party| matches!(party, Party::Greeting(other) if *other == number))
                {
                    self.close(turn, link, None);
                }
                self.peers.remove(number);
            }
        }
    }
}
