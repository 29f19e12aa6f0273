//! Field types that several messages share.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

/// Where a coordinator listens, and where everybody looks for one, unless told otherwise.
pub const DEFAULT_COORDINATOR: &str = "127.0.0.1:3780";

/// A duration on the wire: whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(#[serde(deserialize_with = "number")] pub u64);

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Millis> for Duration {
    fn from(millis: Millis) -> Self {
        Duration::from_millis(millis.0)
    }
}

/// Where a server listens. In messages: two fields, `hostname` (or `host`) and `port` (a number; a string is accepted).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "LooseAddress")]
pub struct Address {
    /// A name or an IP address (IPv6 without brackets); 1 to 255 bytes.
    pub hostname: String,
    /// 1 to 65535.
    pub port: u16,
}

/// What is wrong with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No host, too long, or with spaces.
    #[error("a hostname has 1 to 255 characters and no spaces")]
    Host,
    /// No port, or out of range.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// Not `host:port`.
    #[error("an address is written host:port, for example 127.0.0.1:3780 or [::1]:3780")]
    Form,
}

impl Address {
    /// Checks and joins the two parts.
    pub fn new(hostname: impl Into<String>, port: u16) -> Result<Self, AddressError> {
        let hostname = hostname.into();
        let plain = |c: char| !c.is_whitespace() && !c.is_control();
        if hostname.is_empty() || hostname.len() > 255 || !hostname.chars().all(plain) {
            return Err(AddressError::Host);
        }
        if port == 0 {
            return Err(AddressError::Port);
        }
        Ok(Address { hostname, port })
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        Address { hostname: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hostname.contains(':') {
            write!(f, "[{}]:{}", self.hostname, self.port)
        } else {
            write!(f, "{}:{}", self.hostname, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (hostname, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:").ok_or(AddressError::Form)?,
            None => text.rsplit_once(':').ok_or(AddressError::Form)?,
        };
        if !text.starts_with('[') && hostname.contains(':') {
            return Err(AddressError::Form);
        }
        Address::new(hostname, port.parse().map_err(|_| AddressError::Port)?)
    }
}

#[derive(Deserialize)]
struct LooseAddress {
    #[serde(alias = "host")]
    hostname: String,
    #[serde(deserialize_with = "number")]
    port: u64,
}

impl TryFrom<LooseAddress> for Address {
    type Error = AddressError;
    fn try_from(loose: LooseAddress) -> Result<Self, AddressError> {
        Address::new(loose.hostname, u16::try_from(loose.port).map_err(|_| AddressError::Port)?)
    }
}

/// A whole number that is not negative, and may come as a string: `3781` or `"3781"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Number(#[serde(deserialize_with = "number")] pub u64);

pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Number;
    impl serde::de::Visitor<'_> for Number {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number that is not negative")
        }
        fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<u64, E> {
            Ok(value)
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
            text.trim().parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Number)
}

/// The same where the field may be absent or null.
pub(super) fn maybe_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<Number>::deserialize(deserializer)?.map(|Number(number)| number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_from_either_spelling_and_a_port_from_a_string() {
        let expected = Address::new("10.0.0.1", 3781).unwrap();
        for text in [r#"{"hostname":"10.0.0.1","port":3781}"#, r#"{"host":"10.0.0.1","port":"3781"}"#] {
            assert_eq!(serde_json::from_str::<Address>(text).unwrap(), expected);
        }
        for wrong in [
            r#"{"hostname":"","port":1}"#,
            r#"{"hostname":"a","port":0}"#,
            r#"{"hostname":"a","port":65536}"#,
            r#"{"hostname":"a","port":-1}"#,
            r#"{"hostname":"a","port":1.5}"#,
            r#"{"hostname":"a b","port":1}"#,
        ] {
            assert!(serde_json::from_str::<Address>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_reads_back_what_it_shows() {
        for text in ["localhost:3780", "[::1]:3780", "127.0.0.1:1"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for wrong in ["localhost", ":1", "::1:3780", "a:0", "a:x", "[::1]3780"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
