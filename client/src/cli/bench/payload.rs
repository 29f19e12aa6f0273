//! What is published: a JSON object of a given size whose last bytes say which one it is, so that who receives it need not parse the rest.

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

/// Makes payloads of one size.
#[derive(Clone, Debug)]
pub(super) struct Payload(Vec<u8>);

impl Payload {
    /// Payloads of `size` bytes, or of [`LEAST_BYTES`] where that is more.
    pub(super) fn new(size: usize) -> Self {
        let filling = size.saturating_sub(LEAST_BYTES);
        let mut bytes = b"{".to_vec();
        // `"x":"…",` takes 7 bytes; white space fills what is shorter.
        match filling.checked_sub(7) {
            Some(letters) => {
                bytes.extend_from_slice(b"\"x\":\"");
                bytes.extend((0..letters).map(|index| b'a' + (index % 26) as u8));
                bytes.extend_from_slice(b"\",");
            }
            None => bytes.resize(1 + filling, b' '),
        }
        bytes.extend_from_slice(KEY);
        bytes.resize(bytes.len() + PUBLISHER_DIGITS + NUMBER_DIGITS, b'0');
        bytes.extend_from_slice(b"\"}");
        Payload(bytes)
    }

    /// The `number`th of `publisher`.
    pub(super) fn of(&mut self, publisher: usize, number: u64) -> &[u8] {
        let end = self.0.len() - 2;
        write_digits(&mut self.0[end - NUMBER_DIGITS..end], number);
        write_digits(
            &mut self.0[end - NUMBER_DIGITS - PUBLISHER_DIGITS..end - NUMBER_DIGITS],
            publisher as u64,
        );
        &self.0
    }
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
            let mut payload = Payload::new(size);
            let bytes = payload.of(17, 1_234_567_890);
            assert_eq!(bytes.len(), size);
            assert!(serde_json::from_slice::<serde_json::Map<_, _>>(bytes).is_ok());
            assert_eq!(identify(bytes), Some((17, 1_234_567_890)));
        }
        assert_eq!(identify(br#"{"type":"Note","content":"somebody else's, and long enough"}"#), None);
    }
}
