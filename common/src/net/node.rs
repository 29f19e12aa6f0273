//! A machine and its links: what the tasks of one process share. When which link is read: `reading`.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use slotmap::SlotMap;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::closing::Closing;
use super::drive::Options;
use super::reading::{News, Queue};
use crate::boot::Clock;
use crate::id::LinkId;
use crate::machine::{Action, DialId, Event, Machine};
use crate::time::Now;
use crate::wire::{Address, Lines, Message};

/// As many links, and to write to all of them takes some hundred times as long as to ask the system for news.
const MANY: usize = 16;

/// How many links are written to between two looks at the clock: some hundreds of microseconds.
const WRITES_AT_ONCE: usize = 64;

/// How the tasks of a process hold its node. Nobody keeps it borrowed across an `await`.
pub(super) type Shared<M> = Rc<RefCell<Node<M>>>;

/// The machine, its links, and what is to be done at the end of the turn.
pub(super) struct Node<M: Machine> {
    pub(super) machine: M,
    pub(super) links: SlotMap<LinkId, Link>,
    pub(super) clock: Clock,
    options: Options,
    closing: Closing,
    /// The links that have something to read.
    pub(super) readable: Queue,
    actions: Vec<Action<M::Effect>>,
    effects: Vec<M::Effect>,
    to_dial: Vec<(DialId, Address)>,
    to_flush: Vec<LinkId>,
    flush_all: bool,
    /// Wakes the turn-taking task.
    news: Arc<News>,
    listening: bool,
    exit: Option<Result<(), String>>,
}

pub(super) struct Link {
    pub(super) stream: Rc<TcpStream>,
    /// Tells that there is something to read.
    pub(super) readable: Waker,
    lines: Lines,
    /// The kernel takes no more for now; a task waits until it does.
    blocked: bool,
}

impl<M: Machine + 'static> Node<M> {
    pub(super) fn new(machine: M, options: Options) -> Shared<M> {
        Rc::new(RefCell::new(Node {
            machine,
            links: SlotMap::with_key(),
            clock: options.clock,
            options,
            closing: Closing::default(),
            readable: Queue::default(),
            actions: Vec::new(),
            effects: Vec::new(),
            to_dial: Vec::new(),
            to_flush: Vec::new(),
            flush_all: false,
            news: Arc::default(),
            listening: true,
            exit: None,
        }))
    }

    /// Hands one event to the machine and sorts what it asks for. Network actions are done at the end of the turn, but for closing. Who
    /// calls this outside a turn asks for one.
    pub(super) fn handle(&mut self, event: Event<M::Input>) {
        self.handle_at(self.clock.now(), event);
    }

    /// The same with an event of `now`: to ask for the time takes its time, and many events come in one read.
    fn handle_at(&mut self, now: Now, event: Event<M::Input>) {
        let mut actions = std::mem::take(&mut self.actions);
        self.machine.handle(now, event, &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Dial { dial, address } => self.to_dial.push((dial, address)),
                Action::Flush(link) => self.to_flush.push(link),
                Action::FlushAll => self.flush_all = true,
                Action::Close { link, farewell } => self.close(link, farewell),
                Action::StopAccepting => self.listening = false,
                Action::Exit(outcome) => self.exit = Some(outcome),
                Action::Effect(effect) => self.effects.push(effect),
            }
        }
        self.actions = actions;
    }

    /// Writes what the machine has to say, as far as the kernel takes it.
    pub(super) fn flush(node: &Shared<M>) {
        let mut this = node.borrow_mut();
        let mut links = std::mem::take(&mut this.to_flush);
        if std::mem::take(&mut this.flush_all) {
            links.clear();
            links.extend(this.links.keys());
        }
        let mut now = this.clock.now();
        for (count, link) in links.into_iter().enumerate() {
            if count % WRITES_AT_ONCE == WRITES_AT_ONCE - 1 {
                now = this.clock.now();
            }
            match this.write(now, link) {
                Ok(Written::All) => {}
                Ok(Written::Blocked(stream)) => Self::wait_until_writable(node, link, stream),
                Err(_) => this.lost(link),
            }
        }
    }

    fn write(&mut self, now: Now, id: LinkId) -> io::Result<Written> {
        loop {
            let Some(link) = self.links.get_mut(id).filter(|link| !link.blocked) else {
                return Ok(Written::All);
            };
            let bytes = self.machine.output(id);
            if bytes.is_empty() {
                return Ok(Written::All);
            }
            match link.stream.try_write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.handle_at(now, Event::Wrote { link: id, bytes }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    link.blocked = true;
                    return Ok(Written::Blocked(Rc::clone(&link.stream)));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn wait_until_writable(node: &Shared<M>, id: LinkId, stream: Rc<TcpStream>) {
        let node = Rc::downgrade(node);
        tokio::task::spawn_local(async move {
            let _ = stream.writable().await;
            let Some(node) = node.upgrade() else { return };
            let mut this = node.borrow_mut();
            if let Some(link) = this.links.get_mut(id) {
                link.blocked = false;
                this.to_flush.push(id);
                this.news.turn.notify_one();
            }
        });
    }

    /// Takes a connection in, accepted or dialled.
    fn insert(node: &Shared<M>, stream: TcpStream, event: impl FnOnce(LinkId) -> Event<M::Input>) {
        super::prepare(&stream);
        let mut this = node.borrow_mut();
        let lines = Lines::new(this.options.line_bytes, this.options.partial_budget.clone());
        let news = Arc::clone(&this.news);
        let id = this.links.insert_with_key(|id| Link {
            stream: Rc::new(stream),
            readable: News::waker(news, id),
            lines,
            blocked: false,
        });
        this.handle(event(id));
        this.readable.watch(id);
    }

    pub(super) fn accepted(node: &Shared<M>, stream: TcpStream, peer: SocketAddr) {
        Self::insert(node, stream, |link| Event::Accepted { link, peer: peer.ip() });
    }

    /// Starts the attempts that the machine asked for.
    pub(super) fn dial(node: &Shared<M>) {
        for (dial, address) in std::mem::take(&mut node.borrow_mut().to_dial) {
            let node = Rc::downgrade(node);
            tokio::task::spawn_local(async move {
                let outcome = super::connect(&address).await;
                let Some(node) = node.upgrade() else { return };
                match outcome {
                    Ok(stream) => Self::insert(&node, stream, |link| Event::Dialled { dial, link }),
                    Err(error) => node.borrow_mut().handle(Event::DialFailed { dial, error }),
                }
                node.borrow().news.turn.notify_one();
            });
        }
    }

    /// Hands what was read from a link to the machine. Says whether to read on.
    pub(super) fn take(&mut self, id: LinkId, bytes: &[u8]) -> ControlFlow<()> {
        let Some(link) = self.links.get_mut(id) else { return ControlFlow::Break(()) };
        // The lines leave the table for the moment, so that the machine may close the link while they are read.
        let idle = Lines::new(self.options.line_bytes, self.options.partial_budget.clone());
        let mut lines = std::mem::replace(&mut link.lines, idle);
        let mut malformed = false;
        let now = self.clock.now();
        let fed = lines.feed(bytes, |line| {
            match Message::decode_with_epoch(line) {
                Ok((message, epoch)) => self.handle_at(now, Event::Received { link: id, message, epoch }),
                Err(error) => {
                    malformed = true;
                    self.handle(Event::Malformed { link: id, error });
                }
            }
            if malformed || !self.links.contains_key(id) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if let Err(error) = fed {
            malformed = true;
            self.handle(Event::Malformed { link: id, error });
        }
        match self.links.get_mut(id) {
            Some(link) if !malformed => {
                link.lines = lines;
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        }
    }

    /// The peer says no more. Nobody watches the link for something to read any more; what is written may still reach the peer, or fail.
    pub(super) fn ended(&mut self, id: LinkId) {
        self.handle(Event::Ended { link: id });
    }

    /// The connection broke.
    pub(super) fn lost(&mut self, id: LinkId) {
        if self.links.remove(id).is_some() {
            self.handle(Event::Closed { link: id });
        }
    }

    /// The machine is done with this link.
    fn close(&mut self, id: LinkId, farewell: Vec<u8>) {
        let Some(link) = self.links.remove(id) else { return };
        self.closing.close(link.stream, farewell);
    }

    pub(super) fn news(&self) -> Arc<News> {
        Arc::clone(&self.news)
    }

    /// Whether what is to be written goes to many.
    pub(super) fn writes_to_many(&self) -> bool {
        self.flush_all && self.links.len() >= MANY
    }

    /// Whether there is something to read that has come since the last read.
    pub(super) fn has_news(&self) -> bool {
        self.news.has_readable()
    }

    /// Whether there is more to do, without anything new.
    pub(super) fn has_more_to_do(&self) -> bool {
        self.flush_all
            || !self.to_flush.is_empty()
            || !self.to_dial.is_empty()
            || !self.effects.is_empty()
            || self.exit.is_some()
    }

    pub(super) fn take_effects(&mut self) -> Vec<M::Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(super) fn is_listening(&self) -> bool {
        self.listening
    }

    pub(super) fn take_exit(&mut self) -> Option<Result<(), String>> {
        self.exit.take()
    }

    pub(super) fn closing(&self) -> usize {
        self.closing.count()
    }

    /// When the machine wants to be woken; `None` for never.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.machine.deadline().map(|deadline| self.clock.instant(deadline).into())
    }
}

enum Written {
    All,
    Blocked(Rc<TcpStream>),
}
