//! The conversation with clients: what they may say when, what they publish, and how they leave. A coordinator that only asks whom we hear
//! is one of them.

use std::time::Duration;

use common::epoch::Epoch;
use common::id::LinkId;
use common::machine::Action;
use common::time::Now;
use common::user::Username;
use common::wire::{
    ActivityMessage, ActivityRetrieve, AuthenticationFail, DeLoad, MainAnswer, MainQuery, Message, Millis,
    Redirect,
};

use super::session::{Attempt, Phase, Purpose, Session};
use super::{Actions, Link, Worker};

/// What is said of more log-ins and registrations than may be under way.
pub(super) const BUSY: &str = "too many log-ins and registrations at once; try again in a moment";
/// What is said to who comes during a drain.
pub(super) const LEAVING: &str = "this server is shutting down; try another";

impl Worker {
    pub(super) fn client_said(
        &mut self,
        now: Now,
        link: LinkId,
        message: Message,
        epoch: Option<&Epoch>,
        out: &mut Actions,
    ) {
        match message {
            Message::Login(login) => self.login(now, link, login, out),
            Message::Register(register) => self.register(now, link, register, out),
            Message::ActivityMessage(message) => self.publish(now, link, &message, out),
            Message::ActivityAck(ack) => self.acknowledged(now, link, &ack, out),
            Message::ActivityRetrieve(ask) => self.client_asks(now, link, ask, out),
            Message::Who(who) => self.client_asks_who(now, link, &who, out),
            Message::Logout(_) => self.close(now, link, None, out),
            Message::Authenticate(authenticate) => {
                self.admit_neighbour(now, link, authenticate, epoch, out);
            }
            Message::MainQuery(query) => self.main_query(now, link, &query, epoch, out),
            Message::InvalidMessage(_) | Message::AuthenticationFail(_) => self.close(now, link, None, out),
            Message::RegisterSuccess(_)
            | Message::RegisterFailed(_)
            | Message::LoginSuccess(_)
            | Message::LoginFailed(_)
            | Message::Redirect(_) => {
                self.refuse(now, link, format!("{} is an answer; nobody asked", message.command()), out);
            }
            Message::ChangeSecret(_) | Message::RemoveUser(_) => {
                if self.is_fresh(now, link, message.command(), out) {
                    let address = self.upstream.address().clone();
                    self.close(now, link, Some(Redirect { address, token: None }.into()), out);
                }
            }
            Message::Status(_) => self.refuse(now, link, "STATUS is for coordinators; this is a worker", out),
            _ => self.refuse(
                now,
                link,
                format!("{} is for servers: authenticate first", message.command()),
                out,
            ),
        }
    }

    /// Whether this client may start something, because nothing is under way. Else it is told so and closed.
    pub(super) fn is_fresh(&mut self, now: Now, link: LinkId, command: &str, out: &mut Actions) -> bool {
        let info = match self.session(link).phase() {
            Phase::Fresh { .. } => return true,
            Phase::LoggedIn { .. } => {
                format!("{command} after LOGIN_SUCCESS: this connection is logged in already")
            }
            Phase::Asking { attempt: Attempt { purpose, .. }, .. } | Phase::Verifying { purpose, .. }
                if *purpose == Purpose::LogIn =>
            {
                format!("{command} before LOGIN was answered")
            }
            Phase::Registering { .. } | Phase::Asking { .. } | Phase::Verifying { .. } => {
                format!("{command} before REGISTER was answered")
            }
            Phase::Coordinator { .. } => {
                format!("{command} after MAIN_QUERY: this connection is a coordinator's")
            }
        };
        self.refuse(now, link, info, out);
        false
    }

    fn publish(&mut self, now: Now, link: LinkId, message: &ActivityMessage, out: &mut Actions) {
        let Some(Link::Client(session)) = self.links.get_mut(link) else { unreachable!("a client spoke") };
        let username = match session.author(message, &self.digests) {
            Ok(username) => username.clone(),
            Err(info) => {
                let last = AuthenticationFail { info: info.to_owned(), retry_after: None, taken: false };
                return self.close(now, link, Some(last.into()), out);
            }
        };
        let limit = self.config.limits.activity_bytes;
        if message.activity.get().len() > limit {
            return self.refuse(now, link, format!("the activity is longer than {limit} bytes"), out);
        }
        let attachment = session.attachment_mut().expect("an author is logged in");
        let (session, is_capable) = (attachment.session(), attachment.is_capable());
        let known = || self.ordering.last(&session);
        let seq = match attachment.number(message.activity_seq, known) {
            Ok(seq) => seq,
            Err(info) => return self.refuse(now, link, info, out),
        };
        if is_capable {
            self.reports.owed(now.time, session, seq, self.ordering.knows(&session, seq));
        }
        self.take_from_client(now, link, (session, seq), &username, &message.activity, out);
    }

    /// A client asks for what it misses while it is live. One answer at a time is enough.
    fn client_asks(&mut self, now: Now, link: LinkId, ask: ActivityRetrieve, out: &mut Actions) {
        let session = self.session(link);
        let info = match session.attachment() {
            Some(attachment) if !attachment.is_capable() => {
                "ACTIVITY_RETRIEVE is for clients that have a session"
            }
            Some(_) if !session.may_be_answered() => {
                "ACTIVITY_RETRIEVE before the last one's answer, or what was missed, was taken"
            }
            Some(_) => {
                let (answer, examined) = self.answer(&ask);
                let answer = Message::from(answer).encode();
                // Who asks without end gets no more than all others together publish, and has no more looked at.
                let share = answer.len().max(examined) as f64 / self.config.limits.intake_bytes as f64;
                let session = self.session(link);
                session.answer(now.time, &answer);
                let attachment = session.attachment_mut().expect("it has a session");
                attachment.quiet_until = now.time + Duration::from_secs_f64(share);
                return out.push(Action::Flush(link));
            }
            None => "log in first: ACTIVITY_RETRIEVE comes after LOGIN_SUCCESS",
        };
        self.refuse(now, link, info, out);
    }

    /// A coordinator that does not hear the main one asks whether we do. It may ask again on this connection.
    fn main_query(
        &mut self,
        now: Now,
        link: LinkId,
        query: &MainQuery,
        epoch: Option<&Epoch>,
        out: &mut Actions,
    ) {
        if !self.session(link).is_coordinator() && !self.is_fresh(now, link, "MAIN_QUERY", out) {
            return;
        }
        let refusal = if self.config.secret.equals(&query.secret) {
            self.absurdity(epoch)
        } else {
            tracing::warn!(id = %query.id, "a coordinator was refused: wrong network secret");
            Some("wrong network secret".to_owned())
        };
        if let Some(info) = refusal {
            let refusal = AuthenticationFail { info, retry_after: None, taken: false };
            return self.close(now, link, Some(refusal.into()), out);
        }
        self.hear_epoch(epoch);
        let until = now.time + self.config.limits.server_silence;
        self.session(link).enter(Phase::Coordinator { until });
        let main = self.upstream.heard_main(now.time).cloned();
        self.reply(now, link, MainAnswer { main }, out);
    }

    /// Queues a private reply; who lets too many wait is dropped.
    pub(super) fn reply(&mut self, now: Now, link: LinkId, message: impl Into<Message>, out: &mut Actions) {
        let message = message.into();
        let Some(Link::Client(session)) = self.links.get_mut(link) else {
            unreachable!("only clients have sessions")
        };
        let epoch = self.epoch.as_ref().filter(|_| session.is_coordinator());
        if session.has_ended() {
            self.answered.push(link);
        }
        match session.reply(now.time, &message, epoch) {
            Ok(()) => out.push(Action::Flush(link)),
            Err(full) => {
                tracing::info!(?link, reason = %full, "dropped a client");
                self.counters.stalled += 1;
                self.close(now, link, None, out);
            }
        }
    }

    pub(super) fn client_gone(
        &mut self,
        now: Now,
        link: LinkId,
        session: Session,
        last: Option<&Message>,
        out: &mut Actions,
    ) -> Vec<u8> {
        match session.phase() {
            Phase::LoggedIn { .. } => {
                self.stops_reading(&session);
                self.ahead.left(link);
                let attachment = session.attachment().expect("it is logged in");
                let (name, attachment) = (attachment.session(), attachment.attachment());
                if self.sessions.get(&name) == Some(&link) {
                    self.sessions.remove(&name);
                    self.reports.detached(name);
                }
                self.load -= 1;
                self.watchers.remove(&link);
                self.goes(now, attachment, out);
                self.tell_coordinator(now, DeLoad { load: self.load }, out);
            }
            Phase::Asking { attempt: Attempt { username, .. }, .. } => {
                if let Some(waiting) = self.queries.get_mut(username) {
                    waiting.retain(|other| *other != link);
                    if waiting.is_empty() {
                        self.queries.remove(username);
                    }
                }
            }
            Phase::Registering { username, .. } => {
                if let Some(job) = self.registrations.abandoned(username, link) {
                    self.cancel_job(job, out);
                }
            }
            Phase::Verifying { job, .. } => self.cancel_job(*job, out),
            Phase::Fresh { .. } | Phase::Coordinator { .. } => {}
        }
        session.farewell(&self.log, self.config.limits.client_outbox_bytes, last)
    }

    /// Ends the sessions of this name whose registration does not count any more.
    pub(super) fn end_lost_sessions(&mut self, now: Now, username: &Username, out: &mut Actions) {
        let lost = |(link, party): (LinkId, &Link)| {
            let Link::Client(session) = party else { return None };
            let Phase::LoggedIn { username: name, registration: Some(registration), .. } = session.phase()
            else {
                return None;
            };
            let reason = if name == username { self.users.lost(name, registration)? } else { return None };
            Some((link, reason))
        };
        let lost: Vec<_> = self.links.iter().filter_map(lost).collect();
        for (link, info) in lost {
            tracing::info!(?link, %username, "ended a session: {info}");
            self.close(
                now,
                link,
                Some(AuthenticationFail { info, retry_after: None, taken: false }.into()),
                out,
            );
        }
    }

    pub(super) fn session(&mut self, link: LinkId) -> &mut Session {
        match self.links.get_mut(link) {
            Some(Link::Client(session)) => session,
            _ => unreachable!("only clients have sessions"),
        }
    }

    /// When a client that is turned away may try again: not all at once.
    pub(super) fn retry_after(&mut self) -> Millis {
        let least = self.config.limits.retry_after;
        (least + least.mul_f64(self.rng.f64())).into()
    }
}
