//! What was asked of other threads and has not been answered.
//!
//! **Invariant:** every number is used once. A password hash ends with its answer, or with the connection that it was started for: then
//! it is cancelled, and an answer that was under way is nobody's.

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
    /// To store it with this name, which is held for whoever is at the other end.
    Hash { link: LinkId, username: Username },
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

impl HashJob {
    fn link(&self) -> LinkId {
        match self {
            HashJob::Hash { link, .. } | HashJob::Verify(Verification { link, .. }) => *link,
        }
    }
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

    /// The answer has come. `None` where it was cancelled.
    pub(super) fn finish(&mut self, job: JobId) -> Option<HashJob> {
        assert!(job.0 <= self.started, "what is answered was asked for");
        self.hashes.remove(&job)
    }

    /// The password hash that was asked for whoever is at the other end of `link`.
    pub(super) fn of(&self, link: LinkId) -> Option<JobId> {
        self.hashes.iter().find(|(_, hash)| hash.link() == link).map(|(&job, _)| job)
    }

    /// Whoever was at the other end of `link` is gone: forgets the password hash that was asked for it, if there is one.
    pub(super) fn cancel(&mut self, link: LinkId) -> Option<(JobId, HashJob)> {
        let job = self.of(link)?;
        self.hashes.remove(&job).map(|hash| (job, hash))
    }

    /// A password hash that was asked for. `None` where it was cancelled.
    pub(super) fn get(&self, job: JobId) -> Option<&HashJob> {
        self.hashes.get(&job)
    }

    /// Password hashes outstanding.
    pub(super) fn hashes(&self) -> usize {
        self.hashes.len()
    }
}
