//! Is our load to be trusted? The cell `1x100` of Redis once more, published by Redis' own `redis-benchmark`.

use std::io::{ErrorKind, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use client::cli::bench::{Protocol, Usage};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::redis::Redis;
use crate::systems::{Cpus, Peer, System};
use crate::table::readable;

const SUBSCRIBERS: usize = 100;
const PAYLOAD: usize = 128;
/// What stands around a payload of this length in a delivery.
const AROUND: usize = "*3\r\n$7\r\nmessage\r\n$1\r\nb\r\n$128\r\n\r\n".len();
/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(5);

/// Measures, and says what came of it, for below the table.
///
/// # Errors
/// A sentence.
pub(crate) fn run(quick: bool, cpus: Cpus) -> Result<String, String> {
    let payloads = if quick { 10_000 } else { 50_000 };
    crate::pin(cpus.servers)?;
    let peer = Peer::start(System::Redis)?;
    crate::pin(cpus.load)?;
    let trouble = |error: std::io::Error| format!("cannot cross-check with redis-benchmark: {error}");
    let mut poll = Poll::new().map_err(trouble)?;
    let mut subscribers = subscribe(&poll, &peer).map_err(trouble)?;
    let before = Usage::of(peer.pid())?.cpu;
    let port = peer.address.port().to_string();
    let started = Instant::now();
    let mut benchmark = Command::new("redis-benchmark")
        .args(["-p", &port, "-n", &payloads.to_string(), "-c", "4", "-P", "16", "-q", "PUBLISH", "b"])
        .arg("x".repeat(PAYLOAD))
        .stdout(Stdio::null())
        .spawn()
        .map_err(trouble)?;
    let expected = payloads * SUBSCRIBERS * (PAYLOAD + AROUND);
    let received = receive(&mut poll, &mut subscribers, expected).map_err(trouble);
    let (took, after) = (started.elapsed(), Usage::of(peer.pid()));
    // It has said all that it was to, or never will.
    let _ = benchmark.kill();
    let _ = benchmark.wait();
    received?;
    let cpu = after?.cpu.saturating_sub(before);
    let deliveries = (payloads * SUBSCRIBERS) as f64;
    Ok(format!(
        "Cross-check: redis-benchmark -c 4 -P 16 (64 under way) as the publisher for Redis with 100 subscribers, 128 bytes: {} deliveries/s, \
         {:.3} µs of the server's CPU for each; to be compared with Redis in the cell 1x100, but for this: there a payload is under way until \
         every receiver has it, here until Redis has answered its publisher, so Redis may run ahead of the receivers and write more at once, \
         and what it delivers is counted but not looked at.\n\n",
        readable(deliveries / took.as_secs_f64()),
        cpu.as_secs_f64() * 1e6 / deliveries,
    ))
}

fn subscribe(poll: &Poll, peer: &Peer) -> std::io::Result<Vec<TcpStream>> {
    let mut redis = Redis(peer.address);
    let mut streams = Vec::with_capacity(SUBSCRIBERS);
    for index in 0..SUBSCRIBERS {
        let (address, hello) = redis.hello(index, true).map_err(std::io::Error::other)?;
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.write_all(&hello)?;
        let mut heard = [0; 256];
        let mut len = 0;
        while redis.welcome(&heard[..len], true).map_err(std::io::Error::other)?.is_none() {
            len += stream.read(&mut heard[len..])?;
        }
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
        streams.push(stream);
    }
    Ok(streams)
}

/// Reads until so many bytes have come, of all together.
fn receive(poll: &mut Poll, streams: &mut [TcpStream], expected: usize) -> std::io::Result<()> {
    let mut events = Events::with_capacity(SUBSCRIBERS);
    let mut buffer = vec![0; 256 << 10];
    let (mut received, mut last) = (0, Instant::now());
    while received < expected {
        // Never asleep, as the load.
        poll.poll(&mut events, Some(Duration::ZERO))?;
        if !events.is_empty() {
            last = Instant::now();
        } else if last.elapsed() > PATIENCE {
            return Err(ErrorKind::TimedOut.into());
        }
        for event in &events {
            loop {
                match streams[event.token().0].read(&mut buffer) {
                    Ok(bytes) => received += bytes,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(())
}
