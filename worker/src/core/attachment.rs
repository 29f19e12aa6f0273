//! A session's attachment to this worker: how the client on one connection numbers what it publishes, and what it has of what it was sent.
//!
//! A capable client has a session that outlives its connections; it says the numbers, and acknowledges what it has received. A classic
//! one has a session for as long as its connection stands, in which the worker numbers for it.

use std::time::Duration;

use common::id::Seq;
use common::limits::UNREPORTED;
use common::session::SessionId;
use common::time::Time;

use super::deliveries::Ordinal;
use super::resuming::Replay;

/// How far beyond what is known here a client may begin: what it published through other workers may still be on its way.
const AHEAD: u64 = 16 * UNREPORTED as u64;

/// With which number at the most a session may go on that nobody here knows: all workers may have lost their logs, or have forgotten it. It would
/// take a thousand years to get there at thirty activities a second.
const UNKNOWN: u64 = 1 << 40;

/// How long a session must have been attached here before it is moved to even out the load: who has just come is not sent on.
const SETTLED: Duration = Duration::from_secs(10);

/// One session at one connection.
#[derive(Debug)]
pub(super) struct Attachment {
    session: SessionId,
    /// Which of all attachments to this worker it is.
    number: u64,
    /// The number of what it published last on this connection.
    last: Option<Seq>,
    /// What is kept of a client that numbers and acknowledges.
    capable: Option<Capable>,
    /// What is appended from this ordinal on is for it; none while it is being replayed what it missed.
    pub(super) from: Option<Ordinal>,
    /// What is appended from this ordinal on it gets at another worker, to which it was sent.
    pub(super) until: Option<Ordinal>,
    /// What it is being replayed.
    pub(super) replay: Option<Box<Replay>>,
    /// Before when nothing more is read from it, because it has asked for much.
    pub(super) quiet_until: Time,
    /// How much of what waits for it in its outbox ends with the last answer to what it asked for.
    pub(super) unanswered: usize,
}

#[derive(Clone, Copy, Debug)]
struct Capable {
    /// How many activities it has acknowledged over this connection, replayed ones included.
    acknowledged: u64,
    /// How many it was replayed.
    replayed: u64,
    /// When it is to be given a new token.
    token_due: Time,
    /// From when on it may be moved to another worker; none where it has been told to.
    movable_from: Option<Time>,
}

impl Attachment {
    /// A session that lasts as long as the connection.
    pub(super) fn classic(session: SessionId, number: u64) -> Self {
        Attachment {
            session,
            number,
            last: None,
            capable: None,
            from: None,
            until: None,
            replay: None,
            quiet_until: Time::ZERO,
            unanswered: 0,
        }
    }

    /// A session of a client that numbers and acknowledges.
    pub(super) fn capable(session: SessionId, number: u64, now: Time) -> Self {
        let movable_from = Some(now + SETTLED);
        let capable = Capable { acknowledged: 0, replayed: 0, token_due: now, movable_from };
        Attachment { capable: Some(capable), ..Attachment::classic(session, number) }
    }

    /// Which session.
    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    /// Which of all attachments to this worker.
    pub(super) fn attachment(&self) -> u64 {
        self.number
    }

    /// Whether the client numbers and acknowledges.
    pub(super) fn is_capable(&self) -> bool {
        self.capable.is_some()
    }

    /// The number of the activity that comes now, for which the client says `said`. What is `known` here of its session is the last number;
    /// only of the first on a connection that matters.
    ///
    /// # Errors
    /// Why it cannot be that. Nothing has changed.
    pub(super) fn number(
        &mut self,
        said: Option<Seq>,
        known: impl FnOnce() -> Option<Seq>,
    ) -> Result<Seq, String> {
        let next = self.last.map(Seq::next);
        let seq = match (self.is_capable(), said, next) {
            (false, _, next) => next.unwrap_or(Seq(1)),
            (true, None, _) => return Err("ACTIVITY_MESSAGE in a session needs an activity_seq".to_owned()),
            (true, Some(said), Some(next)) if said != next => {
                return Err(format!("activity_seq {said} comes where {next} was to come"));
            }
            (true, Some(Seq(0)), None) => return Err("the first activity_seq of a session is 1".to_owned()),
            (true, Some(said), None)
                if said.0 > known().map_or(UNKNOWN, |known| UNKNOWN.max(known.0 + AHEAD)) =>
            {
                return Err(format!("activity_seq {said} is far beyond what this session has published"));
            }
            (true, Some(said), _) => said,
        };
        self.last = Some(seq);
        Ok(seq)
    }

    /// The client has received so many activities over this connection; the log will have `end` as its next ordinal.
    ///
    /// # Errors
    /// Why that cannot be.
    pub(super) fn acknowledge(&mut self, received: u64, end: Ordinal) -> Result<(), &'static str> {
        let replayed = self.replay.as_ref().map(|replay| replay.count);
        let Some(capable) = &mut self.capable else {
            return Err("ACTIVITY_ACK is for clients that have a session");
        };
        let replayed = replayed.unwrap_or(capable.replayed);
        let is_sent = match self.from {
            Some(from) => from.plus(received.saturating_sub(replayed)) <= end,
            None => received <= replayed,
        };
        if !is_sent {
            return Err("more activities are acknowledged than were sent");
        }
        capable.acknowledged = capable.acknowledged.max(received);
        Ok(())
    }

    /// Up to before which ordinal it has acknowledged what was appended; none where it does not acknowledge.
    pub(super) fn acknowledged(&self) -> Option<Ordinal> {
        let capable = self.capable?;
        Some(self.from?.plus(capable.acknowledged.saturating_sub(capable.replayed)))
    }

    /// What it missed has been replayed: what is appended from `ordinal` on is for it.
    pub(super) fn go_live(&mut self, ordinal: Ordinal) -> Option<Box<Replay>> {
        self.from = Some(ordinal);
        let replay = self.replay.take();
        if let (Some(capable), Some(replay)) = (&mut self.capable, &replay) {
            capable.replayed = replay.count;
        }
        replay
    }

    /// Whether it may be sent to another worker: it has been here for a while, and was not told to go yet.
    pub(super) fn may_move(&self, now: Time) -> bool {
        let from = self.capable.and_then(|capable| capable.movable_from);
        from.is_some_and(|from| from <= now) && self.from.is_some()
    }

    /// It was told to go to another worker.
    pub(super) fn told_to_move(&mut self) {
        if let Some(capable) = &mut self.capable {
            capable.movable_from = None;
        }
    }

    /// It is sent to another worker, and the next frame will have this ordinal. Says whether it received what was appended until now.
    pub(super) fn sent_on(&mut self, next: Ordinal) -> bool {
        let received = self.from.is_some() && self.until.is_none();
        if received {
            self.until = Some(next);
        }
        received
    }

    /// Whether it was told to go to another worker, and goes by itself.
    pub(super) fn is_moving(&self) -> bool {
        self.capable.is_some_and(|capable| capable.movable_from.is_none())
    }

    /// When it is to be given a new token.
    pub(super) fn token_due(&self) -> Option<Time> {
        self.capable.map(|capable| capable.token_due)
    }

    /// It has been given a token; the next one at `due`.
    pub(super) fn token_given(&mut self, due: Time) {
        if let Some(capable) = &mut self.capable {
            capable.token_due = due;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capable() -> Attachment {
        Attachment::capable(SessionId(7), 1, Time::ZERO)
    }

    #[test]
    fn a_session_counts_by_one_from_wherever_it_goes_on() {
        let mut attachment = capable();
        assert_eq!(attachment.number(Some(Seq(41)), || Some(Seq(45))), Ok(Seq(41)), "it sends again");
        assert_eq!(attachment.number(Some(Seq(42)), || None), Ok(Seq(42)));
        for wrong in [Seq(42), Seq(1), Seq(44), Seq(1 << 60)] {
            assert!(attachment.number(Some(wrong), || None).is_err());
        }
        assert!(attachment.number(None, || None).is_err());
        assert_eq!(attachment.number(Some(Seq(43)), || None), Ok(Seq(43)));
        assert!(capable().number(Some(Seq(0)), || None).is_err());
        assert!(capable().number(Some(Seq(1 << 60)), || Some(Seq(3))).is_err());
    }

    #[test]
    fn for_a_classic_client_the_worker_counts() {
        let mut attachment = Attachment::classic(SessionId(7), 1);
        assert_eq!(attachment.number(Some(Seq(9)), || None), Ok(Seq(1)));
        assert_eq!(attachment.number(None, || None), Ok(Seq(2)));
        assert!(attachment.acknowledge(0, Ordinal::default()).is_err());
    }

    #[test]
    fn nobody_acknowledges_what_was_not_sent() {
        let mut attachment = capable();
        let (begin, end) = (Ordinal::default().plus(100), Ordinal::default().plus(103));
        attachment.go_live(begin);
        assert_eq!(attachment.acknowledged(), Some(begin));
        assert!(attachment.acknowledge(4, end).is_err());
        assert_eq!(attachment.acknowledge(3, end), Ok(()));
        assert_eq!(attachment.acknowledge(1, end), Ok(()), "an older one may come late");
        assert_eq!(attachment.acknowledged(), Some(end));
    }
}
