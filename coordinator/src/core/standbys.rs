//! What the main coordinator knows of its backups: which follow, how far each is, and which are listed.
//!
//! A backup that follows is told what it lacks, then every change before it counts. It is *listed* when it has confirmed all that counts;
//! from then on nothing counts that it has not confirmed. One that does not confirm in time is listed no longer, and waited for no longer.
//! **Invariant.** Who is listed holds everything that was acknowledged.

use std::time::Duration;

use common::id::{LinkId, ServerId};
use common::time::Time;
use common::users::Seen;

use super::feed::Cursor;
use super::registry::Registry;

/// The backups.
#[derive(Debug, Default)]
pub(super) struct Standbys {
    following: Vec<Standby>,
    /// In the order in which they take over.
    listed: Vec<ServerId>,
    /// Those listed whose link is gone, since then: they may be back in a moment.
    missing: Vec<(ServerId, Time)>,
    proposal: Option<Proposal>,
    /// How many must be listed for anything to count.
    required: usize,
}

/// A backup that follows.
#[derive(Debug)]
pub(super) struct Standby {
    pub(super) id: ServerId,
    pub(super) link: LinkId,
    /// What of the users it has been told.
    pub(super) cursor: Cursor,
    /// The update that was sent last.
    sent: u64,
    confirmed: u64,
    /// The update with which it knows all that counts; `None` while it has not been told everything once.
    needs: Option<u64>,
    /// All that it knew and we did not has been said and written.
    pub(super) uploaded: bool,
    /// Up to where it was told last that it lacks nothing.
    pub(super) claimed: Seen,
}

/// A batch that is not on every disk yet.
#[derive(Debug)]
struct Proposal {
    since: Time,
    /// The number of the update that carries it, for each that it was sent to.
    updates: Vec<(ServerId, u64)>,
    /// Whether it is on its way to our own disk: nobody is waited for any more.
    settling: bool,
}

impl Standbys {
    /// None yet, of which so many are required.
    pub(super) fn new(required: usize) -> Self {
        Standbys { required, ..Standbys::default() }
    }

    /// Whether fewer are listed than are required.
    pub(super) fn are_too_few(&self) -> bool {
        self.listed.len() < self.required
    }

    /// A backup follows from now on; what was known of it before is forgotten.
    pub(super) fn follow(&mut self, id: ServerId, link: LinkId, cursor: Cursor) {
        self.following.retain(|standby| standby.id != id);
        let (needs, claimed) = Default::default();
        self.following.push(Standby {
            id,
            link,
            cursor,
            sent: 0,
            confirmed: 0,
            needs,
            uploaded: false,
            claimed,
        });
    }

    /// The link to a backup is gone.
    pub(super) fn lost(&mut self, now: Time, id: &ServerId) {
        self.following.retain(|standby| standby.id != *id);
        if let Some(proposal) = &mut self.proposal {
            proposal.updates.retain(|(other, _)| other != id);
        }
        if self.is_listed(id) && self.missing.iter().all(|(other, _)| other != id) {
            self.missing.push((id.clone(), now));
        }
    }

    pub(super) fn on(&mut self, link: LinkId) -> Option<&mut Standby> {
        self.following.iter_mut().find(|standby| standby.link == link)
    }

    pub(super) fn named(&self, id: &ServerId) -> Option<&Standby> {
        self.following.iter().find(|standby| standby.id == *id)
    }

    /// Whether everything that those who follow know is known here.
    pub(super) fn have_uploaded(&self) -> bool {
        self.following.iter().all(|standby| standby.uploaded)
    }

    /// The links of all that follow.
    pub(super) fn links(&self) -> Vec<LinkId> {
        self.following.iter().map(|standby| standby.link).collect()
    }

    /// Those that have been told everything once, and are told every change before it counts.
    pub(super) fn caught_up(&self) -> Vec<LinkId> {
        let told = self.following.iter().filter(|standby| standby.needs.is_some());
        told.map(|standby| standby.link).collect()
    }

    pub(super) fn listed(&self) -> &[ServerId] {
        &self.listed
    }

    pub(super) fn is_listed(&self, id: &ServerId) -> bool {
        self.listed.contains(id)
    }

    /// Whether there are listed backups, and each holds everything that is known for certain here, also what came from another server and
    /// is on its way to them.
    pub(super) fn hold_everything(&self, registry: &Registry) -> bool {
        let holds = |id: &ServerId| {
            let standby = self.named(id).filter(|standby| standby.cursor.is_at_end(registry))?;
            standby.needs.filter(|needs| standby.confirmed >= *needs)
        };
        !self.listed.is_empty() && self.listed.iter().all(|id| holds(id).is_some())
    }

    /// Takes a backup off the list. Says whether it was on it.
    pub(super) fn delist(&mut self, id: &ServerId) -> bool {
        let before = self.listed.len();
        self.listed.retain(|listed| listed != id);
        self.missing.retain(|(missing, _)| missing != id);
        before != self.listed.len()
    }

    /// A batch is proposed from now on.
    pub(super) fn propose(&mut self, now: Time) {
        assert!(self.proposal.is_none(), "one batch at a time");
        self.proposal = Some(Proposal { since: now, updates: Vec::new(), settling: false });
    }

    /// The batch is sent to the backup at the other end of `link`, in the update of the returned number.
    pub(super) fn propose_to(&mut self, link: LinkId) -> Option<u64> {
        let standby = self.following.iter_mut().find(|standby| standby.link == link)?;
        let update = standby.number();
        self.proposal.as_mut()?.updates.push((standby.id.clone(), update));
        Some(update)
    }

    /// Whether a batch is proposed that listed backups may still confirm.
    pub(super) fn is_proposing(&self) -> bool {
        self.proposal.as_ref().is_some_and(|proposal| !proposal.settling)
    }

    /// Who is listed and has not confirmed the batch.
    pub(super) fn unconfirmed(&self) -> Vec<ServerId> {
        let Some(proposal) = &self.proposal else { return Vec::new() };
        let has = |id: &ServerId| {
            let (_, update) = proposal.updates.iter().find(|(other, _)| other == id)?;
            self.named(id).filter(|standby| standby.confirmed >= *update)
        };
        let lacks = |id: &&ServerId| has(id).is_none();
        self.listed.iter().filter(lacks).cloned().collect()
    }

    /// Nobody is waited for any more: the batch goes to our own disk.
    pub(super) fn settling(&mut self) {
        if let Some(proposal) = &mut self.proposal {
            proposal.settling = true;
        }
    }

    /// The batch counts: whoever is to be listed must have confirmed it. Who caught up while it was on its way to our own disk was not told
    /// of it, and has something to catch up with again.
    pub(super) fn settled(&mut self) {
        let updates = self.proposal.take().map(|proposal| proposal.updates).unwrap_or_default();
        for standby in &mut self.following {
            let update = updates.iter().find(|(id, _)| *id == standby.id).map(|(_, update)| *update);
            standby.needs = standby.needs.zip(update).map(|(needs, update)| needs.max(update));
        }
    }

    /// This coordinator reigns no longer: nobody follows it, and nothing is proposed.
    pub(super) fn clear(&mut self) {
        *self = Standbys::new(self.required);
    }

    /// Those that have kept the batch waiting for too long, and those that did not come back.
    pub(super) fn overdue(&self, now: Time, timeout: Duration) -> Vec<ServerId> {
        let slow = self.awaited_since().is_some_and(|since| now.since(since) >= timeout);
        let mut overdue = if slow { self.unconfirmed() } else { Vec::new() };
        let gone = self.missing.iter().filter(|(_, since)| now.since(*since) >= timeout);
        overdue.extend(gone.map(|(id, _)| id.clone()));
        overdue
    }

    /// When to ask for [`overdue`](Self::overdue) next.
    pub(super) fn deadline(&self, timeout: Duration) -> Option<Time> {
        self.awaited_since()
            .into_iter()
            .chain(self.missing.iter().map(|(_, since)| *since))
            .min()
            .map(|since| since + timeout)
    }

    /// Since when listed backups have been waited for.
    fn awaited_since(&self) -> Option<Time> {
        let proposal = self.proposal.as_ref().filter(|proposal| !proposal.settling)?;
        (!self.unconfirmed().is_empty()).then_some(proposal.since)
    }

    /// Lists those that hold all that counts, and what only waits for them. Returns who is new. Who has confirmed all that it was told may
    /// still lack something: what another server brought is told to it no faster than it takes it.
    pub(super) fn list_ready(&mut self, registry: &Registry) -> Vec<ServerId> {
        let waits = self.are_too_few();
        let settling = self.proposal.as_ref().filter(|proposal| proposal.settling || waits);
        let mut new = Vec::new();
        for standby in self.following.iter().filter(|standby| standby.uploaded) {
            let sent = settling.map(|proposal| proposal.updates.iter().find(|(id, _)| *id == standby.id));
            let under_way = match sent {
                Some(Some((_, update))) => Some(*update),
                // It was sent nothing of what is about to count.
                Some(None) => continue,
                None => None,
            };
            let needs = standby.needs.map(|needs| needs.max(under_way.unwrap_or(0)));
            let confirmed = needs.is_some_and(|needs| standby.confirmed >= needs);
            let ready = confirmed && standby.cursor.is_at_end(registry);
            self.missing.retain(|(missing, _)| !ready || *missing != standby.id);
            if ready && !self.listed.contains(&standby.id) {
                self.listed.push(standby.id.clone());
                new.push(standby.id.clone());
            }
        }
        new
    }

    pub(super) fn assert_bounds(&self, told: usize) {
        self.following.iter().for_each(|standby| standby.cursor.assert_bounds(told));
    }
}

impl Standby {
    /// The number of the next update, which is being sent.
    pub(super) fn number(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// Updates that it has not confirmed.
    pub(super) fn behind(&self) -> u64 {
        self.sent - self.confirmed
    }

    /// It has confirmed all up to here. Says whether that can be.
    pub(super) fn confirm(&mut self, update: u64) -> bool {
        let possible = (self.confirmed..=self.sent).contains(&update);
        if possible {
            self.confirmed = update;
        }
        possible
    }

    /// It is told of what counts in this update, which is `all` that there is to tell.
    pub(super) fn told(&mut self, update: u64, all: bool) {
        if all || self.needs.is_some() {
            self.needs = Some(update);
        }
    }

    pub(super) fn is_caught_up(&self) -> bool {
        self.needs.is_some()
    }
}

#[cfg(test)]
mod tests {
    use common::time::WallMillis;
    use common::user::UserRecord;
    use slotmap::SlotMap;

    use super::super::Limits;
    use super::super::feed::Claim;
    use super::*;

    #[test]
    fn who_has_not_been_told_yet_what_another_server_brought_is_not_listed() {
        // It had as much to confirm as may be under way when more came, confirmed that, and was listed without the rest.
        let (users, seen) = Default::default();
        let limits = Limits::default();
        let mut registry = Registry::new("c1".parse().unwrap(), WallMillis(9), users, seen, &limits, false);
        let (id, link): (ServerId, _) = ("c3".parse().unwrap(), SlotMap::with_key().insert(()));
        let mut standbys = Standbys::default();
        standbys.follow(id.clone(), link, Cursor::default());
        let standby = standbys.on(link).unwrap();
        standby.uploaded = true;
        let update = standby.number();
        standby.told(update, true);
        let mut confirmed = update;
        for number in 1..=2 {
            let stamp: common::user::Stamp = format!("{number}.0@c2").parse().unwrap();
            let record =
                UserRecord { registration: stamp.clone(), changed: stamp, written: None, secret: None };
            let mut seen = common::users::Seen::default();
            seen.advance(record.written());
            let claim = Claim::of(seen, true);
            registry.take_in(
                WallMillis(9),
                vec![(format!("user-{number}").parse().unwrap(), record)],
                &claim,
            );
        }
        for left in [true, false] {
            assert!(standbys.on(link).unwrap().confirm(confirmed));
            assert!(standbys.list_ready(&registry).is_empty());
            let standby = standbys.on(link).unwrap();
            let (told, _) = standby.cursor.next(&registry, 1, |_| true);
            assert_eq!((told.len(), standby.cursor.is_at_end(&registry)), (1, !left));
            confirmed = standby.number();
            standby.told(confirmed, false);
        }
        assert!(!standbys.hold_everything(&registry));
        assert!(standbys.on(link).unwrap().confirm(confirmed));
        assert_eq!(standbys.list_ready(&registry), [id]);
        assert!(standbys.hold_everything(&registry));
    }
}
