//! What a session remembers between two runs: the servers that the network told of, so that it is found again although the
//! coordinator that one was told of is gone.
//!
//! One file for each coordinator that was given: whoever is given one of them finds what was learned with it, whatever others it is given.
//! Whatever is wrong with a file costs a line in the log and a detour, never more.
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

/// Longest name that a file is given, in bytes. Two coordinators whose names begin alike take turns in forgetting.
const NAME_BYTES: usize = 120;

/// The memory of one network.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    directory: PathBuf,
    /// The coordinators that were given.
    given: Vec<Address>,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    /// The coordinator that was given.
    coordinator: Address,
    /// The servers that the network told of.
    servers: Vec<BackupEntry>,
}

impl Memory {
    pub(crate) fn new(directory: PathBuf, given: &[Address]) -> Self {
        Memory { directory, given: given.to_vec() }
    }

    /// The servers that were kept; none where there is no memory, or no use in it.
    pub(crate) fn recall(&self) -> Vec<BackupEntry> {
        let mut servers: Vec<BackupEntry> = Vec::new();
        for given in &self.given {
            for server in self.recall_of(given) {
                if !servers.contains(&server) {
                    servers.push(server);
                }
            }
        }
        servers
    }

    fn recall_of(&self, given: &Address) -> Vec<BackupEntry> {
        let path = self.path(given);
        match read(&path) {
            Ok(contents) if contents.coordinator == *given => contents.servers,
            Ok(_) => Vec::new(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the remembered servers are ignored");
                Vec::new()
            }
        }
    }

    /// Keeps the servers, all or none; nobody forgets because there are none. A few kilobytes now and then: nobody waits for long, and who
    /// ends in the next moment has kept them.
    pub(crate) fn keep(&self, servers: &[BackupEntry]) {
        if !servers.is_empty() {
            self.given.iter().for_each(|given| self.replace(given, servers));
        }
    }

    /// At this address somebody else listens by now.
    pub(crate) fn forget_coordinator(&self, address: &Address) {
        let stays = |entry: &BackupEntry| entry.role == Role::Worker || entry.address != *address;
        for given in &self.given {
            let mut servers = self.recall_of(given);
            let known = servers.len();
            servers.retain(stays);
            if servers.len() < known {
                self.replace(given, &servers);
            }
        }
    }

    fn replace(&self, given: &Address, servers: &[BackupEntry]) {
        let path = self.path(given);
        let contents = Contents { coordinator: given.clone(), servers: servers.to_vec() };
        // A thousand sessions of one program hear the same.
        if read(&path).is_ok_and(|known| known == contents) {
            return;
        }
        if let Err(error) = write(&path, &contents) {
            tracing::warn!(path = %path.display(), %error, "the network's servers are not remembered");
        }
    }

    fn path(&self, given: &Address) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
        let mut name: String = given.to_string().chars().map(plain).collect();
        name.truncate(NAME_BYTES);
        self.directory.join(format!("{name}.json"))
    }
}

/// Where the command line keeps what it learns of networks; `None` where the user has no data directory.
pub(crate) fn default_directory() -> Option<PathBuf> {
    Some(dirs::data_dir()?.join("freshet").join("servers"))
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
    fn what_is_kept_is_recalled_by_who_was_given_one_of_the_same_coordinators() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("freshet/servers");
        let memory = |text: &str| Memory::new(place.clone(), &given(text));
        assert!(memory("a:1,b:2").recall().is_empty(), "there is nothing yet");
        let servers = [entry(1, Role::Worker), entry(2, Role::Main)];
        memory("a:1,b:2").keep(&servers);
        for either in ["a:1,b:2", "b:2,a:1", "a:1", "c:3,b:2"] {
            assert_eq!(memory(either).recall(), servers, "{either}");
        }
        assert!(memory("c:3").recall().is_empty(), "that may be another network");
        memory("b:2").keep(&servers[1..]);
        assert_eq!(memory("b:2").recall(), servers[1..]);
        assert_eq!(memory("b:2,a:1").recall(), [servers[1].clone(), servers[0].clone()], "nothing is lost");
        memory("b:2").forget_coordinator(&"10.0.0.1:1".parse().unwrap());
        assert_eq!(memory("b:2").recall(), servers[1..], "nobody knew it as one");
        memory("a:1,b:2").forget_coordinator(&"10.0.0.1:2".parse().unwrap());
        assert_eq!(memory("a:1,b:2").recall(), servers[..1]);
        let files: Vec<_> = std::fs::read_dir(&place).unwrap().flatten().collect();
        assert_eq!(files.len(), 2, "no draft is left: {files:?}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_file_is_ignored_and_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new(directory.path().to_owned(), &given("a:1"));
        for damage in ["", "{\"coordinator\":{\"hostname\":\"a\",\"port\":1},\"serv", "[]", "\u{0}\u{0}"] {
            std::fs::write(directory.path().join("a_1.json"), damage).unwrap();
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
    fn a_files_name_tells_the_coordinator_and_leads_nowhere_else() {
        let memory = Memory::new(PathBuf::from("d"), &[]);
        let name = |text: &str| memory.path(&text.parse().unwrap());
        assert_eq!(name("127.0.0.1:3780"), Path::new("d/127.0.0.1_3780.json"));
        assert_eq!(name("[::1]:3781"), Path::new("d/___1__3781.json"));
        assert_eq!(name("../x:1"), Path::new("d/.._x_1.json"));
        assert!(name(&format!("{}:1", "x".repeat(250))).file_name().unwrap().len() <= NAME_BYTES + 5);
    }
}
