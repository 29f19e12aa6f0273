//! How a client becomes a session: anonymously, by token, or by secret against the record of its user.

use common::id::LinkId;
use common::machine::{Action, JobId};
use common::password;
use common::position::Position;
use common::session::{SessionId, SessionKey};
use common::time::Now;
use common::user::{PasswordHash, Stamp, Username};
use common::users;
use common::wire::{InvalidMessage, Login, LoginFailed, LoginSuccess, NewClient, UserQuery};

use super::attachment::Attachment;
use super::clients::{BUSY, LEAVING};
use super::resuming::Replay;
use super::secrets::Digest;
use super::session::{Attempt, Phase, Purpose};
use super::{Actions, Effect, Job, Link, Worker};

/// The capability of a client that understands BACKUP_LIST.
const BACKUP_LIST: &str = "backup_list";

/// What is said of a name that does not exist, and of a secret that is not its: the same.
const WRONG: &str = "wrong name or secret";

/// What is said of a name that we do not know, where nobody could be asked whether it exists.
const UNKNOWN: &str = "this server does not know you yet, and no coordinator answers; try again in a moment";

/// The capability of a client that numbers what it publishes, acknowledges what it receives, and can be moved.
const SESSION: &str = "session";

/// The capability of a client that wants to be told who comes and goes.
const PRESENCE: &str = "presence";

/// What is said to who comes before this worker has caught up with the others.
const CATCHING_UP: &str = "this server has just started and is catching up; try again in a moment";

/// Ranges that a client's position may have: one a start of each worker, and some for what came out of order.
const POSITION_RANGES: usize = 4_096;

/// What a capable client wants besides being let in.
#[derive(Debug)]
pub(super) struct Wish {
    session: SessionKey,
    resume: Option<Position>,
    last: Option<u64>,
}

impl Wish {
    /// What `login` wishes for at a worker of `network`; nothing where the client is a classic one.
    ///
    /// # Errors
    /// Why it is refused.
    fn of(login: &Login, network: Option<&String>) -> Result<Option<Box<Wish>>, LoginFailed> {
        if !login.capabilities.iter().any(|capability| capability == SESSION) {
            return Ok(None);
        }
        let Some(session) = login.session.clone() else {
            let info = "the capability \"session\" needs the key of one".to_owned();
            return Err(LoginFailed { info, ..LoginFailed::default() });
        };
        // The client is told that it is the position, so that it can tell this from a secret that is refused, say, and begins anew.
        let not_from_there = |info| LoginFailed { info, retry_after: None, position: true };
        if login.resume.as_ref().is_some_and(|position| position.len() > POSITION_RANGES) {
            return Err(not_from_there(format!("a position has at most {POSITION_RANGES} ranges")));
        }
        if let (Some(theirs), Some(ours), Some(_)) = (&login.network, network, &login.resume)
            && theirs != ours
        {
            let info = format!("the position is of the network {theirs}, and this is {ours}");
            return Err(not_from_there(info));
        }
        Ok(Some(Box::new(Wish { session, resume: login.resume.clone(), last: login.last })))
    }
}

/// What is being verified.
#[derive(Debug)]
pub(super) struct Verification {
    /// Who waits for it.
    link: LinkId,
    attempt: Attempt,
    /// When the user's record had last changed; `None` where there is no such user.
    changed: Option<Stamp>,
    /// How far that record can be trusted.
    record: Record,
    /// Which of the name's live registrations it is.
    tried: usize,
}

/// Against what a secret is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Our own copy, which may be older than the coordinator's.
    OurCopy,
    /// What the coordinator answered a moment ago.
    Answered,
    /// Our own copy, for the coordinator was asked in vain.
    Unanswered,
}

impl Worker {
    pub(super) fn login(&mut self, now: Now, link: LinkId, login: Login, out: &mut Actions) {
        if !self.is_fresh(now, link, "LOGIN", out) {
            return;
        }
        if self.drain.is_some() {
            return self.deny_login(now, link, LEAVING, true, out);
        }
        if self.is_recovering() {
            return self.deny_login(now, link, CATCHING_UP, true, out);
        }
        let username = match login.username.parse::<Username>() {
            Ok(username) => username,
            Err(error) => return self.deny_login(now, link, error.to_string(), false, out),
        };
        match Wish::of(&login, self.users.network()) {
            Ok(wish) => self.session(link).wishes(wish),
            Err(refusal) => return self.close(now, link, Some(refusal.into()), out),
        }
        let is_capable = |of: &str| login.capabilities.iter().any(|capability| capability == of);
        if is_capable(BACKUP_LIST) {
            let again = now.time + self.config.limits.heartbeat;
            self.session(link).wants_list(again);
        }
        if is_capable(PRESENCE) {
            self.session(link).wants_presence();
        }
        if username.is_anonymous() {
            return self.welcome(now, link, username, None, None, out);
        }
        let mut info = "a log-in needs a secret or a token".to_owned();
        if let Some(token) = &login.token {
            match self.users.check_token(token, &username, now.wall) {
                Ok(registration) => {
                    // It proves nothing, and is what the client will repeat in its activities.
                    let digest = login.secret.as_ref().map(|secret| self.digests.of(secret));
                    return self.welcome(now, link, username, registration, digest, out);
                }
                Err(reason) => info = reason,
            }
        }
        match login.secret {
            None => {
                let again = login.token.is_some() && !self.users.can_check_tokens();
                self.deny_login(now, link, info, again, out);
            }
            Some(secret) if !secret.is_acceptable() => self.deny_login(now, link, WRONG, false, out),
            Some(_) if self.is_busy() => self.deny_login(now, link, BUSY, true, out),
            Some(secret) => {
                let is_unknown = self.users.get(&username).is_none();
                let attempt = Attempt { username, secret, purpose: Purpose::LogIn };
                if is_unknown && self.upstream.is_established() {
                    self.ask_for(now, link, attempt, None, out);
                } else {
                    self.verify(link, attempt, Record::OurCopy, out);
                }
            }
        }
    }

    /// Asks the coordinator for a user's record, once for all who wait for it: we have none, or one that last changed at `refuted`, which
    /// may be old.
    fn ask_for(
        &mut self,
        now: Now,
        link: LinkId,
        attempt: Attempt,
        refuted: Option<Stamp>,
        out: &mut Actions,
    ) {
        let until = now.time + self.config.limits.server_answer;
        let username = attempt.username.clone();
        self.session(link).enter(Phase::Asking { until, attempt, refuted });
        let waiting = self.queries.entry(username.clone()).or_default();
        waiting.push(link);
        if waiting.len() == 1 {
            self.tell_coordinator(now, UserQuery { username }, out);
        }
    }

    /// There is an answer about `username`, or there will be none, as `record` says: those who waited are verified against what is known
    /// now, unless that is what their secrets did not match before. So a wrong secret costs a question, and no second hash.
    pub(super) fn query_over(&mut self, now: Now, username: &Username, record: Record, out: &mut Actions) {
        for link in self.queries.remove(username).unwrap_or_default() {
            let Phase::Asking { attempt, refuted, .. } = self.session(link).phase() else {
                unreachable!("who waits for an answer is asking")
            };
            let (attempt, refuted) = (attempt.clone(), refuted.clone());
            let known = self.users.get(username).map(|user| &user.changed);
            if refuted.is_some() && refuted.as_ref() == known {
                self.deny_secret(now, link, &attempt, true, out);
            } else {
                self.verify(link, attempt, record, out);
            }
        }
    }

    /// Has a secret verified against the user's, or a decoy where there is no such user.
    pub(super) fn verify(&mut self, link: LinkId, attempt: Attempt, record: Record, out: &mut Actions) {
        let user = self.users.get(&attempt.username);
        let hash = user.and_then(|user| user.secret.clone()).unwrap_or_else(password::decoy);
        let changed = user.map(|user| user.changed.clone());
        self.start_verification(Verification { link, attempt, changed, record, tried: 0 }, hash, out);
    }

    pub(super) fn verified(&mut self, now: Now, job: JobId, matches: bool, out: &mut Actions) {
        let verification = match self.jobs.remove(&job) {
            Some(Job::Verification(verification)) => verification,
            Some(Job::Registration(_)) => unreachable!("what is hashed is not verified"),
            // It was cancelled.
            None => return,
        };
        let Verification { link, attempt, changed, record, tried } = verification;
        if tried > 0 {
            return if matches {
                self.deny_login(now, link, users::lost_name(&attempt.username), false, out)
            } else {
                self.deny_secret_of(now, link, &attempt, tried + 1, out)
            };
        }
        // An unknown name fails whatever the decoy says.
        if !matches || changed.is_none() {
            let may_be_old = changed.is_some() && record == Record::OurCopy;
            if may_be_old && self.upstream.is_established() {
                return self.ask_for(now, link, attempt, changed, out);
            }
            let is_certain = changed.is_some() || record == Record::Answered;
            return self.deny_secret(now, link, &attempt, is_certain, out);
        }
        let user = self.users.get(&attempt.username).filter(|user| Some(&user.changed) == changed.as_ref());
        let Some(registration) = user.map(|user| user.registration.clone()) else {
            return self.deny_changed(now, link, &attempt, out);
        };
        match attempt.purpose {
            Purpose::LogIn => {
                let digest = self.digests.of(&attempt.secret);
                self.welcome(now, link, attempt.username, Some(registration), Some(digest), out);
            }
            Purpose::Register { .. } => self.registered_already(now, link, &attempt.username, out),
        }
    }

    /// The secret is not the user's, or there is no such user, unless that is not certain.
    fn deny_secret(
        &mut self,
        now: Now,
        link: LinkId,
        attempt: &Attempt,
        is_certain: bool,
        out: &mut Actions,
    ) {
        let username = &attempt.username;
        match attempt.purpose {
            Purpose::LogIn if is_certain => self.deny_secret_of(now, link, attempt, 1, out),
            Purpose::LogIn => self.deny_login(now, link, UNKNOWN, true, out),
            // It was when this one asked. Hashing its secret took longer than the other's way to the disk.
            Purpose::Register { was_free: true } => {
                self.deny_registration(now, link, format!("{username} is being registered"), true, out);
            }
            Purpose::Register { was_free: false } => {
                self.deny_registration(now, link, format!("{username} is registered"), false, out);
            }
        }
    }

    /// The secret is that of none of the name's live registrations before this one: one that lost the name is not let in either, and is
    /// told why.
    fn deny_secret_of(&mut self, now: Now, link: LinkId, attempt: &Attempt, tried: usize, out: &mut Actions) {
        let next = self.users.live(&attempt.username).nth(tried);
        let Some((record, hash)) = next.and_then(|next| Some((next, next.secret.clone()?))) else {
            return self.deny_login(now, link, WRONG, false, out);
        };
        let (attempt, changed) = (attempt.clone(), Some(record.changed.clone()));
        let record = Record::Answered;
        self.start_verification(Verification { link, attempt, changed, record, tried }, hash, out);
    }

    fn start_verification(&mut self, verification: Verification, hash: PasswordHash, out: &mut Actions) {
        let (link, purpose) = (verification.link, verification.attempt.purpose);
        let secret = verification.attempt.secret.clone();
        let job = self.start_job(Job::Verification(verification));
        let session = self.session(link);
        session.enter(Phase::Verifying { job, purpose });
        let from = session.peer();
        out.push(Action::Effect(Effect::Verify { job, from, secret, hash }));
    }

    /// There was no time to hash or verify a secret.
    pub(super) fn unhashed(&mut self, now: Now, job: JobId, out: &mut Actions) {
        match self.jobs.get(&job) {
            Some(Job::Verification(Verification { link, attempt, .. })) => match (*link, attempt.purpose) {
                (link, Purpose::LogIn) => self.deny_login(now, link, BUSY, true, out),
                (link, Purpose::Register { .. }) => self.deny_registration(now, link, BUSY, true, out),
            },
            Some(Job::Registration(username)) => {
                let link = self.registrations.hashing_for(username);
                self.deny_registration(now, link, BUSY, true, out);
            }
            // It was cancelled.
            None => {}
        }
    }

    /// The user has changed while its secret was being verified.
    fn deny_changed(&mut self, now: Now, link: LinkId, attempt: &Attempt, out: &mut Actions) {
        let info = format!("{} has changed just now; try again", attempt.username);
        match attempt.purpose {
            Purpose::LogIn => self.deny_login(now, link, info, true, out),
            Purpose::Register { .. } => self.deny_registration(now, link, info, true, out),
        }
    }

    fn welcome(
        &mut self,
        now: Now,
        link: LinkId,
        username: Username,
        registration: Option<Stamp>,
        digest: Option<Digest>,
        out: &mut Actions,
    ) {
        let attachment = self.attach(now, link, &username, out);
        let (is_capable, replays) = (attachment.is_capable(), attachment.replay.is_some());
        self.session(link).log_in(username.clone(), registration, digest, attachment);
        self.load += 1;
        if self.session(link).is_watcher() {
            self.watchers.insert(link);
        }
        tracing::debug!(?link, %username, load = self.load, "logged in");
        let network = self.users.network().filter(|_| is_capable).cloned();
        let welcome = LoginSuccess {
            info: format!("logged in as {username}"),
            server: Some(self.config.id.clone()),
            // One or the other tells the client that this server knows sessions.
            position: match (is_capable, replays) {
                (true, false) => Some(self.flood.past(&self.ordering.waiting())),
                // What lies behind it RESUMED will tell.
                (true, true) if network.is_none() => Some(Position::default()),
                _ => None,
            },
            network,
        };
        self.tell_coordinator(now, NewClient { username, load: Some(self.load), at: None }, out);
        self.reply(now, link, welcome, out);
        if replays {
            self.continue_replay(now, link, out);
        } else if self.links.contains_key(link) {
            self.go_live(link);
        }
        if matches!(self.links.get(link), Some(Link::Client(session)) if session.list_due().is_some()) {
            self.tell_list(now, link, &self.destinations(), out);
        }
    }

    /// The attachment that a client has wished for. Where its session is attached by an older connection, that is closed.
    fn attach(&mut self, now: Now, link: LinkId, username: &Username, out: &mut Actions) -> Attachment {
        let Some(wish) = self.session(link).take_wish() else {
            let session = SessionId(self.rng.u128(..));
            return Attachment::classic(session, self.comes(now, username, session, out));
        };
        let session = wish.session.session(username);
        if let Some(old) = self.sessions.get(&session).copied() {
            let info = "the session goes on over another connection".to_owned();
            self.close(now, old, Some(InvalidMessage { info }.into()), out);
        }
        self.sessions.insert(session, link);
        let number = self.comes(now, username, session, out);
        let mut attachment = Attachment::capable(session, number, now.time);
        attachment.replay = match (wish.resume, wish.last) {
            (Some(position), _) => Some(Box::new(self.replay_after(position))),
            (None, Some(last)) => {
                let last = usize::try_from(last).unwrap_or(usize::MAX);
                Some(Box::new(Replay::latest(self.log.last(last))))
            }
            (None, None) => None,
        };
        attachment
    }

    /// From here on a client gets what is appended. Returns the replay that this ends.
    pub(super) fn go_live(&mut self, link: LinkId) -> Option<Box<Replay>> {
        let (end, ordinal) = (self.log.end(), self.deliveries.next_ordinal());
        self.attached += 1;
        self.session(link).go_live(end, ordinal)
    }

    fn deny_login(
        &mut self,
        now: Now,
        link: LinkId,
        info: impl Into<String>,
        again: bool,
        out: &mut Actions,
    ) {
        let retry_after = again.then(|| self.retry_after());
        let refusal = LoginFailed { info: info.into(), retry_after, position: false };
        self.close(now, link, Some(refusal.into()), out);
    }

    /// Its time to log in is over.
    pub(super) fn login_too_late(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        let info = format!("no log-in within {} s", self.config.limits.login_deadline.as_secs());
        self.deny_login(now, link, info, false, out);
    }

    /// The coordinator does not answer: what was asked for whoever waits on `link` is taken to be as we know it.
    pub(super) fn answer_too_late(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        // Another one that waited for the same answer may have ended this one.
        if let Some(Link::Client(session)) = self.links.get(link)
            && let Phase::Asking { attempt, .. } = session.phase()
        {
            let username = attempt.username.clone();
            self.query_over(now, &username, Record::Unanswered, out);
        }
    }

    /// Whether as many log-ins or registrations are under way as may be.
    pub(super) fn is_busy(&self) -> bool {
        let limits = &self.config.limits;
        self.asking() >= limits.queries || self.registrations.len() >= limits.under_registration
    }
}
