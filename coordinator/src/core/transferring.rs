//! EXPORT and IMPORT: users to an operator's file, and back.
//!
//! What is imported is adopted like a proposal that was never settled: written again under stamps of ours, by way of every backup. So all
//! that is promised of a registration is promised of it, and a registration waits for no more than the batch that is under way.

use common::id::LinkId;
use common::user::{UserRecord, Username};
use common::wire::{Durability, Export, Exported, Import, Imported, Registration};

use super::links::Party;
use super::refusals::{Asked, Refusal};
use super::registry::Reason;
use super::{Coordinator, Turn};

/// An IMPORT that has not been answered.
#[derive(Debug)]
pub(super) struct Importing {
    /// Whose.
    pub(super) link: LinkId,
    /// What is not written yet.
    rest: Vec<(Username, UserRecord)>,
    /// How much there was.
    news: u64,
    /// Whether all that is written is with a backup too.
    replicated: bool,
}

impl Coordinator {
    pub(super) fn export(&mut self, turn: &mut Turn<'_>, link: LinkId, request: Export) {
        if !self.knows_secret(turn, link, &request.secret) {
            return;
        }
        self.links.promote(link, Party::Operator);
        let limit = self.config.limits.sync_users;
        let users = self.registry.beyond(&request.after);
        let some = users.filter(|(_, user)| self.registry.may_be_told(user)).take(limit);
        let registration = |(username, user): (&Username, &UserRecord)| Registration {
            username: username.clone(),
            user: user.clone(),
        };
        let users: Vec<_> = some.map(registration).collect();
        let mut next = request.after;
        users.iter().for_each(|registration| next.advance(registration.user.written()));
        self.say(turn, link, Exported { network: self.group.network.clone(), users, next });
    }

    pub(super) fn import(&mut self, turn: &mut Turn<'_>, link: LinkId, request: Import) {
        if !self.knows_secret(turn, link, &request.secret) {
            return;
        }
        self.links.promote(link, Party::Operator);
        if self.imports.iter().any(|importing| importing.link == link) {
            return self.invalid(
                turn,
                link,
                "an import is under way on this connection; wait for its answer",
            );
        }
        if let Err(refusal) = self.may_import(&request) {
            return self.refuse(turn, link, Asked::Import, &refusal);
        }
        // Where a record stood in another coordinator's order says nothing here.
        let bare = |Registration { username, user }| (username, UserRecord { written: None, ..user });
        let users = request.users.into_iter().map(bare).collect();
        let Some(users) = self.plausible(turn, link, users) else { return };
        let is_news = |(name, record): &(Username, UserRecord)| self.registry.is_news(name, record);
        let rest: Vec<_> = users.into_iter().filter(is_news).collect();
        rest.iter()
            .for_each(|(name, record)| self.registry.adopt(name.clone(), record.clone(), Reason::Restored));
        let (news, replicated) = (rest.len() as u64, self.backups_hold_everything());
        self.imports.push(Importing { link, rest, news, replicated });
        self.confirm_imports(turn);
        self.propose_next(turn);
    }

    fn may_import(&self, request: &Import) -> Result<(), Refusal> {
        let (ours, limit) = (&self.group.network, self.config.limits.sync_users);
        if self.draining {
            return Err(Refusal::Draining);
        }
        if request.users.len() > limit {
            return Err(Refusal::Unacceptable(format!("more than {limit} users in one message")));
        }
        match &request.network {
            Some(theirs) if theirs != ours => {
                Err(Refusal::OtherNetwork { theirs: theirs.clone(), ours: ours.clone() })
            }
            _ => self.may_change(),
        }
    }

    /// A batch is written.
    pub(super) fn imports_settled(&mut self, turn: &mut Turn<'_>) {
        let replicated = self.batch_copies > 0;
        self.imports.iter_mut().for_each(|importing| importing.replicated &= replicated);
        self.confirm_imports(turn);
    }

    /// Tells whoever waits for nothing more that all is kept.
    pub(super) fn confirm_imports(&mut self, turn: &mut Turn<'_>) {
        let registry = &self.registry;
        let mut is_done = |importing: &mut Importing| {
            importing.rest.retain(|(name, record)| registry.is_news(name, record));
            importing.rest.is_empty()
        };
        let done: Vec<_> = self.imports.extract_if(.., &mut is_done).collect();
        for Importing { link, news, replicated, .. } in done {
            let durability = if replicated { Durability::Replicated } else { Durability::Local };
            self.say(turn, link, Imported { news, durability });
        }
    }

    /// Nobody who waits hears from us how it ends.
    pub(super) fn fail_imports(&mut self, turn: &mut Turn<'_>, refusal: &Refusal) {
        for importing in std::mem::take(&mut self.imports) {
            self.refuse(turn, importing.link, Asked::Import, refusal);
        }
    }
}
