//! The closed enum of messages, and its text form.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::activity::Activity;
use super::client::*;
use super::codec::{WireError, check_nesting};
use super::group::*;
use super::operator::*;
use super::presence::*;
use super::server::*;
use super::stream::*;
use super::transfer::*;
use crate::epoch::Epoch;
use crate::id::Seq;
use crate::limits;

macro_rules! messages {
    ($($variant:ident = $command:literal $(| $spelling:literal)*,)+) => {
        /// Everything that may be said. Each variant's payload documents its meaning; `command` is its name on the wire.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "the payloads are documented")]
        pub enum Message {
            $($variant($variant),)+
        }

        impl Message {
            /// The canonical name of every command.
            pub const COMMANDS: &[&str] = &[$($command),+];

            /// The other spellings of commands that are accepted, each with the canonical name.
            pub const SPELLINGS: &[(&str, &str)] = &[$($(($spelling, $command),)*)+];

            /// The message's name on the wire.
            pub fn command(&self) -> &'static str {
                match self { $(Message::$variant(_) => $command,)+ }
            }

            fn decode_body(command: &str, line: &str) -> Result<Self, WireError> {
                match command {
                    $($command $(| $spelling)* => match serde_json::from_str(line) {
                        Ok(body) => Ok(Message::$variant(body)),
                        Err(error) => Err(WireError::Fields { command: $command, error: error.to_string() }),
                    },)+
                    other => Err(WireError::unknown(other)),
                }
            }

            fn encode_body(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
                match self { $(Message::$variant(body) => serde_json::to_writer(out, body),)+ }
            }
        }

        $(impl From<$variant> for Message {
            fn from(body: $variant) -> Message {
                Message::$variant(body)
            }
        })+
    };
}

messages! {
    Register = "REGISTER",
    RegisterSuccess = "REGISTER_SUCCESS",
    RegisterFailed = "REGISTER_FAILED",
    ChangeSecret = "CHANGE_SECRET",
    ChangeSecretSuccess = "CHANGE_SECRET_SUCCESS",
    ChangeSecretFailed = "CHANGE_SECRET_FAILED",
    Login = "LOGIN",
    LoginSuccess = "LOGIN_SUCCESS",
    LoginFailed = "LOGIN_FAILED",
    Logout = "LOGOUT",
    Redirect = "REDIRECT",
    ActivityMessage = "ACTIVITY_MESSAGE",
    ActivityBroadcast = "ACTIVITY_BROADCAST",
    ActivityAck = "ACTIVITY_ACK",
    ActivitySendingReport = "ACTIVITY_SENDING_REPORT",
    ActivityRetrieve = "ACTIVITY_RETRIEVE",
    ActivityRetrieved = "ACTIVITY_RETRIEVED",
    Resumed = "RESUMED",
    Quit = "QUIT",
    Who = "WHO",
    WhoAnswer = "WHO_ANSWER",
    ClientDisconnect = "CLIENT_DISCONNECT",
    PresenceMissed = "PRESENCE_MISSED",
    InvalidMessage = "INVALID_MESSAGE",
    Authenticate = "AUTHENTICATE",
    AuthenticateSuccess = "AUTHENTICATE_SUCCESS" | "AUTHENTICATE_SUCC" | "AUTHENTICATION_SUCCESS",
    AuthenticationFail = "AUTHENTICATION_FAIL",
    NewClient = "NEW_CLIENT",
    DeLoad = "DE_LOAD",
    ServerLoad = "SERVER_LOAD",
    SynchronisedNewServer = "SYNCHRONISED_NEW_SERVER" | "SYNCHRONISE_NEW_SERVER",
    RemoveServer = "REMOVE_SERVER",
    LockRequest = "LOCK_REQUEST",
    LockAllowed = "LOCK_ALLOWED",
    LockDenied = "LOCK_DENIED",
    UserRegisterResult = "USER_REGISTER_RESULT" | "NEW_USER_REGISTERED",
    UserQuery = "USER_QUERY",
    UserAnswer = "USER_ANSWER",
    SyncUser = "SYNC_USER",
    BackupList = "BACKUP_LIST",
    BackupAuthenticate = "BACKUP_AUTHENTICATE",
    BackupAuthenticationSuccess = "BACKUP_AUTHENTICATION_SUCCESS",
    BackupAuthenticationFail = "BACKUP_AUTHENTICATION_FAIL",
    Heartbeat = "HEARTBEAT",
    SynchroniseServerAddresses = "SYNCHRONISE_SERVER_ADDRESSES",
    SynchroniseServerLoad = "SYNCHRONISE_SERVER_LOAD",
    SynchroniseUserStore = "SYNCHRONISE_USER_STORE",
    Synchronised = "SYNCHRONISED",
    MainQuery = "MAIN_QUERY",
    MainAnswer = "MAIN_ANSWER",
    Promote = "PROMOTE",
    Neighbours = "NEIGHBOURS",
    ActivitySuccInfo = "ACTIVITY_SUCC_INFO",
    MoveClients = "MOVE_CLIENTS",
    Status = "STATUS",
    StatusReport = "STATUS_REPORT",
    RemoveUser = "REMOVE_USER",
    RemoveUserSuccess = "REMOVE_USER_SUCCESS",
    RemoveUserFailed = "REMOVE_USER_FAILED",
    ForgetCoordinator = "FORGET_COORDINATOR",
    ForgetCoordinatorSuccess = "FORGET_COORDINATOR_SUCCESS",
    ForgetCoordinatorFailed = "FORGET_COORDINATOR_FAILED",
    Export = "EXPORT",
    Exported = "EXPORTED",
    Import = "IMPORT",
    Imported = "IMPORTED",
    ImportFailed = "IMPORT_FAILED",
}

impl Message {
    /// Reads a message from a line without its line end.
    ///
    /// # Errors
    /// Says what is wrong in words for the peer. Nothing of a refused line is kept.
    pub fn decode(line: &[u8]) -> Result<Self, WireError> {
        Self::decode_with_epoch(line).map(|(message, _)| message)
    }

    /// Reads a message, and the epoch that it carries where a server sent it. What is no epoch is none: clients may send what they like.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_with_epoch(line: &[u8]) -> Result<(Self, Option<Epoch>), WireError> {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow)]
            command: Option<Cow<'a, str>>,
            #[serde(borrow)]
            epoch: Option<&'a RawValue>,
        }

        let line = std::str::from_utf8(line).map_err(|_| WireError::NotUtf8)?;
        if let Some(message) = plain(line) {
            return Ok((message, None));
        }
        check_nesting(line)?;
        if let Some(command) = plain_command(line)
            && let Ok(message) = Self::decode_body(command, line)
        {
            return message.shallow().map(|message| (message, None));
        }
        if !line.trim_ascii_start().starts_with('{') {
            return Err(match serde_json::from_str::<serde::de::IgnoredAny>(line) {
                Ok(_) => WireError::NotAnObject,
                Err(error) => WireError::NotJson(error.to_string()),
            });
        }
        let envelope: Envelope<'_> = serde_json::from_str(line).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => {
                WireError::Fields { command: "command", error: error.to_string() }
            }
            _ => WireError::NotJson(error.to_string()),
        })?;
        let command = envelope.command.ok_or(WireError::NoCommand)?;
        let epoch = envelope.epoch.and_then(|epoch| serde_json::from_str(epoch.get()).ok());
        let message = Self::decode_body(&command, line)?.shallow()?;
        Ok((message, epoch))
    }

    /// Refuses a published activity that nests too deep.
    fn shallow(self) -> Result<Self, WireError> {
        match &self {
            Message::ActivityMessage(said) if !said.activity.nests_within(limits::ACTIVITY_NESTING) => {
                Err(WireError::ActivityTooDeep)
            }
            _ => Ok(self),
        }
    }

    /// Appends the message as a line, line end included.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        self.encode_at(None, out);
    }

    /// Appends the message as a line that carries an epoch, line end included: what servers say to each other.
    pub fn encode_at(&self, epoch: Option<&Epoch>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"command\":\"");
        out.extend_from_slice(self.command().as_bytes());
        out.push(b'"');
        if let Some(epoch) = epoch {
            // Neither a number nor a server's name needs an escape.
            out.extend_from_slice(format!(",\"epoch\":\"{epoch}\"").as_bytes());
        }
        let body = out.len();
        self.encode_body(out).expect("messages serialise, and a Vec takes all that is written");
        // Splice the body's own object into ours: `{"command":"X"` + `,"a":1}`.
        debug_assert_eq!(out[body], b'{');
        if out[body + 1] == b'}' {
            out.remove(body);
        } else {
            out[body] = b',';
        }
        out.push(b'\n');
    }

    /// The message as a line of its own, line end included.
    pub fn encode(&self) -> Vec<u8> {
        let mut line = Vec::new();
        self.encode_into(&mut line);
        line
    }
}

/// What is said most, as we spell it: lines in which there can be nothing else than what is expected, no epoch either. Whatever is not
/// exactly so is for the parser to judge.
fn plain(line: &str) -> Option<Message> {
    let rest = line.strip_prefix(r#"{"command":"ACTIVITY_"#)?;
    match rest.as_bytes().first()? {
        b'M' => plain_activity(rest).map(Message::from),
        b'B' => plain_broadcast(rest).map(Message::from),
        _ => plain_ack(rest).map(Message::from),
    }
}

fn plain_activity(line: &str) -> Option<ActivityMessage> {
    let mut rest = line.strip_prefix(r#"MESSAGE","#)?;
    let mut activity_seq = None;
    if let Some(numbered) = rest.strip_prefix(r#""activity_seq":"#) {
        let (seq, others) = plain_seq(numbered)?;
        activity_seq = Some(seq);
        rest = others.strip_prefix(',')?;
    }
    let activity = Activity::plain(rest.strip_prefix(r#""activity":"#)?.strip_suffix('}')?)?;
    Some(ActivityMessage { username: None, secret: None, activity_seq, activity })
}

fn plain_broadcast(line: &str) -> Option<ActivityBroadcast> {
    // Neither an id nor a session's name has a quotation mark or an escape in it.
    let (id, rest) = until_quote(line.strip_prefix(r#"BROADCAST","id":""#)?)?;
    let (session, rest) = until_quote(rest.strip_prefix(r#","session":""#)?)?;
    let (activity_seq, rest) = plain_seq(rest.strip_prefix(r#","activity_seq":"#)?)?;
    let activity = Activity::plain(rest.strip_prefix(r#","activity":"#)?.strip_suffix('}')?)?;
    Some(ActivityBroadcast {
        id: Some(id.parse().ok()?),
        session: Some(session.parse().ok()?),
        activity_seq: Some(activity_seq),
        ..activity.into()
    })
}

/// As `split_once`, which takes ten times as long.
fn until_quote(text: &str) -> Option<(&str, &str)> {
    let at = memchr::memchr(b'"', text.as_bytes())?;
    Some((&text[..at], &text[at + 1..]))
}

fn plain_ack(line: &str) -> Option<ActivityAck> {
    let (received, rest) = plain_number(line.strip_prefix(r#"ACK","received":"#)?)?;
    (rest == "}").then_some(ActivityAck { received })
}

fn plain_seq(text: &str) -> Option<(Seq, &str)> {
    let (number, rest) = plain_number(text)?;
    Some(Seq(number)).filter(|seq| *seq <= Seq::MAX).map(|seq| (seq, rest))
}

/// A number that a text begins with, and what follows it.
fn plain_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    let is_plain = !number.starts_with('0') || digits == 1;
    Some((number.parse().ok().filter(|_| is_plain)?, rest))
}

/// The command of a line that begins with it and in which nothing can be another one, or an epoch: such a line, as nearly all are that
/// clients send, is parsed once and not twice. A key can be spelt otherwise only with `\u` (RFC 8259, section 7).
fn plain_command(line: &str) -> Option<&str> {
    static DOUBTFUL: LazyLock<[Finder<'_>; 3]> =
        LazyLock::new(|| [r#""command""#, r#""epoch""#, r"\u"].map(Finder::new));
    let rest = line.strip_prefix(r#"{"command":""#)?;
    let (command, rest) = rest.split_at(memchr::memchr(b'"', rest.as_bytes())?);
    let is_doubtful = DOUBTFUL.iter().any(|finder| finder.find(rest.as_bytes()).is_some());
    (!is_doubtful).then_some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_mean_what_the_parser_takes_them_for() {
        for line in [
            r#"{"command":"ACTIVITY_MESSAGE","activity":{}}"#,
            r#"{"command":"ACTIVITY_MESSAGE","activity_seq":9,"activity":{"a":[1,"b"]} }"#,
            r#"{"command":"ACTIVITY_MESSAGE","activity_seq":0,"activity":{"command":"LOGIN","epoch":"1@a"}}"#,
            r#"{"command":"ACTIVITY_ACK","received":17}"#,
            r#"{"command":"ACTIVITY_BROADCAST","id":"w-1/00000000000000ff/7","session":"AAAAAAAAAAAAAAAAAAAABw","activity_seq":9,"activity":{"a":"\"}"}}"#,
            r#"{"command":"ACTIVITY_BROADCAST","id":"w-1/00000000000000ff/7","session":"AAAAAAAAAAAAAAAAAAAABw","activity_seq":0,"activity":{"epoch":"1@a"}}"#,
        ] {
            let spaced = line.replacen(':', " : ", 1);
            let (plain, parsed) = (Message::decode(line.as_bytes()), Message::decode(spaced.as_bytes()));
            assert_eq!(plain, parsed, "{line}");
            assert!(plain.is_ok(), "{line}");
        }
        for odd in [
            r#"{"command":"ACTIVITY_MESSAGE","activity_seq":9223372036854775808,"activity":{}}"#,
            r#"{"command":"ACTIVITY_MESSAGE","activity_seq":01,"activity":{}}"#,
            r#"{"command":"ACTIVITY_MESSAGE","activity_seq":,"activity":{}}"#,
            r#"{"command":"ACTIVITY_MESSAGE","activity":{},"activity":{}}"#,
            r#"{"command":"ACTIVITY_MESSAGE","activity":{}"#,
            r#"{"command":"ACTIVITY_MESSAGE","activity":[]}"#,
            r#"{"command":"ACTIVITY_ACK","received":-1}"#,
            r#"{"command":"ACTIVITY_ACKS","received":1}"#,
            r#"{"command":"ACTIVITY_BROADCAST","id":"w-1/00000000000000ff/07","session":"AAAAAAAAAAAAAAAAAAAABw","activity_seq":9,"activity":{}}"#,
            r#"{"command":"ACTIVITY_BROADCAST","id":"w-1/00000000000000ff/7","session":"AAAAAAAAAAAAAAAAAAAABx","activity_seq":9,"activity":{}}"#,
            r#"{"command":"ACTIVITY_BROADCAST","id":"w-1/00000000000000ff/7","session":"AAAAAAAAAAAAAAAAAAAABw","activity_seq":9,"activity":{}"#,
            r#"{"command":"ACTIVITY_BROADCAST","id":"w-1/00000000000000ff/7","session":"AAAAAAAAAAAAAAAAAAAABw","activity_seq":9,"activity":{},"id":"w-1/00000000000000ff/8"}"#,
            r#"{"command":"ACTIVITY_ACK","received":1}}"#,
        ] {
            assert!(Message::decode(odd.as_bytes()).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_line_is_parsed_once_only_where_its_first_command_is_certainly_the_only_one() {
        assert_eq!(plain_command(r#"{"command":"LOGOUT","a":"command"}"#), None);
        assert_eq!(plain_command(r#"{"command":"LOGOUT","a":{"c":"Command"}}"#), Some("LOGOUT"));
        for doubtful in [
            r#"{"command":"LOGOUT","command":"LOGIN"}"#,
            r#"{"command":"LOGOUT","\u0063ommand":"LOGIN"}"#,
            r#"{"command":"LOGOUT","epoch":"1@a"}"#,
            r#"{"a":1,"command":"LOGOUT"}"#,
            r#" {"command":"LOGOUT"}"#,
            r#"{"command":"LOGOUT"#,
        ] {
            assert_eq!(plain_command(doubtful), None, "{doubtful}");
        }
        assert!(Message::decode(br#"{"command":"LOGOUT","command":"LOGOUT"}"#).is_err());
        assert!(Message::decode(br#"{"command":"LOGOUT","\u0063ommand":"LOGOUT"}"#).is_err());
        assert!(Message::decode(br#"{"command":"LOGOUT"} "#).is_ok());
        assert!(Message::decode(br#"{"command":"LOGOUT"}}"#).is_err());
    }
}
