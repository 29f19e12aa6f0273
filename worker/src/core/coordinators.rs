//! The conversation with the coordinator above, and what is the same towards any server.
//!
//! What was asked of a coordinator that is lost is asked of the next: names to register, users whom we do not know. Clients that wait for
//! an answer wait for whoever reigns, within their time-outs.

use common::epoch::Epoch;
use common::id::LinkId;
use common::machine::Action;
use common::time::Now;
use common::user::{UserRecord, Username};
use common::users::Seen;
use common::wire::{
    Address, Authenticate, AuthenticateSuccess, AuthenticationFail, LockRequest, Message, SyncUser, UserQuery,
};

use super::logging_in::Record;
use super::users::Above;
use super::{Actions, Dial, Link, Worker};

impl Worker {
    /// A link to the coordinator stands: says who we are.
    pub(super) fn greet_coordinator(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        self.links.insert(link, Link::Upstream);
        self.upstream.dialled(now.time, link);
        let users_after = self.users.told().clone();
        let greeting = Authenticate { load: Some(self.load), users_after, ..self.authenticate() };
        let pushed = self.upstream.push(now.time, &greeting.into(), self.epoch.as_ref());
        pushed.expect("an empty outbox takes a greeting");
        out.push(Action::Flush(link));
    }

    pub(super) fn coordinator_said(
        &mut self,
        now: Now,
        link: LinkId,
        message: Message,
        epoch: Option<&Epoch>,
        out: &mut Actions,
    ) {
        if !self.upstream.is_established() {
            return self.coordinator_answered(now, link, message, epoch, out);
        }
        if let Some(objection) = self.objection(epoch) {
            return self.object(now, link, objection, out);
        }
        self.hear_epoch(epoch);
        self.upstream.heard(now.time);
        match message {
            Message::Heartbeat(_) => {}
            Message::SyncUser(sync) => self.users_told(now, sync, out),
            Message::UserRegisterResult(result) => {
                if self.users.follow(result.username.clone(), result.user) {
                    self.end_lost_sessions(now, &result.username, out);
                }
            }
            Message::UserAnswer(answer) => {
                if let Some(record) = answer.user {
                    self.learn_user(now, answer.username.clone(), record, out);
                }
                self.query_over(now, &answer.username, Record::Answered, out);
            }
            Message::LockAllowed(allowed) => self.lock_allowed(now, allowed, out),
            Message::LockDenied(denied) => self.lock_denied(now, denied, out),
            Message::SynchronisedNewServer(new) => {
                self.roster.joined(now.time, new.server);
                self.see_who_is_reachable(now);
            }
            Message::RemoveServer(removed) => {
                self.roster.removed(now.time, &removed.id);
                self.see_who_is_reachable(now);
                self.worker_removed(now, &removed.id, out);
            }
            Message::BackupList(list) => self.coordinators_listed(now, link, list, out),
            Message::Redirect(redirect) => self.leave_for(now, link, redirect.address, out),
            Message::MoveClients(order) => self.move_clients(now, &order, out),
            Message::InvalidMessage(_) | Message::AuthenticationFail(_) => {
                self.server_refused(now, link, &message, out)
            }
            _ => self.refuse(now, link, format!("{} is not for a worker", message.command()), out),
        }
    }

    /// Several records at once, and how much we know with them. With `override` it is the other way round: how much the coordinator
    /// knows, to be told the rest.
    fn users_told(&mut self, now: Now, sync: SyncUser, out: &mut Actions) {
        let is_last = sync.users.is_empty();
        for (username, record) in sync.users {
            self.learn_user(now, username, record, out);
        }
        if sync.r#override {
            self.tell_users_above(now, sync.seen, out);
        } else if is_last {
            self.users.claim(&sync.seen);
        }
    }

    /// A record has come, by itself no reason to think that all before it have.
    pub(super) fn learn_user(&mut self, now: Now, username: Username, record: UserRecord, out: &mut Actions) {
        if self.users.merge(username.clone(), record) {
            self.end_lost_sessions(now, &username, out);
        }
    }

    /// What came back on our AUTHENTICATE.
    fn coordinator_answered(
        &mut self,
        now: Now,
        link: LinkId,
        message: Message,
        epoch: Option<&Epoch>,
        out: &mut Actions,
    ) {
        match message {
            Message::AuthenticateSuccess(success) => self.let_in(now, link, success, epoch, out),
            Message::Redirect(redirect) => {
                self.hear_epoch(epoch);
                self.leave_for(now, link, redirect.address, out);
            }
            Message::AuthenticationFail(_) => self.turned_away(now, link, message, epoch, out),
            Message::InvalidMessage(_) => self.server_refused(now, link, &message, out),
            _ => {
                self.refuse(now, link, format!("{} before AUTHENTICATE was answered", message.command()), out)
            }
        }
    }

    /// The coordinator will not have us. Where it says a higher epoch than we did, it is that which it refuses; else it may be us.
    fn turned_away(
        &mut self,
        now: Now,
        link: LinkId,
        message: Message,
        epoch: Option<&Epoch>,
        out: &mut Actions,
    ) {
        let for_our_epoch = self.epoch.is_some() && epoch > self.epoch.as_ref();
        if !for_our_epoch
            && let Message::AuthenticationFail(fail) = &message
            && fail.retry_after.is_none()
            && self.upstream.refused_for_good()
        {
            self.upstream.complained(now.time);
            return out.push(Action::Exit(Err(format!(
                "the coordinator at {} refused this worker: {}. If it is the network secret, give both the same one, with \
                 --secret-file or {}",
                self.upstream.address(),
                fail.info,
                common::network_secret::VARIABLE
            ))));
        }
        let is_taken = matches!(&message, Message::AuthenticationFail(fail) if fail.taken);
        if let Some(recovery) = self.recovery.as_mut().filter(|_| is_taken) {
            recovery.id_is_taken(now.time);
        }
        let is_displaced = is_taken && self.upstream.id_is_taken(now.time);
        self.server_refused(now, link, &message, out);
        if is_displaced {
            self.give_way(now, out);
        }
    }

    /// The coordinator lets us in: it hears how we are, what we know and it does not, and what its predecessor left unanswered.
    fn let_in(
        &mut self,
        now: Now,
        link: LinkId,
        success: AuthenticateSuccess,
        epoch: Option<&Epoch>,
        out: &mut Actions,
    ) {
        let AuthenticateSuccess {
            id, network: Some(network), token_key: Some(token_key), servers, seen, ..
        } = success
        else {
            self.upstream.refused(now.time, "it is a worker itself; name a coordinator with --coordinator");
            return self.refuse(now, link, "only a coordinator can let a worker in", out);
        };
        if self.users.join(network, token_key) {
            // Epochs are the other network's too, and so is what we have just said that we know of users.
            self.epoch = None;
            self.upstream.send_on(self.upstream.address().clone());
            return self.close(now, link, None, out);
        }
        if let Some(objection) = self.objection(epoch) {
            return self.object(now, link, objection, out);
        }
        tracing::info!(coordinator = %self.upstream.address(), %id, "joined the network");
        self.hear_epoch(epoch);
        self.upstream.established(now.time, id);
        self.roster.listed(now.time, servers);
        self.see_who_is_reachable(now);
        if let Some(recovery) = &mut self.recovery {
            recovery.listed(now.time);
        }
        if !self.see_to_recovery(now, out) {
            self.tell_load(now, out);
        }
        for (username, secret) in self.registrations.unanswered() {
            self.tell_coordinator(now, LockRequest { username, secret }, out);
        }
        for username in self.queries.keys().cloned().collect::<Vec<_>>() {
            self.tell_coordinator(now, UserQuery { username }, out);
        }
        self.users.expect(seen.clone());
        self.tell_users_above(now, seen, out);
    }

    fn tell_users_above(&mut self, now: Now, seen: Seen, out: &mut Actions) {
        self.users_above = Some(Above { known: seen.clone(), told: seen });
        self.tell_users(now, out);
    }

    /// Tells the coordinator of users that it lacks, as long as little else waits for it, and then how much it knows with them. Records
    /// that came to us ahead of their turn go along unclaimed.
    pub(super) fn tell_users(&mut self, now: Now, out: &mut Actions) {
        let (sync_users, feed_bytes) = (self.config.limits.sync_users, self.config.limits.feed_bytes);
        while self.upstream.is_established()
            && self.upstream.output().len() <= feed_bytes
            && let Some(above) = &mut self.users_above
        {
            let users = self.users.next_beyond(&mut above.told, sync_users);
            let told = self.users.told();
            let is_news = !users.is_empty() || !above.known.covers_all(told);
            // Of what is still to come nothing is said before it comes.
            let seen = if users.is_empty() { told.clone() } else { above.told.meet(told) };
            if users.is_empty() {
                self.users_above = None;
            }
            if is_news {
                self.tell_coordinator(now, SyncUser::of_users(users, seen), out);
            }
        }
    }

    /// Tells the coordinator, where one listens. One that lags too far behind is cut off; it is dialled again.
    pub(super) fn tell_coordinator(&mut self, now: Now, message: impl Into<Message>, out: &mut Actions) {
        if !self.upstream.is_established() {
            return;
        }
        match self.upstream.push(now.time, &message.into(), self.epoch.as_ref()) {
            Ok(link) => out.push(Action::Flush(link)),
            Err(full) => {
                tracing::warn!(coordinator = %self.upstream.address(), reason = %full, "cut off the coordinator");
                let link = self.upstream.link().expect("it is established");
                self.close(now, link, None, out);
            }
        }
    }

    /// The link to the coordinator is gone. Where no other will be asked, so are the answers that were expected from it.
    pub(super) fn coordinator_gone(&mut self, now: Now, out: &mut Actions) -> Vec<u8> {
        let reason = format!("the connection to {} is gone", self.upstream.address());
        if self.drain.is_some() {
            self.upstream.complained(now.time);
        }
        let rest = self.upstream.lost(now.time, &mut self.rng, &reason);
        self.users_above = None;
        if self.drain.is_some() {
            for link in self.registrations.give_up() {
                self.registration_unanswered(now, link, out);
            }
            for username in self.queries.keys().cloned().collect::<Vec<_>>() {
                self.query_over(now, &username, Record::Unanswered, out);
            }
        }
        rest
    }

    /// The coordinator is not waited for any longer.
    pub(super) fn give_up_coordinator(&mut self, now: Now, reason: &str, out: &mut Actions) {
        match self.upstream.link() {
            Some(link) => {
                tracing::warn!(coordinator = %self.upstream.address(), reason, "giving up the coordinator");
                self.close(now, link, None, out);
            }
            None => {
                self.dials.retain(|_, dial| !matches!(dial, Dial::Upstream));
                let reason = format!("{}: {reason}", self.upstream.address());
                self.upstream.lost(now.time, &mut self.rng, &reason);
            }
        }
    }

    /// The coordinator sends us to another one.
    pub(super) fn leave_for(&mut self, now: Now, link: LinkId, address: Address, out: &mut Actions) {
        tracing::info!(coordinator = %self.upstream.address(), to = %address, "sent to another coordinator");
        self.upstream.send_on(address);
        self.close(now, link, None, out);
    }

    /// The coordinator speaks in an epoch that is over: nothing of it counts.
    fn object(&mut self, now: Now, link: LinkId, objection: AuthenticationFail, out: &mut Actions) {
        tracing::warn!(coordinator = %self.upstream.address(), "left a coordinator: {}", objection.info);
        self.close(now, link, Some(objection.into()), out);
    }

    /// The other side says that it will not have us, or did not understand us.
    pub(super) fn server_refused(&mut self, now: Now, link: LinkId, message: &Message, out: &mut Actions) {
        let (info, passes) = match message {
            Message::InvalidMessage(message) => (&message.info, false),
            Message::AuthenticationFail(fail) => (&fail.info, fail.retry_after.is_some()),
            _ => unreachable!("only refusals come here"),
        };
        let coordinator = self.upstream.address();
        match self.neighbours.id(link) {
            Some(id) => tracing::warn!(%id, "a worker refused us: {info}"),
            // It reigns no longer: whoever does is found at once.
            None if self.upstream.is_established() && passes => {
                tracing::info!(%coordinator, "the coordinator sends us away: {info}");
            }
            None if self.upstream.is_established() => {
                tracing::error!(
                    %coordinator,
                    "the coordinator has ended our connection: {info}. If another worker runs with the id {}, give each its own --id",
                    self.config.id
                );
                self.upstream.shut_out();
                self.upstream.complained(now.time);
            }
            None => self.upstream.refused(now.time, info),
        }
        self.close(now, link, None, out);
    }

    pub(super) fn authenticate(&self) -> Authenticate {
        Authenticate {
            id: self.config.id.clone(),
            address: self.config.address.clone(),
            secret: self.config.secret.clone(),
            incarnation: self.config.incarnation,
            to: None,
            load: None,
            users_after: Seen::default(),
            recovering: self.is_recovering(),
        }
    }
}
