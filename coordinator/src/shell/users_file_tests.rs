use std::os::unix::fs::PermissionsExt;

use common::user::UserRecord;

use super::*;

fn registration(username: &str, stamp: &str) -> Registration {
    let (registration, changed) = (stamp.parse().unwrap(), stamp.parse().unwrap());
    let user = UserRecord { registration, changed, written: None, secret: Some(password::decoy()) };
    Registration { username: username.parse().unwrap(), user }
}

/// A file with two users, one of them removed.
fn made(directory: &Path) -> PathBuf {
    let path = directory.join("users.jsonl");
    let mut file = Writer::create(&path, "net-1".to_owned(), WallMillis(7)).unwrap();
    file.add(&registration("ann", "1.0@c1")).unwrap();
    let mut removed = registration("Zoë \"quoted\"", "2.0@c1");
    removed.user.secret = None;
    file.add(&removed).unwrap();
    assert!(!path.exists(), "it is there only when it is whole");
    assert_eq!(file.finish().unwrap(), 2);
    path
}

fn read(path: &Path) -> Result<Vec<Registration>, FileError> {
    Reader::open(path)?.0.collect()
}

#[test]
fn what_is_written_is_read_and_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = made(directory.path());
    let (file, header) = Reader::open(&path).unwrap();
    assert_eq!((header.network.as_str(), header.exported), ("net-1", WallMillis(7)));
    assert_eq!(file.length(), fs::metadata(&path).unwrap().len());
    let users = read(&path).unwrap();
    assert_eq!(users[0], registration("ann", "1.0@c1"));
    assert!(users[1].user.is_removed());
    assert_eq!(users.len(), 2);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
}

#[test]
fn a_file_of_nobody_is_a_file_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users.jsonl");
    Writer::create(&path, "net-1".to_owned(), WallMillis(7)).unwrap().finish().unwrap();
    assert!(read(&path).unwrap().is_empty());
}

#[test]
fn what_is_not_finished_leaves_the_file_before_it_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = made(directory.path());
    let mut second = Writer::create(&path, "net-2".to_owned(), WallMillis(8)).unwrap();
    second.add(&registration("bob", "3.0@c1")).unwrap();
    drop(second);
    assert_eq!(read(&path).unwrap().len(), 2);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
    Writer::create(&path, "net-2".to_owned(), WallMillis(8)).unwrap().finish().unwrap();
    assert!(read(&path).unwrap().is_empty(), "a whole one takes its place");
}

#[test]
fn nothing_but_a_plain_file_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for path in [directory.path(), &link, Path::new("/dev/null")] {
        let error = Writer::create(path, "net-1".to_owned(), WallMillis(7)).unwrap_err();
        assert!(matches!(error, FileError::InTheWay(_)), "{error}");
    }
    let error =
        Writer::create(&directory.path().join("no/f"), "net-1".to_owned(), WallMillis(7)).unwrap_err();
    assert!(matches!(error, FileError::Unwritable { .. }), "{error}");
}

#[test]
fn wherever_a_file_is_cut_off_it_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = made(directory.path());
    let whole = fs::read(&path).unwrap();
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        match read(&path).unwrap_err() {
            FileError::CutOff(_) => assert!(length >= header, "cut at {length}"),
            FileError::Foreign(_) => assert!(length < header, "cut at {length}"),
            error => panic!("cut at {length}: {error}"),
        }
    }
}

#[test]
fn whichever_byte_is_changed_the_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = made(directory.path());
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for change in [1, 0x20] {
            let mut damaged = whole.clone();
            damaged[at] ^= change;
            fs::write(&path, &damaged).unwrap();
            assert!(read(&path).is_err(), "a changed byte at {at} went unnoticed");
        }
    }
}

/// A file with these lines and a trailer that is right.
fn sealed(path: &Path, lines: &[&str]) {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let sha256 = hex(&Sha256::digest(&body));
    fs::write(path, format!("{body}{{\"count\":{},\"sha256\":\"{sha256}\"}}\n", lines.len() - 1)).unwrap();
}

#[test]
fn a_checksum_makes_no_sense_of_nonsense() {
    const HEADER: &str = r#"{"format":"freshet-users","version":1,"network":"n","exported":1}"#;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users.jsonl");
    let hash = password::decoy();
    let user = |username: &str, secret: &str| {
        format!(r#"{{"username":"{username}","registration":"1.0@c","changed":"1.0@c","secret":"{secret}"}}"#)
    };
    sealed(&path, &[HEADER, &user("ann", &hash.text())]);
    assert_eq!(read(&path).unwrap().len(), 1);
    for line in
        ["{}", "[]", "", &user("", &hash.text()), &user("anonymous", &hash.text()), &user("ann", "hunter2")]
    {
        sealed(&path, &[HEADER, line]);
        let error = read(&path).unwrap_err();
        assert!(matches!(error, FileError::Damaged { .. }), "{line}: {error}");
        assert!(error.to_string().contains("line 2"), "{error}");
    }
    sealed(&path, &[r#"{"format":"freshet-users","version":2,"network":"n","exported":1}"#]);
    assert!(matches!(read(&path), Err(FileError::Newer { found: 2, .. })));
    sealed(&path, &[r#"{"format":"other","version":1,"network":"n","exported":1}"#]);
    assert!(matches!(read(&path), Err(FileError::Foreign(_))));
    let long = " ".repeat(limits::LINE_BYTES + 1);
    sealed(&path, &[HEADER, &long]);
    assert!(read(&path).unwrap_err().to_string().contains("line 2 is too long"));
}
