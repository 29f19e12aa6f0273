//! NATS, core publish-subscribe, as a load speaks it.

use std::net::SocketAddr;

use client::cli::bench::{Frame, Protocol};

/// Clients of a NATS server, all on one subject.
#[derive(Debug)]
pub(crate) struct Nats(pub(crate) SocketAddr);

impl Protocol for Nats {
    const PUBLISHERS_RECEIVE: bool = false;

    fn hello(&mut self, _connection: usize, receives: bool) -> Result<(SocketAddr, Vec<u8>), String> {
        let connect = r#"CONNECT {"verbose":false,"pedantic":false,"lang":"rust","version":"1"}"#;
        let subscribe = if receives { "SUB b 1\r\n" } else { "" };
        Ok((self.0, format!("{connect}\r\n{subscribe}PING\r\n").into_bytes()))
    }

    fn welcome(&self, bytes: &[u8], _receives: bool) -> Result<Option<usize>, String> {
        // After INFO, which the server says by itself.
        Ok(memchr::memmem::find(bytes, b"\r\nPONG\r\n").map(|at| at + 8))
    }

    fn publish(&self, _number: u64, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(format!("PUB b {}\r\n", payload.len()).as_bytes());
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }

    fn frame(&self, bytes: &[u8]) -> Result<Option<Frame>, String> {
        let Some(line_end) = memchr::memchr(b'\n', bytes) else { return Ok(None) };
        let line = bytes[..line_end].trim_ascii_end();
        let Some(length) = line.strip_prefix(b"MSG b 1 ") else {
            return match line.starts_with(b"-ERR") {
                true => Err(format!("NATS refused: {}", String::from_utf8_lossy(line))),
                false => Ok(Some(Frame { len: line_end + 1, payload_end: None })),
            };
        };
        let end = line_end + 1 + super::number(length)?;
        Ok((bytes.len() >= end + 2).then_some(Frame { len: end + 2, payload_end: Some(end) }))
    }

    fn answer(&self, frame: &[u8]) -> &'static [u8] {
        if frame.starts_with(b"PING") { b"PONG\r\n" } else { b"" }
    }
}
