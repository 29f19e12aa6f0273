//! The main coordinator and its backups: what they are told, and how a change comes to count.
//!
//! The way of a change: it is stamped with whatever else waits; sent to every backup that is caught up; when all listed ones have
//! confirmed it, it goes to our own disk; then it counts, and is acknowledged. In this order, a main coordinator that dies leaves nothing
//! on its own disk that a listed backup lacks; what it leaves with a backup alone was never acknowledged, and is adopted there.

use std::collections::BTreeSet;

use common::epoch::Reign;
use common::id::{LinkId, ServerId};
use common::user::UserRecord;
use common::wire::{
    Message, SyncUser, SynchroniseServerAddresses, SynchroniseServerLoad, SynchroniseUserStore, Synchronised,
};
use tracing::{info, warn};

use super::feed::{Claim, Cursor};
use super::refusals::Refusal;
use super::registry::{Entry, Reason};
use super::reign::{Reigning, STAMP_LEASE};
use super::writing::{Then, Write};
use super::{Coordinator, Turn};

impl Coordinator {
    /// What a backup says to the main coordinator.
    pub(super) fn hear_backup(&mut self, turn: &mut Turn<'_>, link: LinkId, id: &ServerId, message: Message) {
        match message {
            Message::SyncUser(request) if request.r#override => self.start_following(turn, link, id, request),
            Message::SyncUser(users) => {
                self.include(turn, users.members.clone());
                self.take_upload(turn, link, users);
            }
            Message::Synchronised(confirmed) => self.confirmed(turn, link, confirmed),
            other => self.invalid(turn, link, format!("{} is not for a backup to say", other.command())),
        }
    }

    fn start_following(&mut self, turn: &mut Turn<'_>, link: LinkId, id: &ServerId, request: SyncUser) {
        info!(backup = %id, "a backup follows");
        let SyncUser { seen, members, history, .. } = request;
        if history.len() > common::limits::HISTORY {
            return self.invalid(turn, link, "the history is longer than a history may be");
        }
        self.include(turn, members);
        self.learn_history(turn, history);
        self.registry.observe(turn.now.wall, &seen);
        self.registry.compare(&seen);
        self.writing.forget(link);
        // What was only proposed it may lack whatever it claims, and it may hide what was acknowledged: it is said to be sure.
        let certain = seen.meet(self.registry.seen());
        self.standbys.follow(id.clone(), link, Cursor::starting_after(certain));
        if let Reigning::Main(main) = &mut self.reigning {
            main.merging = Some(turn.now.time + self.config.limits.sync_timeout);
        }
        self.tell_addresses(turn, link);
        self.tell_loads(turn, link);
        let list = self.backup_list();
        self.say(turn, link, list);
        self.feed_backup(turn, link);
    }

    /// A backup knows of reigns that may be unknown here.
    fn learn_history(&mut self, turn: &mut Turn<'_>, mut history: Vec<Reign>) {
        history.retain(|reign| Some(&reign.epoch) <= self.epoch.as_ref());
        let before = self.group.history.clone();
        self.group.remember(history);
        if self.group.history != before {
            let group = Some(self.group.clone());
            self.write(turn, Write { group, ..Write::nothing(Then::Nothing) });
            self.tell_group(turn);
        }
    }

    /// Adopts everything that was proposed to this coordinator and never settled. Returns it.
    pub(super) fn adopt_proposed(&mut self) -> Vec<Entry> {
        let proposed = self.registry.proposed();
        for (username, record) in &proposed {
            let epoch = self.group.epoch_of(record.written()).cloned();
            self.registry.adopt(username.clone(), record.clone(), Reason::Proposed(epoch));
        }
        proposed
    }

    /// Tells a backup what there is beside users.
    fn tell_addresses(&mut self, turn: &mut Turn<'_>, link: LinkId) {
        let Some(standby) = self.standbys.on(link) else { return };
        let addresses = SynchroniseServerAddresses {
            update: standby.number(),
            network: self.group.network.clone(),
            token_key: self.group.token_key.clone(),
            servers: self.placement.servers(),
            members: self.group.members.clone(),
            forgotten: self.group.forgotten.clone(),
            history: self.group.history.clone(),
            seen: self.registry.claim(),
        };
        self.say(turn, link, addresses);
    }

    fn tell_loads(&mut self, turn: &mut Turn<'_>, link: LinkId) {
        let Some(standby) = self.standbys.on(link) else { return };
        let loads = SynchroniseServerLoad { update: standby.number(), loads: self.placement.loads() };
        self.say(turn, link, loads);
    }

    /// Tells every backup the loads, where they have changed.
    pub(super) fn tell_changed_loads(&mut self, turn: &mut Turn<'_>) {
        if self.placement.take_loads_changed() {
            for link in self.standbys.links() {
                self.tell_loads(turn, link);
            }
        }
    }

    /// Tells every backup of a change of the group.
    pub(super) fn tell_group(&mut self, turn: &mut Turn<'_>) {
        for link in self.standbys.links() {
            self.tell_addresses(turn, link);
        }
    }

    /// Tells every backup of a change among the workers.
    pub(super) fn tell_backups(&mut self, turn: &mut Turn<'_>, message: impl Fn(u64) -> Message) {
        for link in self.standbys.links() {
            let Some(standby) = self.standbys.on(link) else { continue };
            let message = message(standby.number());
            self.say(turn, link, message);
        }
    }

    /// Tells a backup of users that it lacks, as long as little else waits for it and little is unconfirmed. Nothing happens where the
    /// link is no backup's.
    pub(super) fn feed_backup(&mut self, turn: &mut Turn<'_>, link: LinkId) {
        loop {
            if self.links.pending(link).len() > self.config.limits.feed_bytes {
                return;
            }
            let (window, limit) = (self.config.limits.sync_window, self.config.limits.sync_users);
            let Some(standby) = self.standbys.on(link) else { return };
            if standby.behind() >= window {
                return;
            }
            let (users, seen) = standby.cursor.next(&self.registry, limit, |_| true);
            let all = users.is_empty();
            let first = all && !standby.is_caught_up();
            if all && !first && standby.claimed == seen {
                return;
            }
            let update = standby.number();
            if all {
                standby.claimed = seen.clone();
            }
            if !all || first {
                standby.told(update, all);
            }
            self.say(turn, link, SynchroniseUserStore { update, users, seen });
            if first {
                self.propose_to(turn, link);
            }
        }
    }

    /// Tells every backup how much is known by now.
    pub(super) fn tell_certain(&mut self, turn: &mut Turn<'_>) {
        if self.certain_told == *self.registry.complete() {
            return;
        }
        self.certain_told = self.registry.complete().clone();
        for link in self.standbys.caught_up() {
            self.feed_backup(turn, link);
        }
    }

    /// Proposes the next batch, where there is one and it may go.
    pub(super) fn propose_next(&mut self, turn: &mut Turn<'_>) {
        if !self.may_propose(turn) || !self.may_stamp(turn) {
            return;
        }
        let Reigning::Main(main) = &self.reigning else { return };
        let others_know = |record: &UserRecord| {
            let is_proposed = main.unadopted.iter().any(|(_, proposed)| proposed == record);
            main.claimed.certain.covers(record.written()) && !is_proposed
        };
        let limit = self.config.limits.sync_users;
        let (users, late) = self.registry.next_batch(turn.now.wall, limit, others_know);
        for (username, asker) in late {
            let refusal = self.taken_meanwhile(&username);
            self.deny(turn, username, &asker, &refusal);
        }
        if users.is_empty() {
            // What they waited for may have come from elsewhere.
            return self.confirm_imports(turn);
        }
        self.proposed = users;
        self.standbys.propose(turn.now.time);
        for link in self.standbys.caught_up() {
            self.propose_to(turn, link);
        }
        self.settle_confirmed(turn);
    }

    /// Proposes the batch that is under way to one more backup.
    fn propose_to(&mut self, turn: &mut Turn<'_>, link: LinkId) {
        if !self.standbys.is_proposing() {
            return;
        }
        let Some(update) = self.standbys.propose_to(link) else { return };
        let Some(standby) = self.standbys.on(link) else { return };
        let limit = self.config.limits.sync_users;
        self.proposed
            .iter()
            .for_each(|(_, record)| standby.cursor.told_apart(record.written().clone(), limit));
        let (users, seen) = (self.proposed.iter().cloned().collect(), self.registry.seen().clone());
        self.say(turn, link, SynchroniseUserStore { update, users, seen });
    }

    fn may_propose(&mut self, turn: &Turn<'_>) -> bool {
        let Reigning::Main(main) = &self.reigning else { return false };
        let gathered = main.gathering.is_none_or(|until| until <= turn.now.time || self.has_gathered());
        gathered && main.merging.is_none() && !self.writing.is_failing() && self.has_merged_enough()
    }

    /// Whether the stamps of the next batch are reserved on our own disk: a backup has them before this disk does. Were this coordinator to
    /// crash in between, with a clock that goes back meanwhile, it would give one out again; and whoever had the first would never ask for
    /// the second. Where they are not, has them reserved. (So does CockroachDB with `server.clock.persist_upper_bound_interval`.)
    fn may_stamp(&mut self, turn: &mut Turn<'_>) -> bool {
        let reach = self.registry.next_stamps_reach(turn.now.wall);
        let Some(reach) = reach.filter(|_| self.group.members.len() > 1) else { return true };
        if self.group.stamps_until < reach {
            self.group.stamps_until = reach + STAMP_LEASE;
            let group = Some(self.group.clone());
            self.write(turn, Write { group, ..Write::nothing(Then::Nothing) });
        }
        reach <= self.reserved
    }

    /// Sends the batch to our own disk, where every listed backup has confirmed it.
    pub(super) fn settle_confirmed(&mut self, turn: &mut Turn<'_>) {
        if !self.standbys.is_proposing() || !self.standbys.unconfirmed().is_empty() {
            return;
        }
        if self.standbys.are_too_few() {
            // Written here alone it might take the name from somebody to whom the others give it. It waits for backups; nobody waits for
            // it.
            return self.deny_waiting(turn, &Refusal::TooFewBackups(self.config.require_backups));
        }
        self.standbys.settling();
        self.batch_copies = self.standbys.listed().len();
        let users = std::mem::take(&mut self.proposed);
        let claim = Claim::of(self.registry.seen_with_batch(), true);
        self.write(turn, Write { users, claim, ..Write::nothing(Then::Settle) });
    }

    fn confirmed(&mut self, turn: &mut Turn<'_>, link: LinkId, confirmed: Synchronised) {
        let Some(standby) = self.standbys.on(link) else {
            return self.invalid(turn, link, "SYNCHRONISED before SYNC_USER asked for updates");
        };
        let first = !standby.uploaded;
        if !standby.confirm(confirmed.update) {
            return self.invalid(turn, link, format!("update {} was not sent", confirmed.update));
        }
        if first {
            // All that it knew and we did not has come before this; it counts when it is written.
            self.write(turn, Write::nothing(Then::Uploaded { link }));
        }
        self.list_ready(turn);
        self.settle_confirmed(turn);
        self.feed_backup(turn, link);
        self.unpark_repetitions(turn);
    }

    /// What a backup knew and we did not is written.
    pub(super) fn uploaded(&mut self, turn: &mut Turn<'_>, link: LinkId) {
        if let Some(standby) = self.standbys.on(link) {
            standby.uploaded = true;
            let id = standby.id.clone();
            if let Reigning::Main(main) = &mut self.reigning {
                main.merged.insert(id);
            }
        }
        self.list_ready(turn);
        self.end_merging(turn);
    }

    /// Whether there are listed backups, and each holds everything that is registered here. Of what is only proposed they may have nothing,
    /// whatever they have confirmed: who claims to know all that its writer wrote has not been told of it, and is when it is adopted.
    pub(super) fn backups_hold_everything(&self) -> bool {
        self.registry.is_certain() && self.standbys.hold_everything(&self.registry)
    }

    /// Whether something that is registered here may not be confirmed to whoever asks again: there are listed backups, and it is still to
    /// come to one of them; or it was only proposed. A backup that is listed next may know nothing of that, and would lack what was
    /// confirmed.
    pub(super) fn something_is_unsettled(&self) -> bool {
        let on_its_way = !self.standbys.listed().is_empty() && !self.standbys.hold_everything(&self.registry);
        on_its_way || !self.registry.is_certain()
    }

    /// Lists the backups that hold all that counts.
    pub(super) fn list_ready(&mut self, turn: &mut Turn<'_>) {
        let new = self.standbys.list_ready(&self.registry);
        if new.is_empty() {
            return;
        }
        for id in new {
            info!(backup = %id, "a backup is in step");
        }
        self.tell_list(turn);
        self.settle_confirmed(turn);
        self.propose_next(turn);
    }

    /// Takes backups off the list that keep a change waiting, or are gone.
    pub(super) fn delist(&mut self, turn: &mut Turn<'_>, ids: Vec<ServerId>, why: &str) {
        let mut changed = false;
        for id in ids {
            if self.standbys.delist(&id) {
                warn!(backup = %id, "a backup is no longer in step: {why}");
                changed = true;
            }
        }
        if changed {
            self.tell_list(turn);
            self.settle_confirmed(turn);
            self.unpark_repetitions(turn);
        }
    }

    pub(super) fn delist_overdue(&mut self, turn: &mut Turn<'_>) {
        let timeout = self.config.limits.sync_timeout;
        let overdue = self.standbys.overdue(turn.now.time, timeout);
        if !overdue.is_empty() {
            self.delist(turn, overdue, &format!("it has confirmed nothing for {timeout:?}"));
        }
    }

    /// Users that a backup or a worker knows and we may not. What they do not claim to know for certain is adopted, and what we forgot.
    pub(super) fn take_upload(&mut self, turn: &mut Turn<'_>, link: LinkId, upload: SyncUser) {
        let claim = Claim::of(upload.seen, upload.users.is_empty());
        let Some(users) = self.plausible(turn, link, upload.users.into_iter().collect()) else { return };
        let mut certain = Vec::new();
        for (username, record) in users {
            if !claim.certain.covers(record.written()) {
                let epoch = self.group.epoch_of(record.written()).cloned();
                self.registry.adopt(username, record, Reason::Proposed(epoch));
            } else if self.registry.has_lost(&record) {
                self.registry.adopt(username, record, Reason::Restored);
            } else {
                certain.push((username, record));
            }
        }
        let Reigning::Main(main) = &mut self.reigning else { return };
        main.unadopted.retain(|entry| self.registry.is_latest(entry));
        let unadopted: BTreeSet<&ServerId> =
            main.unadopted.iter().map(|(_, record)| &record.written().coordinator).collect();
        let (claim, later) = claim.split(|writer| !unadopted.contains(writer));
        main.claimed.merge(&later);
        if !certain.is_empty() || !self.registry.knows(&claim) {
            self.write(turn, Write { users: certain, claim, ..Write::nothing(Then::Nothing) });
        }
        self.propose_next(turn);
    }
}
