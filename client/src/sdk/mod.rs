//! The library: connect, publish, and a stream of activities.
//!
//! A [`Client`] keeps its session by itself: it follows redirects and reconnects, with full jitter, until it is closed or a coordinator
//! refuses it for good. It belongs to a task of the tokio runtime that it was opened on.
//!
//! A session outlives its connections. What was published and not reported is sent again, and the network knows it by its number; what
//! others published meanwhile comes when the session is back. Each activity arrives once. A program that goes on in another process
//! keeps its [`Client::position`].

mod activity;
mod options;
mod publisher;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};

use futures::Stream;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use activity::Activity;
pub use options::Options;
pub use publisher::{Delivery, Publisher};

use crate::core::{self, Position, Report, Start, Unfit};
use crate::shell::{self, Receive, Wish};

/// What happens to a session: activities, reports on what it published, and its coming and going.
pub type Event = core::Effect;

/// Wishes that may wait for the session's attention, beside the activities that it queues itself.
const WISHES: usize = 64;

/// Events that may wait to be taken before the session stops reading.
const EVENTS: usize = 1_024;

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
    /// What was taken from here; `None` where that is not known, or not everything is handed up.
    position: Option<Position>,
    receive: Receive,
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
        let (received, receive) = (options.received.clone(), options.receive);
        let position = match &options.start {
            Start::After(position) if receive == Receive::Everything => Some(position.clone()),
            _ => None,
        };
        let (config, options) = options.split();
        let (wishes, wished) = mpsc::channel(WISHES);
        let (notices, events) = mpsc::channel(EVENTS);
        let session = tokio::spawn(shell::run(config, options, wished, notices));
        Client { publisher: Publisher { wishes }, events, session, received, position, receive }
    }

    /// Publishes an activity: anything that serialises to a JSON object. See [`Publisher::publish`].
    ///
    /// # Errors
    /// See [`Error`]; nothing was published.
    pub async fn publish(&self, activity: &impl Serialize) -> Result<(), Error> {
        self.publisher.publish(activity).await
    }

    /// Publishes an activity, and waits for the report on it. See [`Publisher::deliver`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn deliver(&self, activity: &impl Serialize) -> Result<Report, Error> {
        self.publisher.deliver(activity).await
    }

    /// Publishes an activity, and returns what waits for the report on it. See [`Publisher::submit`].
    ///
    /// # Errors
    /// See [`Error`]; nothing was published.
    pub async fn submit(&self, activity: &impl Serialize) -> Result<Delivery, Error> {
        self.publisher.submit(activity).await
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
                let Some(event) = ready!(self.events.poll_recv(context)) else { return Poll::Ready(None) };
                self.taken(&event);
                if let Event::Activity(broadcast) = event {
                    return Poll::Ready(Some(Activity::from(broadcast)));
                }
            }
        })
    }

    /// The next thing that happens, activities among them; `None` when the session has ended. May be cancelled without loss.
    pub async fn event(&mut self) -> Option<Event> {
        let event = self.events.recv().await?;
        self.taken(&event);
        Some(event)
    }

    /// How far this session is: everything that was taken from it so far, and what it will never get. Whoever begins after it
    /// ([`Options::resume`]) gets what comes next. `None` before the session is live, where not everything is
    /// [received](Options::receive), and at servers that know no positions.
    ///
    /// ```no_run
    /// # use client::{Client, Options};
    /// # async fn example(mut client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// while let Some(event) = client.event().await {
    ///     // … what there is to do with it; and when that is done:
    ///     if let Some(position) = client.position() {
    ///         std::fs::write("position", position.to_string())?;
    ///     }
    /// }
    /// let kept = std::fs::read_to_string("position")?.parse()?;
    /// let client = Client::connect(Options::new("127.0.0.1:3780".parse()?).resume(kept)).await?;
    /// # let _ = client; Ok(()) }
    /// ```
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    fn taken(&mut self, event: &Event) {
        match (event, &mut self.position) {
            (Event::LoggedIn { after: Some(after), .. }, position) if self.receive == Receive::Everything => {
                *position = Some(after.clone());
            }
            (Event::Resumed { position: received @ Some(_), .. }, position)
                if self.receive == Receive::Everything =>
            {
                *position = received.clone();
            }
            (Event::Activity(broadcast), Some(position)) => {
                broadcast.id.iter().for_each(|id| {
                    position.insert(id);
                });
            }
            (Event::Repeated(id), Some(position)) => {
                position.insert(id);
            }
            _ => {}
        }
    }

    /// How many activities have arrived.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Sends what waits, waits for the reports on it, for some seconds at the most, says goodbye, and waits for the end. Where there is no
    /// connection, that takes until there is one, or what waits would be lost; bound the wait with `tokio::time::timeout`. A dropped
    /// client says goodbye as well, but only where it is connected.
    ///
    /// # Errors
    /// [`Error::Ended`] when the session had ended before, with the reason, or when reports did not come. Some of what was published may
    /// not have arrived.
    pub async fn close(self) -> Result<(), Error> {
        let Client { publisher, mut events, mut session, .. } = self;
        let logout = async {
            // Where it cannot be taken any more, the session has ended already.
            let _ = publisher.wishes.send(Wish::Logout).await;
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

/// What can go wrong. Nothing was published, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The session is over: refused by a coordinator, or failed where it must not reconnect. Only a new one helps. What was published
    /// and not reported may or may not have arrived.
    #[error("{0}")]
    Ended(String),
    /// The activity was published, and nobody says what became of it: the server gives no reports.
    #[error("the server gives no reports")]
    NoReport,
    /// Activities are JSON objects, and this is none.
    #[error("not a JSON object: {0}")]
    NotAnActivity(serde_json::Error),
    /// No line on the wire can carry it.
    #[error("no line can carry the activity: {0}")]
    Unfit(#[from] Unfit),
}
