//! One user of a replay: a session, what it has on its way, and news of it all.

use std::sync::Arc;
use std::time::Duration;

use common::user::Username;
use common::wire::Activity;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::cli::outstanding::Outstanding;
use crate::{Client, Event, Options, Publisher};

/// How long an activity may take to come back. Longer: it was lost, which a connection that broke can do to it.
const PATIENCE: Duration = Duration::from_secs(10);

/// An activity to send, and its place in the window, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) activity: Activity,
    pub(super) place: OwnedSemaphorePermit,
}

/// What a player tells.
#[derive(Debug)]
pub(super) enum News {
    /// The name is registered now, and was not before.
    Registered,
    /// The session is live, for the first time (`None` before) or again.
    LoggedIn { server: String, before: Option<String> },
    /// A connection, or an attempt at one, failed. `live`: the session was live before.
    Disconnected { reason: String, live: bool },
    /// An activity was sent and came back.
    Seen,
    /// So many activities did not come back.
    Lost(usize),
    /// The session ended, which it should not.
    Ended { username: Username, reason: String },
}

/// One user.
pub(super) struct Player {
    username: Username,
    options: Options,
    turns: mpsc::UnboundedReceiver<Turn>,
    news: mpsc::UnboundedSender<News>,
    outstanding: Outstanding<OwnedSemaphorePermit>,
    server: Option<String>,
    live: bool,
}

impl Player {
    pub(super) fn new(
        options: Options,
        turns: mpsc::UnboundedReceiver<Turn>,
        news: mpsc::UnboundedSender<News>,
    ) -> Player {
        let username = options.username.clone();
        let outstanding = Outstanding::new(username.clone(), PATIENCE);
        Player { username, options, turns, news, outstanding, server: None, live: false }
    }

    /// Joins when it is its turn among `logins`, then plays until there are no more turns.
    pub(super) async fn run(mut self, logins: Arc<Semaphore>) {
        let login = logins.acquire().await.expect("it is never closed");
        let mut client = Client::open(self.options.clone());
        while !self.live {
            match client.event().await {
                Some(event) => self.happened(event),
                None => return self.ended(client).await,
            }
        }
        drop(login);
        let publisher = client.publisher();
        loop {
            let deadline = self.outstanding.deadline();
            tokio::select! {
                turn = self.turns.recv() => match turn {
                    Some(turn) => self.play(turn, &publisher).await,
                    None => break,
                },
                event = client.event() => match event {
                    Some(event) => self.happened(event),
                    None => return self.ended(client).await,
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    let lost = self.outstanding.give_up(Instant::now());
                    self.tell(News::Lost(lost));
                }
            }
        }
        // How the goodbye goes changes nothing of what was counted.
        let _ = client.close().await;
    }

    async fn play(&mut self, turn: Turn, publisher: &Publisher) {
        self.outstanding.sent(Instant::now(), &turn.activity, turn.place);
        // It does not wait: the window is smaller than what a session queues. And a session that ended says so itself.
        let _ = publisher.publish(&turn.activity).await;
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Activity(broadcast) if self.outstanding.arrived(&broadcast.activity) => {
                self.tell(News::Seen)
            }
            Event::Registered { existing: false } => self.tell(News::Registered),
            Event::LoggedIn { server, address, .. } => {
                let server = server.map_or_else(|| address.to_string(), |server| server.to_string());
                let before = self.server.replace(server.clone());
                self.live = true;
                self.tell(News::LoggedIn { server, before });
            }
            Event::Disconnected { reason, .. } => {
                let live = std::mem::replace(&mut self.live, false);
                self.tell(News::Disconnected { reason, live });
            }
            _ => {}
        }
    }

    async fn ended(self, client: Client) {
        let reason =
            client.close().await.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
        self.tell(News::Ended { username: self.username.clone(), reason });
    }

    fn tell(&self, news: News) {
        // Nobody listens when the replay is over.
        let _ = self.news.send(news);
    }
}
