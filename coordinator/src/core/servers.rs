//! Workers: how they join, what they say, and what they are told.
//!
//! A worker hears, in this order: AUTHENTICATE_SUCCESS with what it needs to work alone, BACKUP_LIST, the users that it lacks;
//! then every change as it happens.

use common::id::{LinkId, ServerId};
use common::user::{Secret, Username};
use common::wire::{
    Authenticate, AuthenticateSuccess, AuthenticationFail, BackupEntry, BackupList, Message, RemoveServer,
    Role, ServerEntry, SynchronisedNewServer, UserAnswer,
};
use tracing::{info, warn};

use super::feed::Cursor;
use super::links::{Party, WorkerLink};
use super::placement::Gone;
use super::{Coordinator, Turn};

impl Coordinator {
    pub(super) fn authenticate(&mut self, turn: &mut Turn<'_>, link: LinkId, request: Authenticate) {
        if !self.knows_secret(turn, link, &request.secret) {
            return;
        }
        let server = ServerEntry { id: request.id, address: request.address };
        if server.id == self.config.id {
            return self.fail_authentication(
                turn,
                link,
                format!("{} is the id of this coordinator; choose another", server.id),
            );
        }
        let load = request.load.unwrap_or(0);
        let Some(arrival) = self.placement.connect(turn.now.time, &server, load, link) else {
            let info = format!("this network has {} workers already", self.config.limits.workers);
            return self.fail_authentication(turn, link, info);
        };
        info!(worker = %server.id, address = %server.address, load, "a worker has joined");
        if let Some(replaced) = arrival.replaced {
            self.invalid(turn, replaced, "this server has connected anew");
        }
        self.registry.observe(turn.now.wall, &request.users_after);
        let cursor = Cursor::starting_after(request.users_after);
        self.links.promote(link, Party::Worker(Box::new(WorkerLink { id: server.id.clone(), cursor })));
        self.welcome(turn, link, &server.id);
        if arrival.is_news {
            self.tell_others(turn, link, &SynchronisedNewServer { server, update: None }.into());
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
            seen: Default::default(),
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
                self.placement.set_load(id, arrived.load);
            }
            Message::DeLoad(load) => self.placement.set_load(id, load.load),
            Message::ServerLoad(load) => self.placement.set_load(id, load.load),
            Message::LockRequest(request) => self.lock_request(turn, link, request),
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
    pub(super) fn operator(&mut self, turn: &mut Turn<'_>, link: LinkId, secret: &Secret) {
        if self.knows_secret(turn, link, secret) {
            self.links.promote(link, Party::Operator);
            let report = self.status();
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

    fn fail_authentication(&mut self, turn: &mut Turn<'_>, link: LinkId, info: String) {
        if let Some(known) = self.links.get(link) {
            warn!(peer = %known.peer, info, "refused a server");
        }
        self.dismiss(turn, link, AuthenticationFail { info });
    }

    /// Tells a worker of users that it lacks, as long as little else waits for it. Nothing happens where the link is no worker's.
    pub(super) fn feed(&mut self, turn: &mut Turn<'_>, link: LinkId) {
        while self.links.pending(link).len() <= self.config.limits.feed_bytes {
            let Some(worker) = self.links.worker_mut(link) else { return };
            let Some(news) = worker.cursor.next(&self.registry, self.config.limits.sync_users) else {
                return;
            };
            self.say(turn, link, news);
        }
    }

    /// Gives up the workers that have been silent for too long, and tells the others.
    pub(super) fn remove_silent(&mut self, turn: &mut Turn<'_>) {
        for Gone { id, link } in self.placement.remove_silent(turn.now.time) {
            let silence = self.config.limits.server_silence.as_secs();
            warn!(worker = %id, "a worker has been silent for {silence} s; removed");
            if let Some(link) = link {
                self.invalid(turn, link, format!("nothing was heard from this server for {silence} s"));
            }
            self.tell_workers(turn, &RemoveServer { id, update: None }.into());
        }
    }

    /// Tells every worker who the coordinators are, and that we live.
    pub(super) fn beat(&mut self, turn: &mut Turn<'_>) {
        let coordinators = self.backup_list().into();
        self.tell_workers(turn, &coordinators);
    }

    fn backup_list(&self) -> BackupList {
        BackupList {
            servers: vec![BackupEntry {
                id: Some(self.config.id.clone()),
                address: self.config.address.clone(),
                role: Role::Main,
            }],
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
