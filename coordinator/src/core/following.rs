//! A backup: what it takes in from the main coordinator, and what it gives back.
//!
//! A coordinator that follows another first says how much of the users it knows (SYNC_USER with `override`); the main one answers with
//! the group and its servers, and with the users that the backup lacks. What the main one lacks goes the other way meanwhile. Every
//! numbered update is confirmed, users when they are on disk; nothing is confirmed before all that the main one lacks has been said.
//!
//! **Invariant.** Only the coordinator that is followed changes anything here, and only in the highest epoch that this one has seen.

use std::collections::BTreeSet;

use common::id::{LinkId, ServerId};
use common::password;
use common::user::{UserRecord, Username};
use common::users::Seen;
use common::wire::{
    BackupList, Message, Role, ServerEntry, SyncUser, SynchroniseServerAddresses, SynchroniseUserStore,
    Synchronised,
};
use tracing::{debug, info};

use super::config::Group;
use super::feed::{Claim, Cursor};
use super::peers::PeerId;
use super::registry::Entry;
use super::reign::{Lost, Reigning};
use super::writing::{Then, Write};
use super::{Coordinator, Turn};

/// What a backup remembers of the one that it follows.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) main: PeerId,
    /// The update that came last.
    taken: u64,
    /// The update up to which everything is done here.
    done: u64,
    /// What has been confirmed.
    confirmed: u64,
    /// What of our users the main one is still to be told; `None` until it has said what it knows.
    upload: Option<Cursor>,
    /// What the main one said that it knows.
    known_there: Seen,
    uploaded: bool,
    /// Proposals that were here when this began and of which the main one has not shown that it knows them. What it claims to have told of
    /// their writers may not include them, and is not believed before they are written anew. `None` while some may still be on their
    /// way to the disk: then nothing is believed.
    unsettled: Option<Vec<Entry>>,
    /// What the main one told until then: it knows that much.
    told: Vec<Entry>,
    /// What is to be believed then.
    claimed: Claim,
}

impl Following {
    pub(super) fn new(main: PeerId) -> Self {
        Following {
            main,
            unsettled: None,
            told: Vec::new(),
            claimed: Claim::default(),
            taken: 0,
            done: 0,
            confirmed: 0,
            upload: None,
            known_there: Seen::default(),
            uploaded: false,
        }
    }

    /// What of a claim is true by now, and the rest.
    fn believable(&self, claim: Claim) -> (Claim, Claim) {
        let Some(unsettled) = &self.unsettled else { return (Claim::default(), claim) };
        let writers: BTreeSet<&ServerId> =
            unsettled.iter().map(|(_, record)| &record.written().coordinator).collect();
        claim.split(|writer| !writers.contains(writer))
    }
}

impl Coordinator {
    /// The main coordinator has numbered an update. Says whether it is in turn; else the link is closed.
    fn in_turn(&mut self, turn: &mut Turn<'_>, link: LinkId, update: u64) -> bool {
        let Reigning::Backup(following) = &mut self.reigning else { return false };
        if update == following.taken.saturating_add(1) {
            following.taken = update;
            return true;
        }
        if following.taken == 0 {
            // It is of those that the same coordinator had sent when it was not followed any more, and begins anew with the first.
            debug!(update, "an update of an earlier following");
            return false;
        }
        let expected = following.taken + 1;
        self.invalid(turn, link, format!("update {expected} was expected, not {update}"));
        false
    }

    /// An update of the main coordinator, or the BACKUP_LIST.
    pub(super) fn follow_update(&mut self, turn: &mut Turn<'_>, link: LinkId, message: Message) {
        match message {
            Message::SynchroniseServerAddresses(addresses) => self.take_addresses(turn, link, addresses),
            Message::SynchroniseServerLoad(loads) => {
                if self.in_turn(turn, link, loads.update) {
                    loads.loads.iter().for_each(|(id, load)| self.placement.set_load(id, *load));
                    self.write(turn, Write::nothing(Then::Confirm { link, update: loads.update }));
                }
            }
            Message::SynchroniseUserStore(store) => self.take_users(turn, link, store),
            Message::SynchronisedNewServer(new) => {
                let update = new.update.unwrap_or(0);
                if self.in_turn(turn, link, update) {
                    self.placement.know(turn.now.time, new.server);
                    self.write(turn, Write::nothing(Then::Confirm { link, update }));
                }
            }
            Message::RemoveServer(removed) => {
                let update = removed.update.unwrap_or(0);
                if self.in_turn(turn, link, update) {
                    self.placement.forget(&removed.id);
                    self.write(turn, Write::nothing(Then::Confirm { link, update }));
                }
            }
            Message::BackupList(list) => self.take_list(turn, list),
            Message::Promote(_) => self.promoted(turn),
            other => self.invalid(turn, link, format!("{} is not for a backup", other.command())),
        }
    }

    fn take_addresses(&mut self, turn: &mut Turn<'_>, link: LinkId, addresses: SynchroniseServerAddresses) {
        if !self.in_turn(turn, link, addresses.update) {
            return;
        }
        if addresses.members.len() > self.config.limits.members
            || addresses.servers.len() > self.config.limits.workers
            || addresses.history.len() > common::limits::HISTORY
        {
            return self.invalid(turn, link, "the group is larger than a group may be");
        }
        if self.registry.compare(&addresses.seen) {
            // Asked again, it says more.
            return self.close(turn, link, None);
        }
        self.placement.replace(turn.now.time, addresses.servers);
        self.learn_members(turn, &addresses.members);
        self.forget_peers(turn, &addresses.forgotten);
        let mut group =
            Group { network: addresses.network, token_key: addresses.token_key, ..self.group.clone() };
        // The main coordinator has been told of those whom this one knew.
        group.members = addresses.members;
        group.forgotten = addresses.forgotten;
        group.include(self.me());
        let mut history = addresses.history;
        history.retain(|reign| Some(&reign.epoch) <= self.epoch.as_ref());
        group.remember(history);
        let change = (group != self.group).then_some(group);
        if let Some(group) = &change {
            self.group = group.clone();
        }
        let then = Then::Upload { link, update: addresses.update, known_there: addresses.seen };
        self.write(turn, Write { group: change, ..Write::nothing(then) });
    }

    /// Begins to tell the main coordinator what it lacks, unless that is done already.
    pub(super) fn begin_upload(&mut self, turn: &mut Turn<'_>, link: LinkId, known_there: Seen) {
        let Reigning::Backup(following) = &mut self.reigning else { return };
        if self.peers.link(following.main) == Some(link) && following.upload.is_none() {
            // What we know and were never told for certain is said too: nobody else may know it.
            let certain = known_there.meet(self.registry.seen());
            following.upload = Some(Cursor::starting_after(certain));
            following.known_there = known_there;
            let told = std::mem::take(&mut following.told);
            following.unsettled =
                Some(self.registry.proposed().into_iter().filter(|entry| !told.contains(entry)).collect());
        }
        self.upload(turn);
    }

    fn take_users(&mut self, turn: &mut Turn<'_>, link: LinkId, store: SynchroniseUserStore) {
        if !self.in_turn(turn, link, store.update) {
            return;
        }
        let claim = Claim::of(store.seen, store.users.is_empty());
        let Some(users) = self.plausible(turn, link, store.users.into_iter().collect()) else { return };
        let Reigning::Backup(following) = &mut self.reigning else { return };
        match &mut following.unsettled {
            Some(unsettled) => unsettled.retain(|entry| !users.contains(entry)),
            None => following.told.extend_from_slice(&users),
        }
        let (claim, later) = following.believable(claim);
        following.claimed.merge(&later);
        let then = Then::Confirm { link, update: store.update };
        self.write(turn, Write { users, claim, ..Write::nothing(then) });
    }

    /// Believes what was claimed of those writers of whom nothing is known here alone any more.
    pub(super) fn believe_claims(&mut self, turn: &mut Turn<'_>) {
        let Reigning::Backup(following) = &mut self.reigning else { return };
        if let Some(unsettled) = &mut following.unsettled {
            unsettled.retain(|entry| self.registry.is_latest(entry));
        }
        let claimed = std::mem::take(&mut following.claimed);
        let (claim, later) = following.believable(claimed);
        following.claimed = later;
        if !claim.is_empty() {
            self.write(turn, Write { claim, ..Write::nothing(Then::Nothing) });
        }
    }

    /// Records as another server sent them, where they may be kept. Else the link is closed.
    pub(super) fn plausible(
        &mut self,
        turn: &mut Turn<'_>,
        link: LinkId,
        users: Vec<(Username, UserRecord)>,
    ) -> Option<Vec<(Username, UserRecord)>> {
        let wrong = |(name, record): &&(Username, UserRecord)| {
            name.is_anonymous()
                || record.changed < record.registration
                || *record.written() < record.changed
                || record.secret.as_ref().is_some_and(|hash| !password::is_well_formed(hash))
        };
        match users.iter().find(wrong) {
            Some((name, _)) => {
                let info = format!("the record of {name} cannot be one");
                self.invalid(turn, link, info);
                None
            }
            None => Some(users),
        }
    }

    fn take_list(&mut self, turn: &mut Turn<'_>, list: BackupList) {
        let mut listed = list.servers.iter().filter(|entry| matches!(entry.role, Role::Main | Role::Backup));
        let rank = listed.position(|entry| entry.id.as_ref() == Some(&self.config.id));
        self.set_rank(turn, rank.map(|rank| rank as u64));
        self.ranks = list.servers.into_iter().filter_map(|entry| entry.id).collect();
    }

    /// Tells the main coordinator of users that it lacks, as long as little else waits for it.
    pub(super) fn upload(&mut self, turn: &mut Turn<'_>) {
        loop {
            let Reigning::Backup(following) = &mut self.reigning else { return };
            let Some(link) = self.peers.link(following.main) else { return };
            if following.uploaded || self.links.pending(link).len() > self.config.limits.feed_bytes {
                return;
            }
            let Some(cursor) = &mut following.upload else { return };
            let (users, seen) = cursor.next(&self.registry, self.config.limits.sync_users, |_| true);
            let all = users.is_empty();
            following.uploaded = all;
            // What is known and has no record any more, because somebody else has changed it since, is only to be said.
            if all && following.known_there.covers_all(&seen) {
                return self.confirm_updates(turn);
            }
            self.say(turn, link, SyncUser::of_users(users, seen));
            if all {
                return self.confirm_updates(turn);
            }
        }
    }

    /// There is more that the main coordinator is to be told: what this one had begun to write when it was the main one itself.
    pub(super) fn upload_again(&mut self) {
        if let Reigning::Backup(following) = &mut self.reigning {
            following.uploaded = false;
        }
    }

    /// An update is done here.
    pub(super) fn update_done(&mut self, turn: &mut Turn<'_>, link: LinkId, update: u64) {
        let Reigning::Backup(following) = &mut self.reigning else { return };
        if self.peers.link(following.main) == Some(link) {
            following.done = update;
            self.confirm_updates(turn);
        }
    }

    fn confirm_updates(&mut self, turn: &mut Turn<'_>) {
        let Reigning::Backup(following) = &mut self.reigning else { return };
        let Some(link) = self.peers.link(following.main) else { return };
        if following.uploaded && following.done > following.confirmed {
            following.confirmed = following.done;
            let update = following.done;
            self.say(turn, link, Synchronised { update });
        }
    }

    /// Says to the coordinator that is followed from now on how much is known here.
    pub(super) fn ask_for_updates(&mut self, turn: &mut Turn<'_>, link: LinkId) {
        let (members, history) = (self.group.members.clone(), self.group.history.clone());
        let seen = self.registry.claim();
        let request = SyncUser { users: Default::default(), seen, r#override: true, members, history };
        self.say(turn, link, request);
    }

    /// Takes note of the group's members, to dial those that are not known yet.
    pub(super) fn learn_members(&mut self, turn: &mut Turn<'_>, members: &[ServerEntry]) {
        for member in members.iter().filter(|member| member.id != self.config.id) {
            self.peers.note(turn.now.time, &member.address, Some(&member.id), false);
        }
    }

    /// Tells the main coordinator whom this one has come to know.
    pub(super) fn tell_main_of_members(&mut self, turn: &mut Turn<'_>) {
        let Reigning::Backup(following) = &self.reigning else { return };
        let Some(link) = self.peers.link(following.main) else { return };
        let members = self.group.members.clone();
        let news = SyncUser { members, ..SyncUser::of_users(Default::default(), Seen::default()) };
        self.say(turn, link, news);
    }

    /// Whether a sign of life of the main coordinator is overdue.
    pub(super) fn main_is_quiet(&self) -> bool {
        let Reigning::Backup(following) = &self.reigning else { return false };
        let main = self.peers.get(following.main).and_then(|peer| peer.up());
        main.is_none_or(|up| self.attended.since(up.heard) >= self.config.limits.pulse * 2)
    }

    /// This coordinator as others know it.
    pub(super) fn me(&self) -> ServerEntry {
        ServerEntry { id: self.config.id.clone(), address: self.config.address.clone() }
    }

    /// The main coordinator leaves, and this one is next.
    fn promoted(&mut self, turn: &mut Turn<'_>) {
        info!("the main coordinator is leaving; taking over");
        let Reigning::Backup(following) = &self.reigning else { return };
        let id = self.peers.get(following.main).and_then(|peer| peer.id.clone());
        self.seek(turn, Lost::handed_over(id));
    }
}
