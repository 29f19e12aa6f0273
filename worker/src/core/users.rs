//! The worker's copy of the coordinators' common state: the users' records and the key of the tokens. It lets users log in while
//! no coordinator answers.
//!
//! **Invariant.** All records belong to one network, and of each name the record that changed last is kept, in whatever order
//! they came.

use std::collections::BTreeMap;

use common::time::WallMillis;
use common::token::TokenKey;
use common::user::{Stamp, UserRecord, Username};

/// Records by name, and the key.
#[derive(Debug, Default)]
pub(super) struct Users {
    network: Option<String>,
    token_key: Option<TokenKey>,
    records: BTreeMap<Username, UserRecord>,
    /// Up to where the coordinator's feed has told us everything.
    told_up_to: Option<Stamp>,
}

impl Users {
    /// A coordinator has let us in. Where its network is another one than before, what we knew of users means nothing there.
    pub(super) fn join(&mut self, network: String, token_key: TokenKey) {
        if self.network.as_ref().is_some_and(|known| *known != network) {
            tracing::warn!(%network, "the coordinator belongs to another network than before; forgetting the users");
            self.records.clear();
            self.told_up_to = None;
        }
        self.network = Some(network);
        self.token_key = Some(token_key);
    }

    /// Takes a record that came in its turn: the coordinator tells changes in their order, so that all earlier ones are here too.
    pub(super) fn follow(&mut self, username: Username, record: UserRecord) {
        if self.told_up_to.as_ref().is_none_or(|stamp| *stamp < record.changed) {
            self.told_up_to = Some(record.changed.clone());
        }
        self.upsert(username, record);
    }

    /// Takes a record, unless a later one is here.
    pub(super) fn upsert(&mut self, username: Username, record: UserRecord) {
        match self.records.get(&username) {
            Some(known) if known.changed >= record.changed => {}
            _ => {
                self.records.insert(username, record);
            }
        }
    }

    /// The record of `username`.
    pub(super) fn get(&self, username: &Username) -> Option<&UserRecord> {
        self.records.get(username)
    }

    /// Up to which change everything is here. What came ahead of its turn (in answer to a question) does not count.
    pub(super) fn told_up_to(&self) -> Option<&Stamp> {
        self.told_up_to.as_ref()
    }

    /// Whether `token` lets `username` in.
    ///
    /// # Errors
    /// Why not, in words for the client.
    pub(super) fn check_token(
        &self,
        token: &str,
        username: &Username,
        now: WallMillis,
    ) -> Result<(), String> {
        let key = self
            .token_key
            .as_ref()
            .ok_or("this worker has not reached a coordinator yet and cannot check tokens")?;
        let claims = key.verify(token, now).map_err(|error| error.to_string())?;
        if claims.username != *username {
            return Err("the token is another user's".to_owned());
        }
        match self.records.get(username) {
            Some(record) if claims.registration.as_ref() != Some(&record.registration) => {
                Err("the token is for another registration of this name".to_owned())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::token::Claims;
    use common::user::PasswordHash;

    use super::*;

    fn record(registration: &str, changed: &str) -> UserRecord {
        UserRecord {
            registration: registration.parse().unwrap(),
            changed: changed.parse().unwrap(),
            secret: PasswordHash(changed.to_owned()),
        }
    }

    fn ann() -> Username {
        "ann".parse().unwrap()
    }

    #[test]
    fn the_later_change_wins_in_either_order() {
        let (earlier, later) = (record("1.0@c", "1.0@c"), record("1.0@c", "2.0@c"));
        for order in [[&earlier, &later], [&later, &earlier]] {
            let mut users = Users::default();
            order.into_iter().for_each(|record| users.upsert(ann(), record.clone()));
            assert_eq!(users.get(&ann()), Some(&later));
        }
    }

    #[test]
    fn what_came_ahead_of_its_turn_does_not_say_that_the_rest_is_here() {
        let mut users = Users::default();
        users.follow("bob".parse().unwrap(), record("1.0@c", "1.0@c"));
        users.upsert(ann(), record("9.0@c", "9.0@c"));
        assert_eq!(users.told_up_to(), "1.0@c".parse().ok().as_ref());
        users.follow(ann(), record("9.0@c", "9.0@c"));
        assert_eq!(users.told_up_to(), "9.0@c".parse().ok().as_ref());
    }

    #[test]
    fn another_network_has_other_users() {
        let key = TokenKey::new([1; 32]);
        let mut users = Users::default();
        users.join("one".into(), key.clone());
        users.follow(ann(), record("1.0@c", "1.0@c"));
        users.join("one".into(), key.clone());
        assert!(users.get(&ann()).is_some());
        users.join("two".into(), key);
        assert_eq!((users.get(&ann()), users.told_up_to()), (None, None));
    }

    #[test]
    fn a_token_is_for_one_user_one_registration_and_a_while() {
        let key = TokenKey::new([1; 32]);
        let token = key.sign(&Claims {
            username: ann(),
            registration: "1.0@c".parse().ok(),
            expires: WallMillis(100),
        });
        let mut users = Users::default();
        assert!(users.check_token(&token, &ann(), WallMillis(0)).is_err(), "no key yet");
        users.join("one".into(), key);
        assert_eq!(users.check_token(&token, &ann(), WallMillis(0)), Ok(()));
        users.upsert(ann(), record("1.0@c", "5.0@c"));
        assert_eq!(users.check_token(&token, &ann(), WallMillis(100)), Ok(()));
        assert!(users.check_token(&token, &ann(), WallMillis(101)).is_err());
        assert!(users.check_token(&token, &"bob".parse().unwrap(), WallMillis(0)).is_err());
        users.upsert(ann(), record("7.0@c", "7.0@c"));
        assert!(users.check_token(&token, &ann(), WallMillis(0)).is_err());
    }
}
