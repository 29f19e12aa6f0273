//! Epochs as a worker hears, says and refuses them, and what it answers to a coordinator that does not hear the main one.

use super::*;

const GREETING: &str = r#"{"command":"AUTHENTICATE","id":"w0","hostname":"w0","port":1,"secret":"the network's secret","incarnation":"0000000000000000"}"#;
const NEIGHBOURS: &str = r#"{"command":"NEIGHBOURS","links":[],"next":0}"#;
const BEAT: &str = r#"{"command":"HEARTBEAT","role":"main"}"#;
const QUERY: &str = r#"{"command":"MAIN_QUERY","id":"d","secret":"the network's secret"}"#;

/// A worker whose coordinator reigns in the epoch 5@c.
fn at_five() -> (Node, LinkId) {
    let mut node = Node::new();
    let coordinator = node.answer_dial();
    node.say(coordinator, &at("5@c", &success("net", "")));
    node.read_all(coordinator);
    (node, coordinator)
}

/// The epochs of what waits on `link`.
fn epochs(node: &mut Node, link: LinkId) -> Vec<Option<String>> {
    let all = String::from_utf8(node.read_all(link)).unwrap();
    all.lines().map(epoch_of).collect()
}

fn five() -> Option<String> {
    Some("5@c".to_owned())
}

#[test]
fn every_message_to_a_server_carries_the_epoch_and_none_to_a_client_does() {
    let (mut node, coordinator) = at_five();
    let (client, neighbour) = (node.client(), node.connect());
    node.say(neighbour, GREETING);
    node.say(neighbour, NEIGHBOURS);
    assert_eq!(epochs(&mut node, neighbour), [five(), five(), five()]);
    assert_eq!(epochs(&mut node, coordinator), [five()], "NEW_CLIENT");
    node.publish(client, 1);
    assert_eq!(epochs(&mut node, neighbour), [None], "an activity is encoded once for all");
    assert_eq!(epochs(&mut node, client), [None]);
    node.say(neighbour, "nonsense");
    assert_eq!(epochs(&mut node, neighbour).last().unwrap(), &five(), "the last words too");
    node.hang_up(coordinator);
    node.wait(Duration::from_secs(1));
    let link = node.answer_dial();
    assert_eq!(epochs(&mut node, link), [five()], "AUTHENTICATE");
}

#[test]
fn a_higher_epoch_heard_from_a_neighbour_is_told_upstream_and_to_the_neighbours_at_once() {
    let (mut node, coordinator) = at_five();
    let neighbour = node.connect();
    node.say(neighbour, GREETING);
    node.say(neighbour, NEIGHBOURS);
    node.read_all(neighbour);
    node.say(neighbour, &at("6@d", NEIGHBOURS));
    let upstream = String::from_utf8(node.read_all(coordinator)).unwrap();
    assert_eq!(
        (tell(upstream.trim_end()), epoch_of(upstream.trim_end())),
        ("SERVER_LOAD 0".into(), Some("6@d".into()))
    );
    assert_eq!(epochs(&mut node, neighbour), [Some("6@d".into())]);
    node.say(neighbour, &at("5@c", NEIGHBOURS));
    assert_eq!(node.hear(coordinator), [] as [&str; 0], "a lower one is no news");
}

#[test]
fn a_neighbour_is_believed_with_its_first_words_where_it_knows_the_secret() {
    let (mut node, coordinator) = at_five();
    let stranger = node.connect();
    node.say(stranger, &at("9@x", &GREETING.replace("network's", "wrong")));
    let client = node.connect();
    node.say(client, &at("9@x", r#"{"command":"LOGIN","username":"anonymous"}"#));
    assert_eq!(epochs(&mut node, coordinator), [five()]);
    assert_eq!(epochs(&mut node, stranger), [None], "nor does a stranger hear of ours");
    let neighbour = node.connect();
    node.say(neighbour, &at("6@d", GREETING));
    assert_eq!(epochs(&mut node, coordinator), [Some("6@d".into())]);
}

#[test]
fn a_coordinator_of_a_lower_epoch_is_told_so_and_left_whatever_it_says() {
    for line in [
        BEAT,
        r#"{"command":"LOCK_ALLOWED","username":"ann","registration":"1.0@c","changed":"1.0@c","secret":"h","durability":"local"}"#,
    ] {
        let (mut node, coordinator) = at_five();
        let ann = node.connect();
        node.say(ann, r#"{"command":"REGISTER","username":"ann","secret":"s"}"#);
        node.hash();
        node.read_all(coordinator);
        node.say(coordinator, &at("4@c", line));
        let farewell = String::from_utf8(node.read_all(coordinator)).unwrap();
        assert_eq!(
            tell(farewell.trim_end()),
            "AUTHENTICATION_FAIL the epoch 4@c is over: c reigns since 5@c"
        );
        assert_eq!(epoch_of(farewell.trim_end()), five());
        assert!(!node.worker.upstream() && node.hear(ann).is_empty(), "nothing of it counts");
    }
    let (mut node, coordinator) = at_five();
    node.hang_up(coordinator);
    node.wait(Duration::from_secs(1));
    let stale = node.answer_dial();
    node.hear(stale);
    node.say(stale, &at("4@z", &success("net", "")));
    assert_eq!(
        node.hear(stale),
        ["AUTHENTICATION_FAIL the epoch 4@z is over: c reigns since 5@c", "(closed)"]
    );
    node.wait(Duration::from_secs(1));
    assert_eq!((node.worker.upstream(), node.dials.len()), (false, 1), "it walks on");
}

#[test]
fn who_is_refused_for_an_old_epoch_does_not_take_it_for_a_wrong_secret() {
    let remembered = Remembered { epoch: "5@c".parse().ok(), ..Remembered::default() };
    let mut node = Node::remembering("w1", Limits::default(), remembered);
    let coordinator = node.answer_dial();
    assert_eq!(epochs(&mut node, coordinator), [five()]);
    node.say(coordinator, &at("6@d", r#"{"command":"AUTHENTICATION_FAIL","info":"an old epoch"}"#));
    assert!(!node.links.contains_key(coordinator));
    for fail in [
        r#"{"command":"AUTHENTICATION_FAIL","info":"nobody reigns","retry_after":1000}"#,
        r#"{"command":"AUTHENTICATION_FAIL","info":"wrong network secret"}"#,
    ] {
        assert!(node.exit.is_none(), "before {fail}");
        node.wait(Duration::from_secs(1));
        let coordinator = node.answer_dial();
        node.say(coordinator, &at("5@c", fail));
    }
    assert!(node.exit.is_some());
}

#[test]
fn a_coordinator_that_asks_hears_whom_the_worker_hears() {
    let (mut node, coordinator) = at_five();
    let asking = node.connect();
    let ask = |node: &mut Node| {
        node.say(asking, QUERY);
        node.hear(asking)
    };
    assert_eq!(ask(&mut node), ["MAIN_ANSWER c"]);
    node.wait(Duration::from_millis(1_999));
    assert_eq!(ask(&mut node), ["MAIN_ANSWER c"]);
    node.wait(Duration::from_millis(1));
    assert_eq!(ask(&mut node), ["MAIN_ANSWER nobody"]);
    assert!(!node.links.contains_key(coordinator));
    node.wait(Duration::from_secs(1));
    let link = node.answer_dial();
    assert_eq!(ask(&mut node), ["MAIN_ANSWER nobody"], "it has not let us in");
    node.say(link, &at("5@c", &success("net", "")));
    node.say(asking, &at("7@d", QUERY));
    assert_eq!(epochs(&mut node, asking), [Some("7@d".to_owned())]);
    let told = epochs(&mut node, link);
    assert_eq!(told.last().unwrap(), &Some("7@d".to_owned()), "who asks may know of a higher epoch");
    node.wait(Duration::from_secs(21));
    assert_eq!(node.hear(asking), ["(closed)"]);
}

#[test]
fn whom_a_worker_hears_is_no_strangers_business() {
    let (mut node, _) = at_five();
    let stranger = node.connect();
    node.say(stranger, &at("9@x", &QUERY.replace("network's", "wrong")));
    assert_eq!(node.hear(stranger), ["AUTHENTICATION_FAIL wrong network secret", "(closed)"]);
    let client = node.client();
    node.say(client, QUERY);
    assert!(node.hear(client)[0].starts_with("INVALID_MESSAGE MAIN_QUERY after LOGIN_SUCCESS"));
    let asking = node.connect();
    node.say(asking, QUERY);
    node.hear(asking);
    node.say(asking, r#"{"command":"LOGIN","username":"anonymous"}"#);
    assert!(node.hear(asking)[0].starts_with("INVALID_MESSAGE LOGIN after MAIN_QUERY"));
}
