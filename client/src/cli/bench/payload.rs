//! What is published: JSON objects whose last bytes say which one it is, so that who receives them need not parse the rest.

use std::sync::Arc;

/// What stands before the number.
const KEY: &[u8] = b"\"n\":\"";
const PUBLISHER_DIGITS: usize = 4;
const NUMBER_DIGITS: usize = 10;
/// Key, digits, and the two characters that follow them.
const TAIL: usize = KEY.len() + PUBLISHER_DIGITS + NUMBER_DIGITS + 2;

/// The smallest payload, in bytes.
pub const LEAST_BYTES: usize = 1 + TAIL;

/// Publishers that can be told apart.
pub const PUBLISHERS: usize = 9_999;

/// What is to be published.
#[derive(Clone, Debug)]
pub enum Payloads {
    /// Objects of so many bytes, or of [`LEAST_BYTES`] where that is more.
    OfSize(usize),
    /// These JSON objects in turn, each with its number as a last key, `n`.
    Objects(Arc<[Vec<u8>]>),
}

impl Payloads {
    /// How many bytes one has, on average.
    pub fn bytes(&self) -> usize {
        let payload = Payload::new(self);
        payload.0.iter().map(Vec::len).sum::<usize>() / payload.0.len()
    }
}

/// Makes payloads.
#[derive(Clone, Debug)]
pub(super) struct Payload(Vec<Vec<u8>>);

impl Payload {
    /// Makes `payloads`.
    pub(super) fn new(payloads: &Payloads) -> Self {
        Payload(match payloads {
            Payloads::OfSize(size) => vec![numbered(filled(*size))],
            Payloads::Objects(objects) => objects.iter().cloned().map(numbered).collect(),
        })
    }

    /// The `number`th of `publisher`.
    pub(super) fn of(&mut self, publisher: usize, number: u64) -> &[u8] {
        let templates = self.0.len() as u64;
        let payload = &mut self.0[(number % templates) as usize];
        let end = payload.len() - 2;
        write_digits(&mut payload[end - NUMBER_DIGITS..end], number);
        write_digits(
            &mut payload[end - NUMBER_DIGITS - PUBLISHER_DIGITS..end - NUMBER_DIGITS],
            publisher as u64,
        );
        payload
    }
}

/// An object that has `size` bytes when it is numbered.
fn filled(size: usize) -> Vec<u8> {
    let filling = size.saturating_sub(LEAST_BYTES);
    let mut bytes = b"{".to_vec();
    // `"x":"…",` takes 7 bytes; white space fills what is shorter.
    match filling.checked_sub(7) {
        Some(letters) => {
            bytes.extend_from_slice(b"\"x\":\"");
            bytes.extend((0..letters).map(|index| b'a' + (index % 26) as u8));
            bytes.extend_from_slice(b"\"}");
        }
        None => {
            bytes.resize(1 + filling, b' ');
            bytes.push(b'}');
        }
    }
    bytes
}

/// The object with a number to be filled in as its last key.
fn numbered(mut object: Vec<u8>) -> Vec<u8> {
    assert_eq!(object.pop(), Some(b'}'), "a payload is an object");
    if object.trim_ascii_end() != b"{" {
        object.push(b',');
    }
    object.extend_from_slice(KEY);
    object.resize(object.len() + PUBLISHER_DIGITS + NUMBER_DIGITS, b'0');
    object.extend_from_slice(b"\"}");
    object
}

/// Whose payload ends here, and its number; `None` where it is nobody's.
pub(super) fn identify(up_to_end: &[u8]) -> Option<(usize, u64)> {
    let tail = up_to_end.last_chunk::<TAIL>()?;
    let digits = tail.strip_prefix(KEY)?.strip_suffix(b"\"}")?;
    let (publisher, number) = digits.split_at(PUBLISHER_DIGITS);
    Some((read_digits(publisher)? as usize, read_digits(number)?))
}

fn write_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn read_digits(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then_some(number * 10 + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_its_size_is_an_object_and_says_which_it_is() {
        for size in [LEAST_BYTES, LEAST_BYTES + 1, LEAST_BYTES + 6, LEAST_BYTES + 7, 128, 1_024] {
            let mut payload = Payload::new(&Payloads::OfSize(size));
            let bytes = payload.of(17, 1_234_567_890);
            assert_eq!(bytes.len(), size);
            assert!(serde_json::from_slice::<serde_json::Map<_, _>>(bytes).is_ok());
            assert_eq!(identify(bytes), Some((17, 1_234_567_890)));
        }
        let objects = [&br#"{"a":{}}"#[..], b"{}"].map(<[u8]>::to_vec);
        let mut payload = Payload::new(&Payloads::Objects(Arc::new(objects)));
        assert_eq!(payload.of(3, 4), br#"{"a":{},"n":"00030000000004"}"#);
        assert_eq!(payload.of(3, 5), br#"{"n":"00030000000005"}"#);
        assert_eq!(identify(br#"{"type":"Note","content":"somebody else's, and long enough"}"#), None);
    }
}
