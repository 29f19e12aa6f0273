//! Two coordinators and a worker that speak just enough of the protocol, in this process, over loopback. The first coordinator is the
//! main one; the second sends everybody to it, until it is gone.

mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use common::id::{ActivityId, Seq, ServerId};
use common::session::SessionId;
use common::user::Username;
use common::wire::{
    Address, BackupEntry, BackupList, ChangeSecretSuccess, CoordinatorStatus, Durability,
    ForgetCoordinatorFailed, ForgetCoordinatorSuccess, InvalidMessage, Login, LoginFailed, LoginSuccess,
    Message, Quit, Redirect, Register, RegisterFailed, RegisterSuccess, Role, ServerEntry, State,
    StatusReport,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

/// What all servers know.
struct Known {
    /// The coordinators that are left, the main one first.
    coordinators: Vec<Address>,
    worker: Address,
    /// Secrets by name.
    users: BTreeMap<String, String>,
    /// What is written to each session.
    sessions: BTreeMap<u64, mpsc::UnboundedSender<Vec<u8>>>,
    logouts: usize,
    next_session: u64,
    /// All that was flooded.
    log: Vec<(ActivityId, Vec<u8>)>,
    /// What was numbered by its sender.
    numbered: BTreeSet<(SessionId, Seq)>,
    /// Whether the worker knows sessions.
    modern: bool,
    /// Whether it reports.
    reports: bool,
    /// The last acknowledgement of each session.
    acked: BTreeMap<u64, u64>,
    /// Commands that the main coordinator hears once, and then is gone.
    fatal: Option<&'static str>,
}

/// The servers. They live as long as this.
pub(crate) struct Fake {
    /// The main coordinator, to begin with.
    pub(crate) coordinator: Address,
    /// The other one.
    pub(crate) standby: Address,
    /// What clients may write.
    pub(crate) data: TempDir,
    known: Arc<Mutex<Known>>,
    breaks: broadcast::Sender<()>,
    _servers: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn start() -> Fake {
        let listen = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
        let listeners = [listen().await, listen().await, listen().await];
        let [main, standby, worker] =
            listeners.each_ref().map(|listener| Address::from(listener.local_addr().unwrap()));
        let known = Arc::new(Mutex::new(Known {
            coordinators: vec![main.clone(), standby.clone()],
            worker,
            users: BTreeMap::new(),
            sessions: BTreeMap::new(),
            log: Vec::new(),
            numbered: BTreeSet::new(),
            modern: true,
            reports: true,
            acked: BTreeMap::new(),
            logouts: 0,
            next_session: 0,
            fatal: None,
        }));
        let breaks = broadcast::Sender::new(1);
        let mut servers = JoinSet::new();
        for listener in listeners {
            let (known, breaks) = (known.clone(), breaks.clone());
            servers.spawn(async move { listen_and_serve(listener, &known, &breaks).await });
        }
        let data = tempfile::tempdir().unwrap();
        Fake { coordinator: main, standby, data, known, breaks, _servers: servers }
    }

    /// The main coordinator is gone at once, or as soon as it hears `command`; the standby takes over.
    pub(crate) fn lose_main(&self, command: Option<&'static str>) {
        match command {
            Some(_) => self.known.lock().unwrap().fatal = command,
            None => {
                self.known.lock().unwrap().coordinators.remove(0);
                self.break_connections();
            }
        }
    }

    /// Where the worker is.
    pub(crate) fn worker(&self) -> Address {
        self.known.lock().unwrap().worker.clone()
    }

    /// What a client remembers of its network: that these are the coordinators, the main one first.
    pub(crate) fn remember(&self, coordinators: &[Address]) {
        let role = |place: usize| if place == 0 { "main" } else { "backup" };
        let entry = |(place, address): (usize, &Address)| json!({"hostname": address.hostname, "port": address.port, "role": role(place)});
        let servers: Vec<_> = coordinators.iter().enumerate().map(entry).collect();
        let contents = json!({"coordinator": self.coordinator, "servers": servers});
        std::fs::create_dir_all(self.memory()).unwrap();
        let name = format!("127.0.0.1_{}.json", self.coordinator.port);
        std::fs::write(self.memory().join(name), contents.to_string()).unwrap();
    }

    /// What the network's memory lies in.
    pub(crate) fn memory(&self) -> std::path::PathBuf {
        self.data.path().join("freshet/servers")
    }

    /// Breaks every connection.
    pub(crate) fn break_connections(&self) {
        self.known.lock().unwrap().sessions.clear();
        // Where nobody is connected there is nothing to break.
        let _ = self.breaks.send(());
    }

    /// Sends a line to every session.
    pub(crate) fn tell_sessions(&self, line: &str) {
        for session in self.known.lock().unwrap().sessions.values() {
            session.send(format!("{line}\n").into_bytes()).unwrap();
        }
    }

    /// The worker is of the classic protocol from now on.
    pub(crate) fn make_classic(&self) {
        self.known.lock().unwrap().modern = false;
    }

    /// From now on the worker reports what it receives, or does not.
    pub(crate) fn report(&self, reports: bool) {
        self.known.lock().unwrap().reports = reports;
    }

    /// The worker has forgotten all activities.
    pub(crate) fn forget(&self) {
        self.known.lock().unwrap().log.iter_mut().for_each(|(_, frame)| frame.clear());
    }

    /// Every client is to go, and to come back at once.
    pub(crate) fn send_away(&self) {
        let worker = self.known.lock().unwrap().worker.clone();
        let quit = Message::from(Quit::to(worker, Some("token".to_owned()))).encode();
        self.tell_sessions(std::str::from_utf8(&quit).unwrap().trim_end());
    }

    /// How many activities have been taken in.
    pub(crate) fn logged(&self) -> usize {
        self.known.lock().unwrap().log.len()
    }

    /// How many activities the connections so far have acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        self.known.lock().unwrap().acked.values().sum()
    }

    pub(crate) fn logouts(&self) -> usize {
        self.known.lock().unwrap().logouts
    }
}

/// Serves until this server is no more.
async fn listen_and_serve(listener: TcpListener, known: &Arc<Mutex<Known>>, breaks: &broadcast::Sender<()>) {
    let own = Address::from(listener.local_addr().unwrap());
    let mut connections = JoinSet::new();
    let mut broken = breaks.subscribe();
    while known.lock().unwrap().serves(&own) {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            _ = broken.recv() => continue,
        };
        let (own, known, mut broken, breaks) =
            (own.clone(), known.clone(), breaks.subscribe(), breaks.clone());
        connections.spawn(async move {
            tokio::select! {
                () = serve(stream, &own, &known, &breaks) => {}
                _ = broken.recv() => {}
            }
        });
    }
}

impl Known {
    fn serves(&self, address: &Address) -> bool {
        self.worker == *address || self.coordinators.contains(address)
    }

    /// Who is the main coordinator for whoever said this, where the worker is, and whether it was `own`'s last message.
    fn heard(&mut self, own: &Address, message: &Message) -> (Address, Address, bool) {
        let main = self.coordinators[0].clone();
        let dies = main == *own && self.fatal.take_if(|fatal| *fatal == message.command()).is_some();
        if dies {
            self.coordinators.remove(0);
        }
        (main, self.worker.clone(), dies)
    }

    /// Who logs in, where the secret is right.
    fn user(&self, login: &Login) -> Option<Username> {
        let user: Username = login.username.parse().unwrap();
        let secret = login.secret.as_ref().map(|secret| secret.expose());
        let right = user.is_anonymous() || self.users.get(user.as_str()).map(String::as_str) == secret;
        right.then_some(user)
    }

    fn backup_list(&self) -> BackupList {
        let entry = |(index, address): (usize, &Address)| {
            let role = if index == 0 { Role::Main } else { Role::Backup };
            BackupEntry { id: None, address: address.clone(), role }
        };
        BackupList { servers: self.coordinators.iter().enumerate().map(entry).collect(), token: None }
    }
}

/// A connection to one of the servers: the main coordinator redirects to the worker, the standby to the main one.
async fn serve(stream: TcpStream, own: &Address, known: &Mutex<Known>, breaks: &broadcast::Sender<()>) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let message = Message::decode(line.as_bytes()).unwrap();
        let (main, worker, dies) = known.lock().unwrap().heard(own, &message);
        if !matches!(message, Message::Status(_)) && main != *own && worker != *own {
            return say(&mut writer, Redirect { address: main, token: None }).await;
        }
        let answer = match message {
            Message::Status(_) | Message::ForgetCoordinator(_) if worker == *own => {
                let info = format!("{} is for coordinators; this is a worker", message.command());
                return say(&mut writer, InvalidMessage { info }).await;
            }
            Message::Status(_) => report(own, &known.lock().unwrap()).into(),
            Message::Register(register) => register_user(&mut known.lock().unwrap(), register),
            Message::ChangeSecret(change) => {
                let secret = change.new_secret.expose().to_owned();
                known.lock().unwrap().users.insert(change.username, secret);
                ChangeSecretSuccess { info: String::new(), durability: Durability::Replicated }.into()
            }
            Message::ForgetCoordinator(request) => match request.id.as_str() {
                "gone" => ForgetCoordinatorSuccess { info: String::new() }.into(),
                other => {
                    let info = format!("{other} is connected: stop it first");
                    ForgetCoordinatorFailed { info, retry_after: None }.into()
                }
            },
            Message::Login(login) => {
                let Some(user) = known.lock().unwrap().user(&login) else {
                    let info = "wrong name or secret".to_owned();
                    return say(&mut writer, LoginFailed { info, ..LoginFailed::default() }).await;
                };
                if worker != *own {
                    let server = "coordinator-a".parse().ok();
                    say(&mut writer, LoginSuccess { server, ..LoginSuccess::default() }).await;
                    let token = Some("token".to_owned());
                    return say(&mut writer, Redirect { address: worker, token }).await;
                }
                return worker::session(user, login, lines, writer, known).await;
            }
            other => panic!("{} is no way to begin", other.command()),
        };
        if dies {
            // Everybody else's connection breaks too; where there is nobody else there is nothing to break.
            let _ = breaks.send(());
            return;
        }
        say(&mut writer, answer).await;
    }
}

fn register_user(known: &mut Known, register: Register) -> Message {
    let secret = register.secret.expose().to_owned();
    let before = known.users.get(&register.username);
    if before.is_some_and(|before| *before != secret) {
        let info = format!("{} is registered", register.username);
        return RegisterFailed { info, retry_after: None }.into();
    }
    let existing = before.is_some();
    known.users.insert(register.username, secret);
    RegisterSuccess { info: String::new(), durability: None, existing }.into()
}

/// What a coordinator says of the network.
fn report(own: &Address, known: &Known) -> StatusReport {
    let role = |address: &Address| if known.coordinators[0] == *address { Role::Main } else { Role::Backup };
    let coordinators = known.coordinators.iter().map(|address| CoordinatorStatus {
        server: ServerEntry { id: name(address), address: address.clone() },
        role: Some(role(address)),
        heard_epoch: None,
        listed: true,
        behind: None,
    });
    StatusReport {
        id: name(own),
        network: "n1".to_owned(),
        role: role(own),
        highest_epoch: None,
        state: State::Normal,
        reasons: Vec::new(),
        users: known.users.len() as u64,
        coordinators: coordinators.collect(),
        workers: Vec::new(),
        history: Vec::new(),
        conflict_count: 0,
        conflicts: Vec::new(),
    }
}

fn name(address: &Address) -> ServerId {
    format!("coordinator-{}", address.port).parse().unwrap()
}

async fn say(writer: &mut OwnedWriteHalf, message: impl Into<Message>) {
    // Whoever has gone does not hear it.
    let _ = writer.write_all(&message.into().encode()).await;
}
