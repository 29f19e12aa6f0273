use std::os::unix::fs::{FileExt, PermissionsExt};

use super::*;

fn users(names: &[&str]) -> Vec<(Username, UserRecord)> {
    let record = || UserRecord {
        registration: "5.0@c1".parse().unwrap(),
        changed: "5.0@c1".parse().unwrap(),
        secret: Some(common::user::PasswordHash::new("$argon2id$…")),
    };
    names.iter().map(|name| (name.parse().unwrap(), record())).collect()
}

fn names(opened: &Opened) -> Vec<&str> {
    opened.recovered.users.beyond(&Default::default()).map(|(name, _)| name.as_str()).collect()
}

/// A store with a user, closed.
fn made() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(directory.path(), None).unwrap();
    store.write(users(&["ann"]).iter()).unwrap();
    let path = store.path.clone();
    (directory, path)
}

#[test]
fn what_was_written_is_there_when_the_store_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, first) = Store::open(directory.path(), None).unwrap();
    assert!(names(&first).is_empty());
    assert!(first.id.as_str().starts_with("coordinator-"));
    store.write(users(&["ann", "Zoë"]).iter()).unwrap();
    store.write(users(&["bob"]).iter()).unwrap();
    drop(store);
    let (_store, again) = Store::open(directory.path(), None).unwrap();
    assert_eq!(names(&again), ["Zoë", "ann", "bob"]);
    let (ann, record) = &users(&["ann"])[0];
    assert_eq!(again.recovered.users.get(ann), Some(record));
    assert_eq!((again.id, again.recovered.group.network), (first.id, first.recovered.group.network));
    assert_eq!(again.recovered.group.token_key, first.recovered.group.token_key);
}

#[test]
fn a_process_that_is_killed_loses_nothing_that_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(directory.path(), None).unwrap();
    store.write(users(&["ann"]).iter()).unwrap();
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
    let (ann, first) = users(&["ann"]).remove(0);
    let removed = UserRecord { changed: "6.0@c1".parse().unwrap(), secret: None, ..first.clone() };
    let second =
        UserRecord { registration: "7.0@c1".parse().unwrap(), changed: "7.0@c1".parse().unwrap(), ..first };
    store.write([(ann.clone(), removed.clone()), (ann.clone(), second.clone())].iter()).unwrap();
    drop(store);
    let (_store, again) = Store::open(directory.path(), None).unwrap();
    assert_eq!(again.recovered.users.registrations(&ann), [removed, second]);
}

/// Makes the store as format 1 had it.
fn make_old(path: &Path, record: &[u8]) {
    let database = open_file(path).unwrap();
    commit(&database, |transaction| {
        transaction.delete_table(REGISTRATIONS)?;
        transaction.open_table(USERS_1)?.insert("ann", record)?;
        transaction.open_table(META)?.insert(FORMAT, "1")?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_store_of_format_1_is_taken_over_whole() {
    let (directory, path) = made();
    let (ann, record) = users(&["ann"]).remove(0);
    make_old(&path, &serde_json::to_vec(&record).unwrap());
    for _ in 0..2 {
        let (_store, opened) = Store::open(directory.path(), None).unwrap();
        assert_eq!(opened.recovered.users.get(&ann), Some(&record));
    }
}

#[test]
fn a_damaged_store_of_format_1_is_refused_and_stays_what_it_is() {
    let (directory, path) = made();
    make_old(&path, b"{}");
    for _ in 0..2 {
        let error = Store::open(directory.path(), None).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let (directory, path) = made();
    let database = open_file(&path).unwrap();
    commit(&database, |transaction| {
        transaction.open_table(META)?.insert(FORMAT, "3")?;
        Ok(())
    })
    .unwrap();
    drop(database);
    let error = Store::open(directory.path(), None).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 3, .. }), "{error}");
}

#[test]
fn a_damaged_file_is_refused_with_a_sentence() {
    for damage in [&b"not a store"[..], &[0; 10_000], b""] {
        let (directory, path) = made();
        fs::write(path, damage).unwrap();
        let error = Store::open(directory.path(), None).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
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
