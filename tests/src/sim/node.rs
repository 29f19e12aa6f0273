//! The machines that take part in a simulation, as one type, so that a world can hold them all.

use std::convert::Infallible;

use client::core::Client;
use common::id::{ActivityId, LinkId};
use common::machine::{Action, Event, Machine};
use common::time::{Now, Time};
use common::wire::Message;
use coordinator::core::Coordinator;
use worker::core::Worker;

use super::classic::{self, Classic};
use super::errand::Errand;
use super::mischief::Mischief;
use crate::check::Tag;

/// Any machine. The first three are the real ones.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Node {
    Coordinator(Box<Coordinator>),
    Worker(Box<Worker>),
    Client(Box<Client>),
    Classic(Box<Classic>),
    Mischief(Box<Mischief>),
    Errand(Box<Errand>),
}

/// What one of them is told.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Input {
    Coordinator(coordinator::core::Input),
    Worker(worker::core::Input),
    Client(client::core::Input),
    Classic(classic::Input),
}

/// What one of them asks for.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Effect {
    Coordinator(coordinator::core::Effect),
    Worker(worker::core::Effect),
    Client(client::core::Effect),
    /// Nothing is asked for: a worker has given this id to what a client sent it. Nobody else may ever see the two together, where no other
    /// worker is within reach and the activity leaves the log before anybody has read it; and yet the worker speaks of that id.
    Numbered(ActivityId, Tag),
    /// Nothing is asked for: a worker has gone on without activities that should have come before others.
    WentOn,
}

impl Node {
    /// The worker, where it is one.
    pub fn worker(&self) -> Option<&Worker> {
        if let Node::Worker(worker) = self { Some(worker) } else { None }
    }

    /// The coordinator, where it is one.
    pub fn coordinator(&self) -> Option<&Coordinator> {
        if let Node::Coordinator(coordinator) = self { Some(coordinator) } else { None }
    }

    /// Whether it is an honest client that is logged in at a worker.
    pub fn is_live(&self) -> bool {
        match self {
            Node::Client(client) => client.is_live(),
            Node::Classic(classic) => classic.is_live(),
            Node::Coordinator(_) | Node::Worker(_) | Node::Mischief(_) | Node::Errand(_) => false,
        }
    }
}

impl Machine for Node {
    type Input = Input;
    type Effect = Effect;

    /// Hands the event on, and looks at every bound of the machine afterwards.
    fn handle(&mut self, now: Now, event: Event<Input>, actions: &mut Vec<Action<Effect>>) {
        let publishes = self.publishes(&event);
        let gaps = self.worker().map(|worker| worker.dropped().gaps);
        self.hand_on(now, event, actions);
        if self.worker().map(|worker| worker.dropped().gaps) != gaps {
            actions.push(Action::Effect(Effect::WentOn));
        }
        if let (Some((id, tag)), Node::Worker(worker)) = (publishes, &*self)
            && worker.next_id() != id
        {
            actions.push(Action::Effect(Effect::Numbered(id, tag)));
        }
        match self {
            Node::Coordinator(machine) => machine.assert_bounds(),
            Node::Worker(machine) => machine.assert_bounds(),
            Node::Client(machine) => machine.assert_bounds(),
            Node::Classic(_) | Node::Mischief(_) | Node::Errand(_) => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Node::Coordinator(machine) => machine.deadline(),
            Node::Worker(machine) => machine.deadline(),
            Node::Client(machine) => machine.deadline(),
            Node::Classic(machine) => machine.deadline(),
            Node::Mischief(machine) => machine.deadline(),
            Node::Errand(machine) => machine.deadline(),
        }
    }

    fn output(&self, link: LinkId) -> &[u8] {
        match self {
            Node::Coordinator(machine) => machine.output(link),
            Node::Worker(machine) => machine.output(link),
            Node::Client(machine) => machine.output(link),
            Node::Classic(machine) => machine.output(link),
            Node::Mischief(machine) => machine.output(link),
            Node::Errand(machine) => machine.output(link),
        }
    }

    fn read_after(&self, link: LinkId) -> Option<Time> {
        match self {
            Node::Coordinator(machine) => machine.read_after(link),
            Node::Worker(machine) => machine.read_after(link),
            Node::Client(machine) => machine.read_after(link),
            Node::Classic(machine) => machine.read_after(link),
            Node::Mischief(machine) => machine.read_after(link),
            Node::Errand(machine) => machine.read_after(link),
        }
    }
}

impl Node {
    /// What a client publishes with this event, and the id that the worker gives it, if it takes it for new.
    fn publishes(&self, event: &Event<Input>) -> Option<(ActivityId, Tag)> {
        let Event::Received { message: Message::ActivityMessage(message), .. } = event else { return None };
        Some((self.worker()?.next_id(), Tag::of(&message.activity)?))
    }

    /// Hands an event on to the machine.
    pub(super) fn hand_on(&mut self, now: Now, event: Event<Input>, actions: &mut Vec<Action<Effect>>) {
        match self {
            Node::Coordinator(machine) => {
                let own = |input| if let Input::Coordinator(input) = input { Some(input) } else { None };
                run(&mut **machine, now, event, actions, own, Effect::Coordinator);
            }
            Node::Worker(machine) => {
                let own = |input| if let Input::Worker(input) = input { Some(input) } else { None };
                run(&mut **machine, now, event, actions, own, Effect::Worker);
            }
            Node::Client(machine) => {
                let own = |input| if let Input::Client(input) = input { Some(input) } else { None };
                run(&mut **machine, now, event, actions, own, Effect::Client);
            }
            Node::Classic(machine) => {
                let own = |input| if let Input::Classic(input) = input { Some(input) } else { None };
                run(&mut **machine, now, event, actions, own, |never: Infallible| match never {});
            }
            Node::Mischief(machine) => {
                run(&mut **machine, now, event, actions, |_| None, |never: Infallible| match never {});
            }
            Node::Errand(machine) => {
                run(&mut **machine, now, event, actions, |_| None, |never: Infallible| match never {});
            }
        }
    }
}

/// Runs a machine on an event of the common type.
fn run<M: Machine>(
    machine: &mut M,
    now: Now,
    event: Event<Input>,
    actions: &mut Vec<Action<Effect>>,
    own: impl FnOnce(Input) -> Option<M::Input>,
    wrap: impl Fn(M::Effect) -> Effect,
) {
    let event = match event {
        Event::Accepted { link, peer } => Event::Accepted { link, peer },
        Event::Dialled { dial, link } => Event::Dialled { dial, link },
        Event::DialFailed { dial, error } => Event::DialFailed { dial, error },
        Event::Received { link, message, epoch } => Event::Received { link, message, epoch },
        Event::Malformed { link, error } => Event::Malformed { link, error },
        Event::Wrote { link, bytes } => Event::Wrote { link, bytes },
        Event::Ended { link } => Event::Ended { link },
        Event::Closed { link } => Event::Closed { link },
        Event::DeadlinePassed => Event::DeadlinePassed,
        Event::Input(input) => {
            Event::Input(own(input).expect("an input is for the machine that it is given to"))
        }
    };
    let mut asked = Vec::new();
    machine.handle(now, event, &mut asked);
    actions.extend(asked.into_iter().map(|action| match action {
        Action::Dial { dial, address } => Action::Dial { dial, address },
        Action::Flush(link) => Action::Flush(link),
        Action::FlushAll => Action::FlushAll,
        Action::Close { link, farewell } => Action::Close { link, farewell },
        Action::StopAccepting => Action::StopAccepting,
        Action::Exit(outcome) => Action::Exit(outcome),
        Action::Effect(effect) => Action::Effect(wrap(effect)),
    }));
}
