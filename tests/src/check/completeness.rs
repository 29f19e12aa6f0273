//! While nothing is wrong, every activity that a worker takes reaches everybody who was logged in before and stays for a moment. What else
//! is promised to clients of ours, `delivery` looks at. And where nothing is wrong from beginning to end, workers take whatever is
//! published, what its sender published last before it logged out included.

use std::time::Duration;

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::Seen;
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;

/// How long an activity may take to reach everybody.
const DELIVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Completeness {
    calm: bool,
}

impl Completeness {
    pub(super) fn new(calm: bool) -> Self {
        Completeness { calm }
    }
}

impl Check for Completeness {
    fn observe(&mut self, _: &Scene<'_>, _: &Ledger, _: &Seen<Effect>, _: &mut Coverage) -> Verdict {
        Ok(())
    }

    fn finish(&mut self, scene: &Scene<'_>, ledger: &Ledger) -> Verdict {
        let untaken = ledger.expected.keys().find(|tag| !ledger.accepted.contains_key(tag));
        if let Some(tag) = untaken.filter(|_| self.calm) {
            return Err(format!("{tag:?} was published, and no worker ever took it"));
        }
        for (tag, accepted) in ledger.accepted.iter().filter(|(_, accepted)| scene.healthy_at(accepted.at)) {
            let until = accepted.at + DELIVERY;
            for (conn, session) in &ledger.sessions {
                let stayed = session.ended.unwrap_or(scene.now) > until;
                let due =
                    session.since < accepted.at && stayed && scene.role(session.client).is_honest_client();
                let handed = ledger.handed(session.client, tag);
                let received =
                    handed || ledger.received.get(conn).is_some_and(|received| received.contains(tag));
                if due && !received {
                    let client = scene.name(session.client);
                    return Err(format!(
                        "{client} never got {tag:?}, taken at {}, over {conn:?}",
                        accepted.at
                    ));
                }
            }
        }
        Ok(())
    }
}
