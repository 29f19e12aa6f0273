//! The worker's copy of the coordinators' common state: the users' records and the key of the tokens. It lets users log in while
//! no coordinator answers.
//!
//! **Invariant.** All records belong to one network. How much is here is claimed exactly: what has come in its turn counts, what came ahead
//! of it does not, so that a coordinator tells us the rest and no more, and learns from us what it lacks and no less.

use std::collections::BTreeMap;

use common::time::WallMillis;
use common::token::{Claims, TokenKey};
use common::user::{Stamp, UserRecord, Username};
use common::users::{self, Seen};

/// The directory, and the key.
#[derive(Debug, Default)]
pub(super) struct Users {
    network: Option<String>,
    token_key: Option<TokenKey>,
    directory: users::Users,
    /// Up to where coordinators have told us everything.
    told: Seen,
    /// Up to where the coordinator knew everything when it let us in.
    expected: Seen,
}

/// How far a coordinator has been told of the users that it lacks.
#[derive(Debug)]
pub(super) struct Above {
    /// What it knew before.
    pub(super) known: Seen,
    /// Where it has got to.
    pub(super) told: Seen,
}

impl Users {
    /// No users, of the network that an earlier run belonged to.
    pub(super) fn of(network: Option<String>) -> Self {
        Users { network, ..Users::default() }
    }

    /// The network whose users these are; none before the first coordinator has let us in.
    pub(super) fn network(&self) -> Option<&String> {
        self.network.as_ref()
    }

    /// A coordinator has let us in. Where its network is another one than before, what we knew of users means nothing there and is
    /// forgotten; says whether that is so.
    pub(super) fn join(&mut self, network: String, token_key: TokenKey) -> bool {
        let moved = self.network.as_ref().is_some_and(|known| *known != network);
        if moved {
            tracing::warn!(%network, "the coordinator belongs to another network than before; forgetting the users");
            *self = Users::default();
        }
        self.network = Some(network);
        self.token_key = Some(token_key);
        moved
    }

    /// The coordinator, which has just let us in, knows everything up to here, and is going to tell us what we lack of it.
    pub(super) fn expect(&mut self, seen: Seen) {
        self.expected = seen;
    }

    /// Whether the coordinator has told us everything that it knew when it let us in. From then on we hear what is registered as it
    /// happens.
    pub(super) fn are_all_here(&self) -> bool {
        self.told.covers_all(&self.expected)
    }

    /// The coordinator says that everything up to here is here.
    pub(super) fn claim(&mut self, seen: &Seen) {
        self.told.merge(seen);
    }

    /// Takes a record that came in its turn: the coordinator tells what each wrote in the order of writing, so that all before it are
    /// here too. See [`merge`](Self::merge).
    pub(super) fn follow(&mut self, username: Username, record: UserRecord) -> bool {
        self.told.advance(record.written());
        self.merge(username, record)
    }

    /// Takes a record. Says whether a session or token of the name may have lost its registration by it: not where one user
    /// registered the name and is the user still, which is what nearly all records say.
    pub(super) fn merge(&mut self, username: Username, record: UserRecord) -> bool {
        let changed = self.directory.merge(username.clone(), record);
        changed && !matches!(self.directory.registrations(&username), [only] if !only.is_removed())
    }

    /// The live registrations of a name, that of the user first; the others lost it to that one.
    pub(super) fn live(&self, username: &Username) -> impl Iterator<Item = &UserRecord> {
        self.directory.registrations(username).iter().filter(|record| !record.is_removed())
    }

    /// The user of this name.
    pub(super) fn get(&self, username: &Username) -> Option<&UserRecord> {
        self.directory.get(username)
    }

    /// Why `registration` of `username` does not count, where it does not: it is removed, or an earlier one has the name. One that we
    /// have not heard of counts where nobody else has the name: a coordinator knows more than we.
    pub(super) fn lost(&self, username: &Username, registration: &Stamp) -> Option<String> {
        match self.directory.get(username) {
            Some(user) if user.registration == *registration => None,
            Some(_) => Some(format!("{username} is registered to somebody else")),
            None => {
                let removed = self.directory.registration(username, registration).is_some();
                removed.then(|| format!("{username} was removed from this network"))
            }
        }
    }

    /// Up to where everything is here. What came ahead of its turn (in answer to a question) does not count.
    pub(super) fn told(&self) -> &Seen {
        &self.told
    }

    /// What somebody lacks who has been told what `cursor` says: at most `limit` records, one of each name. The cursor moves past them.
    pub(super) fn next_beyond(&self, cursor: &mut Seen, limit: usize) -> BTreeMap<Username, UserRecord> {
        let mut records = BTreeMap::new();
        for (username, record) in self.directory.beyond(&cursor.clone()) {
            if records.len() == limit || records.contains_key(username) {
                break;
            }
            cursor.advance(record.written());
            records.insert(username.clone(), record.clone());
        }
        records
    }

    /// Whether there is a key to check tokens with: some coordinator has let us in.
    pub(super) fn can_check_tokens(&self) -> bool {
        self.token_key.is_some()
    }

    /// A token that lets `username` in, by its registration, until `expires`; none where there is no key.
    pub(super) fn token(
        &self,
        username: Username,
        registration: Option<Stamp>,
        expires: WallMillis,
    ) -> Option<String> {
        Some(self.token_key.as_ref()?.sign(&Claims { username, registration, expires }))
    }

    /// Whether `token` lets `username` in, and for which registration: none for the anonymous user.
    ///
    /// # Errors
    /// Why not, in words for the client.
    pub(super) fn check_token(
        &self,
        token: &str,
        username: &Username,
        now: WallMillis,
    ) -> Result<Option<Stamp>, String> {
        let key = self
            .token_key
            .as_ref()
            .ok_or("this worker has not reached a coordinator yet and cannot check tokens")?;
        let claims = key.verify(token, now).map_err(|error| error.to_string())?;
        if claims.username != *username {
            return Err("the token is another user's".to_owned());
        }
        match &claims.registration {
            Some(registration) if self.lost(username, registration).is_none() => Ok(claims.registration),
            None if self.directory.get(username).is_none() => Ok(None),
            _ => Err("the token is for another registration of this name".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::user::PasswordHash;

    use super::*;

    fn record(registration: &str, changed: &str) -> UserRecord {
        UserRecord {
            registration: registration.parse().unwrap(),
            changed: changed.parse().unwrap(),
            written: None,
            secret: Some(PasswordHash::new(changed)),
        }
    }

    fn ann() -> Username {
        "ann".parse().unwrap()
    }

    fn removed(registration: &str, changed: &str) -> UserRecord {
        UserRecord { secret: None, ..record(registration, changed) }
    }

    fn told(users: &Users) -> Vec<String> {
        users.told().stamps().map(|stamp| stamp.to_string()).collect()
    }

    #[test]
    fn only_a_removal_or_a_second_registration_may_cost_anybody_its_session() {
        let mut users = Users::default();
        assert!(!users.merge(ann(), record("5.0@c", "5.0@c")), "the first");
        assert!(!users.merge(ann(), record("5.0@c", "6.0@c")), "another secret");
        assert!(users.merge(ann(), record("4.0@d", "4.0@d")), "an earlier one");
        assert!(!users.merge(ann(), record("4.0@d", "4.0@d")), "nothing new");
        assert!(users.merge(ann(), removed("4.0@d", "7.0@c")), "its removal");
        let mut users = Users::default();
        assert!(users.merge(ann(), removed("5.0@c", "6.0@c")), "whose session may be here by a token");
    }

    #[test]
    fn a_registration_is_lost_by_removal_or_to_an_earlier_one() {
        let mut users = Users::default();
        let [five, six] = ["5.0@c", "6.0@d"].map(|stamp| stamp.parse::<Stamp>().unwrap());
        assert_eq!(users.lost(&ann(), &five), None, "not heard of yet");
        users.merge(ann(), record("5.0@c", "5.0@c"));
        users.merge(ann(), record("6.0@d", "6.0@d"));
        assert_eq!(users.lost(&ann(), &five), None);
        assert!(users.lost(&ann(), &six).unwrap().contains("somebody else"));
        users.merge(ann(), removed("5.0@c", "7.0@c"));
        assert_eq!(users.lost(&ann(), &six), None);
        users.merge(ann(), removed("6.0@d", "8.0@c"));
        assert!(users.lost(&ann(), &six).unwrap().contains("removed"));
    }

    #[test]
    fn what_came_ahead_of_its_turn_does_not_say_that_the_rest_is_here() {
        let mut users = Users::default();
        users.follow("bob".parse().unwrap(), record("1.0@c", "1.0@c"));
        users.merge(ann(), record("9.0@c", "9.0@c"));
        assert_eq!(told(&users), ["1.0@c"]);
        users.follow(ann(), record("9.0@c", "9.0@c"));
        users.follow("cy".parse().unwrap(), record("3.0@d", "3.0@d"));
        assert_eq!(told(&users), ["9.0@c", "3.0@d"]);
    }

    #[test]
    fn what_somebody_lacks_comes_in_bounded_pieces_with_one_record_of_each_name() {
        let mut users = Users::default();
        for (name, stamp) in
            [("ann", "1.0@c"), ("bob", "2.0@c"), ("cy", "3.0@c"), ("ann", "4.0@c"), ("dan", "1.0@d")]
        {
            users.merge(name.parse().unwrap(), record(stamp, stamp));
        }
        let mut cursor = Seen::default();
        let mut piece = |limit| {
            let records = users.next_beyond(&mut cursor, limit);
            let names: Vec<String> = records.keys().map(Username::to_string).collect();
            names.join(" ")
        };
        assert_eq!([2, 3, 2].map(&mut piece), ["ann bob", "ann cy dan", ""]);
        let mut cursor = Seen::default();
        assert_eq!(
            users.next_beyond(&mut cursor, 9).len(),
            3,
            "ann's second record waits for the next piece"
        );
    }

    #[test]
    fn another_network_has_other_users() {
        let key = TokenKey::new([1; 32]);
        let mut users = Users::default();
        users.join("one".into(), key.clone());
        users.follow(ann(), record("1.0@c", "1.0@c"));
        assert!(!users.join("one".into(), key.clone()));
        assert!(users.get(&ann()).is_some());
        assert!(users.join("two".into(), key.clone()));
        assert!(users.get(&ann()).is_none() && users.told().is_empty());
        assert!(Users::of(Some("one".into())).join("two".into(), key), "an earlier run belonged to another");
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
        assert!(users.check_token(&token, &ann(), WallMillis(0)).is_ok());
        users.merge(ann(), record("1.0@c", "5.0@c"));
        assert_eq!(users.check_token(&token, &ann(), WallMillis(100)), Ok("1.0@c".parse().ok()));
        assert!(users.check_token(&token, &ann(), WallMillis(101)).is_err());
        assert!(users.check_token(&token, &"bob".parse().unwrap(), WallMillis(0)).is_err());
        users.merge(ann(), removed("1.0@c", "6.0@c"));
        assert!(users.check_token(&token, &ann(), WallMillis(0)).is_err(), "removed");
        users.merge(ann(), record("7.0@c", "7.0@c"));
        assert!(users.check_token(&token, &ann(), WallMillis(0)).is_err(), "somebody else's now");
    }
}
