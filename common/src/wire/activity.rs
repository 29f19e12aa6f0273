//! An activity: a JSON object that belongs to the application and passes byte for byte, but for `authenticated_user`, which
//! the worker sets and nobody can forge.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::codec::nests_within;
use super::plain::is_plain_object;
use crate::limits;
use crate::user::Username;

const FIELD: &str = "authenticated_user";

/// A JSON object as its sender wrote it: key order, number spelling and escapes are kept. It is one line: a line feed between its
/// tokens, which no line of the wire holds but a text of this process may, has become a space.
///
/// Invariant: the text is one object, for every parser.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity(Box<str>);

impl Activity {
    /// Takes a text that is certainly an object, and nests no deeper than an activity may; what is not as plain as most are is none.
    pub(super) fn plain(text: &str) -> Option<Self> {
        is_plain_object(text, limits::ACTIVITY_NESTING as u32).then(|| Activity(text.into()))
    }

    /// Takes a text that must be one JSON object.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The object's text.
    pub fn get(&self) -> &str {
        &self.0
    }

    /// Whether its arrays and objects, itself included, nest at most so many levels.
    pub fn nests_within(&self, levels: usize) -> bool {
        nests_within(self.get(), levels)
    }

    /// The same object with `authenticated_user` as its first key and nowhere else on its top level, however a key of that
    /// name was spelt.
    pub fn authenticated(&self, username: &Username) -> Activity {
        let mut text = Vec::new();
        self.authenticate_into(username, &mut text);
        Activity(String::from_utf8(text).expect("it was put together from texts").into())
    }

    /// Appends the text of [`authenticated`](Self::authenticated).
    pub fn authenticate_into(&self, username: &Username, out: &mut Vec<u8>) {
        let rest = self.rest_without_field();
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(FIELD.as_bytes());
        out.extend_from_slice(b"\":");
        if username.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            out.push(b'"');
            out.extend_from_slice(username.as_str().as_bytes());
            out.push(b'"');
        } else {
            serde_json::to_writer(&mut *out, username).expect("a string serialises, and a Vec takes all");
        }
        if !rest.trim_ascii_start().starts_with('}') {
            out.push(b',');
        }
        out.extend_from_slice(rest.as_bytes());
    }

    /// Everything after the opening brace, without the field.
    fn rest_without_field(&self) -> Cow<'_, str> {
        let text = self.get();
        // Letters can only be hidden behind \u: RFC 8259 section 7 has no other escape for them.
        static NAME: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(FIELD));
        if memchr::memchr(b'\\', text.as_bytes()).is_none() && NAME.find(text.as_bytes()).is_none() {
            return Cow::Borrowed(&text[1..]);
        }
        let Entries(entries) = serde_json::from_str(text).expect("it was parsed before");
        let mut kept = entries.iter().filter(|(key, _)| !is_field(key)).peekable();
        if kept.clone().count() == entries.len() {
            return Cow::Borrowed(&text[1..]);
        }
        let mut rest = String::with_capacity(text.len());
        while let Some((key, value)) = kept.next() {
            rest.push_str(key.get());
            rest.push(':');
            rest.push_str(value.get());
            if kept.peek().is_some() {
                rest.push(',');
            }
        }
        rest.push('}');
        Cow::Owned(rest)
    }
}

fn is_field(key: &RawValue) -> bool {
    serde_json::from_str::<Cow<'_, str>>(key.get()).is_ok_and(|key| key == FIELD)
}

impl Serialize for Activity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Activity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('{') {
            return Err(D::Error::custom("an activity is a JSON object"));
        }
        if memchr::memchr(b'\n', raw.get().as_bytes()).is_none() {
            return Ok(Activity(raw.into()));
        }
        // It would end the frame. Outside strings it is white space, and inside it must be escaped (RFC 8259, 2 and 7).
        Ok(Activity(raw.get().replace('\n', " ").into()))
    }
}

/// The top-level keys and values of an object, as written.
struct Entries<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsWritten;
        impl<'de> Visitor<'de> for AsWritten {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(AsWritten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authenticated(text: &str) -> String {
        Activity::parse(text).unwrap().authenticated(&"ann".parse().unwrap()).get().to_owned()
    }

    #[test]
    fn the_rest_passes_byte_for_byte() {
        assert_eq!(authenticated("{}"), r#"{"authenticated_user":"ann"}"#);
        assert_eq!(authenticated("{ }"), r#"{"authenticated_user":"ann" }"#);
        assert_eq!(
            authenticated(r#"{"b":1e400,"a":12345678901234567890.10,"é":"\ud83d\ude00\/", "b":[ ]}"#),
            r#"{"authenticated_user":"ann","b":1e400,"a":12345678901234567890.10,"é":"\ud83d\ude00\/", "b":[ ]}"#
        );
    }

    #[test]
    fn the_authenticated_user_cannot_be_forged() {
        assert_eq!(authenticated(r#"{"authenticated_user":"eve"}"#), r#"{"authenticated_user":"ann"}"#);
        assert_eq!(
            authenticated(r#"{"a":1,"authenticated_user":"eve","authenticated_user":{"x":[1]},"b":2}"#),
            r#"{"authenticated_user":"ann","a":1,"b":2}"#
        );
        assert_eq!(
            authenticated(r#"{"\u0061uthenticated\u005Fuser":"eve","b":"\u0061"}"#),
            r#"{"authenticated_user":"ann","b":"\u0061"}"#
        );
    }

    #[test]
    fn the_name_deeper_down_or_as_a_value_is_the_applications() {
        let text = r#"{"a":{"authenticated_user":"eve"},"b":"authenticated_user"}"#;
        assert_eq!(
            authenticated(text),
            r#"{"authenticated_user":"ann","a":{"authenticated_user":"eve"},"b":"authenticated_user"}"#
        );
    }

    #[test]
    fn a_name_that_needs_escapes_is_escaped() {
        let activity = Activity::parse("{}").unwrap().authenticated(&"a\"b\\".parse().unwrap());
        assert_eq!(activity.get(), r#"{"authenticated_user":"a\"b\\"}"#);
    }

    #[test]
    fn an_activity_that_was_written_over_several_lines_is_one() {
        let activity = Activity::parse("{\n  \"a\": \"b\\n\"\r\n}").unwrap();
        assert_eq!(activity.get(), "{   \"a\": \"b\\n\"\r }");
    }

    #[test]
    fn only_objects_are_activities() {
        for wrong in ["[]", "1", "null", "\"{}\"", "{", "{\"a\"}"] {
            assert!(Activity::parse(wrong).is_err(), "{wrong}");
        }
    }
}
