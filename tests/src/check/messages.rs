//! A registration or a change costs at most 2(n−1) messages among n servers: the way to all coordinators and workers and back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::time::Time;
use common::user::Username;
use common::wire::Message;

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;
use crate::sim::{ConnId, Seen};

/// After which time all that a registration causes has happened.
const OVER: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Names whose registration or change began while all was well, and what was said of it since.
    counts: BTreeMap<Username, Count>,
    /// The names in the updates of a connection that are not confirmed.
    unconfirmed: BTreeMap<ConnId, BTreeMap<u64, Vec<Username>>>,
}

#[derive(Debug)]
struct Count {
    /// When it was wanted last.
    since: Time,
    /// How often it was wanted.
    requests: usize,
    said: Vec<&'static str>,
}

impl Messages {
    fn wanted(&mut self, name: &str, now: Time) {
        let Ok(name) = name.parse::<Username>() else { return };
        let fresh = Count { since: now, requests: 0, said: Vec::new() };
        let count = self.counts.entry(name).or_insert(fresh);
        (count.since, count.requests) = (now, count.requests + 1);
    }

    fn count<'a>(&mut self, names: impl IntoIterator<Item = &'a Username>, command: &'static str) {
        let names: BTreeSet<&Username> = names.into_iter().collect();
        for name in names {
            if let Some(count) = self.counts.get_mut(name) {
                count.said.push(command);
            }
        }
    }
}

impl Check for Messages {
    fn observe(&mut self, scene: &Scene<'_>, _: &Ledger, seen: &Seen<Effect>, _: &mut Coverage) -> Verdict {
        let (conn, message) = match seen {
            Seen::Received { at, conn, message, .. } if scene.role(*at).is_server() => (conn, message),
            _ => return Ok(()),
        };
        if scene.health.group_since.is_none() {
            self.counts.clear();
            return Ok(());
        }
        let command = message.command();
        match message {
            Message::Register(register) => self.wanted(&register.username, scene.now),
            Message::ChangeSecret(change) => self.wanted(&change.username, scene.now),
            Message::RemoveUser(remove) => self.wanted(&remove.username, scene.now),
            Message::SynchroniseUserStore(update) => {
                self.count(update.users.keys(), command);
                let names: Vec<Username> = update.users.keys().cloned().collect();
                self.unconfirmed.entry(*conn).or_default().insert(update.update, names);
            }
            Message::Synchronised(confirmed) => {
                let updates = self.unconfirmed.entry(*conn).or_default();
                let rest = updates.split_off(&(confirmed.update + 1));
                let confirmed = std::mem::replace(updates, rest);
                self.count(confirmed.values().flatten(), command);
            }
            Message::SyncUser(sync) => self.count(sync.users.keys(), command),
            Message::LockRequest(request) => self.count([&request.username], command),
            Message::LockAllowed(allowed) => self.count([&allowed.username], command),
            Message::LockDenied(denied) => self.count([&denied.username], command),
            Message::UserRegisterResult(result) => self.count([&result.username], command),
            _ => {}
        }
        Ok(())
    }

    fn glance(&mut self, scene: &Scene<'_>, _: &Ledger, coverage: &mut Coverage) -> Verdict {
        let servers = scene.cast.coordinators.len() + scene.cast.workers.len();
        let over = |count: &Count| count.since + OVER <= scene.now;
        let names: Vec<Username> =
            self.counts.iter().filter(|(_, count)| over(count)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(Count { requests, said, .. }) = self.counts.remove(&name) else { continue };
            coverage.add("registrations whose messages were counted", u64::from(!said.is_empty()));
            if said.len() > 2 * (servers - 1) * requests {
                return Err(format!(
                    "{requests} requests for {name} took {} messages among {servers} servers: {said:?}",
                    said.len()
                ));
            }
        }
        Ok(())
    }
}
