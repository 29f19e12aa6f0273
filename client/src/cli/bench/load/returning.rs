//! Sessions that outlive their connections: each goes on at another worker as soon as one lets it in, and publishes again what it was given
//! no report of.

use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::super::connect::{self, Opened, Opening};
use super::super::protocol::Protocol;
use super::Load;

/// How long to wait before a session that found no worker tries again.
const PAUSE: Duration = Duration::from_millis(50);

/// How many sessions go on elsewhere before others are served, and how long a worker may take to let one in.
const RETURN_AT_ONCE: usize = 64;
const RETURN_PATIENCE: Duration = Duration::from_secs(2);

impl Load {
    /// A connection is over: the load with it, unless its session outlives it.
    pub(super) fn end(&mut self, index: usize, why: &str) -> Result<(), String> {
        if !self.lasting {
            return Err(format!("connection {index} broke: {why}"));
        }
        let link = &mut self.links[index];
        if link.away.is_none() {
            link.away = Some(Instant::now());
            let closed = self.poll.registry().deregister(&mut link.stream);
            closed.map_err(|error| format!("cannot leave a connection: {error}"))?;
            let _ = link.stream.shutdown(std::net::Shutdown::Both);
            link.begun.clear();
            link.unwritten.clear();
            (link.received, link.acknowledged) = (0, 0);
            self.ended.push(index);
        }
        Ok(())
    }

    /// Sessions whose connection has ended go on elsewhere, where they find a worker; the others try again in a moment.
    pub(super) fn go_on_elsewhere<P: Protocol>(&mut self, protocol: &mut P) -> Result<(), String> {
        if self.ended.is_empty() || Instant::now() < self.return_at {
            return Ok(());
        }
        self.meter.work();
        let (mut ended, mut openings, mut known) = (std::mem::take(&mut self.ended), Vec::new(), Vec::new());
        let at_once = RETURN_AT_ONCE.min(protocol.at_once());
        self.ended = ended.split_off(ended.len().min(at_once));
        for index in &ended {
            let Some((address, hello, published)) = protocol.again(*index) else {
                return Err(format!("the session of connection {index} cannot go on"));
            };
            openings.push(Opening { address, hello });
            known.push(published);
        }
        let judge = |_: usize, bytes: &[u8]| protocol.welcome(bytes, true);
        let results = connect::open_all(&openings, RETURN_PATIENCE, judge);
        for ((index, published), result) in ended.into_iter().zip(known).zip(results) {
            match result {
                Ok(opened) => self.is_back(protocol, index, opened, published)?,
                // Who does not answer or is full is left; there are others, and other moments.
                Err(_) => self.ended.push(index),
            }
        }
        let tried_all = self.ended.len() < at_once;
        self.return_at = Instant::now() + if tried_all { PAUSE } else { Duration::ZERO };
        Ok(())
    }

    /// The session has a connection again. Up to number `published` nothing of it need be published again.
    fn is_back<P: Protocol>(
        &mut self,
        protocol: &mut P,
        index: usize,
        opened: Opened,
        published: u64,
    ) -> Result<(), String> {
        let Opened { stream, heard, welcome } = opened;
        let io = |error: std::io::Error| format!("cannot watch connections: {error}");
        stream.set_nonblocking(true).map_err(io)?;
        let link = &mut self.links[index];
        link.stream = TcpStream::from_std(stream);
        link.had = self.ledger.had(index);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut link.stream, Token(index), interest).map_err(io)?;
        if let Some(since) = link.away.take() {
            self.absences.saturating_record(since.elapsed().as_micros() as u64);
        }
        protocol.note(index, &heard[..welcome])?;
        if index >= self.first_publisher && index - self.first_publisher < self.publishers {
            self.publish_again(protocol, index - self.first_publisher, published);
        }
        self.buffer[..heard.len() - welcome].copy_from_slice(&heard[welcome..]);
        self.take(protocol, index, heard.len() - welcome)?;
        self.write(index)
    }

    /// Publishes again what was published after that number, and not reported on.
    fn publish_again<P: Protocol>(&mut self, protocol: &mut P, publisher: usize, after: u64) {
        let out = &mut self.links[self.first_publisher + publisher].unwritten;
        let count = self.ledger.count(publisher);
        self.said_again[publisher].add(after + 1, count);
        for number in after + 1..=count {
            protocol.publish(number, self.payload.of(publisher, number), out);
        }
    }
}
