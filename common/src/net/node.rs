//! A machine and its links: what the tasks of one process share. When which link is read: `reading`.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::rc::Rc;

use slotmap::SlotMap;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::closing::Closing;
use super::drive::Options;
use super::reading::{self, Queue};
use crate::boot::Clock;
use crate::id::LinkId;
use crate::machine::{Action, DialId, Event, Machine};
use crate::wire::{Address, Lines, Message};

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
    turn: Rc<Notify>,
    listening: bool,
    exit: Option<Result<(), String>>,
}

pub(super) struct Link {
    pub(super) stream: Rc<TcpStream>,
    /// Wakes the link's watcher after all that had come was read.
    pub(super) drained: Rc<Notify>,
    lines: Lines,
    watcher: Option<AbortHandle>,
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
            turn: Rc::new(Notify::new()),
            listening: true,
            exit: None,
        }))
    }

    /// Hands one event to the machine and sorts what it asks for. Network actions are done at the end of the turn, but for closing.
    pub(super) fn handle(&mut self, event: Event<M::Input>) {
        let mut actions = std::mem::take(&mut self.actions);
        self.machine.handle(self.clock.now(), event, &mut actions);
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
        self.turn.notify_one();
    }

    /// Writes what the machine has to say, as far as the kernel takes it.
    pub(super) fn flush(node: &Shared<M>) {
        let mut this = node.borrow_mut();
        let mut links = std::mem::take(&mut this.to_flush);
        if std::mem::take(&mut this.flush_all) {
            links.clear();
            links.extend(this.links.keys());
        }
        for link in links {
            match this.write(link) {
                Ok(Written::All) => {}
                Ok(Written::Blocked(stream)) => Self::wait_until_writable(node, link, stream),
                Err(_) => this.lost(link),
            }
        }
    }

    fn write(&mut self, id: LinkId) -> io::Result<Written> {
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
                Ok(bytes) => self.handle(Event::Wrote { link: id, bytes }),
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
                this.turn.notify_one();
            }
        });
    }

    /// Takes a connection in, accepted or dialled, and starts its watcher.
    fn insert(node: &Shared<M>, stream: TcpStream, event: impl FnOnce(LinkId) -> Event<M::Input>) {
        super::prepare(&stream);
        let stream = Rc::new(stream);
        let mut this = node.borrow_mut();
        let lines = Lines::new(this.options.line_bytes, this.options.partial_budget.clone());
        let drained = Rc::new(Notify::new());
        let link = Link {
            stream: Rc::clone(&stream),
            drained: Rc::clone(&drained),
            lines,
            watcher: None,
            blocked: false,
        };
        let id = this.links.insert(link);
        this.handle(event(id));
        if let Some(link) = this.links.get_mut(id) {
            let watcher = reading::watch(Rc::downgrade(node), id, stream, drained);
            link.watcher = Some(tokio::task::spawn_local(watcher).abort_handle());
        }
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
        let fed = lines.feed(bytes, |line| {
            match Message::decode_with_epoch(line) {
                Ok((message, epoch)) => self.handle(Event::Received { link: id, message, epoch }),
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

    /// The peer says no more. Nothing is read any more; what is written may still reach it, or fail.
    pub(super) fn ended(&mut self, id: LinkId) {
        if let Some(watcher) = self.links.get_mut(id).and_then(|link| link.watcher.take()) {
            watcher.abort();
        }
        self.handle(Event::Ended { link: id });
    }

    /// The connection broke.
    pub(super) fn lost(&mut self, id: LinkId) {
        if let Some(link) = self.links.remove(id) {
            if let Some(watcher) = link.watcher {
                watcher.abort();
            }
            self.handle(Event::Closed { link: id });
        }
    }

    /// The machine is done with this link.
    fn close(&mut self, id: LinkId, farewell: Vec<u8>) {
        let Some(link) = self.links.remove(id) else { return };
        if let Some(watcher) = link.watcher {
            watcher.abort();
        }
        self.closing.close(link.stream, farewell);
    }

    pub(super) fn turn(&self) -> Rc<Notify> {
        Rc::clone(&self.turn)
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

    /// How long until the machine wants to be woken; `None` for never.
    pub(super) fn until_deadline(&self) -> Option<std::time::Duration> {
        self.machine.deadline().map(|deadline| deadline.since(self.clock.now().time))
    }
}

enum Written {
    All,
    Blocked(Rc<TcpStream>),
}
