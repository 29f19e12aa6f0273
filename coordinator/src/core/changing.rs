//! CHANGE_SECRET, by the user itself, and REMOVE_USER, by an operator.
//!
//! The name is held from the moment at which it is clear that the change may be made, so that nobody keeps a name busy without its
//! secret. Meanwhile its user logs in as ever: nothing has changed before the disk says so.

use common::id::LinkId;
use common::user::{Secret, Stamp, Username};
use common::wire::{ChangeSecret, RemoveUser};

use super::jobs::HashJob;
use super::links::{Party, Purpose};
use super::refusals::{Asked, Refusal, SECRET_RULE};
use super::registry::Asker;
use super::secrets::Digest;
use super::{Coordinator, Turn};

impl Coordinator {
    pub(super) fn change_secret(&mut self, turn: &mut Turn<'_>, link: LinkId, request: ChangeSecret) {
        let ChangeSecret { username, secret, new_secret } = request;
        let refusal = match username.parse::<Username>() {
            Err(error) => Refusal::Unacceptable(error.to_string()),
            Ok(username) if username.is_anonymous() => {
                Refusal::Unacceptable("anonymous has no secret".to_owned())
            }
            Ok(_) if !secret.is_acceptable() || !new_secret.is_acceptable() => {
                Refusal::Unacceptable(SECRET_RULE.to_owned())
            }
            Ok(username) => {
                return self.verify(turn, link, username, secret, Purpose::ChangeSecret(new_secret));
            }
        };
        self.refuse(turn, link, Asked::ChangeSecret, &refusal);
    }

    /// The secret so far was right: the new one is hashed, and the name held until it is on disk.
    pub(super) fn start_change(
        &mut self,
        turn: &mut Turn<'_>,
        link: LinkId,
        username: Username,
        registration: Stamp,
        new: Secret,
    ) {
        let may = self.may_change().and_then(|()| Ok(self.registry.may_hold(&username)?));
        if let Err(refusal) = may {
            return self.refuse(turn, link, Asked::ChangeSecret, &refusal);
        }
        let asker = Asker::Owner { link, digest: Digest::of(&new) };
        let job = self.jobs.start(HashJob::Hash { link, username: username.clone() });
        self.registry.hold(turn.now.time, username, Some(registration), asker, job);
        if let Some(known) = self.links.get_mut(link) {
            known.party = Party::Holding;
        }
        self.hash(turn, link, job, new);
    }

    pub(super) fn remove_user(&mut self, turn: &mut Turn<'_>, link: LinkId, request: RemoveUser) {
        if !self.knows_secret(turn, link, &request.secret) {
            return;
        }
        self.links.promote(link, Party::Operator);
        match self.may_remove(&request.username) {
            Ok((username, registration)) => {
                self.registry.hold_to_remove(username, registration, Asker::Operator { link });
                self.propose_next(turn);
            }
            Err(refusal) => self.refuse(turn, link, Asked::RemoveUser, &refusal),
        }
    }

    fn may_remove(&self, username: &str) -> Result<(Username, Stamp), Refusal> {
        if self.draining {
            return Err(Refusal::Draining);
        }
        self.may_change()?;
        let username: Username = username
            .parse()
            .map_err(|error: common::user::UsernameError| Refusal::Unacceptable(error.to_string()))?;
        let Some(user) = self.registry.get(&username) else { return Err(Refusal::NotRegistered(username)) };
        self.registry.may_hold(&username)?;
        Ok((username, user.registration.clone()))
    }
}
