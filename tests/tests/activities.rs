//! What an activity may be: anything that is a JSON object, byte for byte, under a name that cannot be forged, up to a size.

use common::limits;
use tests::cluster::{self, Peer};

/// The text of the next activity as it came over the wire.
fn heard(peer: &mut Peer) -> String {
    let line = peer.hear_line().expect("the worker says something");
    let (envelope, activity) = line.split_once(r#","activity":"#).unwrap_or_else(|| panic!("heard {line}"));
    assert!(envelope.starts_with(r#"{"command":"ACTIVITY_BROADCAST","id":""#), "heard {line}");
    activity.strip_suffix('}').expect("a line is an object").to_owned()
}

#[test]
fn an_activity_passes_byte_for_byte_to_every_worker() {
    let odd = [
        r#"{}"#,
        r#"{ }"#,
        r#"{"b":1e400,"a":-0,"A":123456789012345678901234567890.10,"x":1E+2}"#,
        r#"{"z":1,"a":2,"z":3}"#,
        r#"{"é":"\u00e9 \ud83d\ude00 😀 \/ \b \u0000 \u2028","":null}"#,
        r#"{ "spaced" : [ 1 , 2 ] ,  "tab":	true }"#,
        r#"{"command":"LOGIN","id":"worker-1/0/0","activity":{"activity":{}}}"#,
        "{\"e\u{301}\":\"zero\u{200d}width and \u{202e}right to left\"}",
        &format!(r#"{{"deep":{}1{}}}"#, "[".repeat(120), "]".repeat(120)),
    ]
    .map(str::to_owned);
    let cluster = cluster::start(2);
    let (mut here, mut there) = (cluster.session(0, "anonymous", ""), cluster.session(1, "anonymous", ""));
    for activity in odd {
        here.publish(&activity);
        let comma = if activity.trim_start_matches(['{', ' ']) == "}" { "" } else { "," };
        let expected = format!(r#"{{"authenticated_user":"anonymous"{comma}{}"#, &activity[1..]);
        assert_eq!(heard(&mut here), expected);
        assert_eq!(heard(&mut there), expected);
    }
}

#[test]
fn nobody_forges_the_authenticated_user() {
    let forgeries = [
        (r#"{"authenticated_user":"eve"}"#, r#"{"authenticated_user":"ann"}"#),
        (r#"{"a":1,"authenticated_user":"eve","b":2}"#, r#"{"authenticated_user":"ann","a":1,"b":2}"#),
        (
            r#"{"authenticated_user":"eve","authenticated_user":{"x":1},"authenticated_user":"ann"}"#,
            r#"{"authenticated_user":"ann"}"#,
        ),
        (r#"{"\u0061uthenticated_user":"eve","b":"\u0061"}"#, r#"{"authenticated_user":"ann","b":"\u0061"}"#),
        (r#"{"\u0061\u0075\u0074henticated\u005Fuse\u0072":"eve"}"#, r#"{"authenticated_user":"ann"}"#),
        // The application's own business: deeper down, as a value, or only similar.
        (
            r#"{"a":{"authenticated_user":"eve"}}"#,
            r#"{"authenticated_user":"ann","a":{"authenticated_user":"eve"}}"#,
        ),
        (r#"{"Authenticated_user":"eve"}"#, r#"{"authenticated_user":"ann","Authenticated_user":"eve"}"#),
    ];
    let cluster = cluster::start(2);
    cluster.register("ann", "secret");
    let (mut ann, mut there) = (cluster.session(0, "ann", "secret"), cluster.session(1, "anonymous", ""));
    for (said, expected) in forgeries {
        ann.publish(said);
        assert_eq!(heard(&mut ann), expected);
        assert_eq!(heard(&mut there), expected);
    }
}

#[test]
fn an_activity_of_a_mebibyte_passes_to_all_and_a_longer_one_to_nobody() {
    let cluster = cluster::start(2);
    let (mut here, mut there) = (cluster.session(0, "anonymous", ""), cluster.session(1, "anonymous", ""));
    let longest = format!(r#"{{"pad":"{}"}}"#, "x".repeat(limits::LINE_BYTES - r#"{"pad":""}"#.len()));
    for _ in 0..3 {
        here.publish(&longest);
        for peer in [&mut here, &mut there] {
            assert!(heard(peer) == format!(r#"{{"authenticated_user":"anonymous",{}"#, &longest[1..]));
        }
    }
    let longer = longest.replace("x\"}", "xx\"}");
    let _ = here
        .try_say_bytes(format!("{{\"command\":\"ACTIVITY_MESSAGE\",\"activity\":{longer}}}\n").as_bytes());
    // Compared apart: nobody wants to read a megabyte of what came instead.
    let answer = here.hear_line().expect("the worker says why");
    let shown = &answer[..answer.len().min(200)];
    assert!(shown.contains("INVALID_MESSAGE") && shown.contains("longer than 1048576 bytes"), "{shown}");
    here.expect_closed();
    // Nothing of it got through: the next that the other hears is the next that is allowed.
    there.publish(r#"{"n":1}"#);
    assert!(heard(&mut there) == r#"{"authenticated_user":"anonymous","n":1}"#);
}
