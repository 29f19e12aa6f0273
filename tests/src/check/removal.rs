//! Nothing older is ever written over something newer: a removed user never comes back. And a new secret that was acknowledged holds,
//! unless another one was wanted later.

use std::collections::BTreeMap;
use std::time::Duration;

use common::time::Time;
use common::user::{Secret, Username};
use common::wire::Message;
use coordinator::core::Effect as OfCoordinator;

use super::ledger::Request;
use super::{Check, Ledger, Scene, Verdict};
use crate::sim::Seen;
use crate::sim::coverage::Coverage;
use crate::sim::disk::matches;
use crate::sim::node::Effect;

#[derive(Debug)]
pub(super) struct Removal {
    /// How far apart two changes are of which the coordinators' clocks tell which was the later, where they were made apart; none where
    /// they tell nothing.
    clocks_apart: Option<Duration>,
    /// The secrets that were wanted for each account, and when first and last.
    wanted: BTreeMap<Username, Vec<Wanted>>,
}

#[derive(Debug)]
struct Wanted {
    secret: Secret,
    first: Time,
    last: Time,
    acknowledged: bool,
}

impl Removal {
    pub(super) fn new(clocks_apart: Option<Duration>) -> Self {
        Removal { clocks_apart, wanted: BTreeMap::new() }
    }

    fn wants(&mut self, name: Username, secret: &Secret, now: Time) -> &mut Wanted {
        let wanted = self.wanted.entry(name).or_default();
        let at = wanted.iter().position(|wanted| wanted.secret == *secret).unwrap_or_else(|| {
            wanted.push(Wanted { secret: secret.clone(), first: now, last: now, acknowledged: false });
            wanted.len() - 1
        });
        wanted[at].last = now;
        &mut wanted[at]
    }
}

impl Check for Removal {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        match seen {
            Seen::Effect { at, effect: Effect::Coordinator(OfCoordinator::Persist { change, .. }) } => {
                for (name, record) in &change.users {
                    let stored = scene.disks.of(*at).registration(name, &record.registration);
                    let me = scene.cast.server_id(*at);
                    let written_by_me =
                        record.written.as_ref().is_some_and(|written| written.coordinator == me);
                    let again = written_by_me && stored.is_none_or(|stored| stored.written != record.written);
                    coverage.add("proposals adopted", u64::from(again));
                    if stored.is_some_and(|stored| stored.is_removed()) && !record.is_removed() {
                        return Err(format!("{} brings back {name}, which was removed", scene.name(*at)));
                    }
                    if stored.is_some_and(|stored| stored.supersedes(record)) {
                        return Err(format!(
                            "{} writes an older record of {name} over a newer one",
                            scene.name(*at)
                        ));
                    }
                }
            }
            Seen::Received { at, message, .. } if scene.role(*at).is_server() => match message {
                Message::Register(register) => {
                    if let Ok(name) = register.username.parse() {
                        self.wants(name, &register.secret, scene.now);
                    }
                }
                Message::ChangeSecret(change) => {
                    if let Ok(name) = change.username.parse() {
                        self.wants(name, &change.new_secret, scene.now);
                    }
                }
                _ => {}
            },
            Seen::Said { conn, message: Message::ChangeSecretSuccess(_), .. } => {
                coverage.add("secrets changed", 1);
                if let Some(Request::Change(change)) = ledger.requests.get(conn)
                    && let Ok(name) = change.username.parse()
                {
                    let last = self.wants(name, &change.new_secret, scene.now);
                    last.acknowledged = true;
                }
            }
            Seen::Said { message: Message::RemoveUserSuccess(_), .. } => coverage.add("users removed", 1),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, scene: &Scene<'_>, _: &Ledger) -> Verdict {
        let Some(apart) = self.clocks_apart else { return Ok(()) };
        for (name, wanted) in &self.wanted {
            let Some(acknowledged) =
                wanted.iter().filter(|wanted| wanted.acknowledged).max_by_key(|wanted| wanted.first)
            else {
                continue;
            };
            for (id, disk) in scene.disks.iter() {
                // Where the name has two registrations, the earlier one has the name, and whatever secret it had.
                let registrations = disk.users().registrations(name);
                let [user] = registrations else { continue };
                if user.is_removed() {
                    continue;
                }
                let holds = wanted.iter().find(|wanted| matches(&wanted.secret, user));
                if holds.is_none_or(|holds| holds.last + apart < acknowledged.first) {
                    return Err(format!(
                        "{} has an older secret of {name} than the one acknowledged after {}",
                        scene.name(id),
                        acknowledged.first
                    ));
                }
            }
        }
        Ok(())
    }
}
