//! The names that are held: from the first request for a change on until it counts, or has failed.

use std::collections::BTreeSet;
use std::time::Duration;

use common::id::LinkId;
use common::machine::JobId;
use common::time::Time;
use common::user::{PasswordHash, Stamp, UserRecord, Username};

use super::{Asker, Reason, Registry, Unavailable, Wanted};

#[derive(Debug)]
pub(super) struct Hold {
    /// The registration that is to be changed; `None` for a new one.
    pub(super) of: Option<Stamp>,
    /// Who hears of it; `None` once they have been told that it failed, as far as they are concerned.
    pub(super) asker: Option<Asker>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The secret is being hashed by this job, since then.
    Hashing { job: JobId, since: Time },
    /// The record waits for its batch, or is under way.
    Writing,
}

impl Registry {
    /// Whether the name is under registration.
    pub(in crate::core) fn is_being_registered(&self, username: &Username) -> bool {
        self.holds.get(username).is_some_and(|hold| hold.of.is_none())
    }

    /// Whether any name is held.
    pub(in crate::core) fn has_holds(&self) -> bool {
        !self.holds.is_empty()
    }

    /// Whether whoever is at the other end of `link` waits for a name that is held.
    pub(in crate::core) fn is_asked_by(&self, link: LinkId) -> bool {
        self.holds.values().any(|hold| hold.asker.as_ref().is_some_and(|asker| asker.link() == link))
    }

    /// Whether this name is held because its user changes something, and not because it is being registered.
    pub(in crate::core) fn is_changing(&self, username: &Username) -> bool {
        self.holds.get(username).is_some_and(|hold| hold.of.is_some())
    }

    /// Whose secret is being hashed to register this name.
    pub(in crate::core) fn hashing_for(&self, username: &Username) -> Option<LinkId> {
        let hold = self.holds.get(username)?;
        match (&hold.stage, &hold.asker) {
            (Stage::Hashing { .. }, Some(Asker::Client { link, .. })) => Some(*link),
            _ => None,
        }
    }

    /// Whether the name can be registered.
    pub(in crate::core) fn may_register(&self, username: &Username) -> Result<(), Unavailable> {
        match self.users.get(username) {
            Some(_) => self.may_confirm(username).and(Err(Unavailable::Registered(username.clone()))),
            None => self.may_hold(username),
        }
    }

    /// Whether a user may be told that the name is its own. Not before that is known for certain: what was only proposed is adopted first,
    /// or the next backup would be listed without it; and where names are given once, it may have been given to somebody else since.
    fn may_confirm(&self, username: &Username) -> Result<(), Unavailable> {
        match self.users.get(username) {
            Some(user) if !self.is_settled(user) => Err(Unavailable::BeingRegistered(username.clone())),
            _ => Ok(()),
        }
    }

    /// Whether the name can be held, for whatever change.
    pub(in crate::core) fn may_hold(&self, username: &Username) -> Result<(), Unavailable> {
        match self.holds.get(username) {
            Some(hold) if hold.of.is_none() => Err(Unavailable::BeingRegistered(username.clone())),
            Some(_) => Err(Unavailable::BeingChanged(username.clone())),
            None if self.holds.len() >= self.limit => Err(Unavailable::Crowded),
            None => Ok(()),
        }
    }

    /// Holds a name while `job` hashes its secret: for a registration, or for a change of the registration `of`.
    pub(in crate::core) fn hold(
        &mut self,
        now: Time,
        username: Username,
        of: Option<Stamp>,
        asker: Asker,
        job: JobId,
    ) {
        let stage = Stage::Hashing { job, since: now };
        self.insert_hold(username, Hold { of, asker: Some(asker), stage });
    }

    /// The hash of a held name's secret has come: its record goes into the next batch. Nothing happens where the name is no longer
    /// held for this job.
    pub(in crate::core) fn hashed(&mut self, username: Username, job: JobId, hash: PasswordHash) {
        let hold = self.holds.get_mut(&username);
        let waiting =
            |hold: &&mut Hold| matches!(&hold.stage, Stage::Hashing { job: held, .. } if *held == job);
        if let Some(hold) = hold.filter(waiting) {
            hold.stage = Stage::Writing;
            let of = hold.of.clone();
            self.collect(username, of, Some(hash));
        }
    }

    /// The hash of a held name's secret will not come: the name is released, where it is still held for this job.
    pub(in crate::core) fn hash_cancelled(&mut self, username: &Username, job: JobId) {
        let hold = self.holds.get(username);
        if hold.is_some_and(|hold| matches!(hold.stage, Stage::Hashing { job: held, .. } if held == job)) {
            self.holds.remove(username);
        }
    }

    /// Holds a name of which all is known: its record, without a secret that of a removed user, goes into the next batch.
    pub(in crate::core) fn hold_ready(
        &mut self,
        username: Username,
        of: Option<Stamp>,
        asker: Asker,
        secret: Option<PasswordHash>,
    ) {
        let hold = Hold { of: of.clone(), asker: Some(asker), stage: Stage::Writing };
        self.insert_hold(username.clone(), hold);
        self.collect(username, of, secret);
    }

    /// Holds the name of a registration that is to be removed, for good: those that lost the name to it go first, one a batch, or the next of
    /// them would have it.
    pub(in crate::core) fn hold_to_remove(&mut self, username: Username, of: Stamp, asker: Asker) {
        let is_another = |record: &&UserRecord| record.registration != of;
        let others: Vec<UserRecord> = self.live(&username).filter(is_another).cloned().collect();
        for record in others {
            let (username, reason) = (username.clone(), Reason::RemovedAsWell);
            self.collected.push(Wanted { username, of: Some(record), secret: None, reason });
        }
        self.hold_ready(username, Some(of), asker, None);
    }

    /// Who asked and will not be told how it ends: what is under way goes on, what has only been collected is dropped.
    pub(in crate::core) fn disown(&mut self) -> Vec<(Username, Asker)> {
        self.collected.retain(|wanted| !wanted.is_held() && wanted.reason != Reason::RemovedAsWell);
        let nothing = BTreeSet::new();
        let under_way = self.batch.as_ref().map_or(&nothing, |batch| &batch.held);
        let mut asked = Vec::new();
        self.holds.retain(|name, hold| {
            if matches!(hold.stage, Stage::Writing) {
                asked.extend(hold.asker.take().map(|asker| (name.clone(), asker)));
            }
            matches!(hold.stage, Stage::Hashing { .. }) || under_way.contains(name)
        });
        asked
    }

    /// Releases the names whose hash has not come within `patience`.
    pub(in crate::core) fn expire(&mut self, now: Time, patience: Duration) -> Vec<(Username, Asker)> {
        let expired =
            |hold: &Hold| matches!(hold.stage, Stage::Hashing { since, .. } if now.since(since) >= patience);
        let names: Vec<Username> =
            self.holds.iter().filter(|(_, hold)| expired(hold)).map(|(name, _)| name.clone()).collect();
        names.into_iter().filter_map(|name| Some((name.clone(), self.release(&name)?))).collect()
    }

    fn insert_hold(&mut self, username: Username, hold: Hold) {
        assert!(self.may_hold(&username).is_ok(), "a name is held that is not to be had");
        let registration = self.users.get(&username).map(|user| &user.registration);
        assert_eq!(registration, hold.of.as_ref(), "a hold is for the user that there is");
        self.holds.insert(username, hold);
    }

    pub(in crate::core) fn release(&mut self, username: &Username) -> Option<Asker> {
        self.holds.remove(username)?.asker
    }
}
