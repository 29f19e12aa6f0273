//! The library: connect, publish, and a stream of activities.
//!
//! A [`Client`] keeps its session by itself: it follows redirects and reconnects, with full jitter, until it is closed or a coordinator
//! refuses it for good. It belongs to a task of the tokio runtime that it was opened on.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};

use common::id::ActivityId;
use common::user::{Secret, Username};
use common::wire::{self, ActivityBroadcast, Address, PartialBudget};
use futures::Stream;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::core::{self, Input, RegisterMode, Unfit};
use crate::memory::Memory;
use crate::shell::{self, Receive};

/// What happens to a session: activities, and its coming and going.
pub type Event = core::Effect;

/// Wishes that may wait for the session's attention, beside the activities that it queues itself.
const WISHES: usize = 64;

/// Events that may wait to be taken before the session stops reading.
const EVENTS: usize = 1_024;

/// Whom to connect as, and where to.
#[derive(Clone, Debug)]
pub struct Options {
    /// The coordinators, in the order in which to try them, after those that are remembered.
    pub coordinators: Vec<Address>,
    /// Whose session it is.
    pub username: Username,
    /// The user's secret; `anonymous` needs none.
    pub secret: Option<Secret>,
    /// Whether to register the name first.
    pub register: RegisterMode,
    /// Whether to start again after a failure, which is the default.
    pub reconnect: bool,
    /// Which activities to hand up.
    pub receive: Receive,
    /// Counts the activities that arrive. Sessions may share one.
    pub received: Arc<AtomicU64>,
    /// Bounds what unfinished lines hold. Sessions of one process should share one.
    pub partial_budget: PartialBudget,
    /// A file in which the network's servers are remembered; by default there is none.
    pub remember: Option<PathBuf>,
}

impl Options {
    /// As `anonymous`, at this coordinator; everything else is said with the other methods.
    pub fn new(coordinator: Address) -> Self {
        Options {
            coordinators: vec![coordinator],
            username: Username::anonymous(),
            secret: None,
            register: RegisterMode::No,
            reconnect: true,
            receive: Receive::Everything,
            received: Arc::default(),
            partial_budget: PartialBudget::default(),
            remember: None,
        }
    }

    /// As this user.
    pub fn user(mut self, username: Username, secret: Secret) -> Self {
        self.username = username;
        self.secret = Some(secret);
        self
    }

    /// Registers the name first where it is not registered.
    pub fn register_if_missing(mut self) -> Self {
        self.register = RegisterMode::IfMissing;
        self
    }

    /// Also tries this coordinator.
    pub fn or_at(mut self, coordinator: Address) -> Self {
        self.coordinators.push(coordinator);
        self
    }

    /// Hands up these activities only. One who publishes and never asks for activities says [`Receive::Nothing`]: a session whose
    /// activities nobody takes stops reading, and is dropped by its worker.
    pub fn receive(mut self, receive: Receive) -> Self {
        self.receive = receive;
        self
    }

    /// Remembers the network's servers in this file, which is made where it is missing and belongs to this user alone. With it, the
    /// network is found although the coordinators named here are gone. It counts for these coordinators only; sessions may share it.
    pub fn remember(mut self, file: impl Into<PathBuf>) -> Self {
        self.remember = Some(file.into());
        self
    }

    /// Ends at the first failure instead of starting again.
    pub fn once(mut self) -> Self {
        self.reconnect = false;
        self
    }

    fn split(self) -> (core::Config, shell::Options) {
        let memory = self.remember.map(|path| Memory::new(path, &self.coordinators));
        let remembered = memory.as_ref().map_or_else(Vec::new, Memory::recall);
        let config = core::Config {
            coordinators: core::coordinators(&remembered, &self.coordinators),
            username: self.username,
            secret: self.secret,
            register: self.register,
            reconnect: self.reconnect,
            seed: common::boot::random_seed(),
            limits: core::Limits::default(),
        };
        let options = shell::Options {
            receive: self.receive,
            received: self.received,
            partial_budget: self.partial_budget,
            memory,
        };
        (config, options)
    }
}

/// What can go wrong. Nothing was published, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The session is over: refused by a coordinator, or failed where it must not reconnect. Only a new one helps.
    #[error("{0}")]
    Ended(String),
    /// Activities are JSON objects, and this is none.
    #[error("not a JSON object: {0}")]
    NotAnActivity(serde_json::Error),
    /// No line on the wire can carry it.
    #[error("no line can carry the activity: {0}")]
    Unfit(#[from] Unfit),
}

/// A session of one user.
///
/// ```no_run
/// use client::{Client, Options, Secret};
/// use futures::StreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = Options::new("127.0.0.1:3780".parse()?).user("ann".parse()?, Secret::new("a long secret"));
/// let mut client = Client::connect(options.register_if_missing()).await?;
/// client.publish(&serde_json::json!({"type": "Note", "content": "hello"})).await?;
/// if let Some(activity) = client.activities().next().await {
///     println!("{}: {}", activity.user, activity.json);
/// }
/// client.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Client {
    publisher: Publisher,
    events: mpsc::Receiver<Event>,
    session: JoinHandle<Result<(), String>>,
    received: Arc<AtomicU64>,
}

impl Client {
    /// Opens a session and waits until it is live. Where no server answers, it goes on trying, unless told
    /// [`once`](Options::once); bound the wait with `tokio::time::timeout`.
    ///
    /// # Errors
    /// [`Error::Ended`] when a coordinator refuses.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or without a coordinator.
    pub async fn connect(options: Options) -> Result<Client, Error> {
        let receive = options.receive;
        let mut client = Client::open(options);
        while let Some(event) = client.event().await {
            if let Event::LoggedIn { .. } = event {
                if receive == Receive::Nothing {
                    client.events.close();
                }
                return Ok(client);
            }
        }
        Err(client.close().await.err().unwrap_or_else(|| Error::Ended("the session ended".to_owned())))
    }

    /// Opens a session without waiting for it: its [`event`](Self::event)s tell how it fares. What is published before it is live
    /// waits.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or without a coordinator.
    pub fn open(options: Options) -> Client {
        let received = options.received.clone();
        let (config, options) = options.split();
        let (wishes, wished) = mpsc::channel(WISHES);
        let (notices, events) = mpsc::channel(EVENTS);
        let session = tokio::spawn(shell::run(config, options, wished, notices));
        Client { publisher: Publisher { wishes }, events, session, received }
    }

    /// Publishes an activity: anything that serialises to a JSON object. See [`Publisher::publish`].
    ///
    /// # Errors
    /// See [`Error`]; nothing was published.
    pub async fn publish(&self, activity: &impl Serialize) -> Result<(), Error> {
        self.publisher.publish(activity).await
    }

    /// A handle that publishes through this session while something else reads its activities.
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// The activities as they arrive, ours included, while the session lasts. Each is taken once: a second stream goes on
    /// where the first one was dropped.
    pub fn activities(&mut self) -> impl Stream<Item = Activity> + Unpin + '_ {
        futures::stream::poll_fn(|context| {
            loop {
                match ready!(self.events.poll_recv(context)) {
                    Some(Event::Activity(broadcast)) => return Poll::Ready(Some(Activity::from(broadcast))),
                    Some(_) => {}
                    None => return Poll::Ready(None),
                }
            }
        })
    }

    /// The next thing that happens, activities among them; `None` when the session has ended. May be cancelled without loss.
    pub async fn event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// How many activities have arrived.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Sends what waits, says goodbye, and waits for the end. Where there is no connection, that takes until there is one, or what
    /// waits would be lost; bound the wait with `tokio::time::timeout`. A dropped client says goodbye as well, but only where it is
    /// connected.
    ///
    /// # Errors
    /// [`Error::Ended`] when the session had ended before, with the reason. Some of what was published may not have been sent.
    pub async fn close(self) -> Result<(), Error> {
        let Client { publisher, mut events, mut session, .. } = self;
        let logout = async {
            // Where it cannot be taken any more, the session has ended already.
            let _ = publisher.wishes.send(Input::Logout).await;
            std::future::pending::<()>().await;
        };
        let mut logout = pin!(logout);
        let ended = loop {
            tokio::select! {
                ended = &mut session => break ended,
                () = &mut logout => {}
                // Whoever closes is not interested any more, and the session must not wait for them.
                Some(_) = events.recv() => {}
            }
        };
        match ended {
            Ok(result) => result.map_err(Error::Ended),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// Publishes through a session. Clones share it. The session ends when its [`Client`] and all publishers are dropped.
#[derive(Clone, Debug)]
pub struct Publisher {
    wishes: mpsc::Sender<Input>,
}

impl Publisher {
    /// Hands an activity to the session, which sends it as soon as it can; waits while too much is waiting already. Returning says
    /// that the activity is in line, no more: what was written when a connection breaks is not sent again, and may or may not
    /// have arrived. One that arrived comes back to this session too.
    ///
    /// # Errors
    /// See [`Error`]; nothing was published.
    pub async fn publish(&self, activity: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string(activity).map_err(Error::NotAnActivity)?;
        let activity = wire::Activity::parse(&text).map_err(Error::NotAnActivity)?;
        core::Client::check(&activity)?;
        let ended = |_| Error::Ended("the session has ended".to_owned());
        self.wishes.send(Input::Publish(activity)).await.map_err(ended)
    }
}

/// An activity as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Its identity in the network; classic servers give none.
    pub id: Option<ActivityId>,
    /// Who published it, as the network authenticated them.
    pub user: String,
    /// The activity, a JSON object, as its sender wrote it and with `authenticated_user` set.
    pub json: String,
}

impl Activity {
    /// Reads the activity as a type of the application's own.
    ///
    /// # Errors
    /// When it is of another shape: anybody may publish any object.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.json)
    }
}

impl From<ActivityBroadcast> for Activity {
    fn from(broadcast: ActivityBroadcast) -> Self {
        #[derive(Deserialize)]
        struct Author {
            authenticated_user: String,
        }
        let json = broadcast.activity.get().to_owned();
        // A server that names nobody speaks for nobody in particular.
        let user = serde_json::from_str(&json).map_or_else(
            |_| common::user::ANONYMOUS.to_owned(),
            |Author { authenticated_user }| authenticated_user,
        );
        Activity { id: broadcast.id, user, json }
    }
}
