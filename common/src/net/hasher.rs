//! Password hashes off the event loop, a bounded number at a time. Who is next: `hash_queue`.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::hash_queue::Queue;
use crate::machine::JobId;
use crate::password::{self, Memory};
use crate::user::{PasswordHash, Secret};

/// A pool that runs as many Argon2id hashes at once as there are cores. What there is no time for is given up, and whoever asked is told
/// so.
#[derive(Clone, Debug)]
pub struct Hasher {
    state: Rc<RefCell<State>>,
}

#[derive(Debug)]
struct State {
    /// The memory of each core that is free.
    free: Vec<Memory>,
    waiting: Queue<Ticket>,
}

/// What a task waits with. It begins when it is its turn, and gives up when this is dropped.
#[derive(Debug)]
struct Ticket {
    turn: oneshot::Sender<Memory>,
    task: AbortHandle,
}

impl Hasher {
    /// A pool as wide as the machine.
    pub fn new() -> Self {
        Hasher::of_width(std::thread::available_parallelism().map_or(1, usize::from))
    }

    fn of_width(cores: usize) -> Self {
        let free = std::iter::repeat_with(Memory::default).take(cores).collect();
        Hasher { state: Rc::new(RefCell::new(State { free, waiting: Queue::new() })) }
    }

    /// Hashes `secret` for somebody at `from` and hands the result to `done`, or `None` where it is given up. Must be called inside a
    /// `LocalSet`.
    pub fn hash(
        &self,
        job: JobId,
        from: IpAddr,
        secret: Secret,
        done: impl FnOnce(Option<PasswordHash>) + 'static,
    ) {
        self.run(job, from, move |memory| password::hash(&secret, memory), done);
    }

    /// Verifies `secret` against `hash` and hands the verdict to `done`, in the same way.
    pub fn verify(
        &self,
        job: JobId,
        from: IpAddr,
        secret: Secret,
        hash: PasswordHash,
        done: impl FnOnce(Option<bool>) + 'static,
    ) {
        self.run(job, from, move |memory| password::verify(&secret, &hash, memory), done);
    }

    /// Drops a job that has not begun, without a word. One that has goes on, and is answered.
    pub fn cancel(&self, job: JobId) {
        let ticket = self.state.borrow_mut().waiting.remove(job);
        if let Some(ticket) = ticket {
            ticket.task.abort();
        }
    }

    /// Whoever asked may be gone: everybody else comes first.
    pub fn doubt(&self, job: JobId) {
        self.state.borrow_mut().waiting.doubt(job);
    }

    fn run<T: Send + 'static>(
        &self,
        job: JobId,
        from: IpAddr,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
        done: impl FnOnce(Option<T>) + 'static,
    ) {
        let (turn, my_turn) = oneshot::channel();
        let hasher = self.clone();
        let task = tokio::task::spawn_local(async move {
            let Ok(mut memory) = my_turn.await else {
                return done(None);
            };
            let work = move || (work(&mut memory), memory);
            let (result, memory) = tokio::task::spawn_blocking(work).await.expect("hashing does not panic");
            done(Some(result));
            hasher.state.borrow_mut().free.push(memory);
            hasher.begin();
        });
        let ticket = Ticket { turn, task: task.abort_handle() };
        // What is displaced gives up as its ticket is dropped.
        self.state.borrow_mut().waiting.push(Instant::now(), job, from, ticket);
        self.begin();
    }

    /// Gives free cores to those whose turn it is.
    fn begin(&self) {
        let mut state = self.state.borrow_mut();
        let now = Instant::now();
        drop(state.waiting.expired(now));
        while let Some(memory) = state.free.pop() {
            let Some(ticket) = state.waiting.next(now) else {
                state.free.push(memory);
                break;
            };
            ticket.turn.send(memory).unwrap_or_else(|_| unreachable!("a task that waits is there"));
        }
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher::new()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::mpsc;

    use tokio::task::LocalSet;

    use super::*;
    use crate::limits;

    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn what_has_not_begun_can_be_cancelled_and_what_has_keeps_its_core_until_it_is_done() {
        LocalSet::new().run_until(conversation()).await;
    }

    async fn conversation() {
        let hasher = Hasher::of_width(1);
        let done = Rc::new(RefCell::new(Vec::new()));
        let note = |job| {
            let done = Rc::clone(&done);
            move |result: Option<()>| done.borrow_mut().push((job, result.is_some()))
        };
        let (begins, begun) = oneshot::channel();
        let (go_on, goes_on) = mpsc::channel();
        let first = move |_: &mut Memory| {
            begins.send(()).unwrap();
            goes_on.recv().unwrap();
        };
        hasher.run(JobId(1), FROM, first, note(1));
        hasher.run(JobId(2), FROM, |_| (), note(2));
        let (last, all_done) = oneshot::channel();
        let third = note(3);
        let third = move |result| {
            third(result);
            last.send(()).unwrap();
        };
        hasher.run(JobId(3), FROM, |_| (), third);

        begun.await.unwrap();
        hasher.cancel(JobId(2));
        hasher.cancel(JobId(1));
        tokio::task::yield_now().await;
        assert_eq!(*done.borrow(), [], "there is one core, and it is taken");
        go_on.send(()).unwrap();
        all_done.await.unwrap();
        assert_eq!(*done.borrow(), [(1, true), (3, true)]);
        assert_eq!(hasher.state.borrow().free.len(), 1);
    }

    #[tokio::test]
    async fn what_there_is_no_time_for_is_answered_too() {
        LocalSet::new().run_until(overload()).await;
    }

    async fn overload() {
        let hasher = Hasher::of_width(0);
        let (answered, mut answers) = tokio::sync::mpsc::unbounded_channel();
        for job in 0..=limits::HASH_QUEUE as u64 {
            let answered = answered.clone();
            let done = move |result: Option<()>| answered.send((job, result.is_some())).unwrap();
            hasher.run(JobId(job), FROM, |_| (), done);
        }
        assert_eq!(answers.recv().await, Some((0, false)));
    }
}
