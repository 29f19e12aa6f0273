use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

use common::epoch::{Epoch, Reign};
use common::time::WallMillis;
use common::token::TokenKey;
use common::user::UserRecord;
use common::users::Seen;
use common::wire::ServerEntry;

use super::format::{FORMAT, META, USERS};
use super::upgrade::{NETWORK_2, TOKEN_KEY_2, USERS_1, USERS_2};
use super::*;
use crate::core::Group;

/// A change that adds these users and says nothing else.
fn users(names: &[&str]) -> Change {
    let record = || UserRecord {
        registration: "5.0@c1".parse().unwrap(),
        changed: "5.0@c1".parse().unwrap(),
        written: None,
        secret: Some(common::user::PasswordHash::new("$argon2id$…")),
    };
    let users = names.iter().map(|name| (name.parse().unwrap(), record())).collect();
    Change { users, ..Change::default() }
}

fn write(store: &mut Store, change: Change) {
    store.write([change].iter()).unwrap();
}

fn names(opened: &Opened) -> Vec<&str> {
    opened.recovered.users.beyond(&Default::default()).map(|(name, _)| name.as_str()).collect()
}

/// A store with a user, closed.
fn made() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(directory.path(), None).unwrap();
    write(&mut store, users(&["ann"]));
    let path = store.path.clone();
    (directory, path)
}

#[test]
fn what_was_written_is_there_when_the_store_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, first) = Store::open(directory.path(), None).unwrap();
    assert!(names(&first).is_empty());
    assert!(first.id.as_str().starts_with("coordinator-"));
    write(&mut store, users(&["ann", "Zoë"]));
    write(&mut store, users(&["bob"]));
    drop(store);
    let (_store, again) = Store::open(directory.path(), None).unwrap();
    assert_eq!(names(&again), ["Zoë", "ann", "bob"]);
    let (ann, record) = &users(&["ann"]).users[0];
    assert_eq!(again.recovered.users.get(ann), Some(record));
    assert_eq!((again.id, again.recovered.group), (first.id, first.recovered.group));
}

#[test]
fn a_process_that_is_killed_loses_nothing_that_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(directory.path(), None).unwrap();
    write(&mut store, users(&["ann"]));
    // What kill -9 leaves: the file as it is while the store is open.
    let other = tempfile::tempdir().unwrap();
    fs::copy(&store.path, other.path().join("coordinator.redb")).unwrap();
    assert_eq!(names(&Store::open(other.path(), None).unwrap().1), ["ann"]);
}

#[test]
fn a_store_that_was_half_made_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("coordinator.new"), [0; 5_000]).unwrap();
    let (_store, opened) = Store::open(directory.path(), None).unwrap();
    assert!(names(&opened).is_empty());
}

#[test]
fn a_coordinator_can_be_renamed_and_keeps_its_new_name() {
    let (directory, _) = made();
    let renamed: ServerId = "main".parse().unwrap();
    assert_eq!(Store::open(directory.path(), Some(renamed.clone())).unwrap().1.id, renamed);
    assert_eq!(Store::open(directory.path(), None).unwrap().1.id, renamed);
}

#[test]
fn a_second_coordinator_is_kept_out() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, _) = Store::open(directory.path(), None).unwrap();
    let error = Store::open(directory.path(), None).unwrap_err();
    assert!(matches!(error, StoreError::Busy(_)), "{error}");
}

#[test]
fn a_removed_registration_and_the_next_one_of_its_name_are_both_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(directory.path(), None).unwrap();
    let (ann, first) = users(&["ann"]).users.remove(0);
    let removed = UserRecord { changed: "6.0@c1".parse().unwrap(), secret: None, ..first.clone() };
    let second =
        UserRecord { registration: "7.0@c1".parse().unwrap(), changed: "7.0@c1".parse().unwrap(), ..first };
    let both = vec![(ann.clone(), removed.clone()), (ann.clone(), second.clone())];
    write(&mut store, Change { users: both, ..Change::default() });
    drop(store);
    let (_store, again) = Store::open(directory.path(), None).unwrap();
    assert_eq!(again.recovered.users.registrations(&ann), [removed, second]);
}

/// Does something to the file that no store does.
fn tamper(path: &Path, tamper: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>) {
    let database = file::open(path).unwrap();
    let tampered = file::commit(path, &database, |transaction| {
        tamper(transaction).map_err(|error| file::explain(path, error))
    });
    tampered.unwrap();
}

/// Makes the store as format 2 had it.
fn make_format_2(transaction: &redb::WriteTransaction) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    meta.remove("group")?;
    meta.remove("seen")?;
    let key = serde_json::to_string(&TokenKey::new([7; 32])).unwrap();
    for (name, value) in [(FORMAT, "2"), (NETWORK_2, "net-old"), (TOKEN_KEY_2, key.trim_matches('"'))] {
        meta.insert(name, value)?;
    }
    transaction.delete_table(USERS)?;
    let (ann, record) = users(&["ann"]).users.remove(0);
    let (id, record) = (record.registration.to_string(), serde_json::to_vec(&record).unwrap());
    transaction.open_table(USERS_2)?.insert((ann.as_str(), id.as_str()), record.as_slice())?;
    Ok(())
}

/// Makes the store as format 1 had it.
fn make_format_1(path: &Path, record: &[u8]) {
    tamper(path, |transaction| {
        make_format_2(transaction)?;
        transaction.delete_table(USERS_2)?;
        transaction.open_table(USERS_1)?.insert("ann", record)?;
        transaction.open_table(META)?.insert(FORMAT, "1")?;
        Ok(())
    });
}

/// A group that has seen something.
fn group() -> Group {
    let epoch: Epoch = "3@c1".parse().unwrap();
    let why = "c2 is gone".to_owned();
    let reign = Reign { epoch: epoch.clone(), since: WallMillis(5), after: "c2".parse().ok(), why };
    let member =
        |id: &str| ServerEntry { id: id.parse().unwrap(), address: "10.0.0.1:3780".parse().unwrap() };
    Group {
        network: "net-1".to_owned(),
        token_key: TokenKey::new([9; 32]),
        epoch: Some(epoch),
        history: vec![reign],
        members: vec![member("c1"), member("c2")],
        forgotten: Vec::new(),
        stamps_until: WallMillis::default(),
    }
}

fn seen(stamps: &[&str]) -> Seen {
    Seen::from(stamps.iter().map(|stamp| stamp.parse().unwrap()).collect::<Vec<_>>())
}

#[test]
fn the_group_and_what_is_known_are_kept_as_the_last_change_of_a_commit_says() {
    let (directory, _) = made();
    let (mut store, opened) = Store::open(directory.path(), None).unwrap();
    assert_eq!((opened.recovered.group.epoch, opened.recovered.seen), (None, Seen::default()));
    let earlier = Group { network: "net-0".to_owned(), ..group() };
    let changes = [
        Change { group: Some(earlier), seen: Some(seen(&["5.0@c1"])), ..users(&["bob"]) },
        Change { group: Some(group()), ..Change::default() },
        Change { seen: Some(seen(&["6.0@c1", "1.0@c2"])), ..Change::default() },
        users(&["cy"]),
    ];
    store.write(changes.iter()).unwrap();
    drop(store);
    for _ in 0..2 {
        let (_store, again) = Store::open(directory.path(), None).unwrap();
        assert_eq!(again.recovered.group, group());
        assert_eq!(again.recovered.seen, seen(&["6.0@c1", "1.0@c2"]));
        assert_eq!(names(&again), ["ann", "bob", "cy"]);
    }
}

#[test]
fn a_snapshot_shows_the_store_as_it_was_while_others_write() {
    let (directory, _) = made();
    let (mut store, _) = Store::open(directory.path(), None).unwrap();
    let snapshot = store.snapshot().unwrap();
    write(&mut store, Change { group: Some(group()), ..users(&["bob"]) });
    let names = |snapshot: &Snapshot| {
        snapshot.users().unwrap().map(|user| user.unwrap().0.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&snapshot), ["ann"]);
    assert_ne!(snapshot.group().unwrap(), group());
    let later = store.snapshot().unwrap();
    assert_eq!((names(&later), later.group().unwrap()), (vec!["ann".to_owned(), "bob".to_owned()], group()));
}

#[test]
fn what_fails_on_its_way_to_the_disk_changes_nothing() {
    let (directory, _) = made();
    let (mut store, _) = Store::open(directory.path(), None).unwrap();
    let outcome: Result<(), StoreError> = store.transact(|draft| {
        let (bob, record) = users(&["bob"]).users.remove(0);
        draft.put_user(&bob, &record)?;
        Err(StoreError::Busy("on purpose".into()))
    });
    assert!(matches!(outcome, Err(StoreError::Busy(_))));
    write(&mut store, users(&["cy"]));
    drop(store);
    assert_eq!(names(&Store::open(directory.path(), None).unwrap().1), ["ann", "cy"]);
}

#[test]
fn a_store_of_format_2_knew_all_that_was_written_and_no_group() {
    let (directory, path) = made();
    tamper(&path, make_format_2);
    for _ in 0..2 {
        let (_store, opened) = Store::open(directory.path(), None).unwrap();
        let Recovered { group, seen: known, users } = opened.recovered;
        assert_eq!((group.network.as_str(), group.token_key), ("net-old", TokenKey::new([7; 32])));
        assert_eq!((group.epoch, group.history, group.members), (None, vec![], vec![]));
        assert_eq!((known, users.len()), (seen(&["5.0@c1"]), 1));
    }
}

#[test]
fn what_makes_no_sense_in_a_store_is_refused_and_named() {
    for (name, value) in [("group", "{}"), ("seen", "[\"x\"]"), ("id", "a b"), (FORMAT, "three")] {
        let (directory, path) = made();
        tamper(&path, |transaction| {
            transaction.open_table(META)?.insert(name, value)?;
            Ok(())
        });
        let error = Store::open(directory.path(), None).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_store_of_format_1_is_taken_over_whole() {
    let (directory, path) = made();
    let (ann, record) = users(&["ann"]).users.remove(0);
    make_format_1(&path, &serde_json::to_vec(&record).unwrap());
    for _ in 0..2 {
        let (_store, opened) = Store::open(directory.path(), None).unwrap();
        assert_eq!(opened.recovered.users.get(&ann), Some(&record));
    }
}

#[test]
fn a_damaged_store_of_format_1_is_refused_and_stays_what_it_is() {
    let (directory, path) = made();
    make_format_1(&path, b"{}");
    for _ in 0..2 {
        let error = Store::open(directory.path(), None).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let (directory, path) = made();
    tamper(&path, |transaction| {
        transaction.open_table(META)?.insert(FORMAT, "4")?;
        Ok(())
    });
    let error = Store::open(directory.path(), None).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 4, .. }), "{error}");
}

#[test]
fn a_damaged_file_is_refused_with_a_sentence() {
    for damage in [&b"not a store"[..], &[0; 10_000], b""] {
        let (directory, path) = made();
        fs::write(path, damage).unwrap();
        let error = Store::open(directory.path(), None).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        // It says what docs/high-availability.md says.
        for advice in ["move it away", "--backup", "coordinator import", "Do not put back an older copy"] {
            assert!(error.to_string().contains(advice), "{error}");
        }
    }
}

#[test]
fn wherever_a_file_is_damaged_it_opens_or_is_refused_and_nothing_panics() {
    let (directory, path) = made();
    let whole = fs::read(&path).unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut refused = 0;
    for round in 0..300 {
        fs::write(&path, &whole).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        match round % 3 {
            0 => file.set_len(rng.u64(..whole.len() as u64)).unwrap(),
            1 => file.write_all_at(&[rng.u8(..); 8], rng.u64(..512)).unwrap(),
            _ => file.write_all_at(&[rng.u8(..); 64], rng.u64(..whole.len() as u64 - 64)).unwrap(),
        }
        refused += usize::from(Store::open(directory.path(), None).is_err());
    }
    assert!(refused > 50, "only {refused} of 300 were refused");
}

#[test]
fn a_directory_that_cannot_be_written_to_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("below"), None).unwrap_err();
    assert!(matches!(error, StoreError::Directory { .. }), "{error}");
    assert!(error.to_string().contains("--data-dir"));
}

#[test]
fn users_are_private() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data");
    let (store, _) = Store::open(&directory, None).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&store.path)), (0o700, 0o600));
}

#[test]
fn a_page_that_is_overwritten_anywhere_never_costs_a_user_unnoticed() {
    // redb panicked on most of these: a stack trace, and no word of what to do.
    const PAGE: usize = 4096;
    let (directory, path) = made();
    let whole = fs::read(&path).unwrap();
    let used = |begin: &usize| whole[*begin..].iter().take(PAGE).any(|byte| *byte != 0);
    let mut refused = 0;
    for begin in (0..whole.len()).step_by(PAGE).filter(used) {
        for byte in [0, 0xA5] {
            let mut blotted = whole.clone();
            blotted[begin..][..PAGE].fill(byte);
            fs::write(&path, blotted).unwrap();
            match Store::open(directory.path(), None) {
                Ok((_, opened)) => assert_eq!(names(&opened), ["ann"], "page at {begin}"),
                Err(StoreError::Damaged { .. }) => refused += 1,
                Err(error) => panic!("page at {begin}: {error}"),
            }
        }
    }
    assert!(refused > 0);
}
