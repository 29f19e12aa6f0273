//! A coordinator and a worker that speak just enough of the protocol, in this process, over loopback.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use common::user::Username;
use common::wire::{
    ActivityBroadcast, ActivityMessage, Address, LoginFailed, LoginSuccess, Message, Redirect,
    RegisterFailed, RegisterSuccess,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

/// What both servers know.
#[derive(Default)]
struct Known {
    /// Secrets by name.
    users: BTreeMap<String, String>,
    /// What is written to each session.
    sessions: BTreeMap<u64, mpsc::UnboundedSender<Vec<u8>>>,
    logouts: usize,
    next_session: u64,
}

/// The servers. They live as long as this.
pub(crate) struct Fake {
    pub(crate) coordinator: Address,
    known: Arc<Mutex<Known>>,
    breaks: broadcast::Sender<()>,
    _servers: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn start() -> Fake {
        let known = Arc::new(Mutex::new(Known::default()));
        let breaks = broadcast::Sender::new(1);
        let coordinators = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let workers = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let coordinator = coordinators.local_addr().unwrap().into();
        let worker: Address = workers.local_addr().unwrap().into();
        let mut servers = JoinSet::new();
        for (listener, redirect) in [(coordinators, Some(worker)), (workers, None)] {
            let (known, breaks) = (known.clone(), breaks.clone());
            servers.spawn(async move {
                let mut connections = JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (redirect, known, mut broken) = (redirect.clone(), known.clone(), breaks.subscribe());
                    connections.spawn(async move {
                        tokio::select! { () = serve(stream, redirect, known) => {}, _ = broken.recv() => {} }
                    });
                }
            });
        }
        Fake { coordinator, known, breaks, _servers: servers }
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

    pub(crate) fn logouts(&self) -> usize {
        self.known.lock().unwrap().logouts
    }
}

/// A connection to the coordinator, which redirects, or to the worker, which does not.
async fn serve(stream: TcpStream, redirect: Option<Address>, known: Arc<Mutex<Known>>) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match Message::decode(line.as_bytes()).unwrap() {
            Message::Register(register) => {
                let secret = register.secret.expose().to_owned();
                let taken = known.lock().unwrap().users.contains_key(&register.username);
                if taken {
                    let info = format!("{} is registered", register.username);
                    return say(&mut writer, RegisterFailed { info, retry_after: None }).await;
                }
                known.lock().unwrap().users.insert(register.username, secret);
                say(&mut writer, RegisterSuccess { info: String::new(), durability: None, existing: false })
                    .await;
            }
            Message::Login(login) => {
                let user: Username = login.username.parse().unwrap();
                let secret = login.secret.map(|secret| secret.expose().to_owned());
                let right =
                    user.is_anonymous() || known.lock().unwrap().users.get(user.as_str()) == secret.as_ref();
                if !right {
                    let info = "wrong name or secret".to_owned();
                    return say(&mut writer, LoginFailed { info, retry_after: None }).await;
                }
                let server = "worker-a".parse().ok();
                say(&mut writer, LoginSuccess { info: String::new(), server }).await;
                return match redirect {
                    Some(address) => {
                        say(&mut writer, Redirect { address, token: Some("token".to_owned()) }).await
                    }
                    None => session(user, lines, writer, &known).await,
                };
            }
            other => panic!("{} is no way to begin", other.command()),
        }
    }
}

async fn say(writer: &mut OwnedWriteHalf, message: impl Into<Message>) {
    // Whoever has gone does not hear it.
    let _ = writer.write_all(&message.into().encode()).await;
}

async fn session(
    user: Username,
    mut lines: Lines<BufReader<OwnedReadHalf>>,
    mut writer: OwnedWriteHalf,
    known: &Mutex<Known>,
) {
    let (outgoing, mut waiting) = mpsc::unbounded_channel();
    let number = {
        let mut known = known.lock().unwrap();
        known.next_session += 1;
        let number = known.next_session;
        known.sessions.insert(number, outgoing);
        number
    };
    loop {
        tokio::select! {
            Some(bytes) = waiting.recv() => {
                if writer.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            line = lines.next_line() => match line {
                Ok(Some(line)) => match Message::decode(line.as_bytes()).unwrap() {
                    Message::ActivityMessage(message) => flood(&user, &message, known),
                    Message::Logout(_) => {
                        known.lock().unwrap().logouts += 1;
                        break;
                    }
                    other => panic!("{} is not for workers", other.command()),
                },
                _ => break,
            },
        }
    }
    known.lock().unwrap().sessions.remove(&number);
}

fn flood(user: &Username, message: &ActivityMessage, known: &Mutex<Known>) {
    let activity = message.activity.authenticated(user);
    let frame = Message::from(ActivityBroadcast { id: None, activity }).encode();
    for session in known.lock().unwrap().sessions.values() {
        // A session whose connection is breaking may have stopped listening.
        let _ = session.send(frame.clone());
    }
}
