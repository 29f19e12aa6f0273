//! Who reigns: looking for the main coordinator, following it, becoming it, ceasing to be it.
//!
//! A coordinator is *seeking* until it knows of a main one; then it *follows* that one as a backup, or *is* it. Whoever seeks and finds no
//! main coordinator takes over when nobody with a better claim is left to wait for: the higher epoch, then the place in the BACKUP_LIST.
//! A main coordinator whose connection closed and whose address then refuses one has crashed, and is waited for no longer. One that is
//! merely silent gets the failure time-out, and is waited for as long as another coordinator or a worker hears it.
//!
//! **Invariants.** A new epoch is on disk before anything is said or done in it. Whoever hears of a higher epoch does nothing any more in
//! its own. Two coordinators that can see each other never both reign for longer than a message travels.

use std::collections::BTreeSet;
use std::time::Duration;

use common::epoch::{Epoch, Reign};
use common::id::ServerId;
use common::limits;
use common::time::Time;
use common::users::Seen;
use common::wire::{Address, AuthenticationFail, Heartbeat, Role, Standing};
use tracing::{info, warn};

use super::feed::Claim;
use super::following::Following;
use super::handover::{self, Handover};
use super::inquiry::Inquiry;
use super::links::Party;
use super::peers::PeerId;
use super::refusals::Refusal;
use super::registry::Entry;
use super::writing::{Then, Write};
use super::{Coordinator, Turn};

/// How far ahead stamps are reserved on disk. A coordinator that crashes begins beyond; so it gets ahead of its clock by no more than this
/// for each crash, and one more write a second is needed where users change all the time.
pub(super) const STAMP_LEASE: Duration = Duration::from_secs(1);

/// What this coordinator is.
#[derive(Debug)]
pub(super) enum Reigning {
    Seeking(Seeking),
    Main(Main),
    Backup(Following),
}

/// Looking for the main coordinator, or about to become it.
#[derive(Debug)]
pub(super) struct Seeking {
    pub(super) since: Time,
    pub(super) lost: Lost,
    /// The epoch that is being written.
    pub(super) rising: Option<Epoch>,
    /// Whether workers hear the main coordinator.
    pub(super) inquiry: Inquiry,
    /// When to look again, if nothing happens before.
    pub(super) next: Option<Time>,
}

/// What became of the main coordinator that was followed.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost {
    id: Option<ServerId>,
    pub(super) why: Why,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Why {
    /// None was followed.
    #[default]
    Started,
    /// Its connection is gone, or nothing comes over it.
    Silent,
    /// Nobody listens there any more.
    Crashed,
    /// It leaves, and says so.
    HandedOver,
    /// It follows a higher epoch, or this one did and found nobody.
    SteppedDown,
}

/// Being the main coordinator.
#[derive(Debug)]
pub(super) struct Main {
    /// Until when nothing is proposed, because backups and workers that know more are still coming.
    pub(super) gathering: Option<Time>,
    /// Until when nothing is proposed, because a backup or a worker that came a moment ago may know users that this one does not.
    pub(super) merging: Option<Time>,
    /// What workers have said that they know.
    pub(super) known_to_workers: Seen,
    /// What was proposed to this one, never settled, and is not adopted yet.
    pub(super) unadopted: Vec<Entry>,
    /// What others claim to know of the writers of these. Their claims may not include them: they are believed when all are adopted.
    pub(super) claimed: Claim,
    /// Workers that are still to come back: those that can be reached, as far as is known.
    pub(super) expected: BTreeSet<ServerId>,
    /// Until when workers may come back of whom this one knows nothing: it has reigned or followed before, and has started anew.
    pub(super) awaited: Option<Time>,
    /// The members whose users have been taken over in this reign.
    pub(super) merged: BTreeSet<ServerId>,
    pub(super) handover: Option<Handover>,
    /// When a backup was to take over last, and did not.
    pub(super) handed_over_in_vain: Option<Time>,
}

impl Lost {
    /// The main coordinator of this name is gone.
    pub(super) fn silent(id: Option<ServerId>) -> Self {
        Lost { id, why: Why::Silent }
    }

    /// The main coordinator leaves, and this one is to take its place.
    pub(super) fn handed_over(id: Option<ServerId>) -> Self {
        Lost { id, why: Why::HandedOver }
    }

    fn stepped_down() -> Self {
        Lost { id: None, why: Why::SteppedDown }
    }

    /// Nobody need be asked whether it lives.
    pub(super) fn is_certain(&self) -> bool {
        matches!(self.why, Why::Crashed | Why::HandedOver)
    }

    fn sentence(&self) -> String {
        let id = self.id.as_ref().map_or("the main coordinator", ServerId::as_str);
        match self.why {
            Why::Started => "it started and found no main coordinator".to_owned(),
            Why::Silent => format!("nothing was heard from {id} any more"),
            Why::Crashed => format!("{id} has crashed: its address refuses connections"),
            Why::HandedOver => format!("{id} handed over: it was told to stop, or its disk takes nothing"),
            Why::SteppedDown => "it gave way to a higher epoch, of which nobody reigned".to_owned(),
        }
    }
}

impl Seeking {
    pub(super) fn new(now: Time, lost: Lost) -> Self {
        Seeking { since: now, lost, rising: None, inquiry: Inquiry::default(), next: Some(now) }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.next
    }

    /// Whether this coordinator has just started, and has done nothing yet.
    pub(super) fn is_first(&self) -> bool {
        self.lost.why == Why::Started && self.rising.is_none()
    }
}

impl Coordinator {
    pub(super) fn is_main(&self) -> bool {
        matches!(self.reigning, Reigning::Main(_))
    }

    /// Where the main coordinator is, where this one follows it, or workers hear it.
    pub(super) fn main_address(&self) -> Option<Address> {
        let main = match &self.reigning {
            Reigning::Backup(following) => self.peers.get(following.main)?,
            Reigning::Seeking(seeking) => self.peers.named(seeking.inquiry.heard()?)?.1,
            Reigning::Main(_) => return None,
        };
        Some(main.address.clone())
    }

    /// What this coordinator says of itself.
    pub(super) fn standing(&self) -> Standing {
        let (role, rank, main) = match &self.reigning {
            Reigning::Main(_) => (Role::Main, Some(0), Some(self.config.id.clone())),
            Reigning::Backup(following) => {
                let main = self.peers.get(following.main).and_then(|peer| peer.id.clone());
                (Role::Backup, self.rank, main)
            }
            Reigning::Seeking(_) => (Role::Seeking, self.rank, None),
        };
        // One that cannot write cannot take over.
        let rank = rank.filter(|_| !self.writing.is_failing());
        let network = (!self.registry.is_blank()).then(|| self.group.network.clone());
        Standing { role, rank, main, network }
    }

    /// Tells the other coordinators what this one is.
    pub(super) fn announce_standing(&mut self, turn: &mut Turn<'_>) {
        let heartbeat = Heartbeat { standing: self.standing() };
        let links: Vec<_> = self.peers.up().map(|(_, _, up)| up.link).collect();
        for link in links {
            self.say(turn, link, heartbeat.clone());
        }
    }

    pub(super) fn set_rank(&mut self, turn: &mut Turn<'_>, rank: Option<u64>) {
        if self.rank != rank {
            self.rank = rank;
            self.announce_standing(turn);
        }
    }

    /// Why an epoch that somebody shows is not believed.
    pub(super) fn absurdity(&self, epoch: Option<&Epoch>) -> Option<String> {
        epoch?.absurdity(self.epoch.as_ref())
    }

    /// An authenticated server has shown an epoch. A higher one than ours is followed from now on.
    pub(super) fn hear_epoch(&mut self, turn: &mut Turn<'_>, epoch: Option<&Epoch>) {
        if epoch <= self.epoch.as_ref() {
            return;
        }
        let Some(epoch) = epoch else { return };
        info!(%epoch, "heard of a higher epoch");
        let gave_way = self.give_way(turn.now.time);
        self.epoch = Some(epoch.clone());
        if gave_way || self.group.epoch.as_ref() < Some(epoch) {
            self.group.epoch = Some(epoch.clone());
            let group = Some(self.group.clone());
            self.write(turn, Write { group, ..Write::nothing(Then::Nothing) });
        }
        match &self.reigning {
            Reigning::Main(_) => self.step_down(turn),
            Reigning::Backup(following) => {
                let main = self.peers.get(following.main).and_then(|peer| peer.up());
                if main.is_none_or(|main| main.epoch.as_ref() < Some(epoch)) {
                    self.seek(turn, Lost::stepped_down());
                }
            }
            Reigning::Seeking(_) => self.announce_standing(turn),
        }
    }

    /// Somebody else reigns, while our own epoch is on disk or on its way there. It has been said to nobody, and is as good as never taken:
    /// an epoch that is lower takes its place, or we would follow somebody below what we know. Says whether there was one.
    fn give_way(&mut self, now: Time) -> bool {
        let is_unsaid =
            |epoch: &&Epoch| Some(*epoch) > self.epoch.as_ref() && epoch.coordinator == self.config.id;
        let Some(unsaid) = self.group.epoch.as_ref().filter(is_unsaid).cloned() else { return false };
        if let Reigning::Seeking(seeking) = &mut self.reigning
            && seeking.rising.take().is_some()
        {
            seeking.next = Some(now);
        }
        self.group.history.retain(|reign| reign.epoch != unsaid);
        true
    }

    /// Looks for a main coordinator from now on.
    pub(super) fn seek(&mut self, turn: &mut Turn<'_>, lost: Lost) {
        self.end_inquiry(turn);
        self.reigning = Reigning::Seeking(Seeking::new(turn.now.time, lost));
        self.announce_standing(turn);
    }

    /// Reigns no longer: somebody of a higher epoch does, or will.
    pub(super) fn step_down(&mut self, turn: &mut Turn<'_>) {
        warn!("no longer the main coordinator");
        let handover = match &mut self.reigning {
            Reigning::Main(main) => main.handover.take(),
            _ => None,
        };
        self.rank = None;
        self.seek(turn, Lost::stepped_down());
        let settling = !self.standbys.is_proposing();
        let asked = self.registry.resign(settling);
        self.proposed.clear();
        self.standbys.clear();
        for (username, asker) in asked {
            self.deny(turn, username, &asker, &Refusal::SteppedDown);
        }
        self.fail_imports(turn, &Refusal::SteppedDown);
        for link in self.links.which(|party| matches!(party, Party::Worker(_))) {
            let info = "this is no longer the main coordinator".to_owned();
            let retry_after = Some(self.retry_after());
            self.dismiss(turn, link, AuthenticationFail { info, retry_after, taken: false });
        }
        if handover.is_some_and(|handover| handover.leaves) {
            self.leaving = Some(turn.now.time + handover::PATIENCE);
        }
    }

    /// The peer of this number has crashed, or its link is gone.
    pub(super) fn peer_lost(&mut self, turn: &mut Turn<'_>, number: PeerId, crashed: bool) {
        let id = self.peers.get(number).and_then(|peer| peer.id.clone());
        match &mut self.reigning {
            Reigning::Seeking(seeking) => {
                if crashed
                    && seeking.lost.id.is_some()
                    && seeking.lost.id == id
                    && seeking.lost.why == Why::Silent
                {
                    seeking.lost.why = Why::Crashed;
                }
            }
            Reigning::Backup(following) if following.main == number => {
                warn!(main = self.peers.name(number), "the connection to the main coordinator is gone");
                let why = if crashed { Why::Crashed } else { Why::Silent };
                self.seek(turn, Lost { id, why });
            }
            Reigning::Backup(_) => {}
            Reigning::Main(_) => {
                let Some(id) = id else { return };
                if crashed {
                    self.delist(turn, vec![id], "its address refuses connections");
                }
            }
        }
    }

    pub(super) fn rise(&mut self, turn: &mut Turn<'_>) {
        let Reigning::Seeking(seeking) = &mut self.reigning else { return };
        seeking.next = None;
        if self.writing.is_failing() || !self.writing.is_idle() {
            // It is asked again when the disk is free; until then somebody else may be heard who reigns.
            return;
        }
        let epoch = Epoch::after(self.group.epoch.as_ref().max(self.epoch.as_ref()), &self.config.id);
        let why = seeking.lost.sentence();
        info!(%epoch, why, "taking over");
        seeking.rising = Some(epoch.clone());
        let after = self.group.epoch.as_ref().map(|epoch| epoch.coordinator.clone());
        let reigns = self.group.history.iter().filter(|reign| reign.epoch.coordinator == self.config.id);
        let before = reigns.map(|reign| reign.since).chain([self.group.stamps_until]).max();
        let since = self.registry.beginning(turn.now.wall, before);
        self.group.stamps_until = since + STAMP_LEASE;
        self.group.epoch = Some(epoch.clone());
        self.group.remember(vec![Reign { epoch: epoch.clone(), since, after, why }]);
        self.group.include(self.me());
        let group = Some(self.group.clone());
        self.write(turn, Write { group, ..Write::nothing(Then::Reign(epoch)) });
    }

    /// The epoch is on disk.
    pub(super) fn reign(&mut self, turn: &mut Turn<'_>, epoch: Epoch) {
        let now = turn.now.time;
        let doubted = self.doubted_until(now).is_some();
        let Reigning::Seeking(seeking) = &mut self.reigning else { return };
        if seeking.rising.take().as_ref() != Some(&epoch) {
            return;
        }
        if self.epoch.as_ref() >= Some(&epoch) || self.draining || doubted {
            seeking.next = Some(now);
            return;
        }
        let in_silence = seeking.lost.why == Why::Silent;
        let was_told_everything = seeking.lost.is_certain() && self.rank.is_some();
        let mut expected = if was_told_everything { BTreeSet::new() } else { self.placement.ids() };
        expected.retain(|id| !seeking.inquiry.asked_in_vain(id));
        let started_anew = seeking.lost.why == Why::Started && self.group.history.len() > 1;
        let awaited = started_anew.then(|| now + limits::RECONNECT.1);
        self.end_inquiry(turn);
        if in_silence {
            self.note_takeover_in_silence(now);
        }
        self.epoch = Some(epoch.clone());
        self.rank = Some(0);
        self.placement.restart(now);
        let others = self.peers.up().next().is_some();
        let gathering = (others || !self.placement.is_empty()).then(|| now + self.config.limits.sync_timeout);
        let merged = BTreeSet::from([self.config.id.clone()]);
        let begun = self.group.history.iter().find(|reign| reign.epoch == epoch);
        self.registry.begin(begun.map_or(turn.now.wall, |reign| reign.since));
        let adopted = self.adopt_proposed();
        info!(%epoch, adopted = adopted.len(), "this is the main coordinator");
        self.reigning = Reigning::Main(Main {
            gathering,
            merging: None,
            known_to_workers: Seen::default(),
            unadopted: adopted,
            claimed: Claim::default(),
            expected,
            awaited,
            merged,
            handover: None,
            handed_over_in_vain: None,
        });
        self.announce_standing(turn);
        self.tell_list(turn);
        self.unpark(turn);
        self.propose_next(turn);
    }

    pub(super) fn follow(&mut self, turn: &mut Turn<'_>, main: PeerId) {
        let Some(up) = self.peers.get(main).and_then(|peer| peer.up()) else { return };
        let link = up.link;
        info!(main = self.peers.name(main), "following the main coordinator");
        self.end_inquiry(turn);
        self.rank = None;
        // It may be the same as before, whose updates are numbered anew.
        self.writing.forget(link);
        self.reigning = Reigning::Backup(Following::new(main));
        self.announce_standing(turn);
        self.ask_for_updates(turn, link);
        self.unpark(turn);
        if self.leaving.is_some() {
            self.drain(turn);
        }
    }
}
