//! A connection that says and hears lines.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use common::wire::Address;
use serde_json::Value;

use super::PATIENCE;

/// How long to wait for what may not come.
const MOMENT: Duration = Duration::from_millis(200);

/// A raw connection to a server; reads and writes block, for [`PATIENCE`] at the most.
#[derive(Debug)]
pub struct Peer {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
    /// What has come of a line whose end has not.
    partial: Vec<u8>,
}

impl From<TcpStream> for Peer {
    fn from(writer: TcpStream) -> Self {
        writer.set_read_timeout(Some(PATIENCE)).expect("a time-out that is not zero");
        writer.set_write_timeout(Some(PATIENCE)).expect("a time-out that is not zero");
        writer.set_nodelay(true).expect("a TCP socket");
        let reader = BufReader::new(writer.try_clone().expect("a socket can be shared"));
        Peer { writer, reader, partial: Vec::new() }
    }
}

impl Peer {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens there.
    pub fn connect(address: &Address) -> Self {
        Self::try_connect(address).expect("the server accepts")
    }

    /// Connects where somebody listens.
    pub fn try_connect(address: &Address) -> Option<Self> {
        TcpStream::connect((address.hostname.as_str(), address.port)).ok().map(Peer::from)
    }

    /// Connects where somebody listens and answers in time; whatever is said and heard afterwards may take as long.
    pub fn connect_within(address: &Address, patience: Duration) -> Option<Self> {
        let mut found = (address.hostname.as_str(), address.port).to_socket_addrs().ok()?;
        let mut peer = Peer::from(TcpStream::connect_timeout(&found.next()?, patience).ok()?);
        peer.give_up_after(patience);
        Some(peer)
    }

    /// From now on, whatever is said or heard may take as long.
    pub fn give_up_after(&mut self, patience: Duration) {
        self.writer.set_read_timeout(Some(patience)).expect("a time-out that is not zero");
        self.writer.set_write_timeout(Some(patience)).expect("a time-out that is not zero");
    }

    /// Says one message.
    pub fn say(&mut self, message: &Value) {
        self.say_bytes(format!("{message}\n").as_bytes());
    }

    /// Says one line as it is.
    pub fn say_line(&mut self, line: &str) {
        self.say_bytes(format!("{line}\n").as_bytes());
    }

    /// Logs in at a worker.
    pub fn log_in(&mut self, username: &str, secret: &str) {
        self.say(&serde_json::json!({"command": "LOGIN", "username": username, "secret": secret}));
        self.hear("LOGIN_SUCCESS");
    }

    /// Publishes an activity, which must be the text of a JSON object.
    pub fn publish(&mut self, activity: &str) {
        self.say_line(&format!(r#"{{"command":"ACTIVITY_MESSAGE","activity":{activity}}}"#));
    }

    /// Hears activities until one has the given `n`, and returns it.
    pub fn hear_activity(&mut self, n: u64) -> Value {
        loop {
            let broadcast = self.hear("ACTIVITY_BROADCAST");
            if broadcast["activity"]["n"] == n {
                return broadcast["activity"].clone();
            }
        }
    }

    /// Says bytes as they are.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).expect("the server takes what is said");
    }

    /// Says bytes to a server that may hang up meanwhile.
    pub fn try_say_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    /// The next line as it came, without its line end; `None` when the server has closed.
    ///
    /// # Panics
    /// When nothing comes in time, or the connection was reset.
    pub fn hear_line(&mut self) -> Option<String> {
        self.read_line().expect("the server says something, or closes in order")
    }

    /// The next message.
    pub fn hear_any(&mut self) -> Value {
        let line = self.hear_line().expect("the server says something before it closes");
        serde_json::from_str(&line).expect("servers speak JSON")
    }

    /// The next message, which must be of that command.
    pub fn hear(&mut self, command: &str) -> Value {
        let message = self.hear_any();
        assert_eq!(message["command"], command, "heard {message}");
        message
    }

    /// The next message of that command; others before it are passed over.
    pub fn hear_until(&mut self, command: &str) -> Value {
        loop {
            let message = self.hear_any();
            if message["command"] == command {
                return message;
            }
        }
    }

    /// Says one message and returns what is heard next; `None` where the server is gone.
    pub fn ask(&mut self, message: &Value) -> Option<Value> {
        self.try_say_bytes(format!("{message}\n").as_bytes()).ok()?;
        let line = self.read_line().ok()??;
        Some(serde_json::from_str(&line).expect("servers speak JSON"))
    }

    /// Whether the activity with the given `n` comes within a moment; others before it are passed over.
    ///
    /// # Panics
    /// When the connection ends.
    pub fn hears_soon(&mut self, n: u64) -> bool {
        self.writer.set_read_timeout(Some(MOMENT)).expect("a time-out that is not zero");
        let heard = loop {
            match self.read_line() {
                Ok(line) => {
                    let message: Value =
                        serde_json::from_str(&line.expect("the server goes on")).expect("servers speak JSON");
                    if message["activity"]["n"] == n {
                        break true;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    break false;
                }
                Err(error) => panic!("the connection broke: {error}"),
            }
        };
        self.writer.set_read_timeout(Some(PATIENCE)).expect("a time-out that is not zero");
        heard
    }

    /// Waits until the connection ends, in order or not; false where the server says something instead.
    pub fn is_cut_off(&mut self) -> bool {
        match self.reader.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// The server closes in order, without another word.
    pub fn expect_closed(&mut self) {
        let mut rest = String::new();
        self.reader.read_to_string(&mut rest).expect("the server closes in order");
        assert_eq!(rest, "", "the server said more than expected before it closed");
    }

    /// Ends our direction; the server's stays open.
    pub fn half_close(&self) {
        self.writer.shutdown(Shutdown::Write).expect("the connection is open");
    }

    fn read_line(&mut self) -> io::Result<Option<String>> {
        self.reader.read_until(b'\n', &mut self.partial)?;
        let line = String::from_utf8(std::mem::take(&mut self.partial)).expect("servers speak UTF-8");
        Ok((!line.is_empty()).then(|| line.trim_end_matches('\n').to_owned()))
    }
}
