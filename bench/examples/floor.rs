//! The floor under "one activity to N connections": what that takes with nothing but the kernel, one bare `send` for each connection and
//! nothing but `recv` at the other end. No server that sends to each client by itself can be faster.
//!
//!     cargo run --release -p bench --example floor -- --connections 10000 --bytes 308
//!
//! Two processes, each on a CPU of its own: as a server and its load are, and because one process may not have so many files open.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use mio::{Events, Interest, Poll, Token};
use rustix::thread::CpuSet;
use rustix::time::{ClockId, clock_gettime};

/// Sends so many bytes to so many connections, one after the other, and says how long that takes
#[derive(Debug, Parser)]
struct Args {
    /// How many connections
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    connections: u32,

    /// How many bytes are sent to each; an activity of 128 bytes is a frame of some 308
    #[arg(long, value_name = "BYTES", default_value_t = 308, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    bytes: u32,

    /// How many rounds
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,

    /// The CPU that sends
    #[arg(long, value_name = "CPU", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..1_024))]
    servers_cpu: u32,

    /// The CPU that receives
    #[arg(long, value_name = "CPU", default_value_t = 1, value_parser = clap::value_parser!(u32).range(..1_024))]
    load_cpu: u32,

    /// Be the process that receives: connect here
    #[arg(long, hide = true)]
    receive_from: Option<SocketAddr>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    common::boot::raise_file_limit();
    let outcome = match args.receive_from {
        Some(sender) => pin(args.load_cpu).and_then(|()| receive(&args, sender)),
        None => pin(args.servers_cpu).and_then(|()| send(&args)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            common::boot::note(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The other process, which ends with this one.
struct Receiver {
    child: Child,
    /// It says one byte whenever a round has arrived.
    says: ChildStdout,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Receiver {
    fn start(address: SocketAddr) -> std::io::Result<Receiver> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1)).args(["--receive-from", &address.to_string()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let says = child.stdout.take().expect("standard output is piped");
        Ok(Receiver { child, says })
    }
}

fn send(args: &Args) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut receiver = Receiver::start(listener.local_addr()?)?;
    let mut streams = Vec::new();
    listener.set_nonblocking(true)?;
    while streams.len() < args.connections as usize {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                streams.push(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => match receiver.child.try_wait()? {
                Some(_) => return Err(std::io::Error::other("the receiver has ended")),
                None => std::thread::sleep(Duration::from_millis(1)),
            },
            Err(error) => return Err(error),
        }
    }
    let message = vec![b'x'; args.bytes as usize];
    let (mut rounds, mut cpu) = (Vec::new(), Duration::ZERO);
    // The first one warms up.
    for round in 0..=args.rounds {
        let (started, before) = (Instant::now(), cpu_time());
        for stream in &mut streams {
            stream.write_all(&message)?;
        }
        let used = cpu_time() - before;
        receiver.says.read_exact(&mut [0])?;
        if round > 0 {
            rounds.push(started.elapsed());
            cpu += used;
        }
    }
    rounds.sort();
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    println!(
        "{} bytes to each of {} connections, {} rounds: {:.1} ms until the last has it ({:.1} to {:.1}), {:.2} µs of CPU for a send",
        args.bytes,
        args.connections,
        args.rounds,
        ms(rounds[rounds.len() / 2]),
        ms(rounds[0]),
        ms(rounds[rounds.len() - 1]),
        cpu.as_secs_f64() * 1e6 / f64::from(args.connections) / f64::from(args.rounds),
    );
    Ok(())
}

/// Receives until the sender is gone. It never sleeps, so that nobody pays for waking it.
fn receive(args: &Args, sender: SocketAddr) -> std::io::Result<()> {
    let mut poll = Poll::new()?;
    let mut streams = Vec::new();
    for index in 0..args.connections as usize {
        let stream = TcpStream::connect(sender)?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
        streams.push(stream);
    }
    let (mut events, mut buffer) = (Events::with_capacity(1_024), vec![0; 128 << 10]);
    let round = u64::from(args.connections) * u64::from(args.bytes);
    let (mut received, mut said) = (0, 0);
    loop {
        poll.poll(&mut events, Some(Duration::ZERO))?;
        for event in &events {
            match streams[event.token().0].read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(bytes) => received += bytes as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        while received / round > said {
            std::io::stdout().write_all(b"!")?;
            std::io::stdout().flush()?;
            said += 1;
        }
    }
}

fn pin(cpu: u32) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu as usize);
    rustix::thread::sched_setaffinity(None, &set)
        .map_err(|error| std::io::Error::other(format!("cannot run on CPU {cpu}: {error}")))
}

/// What this thread has used.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("it is not negative")
}
