//! The conversation with clients: what they may say when, what they publish, and how they leave.

use common::id::LinkId;
use common::machine::Action;
use common::time::Now;
use common::user::Username;
use common::wire::{
    ActivityBroadcast, ActivityMessage, AuthenticationFail, ChangeSecretFailed, DeLoad, Message, Millis,
    RemoveUserFailed, WireError,
};

use super::session::{Phase, Purpose, Session};
use super::{Actions, Link, Worker};

/// What is said of more log-ins and registrations than may be under way.
pub(super) const BUSY: &str = "too many log-ins and registrations at once; try again in a moment";
/// What is said to who comes during a drain.
pub(super) const LEAVING: &str = "this server is shutting down; try another";

impl Worker {
    pub(super) fn client_said(&mut self, now: Now, link: LinkId, message: Message, out: &mut Actions) {
        match message {
            Message::Login(login) => self.login(now, link, login, out),
            Message::Register(register) => self.register(now, link, register, out),
            Message::ActivityMessage(message) => self.publish(now, link, &message, out),
            Message::Logout(_) => self.close(now, link, None, out),
            Message::Authenticate(authenticate) => self.admit_neighbour(now, link, authenticate, out),
            Message::InvalidMessage(_) | Message::AuthenticationFail(_) => self.close(now, link, None, out),
            Message::RegisterSuccess(_)
            | Message::RegisterFailed(_)
            | Message::LoginSuccess(_)
            | Message::LoginFailed(_)
            | Message::Redirect(_) => {
                self.refuse(now, link, format!("{} is an answer; nobody asked", message.command()), out);
            }
            Message::ChangeSecret(_) => {
                let info = self.at_the_coordinator("secrets are changed");
                self.close(now, link, Some(ChangeSecretFailed { info, retry_after: None }.into()), out);
            }
            Message::RemoveUser(_) => {
                let info = self.at_the_coordinator("users are removed");
                self.close(now, link, Some(RemoveUserFailed { info, retry_after: None }.into()), out);
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

    fn at_the_coordinator(&self, what: &str) -> String {
        format!("{what} at the coordinator, and this is a worker: connect to {}", self.upstream.address())
    }

    /// Whether this client may start something, because nothing is under way. Else it is told so and closed.
    pub(super) fn is_fresh(&mut self, now: Now, link: LinkId, command: &str, out: &mut Actions) -> bool {
        let info = match self.session(link).phase() {
            Phase::Fresh { .. } => return true,
            Phase::LoggedIn { .. } => {
                format!("{command} after LOGIN_SUCCESS: this connection is logged in already")
            }
            Phase::Asking { .. } | Phase::Verifying { purpose: Purpose::LogIn(_), .. } => {
                format!("{command} before LOGIN was answered")
            }
            Phase::Registering { .. } | Phase::Verifying { purpose: Purpose::Register, .. } => {
                format!("{command} before REGISTER was answered")
            }
        };
        self.refuse(now, link, info, out);
        false
    }

    fn publish(&mut self, now: Now, link: LinkId, message: &ActivityMessage, out: &mut Actions) {
        let Some(Link::Client(session)) = self.links.get(link) else { unreachable!("a client spoke") };
        let activity = match session.author(message, &self.digests) {
            Ok(username) => message.activity.authenticated(username),
            Err(info) => {
                let last = AuthenticationFail { info: info.to_owned() };
                return self.close(now, link, Some(last.into()), out);
            }
        };
        let limit = self.config.limits.activity_bytes;
        if message.activity.get().len() > limit {
            return self.refuse(now, link, WireError::TooLong { limit }.to_string(), out);
        }
        if self.drain.is_some() {
            // As if it had come after the close that is imminent.
            return;
        }
        let broadcast = ActivityBroadcast { id: Some(self.flood.next_id()), activity };
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        Message::from(broadcast).encode_into(&mut frame);
        self.append(&frame);
        self.intake.took_from_client(now.time, frame.len());
        let full = self.neighbours.push_to_all(now.time, &frame);
        self.frame = frame;
        self.cut_off(now, full, out);
    }

    /// Queues a private reply; who lets too many wait is dropped.
    pub(super) fn reply(&mut self, now: Now, link: LinkId, message: impl Into<Message>, out: &mut Actions) {
        match self.session(link).reply(now.time, &message.into()) {
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
                self.load -= 1;
                self.tell_coordinator(now, DeLoad { load: self.load }, out);
            }
            Phase::Asking { username, .. } => {
                if let Some(waiting) = self.queries.get_mut(username) {
                    waiting.retain(|other| *other != link);
                    if waiting.is_empty() {
                        self.queries.remove(username);
                    }
                }
            }
            Phase::Registering { username, .. } => self.registrations.abandoned(username, link),
            Phase::Fresh { .. } | Phase::Verifying { .. } => {}
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
            self.close(now, link, Some(AuthenticationFail { info }.into()), out);
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
