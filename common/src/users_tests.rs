use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::time::WallMillis;
use crate::user::PasswordHash;

type Entry = (Username, UserRecord);

fn name(text: &str) -> Username {
    text.parse().unwrap()
}

fn record(registration: &str, changed: &str, secret: Option<&str>) -> UserRecord {
    UserRecord {
        registration: registration.parse().unwrap(),
        changed: changed.parse().unwrap(),
        written: None,
        secret: secret.map(PasswordHash::new),
    }
}

fn all(users: &Users) -> Vec<Entry> {
    let entries =
        |name| users.registrations(name).iter().map(|record| (Username::clone(name), record.clone()));
    users.names.keys().flat_map(entries).collect()
}

/// What no test may ever find otherwise.
fn check(users: &Users) {
    let records = all(users);
    let told: Vec<_> = users.beyond(&Seen::default()).collect();
    assert_eq!(told.len(), records.len(), "every record is found by its last change");
    assert_eq!(users.len(), users.names.keys().filter(|name| users.get(name).is_some()).count());
    let live = records.iter().filter(|(_, record)| !record.is_removed()).count();
    assert_eq!(users.conflicts().count(), live - users.len(), "a live registration is a user or a conflict");
    assert_eq!(users.beyond(&users.latest()).count(), 0);
}

#[test]
fn of_two_registrations_the_earlier_is_the_user_and_the_other_is_kept_aside() {
    let (first, second) = (record("1.0@c1", "1.0@c1", Some("a")), record("1.0@c2", "9.0@c2", Some("b")));
    for order in [[&first, &second], [&second, &first]] {
        let mut users = Users::default();
        order.into_iter().for_each(|record| assert!(users.merge(name("ann"), record.clone())));
        assert_eq!(users.get(&name("ann")), Some(&first));
        assert_eq!(users.conflicts().collect::<Vec<_>>(), [(&name("ann"), &second)]);
        assert_eq!(users.len(), 1);
        check(&users);
    }
}

#[test]
fn who_was_kept_aside_has_the_name_once_the_earlier_one_is_removed() {
    let mut users: Users = [
        (name("ann"), record("1.0@c1", "1.0@c1", Some("a"))),
        (name("ann"), record("2.0@c2", "2.0@c2", Some("b"))),
        (name("ann"), record("1.0@c1", "3.0@c1", None)),
    ]
    .into_iter()
    .collect();
    assert_eq!(users.get(&name("ann")).unwrap().registration.to_string(), "2.0@c2");
    assert_eq!(users.conflicts().count(), 0);
    users.merge(name("ann"), record("2.0@c2", "4.0@c2", None));
    assert_eq!((users.get(&name("ann")), users.len(), users.registrations(&name("ann")).len()), (None, 0, 2));
    check(&users);
}

#[test]
fn a_removed_registration_does_not_come_back_by_a_later_change() {
    let mut users = Users::default();
    users.merge(name("ann"), record("1.0@c1", "5.0@c1", None));
    assert!(!users.merge(name("ann"), record("1.0@c1", "9.0@c2", Some("later"))));
    assert!(users.is_empty());
    users.merge(name("ann"), record("10.0@c1", "10.0@c1", Some("another")));
    assert_eq!(users.get(&name("ann")).unwrap().registration.to_string(), "10.0@c1");
    check(&users);
}

#[test]
fn what_lies_beyond_is_told_writer_by_writer_in_the_order_of_writing() {
    let users: Users = [
        (name("a"), record("1.0@c1", "1.0@c1", Some("s"))),
        (name("b"), record("2.0@c1", "7.1@c2", Some("s"))),
        (name("c"), record("2.1@c1", "2.1@c1", Some("s"))),
        (name("d"), record("7.0@c2", "7.0@c2", Some("s"))),
    ]
    .into_iter()
    .collect();
    let told = |seen: &[&str]| {
        let stamps: Vec<Stamp> = seen.iter().map(|stamp| stamp.parse().unwrap()).collect();
        users.beyond(&Seen::from(stamps)).map(|(name, _)| name.as_str()).collect::<String>()
    };
    assert_eq!(told(&[]), "acdb");
    assert_eq!(told(&["1.0@c1"]), "cdb");
    assert_eq!(told(&["2.1@c1", "7.0@c2"]), "b");
    assert_eq!(told(&["9.0@c3"]), "acdb", "another's history says nothing of ours");
    assert_eq!(told(&["9.0@c1", "7.1@c2"]), "");
}

#[test]
fn two_writers_that_bear_one_id_by_mistake_hide_nobody() {
    let users: Users = [
        (name("a"), record("1.0@c1", "1.0@c1", Some("s"))),
        (name("b"), record("1.0@c1", "1.0@c1", Some("s"))),
        (name("a"), record("1.0@c9", "1.0@c1", Some("s"))),
        (name("a"), record("1.0@c9", "2.0@c1", Some("s"))),
    ]
    .into_iter()
    .collect();
    check(&users);
}

/// A history of three coordinators that write, and now and then tell another something: the entries in the order of writing.
fn history() -> impl Strategy<Value = Vec<Entry>> {
    vec((0..3usize, 0..3usize, 0..4u8, any::<bool>(), 0..3u64), 1..40).prop_map(|steps| {
        let mut replicas = [(); 3].map(|()| Users::default());
        let mut clocks: [Option<Stamp>; 3] = Default::default();
        let mut written = Vec::new();
        for (at, who, what, tell, wall) in steps {
            let (me, ann) = (format!("c{at}").parse().unwrap(), name(["ann", "bob", "cy"][who]));
            let user = replicas[at].get(&ann).cloned();
            let known = user.iter().map(|user| user.written().max(&user.changed));
            let latest = clocks[at].iter().chain(known).max().cloned();
            let stamp = Stamp::after(latest.as_ref(), WallMillis(wall), &me);
            clocks[at] = Some(stamp.clone());
            let secret = (what > 0).then(|| PasswordHash::new(&format!("{stamp}")));
            let record = match user {
                // To adopt a record is to write it again as it is.
                Some(user) if what == 1 => UserRecord { written: Some(Box::new(stamp)), ..user },
                Some(user) => UserRecord { changed: stamp, written: None, secret, ..user },
                None => UserRecord {
                    registration: stamp.clone(),
                    changed: stamp,
                    written: None,
                    secret: Some(PasswordHash::new("s")),
                },
            };
            written.push((ann, record));
            let (ann, record) = written.last().unwrap().clone();
            assert!(replicas[at].is_news(&ann, &record));
            replicas[at].merge(ann.clone(), record.clone());
            if tell {
                replicas[(at + 1) % 3].merge(ann, record);
            }
        }
        written
    })
}

proptest! {
    #[test]
    fn whatever_the_order_the_grouping_and_the_repetitions_all_know_the_same(
        history in history(),
        order in vec((any::<proptest::sample::Index>(), 0..3usize), 0..120),
    ) {
        let straight: Users = history.iter().cloned().collect();
        // Replicas that hear some of it in some order, several times, then each other's whole, round in a circle.
        let mut replicas = [(); 3].map(|()| Users::default());
        for (index, at) in order {
            let (name, record) = history[index.index(history.len())].clone();
            replicas[at].merge(name, record);
        }
        for (name, record) in history.iter().rev() {
            replicas[0].merge(name.clone(), record.clone());
        }
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1)] {
            let news = all(&replicas[from]);
            news.into_iter().for_each(|(name, record)| _ = replicas[to].merge(name, record));
        }
        for replica in &replicas {
            check(replica);
            prop_assert_eq!(all(replica), all(&straight));
        }
    }

    #[test]
    fn a_directory_made_at_once_is_the_one_that_grew(history in history()) {
        let mut grown = Users::default();
        history.iter().for_each(|(name, record)| _ = grown.merge(name.clone(), record.clone()));
        let made: Users = history.into_iter().collect();
        check(&made);
        prop_assert_eq!(all(&made), all(&grown));
        let counts = |users: &Users| (users.len(), users.conflict_count(), users.latest());
        prop_assert_eq!(counts(&made), counts(&grown));
    }

    #[test]
    fn a_removed_registration_never_comes_back(history in history()) {
        let mut users = Users::default();
        for (name, record) in history.iter().chain(history.iter().rev()) {
            users.merge(name.clone(), record.clone());
        }
        for (name, record) in history.iter().filter(|(_, record)| record.is_removed()) {
            prop_assert!(users.registration(name, &record.registration).unwrap().is_removed());
        }
    }

    #[test]
    fn who_is_told_in_turn_and_says_how_far_misses_nothing(history in history(), stop in any::<proptest::sample::Index>()) {
        let users: Users = history.into_iter().collect();
        let (mut told, mut seen) = (Users::default(), Seen::default());
        let count = users.beyond(&seen).count();
        for (name, record) in users.beyond(&Seen::default()).take(stop.index(count + 1)) {
            seen.advance(record.written());
            told.merge(name.clone(), record.clone());
        }
        let seen: Seen = serde_json::from_str(&serde_json::to_string(&seen).unwrap()).unwrap();
        users.beyond(&seen).for_each(|(name, record)| assert!(told.merge(name.clone(), record.clone())));
        prop_assert_eq!(all(&told), all(&users));
    }
}
