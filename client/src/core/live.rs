//! A session that is live: what is said and heard at a worker.
//!
//! What a server understands shows in its welcome. One that names the network, or a position, knows sessions: it gives reports, is told
//! what arrived, and may send us to another worker. Any other is of the classic protocol: there an activity is done when it is written.

use common::id::{LinkId, Seq};
use common::outbox::Outbox;
use common::time::Time;
use common::wire::{
    Activity, ActivityAck, ActivityBroadcast, ActivitySendingReport, LoginSuccess, Logout, Message, Quit,
    Redirect, Resumed,
};

use super::outgoing::{AHEAD_BYTES, FRAME_BYTES};
use super::receipt::{Acks, Arrival, Beginning};
use super::route::Target;
use super::{Action, Client, Effect, Limits, State, login};

/// Bytes of acknowledgements that wait together at most: one follows another only when that has been taken, or many activities later.
const ACK_BYTES: usize = 4 << 10;

/// Bytes of a question who is online. One waits at a time.
const QUESTION_BYTES: usize = 1 << 10;

/// How long a session must have been live for its loss to be an accident. Who is turned out at once is turned out again.
const STOOD: std::time::Duration = std::time::Duration::from_secs(2);

/// The connection to the worker.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) link: LinkId,
    since: Time,
    pub(super) outbox: Outbox,
    /// Whether the server knows sessions.
    knows_sessions: bool,
    acks: Acks,
    /// Whether a part of the last frame in the outbox has been written.
    midway: bool,
    /// When to leave although not everything is reported; `None` where nobody wants to leave.
    leaving: Option<Time>,
    /// When something was heard last from a server that knows sessions, and so tells us every few seconds where else to go.
    heard: Option<Time>,
    /// Since when a report is due that has not come, nor anything else.
    asked: Option<Time>,
}

impl Live {
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Time> {
        // Where there is no room for an acknowledgement, it waits until something was taken.
        let ack = self.acks.due().filter(|_| self.has_room());
        [self.stalls_at(limits), self.silent_at(limits), ack, self.leaving].into_iter().flatten().min()
    }

    /// When the server has been silent for too long.
    fn silent_at(&self, limits: &Limits) -> Option<Time> {
        let unanswered = self.asked.map(|asked| asked + limits.report_silence);
        [self.heard.map(|heard| heard + limits.silence), unanswered].into_iter().flatten().min()
    }

    /// When the server has taken nothing for too long.
    fn stalls_at(&self, limits: &Limits) -> Option<Time> {
        self.outbox.stalled_since().map(|since| since + limits.write_stall)
    }

    /// Whether there is room for more to say.
    fn has_room(&self) -> bool {
        self.outbox.len() < AHEAD_BYTES
    }
}

impl Client {
    /// A worker has let us in.
    pub(super) fn arrived(
        &mut self,
        now: Time,
        link: LinkId,
        target: &Target,
        success: LoginSuccess,
        actions: &mut Vec<Action>,
    ) {
        let knows_sessions = success.network.is_some() || success.position.is_some();
        let server = success.server.clone();
        let after = match self.receipt.welcome(success) {
            Beginning::At(position) => Some(position),
            Beginning::AsBefore => None,
            Beginning::Nowhere(info) => {
                actions.push(Action::Close { link, farewell: Vec::new() });
                return self.refused(info, actions);
            }
        };
        let address = target.address().clone();
        self.route.arrived(server.clone(), address.clone());
        self.rounds = 0;
        self.not_registered = None;
        let leaving = self.leaving.then(|| now + self.config.limits.farewell);
        self.state = State::Live(Live {
            link,
            since: now,
            outbox: Outbox::new(AHEAD_BYTES + FRAME_BYTES + ACK_BYTES + QUESTION_BYTES),
            knows_sessions,
            acks: Acks::default(),
            midway: false,
            leaving,
            heard: knows_sessions.then_some(now),
            asked: None,
        });
        actions.push(Action::Effect(Effect::LoggedIn { server, address, after }));
        if knows_sessions {
            self.begin_presence(now, actions);
        }
        self.say_on(now, actions);
    }

    pub(super) fn heard(&mut self, now: Time, link: LinkId, message: Message, actions: &mut Vec<Action>) {
        let knows_sessions = matches!(&self.state, State::Live(live) if live.knows_sessions);
        if let State::Live(live) = &mut self.state
            && knows_sessions
        {
            (live.heard, live.asked) = (Some(now), None);
        }
        match message {
            Message::ActivityBroadcast(broadcast) => self.broadcast(now, broadcast, actions),
            Message::BackupList(list) => {
                if let Some(servers) = self.route.learn(now, list) {
                    actions.push(Action::Effect(Effect::Servers(servers.to_vec())));
                }
            }
            Message::ActivitySendingReport(report) if knows_sessions => self.reported(now, report, actions),
            Message::Resumed(resumed) if knows_sessions => self.resumed(resumed, actions),
            Message::Quit(quit) if knows_sessions => self.sent_away(now, link, quit, actions),
            Message::NewClient(came) if self.config.presence => self.somebody_came(came, actions),
            Message::ClientDisconnect(left) if self.config.presence => self.somebody_left(left, actions),
            Message::WhoAnswer(answer) if self.config.presence => self.who_answered(now, answer, actions),
            Message::PresenceMissed(_) if self.config.presence => self.presence_missed(now, actions),
            Message::Redirect(redirect) => self.move_on(now, link, redirect, actions),
            Message::InvalidMessage(invalid) => self.hang_up(now, login::reason(invalid.info), actions),
            Message::AuthenticationFail(failed) => self.hang_up(now, login::reason(failed.info), actions),
            Message::LoginFailed(failed) => self.hang_up(now, login::reason(failed.info), actions),
            other => {
                self.hang_up(now, format!("it sent {}, which is not for clients", other.command()), actions)
            }
        }
    }

    fn broadcast(&mut self, now: Time, mut broadcast: ActivityBroadcast, actions: &mut Vec<Action>) {
        let arrival = self.receipt.take(&broadcast);
        broadcast.late |= arrival == Arrival::Late;
        match (arrival, &broadcast.id) {
            (Arrival::New | Arrival::Late, _) => actions.push(Action::Effect(Effect::Activity(broadcast))),
            (Arrival::Repeated, Some(id)) => actions.push(Action::Effect(Effect::Repeated(id.clone()))),
            (Arrival::Repeated, None) | (Arrival::Duplicate, _) => {}
        }
        self.count(now, actions);
    }

    /// An activity has arrived over the connection that stands, known or not, wanted or not.
    pub(super) fn count(&mut self, now: Time, actions: &mut Vec<Action>) {
        let limits = &self.config.limits;
        let State::Live(live) = &mut self.state else { return };
        if let Some(heard) = &mut live.heard {
            *heard = now;
        }
        if live.knows_sessions {
            live.acks.received(now, limits.ack_after);
            if live.acks.wanted(now, limits.ack_every) {
                self.say_on(now, actions);
            }
        }
    }

    fn reported(&mut self, now: Time, report: ActivitySendingReport, actions: &mut Vec<Action>) {
        match self.outgoing.reported(report) {
            Ok(news) => {
                actions.extend(news.into_iter().map(|report| Action::Effect(Effect::Report(report))));
                self.say_on(now, actions);
            }
            Err(overclaim) => self.hang_up(now, overclaim.to_string(), actions),
        }
    }

    fn resumed(&mut self, resumed: Resumed, actions: &mut Vec<Action>) {
        let Resumed { recovered, gaps, position } = resumed;
        let position = self.receipt.resumed(&position);
        actions.push(Action::Effect(Effect::Resumed { recovered, gaps, position }));
    }

    /// The worker is about to leave, or has too many clients.
    fn sent_away(&mut self, now: Time, link: LinkId, quit: Quit, actions: &mut Vec<Action>) {
        match quit.address() {
            Some(address) => self.move_on(now, link, Redirect { address, token: quit.token }, actions),
            None => self.hang_up(now, "it is about to leave".to_owned(), actions),
        }
    }

    /// Goes to another worker at once. This one hears first what has arrived.
    fn move_on(&mut self, now: Time, link: LinkId, redirect: Redirect, actions: &mut Vec<Action>) {
        let farewell = self.last_words(None);
        self.drop_connection(now, actions);
        actions.push(Action::Close { link, farewell });
        self.go_to(now, redirect, actions);
    }

    pub(super) fn publish(&mut self, now: Time, activity: Activity, actions: &mut Vec<Action>) {
        if self.leaving || matches!(self.state, State::Done) {
            return;
        }
        self.outgoing.push(activity);
        self.say_on(now, actions);
    }

    pub(super) fn wrote(&mut self, now: Time, bytes: usize, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::LoggingIn { outbox, .. } => outbox.wrote(now, bytes),
            State::Live(live) => {
                let written = &live.outbox.pending()[..bytes];
                live.midway = written.last().is_some_and(|last| *last != b'\n');
                let lines = memchr::memchr_iter(b'\n', written).count();
                live.outbox.wrote(now, bytes);
                if !live.knows_sessions {
                    // Nothing but activities is said there.
                    self.written(lines, actions);
                }
                self.say_on(now, actions);
            }
            State::Pausing { .. } | State::Dialling { .. } | State::Done => {}
        }
    }

    fn written(&mut self, frames: usize, actions: &mut Vec<Action>) {
        let news = self.outgoing.written(frames);
        let effect = |(first, last)| Effect::Unreported { first: Seq(first), last: Seq(last) };
        actions.extend(news.iter().map(effect).map(Action::Effect));
    }

    /// Queues what there is to say and room for, and says goodbye where that is all.
    fn say_on(&mut self, now: Time, actions: &mut Vec<Action>) {
        let State::Live(live) = &mut self.state else { return };
        if live.has_room()
            && live.acks.wanted(now, self.config.limits.ack_every)
            && let Some(received) = live.acks.tell()
        {
            live.outbox
                .push(now, &ActivityAck { received }.into())
                .expect("there is room for an acknowledgement");
        }
        self.outgoing.hand_over(now, &mut live.outbox);
        if live.knows_sessions && !self.outgoing.is_empty() {
            live.asked.get_or_insert(now);
        }
        let link = live.link;
        match live.leaving {
            // Where there are no reports, everything is in the last words.
            Some(_) if self.outgoing.is_empty() || !live.knows_sessions => self.say_goodbye(Ok(()), actions),
            _ if !live.outbox.is_empty() => actions.push(Action::Flush(link)),
            _ => {}
        }
    }

    /// Ends as soon as everything is said and reported; where there is nobody to say it to, when there is.
    pub(super) fn log_out(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.leaving = true;
        let is_empty = self.outgoing.is_empty();
        match &mut self.state {
            State::Live(live) => {
                live.leaving.get_or_insert(now + self.config.limits.farewell);
                self.say_on(now, actions);
            }
            State::LoggingIn { link, .. } if is_empty => {
                let link = *link;
                self.finish(link, Vec::new(), actions);
            }
            State::Pausing { .. } | State::Dialling { .. } if is_empty => self.exit(Ok(()), actions),
            _ => {}
        }
    }

    fn say_goodbye(&mut self, result: Result<(), String>, actions: &mut Vec<Action>) {
        let State::Live(live) = &self.state else { return };
        let link = live.link;
        let farewell = self.last_words(Some(Logout {}.into()));
        actions.push(Action::Close { link, farewell });
        self.exit(result, actions);
    }

    /// What is still to be said over this connection: what is under way, what has arrived, and `last`. A server that gives no reports
    /// hears everything, where it is a goodbye.
    fn last_words(&mut self, last: Option<Message>) -> Vec<u8> {
        let State::Live(live) = &mut self.state else { return Vec::new() };
        let mut words = Vec::new();
        if live.knows_sessions {
            words.extend_from_slice(live.outbox.pending());
            if let Some(received) = live.acks.tell() {
                Message::from(ActivityAck { received }).encode_into(&mut words);
            }
        } else if last.is_some() {
            words.extend_from_slice(live.outbox.pending());
            self.outgoing.waiting().for_each(|frame| words.extend_from_slice(frame));
        }
        if let Some(last) = last {
            last.encode_into(&mut words);
        }
        words
    }

    /// The connection is not to be used any more: what of the activities is to be sent again, is to be sent on another one.
    pub(super) fn drop_connection(&mut self, now: Time, actions: &mut Vec<Action>) {
        let State::Live(live) = &self.state else { return };
        if now.since(live.since) >= STOOD {
            self.backoff.reset();
        }
        if !live.knows_sessions && live.midway {
            self.written(1, actions);
        }
        self.outgoing.connection_lost();
    }

    pub(super) fn live_deadline_passed(&mut self, now: Time, actions: &mut Vec<Action>) {
        let State::Live(live) = &self.state else { return };
        if live.leaving.is_some_and(|until| until <= now) {
            let unreported = self.outgoing.len();
            return self
                .say_goodbye(Err(format!("{unreported} activities were not reported in time")), actions);
        }
        if live.stalls_at(&self.config.limits).is_some_and(|stalled| stalled <= now) {
            return self.hang_up(now, "the server takes nothing any more".to_owned(), actions);
        }
        if live.silent_at(&self.config.limits).is_some_and(|silent| silent <= now) {
            return self.hang_up(now, "the server went silent".to_owned(), actions);
        }
        self.say_on(now, actions);
    }
}
