//! REGISTER, and LOCK_REQUEST, which is the same for a client of a worker.
//!
//! A client's secret is hashed first (a worker has done so itself); then both go the same way to the disk (`storing`). REGISTER may be
//! repeated by whoever has not heard the answer: of a registered name the secret is verified, and the right one is a success.

use common::id::LinkId;
use common::password;
use common::user::{PasswordHash, Username, UsernameError};
use common::wire::{LockRequest, Register};

use super::jobs::HashJob;
use super::links::{Party, Purpose};
use super::refusals::{Asked, Refusal, SECRET_RULE};
use super::registry::Asker;
use super::reign::Reigning;
use super::secrets::Digest;
use super::{Coordinator, Turn};

impl Coordinator {
    pub(super) fn register(&mut self, turn: &mut Turn<'_>, link: LinkId, request: Register) {
        self.release_from_ended(turn, &request.username);
        let username = match self.may_register(&request) {
            Ok(username) => username,
            Err(refusal) => return self.refuse(turn, link, Asked::Register, &refusal),
        };
        let digest = Digest::of(&request.secret);
        if self.registry.get(&username).is_some() {
            return self.verify(turn, link, username, request.secret, Purpose::Register(digest));
        }
        let job = self.jobs.start(HashJob::Hash { link, username: username.clone() });
        self.registry.hold(turn.now.time, username, None, Asker::Client { link, digest }, job);
        if let Some(known) = self.links.get_mut(link) {
            known.party = Party::Holding;
        }
        self.hash(turn, link, job, request.secret);
    }

    /// A name is wanted that is held for one who says no more, and whose secret is not hashed yet: it may be the same client, which has
    /// given up and asks again. Whoever asks now is there.
    fn release_from_ended(&mut self, turn: &mut Turn<'_>, username: &str) {
        let holder = username.parse().ok().and_then(|name: Username| self.registry.hashing_for(&name));
        if let Some(link) = holder.filter(|link| self.links.get(*link).is_some_and(|known| known.has_ended)) {
            self.refuse(turn, link, Asked::Register, &Refusal::Busy);
        }
    }

    fn may_register(&self, request: &Register) -> Result<Username, Refusal> {
        let username: Username = request
            .username
            .parse()
            .map_err(|error: UsernameError| Refusal::Unacceptable(error.to_string()))?;
        if username.is_anonymous() {
            return Err(Refusal::Anonymous);
        }
        if !request.secret.is_acceptable() {
            return Err(Refusal::Unacceptable(SECRET_RULE.to_owned()));
        }
        if self.registry.get(&username).is_none() {
            username.check_presentable().map_err(|error| Refusal::Unacceptable(error.to_string()))?;
            self.registry.may_hold(&username)?;
        }
        self.may_change()?;
        Ok(username)
    }

    /// Whether enough backups are in step for a change to be acknowledged, and the disk takes it.
    pub(super) fn may_change(&self) -> Result<(), Refusal> {
        let needed = self.config.require_backups;
        if self.standbys.are_too_few() || !self.has_merged_enough() {
            return Err(Refusal::TooFewBackups(needed));
        }
        if self.writing.is_failing() {
            return Err(Refusal::NotStored);
        }
        Ok(())
    }

    /// Whether this coordinator is about to leave its place to a backup.
    fn is_handing_over(&self) -> bool {
        matches!(&self.reigning, Reigning::Main(main) if main.handover.is_some())
    }

    pub(super) fn lock_request(&mut self, turn: &mut Turn<'_>, link: LinkId, request: LockRequest) {
        let LockRequest { username, secret } = request;
        let asker = Asker::Worker { link };
        match self.may_lock(&username, &secret) {
            Ok(()) => {
                self.registry.hold_ready(username, None, asker, Some(secret));
                self.propose_next(turn);
            }
            Err(refusal) => self.deny(turn, username, &asker, &refusal),
        }
    }

    fn may_lock(&self, username: &Username, secret: &PasswordHash) -> Result<(), Refusal> {
        if self.draining || self.is_handing_over() {
            return Err(Refusal::Draining);
        }
        self.may_change()?;
        if username.is_anonymous() {
            return Err(Refusal::Anonymous);
        }
        if !password::is_well_formed(secret) {
            return Err(Refusal::Unacceptable(
                "the secret of LOCK_REQUEST is not an Argon2id hash".to_owned(),
            ));
        }
        self.registry.may_register(username)?;
        username.check_presentable().map_err(|error| Refusal::Unacceptable(error.to_string()))
    }
}
