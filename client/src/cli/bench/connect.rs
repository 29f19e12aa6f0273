//! Opening many connections, some at a time: all of them say hello before the first answer is awaited, so that the server and not the
//! way to it says how long that takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Connections that are being opened at once.
const AT_ONCE: usize = 64;

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

/// Opens `count` connections. `judge` takes all that has come over one, and says how much of it was its welcome, as soon as that is whole;
/// `opened` takes the connection and what came beyond that.
///
/// # Errors
/// A sentence.
pub(super) fn open(
    count: usize,
    mut opening: impl FnMut(usize) -> Result<Opening, String>,
    mut judge: impl FnMut(usize, &[u8]) -> Result<Option<usize>, String>,
    mut opened: impl FnMut(usize, TcpStream, Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    for first in (0..count).step_by(AT_ONCE) {
        let some = first..count.min(first + AT_ONCE);
        let mut streams = Vec::with_capacity(AT_ONCE);
        for index in some.clone() {
            let Opening { address, hello } = opening(index)?;
            let stream =
                connect(address, &hello).map_err(|error| format!("cannot connect to {address}: {error}"))?;
            streams.push((stream, address));
        }
        for (index, (mut stream, address)) in some.zip(streams) {
            let mut heard = Vec::new();
            let mut piece = [0; 4_096];
            let welcome = loop {
                if let Some(bytes) = judge(index, &heard)? {
                    break bytes;
                }
                match stream.read(&mut piece) {
                    Ok(0) => return Err(format!("{address} closed a connection without a word")),
                    Ok(bytes) => heard.extend_from_slice(&piece[..bytes]),
                    Err(error) => return Err(format!("{address} does not answer: {error}")),
                }
            };
            heard.drain(..welcome);
            opened(index, stream, heard)?;
        }
    }
    Ok(())
}

fn connect(address: SocketAddr, hello: &[u8]) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(hello)?;
    Ok(stream)
}
