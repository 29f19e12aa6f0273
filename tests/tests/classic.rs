//! The life of a client of the original protocol, word for word: it knows no command beyond the classic ones, and need not.

use std::fmt::Write as _;

use common::wire::Address;
use serde_json::Value;
use tests::cluster::{self, Peer};

/// A conversation as it went over the wire, but for what differs from run to run.
#[derive(Default)]
struct Transcript(String);

impl Transcript {
    fn note(&mut self, text: &str) {
        writeln!(self.0, "{text}").unwrap();
    }

    fn say(&mut self, peer: &mut Peer, line: &str) {
        self.note(&format!("> {line}"));
        peer.say_line(line);
    }

    /// Hears one line and notes it; returns it as it was.
    fn hear(&mut self, peer: &mut Peer) -> Value {
        let line = peer.hear_line().expect("the server says something");
        let message: Value = serde_json::from_str(&line).expect("servers speak JSON");
        let mut shown = line;
        for (field, stand_in) in [("token", "TOKEN"), ("port", "PORT"), ("session", "\"SESSION\"")] {
            if !message[field].is_null() {
                shown = shown.replace(&message[field].to_string(), stand_in);
            }
        }
        // An activity's id: origin, incarnation (random), sequence.
        if let Some(incarnation) = message["id"].as_str().and_then(|id| id.split('/').nth(1)) {
            shown = shown.replace(incarnation, "INCARNATION");
        }
        self.note(&format!("< {shown}"));
        message
    }

    fn end(&mut self, peer: &mut Peer) {
        peer.expect_closed();
        self.note("closed");
    }
}

fn address(redirect: &Value) -> Address {
    let port =
        redirect["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port is a number");
    Address::new(redirect["hostname"].as_str().expect("a hostname"), port).unwrap()
}

#[test]
fn the_life_of_a_classic_client() {
    let cluster = cluster::start(1);
    let mut transcript = Transcript::default();
    let login = r#"{"command":"LOGIN","username":"ann","secret":"s3cret"}"#;

    let mut ann = cluster.coordinator();
    transcript.say(&mut ann, r#"{"command":"REGISTER","username":"ann","secret":"s3cret"}"#);
    transcript.hear(&mut ann);
    transcript.say(&mut ann, login);
    transcript.hear(&mut ann);
    let redirect = transcript.hear(&mut ann);
    transcript.end(&mut ann);

    let mut ann = Peer::connect(&address(&redirect));
    transcript.say(&mut ann, login);
    transcript.hear(&mut ann);
    transcript.say(
        &mut ann,
        r#"{"command":"ACTIVITY_MESSAGE","username":"ann","secret":"s3cret","activity":{"object":{"content":"hello"},"n":1.50}}"#,
    );
    transcript.hear(&mut ann);

    let mut bob = cluster.log_in("anonymous", "");
    bob.publish(r#"{"object":{"content":"hello yourself"}}"#);
    transcript.hear(&mut ann);
    transcript.say(&mut ann, r#"{"command":"LOGOUT"}"#);
    transcript.end(&mut ann);

    assert!(transcript.0 == LIFE, "the conversation was another:\n{}", transcript.0);
}

const LIFE: &str = r#"> {"command":"REGISTER","username":"ann","secret":"s3cret"}
< {"command":"REGISTER_SUCCESS","info":"ann is registered now; log in","durability":"local"}
> {"command":"LOGIN","username":"ann","secret":"s3cret"}
< {"command":"LOGIN_SUCCESS","info":"logged in as ann","server":"coordinator-1"}
< {"command":"REDIRECT","hostname":"127.0.0.1","port":PORT,"token":TOKEN}
closed
> {"command":"LOGIN","username":"ann","secret":"s3cret"}
< {"command":"LOGIN_SUCCESS","info":"logged in as ann","server":"worker-1"}
> {"command":"ACTIVITY_MESSAGE","username":"ann","secret":"s3cret","activity":{"object":{"content":"hello"},"n":1.50}}
< {"command":"ACTIVITY_BROADCAST","id":"worker-1/INCARNATION/0","session":"SESSION","activity_seq":1,"activity":{"authenticated_user":"ann","object":{"content":"hello"},"n":1.50}}
< {"command":"ACTIVITY_BROADCAST","id":"worker-1/INCARNATION/1","session":"SESSION","activity_seq":1,"activity":{"authenticated_user":"anonymous","object":{"content":"hello yourself"}}}
> {"command":"LOGOUT"}
closed
"#;
