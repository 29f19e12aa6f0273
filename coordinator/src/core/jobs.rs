//! What was asked of other threads and has not been answered.
//!
//! **Invariant:** every number is used once, and every job is answered once. A job outlives the connection that it was started
//! for: its work cannot be called back, so it counts towards the bound until its answer comes.

use std::collections::BTreeMap;

use common::id::LinkId;
use common::machine::JobId;
use common::user::{Secret, Stamp, Username};

/// Numbers for jobs, and the password hashes among them.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    started: u64,
    hashes: BTreeMap<JobId, HashJob>,
}

/// What a password hash is for.
#[derive(Debug)]
pub(super) enum HashJob {
    /// To store it with this held name; the registry knows for whom.
    Hash { username: Username },
    /// To see who somebody is.
    Verify(Verification),
}

/// A secret that is being verified.
#[derive(Debug)]
pub(super) struct Verification {
    /// Whose secret; the link knows what for.
    pub(super) link: LinkId,
    pub(super) username: Username,
    /// When the user's record had last changed; `None` for an unknown name.
    pub(super) changed: Option<Stamp>,
    /// The secret itself and which of the name's live registrations it was tried on: one that is not the user's may be that of a
    /// registration which lost the name.
    pub(super) secret: Secret,
    pub(super) tried: usize,
}

impl Jobs {
    /// The number of a new job.
    pub(super) fn number(&mut self) -> JobId {
        self.started += 1;
        JobId(self.started)
    }

    /// Remembers a password hash that is being asked for.
    pub(super) fn start(&mut self, hash: HashJob) -> JobId {
        let job = self.number();
        self.hashes.insert(job, hash);
        job
    }

    /// The answer has come.
    pub(super) fn finish(&mut self, job: JobId) -> HashJob {
        self.hashes.remove(&job).expect("every job is answered once")
    }

    /// Password hashes outstanding.
    pub(super) fn hashes(&self) -> usize {
        self.hashes.len()
    }
}
