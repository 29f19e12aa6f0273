//! Which reign it is: the highest epoch that this worker has heard of, which it says in every message to a server, so that a coordinator
//! that was cut off or stopped learns from its workers that another one reigns.
//!
//! **Invariant.** It only rises while the network is the same, and on the word alone of servers that have shown the network secret, or that
//! were dialled and took ours. ACTIVITY_BROADCAST does not carry it: an activity is encoded once for clients and workers alike.

use common::epoch::Epoch;
use common::time::Now;
use common::wire::{AuthenticationFail, Message};

use super::{Actions, Worker};

impl Worker {
    /// A server has seen this epoch. Where it is higher than ours, coordinator and neighbours hear of it at the end of the event.
    pub(super) fn hear_epoch(&mut self, epoch: Option<&Epoch>) {
        if epoch > self.epoch.as_ref() {
            self.epoch = epoch.cloned();
            self.epoch_is_news = true;
        }
    }

    /// Why an epoch that a server shows is not believed.
    pub(super) fn absurdity(&self, epoch: Option<&Epoch>) -> Option<String> {
        let absurdity = epoch?.absurdity(self.epoch.as_ref())?;
        tracing::warn!("a server was refused: {absurdity}");
        Some(absurdity)
    }

    /// What is said to a coordinator that speaks in this epoch, where a higher one has begun: the answer carries that.
    pub(super) fn objection(&self, epoch: Option<&Epoch>) -> Option<AuthenticationFail> {
        let (theirs, ours) = (epoch?, self.epoch.as_ref()?);
        let info = format!("the epoch {theirs} is over: {} reigns since {ours}", ours.coordinator);
        (theirs < ours).then_some(AuthenticationFail { info, retry_after: None, taken: false })
    }

    /// Passes on that a higher epoch has begun, if it has during this event.
    pub(super) fn spread_epoch(&mut self, now: Now, out: &mut Actions) {
        if std::mem::take(&mut self.epoch_is_news) {
            tracing::info!(epoch = self.epoch.as_ref().map(Epoch::to_string), "a new epoch");
            self.tell_load(now, out);
            self.announce(now, out);
        }
    }

    /// A message for a server.
    pub(super) fn encode(&self, message: impl Into<Message>) -> Vec<u8> {
        let mut frame = Vec::new();
        message.into().encode_at(self.epoch.as_ref(), &mut frame);
        frame
    }
}
