//! What makes no sense or is not allowed, said to the real servers: the answer says what was wrong and arrives although the sender
//! was still talking, that connection alone is closed, and who is logged in beside it notices nothing.

use serde_json::json;
use tests::cluster::{self, Cluster, Peer};

/// One bad line, the command that answers it, and a part of the answer's `info`.
type Bad<'a> = (&'a str, &'a str, &'a str);

const INVALID: &str = "INVALID_MESSAGE";

/// A network of two workers with an honest session at the first.
struct Scene {
    cluster: Cluster,
    honest: Peer,
    published: u64,
}

impl Scene {
    fn new() -> Scene {
        let cluster = cluster::start(2);
        let honest = cluster.session(0, "anonymous", "");
        Scene { cluster, honest, published: 0 }
    }

    /// The honest session publishes and hears itself; the coordinator answers.
    fn goes_on(&mut self) {
        self.published += 1;
        self.honest.publish(&json!({"n": self.published}).to_string());
        assert_eq!(self.honest.hear("ACTIVITY_BROADCAST")["activity"]["n"], self.published);
        assert_eq!(self.cluster.status()["workers"].as_array().map(Vec::len), Some(2));
    }

    /// Says each line on a new connection to the coordinator and on one to the worker.
    fn both_refuse<'a>(&mut self, table: impl IntoIterator<Item = Bad<'a>>) {
        for (line, command, info) in table {
            refuses(self.cluster.coordinator(), line.as_bytes(), command, info);
            refuses(self.cluster.worker(0), line.as_bytes(), command, info);
        }
        self.goes_on();
    }
}

/// The peer says `line`, and goes on talking; it hears why not, and then an orderly end.
fn refuses(mut peer: Peer, line: &[u8], command: &str, info: &str) {
    let shown = String::from_utf8_lossy(&line[..line.len().min(120)]).into_owned();
    // Where the server hangs up first, hearing shows whether it did so in order.
    let _ = peer.try_say_bytes(line);
    let _ = peer.try_say_bytes(b"\n");
    let _ = peer.try_say_bytes(&[b'x'; 200_000]);
    let answer = peer.hear_any();
    assert_eq!(answer["command"], command, "{shown} was answered with {answer}");
    let told = answer["info"].as_str().unwrap_or_else(|| panic!("{shown}: no info in {answer}"));
    assert!(told.contains(info), "{shown}: the info should speak of {info:?}: {told}");
    peer.expect_closed();
}

#[test]
fn a_line_that_is_no_message_is_refused_with_the_reason() {
    Scene::new().both_refuse([
        ("", INVALID, "not valid JSON"),
        ("hello", INVALID, "not valid JSON"),
        ("GET / HTTP/1.1\r", INVALID, "not valid JSON"),
        (r#"{"command":"LOGIN","#, INVALID, "not valid JSON"),
        ("\0\0\0\0", INVALID, "not valid JSON"),
        (r#"{"command":"LOGOUT"} {"command":"LOGOUT"}"#, INVALID, "not valid JSON"),
        (r#"[{"command":"LOGIN"}]"#, INVALID, "not an object"),
        (r#""LOGIN""#, INVALID, "not an object"),
        ("null", INVALID, "not an object"),
        ("{}", INVALID, "no \"command\""),
        (r#"{"Command":"LOGIN","username":"anonymous"}"#, INVALID, "no \"command\""),
        (r#"{"command":7}"#, INVALID, "command"),
        (r#"{"command":"DANCE"}"#, INVALID, "unknown command \"DANCE\""),
        (r#"{"command":"login","username":"anonymous"}"#, INVALID, "unknown command"),
        (r#"{"command":"LOGIN","command":"LOGIN","username":"anonymous"}"#, INVALID, "duplicate field"),
        (r#"{"command":"LOGIN","username":"anonymous","username":"anonymous"}"#, INVALID, "duplicate field"),
        (r#"{"command":"LOGIN","username":"\ud800"}"#, INVALID, "hex escape"),
    ]);
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let mut scene = Scene::new();
    for bytes in [
        &b"{\"command\":\"LOGIN\",\"username\":\"\xff\"}"[..],
        b"\xc3",
        &[0xf8; 64],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        refuses(scene.cluster.coordinator(), bytes, INVALID, "");
        refuses(scene.cluster.worker(0), bytes, INVALID, "");
    }
    refuses(
        scene.cluster.worker(0),
        b"{\"command\":\"LOGIN\",\"username\":\"\xff\"}",
        INVALID,
        "not valid UTF-8",
    );
    scene.goes_on();
}

#[test]
fn ten_thousand_levels_are_too_deep_wherever_they_are() {
    let lists = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let in_activity = format!(r#"{{"command":"ACTIVITY_MESSAGE","activity":{objects}}}"#);
    let in_unknown_field = format!(r#"{{"command":"LOGIN","username":"anonymous","extra":{lists}}}"#);
    let never_closed = "[".repeat(10_000);
    let mut scene = Scene::new();
    scene.both_refuse(
        [&lists, &objects, &in_activity, &in_unknown_field, &never_closed]
            .map(|line| (line.as_str(), INVALID, "nests deeper than 127 levels")),
    );
}

#[test]
fn missing_wrong_typed_and_absurd_fields_are_named() {
    let long = format!(r#"{{"command":"LOGIN","username":"{}","secret":"s"}}"#, "x".repeat(100_000));
    let ports = ["0", "65536", "-1", "1.5", "\"many\"", "null", "[]"]
        .map(|port| authenticate("s").replace("\"1\"", port));
    let mut scene = Scene::new();
    scene.both_refuse([
        (r#"{"command":"LOGIN"}"#, INVALID, "username"),
        (r#"{"command":"LOGIN","username":5}"#, INVALID, "LOGIN: invalid type"),
        (r#"{"command":"LOGIN","username":null}"#, INVALID, "LOGIN: invalid type"),
        (r#"{"command":"LOGIN","username":"ann","secret":["s"]}"#, INVALID, "LOGIN: invalid type"),
        (r#"{"command":"REGISTER","username":"ann"}"#, INVALID, "secret"),
        (r#"{"command":"REGISTER","username":{},"secret":"s"}"#, INVALID, "REGISTER: invalid type"),
        (r#"{"command":"ACTIVITY_MESSAGE"}"#, INVALID, "activity"),
        (r#"{"command":"ACTIVITY_MESSAGE","activity":"{}"}"#, INVALID, "JSON object"),
        (r#"{"command":"ACTIVITY_MESSAGE","activity":[{}]}"#, INVALID, "JSON object"),
        (r#"{"command":"ACTIVITY_MESSAGE","activity":null}"#, INVALID, "JSON object"),
        (r#"{"command":"AUTHENTICATE","secret":"s"}"#, INVALID, "AUTHENTICATE: missing field"),
        (r#"{"command":"AUTHENTICATE","id":"a/b","hostname":"h","port":1,"secret":"s","incarnation":"00000000000000ff"}"#, INVALID, "AUTHENTICATE"),
        (&long, "LOGIN_FAILED", "1 to 64 characters"),
    ]);
    scene.both_refuse(ports.each_ref().map(|line| (line.as_str(), INVALID, "AUTHENTICATE")));
}

#[test]
fn a_line_over_the_limit_is_refused_before_it_ends() {
    let mut scene = Scene::new();
    for mut peer in
        [scene.cluster.coordinator(), scene.cluster.worker(0), scene.cluster.session(1, "anonymous", "")]
    {
        // Two megabytes and no line end; whoever waited for one would wait for ever.
        let _ = peer.try_say_bytes(&vec![b'x'; 2 << 20]);
        let answer = peer.hear(INVALID);
        assert!(answer["info"].as_str().unwrap().contains("longer than"), "{answer}");
        peer.expect_closed();
    }
    scene.goes_on();
}

#[test]
fn what_only_servers_may_say_is_refused_from_everybody_else() {
    let record = r#""registration":"5.0@c1","changed":"5.0@c1","secret":"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA""#;
    let record =
        |command: &str, more: &str| format!(r#"{{"command":"{command}","username":"eve",{record}{more}}}"#);
    let commands = [
        r#"{"command":"NEW_CLIENT","username":"eve","load":0}"#.to_owned(),
        r#"{"command":"DE_LOAD","load":0}"#.to_owned(),
        r#"{"command":"SERVER_LOAD","load":"0"}"#.to_owned(),
        r#"{"command":"SYNCHRONISED_NEW_SERVER","id":"w9","hostname":"127.0.0.1","port":1}"#.to_owned(),
        r#"{"command":"REMOVE_SERVER","id":"worker-1"}"#.to_owned(),
        r#"{"command":"LOCK_REQUEST","username":"eve","secret":"$argon2id$"}"#.to_owned(),
        record("LOCK_ALLOWED", r#","durability":"local""#),
        r#"{"command":"LOCK_DENIED","username":"eve"}"#.to_owned(),
        record("USER_REGISTER_RESULT", ""),
        r#"{"command":"USER_QUERY","username":"eve"}"#.to_owned(),
        r#"{"command":"USER_ANSWER","username":"eve"}"#.to_owned(),
        r#"{"command":"SYNC_USER","users":{}}"#.to_owned(),
        r#"{"command":"BACKUP_LIST","servers":[]}"#.to_owned(),
        r#"{"command":"NEIGHBOURS","links":[],"next":0}"#.to_owned(),
        r#"{"command":"ACTIVITY_BROADCAST","id":"worker-2/00000000000000ff/0","activity":{"n":1}}"#
            .to_owned(),
    ];
    let mut scene = Scene::new();
    scene.both_refuse(commands.iter().map(|line| (line.as_str(), INVALID, "is for servers")));
    for line in &commands {
        refuses(scene.cluster.session(0, "anonymous", ""), line.as_bytes(), INVALID, "is for servers");
    }
    // What servers answer makes no sense as a question either.
    for command in ["LOGIN_SUCCESS", "LOGIN_FAILED", "REGISTER_SUCCESS", "REGISTER_FAILED"] {
        let line = json!({"command": command, "info": "x"}).to_string();
        refuses(scene.cluster.coordinator(), line.as_bytes(), INVALID, command);
        refuses(scene.cluster.worker(0), line.as_bytes(), INVALID, command);
    }
    // Two who complain of each other would never end.
    for mut peer in [scene.cluster.coordinator(), scene.cluster.worker(0)] {
        peer.say(&json!({"command": INVALID, "info": "x"}));
        peer.expect_closed();
    }
    scene.goes_on();
}

#[test]
fn whoever_says_who_they_are_says_it_once() {
    let mut scene = Scene::new();
    let login = r#"{"command":"LOGIN","username":"anonymous"}"#;
    let register = r#"{"command":"REGISTER","username":"eve","secret":"s"}"#;
    let authenticate = authenticate(&scene.cluster.secret());
    for line in [login, register, &authenticate] {
        refuses(scene.cluster.session(0, "anonymous", ""), line.as_bytes(), INVALID, "");
    }
    for mut peer in [scene.cluster.coordinator(), scene.cluster.worker(0)] {
        peer.say_line(&authenticate);
        peer.hear("AUTHENTICATE_SUCCESS");
        peer.say_line(&authenticate);
        peer.hear_until(INVALID);
        peer.expect_closed();
    }
    scene.honest.publish(r#"{"n":1}"#);
    scene.honest.hear("ACTIVITY_BROADCAST");
}

#[test]
fn a_wrong_network_secret_opens_nothing() {
    let mut scene = Scene::new();
    let [wrong, empty] = ["not the secret of this network", ""].map(authenticate);
    scene.both_refuse([&wrong, &empty].map(|line| (line.as_str(), "AUTHENTICATION_FAIL", "secret")));
    refuses(
        scene.cluster.coordinator(),
        br#"{"command":"STATUS","secret":"wrong"}"#,
        "AUTHENTICATION_FAIL",
        "secret",
    );
    scene.goes_on();
}

#[test]
fn whoever_speaks_for_another_or_without_a_log_in_is_refused() {
    const FAIL: &str = "AUTHENTICATION_FAIL";
    let mut scene = Scene::new();
    scene.cluster.register("ann", "correct horse");
    scene.cluster.register("bob", "battery staple");
    let activity = r#"{"command":"ACTIVITY_MESSAGE","activity":{"n":0}}"#;
    scene.both_refuse([(activity, FAIL, "log in first")]);
    let claims = [
        (r#""username":"bob""#, ""),
        (r#""username":"bob","secret":"battery staple""#, ""),
        (r#""username":"anonymous""#, ""),
        (r#""username":"Ann","secret":"correct horse""#, ""),
        (r#""username":"","secret":"correct horse""#, ""),
        (r#""username":"ann","secret":"battery staple""#, "secret"),
        (r#""username":"ann","secret":"""#, "secret"),
        (r#""secret":"correct horse ""#, "secret"),
    ];
    for (claim, info) in claims {
        let line = format!(r#"{{"command":"ACTIVITY_MESSAGE",{claim},"activity":{{"n":0}}}}"#);
        refuses(scene.cluster.session(0, "ann", "correct horse"), line.as_bytes(), FAIL, info);
    }
    scene.goes_on();
}

#[test]
fn half_a_line_and_silence_end_at_the_log_in_deadline() {
    let mut scene = Scene::new();
    let (coordinator, worker) = (scene.cluster.coordinator(), scene.cluster.worker(0));
    let [mut half_a_line, mut silence] = [(); 2].map(|()| scene.cluster.worker(0));
    let [mut half_at_coordinator, mut fed_slowly] = [coordinator, worker];
    half_a_line.say_bytes(br#"{"command":"LOG"#);
    half_at_coordinator.say_bytes(br#"{"command":"LOG"#);
    fed_slowly.say_bytes(b"{");
    for peer in [&mut half_a_line, &mut silence, &mut half_at_coordinator, &mut fed_slowly] {
        let answer = peer.hear("LOGIN_FAILED");
        assert!(answer["info"].as_str().unwrap().contains("no log-in within 10"), "{answer}");
        peer.expect_closed();
    }
    scene.goes_on();
}

/// What a server that calls itself `w9` says first.
fn authenticate(secret: &str) -> String {
    let server = json!({"command": "AUTHENTICATE", "id": "w9", "hostname": "127.0.0.1", "port": "1", "secret": secret, "incarnation": "00000000000000ff"});
    server.to_string()
}
