//! The coordinators' disks: what is on one survives; what is being written survives a crash or does not, whole.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use common::epoch::Epoch;
use common::machine::JobId;
use common::user::{PasswordHash, Secret, Stamp, UserRecord, Username};
use common::users::{Seen, Users};
use coordinator::core::{Change, Group, Recovered};
use sha2::{Digest, Sha256};

use super::ProcessId;

/// One coordinator's disk.
#[derive(Debug)]
pub struct Disk {
    /// By name and registration, as it was written last. Nothing merges here: whoever writes an older record over a newer one loses it.
    users: BTreeMap<(Username, Stamp), UserRecord>,
    /// The same, merged: who has which name.
    directory: Users,
    seen: Seen,
    group: Group,
    writing: Option<(JobId, Change)>,
    /// It is full.
    pub fails: bool,
    /// What it takes longer than usual, at the most.
    pub delay: Duration,
}

/// What became of the change that was being written in a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// None was.
    Nothing,
    /// It made it, but the coordinator never heard.
    Survived,
    /// It is gone.
    Lost,
}

impl Disk {
    /// The disk of a coordinator that has never run.
    pub fn blank(group: Group) -> Self {
        Disk {
            users: BTreeMap::new(),
            directory: Users::default(),
            seen: Seen::default(),
            group,
            writing: None,
            fails: false,
            delay: Duration::ZERO,
        }
    }

    /// Starts to write a change.
    ///
    /// # Panics
    /// When the coordinator has not waited for the change before.
    pub fn write(&mut self, job: JobId, change: Change) {
        assert!(
            self.writing.is_none(),
            "a second change was handed to the disk before the first was answered"
        );
        self.writing = Some((job, change));
    }

    /// The change is on disk.
    pub fn complete(&mut self, job: JobId) {
        let (written, change) = self.writing.take().expect("a change was being written");
        assert_eq!(written, job);
        self.put(change);
    }

    /// The change could not be written.
    pub fn fail(&mut self, job: JobId) {
        let (failed, _) = self.writing.take().expect("a change was being written");
        assert_eq!(failed, job);
    }

    /// The coordinator dies.
    pub fn crash(&mut self, rng: &mut fastrand::Rng) -> Interrupted {
        match self.writing.take() {
            None => Interrupted::Nothing,
            Some((_, change)) if rng.bool() => {
                self.put(change);
                Interrupted::Survived
            }
            Some(_) => Interrupted::Lost,
        }
    }

    /// What a coordinator finds when it starts.
    pub fn recover(&self) -> Recovered {
        let users = self.users.iter().map(|((name, _), record)| (name.clone(), record.clone())).collect();
        Recovered { group: self.group.clone(), seen: self.seen.clone(), users }
    }

    /// The users on it.
    pub fn users(&self) -> &Users {
        &self.directory
    }

    /// What is on it of one registration.
    pub fn registration(&self, username: &Username, registration: &Stamp) -> Option<&UserRecord> {
        self.users.get(&(username.clone(), registration.clone()))
    }

    /// All that is on it, by name and registration.
    pub fn records(&self) -> &BTreeMap<(Username, Stamp), UserRecord> {
        &self.users
    }

    /// How much of the users its coordinator knows for certain.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// What is on it of the group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The highest epoch on it.
    pub fn epoch(&self) -> Option<&Epoch> {
        self.group.epoch.as_ref()
    }

    /// Whose the name is: of its live registrations the earliest. The directory says so too, but what is looked at is not to be its own
    /// judge.
    pub fn owner(&self, username: &Username) -> Option<&UserRecord> {
        let of_name = self.users.iter().filter(|((name, _), _)| name == username);
        of_name.map(|(_, record)| record).find(|record| !record.is_removed())
    }

    /// Whether it holds this name with this secret.
    pub fn holds(&self, username: &Username, secret: &Secret) -> bool {
        self.owner(username).is_some_and(|user| matches(secret, user))
    }

    /// The users that are being written.
    pub fn being_written(&self) -> &[(Username, UserRecord)] {
        self.writing.as_ref().map_or(&[], |(_, change)| &change.users)
    }

    fn put(&mut self, change: Change) {
        for (name, record) in change.users {
            self.directory.merge(name.clone(), record.clone());
            self.users.insert((name, record.registration.clone()), record);
        }
        self.seen = change.seen.unwrap_or_else(|| std::mem::take(&mut self.seen));
        if let Some(group) = change.group {
            self.group = group;
        }
    }
}

/// All disks.
#[derive(Debug, Default)]
pub struct Disks {
    disks: BTreeMap<ProcessId, Disk>,
    /// Every record that was ever on any of them.
    ever: BTreeMap<Username, Vec<UserRecord>>,
}

impl Disks {
    /// Adds the disk of a coordinator.
    pub fn add(&mut self, id: ProcessId, disk: Disk) {
        self.disks.insert(id, disk);
    }

    /// The disk of a coordinator.
    pub fn of(&self, id: ProcessId) -> &Disk {
        &self.disks[&id]
    }

    /// The disk of a coordinator, to be changed.
    pub fn of_mut(&mut self, id: ProcessId) -> &mut Disk {
        self.disks.get_mut(&id).expect("every coordinator has a disk")
    }

    /// Each with whose it is.
    pub fn iter(&self) -> impl Iterator<Item = (ProcessId, &Disk)> {
        self.disks.iter().map(|(&id, disk)| (id, disk))
    }

    /// A change that a coordinator wrote is on its disk.
    pub fn complete(&mut self, id: ProcessId, job: JobId) {
        self.remember(id);
        self.of_mut(id).complete(job);
    }

    /// A coordinator dies.
    pub fn crash(&mut self, id: ProcessId, rng: &mut fastrand::Rng) -> Interrupted {
        self.remember(id);
        self.of_mut(id).crash(rng)
    }

    /// Whether a name is somebody's on any disk.
    pub fn is_taken(&self, username: &Username) -> bool {
        self.disks.values().any(|disk| disk.users().get(username).is_some())
    }

    /// Whether some disk holds this name with this secret.
    pub fn any_holds(&self, username: &Username, secret: &Secret) -> bool {
        self.disks.values().any(|disk| disk.holds(username, secret))
    }

    /// Whether every disk that knows the name holds it with this secret, and one does.
    pub fn hold(&self, username: &Username, secret: &Secret) -> bool {
        let mut users = self.disks.values().filter_map(|disk| disk.users().get(username)).peekable();
        users.peek().is_some() && users.all(|user| matches(secret, user))
    }

    /// Every record of a name that was ever written to any disk, whether or not it got there.
    pub fn ever(&self, username: &Username) -> &[UserRecord] {
        self.ever.get(username).map_or(&[], Vec::as_slice)
    }

    /// Whether the name has two live registrations, anywhere.
    pub fn is_contested(&self, username: &Username) -> bool {
        let mut live = self.disks.values().flat_map(|disk| disk.users().registrations(username));
        let first = live.next();
        live.any(|other| first.is_some_and(|first| first.registration != other.registration))
    }

    fn remember(&mut self, id: ProcessId) {
        let Some((_, change)) = &self.disks[&id].writing else { return };
        for (name, record) in &change.users {
            let known = self.ever.entry(name.clone()).or_default();
            if !known.contains(record) {
                known.push(record.clone());
            }
        }
    }
}

/// Whether this user has this secret.
pub fn matches(secret: &Secret, user: &UserRecord) -> bool {
    user.secret.as_ref().is_some_and(|hash| verify(secret, hash))
}

/// Looks like an Argon2id hash, costs nothing. `salt` makes hashes of one secret differ, as real ones do.
pub fn hash(secret: &Secret, salt: u64) -> PasswordHash {
    let salt = STANDARD_NO_PAD.encode(salt.to_le_bytes());
    let digest = STANDARD_NO_PAD.encode(Sha256::digest(format!("{salt}{}", secret.expose())));
    PasswordHash::new(&format!("$argon2id$v=19$m=19456,t=2,p=1${salt}${digest}"))
}

/// Whether `secret` is the one that [`hash`] was made of.
pub fn verify(secret: &Secret, hash: &PasswordHash) -> bool {
    let text = hash.text();
    let Some((salt, digest)) =
        text.rsplit_once('$').and_then(|(rest, digest)| Some((rest.rsplit_once('$')?.1, digest)))
    else {
        return false;
    };
    digest == STANDARD_NO_PAD.encode(Sha256::digest(format!("{salt}{}", secret.expose())))
}
