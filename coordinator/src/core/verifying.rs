//! A secret against the hash of a user: to log in, to register again what is registered, to change the secret.
//!
//! Whoever has just registered or changed a secret on this connection is known by a digest and costs no second hash. An unknown name is
//! verified against a decoy, so that refusing it takes as long as refusing a wrong secret.

use common::id::LinkId;
use common::machine::{Action, JobId};
use common::password;
use common::user::{Secret, UserRecord, Username};
use tracing::debug;

use super::config::Effect;
use super::jobs::{HashJob, Verification};
use super::links::{Party, Proven, Purpose};
use super::refusals::{Asked, Refusal};
use super::secrets::Digest;
use super::{Coordinator, Turn};

impl Coordinator {
    /// Has `secret` verified for what the link wants.
    pub(super) fn verify(
        &mut self,
        turn: &mut Turn<'_>,
        link: LinkId,
        username: Username,
        secret: Secret,
        purpose: Purpose,
    ) {
        let user = self.registry.get(&username);
        let hash = user.and_then(|user| user.secret.clone()).unwrap_or_else(password::decoy);
        let changed = user.map(|user| user.changed.clone());
        let verification = Verification { link, username, changed, secret: secret.clone(), tried: 0 };
        let job = self.jobs.start(HashJob::Verify(verification));
        if let Some(known) = self.links.get_mut(link) {
            let deadline = turn.now.time + self.config.limits.login_deadline;
            known.party = Party::Verifying { deadline, purpose };
            turn.actions.push(Action::Effect(Effect::Verify { job, from: known.peer, secret, hash }));
        }
    }

    /// Has `secret` hashed for whoever is at the other end of `link`.
    pub(super) fn hash(&mut self, turn: &mut Turn<'_>, link: LinkId, job: JobId, secret: Secret) {
        if let Some(known) = self.links.get(link) {
            turn.actions.push(Action::Effect(Effect::Hash { job, from: known.peer, secret }));
        }
    }

    /// There was no time to hash or verify a secret.
    pub(super) fn unhashed(&mut self, turn: &mut Turn<'_>, job: JobId) {
        let (link, asked) = match self.jobs.get(job) {
            Some(HashJob::Hash { link, username }) if self.registry.is_changing(username) => {
                (*link, Asked::ChangeSecret)
            }
            Some(HashJob::Hash { link, .. }) => (*link, Asked::Register),
            Some(HashJob::Verify(Verification { link, .. })) => {
                let party = self.links.get(*link).map(|known| &known.party);
                let Some(Party::Verifying { purpose, .. }) = party else {
                    unreachable!("a link goes nowhere while its secret is verified")
                };
                (*link, purpose.asked())
            }
            // It was cancelled.
            None => return,
        };
        self.refuse(turn, link, asked, &Refusal::Busy);
    }

    /// The verdict on a secret has come.
    pub(super) fn verified(&mut self, turn: &mut Turn<'_>, job: JobId, matches: bool) {
        let verification = match self.jobs.finish(job) {
            Some(HashJob::Verify(verification)) => verification,
            Some(HashJob::Hash { .. }) => unreachable!("what is hashed is not verified"),
            None => return,
        };
        let Some(verification) = self.try_next(turn, verification, matches) else { return };
        let Verification { link, username, changed, tried, .. } = verification;
        let known = self.links.get_mut(link).expect("what was asked for is cancelled when its link goes");
        let idle = Party::Stranger { deadline: turn.now.time, proven: None };
        let Party::Verifying { purpose, .. } = std::mem::replace(&mut known.party, idle) else {
            unreachable!("a link goes nowhere while its secret is verified")
        };
        let user = self.registry.get(&username);
        let refusal = match () {
            () if !self.is_main() => Refusal::SteppedDown,
            () if matches && tried > 0 => Refusal::Conflict { name: username },
            // What the secret was compared with is not what there is by now: the verdict says nothing.
            () if user.map(|user| &user.changed) != changed.as_ref() => Refusal::Changed(username),
            // An unknown name fails whatever the decoy says.
            () if changed.is_none() || !matches => match purpose {
                Purpose::Register(_) => {
                    Refusal::Unavailable(super::registry::Unavailable::Registered(username))
                }
                Purpose::LogIn | Purpose::ChangeSecret(_)
                    if self.is_incomplete() || self.writing.mentions(&username) =>
                {
                    Refusal::Incomplete
                }
                Purpose::LogIn | Purpose::ChangeSecret(_) => Refusal::Wrong,
            },
            () => {
                let user = user.expect("it is the one that was verified").clone();
                return self.proven(turn, link, username, user, purpose);
            }
        };
        self.refuse(turn, link, purpose.asked(), &refusal);
    }

    /// A log-in whose secret is not the user's goes on to the registrations that lost the name, one by one: their owners are to hear
    /// what happened. Gives back what has come to its end.
    fn try_next(&mut self, turn: &mut Turn<'_>, last: Verification, matches: bool) -> Option<Verification> {
        let party = self.links.get(last.link).map(|known| &known.party);
        let logs_in = matches!(party, Some(Party::Verifying { purpose: Purpose::LogIn, .. }));
        let next = self.registry.live(&last.username).nth(last.tried + 1);
        let Some(hash) = next.and_then(|record| record.secret.clone()).filter(|_| logs_in && !matches) else {
            return Some(last);
        };
        let (secret, from) = (last.secret.clone(), self.links.get(last.link)?.peer);
        let job = self.jobs.start(HashJob::Verify(Verification { tried: last.tried + 1, ..last }));
        turn.actions.push(Action::Effect(Effect::Verify { job, from, secret, hash }));
        None
    }

    /// Whoever was at the other end is gone. What has not been hashed or verified for it need not be any more, and the name that was held
    /// meanwhile is released: in an overload, the time is better spent on those who still wait.
    pub(super) fn cancel_hash(&mut self, turn: &mut Turn<'_>, link: LinkId) {
        let Some((job, hash)) = self.jobs.cancel(link) else { return };
        if let HashJob::Hash { username, .. } = hash {
            self.registry.hash_cancelled(&username, job);
        }
        turn.actions.push(Action::Effect(Effect::Cancel { job }));
    }

    /// The client at the other end is this user.
    fn proven(
        &mut self,
        turn: &mut Turn<'_>,
        link: LinkId,
        username: Username,
        user: UserRecord,
        purpose: Purpose,
    ) {
        match purpose {
            Purpose::LogIn => self.admit(turn, link, username, Some(user.registration)),
            Purpose::Register(digest) => {
                // Backups may have been lost since it asked.
                if let Err(refusal) = self.may_change() {
                    return self.refuse(turn, link, Asked::Register, &refusal);
                }
                // So may have been what is to be confirmed: it is repeated in a moment.
                if self.something_is_unsettled() {
                    return self.refuse(turn, link, Asked::Register, &Refusal::Busy);
                }
                debug!(%username, "registered again, with the same secret");
                self.confirm_registration(turn, link, username, user.changed, digest, true);
            }
            Purpose::ChangeSecret(new) => self.start_change(turn, link, username, user.registration, new),
        }
    }

    /// The client has shown on this connection that it is this user: it may log in next, without a hash.
    pub(super) fn remember(&mut self, turn: &Turn<'_>, link: LinkId, proven: Proven) {
        let deadline = turn.now.time + self.config.limits.login_deadline;
        if let Some(known) = self.links.get_mut(link) {
            known.party = Party::Stranger { deadline, proven: Some(proven) };
        }
    }

    /// The user who has proven on this very connection to have this secret, where its record is still the same.
    pub(super) fn remembered(
        &self,
        link: LinkId,
        username: &Username,
        secret: &Secret,
    ) -> Option<&UserRecord> {
        let Party::Stranger { proven: Some(proven), .. } = &self.links.get(link)?.party else { return None };
        let user = self.registry.get(username)?;
        let matches = proven.username == *username
            && proven.changed == user.changed
            && Digest::matches(&proven.secret, secret);
        matches.then_some(user)
    }
}
