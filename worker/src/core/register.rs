//! Names that are being registered through this worker: held from the first request until the coordinator's answer, so that of two
//! requests that meet here one hears at once that the name is being registered. Which worker wins the name the coordinator says.
//!
//! **Invariant.** A hold ends: with the answer, with its time-out, or with its client where the coordinator has not been asked yet. The
//! loss of the coordinator does not end it: the next one is asked the same, with the same hash, so that a name which the last one had
//! already given away is recognised as this client's own.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use common::id::LinkId;
use common::machine::JobId;
use common::time::Time;
use common::user::{PasswordHash, Username};

/// The held names.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    held: BTreeMap<Username, Hold>,
}

#[derive(Debug)]
struct Hold {
    /// Who asked; it may be gone by now.
    link: LinkId,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Hashing(JobId),
    /// The coordinator is asked, or the next one will be as soon as it lets us in. It is to answer by then.
    Asked {
        until: Time,
        hash: PasswordHash,
    },
}

impl Registrations {
    /// Holds `username` for `link` while its secret is hashed by `job`; says whether it was free.
    pub(super) fn hold(&mut self, username: Username, link: LinkId, job: JobId) -> bool {
        match self.held.entry(username) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(Hold { link, stage: Stage::Hashing(job) });
                true
            }
        }
    }

    /// Whether somebody is registering `username` here.
    pub(super) fn is_held(&self, username: &Username) -> bool {
        self.held.contains_key(username)
    }

    /// How many names are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Which job hashes the secret for `username`, while one does.
    pub(super) fn hashed_by(&self, username: &Username) -> Option<JobId> {
        match self.held.get(username)?.stage {
            Stage::Hashing(job) => Some(job),
            Stage::Asked { .. } => None,
        }
    }

    /// For whom the secret for `username` is being hashed.
    pub(super) fn hashing_for(&self, username: &Username) -> LinkId {
        self.held.get(username).expect("a name is held while its secret is hashed").link
    }

    /// The `hash` for `username` is there, and the coordinator is going to be asked.
    pub(super) fn hashed(&mut self, username: &Username, hash: PasswordHash, until: Time) {
        let hold = self.held.get_mut(username).expect("a name is held while its secret is hashed");
        hold.stage = Stage::Asked { until, hash };
    }

    /// What a coordinator is to be asked that has just let us in: names, each with the hash of its secret.
    pub(super) fn unanswered(&self) -> Vec<(Username, PasswordHash)> {
        let asked = |(username, hold): (&Username, &Hold)| match &hold.stage {
            Stage::Asked { hash, .. } => Some((username.clone(), hash.clone())),
            Stage::Hashing(_) => None,
        };
        self.held.iter().filter_map(asked).collect()
    }

    /// The coordinator has answered: releases the name, and returns who asked.
    pub(super) fn answered(&mut self, username: &Username) -> Option<LinkId> {
        match self.held.entry(username.clone()) {
            Entry::Occupied(hold) if matches!(hold.get().stage, Stage::Asked { .. }) => {
                Some(hold.remove().link)
            }
            _ => None,
        }
    }

    /// The coordinator has given the name to whoever brought this hash: releases the name, and returns who asked, if it is the same. It may
    /// have been somebody else, who asked before and was waited for no longer.
    pub(super) fn won(&mut self, username: &Username, with: Option<&PasswordHash>) -> Option<LinkId> {
        match &self.held.get(username)?.stage {
            Stage::Asked { hash, .. } if Some(hash) == with => self.answered(username),
            _ => None,
        }
    }

    /// `link`, which wanted `username`, is gone. Once the coordinator has been asked, its answer decides; until then the name is released,
    /// and the job that hashes the secret is nobody's any more: returns that.
    pub(super) fn abandoned(&mut self, username: &Username, link: LinkId) -> Option<JobId> {
        let Entry::Occupied(hold) = self.held.entry(username.clone()) else { return None };
        match hold.get() {
            Hold { link: held_for, stage: Stage::Hashing(job) } if *held_for == link => {
                let job = *job;
                hold.remove();
                Some(job)
            }
            _ => None,
        }
    }

    /// Releases the names for which the coordinator's answer is overdue, and returns who asked for them.
    pub(super) fn expired(&mut self, now: Time) -> Vec<LinkId> {
        self.release(|stage| matches!(stage, Stage::Asked { until, .. } if *until <= now))
    }

    /// No coordinator will be asked any more: releases the names that one was asked for, and returns who asked.
    pub(super) fn give_up(&mut self) -> Vec<LinkId> {
        self.release(|stage| matches!(stage, Stage::Asked { .. }))
    }

    fn release(&mut self, over: impl Fn(&Stage) -> bool) -> Vec<LinkId> {
        let mut links = Vec::new();
        self.held.retain(|_, hold| {
            let over = over(&hold.stage);
            if over {
                links.push(hold.link);
            }
            !over
        });
        links
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn a_name_is_held_until_the_answer_the_time_out_or_the_end_of_asking() {
        let mut links = SlotMap::<LinkId, ()>::with_key();
        let (first, second) = (links.insert(()), links.insert(()));
        let ann: Username = "ann".parse().unwrap();
        let until = Time::from_micros(10);
        type End = fn(&mut Registrations, &Username) -> Vec<LinkId>;
        let ends: [End; 3] = [
            |held, ann| held.answered(ann).into_iter().collect(),
            |held, _| held.expired(Time::from_micros(10)),
            |held, _| held.give_up(),
        ];
        for end in ends {
            let mut held = Registrations::default();
            assert!(held.hold(ann.clone(), first, JobId(1)));
            assert!(!held.hold(ann.clone(), second, JobId(2)));
            assert_eq!(end(&mut held, &ann), [], "the coordinator has not been asked");
            let hash = PasswordHash::new("hash");
            assert_eq!(held.unanswered(), []);
            held.hashed(&ann, hash.clone(), until);
            assert_eq!(held.unanswered(), [(ann.clone(), hash)]);
            assert_eq!(held.abandoned(&ann, first), None);
            assert_eq!(held.expired(Time::from_micros(9)), []);
            assert_eq!(end(&mut held, &ann), [first]);
            assert!(!held.is_held(&ann));
        }
    }

    #[test]
    fn a_client_that_leaves_before_the_coordinator_was_asked_releases_its_name() {
        let link = SlotMap::<LinkId, ()>::with_key().insert(());
        let ann: Username = "ann".parse().unwrap();
        let mut held = Registrations::default();
        assert!(held.hold(ann.clone(), link, JobId(1)));
        assert_eq!(held.abandoned(&ann, link), Some(JobId(1)));
        assert!(!held.is_held(&ann));
    }
}
