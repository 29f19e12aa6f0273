//! The coordinator's disk: what is on it survives; what is being written survives a crash or does not, whole.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use common::machine::JobId;
use common::user::{PasswordHash, Secret, UserRecord, Username};
use common::users::Users;
use sha2::{Digest, Sha256};

/// A user as the coordinator hands it to its disk.
pub type Entry = (Username, UserRecord);

/// A disk that holds users.
#[derive(Debug, Default)]
pub struct Disk {
    users: Users,
    writing: Option<(JobId, Vec<Entry>)>,
}

/// What became of the batch that was being written in a crash.
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
    /// Starts to write a batch.
    ///
    /// # Panics
    /// When the coordinator has not waited for the batch before.
    pub fn write(&mut self, job: JobId, users: Vec<Entry>) {
        assert!(
            self.writing.is_none(),
            "a second batch was handed to the disk before the first was answered"
        );
        self.writing = Some((job, users));
    }

    /// The batch is on disk.
    pub fn complete(&mut self, job: JobId) {
        let (written, users) = self.writing.take().expect("a batch was being written");
        assert_eq!(written, job);
        self.add(users);
    }

    /// The batch could not be written.
    pub fn fail(&mut self, job: JobId) {
        let (failed, _) = self.writing.take().expect("a batch was being written");
        assert_eq!(failed, job);
    }

    /// The coordinator dies.
    pub fn crash(&mut self, rng: &mut fastrand::Rng) -> Interrupted {
        match self.writing.take() {
            None => Interrupted::Nothing,
            Some((_, users)) if rng.bool() => {
                self.add(users);
                Interrupted::Survived
            }
            Some(_) => Interrupted::Lost,
        }
    }

    /// What is on it.
    pub fn users(&self) -> &Users {
        &self.users
    }

    fn add(&mut self, entries: Vec<Entry>) {
        entries.into_iter().for_each(|(name, record)| _ = self.users.merge(name, record));
    }

    /// Whether it holds this name with this secret.
    pub fn holds(&self, username: &Username, secret: &Secret) -> bool {
        self.users.get(username).is_some_and(|user| matches(secret, user))
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
