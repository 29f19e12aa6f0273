//! The turn-taking task.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use super::node::{Node, Shared};
use super::reading::ReadOn;
use crate::boot::Clock;
use crate::limits;
use crate::machine::{Event, Machine};
use crate::wire::PartialBudget;

/// How a machine's links are read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The clock that the machine was made with.
    pub clock: Clock,
    /// Longest line, in bytes.
    pub line_bytes: usize,
    /// What all unfinished lines may hold together.
    pub partial_budget: PartialBudget,
}

impl Options {
    /// The defaults, with the machine's clock.
    pub fn new(clock: Clock) -> Self {
        Options {
            clock,
            line_bytes: limits::LINE_BYTES + limits::ENVELOPE_BYTES,
            partial_budget: PartialBudget::default(),
        }
    }
}

/// How often it is asked, before much is written, who else has something to say.
const LOOKS: usize = 3;

/// How long not to accept after the system refused (usually: too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Runs `machine` until it exits, and returns what it exits with.
///
/// `inputs` brings results of effects and the user's wishes; `perform` does an effect: it must not block, and sends its result into
/// `inputs` when there is one. Must run where [`tokio::task::spawn_local`] does.
pub async fn drive<M: Machine + 'static>(
    machine: M,
    listener: Option<TcpListener>,
    options: Options,
    mut inputs: UnboundedReceiver<M::Input>,
    mut perform: impl FnMut(M::Effect),
) -> Result<(), String> {
    let node = Node::new(machine, options);
    let news = node.borrow().news();
    let mut accepting = Accepting { listener, not_before: None };
    let mut read_on = ReadOn::WhenReadable;
    loop {
        if read_on == ReadOn::AtOnce {
            // First the system is asked what else is new: who can be written to, who else has something to say.
            tokio::task::yield_now().await;
        }
        let wake = node.borrow().wakes_at();
        tokio::select! {
            () = read_on.time_has_come() => {}
            () = at(wake) => node.borrow_mut().handle(Event::DeadlinePassed),
            Some(input) = inputs.recv() => node.borrow_mut().handle(Event::Input(input)),
            Some((stream, peer)) = accepting.next() => Node::accepted(&node, stream, peer),
            () = news.turn.notified() => {}
        }
        read_on = node.borrow_mut().read();
        for _ in 0..LOOKS {
            if read_on == ReadOn::AtOnce || !node.borrow().writes_to_many() {
                break;
            }
            // To ask who else has something to say costs a small part of what is to be written now, and what that is goes with it.
            watch(&node).await;
            tokio::task::yield_now().await;
            if !node.borrow().has_news() {
                break;
            }
            read_on = node.borrow_mut().read();
        }
        Node::flush(&node);
        Node::dial(&node);
        for effect in node.borrow_mut().take_effects() {
            perform(effect);
        }
        if !node.borrow().is_listening() {
            accepting.listener = None;
        }
        watch(&node).await;
        if node.borrow().has_more_to_do() {
            news.turn.notify_one();
        }
        let exit = node.borrow_mut().take_exit();
        if let Some(outcome) = exit {
            linger(&node).await;
            return outcome;
        }
    }
}

/// Sees to it that it is known when something comes over links that have been emptied. Not a wait: what tokio allows a task to do without
/// one does not count here.
async fn watch<M: Machine + 'static>(node: &Shared<M>) {
    let watch = poll_fn(|_| {
        node.borrow_mut().watch();
        Poll::Ready(())
    });
    unconstrained(watch).await;
}

async fn at(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

/// Lets the last words of closing links leave.
async fn linger<M: Machine + 'static>(node: &Shared<M>) {
    let give_up = Instant::now() + limits::LINGER;
    while node.borrow().closing() > 0 && Instant::now() < give_up {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Accepting {
    listener: Option<TcpListener>,
    not_before: Option<Instant>,
}

impl Accepting {
    /// The next connection. Pauses and tries again where the system has none to give; never ends where there is no listener.
    async fn next(&mut self) -> Option<(TcpStream, std::net::SocketAddr)> {
        let Some(listener) = &self.listener else { return std::future::pending().await };
        if let Some(not_before) = self.not_before {
            tokio::time::sleep_until(not_before).await;
            self.not_before = None;
        }
        match listener.accept().await {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again in a moment");
                self.not_before = Some(Instant::now() + ACCEPT_PAUSE);
                None
            }
        }
    }
}
