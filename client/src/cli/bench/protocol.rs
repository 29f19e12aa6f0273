//! What a load generator must know of a protocol.

use std::net::SocketAddr;

/// A publish-subscribe protocol, as far as a load speaks it. Connections are numbered from 0.
pub trait Protocol {
    /// Whether who publishes receives as well. Else publishers need connections of their own.
    const PUBLISHERS_RECEIVE: bool;

    /// Where a connection goes, and what is said there first. One that `receives` subscribes, too.
    ///
    /// # Errors
    /// A sentence.
    fn hello(&mut self, connection: usize, receives: bool) -> Result<(SocketAddr, Vec<u8>), String>;

    /// How many connections say hello before the first answer is awaited.
    fn at_once(&self) -> usize {
        64
    }

    /// Whether `bytes`, all that was said to a connection so far, ends its hello: how long that was. `None`: more must follow.
    ///
    /// # Errors
    /// A sentence, where it was refused.
    fn welcome(&self, bytes: &[u8], receives: bool) -> Result<Option<usize>, String>;

    /// Appends what publishes `payload` as the `number`th (from 1) of a connection.
    fn publish(&self, number: u64, payload: &[u8], out: &mut Vec<u8>);

    /// The first frame of `bytes`; `None` where it is not whole yet.
    ///
    /// # Errors
    /// A sentence, where it is a refusal or no frame.
    fn frame(&self, bytes: &[u8]) -> Result<Option<Frame>, String>;

    /// Appends what acknowledges that so many were received over a connection. Says whether there is such a thing.
    fn acknowledge(&self, _received: u64, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Whether sessions outlive their connections. Then everything that comes is [noted](Self::note), and a connection that ends is opened
    /// [again](Self::again).
    fn is_lasting(&self) -> bool {
        false
    }

    /// A frame has come over a connection, its welcome first.
    ///
    /// # Errors
    /// A sentence, where something is lost.
    fn note(&mut self, _connection: usize, _frame: &[u8]) -> Result<Noted, String> {
        Ok(Noted::New)
    }

    /// Looks at the whole of a delivery, whose payload ends at `end`: whether it is what makes `payload` known, and nothing else. It is
    /// done for one in many, as it costs more than all the rest.
    ///
    /// # Errors
    /// A sentence, where something in it is not as it should be.
    fn examine(&self, frame: &[u8], end: usize, payload: &[u8]) -> Result<(), String> {
        let is_the_same = frame[..end].ends_with(payload);
        match is_the_same && serde_json::from_slice::<serde_json::Map<_, _>>(payload).is_ok() {
            true => Ok(()),
            false => Err(not_published(frame, payload)),
        }
    }

    /// Where the session of a connection that has ended goes on, what is said first there, and up to which number its payloads need not be
    /// published again.
    fn again(&mut self, _connection: usize) -> Option<(SocketAddr, Vec<u8>, u64)> {
        None
    }

    /// What a frame that is no delivery asks for, if anything.
    fn answer(&self, _frame: &[u8]) -> &'static [u8] {
        b""
    }
}

/// What to make of a frame that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It did not come before.
    New,
    /// The same came before, over an earlier connection.
    Before,
    /// The same came before, over this very connection.
    Again,
    /// It ends the connection.
    Leaves,
}

/// What to say of a delivery that is not what was published.
pub(super) fn not_published(frame: &[u8], payload: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    format!("{} was delivered, which is not what was published: {}", text(frame), text(payload))
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its length in bytes.
    pub len: usize,
    /// Where the payload ends that it delivers; `None` where it is something else.
    pub payload_end: Option<usize>,
}
