//! The sample's users, each with a session of their own, and one who watches.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::display::escape;
use client::{Client, Event, Options, Publisher, Receive, Secret};
use common::network_secret::{self, IfMissing};
use common::wire::{Activity, Address, Role, StatusReport};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::board::Board;

/// Real activities: commits to two open-source projects, by thirty people under pseudonyms.
const SAMPLE: &str = include_str!("../sample/activities.jsonl");

/// How often the coordinators are asked, and how long each may take to answer.
const ASK: Duration = Duration::from_millis(500);

/// How long a session may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// The running sessions.
#[derive(Debug)]
pub(crate) struct Players {
    tasks: Vec<JoinHandle<()>>,
}

impl Players {
    /// Ends all sessions.
    pub(crate) async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = tokio::time::timeout(GOODBYE, task).await;
        }
    }
}

/// Opens a session for every user of the sample and plays it, over and over.
pub(crate) fn start(coordinators: &[Address], rate: u32, board: &Rc<RefCell<Board>>) -> Players {
    // Nobody else logs in as these users; they live as long as this network.
    let secret =
        Secret::new(format!("{:016x}{:016x}", common::boot::random_seed(), common::boot::random_seed()));
    let delivered = Arc::new(AtomicU64::new(0));
    let (first, others) = coordinators.split_first().expect("a network has a coordinator");
    let anywhere = others.iter().cloned().fold(Options::new(first.clone()), Options::or_at);
    let mut tasks = Vec::new();
    let mut publishers = BTreeMap::new();
    let activities: Vec<(String, Activity)> = SAMPLE.lines().map(read).collect();
    for (actor, _) in &activities {
        if publishers.contains_key(actor) {
            continue;
        }
        let username = actor.parse().expect("the sample's actors are usernames");
        let mut options = anywhere.clone().user(username, secret.clone()).register_if_missing();
        options = options.receive(Receive::Own);
        options.received = Arc::clone(&delivered);
        let session = Client::open(options);
        publishers.insert(actor.clone(), session.publisher());
        tasks.push(tokio::task::spawn_local(follow(actor.clone(), session, Rc::clone(board))));
    }
    let mut options = anywhere;
    options.received = Arc::clone(&delivered);
    tasks.push(tokio::task::spawn_local(watch(Client::open(options), Rc::clone(board))));
    tasks.push(tokio::task::spawn_local(play(activities, publishers, rate, delivered, Rc::clone(board))));
    Players { tasks }
}

fn read(line: &str) -> (String, Activity) {
    let value: Value = serde_json::from_str(line).expect("the sample is JSON");
    let actor = value["actor"].as_str().expect("the sample's activities have actors").to_owned();
    (actor, Activity::parse(line).expect("the sample's lines are objects"))
}

async fn play(
    activities: Vec<(String, Activity)>,
    publishers: BTreeMap<String, Publisher>,
    rate: u32,
    delivered: Arc<AtomicU64>,
    board: Rc<RefCell<Board>>,
) {
    // Everybody first registers and logs in, so that nobody's first activities wait in a queue.
    while board.borrow().places.len() < publishers.len() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut beat = tokio::time::interval(Duration::from_secs(1) / rate);
    for (actor, activity) in activities.iter().cycle() {
        beat.tick().await;
        if publishers[actor].publish(activity).await.is_ok() {
            let mut board = board.borrow_mut();
            board.sent += 1;
            board.delivered = delivered.load(Ordering::Relaxed);
        }
    }
}

/// Follows one session's fate.
async fn follow(user: String, mut session: Client, board: Rc<RefCell<Board>>) {
    while let Some(event) = session.event().await {
        let mut board = board.borrow_mut();
        match event {
            Event::LoggedIn { server: Some(server), .. } => {
                board.places.insert(user.clone(), server);
            }
            Event::Disconnected { reason, .. } => board.disconnected(&user, &reason),
            Event::Refused { info } => board.happened(format!("{user} was refused: {}", escape(&info))),
            _ => {}
        }
    }
}

/// Sees every activity, as anybody who logs in does.
async fn watch(mut session: Client, board: Rc<RefCell<Board>>) {
    while let Some(event) = session.event().await {
        if let Event::Activity(broadcast) = event {
            board.borrow_mut().saw(client::display::line(&broadcast.into()));
        }
    }
}

/// Asks the coordinators again and again how the network is. The main one's word counts, of two that of the higher epoch; where there is
/// none, anybody's.
pub(crate) async fn watch_status(coordinators: Vec<Address>, board: Rc<RefCell<Board>>) {
    let mut beat = tokio::time::interval(ASK);
    loop {
        beat.tick().await;
        let Ok(secret) = network_secret::load(None, std::net::Ipv4Addr::LOCALHOST.into(), IfMissing::Fail)
        else {
            continue;
        };
        let ask = async |coordinator| {
            tokio::time::timeout(ASK, client::status(coordinator, &secret)).await.ok()?.ok()
        };
        let reports = futures::future::join_all(coordinators.iter().map(ask)).await;
        let weight = |report: &StatusReport| (report.role == Role::Main, report.highest_epoch.clone());
        board.borrow_mut().asked(reports.into_iter().flatten().max_by_key(weight));
    }
}
