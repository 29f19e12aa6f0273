//! Names and secrets, as users choose them: what may be registered at the coordinator or at a worker, and what logs in afterwards.

use serde_json::{Value, json};
use tests::cluster::{self, Cluster, Peer};

/// Both places where one can register and log in.
fn places(cluster: &Cluster) -> [Peer; 2] {
    [cluster.coordinator(), cluster.worker(0)]
}

fn register(peer: &mut Peer, username: &str, secret: &str) -> Value {
    peer.say(&json!({"command": "REGISTER", "username": username, "secret": secret}));
    peer.hear_any()
}

fn refused(answer: &Value, command: &str, info: &str) {
    assert_eq!(answer["command"], command, "{answer}");
    assert!(answer["info"].as_str().unwrap().contains(info), "the info should speak of {info:?}: {answer}");
}

#[test]
fn a_name_that_cannot_be_one_is_not_registered() {
    let cluster = cluster::start(1);
    let bad = [
        ("", "1 to 64 characters"),
        (&"x".repeat(65), "1 to 64 characters"),
        (&"é".repeat(65), "1 to 64 characters"),
        (&"x".repeat(100_000), "1 to 64 characters"),
        ("a\nb", "control characters"),
        ("a\u{0}b", "control characters"),
        ("\u{7f}", "control characters"),
        ("\u{1b}[2J", "control characters"),
        ("\u{85}", "control characters"),
        ("anonymous", "anonymous"),
    ];
    for (name, info) in bad {
        for mut peer in places(&cluster) {
            refused(&register(&mut peer, name, "secret"), "REGISTER_FAILED", info);
            peer.expect_closed();
        }
    }
}

#[test]
fn a_secret_has_one_to_256_bytes() {
    let cluster = cluster::start(1);
    for bad in ["", &"x".repeat(257), &"é".repeat(129)] {
        for mut peer in places(&cluster) {
            refused(&register(&mut peer, "ann", bad), "REGISTER_FAILED", "256 bytes");
            peer.expect_closed();
        }
    }
    let longest = "é".repeat(128);
    for (peer, name, secret) in
        [(0, "ann", "x"), (0, "bob", &longest), (1, "cat", &longest), (1, "dan", "\u{0}\n\"")]
    {
        let mut peer = places(&cluster).into_iter().nth(peer).unwrap();
        assert_eq!(register(&mut peer, name, secret)["command"], "REGISTER_SUCCESS");
        cluster.log_in(name, secret);
    }
}

#[test]
fn names_may_be_long_and_in_any_script() {
    let cluster = cluster::start(1);
    let names = [
        "x".repeat(64),
        "é".repeat(64),
        "名前".to_owned(),
        "👩‍🚀".to_owned(),
        "a b \"c\\".to_owned(),
        "Anonymous".to_owned(),
    ];
    for name in names {
        cluster.register(&name, "secret");
        let mut session = cluster.log_in(&name, "secret");
        session.publish("{}");
        assert_eq!(session.hear("ACTIVITY_BROADCAST")["activity"]["authenticated_user"], name);
    }
}

#[test]
fn two_spellings_of_one_name_are_one_user() {
    let (composed, decomposed) = ("Zo\u{eb}", "Zoe\u{308}");
    let cluster = cluster::start(1);
    cluster.register(decomposed, "secret");
    for mut peer in places(&cluster) {
        refused(&register(&mut peer, composed, "other"), "REGISTER_FAILED", "is registered");
    }
    for spelling in [composed, decomposed] {
        let mut session = cluster.log_in(spelling, "secret");
        session.say(&json!({"command": "ACTIVITY_MESSAGE", "username": decomposed, "secret": "secret", "activity": {}}));
        assert_eq!(session.hear("ACTIVITY_BROADCAST")["activity"]["authenticated_user"], composed);
    }
}

#[test]
fn a_refused_log_in_does_not_tell_whether_the_name_exists() {
    let cluster = cluster::start(1);
    cluster.register("ann", "correct horse");
    let failed = |mut peer: Peer, login: Value| {
        peer.say(&login);
        let answer = peer.hear("LOGIN_FAILED");
        peer.expect_closed();
        answer["info"].as_str().unwrap().to_owned()
    };
    for place in 0..2 {
        let at = |login| failed(places(&cluster).into_iter().nth(place).unwrap(), login);
        let wrong = at(json!({"command": "LOGIN", "username": "ann", "secret": "battery staple"}));
        let unknown = at(json!({"command": "LOGIN", "username": "nobody", "secret": "battery staple"}));
        assert_eq!(wrong, unknown);
        for login in [
            json!({"command": "LOGIN", "username": "ann"}),
            json!({"command": "LOGIN", "username": "ann", "secret": ""}),
            json!({"command": "LOGIN", "username": "ann", "secret": "x".repeat(257)}),
            json!({"command": "LOGIN", "username": "", "secret": "correct horse"}),
            json!({"command": "LOGIN", "username": "ann\n", "secret": "correct horse"}),
            json!({"command": "LOGIN", "username": "ann", "token": "v1.e30.AAAA"}),
            json!({"command": "LOGIN", "username": "ann", "token": ""}),
        ] {
            assert!(!at(login.clone()).is_empty(), "{login}");
        }
    }
}

#[test]
fn line_ends_of_any_kind_and_numbers_in_strings_are_accepted() {
    let cluster = cluster::start(1);
    for mut peer in places(&cluster) {
        let secret = cluster.secret();
        peer.say_bytes(
            format!("{{\"command\":\"AUTHENTICATE\",\"id\":\"w9\",\"host\":\"127.0.0.1\",\"port\":\"1\",\"secret\":\"{secret}\",\"incarnation\":\"00000000000000ff\",\"load\":\"0\"}}\r\n").as_bytes(),
        );
        assert_eq!(peer.hear_any()["command"], "AUTHENTICATE_SUCCESS");
    }
    let mut session = cluster.worker(0);
    session.say_bytes(
        b" {\"command\" : \"LOGIN\", \"username\":\"anonymous\", \"secret\":null, \"colour\":\"green\"} \r\n",
    );
    session.hear("LOGIN_SUCCESS");
    // One line in many pieces, and many lines in one piece.
    for byte in b"{\"command\":\"ACTIVITY_MESSAGE\",\"activity\":{\"n\":1}}\r\n" {
        session.say_bytes(&[*byte]);
    }
    session.say_bytes(&b"{\"command\":\"ACTIVITY_MESSAGE\",\"activity\":{\"n\":2}}\r\n".repeat(500));
    session.hear_activity(1);
    for _ in 0..500 {
        assert_eq!(session.hear("ACTIVITY_BROADCAST")["activity"]["n"], 2);
    }
}
