//! Two coordinators of one id, as after a data directory was copied.
//!
//! Epochs and stamps bear the id of whoever wrote them, so of two that share one only one may act. A coordinator that is linked with the
//! one refuses the other, whoever dialled (BACKUP_AUTHENTICATION_FAIL with `retry_after`). It may be the same one, started again before the
//! end of its predecessor was noticed: then that link is given up within the failure time-out, and it gets in. Otherwise it ends.
//!
//! **Invariants.** A coordinator that was refused so does not reign before whoever refused it has let it in, or has been silent for long.
//! The epoch that it showed counts all the same: it may have reigned since the link to its predecessor fell silent.
//!
//! What is *not* here: two of one id that nobody else reaches both of. They cannot know of each other.

use std::time::Duration;

use common::id::{Incarnation, LinkId, ServerId};
use common::machine::Action;
use common::time::Time;
use common::wire::BackupAuthenticationFail;
use tracing::{debug, warn};

use super::peers::PeerId;
use super::{Coordinator, Turn};

/// How long a coordinator goes on that is refused because of its twin, and how long such a refusal holds. A link that a former start of
/// this coordinator left behind is given up much sooner.
const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody is linked with another coordinator of our id.
#[derive(Debug)]
pub(super) struct Doubt {
    /// Who has said so last.
    by: PeerId,
    since: Time,
    /// When that was.
    latest: Time,
}

impl Doubt {
    fn until(&self) -> Time {
        self.latest + PATIENCE
    }
}

impl Coordinator {
    /// What is said to a coordinator while another one of its id is linked with us.
    pub(super) fn objection_to_twin(
        &self,
        id: &ServerId,
        incarnation: Incarnation,
    ) -> Option<BackupAuthenticationFail> {
        let is_twin = |up: &super::peers::Up| up.incarnation != incarnation;
        let (_, twin, _) =
            self.peers.up().find(|(_, peer, up)| peer.id.as_ref() == Some(id) && is_twin(up))?;
        let info = format!(
            "a coordinator called {id} lives already, at {}: if this one has a copy of its data directory, give it an empty one, \
             and it will hear from the others what it has to know",
            twin.address
        );
        let retry_after = Some(self.config.limits.pulse.into());
        Some(BackupAuthenticationFail {
            info,
            retry_after,
            id: Some(self.config.id.clone()),
            network: self.standing().network,
        })
    }

    /// Another coordinator is linked with one of our id.
    pub(super) fn refused_as_twin(
        &mut self,
        turn: &mut Turn<'_>,
        link: LinkId,
        number: PeerId,
        info: &str,
        retry_after: Duration,
    ) {
        let now = turn.now.time;
        let pause = retry_after.min(self.config.limits.redial.1);
        let coordinator = self.peers.name(number);
        self.close(turn, link, None);
        self.peers.rest(now, number, pause);
        let before = self.doubt.as_ref().filter(|doubt| now < doubt.until());
        let since = before.map_or(now, |doubt| doubt.since);
        if before.is_none() {
            warn!(coordinator, info, "a coordinator refused this one");
        } else {
            debug!(coordinator, info, "a coordinator refused this one again");
        }
        self.doubt = Some(Doubt { by: number, since, latest: now });
        if now.since(since) >= PATIENCE {
            let address = self.address_of(number);
            return self.fail(turn, format!("the coordinator at {address} refused this one: {info}"));
        }
        if self.is_main() {
            self.step_down(turn);
        }
    }

    /// Until when this coordinator must not reign, where another one of its id may live.
    pub(super) fn doubted_until(&self, now: Time) -> Option<Time> {
        self.doubt.as_ref().map(Doubt::until).filter(|until| now < *until)
    }

    /// The other side speaks to us as to one of the group.
    pub(super) fn let_in(&mut self, number: PeerId) {
        self.doubt.take_if(|doubt| doubt.by == number);
    }

    /// Ends this process, for a reason that is for its operator. Nothing is done any more.
    pub(super) fn fail(&mut self, turn: &mut Turn<'_>, reason: String) {
        self.ended = true;
        turn.actions.push(Action::Exit(Err(reason)));
    }
}
