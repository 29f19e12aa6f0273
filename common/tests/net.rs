//! The network shell, driven by the smallest machines there are: one that says back what it hears, one that looks at when it is told.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::boot::Clock;
use common::id::LinkId;
use common::machine::{Action, Event, Machine};
use common::net::{Options, drive};
use common::outbox::Outbox;
use common::time::{Now, Time};
use common::wire::{InvalidMessage, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Echoes INVALID_MESSAGE; `bye` closes the link with a farewell, `stop` ends the process.
#[derive(Default)]
struct Echo {
    links: BTreeMap<LinkId, Outbox>,
}

impl Machine for Echo {
    type Input = ();
    type Effect = ();

    fn handle(&mut self, now: Now, event: Event<()>, actions: &mut Vec<Action<()>>) {
        match event {
            Event::Accepted { link, .. } => {
                self.links.insert(link, Outbox::new(64 << 20));
            }
            Event::Received { link, message: Message::InvalidMessage(message), .. }
                if message.info == "bye" =>
            {
                let outbox = self.links.remove(&link).unwrap();
                actions.push(Action::Close { link, farewell: outbox.farewell(Some(&message.into())) });
            }
            Event::Received { message: Message::InvalidMessage(message), .. } if message.info == "stop" => {
                actions.push(Action::Exit(Err("stopped".into())));
            }
            Event::Received { link, message, .. } => {
                self.links.get_mut(&link).unwrap().push(now.time, &message).unwrap();
                actions.push(Action::Flush(link));
            }
            Event::Malformed { link, error } => {
                self.links.remove(&link);
                let farewell = Message::from(InvalidMessage { info: error.to_string() }).encode();
                actions.push(Action::Close { link, farewell });
            }
            Event::Wrote { link, bytes } => self.links.get_mut(&link).unwrap().wrote(now.time, bytes),
            Event::Ended { link } => {
                let outbox = self.links.remove(&link).unwrap();
                actions.push(Action::Close { link, farewell: outbox.farewell(None) });
            }
            Event::Closed { link } => {
                self.links.remove(&link);
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn output(&self, link: LinkId) -> &[u8] {
        self.links.get(&link).map_or(&[], Outbox::pending)
    }
}

/// Says nothing, and remembers how much it was told at most before it was asked whether it has anything to say. Whoever connects first
/// is not to be read before a while has passed.
#[derive(Default)]
struct Listener {
    first: Rc<Cell<Option<(LinkId, Time)>>>,
    hold: Duration,
    unasked: Cell<usize>,
    most: Rc<Cell<usize>>,
}

impl Machine for Listener {
    type Input = ();
    type Effect = ();

    fn handle(&mut self, now: Now, event: Event<()>, actions: &mut Vec<Action<()>>) {
        match event {
            Event::Accepted { link, .. } => {
                self.first.set(self.first.get().or(Some((link, now.time))));
            }
            Event::Received { message: Message::InvalidMessage(message), .. } => {
                self.unasked.set(self.unasked.get() + message.info.len());
                self.most.set(self.most.get().max(self.unasked.get()));
                actions.push(Action::FlushAll);
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn output(&self, _: LinkId) -> &[u8] {
        self.unasked.set(0);
        &[]
    }

    fn read_after(&self, link: LinkId) -> Option<Time> {
        self.first.get().filter(|(first, _)| *first == link).map(|(_, accepted)| accepted + self.hold)
    }
}

fn with_echo<F: Future<Output = ()>>(test: impl FnOnce(std::net::SocketAddr) -> F) {
    with(Echo::default(), test);
}

fn with<M: Machine<Input = (), Effect = ()> + 'static, F: Future<Output = ()>>(
    machine: M,
    test: impl FnOnce(std::net::SocketAddr) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_inputs, receiver) = tokio::sync::mpsc::unbounded_channel();
        tokio::task::spawn_local(drive(
            machine,
            Some(listener),
            Options::new(Clock::start()),
            receiver,
            |()| {},
        ));
        tokio::time::timeout(Duration::from_secs(30), test(address)).await.expect("the test ends in time");
    });
}

fn say(info: &str) -> Vec<u8> {
    Message::from(InvalidMessage { info: info.into() }).encode()
}

async fn hear_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.expect("the connection ends without a reset");
    heard
}

#[test]
fn what_is_said_in_one_piece_comes_back_in_order() {
    with_echo(|address| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let said: Vec<u8> = (0..1_000).flat_map(|n| say(&format!("{n}"))).collect();
        stream.write_all(&said).await.unwrap();
        let mut heard = vec![0; said.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert!(heard == said);
    });
}

#[test]
fn who_says_no_more_hears_the_rest_and_then_the_end() {
    with_echo(|address| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let said: Vec<u8> = (0..1_000).flat_map(|n| say(&format!("{n}"))).collect();
        stream.write_all(&said).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(hear_all(&mut stream).await == said);
    });
}

#[test]
fn the_farewell_arrives_although_the_peer_is_still_talking() {
    // A close with unread bytes in the kernel resets the connection, and the reset used to eat the reason.
    with_echo(|address| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&say("first")).await.unwrap();
        stream.write_all(&say("bye")).await.unwrap();
        for _ in 0..200 {
            if stream.write_all(&vec![b'x'; 4096]).await.is_err() {
                break;
            }
        }
        stream.shutdown().await.unwrap();
        assert_eq!(hear_all(&mut stream).await, [say("first"), say("bye")].concat());
    });
}

#[test]
fn a_line_without_end_is_refused_while_it_is_still_coming() {
    with_echo(|address| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let flood = async { while writer.write_all(&[b'x'; 4096]).await.is_ok() {} };
        let mut heard = vec![0; 512];
        tokio::select! {
            () = flood => panic!("the server hung up without a word"),
            count = reader.read(&mut heard) => heard.truncate(count.unwrap()),
        }
        assert!(String::from_utf8(heard).unwrap().contains("longer than"));
    });
}

#[test]
fn one_who_does_not_read_delays_nobody() {
    with_echo(|address| async move {
        let mut deaf = TcpStream::connect(address).await.unwrap();
        let long = say(&"x".repeat(500_000));
        for _ in 0..40 {
            deaf.write_all(&long).await.unwrap();
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&say("hello")).await.unwrap();
        let mut heard = vec![0; say("hello").len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, say("hello"));
        // What waited for the other is still whole.
        let mut all = vec![0; long.len() * 40];
        deaf.read_exact(&mut all).await.unwrap();
        assert!(all.chunks(long.len()).all(|chunk| chunk == long));
    });
}

/// Connects and writes so many bytes without a pause.
fn flood(address: std::net::SocketAddr, bytes: usize) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let line = say(&"x".repeat(1_000));
        for _ in 0..bytes / line.len() {
            std::io::Write::write_all(&mut stream, &line).unwrap();
        }
    })
}

#[test]
fn whatever_is_sent_little_is_read_before_what_follows_from_it_is_written() {
    // A link was read for as long as it had something, and the turn came to writing after megabytes.
    let listener = Listener::default();
    let most = Rc::clone(&listener.most);
    with(listener, |address| async move {
        let floods: Vec<_> = (0..3).map(|_| flood(address, 16 << 20)).collect();
        for flood in floods {
            tokio::task::spawn_blocking(|| flood.join().unwrap()).await.unwrap();
        }
        assert!(most.get() > 0 && most.get() < 1 << 20, "{} bytes in one turn", most.get());
    });
}

#[test]
fn who_is_held_back_is_read_when_the_time_has_come_and_others_meanwhile() {
    const BYTES: usize = 16 << 20;
    let hold = Duration::from_secs(2);
    let first = Rc::new(Cell::new(None));
    let listener = Listener { hold, first: Rc::clone(&first), ..Listener::default() };
    with(listener, |address| async move {
        let began = Instant::now();
        let held = flood(address, BYTES);
        while first.get().is_none() {
            tokio::task::yield_now().await;
        }
        tokio::task::spawn_blocking(move || flood(address, BYTES).join().unwrap()).await.unwrap();
        assert!(!held.is_finished(), "the others waited too");
        tokio::task::spawn_blocking(|| held.join().unwrap()).await.unwrap();
        assert!(began.elapsed() >= hold, "the held one was done after {:?}", began.elapsed());
    });
}

#[test]
fn a_thousand_that_vanish_leave_the_rest_alone() {
    with_echo(|address| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        for round in 0..1_000 {
            drop(TcpStream::connect(address).await.unwrap());
            if round % 100 == 0 {
                stream.write_all(&say("still here")).await.unwrap();
                let mut heard = vec![0; say("still here").len()];
                stream.read_exact(&mut heard).await.unwrap();
            }
        }
    });
}

#[test]
fn a_thousand_that_connect_before_any_is_accepted_are_all_accepted_in_the_end() {
    // With a queue of 128, the kernel dropped the last word of the handshake: the peer took itself for connected, said nothing,
    // and waited for ever for a server that had never heard of it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        common::boot::raise_file_limit();
        let listener = common::net::listen("127.0.0.1:0".parse().unwrap(), "--listen").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut peers = Vec::new();
        for _ in 0..1_000 {
            peers.push(tokio::spawn(TcpStream::connect(address)));
        }
        let mut connected = Vec::new();
        for peer in peers {
            let peer = tokio::time::timeout(Duration::from_secs(20), peer)
                .await
                .expect("the kernel connects at once");
            connected.push(peer.unwrap().unwrap());
        }
        for number in 0..connected.len() {
            let accepted = tokio::time::timeout(Duration::from_secs(20), listener.accept()).await;
            accepted.unwrap_or_else(|_| panic!("only {number} were accepted")).unwrap();
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_takes_little_for_one_who_does_not_read() {
    // It used to take megabytes for each: a thousand such clients filled the system's memory for TCP, and honest ones, for whom
    // none was left, waited for seconds.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = common::net::listen("127.0.0.1:0".parse().unwrap(), "--listen").await.unwrap();
        let address = listener.local_addr().unwrap().into();
        let stream = common::net::connect(&address).await.unwrap();
        let (_deaf, _) = listener.accept().await.unwrap();
        let mut taken = 0;
        while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(500), stream.writable()).await {
            taken += stream.try_write(&[b'x'; 64 << 10]).unwrap_or(0);
        }
        assert!(taken < 1 << 20, "the kernel took {taken} bytes");
    });
}
