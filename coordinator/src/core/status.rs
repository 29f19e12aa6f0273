//! How the network is, as an operator sees it.

use common::limits;
use common::wire::{Conflict, CoordinatorStatus, Role, State, StatusReport};

use super::Coordinator;
use super::reign::Reigning;

/// Why clients are refused where there is no worker, or none that takes them.
pub(super) const NO_WORKER: &str = "no worker takes clients";

/// What is said of a main coordinator that has heard from nobody which workers there are.
pub(super) const AWAITED: &str =
    "the main coordinator has just started: workers may still be on their way back";

impl Coordinator {
    /// How it is; the conflicts are listed where they are asked for.
    pub fn status(&self, conflicts: bool) -> StatusReport {
        let reasons = self.reasons();
        let conflict = |(username, record): (&common::user::Username, &common::user::UserRecord)| {
            let winner = self.registry.get(username)?;
            Some(Conflict {
                username: username.clone(),
                registration: record.registration.clone(),
                lost_to: winner.registration.clone(),
                registered: record.registration.wall,
            })
        };
        let listed = if conflicts { limits::CONFLICTS } else { 0 };
        StatusReport {
            id: self.config.id.clone(),
            network: self.group.network.clone(),
            role: self.standing().role,
            highest_epoch: self.epoch.clone(),
            state: if reasons.is_empty() { State::Normal } else { State::Recovering },
            reasons,
            users: self.registry.len() as u64,
            coordinators: self.coordinators(),
            workers: self.placement.status(),
            history: self.group.history.clone(),
            conflict_count: self.registry.conflict_count() as u64,
            conflicts: self.registry.conflicts().filter_map(conflict).take(listed).collect(),
        }
    }

    fn coordinators(&self) -> Vec<CoordinatorStatus> {
        let standing = self.standing();
        let is_backup = |id| self.ranks.iter().position(|ranked| *ranked == id);
        let mut coordinators: Vec<CoordinatorStatus> = Vec::new();
        for member in &self.group.members {
            let up = self.peers.named(&member.id).and_then(|(_, peer)| peer.up());
            let standby = self.standbys.named(&member.id);
            let me = member.id == self.config.id;
            coordinators.push(CoordinatorStatus {
                server: member.clone(),
                role: if me { Some(standing.role) } else { up.map(|up| up.standing.role) },
                heard_epoch: if me { self.epoch.clone() } else { up.and_then(|up| up.epoch.clone()) },
                listed: match (me, up) {
                    (true, _) => standing.rank.is_some(),
                    (false, Some(_)) if self.is_main() => self.standbys.is_listed(&member.id),
                    (false, Some(up)) => up.standing.rank.is_some(),
                    (false, None) => false,
                },
                behind: standby.map(|standby| standby.behind()),
            });
        }
        coordinators.sort_by_key(|coordinator| {
            let id = coordinator.server.id.clone();
            (coordinator.role != Some(Role::Main), !coordinator.listed, is_backup(id.clone()), id)
        });
        coordinators
    }

    /// Whether there may be workers that it has not heard of yet: they pause between their attempts.
    fn is_awaiting_workers(&self) -> bool {
        matches!(&self.reigning, Reigning::Main(main) if main.awaited.is_some_and(|until| self.attended < until))
    }

    /// Why the network is not as it should be.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match &self.reigning {
            Reigning::Seeking(_) => reasons.push("no main coordinator is known".to_owned()),
            Reigning::Main(main) if main.handover.is_some() => {
                reasons.push("the main coordinator is handing over".to_owned())
            }
            Reigning::Main(_) | Reigning::Backup(_) => {}
        }
        if self.writing.hangs() {
            reasons.push(format!("the disk of {} does not answer", self.config.id));
        } else if self.writing.is_failing() {
            reasons.push(format!("the disk of {} takes nothing", self.config.id));
        }
        for (_, peer) in self.peers.iter().filter(|(_, peer)| peer.configured && peer.foreign) {
            reasons.push(format!("{}, named by --backup, is of another network", peer.address));
        }
        for member in self.group.members.iter().filter(|member| member.id != self.config.id) {
            match self.peers.named(&member.id).and_then(|(_, peer)| peer.up()) {
                None => reasons.push(format!("coordinator {} is not connected", member.id)),
                Some(_) if self.is_main() && !self.standbys.is_listed(&member.id) => {
                    reasons.push(format!("coordinator {} is catching up", member.id));
                }
                Some(_) => {}
            }
        }
        if self.is_main() {
            if !self.placement.is_open() {
                reasons.push(NO_WORKER.to_owned());
            }
            if self.is_awaiting_workers() {
                reasons.push(AWAITED.to_owned());
            }
            let gone = self.placement.status().into_iter().filter(|worker| !worker.connected);
            reasons.extend(gone.map(|worker| format!("worker {} is not connected", worker.server.id)));
            reasons.extend(self.placement.silent().map(|id| format!("worker {id} has gone silent")));
            let recovering = self.placement.recovering();
            reasons.extend(recovering.map(|id| format!("worker {id} is catching up with what it missed")));
        }
        reasons
    }
}
