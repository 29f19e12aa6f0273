//! The library: connect, publish, and a stream of activities.
//!
//! A [`Client`] keeps its session by itself: it follows redirects and reconnects, with full jitter, until it is closed or a coordinator
//! refuses it for good. It belongs to a task of the tokio runtime that it was opened on.
//!
//! A session outlives its connections. What was published and not reported is sent again, and the network knows it by its number; what
//! others published meanwhile comes when the session is back. Each activity arrives once. A program that goes on in another process
//! keeps its [`Client::position`].

use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use common::id::{ActivityId, Seq};
use common::session::SessionId;
use common::user::{Secret, Username};
use common::wire::{self, ActivityBroadcast, Address, PartialBudget};
use futures::Stream;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::core::{self, Position, RegisterMode, Report, Start, Unfit};
use crate::memory::Memory;
use crate::shell::{self, Receive, Wish};

/// What happens to a session: activities, reports on what it published, and its coming and going.
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
    /// Which activities of before to receive; by default none.
    pub start: Start,
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
            start: Start::Now,
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

    /// Begins with everything that came after this position: what [`Client::position`] said, perhaps in another process. What the
    /// network no longer has is told with [`Event::Resumed`]. A position of another network ends the session.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let kept = "f00d@worker-1c9e04d7/8d3f61c2a90e57b4/0-41+43";
    /// let options = client::Options::new("127.0.0.1:3780".parse()?).resume(kept.parse()?);
    /// # let _ = options; Ok(()) }
    /// ```
    pub fn resume(mut self, position: Position) -> Self {
        self.start = Start::After(position);
        self
    }

    /// Begins with so many of the latest activities, or as many as the network still has.
    pub fn last(mut self, count: u64) -> Self {
        self.start = Start::Last(count);
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
            session: Some(core::Session::new(random_key())),
            start: self.start,
            resume: self.receive != Receive::Nothing,
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

fn random_key() -> u128 {
    u128::from(common::boot::random_seed()) << 64 | u128::from(common::boot::random_seed())
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

/// Publishes through a session. Clones share it. The session ends when its [`Client`] and all publishers are dropped.
#[derive(Clone, Debug)]
pub struct Publisher {
    wishes: mpsc::Sender<Wish>,
}

impl Publisher {
    /// Hands an activity to the session, which sends it as soon as it can, and again where a connection breaks, until it is reported;
    /// waits while too much is unreported already. Returning says that the activity is in line, no more: what becomes of it is told
    /// with [`Event::Report`], or by [`deliver`](Self::deliver).
    ///
    /// # Errors
    /// See [`Error`]; nothing was published.
    pub async fn publish(&self, activity: &impl Serialize) -> Result<(), Error> {
        self.send(activity, None).await
    }

    /// Publishes an activity, and waits until the network has reported what became of it: how many have it, and whether it survives
    /// the loss of a server. That takes some milliseconds in a healthy network, some seconds where somebody does not answer, and as
    /// long as it takes where there is no connection; bound the wait with `tokio::time::timeout`. To publish more meanwhile, see
    /// [`submit`](Self::submit).
    ///
    /// ```no_run
    /// # async fn example(client: client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let report = client.deliver(&serde_json::json!({"type": "Alarm"})).await?;
    /// println!("{} of {} have it", report.succ_count, report.client_count);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`Error`]. When the session ends first, the activity may have been published.
    pub async fn deliver(&self, activity: &impl Serialize) -> Result<Report, Error> {
        self.submit(activity).await?.await
    }

    /// Publishes an activity, and returns what waits for the report on it, so that the next one can be published meanwhile. It may be
    /// dropped.
    ///
    /// # Errors
    /// See [`Error`]; nothing was published.
    pub async fn submit(&self, activity: &impl Serialize) -> Result<Delivery, Error> {
        let (sender, report) = oneshot::channel();
        self.send(activity, Some(sender)).await?;
        Ok(Delivery(report))
    }

    async fn send(
        &self,
        activity: &impl Serialize,
        report: Option<oneshot::Sender<Option<Report>>>,
    ) -> Result<(), Error> {
        let text = serde_json::to_string(activity).map_err(Error::NotAnActivity)?;
        let activity = wire::Activity::parse(&text).map_err(Error::NotAnActivity)?;
        core::Client::check(&activity)?;
        self.wishes.send(Wish::Publish { activity, report }).await.map_err(|_| ended())
    }
}

/// Waits for the report on an activity that was published.
///
/// It ends with [`Error::Ended`] when the session ends first: the activity may have been published; and with [`Error::NoReport`] when the
/// server gives none.
#[derive(Debug)]
pub struct Delivery(oneshot::Receiver<Option<Report>>);

impl Future for Delivery {
    type Output = Result<Report, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll(context)) {
            Ok(report) => report.ok_or(Error::NoReport),
            Err(_) => Err(ended()),
        })
    }
}

fn ended() -> Error {
    Error::Ended("the session has ended".to_owned())
}

/// An activity as it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Its identity in the network; classic servers give none.
    pub id: Option<ActivityId>,
    /// Who published it, as the network authenticated them.
    pub user: String,
    /// The activity, a JSON object, as its sender wrote it and with `authenticated_user` set.
    pub json: String,
    /// The session that it was published in; classic servers give none.
    pub session: Option<SessionId>,
    /// Its number there.
    pub number: Option<Seq>,
    /// Activities of this session that should have come before this one and did not come in time: the first of them. They may come
    /// later, and be `late`.
    pub missing_from: Option<Seq>,
    /// Others of its session that come after it were received before it.
    pub late: bool,
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
        Activity {
            id: broadcast.id,
            user,
            json,
            session: broadcast.session,
            number: broadcast.activity_seq,
            missing_from: broadcast.missing_from,
            late: broadcast.late,
        }
    }
}
