//! A client that knows several coordinators, and asks until one of them answers.
//!
//! It does what every client of a group may do, and no more: it goes to the next coordinator where nobody listens or nothing comes, it
//! goes where a REDIRECT sends it, it waits as long as a `retry_after` says, and it asks again with the same words.

use std::time::{Duration, Instant};

use common::limits::{FAILURE_TIMEOUT, FIRST_DIAL, PULSE};
use common::wire::Address;
use serde_json::Value;

use super::{PATIENCE, Peer};

/// How long to wait, at the most and drawn at random, when none of the coordinators has answered.
const PAUSE_MILLIS: u64 = 40;

/// How long a coordinator may take to answer until the next one is asked, as with our client: it may be about to take over.
const ATTEMPT: Duration = FAILURE_TIMEOUT.saturating_add(PULSE);

/// The same, where another one has sent us there as to the main one.
const MAIN_ATTEMPT: Duration = Duration::from_millis(1_500);

/// Knows the coordinators of a group.
#[derive(Clone, Debug)]
pub struct Caller {
    coordinators: Vec<Address>,
    /// Which one is asked first.
    at: usize,
}

/// What a request was answered with in the end.
#[derive(Debug)]
pub struct Answer {
    /// The answer.
    pub message: Value,
    /// Who gave it.
    pub from: Address,
    /// When the request was made.
    pub began: Instant,
    /// When the answer had come.
    pub at: Instant,
    /// What came of each attempt, the last one included: after how long, where, and what was heard.
    pub trail: Vec<String>,
    /// The connection, for what follows.
    pub peer: Peer,
}

impl Answer {
    /// The command of the answer.
    pub fn command(&self) -> &str {
        self.message["command"].as_str().expect("messages have a command")
    }

    /// How long it took.
    pub fn took(&self) -> Duration {
        self.at - self.began
    }
}

impl Caller {
    /// One that asks the first of these first.
    pub fn new(coordinators: &[Address]) -> Self {
        Caller { coordinators: coordinators.to_vec(), at: 0 }
    }

    /// Asks until the answer is neither a REDIRECT to another coordinator nor a request to try later.
    ///
    /// # Panics
    /// When there is none within [`PATIENCE`].
    pub fn ask(&mut self, request: &Value) -> Answer {
        let began = Instant::now();
        let (mut trail, mut redirected) = (Vec::new(), None);
        while began.elapsed() < PATIENCE {
            let attempt = if redirected.is_some() { MAIN_ATTEMPT } else { ATTEMPT };
            let from = redirected.take().unwrap_or_else(|| self.coordinators[self.at].clone());
            let answered = Peer::connect_within(&from, FIRST_DIAL).and_then(|mut peer| {
                peer.give_up_after(attempt);
                peer.ask(request).map(|message| (peer, message))
            });
            let heard = answered.as_ref().map_or("nothing".to_owned(), |(_, message)| message.to_string());
            trail.push(format!("{:?}: {from}: {heard}", began.elapsed()));
            let Some((peer, message)) = answered else {
                self.go_on(&from, trail.len());
                continue;
            };
            if message["command"] == "REDIRECT" {
                redirected = Some(target(&message));
            } else if let Some(millis) = message["retry_after"].as_u64() {
                std::thread::sleep(Duration::from_millis(fastrand::u64(0..=millis)));
                self.go_on(&from, trail.len());
            } else {
                return Answer { message, from, began, at: Instant::now(), trail, peer };
            }
        }
        panic!("asked in vain: {request}: {trail:#?}");
    }

    /// The next coordinator that is another one than the one that did not help; after a pause when all have been asked.
    fn go_on(&mut self, from: &Address, attempts: usize) {
        let count = self.coordinators.len();
        let next = (self.at + 1..=self.at + count).map(|at| at % count);
        self.at = next.into_iter().find(|at| self.coordinators[*at] != *from).unwrap_or(self.at);
        if attempts.is_multiple_of(count) {
            std::thread::sleep(Duration::from_millis(fastrand::u64(0..=PAUSE_MILLIS)));
        }
    }
}

/// Where a REDIRECT leads.
///
/// # Panics
/// When it leads nowhere.
pub fn target(redirect: &Value) -> Address {
    let port = redirect["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
    let hostname = redirect["hostname"].as_str().expect("a hostname");
    Address::new(hostname, port).expect("an address")
}
