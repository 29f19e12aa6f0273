//! How a connection ends so that its last words arrive.
//!
//! Closing a socket that holds unread bytes sends a reset, and a reset discards what the peer has not read yet: the very
//! message that says why. So: write the farewell, close our direction, and read what the peer still sends until it closes too
//! or [`limits::LINGER`] has passed (RFC 1122, 4.2.2.13; RFC 9112, 9.6 gives the same advice to HTTP servers).

use std::io;
use std::net::Shutdown;
use std::rc::Rc;

use tokio::net::TcpStream;

use crate::limits;

/// Connections that may be closing at once. Beyond, a farewell gets one try and the connection is dropped.
const MOST: usize = 1024;

/// Counts the connections that are closing, and lets the process wait for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Closing {
    alive: Rc<()>,
}

impl Closing {
    /// Says goodbye on `stream` in the background.
    pub(super) fn close(&self, stream: Rc<TcpStream>, farewell: Vec<u8>) {
        if self.count() >= MOST {
            // One try: the kernel usually takes a line at once.
            let _ = stream.try_write(&farewell);
            return;
        }
        let alive = Rc::clone(&self.alive);
        tokio::task::spawn_local(async move {
            let _alive = alive;
            let _ = tokio::time::timeout(limits::LINGER, say_goodbye(stream, farewell)).await;
        });
    }

    /// How many connections are closing.
    pub(super) fn count(&self) -> usize {
        Rc::strong_count(&self.alive) - 1
    }
}

async fn say_goodbye(stream: Rc<TcpStream>, farewell: Vec<u8>) -> io::Result<()> {
    let mut rest = farewell.as_slice();
    while !rest.is_empty() {
        stream.writable().await?;
        rest = &rest[done(stream.try_write(rest))?..];
    }
    socket2::SockRef::from(&*stream).shutdown(Shutdown::Write)?;
    let mut discard = [0; 4096];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut discard) {
            Ok(0) => return Ok(()),
            read => done(read)?,
        };
    }
}

/// Nothing was done where it would have blocked.
fn done(outcome: io::Result<usize>) -> io::Result<usize> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        outcome => outcome,
    }
}
