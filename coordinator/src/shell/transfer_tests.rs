use common::password;
use common::users::Seen;

use super::*;
use crate::core::Change;

const NOW: WallMillis = WallMillis(1_000_000);

/// A coordinator that does not run.
struct Stopped {
    directory: tempfile::TempDir,
    id: &'static str,
}

impl Stopped {
    fn new(id: &'static str) -> Self {
        Stopped { directory: tempfile::tempdir().unwrap(), id }
    }

    fn open(&self) -> (Store, Opened) {
        Store::open(self.directory.path(), self.id.parse().ok()).unwrap()
    }

    fn kept(&self) -> Recovered {
        self.open().1.recovered
    }

    /// Has these registrations written by their coordinators, and knows all of it.
    fn with(self, users: &[(&str, UserRecord)]) -> Self {
        let (mut store, opened) = self.open();
        let mut seen = opened.recovered.seen;
        users.iter().for_each(|(_, record)| seen.advance(record.written()));
        let users = users.iter().map(|(username, record)| (name(username), record.clone())).collect();
        store.write([Change { users, seen: Some(seen), group: None }].iter()).unwrap();
        drop(store);
        self
    }

    fn export(&self, path: &Path) -> u64 {
        export(&self.open().0.snapshot().unwrap(), path, NOW, |_| ()).unwrap()
    }

    fn import(&self, path: &Path, other_network: bool) -> Result<(u64, u64), TransferError> {
        let (mut store, opened) = self.open();
        let imported = import(&mut store, opened, path, NOW, other_network, |_, _| ())?;
        Ok((imported.total, imported.news))
    }

    /// The user of a name, as far as it has one: its registration and last change.
    fn user(&self, username: &str) -> Option<(String, String)> {
        let kept = self.kept();
        let record = kept.users.get(&name(username))?;
        Some((record.registration.to_string(), record.written().to_string()))
    }
}

fn name(text: &str) -> Username {
    text.parse().unwrap()
}

fn record(registration: &str, changed: &str) -> UserRecord {
    let (registration, changed) = (registration.parse().unwrap(), changed.parse().unwrap());
    UserRecord { registration, changed, written: None, secret: Some(password::decoy()) }
}

fn removed(registration: &str, changed: &str) -> UserRecord {
    UserRecord { secret: None, ..record(registration, changed) }
}

/// A file that a coordinator `c1` with these users has exported.
fn file_with(users: &[(&str, UserRecord)]) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users.jsonl");
    Stopped::new("c1").with(users).export(&path);
    (directory, path)
}

fn pair(registration: &str, changed: &str) -> Option<(String, String)> {
    Some((registration.to_owned(), changed.to_owned()))
}

#[test]
fn a_blank_coordinator_becomes_one_of_the_network_and_writes_all_under_its_own_stamps() {
    let source =
        Stopped::new("c1").with(&[("ann", record("5.0@c1", "5.0@c1")), ("bob", removed("6.0@c2", "7.0@c1"))]);
    let (file, blank) = (source.directory.path().join("f"), Stopped::new("c9"));
    assert_eq!(source.export(&file), 2);
    let key = blank.kept().group.token_key;
    assert_eq!(blank.import(&file, false).unwrap(), (2, 2));
    let kept = blank.kept();
    assert_eq!((kept.group.network, kept.group.token_key), (source.kept().group.network, key));
    assert_eq!(blank.user("ann"), pair("5.0@c1", "1000000.0@c9"));
    assert_eq!(kept.seen, Seen::from(vec!["1000000.1@c9".parse().unwrap()]));
    assert_eq!(kept.users.latest(), kept.seen, "nothing is left that would look like a proposal");
    assert!(kept.users.registrations(&name("bob"))[0].is_removed());
}

#[test]
fn what_is_known_is_no_news_and_nothing_is_imported_twice() {
    let users = [("ann", record("5.0@c1", "5.0@c1")), ("bob", record("6.0@c1", "6.0@c1"))];
    let source = Stopped::new("c1").with(&users);
    let file = source.directory.path().join("f");
    source.export(&file);
    assert_eq!(source.import(&file, false).unwrap(), (2, 0));
    let other = Stopped::new("c2");
    assert_eq!(other.import(&file, false).unwrap(), (2, 2));
    let before = other.kept();
    assert_eq!(other.import(&file, false).unwrap(), (2, 0));
    assert_eq!(other.kept().seen, before.seen);
    other.export(&file);
    assert_eq!(source.import(&file, false).unwrap(), (2, 0), "that it was written elsewhere is no news");
}

#[test]
fn the_later_change_the_earlier_registration_and_the_removal_win() {
    let (_directory, file) = file_with(&[
        ("changed-since", record("5.0@c1", "5.0@c1")),
        ("changed-in-file", record("5.1@c1", "9.0@c1")),
        ("removed-since", record("5.2@c1", "9.1@c1")),
        ("removed-in-file", removed("5.3@c1", "6.0@c1")),
        ("taken-since", record("5.4@c1", "5.4@c1")),
    ]);
    let here = Stopped::new("c2").with(&[
        ("changed-since", record("5.0@c1", "7.0@c2")),
        ("changed-in-file", record("5.1@c1", "7.1@c2")),
        ("removed-since", removed("5.2@c1", "7.2@c2")),
        ("removed-in-file", record("5.3@c1", "8.0@c2")),
        ("taken-since", record("8.1@c2", "8.1@c2")),
    ]);
    assert_eq!(here.import(&file, true).unwrap(), (5, 3));
    assert_eq!(here.user("changed-since"), pair("5.0@c1", "7.0@c2"));
    assert_eq!(here.user("changed-in-file"), pair("5.1@c1", "1000000.0@c2"));
    assert_eq!(here.user("removed-since"), None);
    assert_eq!(here.user("removed-in-file"), None);
    assert_eq!(here.user("taken-since"), pair("5.4@c1", "1000000.2@c2"));
    assert_eq!(here.kept().users.conflicts().count(), 1, "who took the name since is kept aside");
}

#[test]
fn a_file_that_comes_from_the_future_is_followed_there_and_a_wrong_clock_elsewhere_is_not() {
    let ahead = "99000000.5@c1";
    let (_directory, file) = file_with(&[("ann", record(ahead, ahead))]);
    let here = Stopped::new("c2").with(&[("cy", record("77000000.0@c3", "77000000.0@c3"))]);
    here.import(&file, true).unwrap();
    assert_eq!(here.user("ann"), pair(ahead, "99000000.6@c2"));
    let (_directory, file) = file_with(&[("bob", record("5.0@c1", "5.0@c1"))]);
    here.import(&file, true).unwrap();
    assert_eq!(here.user("bob"), pair("5.0@c1", "99000000.7@c2"), "our own stamps only grow");
    let here = Stopped::new("c2").with(&[("cy", record("77000000.0@c3", "77000000.0@c3"))]);
    here.import(&file, true).unwrap();
    assert_eq!(here.user("bob"), pair("5.0@c1", "1000000.0@c2"));
}

#[test]
fn users_of_another_network_come_only_where_that_is_said() {
    let (_directory, file) = file_with(&[("ann", record("5.0@c1", "5.0@c1"))]);
    let here = Stopped::new("c2").with(&[("bob", record("5.0@c2", "5.0@c2"))]);
    let network = here.kept().group.network;
    let error = here.import(&file, false).unwrap_err();
    assert!(matches!(error, TransferError::OtherNetwork { .. }), "{error}");
    assert_eq!(here.user("ann"), None);
    here.import(&file, true).unwrap();
    assert!(here.user("ann").is_some());
    assert_eq!(here.kept().group.network, network, "it stays in its own");
}

#[test]
fn a_file_that_is_damaged_anywhere_changes_nothing() {
    let (_directory, path) =
        file_with(&[("ann", record("5.0@c1", "5.0@c1")), ("bob", removed("6.0@c1", "6.0@c1"))]);
    let whole = std::fs::read(&path).unwrap();
    let here = Stopped::new("c2");
    let before = here.kept();
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, if at % 2 == 0 { &damaged } else { &whole[..at] }).unwrap();
        here.import(&path, false).unwrap_err();
    }
    let after = here.kept();
    assert_eq!((after.group, after.seen, after.users.len()), (before.group, before.seen, 0));
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(here.import(&path, false).unwrap(), (2, 2));
}
