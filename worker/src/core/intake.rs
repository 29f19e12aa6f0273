//! How fast activities are taken in: as fast as they come, unless a client that reads well cannot keep up.
//!
//! A client is behind where it lacks more than a quarter of the log. As long as one is behind that takes at least
//! [`Limits::intake_bytes`](super::Limits) a second, this worker takes in no more than that: from its clients together, and from each
//! other worker. Where too much waits for another worker, which will be because that one does the same, it takes no more from its
//! clients. The rest waits at its senders, whom TCP lets write no more.
//!
//! **Why look at each client's own pace?** One that takes less than that, or nothing, must not slow the others down, however many of its
//! kind there are: it is waited for until it lacks a second's share, falls behind the log, and is dropped. One that takes more
//! is no slow client: then it is the senders who are too fast. Comparing the clients with each other would not do. In a crowd that
//! reads as fast as it can, one is always the last; and with enough clients of his own, a sender could decide who counts as slow.
//! **Why no full stop?** So that whoever sends less than that, all together, never waits for anybody.
//!
//! Not here: who is behind (`session`, `neighbours`), and who waits for whom among those that are held back (the driver reads them in
//! turn).

use std::time::Duration;

use common::id::LinkId;
use common::time::Time;
use slotmap::SecondaryMap;

use super::log::Offset;

/// A client that is further behind its share than it should take in this time is waited for no longer. A machine must be very busy to let
/// a process wait for so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked after those who are behind.
const LOOK: Duration = Duration::from_millis(10);

/// What was not taken in for so long may be taken in at once: the drivers' clocks are coarse, and processes come late.
const SLACK: Duration = Duration::from_millis(50);

/// Who cannot keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Behind {
    /// A client that reads well.
    pub(super) clients: bool,
    /// Another worker.
    pub(super) workers: bool,
}

/// What may be taken in when.
#[derive(Debug)]
pub(super) struct Intake {
    /// Bytes a second.
    rate: usize,
    /// How much the log grows between two looks.
    step: usize,
    behind: Behind,
    looked_at: Offset,
    /// When to look again although the log has not grown; none where nobody is behind.
    next_look: Option<Time>,
    /// Until when the clients' share is used up.
    clients: Time,
    /// Until when each other worker's is.
    workers: SecondaryMap<LinkId, Time>,
}

impl Intake {
    /// Nobody is behind. Beyond that, `rate` bytes a second; it is to be looked after each `step` bytes.
    pub(super) fn new(rate: usize, step: usize, end: Offset) -> Self {
        Intake {
            rate,
            step,
            behind: Behind::default(),
            looked_at: end,
            next_look: None,
            clients: Time::ZERO,
            workers: SecondaryMap::new(),
        }
    }

    /// Whether to find out who is behind, and to say so with [`looked`](Self::looked). The log ends at `end`.
    pub(super) fn is_due(&self, now: Time, end: Offset) -> bool {
        end.since(self.looked_at) >= self.step || self.next_look.is_some_and(|at| at <= now)
    }

    /// When it is due whatever comes in.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.next_look
    }

    /// These are behind.
    pub(super) fn looked(&mut self, now: Time, end: Offset, behind: Behind) {
        if behind != self.behind {
            tracing::debug!(
                clients = behind.clients,
                workers = behind.workers,
                "who cannot keep up has changed"
            );
        }
        self.behind = behind;
        self.looked_at = end;
        self.next_look = (behind != Behind::default()).then_some(now + LOOK);
        if !behind.clients {
            self.workers.clear();
        }
    }

    /// An activity of `bytes` was taken from a client.
    pub(super) fn took_from_client(&mut self, now: Time, bytes: usize) {
        if self.behind.clients || self.behind.workers {
            self.clients = used_up(self.rate, self.clients, now, bytes);
        }
    }

    /// An activity of `bytes` was taken from the worker on `link`.
    pub(super) fn took_from_worker(&mut self, now: Time, link: LinkId, bytes: usize) {
        if self.behind.clients {
            let before = self.workers.get(link).copied().unwrap_or_default();
            self.workers.insert(link, used_up(self.rate, before, now, bytes));
        }
    }

    /// When clients may be read.
    pub(super) fn clients_after(&self) -> Option<Time> {
        (self.behind.clients || self.behind.workers).then_some(self.clients)
    }

    /// When the worker on `link` may be read.
    pub(super) fn worker_after(&self, link: LinkId) -> Option<Time> {
        self.behind.clients.then(|| self.workers.get(link).copied().unwrap_or_default())
    }

    /// A link to a worker is gone.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.workers.remove(link);
    }
}

/// Until when a share is used up that was so until `before`, after another `bytes`.
fn used_up(rate: usize, before: Time, now: Time, bytes: usize) -> Time {
    let unused = Time::from_micros(now.as_micros().saturating_sub(SLACK.as_micros() as u64));
    before.max(unused) + Duration::from_secs(1).mul_f64(bytes as f64 / rate as f64)
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::super::log::Log;
    use super::*;

    const RATE: usize = 1_000_000;

    fn millis(millis: u64) -> Time {
        Time::from_micros(millis * 1_000)
    }

    /// What is taken in within ten seconds from clients that always have more, in pieces of a kilobyte.
    fn taken(intake: &mut Intake) -> usize {
        let (mut now, mut bytes) = (millis(60_000), 0);
        while now < millis(70_000) {
            match intake.clients_after().filter(|after| *after > now) {
                Some(after) => now = after,
                None => {
                    intake.took_from_client(now, 1_000);
                    bytes += 1_000;
                    now = now + Duration::from_micros(10);
                }
            }
        }
        bytes
    }

    #[test]
    fn as_much_is_taken_in_as_comes_until_somebody_is_behind_and_then_just_what_was_promised() {
        let end = Log::new(1).end();
        for (behind, expected) in [
            (Behind::default(), 10 * 100_000_000),
            (Behind { clients: true, workers: false }, 10 * RATE),
            (Behind { clients: false, workers: true }, 10 * RATE),
        ] {
            let mut intake = Intake::new(RATE, 1, end);
            intake.looked(millis(0), end, behind);
            let taken = taken(&mut intake);
            assert!(taken.abs_diff(expected) <= expected / 100, "{taken} bytes with {behind:?}");
        }
    }

    #[test]
    fn each_other_worker_has_a_share_of_its_own_and_only_who_is_behind_matters_to_it() {
        let (end, now) = (Log::new(1).end(), millis(60_000));
        let mut links = SlotMap::<LinkId, ()>::with_key();
        let (one, other) = (links.insert(()), links.insert(()));
        let mut intake = Intake::new(RATE, 1, end);
        intake.looked(now, end, Behind { clients: true, workers: false });
        intake.took_from_worker(now, one, RATE);
        assert_eq!(intake.worker_after(one), Some(now + Duration::from_millis(950)));
        assert!(intake.worker_after(other).unwrap() <= now && intake.clients_after().unwrap() <= now);
        intake.looked(now, end, Behind { clients: false, workers: true });
        assert_eq!((intake.worker_after(one), intake.worker_after(other)), (None, None));
    }

    #[test]
    fn who_is_behind_is_looked_after_until_nobody_is() {
        let mut log = Log::new(100);
        let mut intake = Intake::new(RATE, 4, log.end());
        log.append_line(b"12\n");
        assert!(!intake.is_due(millis(0), log.end()));
        log.append_line(b"\n");
        assert!(intake.is_due(millis(0), log.end()));
        intake.looked(millis(0), log.end(), Behind { clients: true, workers: false });
        assert!(!intake.is_due(millis(9), log.end()) && intake.is_due(millis(10), log.end()));
        assert_eq!(intake.deadline(), Some(millis(10)));
        intake.looked(millis(10), log.end(), Behind::default());
        assert_eq!(intake.deadline(), None);
    }
}
