//! Telling at a glance that a text is one JSON object, where it is a plain one.
//!
//! Nearly all activities are: no escapes, no control characters, a few levels. One is told by a walk from token to token, for a fraction of
//! what it takes to parse. **Invariant.** What is called plain here is an object for every parser (RFC 8259). Of everything else nothing is
//! said: that is for the parser to judge.

/// Whether `text` is a JSON object with at most `levels` levels of arrays and objects (itself included), white space around it none, and no
/// escape and no control character in it.
pub(super) fn is_plain_object(text: &str, levels: u32) -> bool {
    let bytes = text.as_bytes();
    // Without either, a string ends at the next quotation mark. All bytes are looked at, several at a time.
    let is_odd = |byte: u8| (byte < b' ') | (byte == b'\\');
    if bytes.iter().fold(false, |odd, byte| odd | is_odd(*byte)) || !text.starts_with('{') {
        return false;
    }
    Walk { bytes, at: 0 }.object(levels.min(u128::BITS)).is_some()
}

/// Each step goes past something, or gives none where that is not there.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn object(mut self, levels: u32) -> Option<()> {
        // What we are inside of: a bit for each level, 1 for an object, the innermost last.
        let (mut inside, mut depth) = (0u128, 0);
        loop {
            // A value begins here; a key before it has been passed.
            match self.peek()? {
                bracket @ (b'{' | b'[') => {
                    self.at += 1;
                    depth += 1;
                    if depth > levels {
                        return None;
                    }
                    let is_object = bracket == b'{';
                    inside = inside << 1 | u128::from(is_object);
                    if self.peek()? != if is_object { b'}' } else { b']' } {
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b'"' => self.string()?,
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                _ => self.number()?,
            }
            // It has ended, and with it perhaps what it was in.
            loop {
                let is_object = inside & 1 == 1;
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        self.space();
                        if is_object {
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return None,
                }
                self.at += 1;
                inside >>= 1;
                depth -= 1;
                if depth == 0 {
                    return (self.at == self.bytes.len()).then_some(());
                }
            }
        }
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while self.bytes.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
    }

    fn key(&mut self) -> Option<()> {
        self.string()?;
        (self.peek()? == b':').then(|| self.at += 1)
    }

    fn string(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.at..)?.strip_prefix(b"\"")?;
        self.at += memchr::memchr(b'"', rest)? + 2;
        Some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<()> {
        self.skip(|byte| byte == b'-', 1);
        if self.skip(|byte| byte == b'0', 1) == 0 {
            self.digits()?;
        }
        if self.skip(|byte| byte == b'.', 1) == 1 {
            self.digits()?;
        }
        if self.skip(|byte| matches!(byte, b'e' | b'E'), 1) == 1 {
            self.skip(|byte| matches!(byte, b'+' | b'-'), 1);
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        (self.skip(|byte| byte.is_ascii_digit(), usize::MAX) > 0).then_some(())
    }

    /// Goes past at most so many bytes of a kind. Returns how many.
    fn skip(&mut self, kind: impl Fn(u8) -> bool, most: usize) -> usize {
        let skipped = self.bytes[self.at..].iter().take(most).take_while(|byte| kind(**byte)).count();
        self.at += skipped;
        skipped
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn parses(text: &str) -> bool {
        serde_json::from_str::<Map<String, Value>>(text).is_ok()
    }

    #[test]
    fn plain_objects_are_known_and_no_others() {
        for plain in [
            "{}",
            "{ }",
            r#"{"a":1}"#,
            r#"{ "a" : [ 1 , -0.5e+3, true,false , null,"" ] , "é":{"b":{}, "c":[]}}"#,
            r#"{"a":0,"b":-1E5,"c":10.01,"a":"[{,:}]"}"#,
        ] {
            assert!(is_plain_object(plain, 8) && parses(plain), "{plain}");
        }
        for other in [
            "",
            "[]",
            "1",
            "{",
            "}",
            "{}}",
            "{}{}",
            " {}",
            "{} ",
            "{]",
            "[}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\" 1}",
            "{a:1}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":1e}",
            "{\"a\":-}",
            "{\"a\":+1}",
            "{\"a\":truE}",
            "{\"a\":nul}",
            "{\"a\":[1,]}",
            "{\"a\":[,1]}",
            "{\"a\":[1 2]}",
            "{\"a\":\"b}",
            "{\"a\":1\"b\":2}",
            "{\"a\":[}",
            "{\"a\":{]}",
            "{\"a\":1]",
            "{\"a\":tru\u{e9}}",
            "{1:2}",
            "{\"a\"::1}",
            "{\"a\":1 1}",
        ] {
            assert!(!is_plain_object(other, 8), "{other}");
        }
        // Well-formed, but not for us to tell.
        for odd in ["{\"a\":\"\\n\"}", "{\t}", "{\"a\":[[1]]}"] {
            assert!(!is_plain_object(odd, 2) && parses(odd), "{odd}");
        }
    }

    #[test]
    fn as_many_levels_as_are_said_are_plain() {
        for levels in [1, 2, 127, 128] {
            let nested =
                |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
            let text = if levels == 1 { "{}".to_owned() } else { nested(levels) };
            assert!(is_plain_object(&text, levels as u32), "{levels}");
            assert!(!is_plain_object(&nested(levels + 1), levels as u32), "{levels}");
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_is_an_object_for_a_parser(text in r#"\{[{}\[\]",:0-9.eE+a tfn\\-]{0,24}\}"#) {
            prop_assert!(!is_plain_object(&text, 99) || parses(&text), "{}", text);
        }

        #[test]
        fn what_a_serialiser_writes_is_plain_unless_it_has_escapes(
            keys in proptest::collection::vec("[a-zé ]{0,5}", 0..6), numbers in proptest::collection::vec(any::<f64>(), 6),
        ) {
            let nested = Value::from(numbers.clone());
            let object: Map<String, Value> = keys.iter().zip(numbers).flat_map(|(key, number)| {
                [(key.clone(), number.into()), (format!("{key}s"), nested.clone()), (format!("{key}o"), key.clone().into())]
            }).collect();
            let text = Value::from(object).to_string();
            prop_assert!(is_plain_object(&text, 3), "{}", text);
        }
    }
}
