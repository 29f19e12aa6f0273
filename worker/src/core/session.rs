//! One client's connection, from its first byte to its last: who it is, what waits for it, and how far it is in the log.
//!
//! **Invariant.** What a client reads is whole frames: a private reply goes out between two frames of the log and is itself
//! finished before the log continues. No flag says which of the two is being written: where the cursor stands inside a frame it is
//! that frame, and else the outbox comes first.
//!
//! Not here: whether a secret or a token is good (`users`), and what an activity becomes (`flood`).

use std::net::IpAddr;
use std::time::Duration;

use common::epoch::Epoch;
use common::limits::{ENVELOPE_BYTES, LINE_BYTES, RETRIEVED_BYTES};
use common::machine::JobId;
use common::outbox::{Outbox, OutboxFull};
use common::time::Time;
use common::user::{Secret, Stamp, Username};
use common::wire::{ActivityMessage, Message};

use super::attachment::Attachment;
use super::deliveries::Ordinal;
use super::intake::PATIENCE;
use super::log::{Log, Offset};
use super::logging_in::Wish;
use super::resuming::{self, Replay};
use super::secrets::{Digest, Digests};

/// What is replayed to a client and waits for it is never more than this.
const REPLAY_BYTES: usize = resuming::AHEAD + RETRIEVED_BYTES + LINE_BYTES + ENVELOPE_BYTES;

/// The connection of a client, or of somebody who has not said yet what it is. There may be tens of thousands: an idle one is small.
#[derive(Debug)]
pub(super) struct Session {
    /// Where it comes from.
    peer: IpAddr,
    phase: Phase,
    outbox: Outbox,
    /// It says no more, and is kept for what it is still to hear.
    has_ended: bool,
    /// What it wants besides being let in, until it is.
    wish: Option<Box<Wish>>,
    /// The session that it has logged in to.
    attachment: Option<Box<Attachment>>,
    /// Up to where the log has been written to this client; none before it has logged in, and while it is replayed what it missed.
    cursor: Option<Offset>,
    /// How much may wait in the outbox besides what is replayed.
    outbox_bytes: usize,
    /// The last byte written ended a frame or a reply: another message may follow, whatever has become of the log.
    between_frames: bool,
    /// When something was last written, or nothing waited.
    moved: Time,
    /// How many bytes it was ahead, at the most since it is far behind, of one that has taken its share since the clock started.
    best_pace: i64,
    /// When it is to hear BACKUP_LIST again, where it has said that it understands it.
    list_due: Option<Time>,
    /// Whether it is told who comes and goes.
    presence: Presence,
}

/// Whether a client is told who comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Unwanted,
    Wanted,
    /// It does not take what it is told. When it has, it is to hear that it was not told everything.
    Missed,
}

/// How far a client has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// It has said nothing yet, or has registered. It has until then to log in.
    Fresh {
        /// The log-in deadline.
        until: Time,
    },
    /// The coordinator is asked for the user's record.
    Asking {
        /// When the record is taken to be as it is known here.
        until: Time,
        /// What for.
        attempt: Attempt,
        /// When our copy of the record had last changed, which the secret did not match; `None` where we have none.
        refuted: Option<Stamp>,
    },
    /// Its secret is being verified.
    Verifying {
        /// By this.
        job: JobId,
        /// What for.
        purpose: Purpose,
    },
    /// Its registration is under way.
    Registering {
        /// The wanted name.
        username: Username,
        /// With which secret.
        secret: Secret,
        /// Whether we knew all users when it asked, so that the name was free then.
        was_free: bool,
    },
    /// It receives and may publish.
    LoggedIn {
        /// Who it is.
        username: Username,
        /// The registration that it is logged in by; none for the anonymous user.
        registration: Option<Stamp>,
        /// The digest of the secret that it gave to log in; none where it gave a token alone.
        digest: Option<Digest>,
    },
    /// It is no client: a coordinator that has shown the network secret asks whom we hear.
    Coordinator {
        /// When it has been silent for too long.
        until: Time,
    },
}

/// Who a client wants to be, and by what right.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// The name.
    pub(super) username: Username,
    /// What is to prove it.
    pub(super) secret: Secret,
    /// What it wants.
    pub(super) purpose: Purpose,
}

/// What a secret is verified for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To log in.
    LogIn,
    /// To register what is registered: it may be its own, and the answer was lost.
    Register {
        /// Whether the name was free when it asked, as far as we know: somebody else was registering it at that time.
        was_free: bool,
    },
}

/// Why a session needs attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It did not log in in time.
    Login,
    /// The coordinator did not answer in time.
    Answer,
    /// It is a coordinator that asked nothing for too long.
    Silent,
    /// What it has not taken yet has left the log.
    FellBehind,
    /// It takes nothing of what waits for it.
    Stalled,
}

impl Session {
    /// A connection from `peer` that has until `until` to log in, and `outbox_bytes` for replies.
    pub(super) fn new(peer: IpAddr, now: Time, until: Time, outbox_bytes: usize) -> Self {
        Session {
            peer,
            phase: Phase::Fresh { until },
            outbox: Outbox::new(outbox_bytes),
            has_ended: false,
            wish: None,
            attachment: None,
            cursor: None,
            outbox_bytes,
            between_frames: true,
            moved: now,
            best_pace: 0,
            list_due: None,
            presence: Presence::Unwanted,
        }
    }

    /// It says no more.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    /// Whether it says no more, and nothing is under way that it may wait for: an answer, or what it missed.
    pub(super) fn is_over(&self) -> bool {
        let waits = match self.phase {
            Phase::Asking { .. } | Phase::Verifying { .. } | Phase::Registering { .. } => true,
            Phase::LoggedIn { .. } => {
                self.attachment.as_ref().is_some_and(|attachment| attachment.replay.is_some())
            }
            Phase::Fresh { .. } | Phase::Coordinator { .. } => false,
        };
        self.has_ended && !waits
    }

    /// Whether it says no more.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Where it comes from.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// How far it has come.
    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// It goes on to `phase`.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// It wants this besides being let in.
    pub(super) fn wishes(&mut self, wish: Option<Box<Wish>>) {
        self.wish = wish;
    }

    /// What it wants besides being let in.
    pub(super) fn take_wish(&mut self) -> Option<Box<Wish>> {
        self.wish.take()
    }

    /// Queues an answer that may be long, for a client that [may be given](Self::may_be_answered) one.
    pub(super) fn answer(&mut self, now: Time, answer: &[u8]) {
        self.outbox.set_limit(self.outbox_bytes + REPLAY_BYTES);
        self.outbox.push_beyond(now, answer);
        self.attachment.as_mut().expect("it is logged in").unanswered = self.outbox.len();
    }

    /// Whether it may be given an answer that may be long: it has taken the last one, and what it missed. Replies may wait for it besides.
    pub(super) fn may_be_answered(&self) -> bool {
        let took_all = |attachment: &Attachment| attachment.unanswered == 0 && attachment.replay.is_none();
        self.outbox.is_empty()
            || self.attachment().is_some_and(took_all) && self.outbox.len() <= self.outbox_bytes
    }

    /// It has logged in. What it gets begins with [`go_live`](Self::go_live), or with a replay.
    pub(super) fn log_in(
        &mut self,
        username: Username,
        registration: Option<Stamp>,
        digest: Option<Digest>,
        attachment: Attachment,
    ) {
        self.phase = Phase::LoggedIn { username, registration, digest };
        if attachment.replay.is_some() {
            self.outbox.set_limit(self.outbox_bytes + REPLAY_BYTES);
        }
        self.attachment = Some(Box::new(attachment));
    }

    /// What is appended to the log from `cursor` on, which is the activity `ordinal`, is for it. Returns the replay that this ends.
    pub(super) fn go_live(&mut self, cursor: Offset, ordinal: Ordinal) -> Option<Box<Replay>> {
        self.cursor = Some(cursor);
        self.attachment.as_mut().expect("it is logged in").go_live(ordinal)
    }

    /// The session that it has logged in to.
    pub(super) fn attachment(&self) -> Option<&Attachment> {
        self.attachment.as_deref()
    }

    /// The session that it has logged in to, to be changed.
    pub(super) fn attachment_mut(&mut self) -> Option<&mut Attachment> {
        self.attachment.as_deref_mut()
    }

    /// What it is being replayed, and where that goes.
    pub(super) fn replay(&mut self) -> Option<(&mut Replay, &mut Outbox)> {
        let replay = self.attachment.as_mut()?.replay.as_deref_mut()?;
        Some((replay, &mut self.outbox))
    }

    /// How far the log has been written to it, where it is live.
    pub(super) fn cursor(&self) -> Option<Offset> {
        self.cursor
    }

    /// Whether it has logged in.
    pub(super) fn is_logged_in(&self) -> bool {
        matches!(self.phase, Phase::LoggedIn { .. })
    }

    /// Whether it is a coordinator that has shown the network secret.
    pub(super) fn is_coordinator(&self) -> bool {
        matches!(self.phase, Phase::Coordinator { .. })
    }

    /// It understands BACKUP_LIST, and is to hear it again at `due`.
    pub(super) fn wants_list(&mut self, due: Time) {
        self.list_due = Some(due);
    }

    /// When it is to hear BACKUP_LIST again; only who is logged in and understands it is.
    pub(super) fn list_due(&self) -> Option<Time> {
        self.list_due.filter(|_| self.is_logged_in())
    }

    /// It wants to be told who comes and goes.
    pub(super) fn wants_presence(&mut self) {
        self.presence = Presence::Wanted;
    }

    /// Whether it wants to be told who comes and goes, and may be: it is logged in.
    pub(super) fn is_watcher(&self) -> bool {
        self.presence != Presence::Unwanted && self.is_logged_in()
    }

    /// Tells it who has come or gone, unless much waits for it already, or has since it was told last. Says whether it was told.
    pub(super) fn tell_presence(&mut self, now: Time, frame: &[u8]) -> bool {
        let has_room = self.outbox.len() + frame.len() <= self.outbox_bytes / 2;
        if self.presence == Presence::Wanted && !has_room {
            self.presence = Presence::Missed;
        }
        self.presence == Presence::Wanted && self.outbox.push_frame(now, frame).is_ok()
    }

    /// Whether it is to hear now that it was not told everything. It counts as told.
    pub(super) fn has_missed_presence(&mut self) -> bool {
        let has_missed = self.presence == Presence::Missed && self.took_replies();
        if has_missed {
            self.presence = Presence::Wanted;
        }
        has_missed
    }

    /// Whether it has taken all replies so far.
    pub(super) fn took_replies(&self) -> bool {
        self.outbox.is_empty()
    }

    /// In whose name `message` may be published.
    ///
    /// # Errors
    /// Why it may not: not logged in, another's name, a wrong secret.
    pub(super) fn author(
        &self,
        message: &ActivityMessage,
        digests: &Digests,
    ) -> Result<&Username, &'static str> {
        let Phase::LoggedIn { username, digest, .. } = &self.phase else {
            return Err("log in first: ACTIVITY_MESSAGE comes after LOGIN_SUCCESS");
        };
        if let Some(claimed) = &message.username {
            // Nearly always the very same text; else another spelling of it may be meant.
            let same = claimed == username.as_str()
                || claimed.parse::<Username>().is_ok_and(|claimed| claimed == *username);
            if !same {
                return Err("the username is not the one that logged in on this connection");
            }
        }
        match (&message.secret, digest) {
            (Some(secret), Some(digest)) if !digests.matches(digest, secret) => {
                Err("the secret is not the one that logged in on this connection")
            }
            _ => Ok(username),
        }
    }

    /// Queues a private reply; to a server it carries `epoch`.
    ///
    /// # Errors
    /// Too many wait already. Nothing was queued.
    pub(super) fn reply(
        &mut self,
        now: Time,
        message: &Message,
        epoch: Option<&Epoch>,
    ) -> Result<(), OutboxFull> {
        self.outbox.push_at(now, message, epoch)
    }

    /// What is to be written next.
    pub(super) fn output<'a>(&'a self, log: &'a Log) -> &'a [u8] {
        match self.cursor {
            None => self.outbox.pending(),
            Some(cursor) if cursor < log.start() => &[],
            Some(cursor) if self.outbox.is_empty() => log.read(cursor),
            Some(cursor) => match log.unfinished(cursor) {
                [] => self.outbox.pending(),
                rest => rest,
            },
        }
    }

    /// The first `bytes` of the output have been written.
    pub(super) fn wrote(&mut self, now: Time, log: &Log, bytes: usize) {
        self.moved = now;
        self.between_frames = self.output(log).get(bytes - 1) == Some(&b'\n');
        match self.cursor {
            Some(cursor) if self.outbox.is_empty() || !log.unfinished(cursor).is_empty() => {
                self.cursor = Some(cursor.plus(bytes));
            }
            _ => {
                self.outbox.wrote(now, bytes);
                let mut replays = false;
                if let Some(attachment) = &mut self.attachment {
                    attachment.unanswered = attachment.unanswered.saturating_sub(bytes);
                    replays = attachment.replay.is_some();
                }
                if !replays && self.outbox.len() <= self.outbox_bytes {
                    self.outbox.set_limit(self.outbox_bytes);
                }
            }
        }
    }

    /// Whether it is more than `lag` bytes behind although it takes `rate` bytes a second, give or take what it should take within
    /// [`PATIENCE`]. To be asked regularly.
    pub(super) fn is_outpaced(&mut self, now: Time, log: &Log, lag: usize, rate: usize) -> bool {
        let Some(cursor) = self.cursor.filter(|cursor| *cursor >= log.start()) else { return false };
        let due_in = |micros: u128| (rate as u128 * micros / 1_000_000) as i64;
        let pace = cursor.bytes() as i64 - due_in(now.as_micros().into());
        if log.end().since(cursor) <= lag {
            self.best_pace = pace;
            return false;
        }
        self.best_pace = self.best_pace.max(pace);
        self.best_pace - pace < due_in(PATIENCE.as_micros())
    }

    /// Whether nothing waits that was there when the log's end was `end`.
    pub(super) fn is_flushed(&self, end: Offset) -> bool {
        self.outbox.is_empty() && self.cursor.is_none_or(|cursor| cursor >= end)
    }

    /// What is overdue with this session, if anything is. To be asked regularly: that is how it knows since when something waits.
    pub(super) fn overdue(&mut self, now: Time, log: &Log, write_stall: Duration) -> Option<Overdue> {
        match self.phase {
            Phase::Fresh { until } if until <= now => return Some(Overdue::Login),
            Phase::Asking { until, .. } if until <= now => return Some(Overdue::Answer),
            Phase::Coordinator { until } if until <= now => return Some(Overdue::Silent),
            _ => {}
        }
        if self.cursor.is_some_and(|cursor| cursor < log.start()) {
            return Some(Overdue::FellBehind);
        }
        if self.output(log).is_empty() {
            self.moved = now;
        }
        (now.since(self.moved) >= write_stall).then_some(Overdue::Stalled)
    }

    /// The last bytes for this client: the rest of the frame that was begun, the replies that wait, what else it lacks of the log
    /// as far as both pieces of the log together are little (`limit` bytes), then `last`. Of a log that it has fallen behind it gets no
    /// more. Nothing where it is inside a frame whose rest is gone, or more than that: no message could follow.
    pub(super) fn farewell(self, log: &Log, limit: usize, last: Option<&Message>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest: &[u8] = &[];
        match self.cursor {
            Some(cursor) if cursor < log.start() && !self.between_frames => return bytes,
            Some(cursor) if cursor >= log.start() => {
                let unfinished = log.unfinished(cursor);
                if unfinished.len() > limit {
                    return bytes;
                }
                bytes.extend_from_slice(unfinished);
                rest = log.read(cursor.plus(unfinished.len()));
            }
            _ => {}
        }
        let log_bytes = bytes.len() + rest.len();
        bytes.extend(self.outbox.farewell(None));
        if log_bytes <= limit {
            bytes.extend_from_slice(rest);
        }
        if let Some(message) = last {
            message.encode_into(&mut bytes);
        }
        bytes
    }

    /// Asserts that no more waits than may.
    pub(super) fn assert_bounds(&self, outbox_bytes: usize) {
        assert!(
            self.outbox.len() <= outbox_bytes + REPLAY_BYTES,
            "{} bytes of replies wait for a client",
            self.outbox.len()
        );
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
