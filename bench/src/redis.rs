//! Redis Pub/Sub (RESP 2), as a load speaks it.

use std::net::SocketAddr;

use client::cli::bench::{Frame, Protocol};

const DELIVERY: &[u8] = b"*3\r\n$7\r\nmessage\r\n$1\r\nb\r\n$";
const SUBSCRIBED: &[u8] = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:1\r\n";

/// Clients of a Redis server, all on one channel.
#[derive(Debug)]
pub(crate) struct Redis(pub(crate) SocketAddr);

impl Protocol for Redis {
    const PUBLISHERS_RECEIVE: bool = false;

    fn hello(&mut self, _connection: usize, receives: bool) -> Result<(SocketAddr, Vec<u8>), String> {
        let said: &[u8] =
            if receives { b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nb\r\n" } else { b"*1\r\n$4\r\nPING\r\n" };
        Ok((self.0, said.to_vec()))
    }

    fn welcome(&self, bytes: &[u8], receives: bool) -> Result<Option<usize>, String> {
        let expected = if receives { SUBSCRIBED } else { b"+PONG\r\n" };
        match bytes.starts_with(b"-") {
            true => Err(format!("Redis refused: {}", String::from_utf8_lossy(bytes))),
            false => Ok(bytes.starts_with(expected).then_some(expected.len())),
        }
    }

    fn publish(&self, _number: u64, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nb\r\n$");
        out.extend_from_slice(format!("{}\r\n", payload.len()).as_bytes());
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }

    fn frame(&self, bytes: &[u8]) -> Result<Option<Frame>, String> {
        match bytes {
            [] => Ok(None),
            [b'*', ..] => {
                let Some(rest) = bytes.get(DELIVERY.len()..) else { return Ok(None) };
                if !bytes.starts_with(DELIVERY) {
                    return Err("Redis said what is no delivery".to_owned());
                }
                let Some(line_end) = memchr::memchr(b'\n', rest) else { return Ok(None) };
                let end = DELIVERY.len() + line_end + 1 + super::number(rest[..line_end].trim_ascii_end())?;
                Ok((bytes.len() >= end + 2).then_some(Frame { len: end + 2, payload_end: Some(end) }))
            }
            [b':', ..] => {
                let line_end = memchr::memchr(b'\n', bytes);
                Ok(line_end.map(|line_end| Frame { len: line_end + 1, payload_end: None }))
            }
            _ => Err(format!("Redis refused: {}", String::from_utf8_lossy(bytes))),
        }
    }
}
