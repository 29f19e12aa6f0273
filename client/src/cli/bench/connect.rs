//! Opening many connections, some at a time: all of them say hello before the first answer is awaited, so that the server and not the
//! way to it says how long that takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a connection begins.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    /// Where it goes.
    pub(super) address: SocketAddr,
    /// What is said first.
    pub(super) hello: Vec<u8>,
}

/// Opens `count` connections, so many of them `at_once`. `judge` takes all that has come over one, and says how much of it was its welcome,
/// as soon as that is whole; `opened` takes the connection and what came beyond that.
///
/// # Errors
/// A sentence.
pub(super) fn open(
    count: usize,
    at_once: usize,
    mut opening: impl FnMut(usize) -> Result<Opening, String>,
    mut judge: impl FnMut(usize, &[u8]) -> Result<Option<usize>, String>,
    mut opened: impl FnMut(usize, TcpStream, Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    for first in (0..count).step_by(at_once) {
        let some: Vec<usize> = (first..count.min(first + at_once)).collect();
        let openings = some.iter().map(|index| opening(*index)).collect::<Result<Vec<_>, _>>()?;
        let results = open_all(&openings, PATIENCE, |at, bytes| judge(some[at], bytes));
        for (index, result) in some.iter().zip(results) {
            let Opened { stream, mut heard, welcome } = result?;
            heard.drain(..welcome);
            opened(*index, stream, heard)?;
        }
    }
    Ok(())
}

/// A connection that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) stream: TcpStream,
    /// All that has come.
    pub(super) heard: Vec<u8>,
    /// How much of it was the welcome.
    pub(super) welcome: usize,
}

/// Opens all of these at once, each for itself. An answer may take as long as `patience`. `judge` is as that of [`open`], and counts from
/// 0.
pub(super) fn open_all(
    openings: &[Opening],
    patience: Duration,
    mut judge: impl FnMut(usize, &[u8]) -> Result<Option<usize>, String>,
) -> Vec<Result<Opened, String>> {
    let streams: Vec<_> =
        openings.iter().map(|Opening { address, hello }| connect(*address, hello, patience)).collect();
    let mut welcome = |at: usize, stream: std::io::Result<TcpStream>| {
        let address = openings[at].address;
        let mut stream = stream.map_err(|error| format!("cannot connect to {address}: {error}"))?;
        let (mut heard, mut piece) = (Vec::new(), [0; 4_096]);
        loop {
            if let Some(welcome) = judge(at, &heard)? {
                return Ok(Opened { stream, heard, welcome });
            }
            match stream.read(&mut piece) {
                Ok(0) => return Err(format!("{address} closed a connection without a word")),
                Ok(bytes) => heard.extend_from_slice(&piece[..bytes]),
                Err(error) => return Err(format!("{address} does not answer: {error}")),
            }
        }
    };
    streams.into_iter().enumerate().map(|(at, stream)| welcome(at, stream)).collect()
}

fn connect(address: SocketAddr, hello: &[u8], patience: Duration) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(hello)?;
    Ok(stream)
}
