//! A load for counting instructions: the same steps each time, however busy the machine is. Clients log in, and stay until nobody has
//! anything to say; then one of them publishes so many pieces of 64 activities, each piece in one write, and the next one when all clients
//! have the one before. What is counted begins after the log-ins and ends before the log-outs: `callgrind_control` is told.
//!
//! Usage: `lockstep WORKER PID SUBSCRIBERS PIECES`, with the PID of a worker that runs under callgrind. `bench/instructions` does it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use client::cli::bench::{As, Freshet, Protocol};
use common::user::Username;
use common::wire::Message;

/// Activities that are published at once; a worker under full load writes nearly as many at once.
const PIECE: u64 = 64;
/// Clients acknowledge after so many pieces: after as many activities as the usual ones, and never because some time has passed.
const PIECES_PER_ACK: u64 = 4_096 / PIECE;
const BYTES: usize = 128;
/// So long after the log-ins everybody has been told who is there, and nobody has anything to say.
const SETTLED: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [worker, pid, subscribers, pieces] = &arguments[..] else {
        return Err("lockstep WORKER PID SUBSCRIBERS PIECES".into());
    };
    let identity = As { username: Username::anonymous(), secret: None, classic: false };
    let mut freshet = Freshet::at(&[worker.parse()?], identity, None)?;
    let mut clients = Vec::new();
    for index in 0..subscribers.parse()? {
        clients.push(Client::log_in(&mut freshet, index)?);
    }
    std::thread::sleep(SETTLED);
    for client in &mut clients {
        client.hear_what_is_there(&freshet)?;
    }
    control("--zero", pid)?;
    let pieces: u64 = pieces.parse()?;
    for piece in 1..=pieces {
        clients[0].publish(&freshet, piece)?;
        for client in &mut clients {
            client.hear(&freshet, |client| client.received >= piece * PIECE)?;
            if piece.is_multiple_of(PIECES_PER_ACK) {
                client.acknowledge(&freshet)?;
            }
        }
    }
    // Whoever has published is told that all have it, as far as they have acknowledged it.
    let acknowledged = pieces - pieces % PIECES_PER_ACK;
    clients[0].hear(&freshet, |client| client.reported >= acknowledged * PIECE)?;
    control("--dump", pid)?;
    println!("{}", pieces * PIECE);
    Ok(())
}

struct Client {
    stream: TcpStream,
    heard: Vec<u8>,
    received: u64,
    /// Up to where it was told that all have what it published.
    reported: u64,
}

impl Client {
    fn log_in(freshet: &mut Freshet, index: usize) -> Result<Self, Failure> {
        let (address, hello) = freshet.hello(index, true)?;
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&hello)?;
        let mut client = Client { stream, heard: Vec::new(), received: 0, reported: 0 };
        loop {
            if let Some(welcome) = freshet.welcome(&client.heard, true)? {
                client.heard.drain(..welcome);
                return Ok(client);
            }
            client.read()?;
        }
    }

    fn publish(&mut self, freshet: &Freshet, piece: u64) -> Result<(), Failure> {
        let filling = "x".repeat(BYTES - r#"{"x":""}"#.len());
        let payload = format!(r#"{{"x":"{filling}"}}"#);
        let mut said = Vec::new();
        for number in (piece - 1) * PIECE + 1..=piece * PIECE {
            freshet.publish(number, payload.as_bytes(), &mut said);
        }
        Ok(self.stream.write_all(&said)?)
    }

    fn acknowledge(&mut self, freshet: &Freshet) -> Result<(), Failure> {
        let mut said = Vec::new();
        freshet.acknowledge(self.received, &mut said);
        Ok(self.stream.write_all(&said)?)
    }

    /// Waits for what comes until it is enough.
    fn hear(&mut self, freshet: &Freshet, is_enough: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        while !is_enough(self) {
            self.read()?;
            self.take(freshet)?;
        }
        Ok(())
    }

    /// Takes what has come already.
    fn hear_what_is_there(&mut self, freshet: &Freshet) -> Result<(), Failure> {
        self.stream.set_nonblocking(true)?;
        loop {
            self.take(freshet)?;
            match self.read() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.stream.set_nonblocking(false)?)
    }

    fn take(&mut self, freshet: &Freshet) -> Result<(), Failure> {
        let mut taken = 0;
        while let Some(frame) = freshet.frame(&self.heard[taken..])? {
            match Message::decode(self.heard[taken..][..frame.len].trim_ascii_end())? {
                Message::ActivityBroadcast(_) => self.received += 1,
                Message::ActivitySendingReport(report) => self.reported = report.activity_seq.0,
                _ => {}
            }
            taken += frame.len;
        }
        self.heard.drain(..taken);
        Ok(())
    }

    fn read(&mut self) -> std::io::Result<()> {
        let mut piece = [0; 65_536];
        let bytes = self.stream.read(&mut piece)?;
        self.heard.extend_from_slice(&piece[..bytes]);
        if bytes == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

fn control(what: &str, pid: &str) -> Result<(), Failure> {
    let output = Command::new("callgrind_control").args([what, pid]).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}
