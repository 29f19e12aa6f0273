//! What a session remembers between two runs: the servers that the network told of, so that it is found again although the
//! coordinator that one was told of is gone.
//!
//! One file for one network: it is remembered under the coordinators that were given, and who is given others does not read it.
//! Whatever is wrong with the file costs a line in the log and a detour, never more.
//!
//! What is *not* here: secrets, and any decision whom to ask first (`core::coordinators`).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use common::limits;
use common::wire::{Address, BackupEntry, Role};
use serde::{Deserialize, Serialize};

/// Longest file that is read, in bytes: a list of servers came in one line.
const FILE_BYTES: u64 = limits::LINE_BYTES as u64;

/// Longest name that a file is given, in bytes. Two networks whose names begin alike take turns in forgetting.
const NAME_BYTES: usize = 120;

/// The memory of one network.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    path: PathBuf,
    /// The coordinators that were given.
    given: Vec<Address>,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    /// The coordinators that were given, as text.
    coordinators: Vec<String>,
    /// The servers that the network told of.
    servers: Vec<BackupEntry>,
}

impl Memory {
    pub(crate) fn new(path: PathBuf, given: &[Address]) -> Self {
        Memory { path, given: given.to_vec() }
    }

    /// The servers that were kept; none where there is no memory, or no use in it.
    pub(crate) fn recall(&self) -> Vec<BackupEntry> {
        match read(&self.path) {
            Ok(contents) if contents.coordinators == self.key() => contents.servers,
            Ok(_) => Vec::new(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the remembered servers are ignored");
                Vec::new()
            }
        }
    }

    /// Keeps the servers, all or none; nobody forgets because there are none. A few kilobytes now and then: nobody waits for long, and who ends in the next moment has
    /// kept them.
    pub(crate) fn keep(&self, servers: &[BackupEntry]) {
        if !servers.is_empty() {
            self.replace(servers);
        }
    }

    /// At this address somebody else listens by now.
    pub(crate) fn forget_coordinator(&self, address: &Address) {
        let known = self.recall();
        let stays = |entry: &&BackupEntry| entry.role == Role::Worker || entry.address != *address;
        let servers: Vec<BackupEntry> = known.iter().filter(stays).cloned().collect();
        if servers.len() < known.len() {
            self.replace(&servers);
        }
    }

    fn replace(&self, servers: &[BackupEntry]) {
        let contents = Contents { coordinators: self.key(), servers: servers.to_vec() };
        // A thousand sessions of one program hear the same.
        let known = read(&self.path).is_ok_and(|known| {
            known.coordinators == contents.coordinators && known.servers == contents.servers
        });
        if known {
            return;
        }
        if let Err(error) = write(&self.path, &contents) {
            tracing::warn!(path = %self.path.display(), %error, "the network's servers are not remembered");
        }
    }

    fn key(&self) -> Vec<String> {
        self.given.iter().map(Address::to_string).collect()
    }
}

/// Where the command line keeps the memory of the network of these coordinators; `None` where the user has no data directory.
pub(crate) fn default_path(given: &[Address]) -> Option<PathBuf> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    let name: Vec<String> =
        given.iter().map(|address| address.to_string().chars().map(plain).collect()).collect();
    let mut name = name.join("+");
    name.truncate(NAME_BYTES);
    Some(dirs::data_dir()?.join("freshet").join("servers").join(format!("{name}.json")))
}

fn read(path: &Path) -> io::Result<Contents> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// Whoever reads meanwhile finds the old file or the new one. After a loss of power there may be neither, which is no loss.
fn write(path: &Path, contents: &Contents) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    // Readable by this user alone, as temporary files are.
    let draft = tempfile::NamedTempFile::new_in(directory)?;
    serde_json::to_writer(&draft, contents)?;
    draft.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(port: u16, role: Role) -> BackupEntry {
        BackupEntry { id: None, address: Address::new("10.0.0.1", port).unwrap(), role }
    }

    fn given(text: &str) -> Vec<Address> {
        text.split(',').map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_kept_is_recalled_by_who_was_given_the_same_coordinators() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("freshet/servers/a.json");
        let memory = Memory::new(path.clone(), &given("a:1,b:2"));
        assert!(memory.recall().is_empty(), "there is nothing yet");
        let servers = [entry(1, Role::Worker), entry(2, Role::Main)];
        memory.keep(&servers);
        assert_eq!(memory.recall(), servers);
        assert!(Memory::new(path.clone(), &given("a:1")).recall().is_empty(), "that is another network");
        memory.keep(&servers[1..]);
        assert_eq!(memory.recall(), servers[1..]);
        memory.forget_coordinator(&"10.0.0.1:1".parse().unwrap());
        assert_eq!(memory.recall(), servers[1..], "nobody knew it as one");
        memory.forget_coordinator(&"10.0.0.1:2".parse().unwrap());
        assert!(memory.recall().is_empty());
        let files: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(files.len(), 1, "no draft is left: {files:?}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_file_is_ignored_and_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("servers");
        let memory = Memory::new(path.clone(), &given("a:1"));
        for damage in ["", "{\"coordinators\":[\"a:1\"],\"serv", "[]", "\u{0}\u{0}"] {
            std::fs::write(&path, damage).unwrap();
            assert!(memory.recall().is_empty(), "{damage:?}");
        }
        memory.keep(&[entry(2, Role::Main)]);
        assert_eq!(memory.recall(), [entry(2, Role::Main)]);
    }

    #[test]
    fn a_memory_that_cannot_be_kept_is_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), "").unwrap();
        let memory = Memory::new(directory.path().join("file/below"), &given("a:1"));
        memory.keep(&[entry(2, Role::Main)]);
        assert!(memory.recall().is_empty());
    }

    #[test]
    fn a_files_name_tells_the_coordinators_and_leads_nowhere_else() {
        let name = |text: &str| {
            default_path(&given(text)).map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        };
        if let Some(plain) = name("127.0.0.1:3780,[::1]:3781") {
            assert_eq!(plain, "127.0.0.1_3780+___1__3781.json");
            assert_eq!(name("../x:1").unwrap(), ".._x_1.json");
            assert!(name(&format!("{}:1", "x".repeat(250))).unwrap().len() <= NAME_BYTES + 5);
        }
    }
}
