//! `client replay`: plays a file of activities through the network and reports how it went.
//!
//! First everybody joins (`player`): a session per user, a bounded number at a time registering and logging in. Then the file
//! is dealt out (`deal`), in its order, to the players; a window bounds what is on its way in total, and an activity gives
//! its place free when its own sender has received it. So the network is never asked for more than it delivers.

mod player;
mod report;
mod script;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::user::{Secret, Username};
use common::wire::Activity;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::given_secret;
use super::output::print;
use crate::args::{Connection, Replay};
use crate::{Receive, RegisterMode};
use player::{News, Player, Turn};
use report::{Progress, Tally};

/// The secret of replayed users where none is given. It protects nothing.
const TEST_SECRET: &str = "freshet-replay";

/// How long the last deliveries may take to reach the other sessions, each time that some more have.
const SETTLE: Duration = Duration::from_millis(500);

/// How long all sessions together may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

pub(super) async fn run(connection: Connection, command: Replay) -> Result<(), String> {
    common::boot::raise_file_limit();
    let script = script::read(&command.file, command.user_from.as_deref(), &connection.username)?;
    let (users, activities) = (script.users.len(), script.activities.len());
    let received = Arc::new(AtomicU64::new(0));
    let (news, hear) = mpsc::unbounded_channel();
    let stage = Stage::open(&connection, &command, &script.users, &received, news)?;

    let mut house =
        House { hear, tally: Tally::default(), progress: Progress::new(connection.quiet, users, activities) };
    house.watch_joining(users).await?;
    let before = received.load(Ordering::Relaxed);
    house.watch_playing(stage.deal(script.activities, command.rate), activities).await?;
    house.tally.delivered = settle(&received, before, (users * activities) as u64).await;
    house.progress.finish();
    stage.close().await;

    let report = house.tally.report(activities);
    print(&format!("{}\n", if command.json { report.json() } else { report.text() }))?;
    report.verdict()
}

/// Who watches the players.
struct House {
    hear: mpsc::UnboundedReceiver<News>,
    tally: Tally,
    progress: Progress,
}

impl House {
    /// Until all have joined.
    async fn watch_joining(&mut self, users: usize) -> Result<(), String> {
        let start = Instant::now();
        while self.tally.joined < users {
            self.watch().await?;
            self.progress.joining(&self.tally);
        }
        self.tally.joining_took = start.elapsed();
        Ok(())
    }

    /// Until everything that is dealt out has come back, or is lost.
    async fn watch_playing(
        &mut self,
        dealing: impl Future<Output = ()>,
        activities: usize,
    ) -> Result<(), String> {
        let start = Instant::now();
        self.progress.play();
        let mut dealing = pin!(dealing);
        let mut all_dealt = false;
        while self.tally.done() < activities {
            tokio::select! {
                () = &mut dealing, if !all_dealt => all_dealt = true,
                watched = self.watch() => watched?,
            }
            self.progress.playing(&self.tally);
        }
        self.tally.playing_took = start.elapsed();
        Ok(())
    }

    async fn watch(&mut self) -> Result<(), String> {
        let news = self.hear.recv().await.ok_or("all sessions have ended")?;
        self.tally.note(news)
    }
}

/// The players.
struct Stage {
    turns: Vec<mpsc::UnboundedSender<Turn>>,
    players: JoinSet<()>,
    window: Arc<Semaphore>,
}

impl Stage {
    fn open(
        connection: &Connection,
        command: &Replay,
        users: &[Username],
        received: &Arc<AtomicU64>,
        news: mpsc::UnboundedSender<News>,
    ) -> Result<Stage, String> {
        let secret = given_secret(connection)?.unwrap_or_else(|| Secret::new(TEST_SECRET));
        let mut options = super::anonymous(connection).receive(Receive::Own);
        options.received = received.clone();
        let logins = Arc::new(Semaphore::new(command.logins as usize));
        let mut stage = Stage {
            turns: Vec::with_capacity(users.len()),
            players: JoinSet::new(),
            window: Arc::new(Semaphore::new(command.window as usize)),
        };
        for username in users {
            let mut options = options.clone();
            if !username.is_anonymous() {
                options = options.user(username.clone(), secret.clone());
                options.register = RegisterMode::IfMissing;
            }
            let (turn, turns) = mpsc::unbounded_channel();
            stage.turns.push(turn);
            stage.players.spawn(Player::new(options, turns, news.clone()).run(logins.clone()));
        }
        Ok(stage)
    }

    /// Deals the activities out in their order, as the window and the rate allow.
    async fn deal(&self, activities: Vec<(usize, Activity)>, rate: Option<f64>) {
        let start = Instant::now();
        for (number, (user, activity)) in activities.into_iter().enumerate() {
            if let Some(rate) = rate {
                sleep_until(start + Duration::from_secs_f64(number as f64 / rate)).await;
            }
            let place = self.window.clone().acquire_owned().await.expect("the window is never closed");
            // A player that has ended has said so in its news.
            let _ = self.turns[user].send(Turn { activity, place });
        }
    }

    /// Sends everybody home.
    async fn close(mut self) {
        self.turns.clear();
        let all_gone = async { while self.players.join_next().await.is_some() {} };
        // All has been counted; a goodbye that takes long changes nothing.
        let _ = timeout(GOODBYE, all_gone).await;
    }
}

/// Waits for the deliveries to the other sessions, which nobody waits for otherwise, and counts all.
async fn settle(received: &AtomicU64, before: u64, expected: u64) -> u64 {
    let mut last = Instant::now();
    let mut count = received.load(Ordering::Relaxed) - before;
    while count < expected && last.elapsed() < SETTLE {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = received.load(Ordering::Relaxed) - before;
        if now > count {
            (count, last) = (now, Instant::now());
        }
    }
    count
}

/// Sessions per server, by the server's name.
type PerServer = BTreeMap<String, u64>;
