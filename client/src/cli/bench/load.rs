//! The load: one thread that publishes, receives, and checks everything.
//!
//! It must be far cheaper than the server. So it reads much at once into one buffer, finds frames by their ends, and looks at nothing in
//! them but the number at the end of the payload; one in many is parsed, and compared with what was published. Of the latencies it keeps a
//! sample where there are many.

mod returning;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use common::position::Ranges;
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::connect::{self, Opening};
use super::ledger::Ledger;
use super::meter::Meter;
use super::payload::{self, Payload};
use super::plan::{Faults, Outcome, Pace, Plan};
use super::process::{Processes, kernel_bytes};
use super::protocol::{Noted, Protocol};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// In a closed loop, one in so many latencies is kept.
const SAMPLE: u64 = 16;
/// One in so many deliveries is parsed as a whole, and the first of all.
const EXAMINED: u64 = 1_024;
/// In an open loop, so many of a publisher's payloads may be under way, if together they have no more than so many bytes.
const OPEN_WINDOW: usize = 1 << 16;
const OPEN_WINDOW_BYTES: usize = 1 << 30;
/// A capable client acknowledges after so many, or after so long.
const ACK_EVERY: u64 = 4_096;
const ACK_AFTER: Duration = Duration::from_millis(100);
/// How long nothing may come although something is under way.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs a plan. Where deliveries are lost, repeated or out of order, the outcome says so.
///
/// # Errors
/// A sentence, where there is nothing to tell: somebody was not let in, a connection broke, or what came was not what was published.
pub fn run<P: Protocol>(mut protocol: P, plan: &Plan) -> Result<Outcome, String> {
    let mut servers = Processes::new(&plan.pids)?;
    servers.look();
    let kernel = kernel_bytes();
    let started = Instant::now();
    let mut load = Load::open(&mut protocol, plan)?;
    let opened = started.elapsed();
    servers.look();
    load.settle(&mut protocol, Instant::now() + plan.settle)?;
    servers.look();
    let kernel = kernel_bytes() as i64 - kernel as i64;
    let now = Instant::now();
    load.next_due = now;
    let mut goes_on = load.go_on(&mut protocol, now + plan.warm_up)?;

    load.latency.reset();
    load.last.reset();
    let (deliveries, own_cpu, began) = (load.ledger.deliveries(), load.meter.worked(), Instant::now());
    servers.look();
    goes_on = goes_on && load.go_on(&mut protocol, began + plan.duration)?;
    servers.look();
    let own_cpu = load.meter.worked().saturating_sub(own_cpu);
    let took = began.elapsed();
    let deliveries = load.ledger.deliveries() - deliveries;
    let behind = load.behind();
    if goes_on {
        load.finish(&mut protocol)?;
    }
    let faults = Faults {
        lost: load.ledger.outstanding(),
        repeated: load.repeated,
        out_of_order: load.ledger.out_of_order(),
    };
    Ok(Outcome {
        took,
        deliveries,
        published: load.ledger.published(),
        faults,
        skipped: load.skipped,
        latency: load.latency,
        last: load.last,
        absences: load.absences,
        connections: (load.links.len(), opened),
        kernel,
        own_cpu,
        behind,
        servers: servers.used(),
        gone: servers.gone(),
    })
}

struct Load {
    poll: Poll,
    links: Vec<Link>,
    /// The link of the first publisher; the others follow.
    first_publisher: usize,
    publishers: usize,
    pace: Pace,
    payload: Payload,
    ledger: Ledger,
    latency: Histogram<u64>,
    last: Histogram<u64>,
    buffer: Vec<u8>,
    /// Links that have something to acknowledge, and when.
    acks: VecDeque<(Instant, usize)>,
    next_due: Instant,
    next_publisher: usize,
    /// Whether sessions outlive their connections; the links of those whose connection has ended; when to look for another one.
    lasting: bool,
    ended: Vec<usize>,
    return_at: Instant,
    absences: Histogram<u64>,
    /// What each publisher published again after its connection had ended: only that may come to others once more.
    said_again: Vec<Ranges>,
    skipped: u64,
    repeated: u64,
    awake: bool,
    /// When last there was nothing to receive.
    waited: Option<Instant>,
    meter: Meter,
}

struct Link {
    stream: TcpStream,
    /// What was read of a frame that is not whole.
    begun: Vec<u8>,
    unwritten: Vec<u8>,
    received: u64,
    acknowledged: u64,
    ack_waits: bool,
    /// Since when it has no connection.
    away: Option<Instant>,
    /// What it had of each publisher when it came to this connection; nothing where that is its first.
    had: Vec<u64>,
}

impl Load {
    fn open<P: Protocol>(protocol: &mut P, plan: &Plan) -> Result<Self, String> {
        let receivers = plan.subscribers;
        let (first_publisher, count) = match P::PUBLISHERS_RECEIVE {
            true => (0, receivers),
            false => (receivers, receivers + plan.publishers),
        };
        let io = |error: std::io::Error| format!("cannot watch connections: {error}");
        let poll = Poll::new().map_err(io)?;
        let hello: Vec<Opening> = (0..count)
            .map(|index| protocol.hello(index, index < receivers))
            .map(|hello| hello.map(|(address, hello)| Opening { address, hello }))
            .collect::<Result<_, _>>()?;
        let mut links = Vec::with_capacity(count);
        let at_once = protocol.at_once();
        let judge = |index, bytes: &[u8]| {
            let welcome = protocol.welcome(bytes, index < receivers)?;
            if let Some(end) = welcome {
                protocol.note(index, &bytes[..end])?;
            }
            Ok(welcome)
        };
        connect::open(
            count,
            at_once,
            |index| Ok(hello[index].clone()),
            judge,
            |index, stream, begun| {
                stream.set_nonblocking(true).map_err(io)?;
                let mut stream = TcpStream::from_std(stream);
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, Token(index), interest).map_err(io)?;
                links.push(Link {
                    stream,
                    begun,
                    unwritten: Vec::new(),
                    received: 0,
                    acknowledged: 0,
                    ack_waits: false,
                    away: None,
                    had: Vec::new(),
                });
                Ok(())
            },
        )?;
        let window = match plan.pace {
            Pace::Window { window, .. } => window,
            Pace::Rate(_) => {
                let bytes = plan.publishers * plan.payloads.bytes();
                (OPEN_WINDOW_BYTES / bytes.max(1)).clamp(1, OPEN_WINDOW)
            }
        };
        // From a microsecond to an hour.
        let histogram = || Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds make sense");
        Ok(Load {
            poll,
            links,
            first_publisher,
            publishers: plan.publishers,
            pace: plan.pace,
            payload: Payload::new(&plan.payloads),
            ledger: Ledger::new(plan.publishers, receivers, window),
            latency: histogram(),
            last: histogram(),
            buffer: vec![0; READ_BYTES],
            acks: VecDeque::new(),
            next_due: Instant::now(),
            next_publisher: 0,
            lasting: protocol.is_lasting(),
            ended: Vec::new(),
            return_at: Instant::now(),
            absences: histogram(),
            said_again: vec![Ranges::default(); plan.publishers],
            skipped: 0,
            repeated: 0,
            awake: plan.awake,
            waited: None,
            meter: Meter::default(),
        })
    }

    /// Receives until then what comes by itself, so that nothing waits for this load.
    fn settle<P: Protocol>(&mut self, protocol: &mut P, until: Instant) -> Result<(), String> {
        let mut events = Events::with_capacity(4_096);
        self.next_due = until;
        while Instant::now() < until {
            self.turn(protocol, &mut events, until)?;
            self.go_on_elsewhere(protocol)?;
        }
        Ok(())
    }

    /// Publishes and receives until then. Says whether what was published still comes.
    fn go_on<P: Protocol>(&mut self, protocol: &mut P, until: Instant) -> Result<bool, String> {
        let mut events = Events::with_capacity(4_096);
        let mut progress = (self.ledger.deliveries(), Instant::now());
        loop {
            let now = Instant::now();
            if now >= until {
                return Ok(true);
            }
            self.publish(protocol, now)?;
            self.turn(protocol, &mut events, until)?;
            self.go_on_elsewhere(protocol)?;
            if self.is_stuck(&mut progress) {
                return Ok(false);
            }
        }
    }

    /// Receives what is under way, until nothing comes any more.
    fn finish<P: Protocol>(&mut self, protocol: &mut P) -> Result<(), String> {
        let mut events = Events::with_capacity(4_096);
        let mut progress = (self.ledger.deliveries(), Instant::now());
        while self.ledger.outstanding() > 0 && !self.is_stuck(&mut progress) {
            self.next_due = Instant::now() + PATIENCE;
            self.turn(protocol, &mut events, self.next_due)?;
            self.go_on_elsewhere(protocol)?;
        }
        Ok(())
    }

    /// How much later this load publishes than it was to.
    fn behind(&self) -> Duration {
        match self.pace {
            Pace::Window { .. } => Duration::ZERO,
            Pace::Rate(_) => Instant::now().saturating_duration_since(self.next_due),
        }
    }

    /// Whether something is under way, and nothing has come for a long time.
    fn is_stuck(&self, progress: &mut (u64, Instant)) -> bool {
        let deliveries = self.ledger.deliveries();
        if deliveries != progress.0 || self.ledger.outstanding() == 0 {
            *progress = (deliveries, Instant::now());
        }
        progress.1.elapsed() >= PATIENCE
    }

    /// Publishes what is to be published by now.
    fn publish<P: Protocol>(&mut self, protocol: &mut P, now: Instant) -> Result<(), String> {
        match self.pace {
            Pace::Window { piece, .. } => {
                for publisher in 0..self.publishers {
                    while self.ledger.room(publisher) >= piece {
                        (0..piece).for_each(|_| self.publish_one(protocol, publisher, now));
                        self.write(self.first_publisher + publisher)?;
                    }
                }
            }
            Pace::Rate(rate) => {
                let interval = Duration::from_secs_f64(1.0 / rate);
                while self.next_due <= now {
                    let publisher = self.next_publisher;
                    if self.ledger.room(publisher) == 0 {
                        return Err(self.too_fast(publisher).to_owned());
                    }
                    self.publish_one(protocol, publisher, self.next_due);
                    self.write(self.first_publisher + publisher)?;
                    self.next_publisher = (publisher + 1) % self.publishers;
                    self.next_due += interval;
                }
            }
        }
        Ok(())
    }

    /// No more may be under way in an open loop: because of whom? It is the load, where it is later with publishing than all that is under
    /// way was to take, or never had to wait since the oldest of that was to be sent.
    fn too_fast(&self, publisher: usize) -> &'static str {
        let now = Instant::now();
        let oldest = self.ledger.oldest(publisher).unwrap_or(now);
        let is_late =
            now.saturating_duration_since(self.next_due) >= self.next_due.saturating_duration_since(oldest);
        match self.waited.is_some_and(|waited| waited > oldest) && !is_late {
            true => "the servers do not keep up with this --rate at all",
            false => {
                "this load itself does not keep up with this --rate at all: lessen --rate or --subscribers"
            }
        }
    }

    fn publish_one<P: Protocol>(&mut self, protocol: &mut P, publisher: usize, when: Instant) {
        self.meter.work();
        let number = self.ledger.publish(publisher, when);
        let link = &mut self.links[self.first_publisher + publisher];
        // What cannot leave now is published when the session goes on.
        if link.away.is_none() {
            protocol.publish(number, self.payload.of(publisher, number), &mut link.unwritten);
        }
    }

    /// Waits until something comes or is due, and takes it.
    fn turn<P: Protocol>(
        &mut self,
        protocol: &mut P,
        events: &mut Events,
        until: Instant,
    ) -> Result<(), String> {
        let now = Instant::now();
        let due = matches!(self.pace, Pace::Rate(_)).then_some(self.next_due);
        let ack = self.acks.front().map(|(at, _)| *at);
        let back = (!self.ended.is_empty()).then_some(self.return_at);
        let wait =
            [due, ack, back].into_iter().flatten().fold(until, Instant::min).saturating_duration_since(now);
        // The system counts in milliseconds: what is due sooner is awaited awake.
        let wait = match self.awake {
            true => Duration::ZERO,
            false => Duration::from_millis(wait.as_millis().try_into().unwrap_or(u64::MAX)),
        };
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(format!("cannot wait for connections: {error}"));
            }
            _ => {}
        }
        match events.is_empty() {
            true => {
                self.meter.rest();
                self.waited = Some(now);
            }
            false => self.meter.work(),
        }
        for event in events.iter() {
            let Token(link) = event.token();
            if event.is_writable() && !self.links[link].unwritten.is_empty() {
                self.write(link)?;
            }
            if event.is_readable() {
                self.read(protocol, link)?;
            }
        }
        let now = Instant::now();
        while let Some((_, link)) = self.acks.front().copied().filter(|(at, _)| *at <= now) {
            self.acks.pop_front();
            self.links[link].ack_waits = false;
            self.acknowledge(protocol, link)?;
        }
        Ok(())
    }

    fn read<P: Protocol>(&mut self, protocol: &mut P, index: usize) -> Result<(), String> {
        while self.links[index].away.is_none() {
            let link = &mut self.links[index];
            let begun = link.begun.len();
            self.buffer[..begun].copy_from_slice(&link.begun);
            let read = match link.stream.read(&mut self.buffer[begun..]) {
                Ok(0) => return self.end(index, "the server closed it"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return self.end(index, &error.to_string()),
            };
            self.take(protocol, index, begun + read)?;
            // Less than there was room for: nothing more is there.
            if begun + read < self.buffer.len() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes the first `len` bytes of the buffer, which came over link `index`.
    fn take<P: Protocol>(&mut self, protocol: &mut P, index: usize, len: usize) -> Result<(), String> {
        let now = Instant::now();
        let bytes = &self.buffer[..len];
        let mut at = 0;
        let mut stays = true;
        let mut noted = Noted::New;
        while let Some(frame) = protocol.frame(&bytes[at..])? {
            let whole = &bytes[at..at + frame.len];
            if self.lasting {
                noted = protocol.note(index, whole)?;
                stays &= noted != Noted::Leaves;
            }
            match frame.payload_end.map(|end| (end, payload::identify(&whole[..end]))) {
                Some((end, Some((publisher, number)))) => {
                    self.links[index].received += 1;
                    let Some(delivered) = self.ledger.deliver(index, publisher, number, now)? else {
                        let may_be = self.may_come_again(index, publisher, number, noted);
                        *(if may_be { &mut self.skipped } else { &mut self.repeated }) += 1;
                        at += frame.len;
                        continue;
                    };
                    if self.ledger.deliveries() % EXAMINED == 1 {
                        protocol.examine(whole, end, self.payload.of(publisher, number))?;
                    }
                    let all = matches!(self.pace, Pace::Rate(_));
                    let micros = delivered.after.as_micros() as u64;
                    if all || (number + index as u64).is_multiple_of(SAMPLE) {
                        self.latency.saturating_record(micros);
                    }
                    if delivered.everywhere {
                        self.last.saturating_record(micros);
                    }
                }
                // Somebody else's.
                Some((_, None)) => self.links[index].received += 1,
                None => {
                    let answer = protocol.answer(whole);
                    self.links[index].unwritten.extend_from_slice(answer);
                }
            }
            at += frame.len;
        }
        let link = &mut self.links[index];
        link.begun.clear();
        link.begun.extend_from_slice(&bytes[at..]);
        if link.begun.len() > READ_BYTES / 2 {
            return Err("a frame is longer than this benchmark reads".to_owned());
        }
        if !stays {
            return self.end(index, "the worker sent it away");
        }
        if link.received - link.acknowledged >= ACK_EVERY {
            self.acknowledge(protocol, index)?;
        } else if link.received > link.acknowledged && !link.ack_waits {
            link.ack_waits = true;
            self.acks.push_back((now + ACK_AFTER, index));
        }
        if !self.links[index].unwritten.is_empty() {
            self.write(index)?;
        }
        Ok(())
    }

    /// Whether something may come that this receiver has: it had it when it came to this worker, which got it later than the receiver
    /// itself, or under another id, as its sender has said it again at another worker. Over one connection nothing may come twice.
    fn may_come_again(&self, index: usize, publisher: usize, number: u64, noted: Noted) -> bool {
        let had = self.links[index].had.get(publisher).is_some_and(|had| number <= *had);
        let said_again = self.said_again[publisher].contains(number);
        had && (noted == Noted::Before || noted == Noted::New && said_again)
    }

    fn acknowledge<P: Protocol>(&mut self, protocol: &mut P, index: usize) -> Result<(), String> {
        let link = &mut self.links[index];
        if link.received > link.acknowledged && link.away.is_none() {
            self.meter.work();
            link.acknowledged = link.received;
            if protocol.acknowledge(link.received, &mut link.unwritten) {
                return self.write(index);
            }
        }
        Ok(())
    }

    fn write(&mut self, index: usize) -> Result<(), String> {
        let Link { stream, unwritten, away, .. } = &mut self.links[index];
        while !unwritten.is_empty() && away.is_none() {
            match stream.write(unwritten) {
                Ok(written) => {
                    unwritten.drain(..written);
                    common::net::acknowledge_at_once(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return self.end(index, &error.to_string()),
            }
        }
        Ok(())
    }
}
