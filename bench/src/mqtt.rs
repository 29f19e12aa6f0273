//! MQTT 3.1.1 at quality of service 0, as a load speaks it.

use std::net::SocketAddr;

use client::cli::bench::{Frame, Protocol};

const PUBLISH: u8 = 0x30;
/// The topic, with its length.
const TOPIC: &[u8] = &[0, 1, b'b'];
const LET_IN: [u8; 4] = [0x20, 2, 0, 0];
const SUBSCRIBED: [u8; 5] = [0x90, 3, 0, 1, 0];

/// Clients of an MQTT broker, all on one topic.
#[derive(Debug)]
pub(crate) struct Mqtt(pub(crate) SocketAddr);

impl Protocol for Mqtt {
    const PUBLISHERS_RECEIVE: bool = false;

    fn hello(&mut self, connection: usize, receives: bool) -> Result<(SocketAddr, Vec<u8>), String> {
        let id = format!("bench-{connection}");
        // Version 4 of the protocol, a clean session, no keep-alive.
        let mut connect = b"\0\x04MQTT\x04\x02\0\0".to_vec();
        connect.extend_from_slice(&(id.len() as u16).to_be_bytes());
        connect.extend_from_slice(id.as_bytes());
        let mut said = vec![0x10, connect.len() as u8];
        said.extend(connect);
        if receives {
            said.extend_from_slice(&[0x82, 6, 0, 1, 0, 1, b'b', 0]);
        }
        Ok((self.0, said))
    }

    fn welcome(&self, bytes: &[u8], receives: bool) -> Result<Option<usize>, String> {
        let expected = if receives { [&LET_IN[..], &SUBSCRIBED].concat() } else { LET_IN.to_vec() };
        let heard = bytes.len().min(expected.len());
        match bytes[..heard] == expected[..heard] {
            true => Ok((heard == expected.len()).then_some(heard)),
            false => Err(format!("the MQTT broker refused: {:?}", &bytes[..heard])),
        }
    }

    fn publish(&self, _number: u64, payload: &[u8], out: &mut Vec<u8>) {
        out.push(PUBLISH);
        let mut length = TOPIC.len() + payload.len();
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(TOPIC);
        out.extend_from_slice(payload);
    }

    fn frame(&self, bytes: &[u8]) -> Result<Option<Frame>, String> {
        let (Some(kind), Some(digits)) = (bytes.first(), bytes.get(1..)) else { return Ok(None) };
        let Some(last) = digits.iter().take(4).position(|digit| digit & 0x80 == 0) else {
            return Ok(None);
        };
        let length =
            digits[..=last].iter().rev().fold(0, |length, digit| length << 7 | usize::from(digit & 0x7f));
        let len = last + 2 + length;
        let payload_end = (*kind == PUBLISH).then_some(len);
        Ok((bytes.len() >= len).then_some(Frame { len, payload_end }))
    }
}
