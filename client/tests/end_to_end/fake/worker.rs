//! The worker: it keeps all activities, knows senders by session and number, replays and reports.

use common::id::{ActivityId, Incarnation, Seq};
use common::position::Position;
use common::session::SessionId;
use common::user::Username;
use common::wire::{
    ActivityBroadcast, ActivityMessage, ActivitySendingReport, Durability, Login, LoginSuccess, Message,
    Resumed,
};
use std::sync::Mutex;
use tokio::io::{AsyncWriteExt, BufReader, Lines};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::Known;

/// A client's connection, once it has logged in.
pub(super) async fn session(
    user: Username,
    login: Login,
    mut lines: Lines<BufReader<OwnedReadHalf>>,
    mut writer: OwnedWriteHalf,
    known: &Mutex<Known>,
) {
    let (outgoing, mut waiting) = mpsc::unbounded_channel();
    let (number, sender) = known.lock().unwrap().attach(&user, &login, outgoing);
    loop {
        tokio::select! {
            Some(bytes) = waiting.recv() => {
                if writer.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            line = lines.next_line() => match line {
                Ok(Some(line)) => match Message::decode(line.as_bytes()).unwrap() {
                    Message::ActivityMessage(message) => known.lock().unwrap().take(&user, sender, number, &message),
                    Message::ActivityAck(ack) => {
                        known.lock().unwrap().acked.insert(number, ack.received);
                    }
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

impl Known {
    /// What a client that begins will not get.
    fn before(&self, login: &Login) -> Position {
        let count = self.log.len().saturating_sub(login.last.unwrap_or(0) as usize);
        let mut position = Position::default();
        for (id, _) in &self.log[..count] {
            position.insert(id);
        }
        position
    }

    /// Lets a client in: it gets what it missed, and everything from now on. Returns its number, and the session that it publishes in.
    fn attach(
        &mut self,
        user: &Username,
        login: &Login,
        outgoing: mpsc::UnboundedSender<Vec<u8>>,
    ) -> (u64, Option<SessionId>) {
        let tell = |message: Message| outgoing.send(message.encode()).unwrap();
        let session = login.session.as_ref().filter(|_| self.modern).map(|key| key.session(user));
        let before = self.before(login);
        let server = "worker-a".parse().ok();
        let network = session.map(|_| "n1".to_owned());
        let replays = login.resume.is_some() || login.last.is_some();
        let position = session.filter(|_| !replays).map(|_| before.clone());
        tell(LoginSuccess { info: String::new(), server, network, position }.into());
        if login.capabilities.iter().any(|capability| capability == "backup_list") {
            tell(self.backup_list().into());
        }
        let received = login.resume.as_ref().unwrap_or(&before);
        let (mut gaps, mut position) = (Position::default(), received.clone());
        for (id, frame) in self.log.iter().filter(|(id, _)| !received.contains(id)) {
            outgoing.send(frame.clone()).unwrap();
            position.insert(id);
            if frame.is_empty() {
                gaps.insert(id);
            }
        }
        if session.is_some() && replays {
            tell(Resumed { recovered: gaps.is_empty(), gaps, position }.into());
        }
        self.next_session += 1;
        self.sessions.insert(self.next_session, outgoing);
        (self.next_session, session)
    }

    /// Floods an activity that is new, and reports to its sender.
    fn take(&mut self, user: &Username, session: Option<SessionId>, sender: u64, message: &ActivityMessage) {
        let mut broadcast = ActivityBroadcast::from(message.activity.authenticated(user));
        let Some(session) = session else {
            let frame = Message::from(broadcast).encode();
            self.flood(&frame);
            return;
        };
        let activity_seq = message.activity_seq.expect("who has a session counts");
        if self.numbered.insert((session, activity_seq)) {
            let seq = Seq(self.log.len() as u64);
            let id = ActivityId { origin: "worker-a".parse().unwrap(), incarnation: Incarnation(255), seq };
            broadcast.id = Some(id.clone());
            broadcast.session = Some(session);
            broadcast.activity_seq = Some(activity_seq);
            let frame = Message::from(broadcast).encode();
            self.flood(&frame);
            self.log.push((id, frame));
        }
        if self.reports {
            let count = self.sessions.len() as u64;
            let report = ActivitySendingReport {
                first_seq: None,
                activity_seq,
                client_count: count,
                succ_count: count,
                fail_count: 0,
                durability: Durability::Local,
                unreachable: Vec::new(),
            };
            // It may just be leaving.
            let _ = self.sessions[&sender].send(Message::from(report).encode());
        }
    }

    fn flood(&self, frame: &[u8]) {
        for session in self.sessions.values() {
            // A session whose connection is breaking may have stopped listening.
            let _ = session.send(frame.to_vec());
        }
    }
}
