//! No activity is invented or altered: each one that a client receives was taken by a worker from a client that published it, and is what
//! that client wrote, byte for byte, with the name it logged in with as its only `authenticated_user`.

use common::wire::Message;

use super::{Check, Ledger, Scene, Tag, Verdict};
use crate::sim::Seen;
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;

#[derive(Debug)]
pub(super) struct Authentic;

impl Check for Authentic {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        _: &mut Coverage,
    ) -> Verdict {
        let Seen::Received { at, message: Message::ActivityBroadcast(broadcast), .. } = seen else {
            return Ok(());
        };
        let at_client = !scene.role(*at).is_server();
        let (at, text) = (scene.name(*at), broadcast.activity.get());
        let Some(tag) = Tag::of(&broadcast.activity) else {
            return if at_client { Err(format!("{at} got what nobody published: {text}")) } else { Ok(()) };
        };
        if !ledger.accepted.contains_key(&tag) {
            return Err(format!("{at} got {tag:?}, which no worker has taken from its sender"));
        }
        match ledger.expected.get(&tag) {
            Some(expected) if expected == text => Ok(()),
            Some(expected) => Err(format!("{at} got {text} where {expected} was to be expected")),
            None => Err(format!("{at} got {tag:?}, which nobody published")),
        }
    }
}
