//! Where to go when a server fails: what the main coordinator says of the coordinators, what is remembered of it for the next run, and what
//! clients are told that understand it.
//!
//! A client hears it when it logs in, every few seconds, and within a sweep of a change; each its own order, so that the clients of a
//! worker that fails spread over the others. One that has not taken the last list is not sent another: a list never makes a client slow.

use common::id::LinkId;
use common::limits::TOKEN_LIFE;
use common::machine::Action;
use common::time::Now;
use common::wire::{BackupEntry, BackupList, Role};

use super::session::Phase;
use super::{Actions, Effect, Link, Remembered, Worker};

/// Workers that a client is told of. It tries one after the other: where none of eight answers, the coordinators know more.
const WORKERS_TOLD: usize = 8;

impl Worker {
    /// The coordinator that has let us in says who the coordinators are. Where another one is the main one, that is where we belong.
    pub(super) fn coordinators_listed(
        &mut self,
        now: Now,
        link: LinkId,
        list: BackupList,
        out: &mut Actions,
    ) {
        self.upstream.learn(list.servers);
        let remembered = Remembered {
            network: self.users.network().cloned(),
            epoch: self.epoch.clone(),
            servers: self.upstream.listed().to_vec(),
            workers: self.roster.listed_ones(),
            let_go: self.log.let_go(),
            doubles: self.config.remembered.doubles.clone(),
        };
        self.remember(remembered, out);
        if let Some(main) = self.upstream.main_elsewhere() {
            self.leave_for(now, link, main, out);
        }
    }

    /// Has what the log has let go of remembered, and who the other workers are, where that has changed.
    pub(super) fn remember_changes(&mut self, out: &mut Actions) {
        let workers = match self.upstream.is_established() {
            true => self.roster.listed_ones(),
            false => self.config.remembered.workers.clone(),
        };
        let remembered = Remembered { workers, let_go: self.log.let_go(), ..self.config.remembered.clone() };
        self.remember(remembered, out);
    }

    /// Has remembered which activities have several ids.
    pub(super) fn remember_doubles(&mut self, out: &mut Actions) {
        let remembered = Remembered { doubles: self.doubles.latest(), ..self.config.remembered.clone() };
        self.remember(remembered, out);
    }

    fn remember(&mut self, remembered: Remembered, out: &mut Actions) {
        if remembered != self.config.remembered {
            self.config.remembered = remembered.clone();
            out.push(Action::Effect(Effect::Remember(remembered)));
        }
    }

    /// Where clients may go: other workers, then the coordinators.
    pub(super) fn destinations(&self) -> Vec<BackupEntry> {
        let workers = self.roster.open().map(|(id, address)| BackupEntry {
            id: Some(id.clone()),
            address: address.clone(),
            role: Role::Worker,
        });
        workers.chain(self.upstream.listed().iter().cloned()).collect()
    }

    /// Tells the clients whose time it is, and all of them what has changed.
    pub(super) fn tell_lists(&mut self, now: Now, out: &mut Actions) {
        let destinations = self.destinations();
        let changed = destinations != self.destinations;
        let again = now.time + self.config.limits.heartbeat;
        let mut due = Vec::new();
        for (link, party) in &mut self.links {
            let Link::Client(session) = party else { continue };
            let Some(at) = session.list_due() else { continue };
            if at <= now.time {
                session.wants_list(again);
            }
            if (changed || at <= now.time) && session.took_replies() {
                due.push(link);
            }
        }
        for link in due {
            self.tell_list(now, link, &destinations, out);
        }
        self.destinations = destinations;
    }

    /// Tells one client, in an order of its own.
    pub(super) fn tell_list(
        &mut self,
        now: Now,
        link: LinkId,
        destinations: &[BackupEntry],
        out: &mut Actions,
    ) {
        let (workers, coordinators) =
            destinations.split_at(destinations.partition_point(|entry| entry.role == Role::Worker));
        let mut chosen = self.rng.choose_multiple(workers, WORKERS_TOLD);
        self.rng.shuffle(&mut chosen);
        let servers: Vec<_> = chosen.into_iter().chain(coordinators).cloned().collect();
        if !servers.is_empty() {
            let token = self.renew_token(now, link);
            self.reply(now, link, BackupList { servers, token }, out);
        }
    }

    /// A new token for a client that can be moved, where its time has come: while it is connected it always has one that is good for
    /// some time, so that those of a worker that fails come back without a password hash.
    fn renew_token(&mut self, now: Now, link: LinkId) -> Option<String> {
        let Some(Link::Client(session)) = self.links.get_mut(link) else { return None };
        let attachment = session.attachment_mut()?;
        if attachment.token_due().is_none_or(|due| due > now.time) {
            return None;
        }
        attachment.token_given(now.time + TOKEN_LIFE / 3);
        self.token_for(now, link)
    }

    /// What the client on `link` can log in with at another worker.
    pub(super) fn token_for(&self, now: Now, link: LinkId) -> Option<String> {
        let Some(Link::Client(session)) = self.links.get(link) else { return None };
        let Phase::LoggedIn { username, registration, .. } = session.phase() else { return None };
        self.users.token(username.clone(), registration.clone(), now.wall + TOKEN_LIFE)
    }
}
