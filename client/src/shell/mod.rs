//! Runs one session for real: sockets, a clock, and channels to whoever uses it.
//!
//! A session is one ordinary future, [`run`], that may move between threads: a program has as many as it likes, on whatever tokio
//! runtime it has. Thousands are cheap: bytes are read through one buffer per thread, lines are cut where they lie, and a
//! session that wants only its own activities ([`Receive::Own`]) never parses the others.
//!
//! **Back-pressure.** A session whose notices are not taken reads no more from its connection, and one without room for more
//! activities takes no more wishes. Nothing is dropped here; a worker drops a client that does not read for too long.
//!
//! What is *not* here: any decision about where to go and when (`core`).

mod filter;
mod reports;
mod socket;

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};

use common::boot::Clock;
use common::id::LinkId;
use common::limits;
use common::machine::{self, DialError, DialId, Event, Machine};
use common::time::Time;
use common::wire::{Activity, Lines, Message, PartialBudget};
use slotmap::SlotMap;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::core::{Client, Config, Effect, Input, Report};
use crate::memory::Memory;
pub use filter::Receive;
use filter::{Filter, id, is_broadcast};
use reports::AwaitedReports;

type Action = machine::Action<Effect>;
type Dialling = Pin<Box<dyn Future<Output = (DialId, Result<TcpStream, DialError>)> + Send>>;

/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;

thread_local! {
    /// What every session of this thread reads through. It holds something only between a read and the cutting of its lines,
    /// and no session awaits in between.
    static BUFFER: std::cell::RefCell<Box<[u8]>> = std::cell::RefCell::new(vec![0; READ_BYTES].into());
}

/// What a session shares with others of its process, and what of the flood it wants.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which activities are handed up.
    pub receive: Receive,
    /// Counts the activities that arrive, handed up or not.
    pub received: Arc<AtomicU64>,
    /// What unfinished lines may hold together.
    pub partial_budget: PartialBudget,
    /// Where the network's servers are kept.
    pub(crate) memory: Option<Memory>,
}

/// What may be wished of a session.
#[derive(Debug)]
pub enum Wish {
    /// Tell everybody.
    Publish {
        /// What to tell.
        activity: Activity,
        /// Who waits for the report on it. It hears `None` where the server gives none, and nothing where the session ends first.
        report: Option<oneshot::Sender<Option<Report>>>,
    },
    /// Say goodbye and end, as [`Input::Logout`] says.
    Logout,
}

/// Runs a session until it ends: by a logout, by a refusal, or when `wishes` is closed. Notices go to `notices`; where nobody takes
/// them any more, they are dropped.
///
/// # Errors
/// A sentence that says why the session could not go on.
pub async fn run(
    config: Config,
    options: Options,
    mut wishes: mpsc::Receiver<Wish>,
    notices: mpsc::Sender<Effect>,
) -> Result<(), String> {
    let mut session = Session::new(config, options);
    let mut wishing = true;
    let result = loop {
        session.write();
        session.pass_on(&notices);
        if let Some(result) = session.exit.take() {
            break result;
        }
        if !wishing && !session.client.is_live() {
            break Ok(());
        }
        let deadline = session.client.deadline().map(|deadline| session.instant(deadline));
        tokio::select! {
            (dial, result) = next_dial(&mut session.dialling) => session.dialled(dial, result),
            io = next_io(&mut session.connection, session.notices.is_empty()) => session.ready(io),
            () = sleep_until(deadline) => session.tell(Event::DeadlinePassed),
            wish = wishes.recv(), if wishing && session.client.has_room() => match wish {
                Some(wish) => session.wished(wish, &mut wishes),
                // Everybody who could wish for anything is gone; what they wished for before is still said.
                None => {
                    wishing = false;
                    if session.client.is_live() {
                        session.tell(Event::Input(Input::Logout));
                    }
                }
            },
            Some(_) = session.farewells.join_next() => {}
            _ = notices.reserve(), if !session.notices.is_empty() => {}
        }
    };
    for notice in session.notices {
        if notices.send(notice).await.is_err() {
            break;
        }
    }
    session.farewells.join_all().await;
    result
}

struct Session {
    client: Client,
    clock: Clock,
    start: tokio::time::Instant,
    /// Only to number connections.
    links: SlotMap<LinkId, ()>,
    connection: Option<Connection>,
    dialling: Option<Dialling>,
    /// Connections that are saying their last words.
    farewells: JoinSet<()>,
    actions: Vec<Action>,
    /// What could not be handed up yet: at most what one read brings.
    notices: VecDeque<Effect>,
    awaited: AwaitedReports,
    filter: Filter,
    received: Arc<AtomicU64>,
    partial_budget: PartialBudget,
    memory: Option<Memory>,
    exit: Option<Result<(), String>>,
}

struct Connection {
    link: LinkId,
    stream: TcpStream,
    lines: Lines,
    /// The kernel takes no more for now.
    blocked: bool,
}

/// What a connection is ready for.
enum Io {
    /// So many bytes lie in the buffer of this thread.
    Read(io::Result<usize>),
    Writable,
}

impl Session {
    fn new(config: Config, options: Options) -> Self {
        let clock = Clock::start();
        Session {
            filter: Filter::new(options.receive, &config.username),
            client: Client::new(clock.now(), config),
            clock,
            start: tokio::time::Instant::now(),
            links: SlotMap::with_key(),
            connection: None,
            dialling: None,
            farewells: JoinSet::new(),
            awaited: AwaitedReports::default(),
            actions: Vec::new(),
            notices: VecDeque::new(),
            received: options.received,
            partial_budget: options.partial_budget,
            memory: options.memory,
            exit: None,
        }
    }

    fn instant(&self, time: Time) -> tokio::time::Instant {
        self.start + (time - Time::ZERO)
    }

    fn tell(&mut self, event: Event<Input>) {
        self.client.handle(self.clock.now(), event, &mut self.actions);
        self.perform();
    }

    fn perform(&mut self) {
        for action in self.actions.drain(..) {
            match action {
                Action::Dial { dial, address } => {
                    self.dialling =
                        Some(Box::pin(async move { (dial, common::net::connect(&address).await) }))
                }
                Action::Close { link, farewell } => {
                    self.links.remove(link);
                    let closed = self.connection.take_if(|connection| connection.link == link);
                    if let Some(connection) = closed
                        && !farewell.is_empty()
                    {
                        self.farewells.spawn(socket::say_goodbye(connection.stream, farewell));
                    }
                }
                Action::Effect(effect) => {
                    match &effect {
                        Effect::Servers(servers) => {
                            self.memory.iter().for_each(|memory| memory.keep(servers))
                        }
                        Effect::Report(report) => self.awaited.came(report.first, report.last, Some(report)),
                        Effect::Unreported { first, last } => self.awaited.came(*first, *last, None),
                        _ => {}
                    }
                    self.notices.push_back(effect);
                }
                Action::Exit(result) => self.exit = Some(result),
                // The loop writes before it waits; a client has one link, and accepts none.
                Action::Flush(_) | Action::FlushAll | Action::StopAccepting => {}
            }
        }
    }

    fn dialled(&mut self, dial: DialId, result: Result<TcpStream, DialError>) {
        self.dialling = None;
        match result {
            Ok(stream) => {
                let link = self.links.insert(());
                let lines =
                    Lines::new(limits::LINE_BYTES + limits::ENVELOPE_BYTES, self.partial_budget.clone());
                self.connection = Some(Connection { link, stream, lines, blocked: false });
                self.tell(Event::Dialled { dial, link });
            }
            Err(error) => self.tell(Event::DialFailed { dial, error }),
        }
    }

    /// Takes a wish and those that came with it, so that they leave in one write.
    fn wished(&mut self, first: Wish, more: &mut mpsc::Receiver<Wish>) {
        self.wish(first);
        while self.client.has_room() {
            let Ok(next) = more.try_recv() else { break };
            self.wish(next);
        }
    }

    fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Publish { activity, report } => {
                let number = self.client.next_number();
                self.tell(Event::Input(Input::Publish(activity)));
                // A session that is about to end takes nothing more.
                if let Some(report) = report.filter(|_| self.client.next_number() > number) {
                    self.awaited.insert(number, report);
                }
            }
            Wish::Logout => self.tell(Event::Input(Input::Logout)),
        }
    }

    fn ready(&mut self, io: Io) {
        match io {
            Io::Writable => {
                if let Some(connection) = &mut self.connection {
                    connection.blocked = false;
                }
            }
            Io::Read(Ok(0) | Err(_)) => self.connection_lost(),
            Io::Read(Ok(count)) => self.read(count),
        }
    }

    fn connection_lost(&mut self) {
        if let Some(Connection { link, .. }) = self.connection.take() {
            self.links.remove(link);
            self.tell(Event::Closed { link });
        }
    }

    /// Hands the lines of the first `count` bytes of the buffer to the core.
    fn read(&mut self, count: usize) {
        let Session { client, actions, filter, .. } = self;
        let Some(Connection { link, lines, .. }) = &mut self.connection else { return };
        let (now, link) = (self.clock.now(), *link);
        let mut broadcasts = 0;
        let fed = BUFFER.with_borrow(|buffer| {
            lines.feed(&buffer[..count], |line| {
                if is_broadcast(line) {
                    broadcasts += 1;
                    if filter.skips(line) {
                        client.handle(now, Event::Input(Input::Skipped(id(line))), actions);
                        return ControlFlow::Continue(());
                    }
                }
                let event = match Message::decode_with_epoch(line) {
                    Ok((message, epoch)) => Event::Received { link, message, epoch },
                    Err(error) => Event::Malformed { link, error },
                };
                let before = actions.len();
                client.handle(now, event, actions);
                let closed = actions[before..].iter().any(|action| matches!(action, Action::Close { .. }));
                if closed { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        });
        self.received.fetch_add(broadcasts, Ordering::Relaxed);
        if let Err(error) = fed {
            self.client.handle(now, Event::Malformed { link, error }, &mut self.actions);
        }
        self.perform();
    }

    /// Writes what waits, as far as the kernel takes it.
    fn write(&mut self) {
        while let Some(Connection { link, stream, blocked: false, .. }) = &self.connection {
            let link = *link;
            let output = self.client.output(link);
            if output.is_empty() {
                return;
            }
            match stream.try_write(output) {
                Ok(bytes) => {
                    common::net::acknowledge_at_once(stream);
                    self.tell(Event::Wrote { link, bytes });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.connection.as_mut().expect("it was there a moment ago").blocked = true;
                }
                Err(_) => self.connection_lost(),
            }
        }
    }

    /// Hands up as many notices as there is room for.
    fn pass_on(&mut self, notices: &mpsc::Sender<Effect>) {
        while !self.notices.is_empty() {
            match notices.try_reserve() {
                Ok(permit) => permit.send(self.notices.pop_front().expect("it is not empty")),
                Err(mpsc::error::TrySendError::Full(())) => return,
                Err(mpsc::error::TrySendError::Closed(())) => self.notices.clear(),
            }
        }
    }
}

async fn next_dial(dialling: &mut Option<Dialling>) -> (DialId, Result<TcpStream, DialError>) {
    match dialling {
        Some(dialling) => dialling.await,
        None => pending().await,
    }
}

/// Waits until the connection has been read from, where that is wanted, or takes bytes again, where it did not.
async fn next_io(connection: &mut Option<Connection>, read: bool) -> Io {
    let Some(Connection { stream, blocked, .. }) = connection else { return pending().await };
    poll_fn(|context| {
        if *blocked && stream.poll_write_ready(context).is_ready() {
            return Poll::Ready(Io::Writable);
        }
        if !read {
            return Poll::Pending;
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            let result = ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer));
            Poll::Ready(Io::Read(result.map(|()| buffer.filled().len())))
        })
    })
    .await
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => pending().await,
    }
}
