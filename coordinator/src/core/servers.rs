//! Workers: how they join, what they say, and what they are told.
//!
//! A worker hears, in this order: AUTHENTICATE_SUCCESS with what it needs to work alone, BACKUP_LIST, the users that it lacks;
//! then every change as it happens.

use common::id::{LinkId, ServerId};
use common::user::{Secret, Username};
use common::wire::{
    Authenticate, AuthenticateSuccess, AuthenticationFail, BackupEntry, BackupList, Heartbeat,
    InvalidMessage, Message, RemoveServer, Role, ServerEntry, Status, SyncUser, SynchronisedNewServer,
    UserAnswer, UserRegisterResult,
};
use tracing::{info, warn};

use super::feed::Cursor;
use super::links::{Party, WorkerLink};
use super::placement::{Gone, Newcomer, Rejection};
use super::{Coordinator, Turn};

impl Coordinator {
    pub(super) fn authenticate(&mut self, turn: &mut Turn<'_>, link: LinkId, request: Authenticate) {
        let server = ServerEntry { id: request.id, address: request.address };
        if server.id == self.config.id {
            return self.fail_authentication(
                turn,
                link,
                format!("{} is the id of this coordinator; choose another", server.id),
            );
        }
        let Authenticate { incarnation, recovering, .. } = request;
        let load = request.load.unwrap_or(0);
        let newcomer = Newcomer { server: server.clone(), incarnation, load, recovering };
        let arrival = match self.placement.connect(turn.now.time, newcomer, link) {
            Ok(arrival) => arrival,
            Err(rejection) => return self.reject(turn, link, &server.id, &rejection),
        };
        info!(worker = %server.id, address = %server.address, load, recovering, "a worker has joined");
        if let Some(replaced) = arrival.replaced {
            // The worker has done nothing wrong, and nothing is said of it in the log.
            let info = "this server has connected anew".to_owned();
            self.dismiss(turn, replaced, InvalidMessage { info });
        }
        self.registry.observe(turn.now.wall, &request.users_after);
        self.registry.compare(&request.users_after);
        self.expect_from_worker(turn, &request.users_after);
        let cursor = Cursor::starting_after(request.users_after);
        self.links.promote(
            link,
            Party::Worker(Box::new(WorkerLink { id: server.id.clone(), cursor, owed_claim: false })),
        );
        self.welcome(turn, link, &server.id);
        if arrival.is_news {
            self.tell_others(
                turn,
                link,
                &SynchronisedNewServer { server: server.clone(), update: None }.into(),
            );
            self.tell_backups(turn, |update| {
                SynchronisedNewServer { server: server.clone(), update: Some(update) }.into()
            });
        }
        self.end_gathering(turn);
    }

    fn reject(&mut self, turn: &mut Turn<'_>, link: LinkId, id: &ServerId, rejection: &Rejection) {
        match rejection {
            Rejection::Full => {
                let info = format!("this network has {} workers already", self.config.limits.workers);
                self.fail_authentication(turn, link, info);
            }
            Rejection::Taken(address) => {
                let info = format!(
                    "a worker called {id} lives already, at {address}: if this one has a copy of its data directory, \
                     give it an id of its own"
                );
                let what = format!("refused a second worker with the id of one that lives at {address}");
                self.complain(turn, id.as_str(), &what);
                let retry_after = Some(self.retry_after());
                self.dismiss(turn, link, AuthenticationFail { info, retry_after, taken: true });
            }
        }
    }

    /// Tells a worker what it needs to work without us.
    fn welcome(&mut self, turn: &mut Turn<'_>, link: LinkId, id: &ServerId) {
        let welcome = AuthenticateSuccess {
            id: self.config.id.clone(),
            incarnation: None,
            network: Some(self.group.network.clone()),
            token_key: Some(self.group.token_key.clone()),
            servers: self.placement.others(id),
            seen: self.registry.claim(),
        };
        self.say(turn, link, welcome);
        let coordinators = self.backup_list();
        self.say(turn, link, coordinators);
        self.feed(turn, link);
    }

    pub(super) fn hear_worker(&mut self, turn: &mut Turn<'_>, link: LinkId, id: &ServerId, message: Message) {
        self.placement.heard(turn.now.time, id);
        match message {
            Message::NewClient(arrived) => {
                self.placement.arrived(id, &arrived.username);
                if let Some(load) = arrived.load {
                    self.placement.set_load(id, load);
                }
            }
            Message::DeLoad(load) => self.placement.set_load(id, load.load),
            Message::ServerLoad(load) => self.placement.take_load(id, &load),
            Message::Quit(_) => {
                info!(worker = %id, "a worker is about to leave; it gets no more clients");
                self.placement.leave(id);
            }
            Message::LockRequest(request) => self.lock_request(turn, link, request),
            Message::SyncUser(users) => self.take_upload(turn, link, users),
            Message::UserQuery(query) => self.user_query(turn, link, query.username),
            Message::Authenticate(_) => self.invalid(turn, link, "this connection has authenticated already"),
            other => self.invalid(
                turn,
                link,
                format!("{} is not for a worker to say to a coordinator", other.command()),
            ),
        }
    }

    fn user_query(&mut self, turn: &mut Turn<'_>, link: LinkId, username: Username) {
        let user = self.registry.get(&username).cloned();
        self.say(turn, link, UserAnswer { username, user });
    }

    /// Somebody with the network secret asks how we are.
    pub(super) fn operator(&mut self, turn: &mut Turn<'_>, link: LinkId, request: &Status) {
        if self.knows_secret(turn, link, &request.secret) {
            self.links.promote(link, Party::Operator);
            let report = self.status(request.conflicts);
            self.say(turn, link, report);
        }
    }

    /// Whether the peer has shown the network secret; closes the link where it has not.
    pub(super) fn knows_secret(&mut self, turn: &mut Turn<'_>, link: LinkId, secret: &Secret) -> bool {
        let knows = self.config.secret.equals(secret);
        if !knows {
            self.fail_authentication(turn, link, "wrong network secret".to_owned());
        }
        knows
    }

    pub(super) fn fail_authentication(&mut self, turn: &mut Turn<'_>, link: LinkId, info: String) {
        if let Some(known) = self.links.get(link) {
            warn!(peer = %known.peer, info, "refused a server");
        }
        self.dismiss(turn, link, AuthenticationFail { info, retry_after: None, taken: false });
    }

    /// Tells a worker of users that it lacks, as long as little else waits for it. Nothing happens where the link is no worker's.
    pub(super) fn feed(&mut self, turn: &mut Turn<'_>, link: LinkId) {
        while self.links.pending(link).len() <= self.config.limits.feed_bytes {
            let Some(worker) = self.links.worker_mut(link) else { return };
            let (registry, limit) = (&self.registry, self.config.limits.sync_users);
            let (mut users, seen) =
                worker.cursor.next(registry, limit, |record| registry.may_be_told(record));
            let news = match users.len() {
                0 if !std::mem::take(&mut worker.owed_claim) => return,
                1 => {
                    let Some((username, user)) = users.pop_first() else { return };
                    Message::from(UserRegisterResult { username, user })
                }
                some => {
                    worker.owed_claim = some > 0;
                    SyncUser::of_users(users, seen).into()
                }
            };
            self.say(turn, link, news);
        }
    }

    /// Tells everybody of users that they lack: workers and backups, or the main coordinator.
    pub(super) fn feed_all(&mut self, turn: &mut Turn<'_>) {
        if !self.is_main() {
            return self.upload(turn);
        }
        for link in self.placement.links() {
            self.feed(turn, link);
        }
        for link in self.standbys.links() {
            self.feed_backup(turn, link);
        }
    }

    /// Gives up the workers that have been silent for too long, and tells the others.
    pub(super) fn remove_silent(&mut self, turn: &mut Turn<'_>) {
        for Gone { id, link } in self.placement.remove_silent(turn.now.time) {
            let silence = self.config.limits.server_silence.as_secs();
            warn!(worker = %id, "a worker has been silent for {silence} s; removed");
            if let Some(link) = link {
                // It is told why, and has sent nothing that the log could call invalid.
                let info = format!("nothing was heard from this server for {silence} s");
                self.dismiss(turn, link, InvalidMessage { info });
            }
            self.tell_removal(turn, &id);
        }
    }

    /// The connection to a worker is gone. One that had said that it leaves has left.
    pub(super) fn worker_lost(&mut self, turn: &mut Turn<'_>, id: &ServerId, link: LinkId) {
        if self.placement.disconnect(id, link) {
            info!(worker = %id, "a worker has left");
            if self.is_main() {
                self.tell_removal(turn, id);
            }
        } else {
            info!(worker = %id, "the connection to a worker is gone; it gets no more clients");
        }
    }

    fn tell_removal(&mut self, turn: &mut Turn<'_>, id: &ServerId) {
        self.tell_workers(turn, &RemoveServer { id: id.clone(), update: None }.into());
        self.tell_backups(turn, |update| RemoveServer { id: id.clone(), update: Some(update) }.into());
    }

    /// Has workers with more clients than their share send some to those with less.
    pub(super) fn even_out(&mut self, turn: &mut Turn<'_>) {
        for (link, order) in self.placement.even_out(turn.now.time) {
            info!(worker = self.links.get(link).map(|known| self.whom(known)), to = %order.to, count = order.count, "moving clients");
            self.say(turn, link, order);
        }
    }

    /// Tells every worker and every backup who the coordinators are.
    pub(super) fn tell_list(&mut self, turn: &mut Turn<'_>) {
        if !self.is_main() {
            return;
        }
        let list = Message::from(self.backup_list());
        self.tell_workers(turn, &list);
        for link in self.standbys.links() {
            self.say(turn, link, list.clone());
        }
    }

    /// The coordinators: this one, those that hold all that was acknowledged in the order in which they take over, and the other members.
    pub(super) fn backup_list(&self) -> BackupList {
        let entry = |server: &ServerEntry, role| BackupEntry {
            id: Some(server.id.clone()),
            address: server.address.clone(),
            role,
        };
        let listed = self.standbys.listed();
        let member = |id: &ServerId| self.group.members.iter().find(|member| member.id == *id);
        let mut servers = vec![entry(&self.me(), Role::Main)];
        servers.extend(listed.iter().filter_map(|id| Some(entry(member(id)?, Role::Backup))));
        let others = self
            .group
            .members
            .iter()
            .filter(|member| member.id != self.config.id && !listed.contains(&member.id));
        servers.extend(others.map(|member| entry(member, Role::Seeking)));
        BackupList { servers, token: None }
    }

    /// Tells every worker that the main coordinator lives.
    pub(super) fn pulse_workers(&mut self, turn: &mut Turn<'_>) {
        if self.is_main() {
            let heartbeat = Message::from(Heartbeat { standing: self.standing() });
            self.tell_workers(turn, &heartbeat);
        }
    }

    fn tell_workers(&mut self, turn: &mut Turn<'_>, message: &Message) {
        for link in self.placement.links() {
            self.say(turn, link, message.clone());
        }
    }

    fn tell_others(&mut self, turn: &mut Turn<'_>, except: LinkId, message: &Message) {
        for link in self.placement.links().into_iter().filter(|link| *link != except) {
            self.say(turn, link, message.clone());
        }
    }
}
