//! What the simulator found in the way of activities, told as short as possible.

use std::str::FromStr;

use common::position::Position;
use common::wire::{ActivityBroadcast, ActivityRetrieved};

use super::*;

/// A link to the worker `id`, which has connected and holds `holds`.
pub(super) fn neighbour(node: &mut Node, id: &str, holds: &str) -> LinkId {
    let link = node.connect();
    node.say(
        link,
        &format!(
            r#"{{"command":"AUTHENTICATE","id":"{id}","hostname":"{id}","port":1,"secret":"{SECRET}","incarnation":"00000000000000{}","load":0}}"#,
            id.trim_start_matches(char::is_alphabetic).repeat(2)
        ),
    );
    node.say(link, &format!(r#"{{"command":"NEIGHBOURS","links":["w1"],"next":0,"holds":"{holds}"}}"#));
    node.hear(link);
    link
}

#[test]
fn a_worker_that_starts_and_waits_for_an_answer_when_its_wait_for_links_is_over_sleeps_meanwhile() {
    // A second after it had heard of another worker that could not be reached, it was still asking a third one: its deadline lay in the
    // past.
    let mut node = Node::starting("w1", Limits::default(), Remembered::default(), None);
    let coordinator = node.answer_dial();
    node.say(
        coordinator,
        &success("net", r#"{"id":"w2","hostname":"w2","port":1},{"id":"w3","hostname":"w3","port":1}"#),
    );
    neighbour(&mut node, "w2", "w2/0000000000000022/0-4");
    node.wait(Duration::from_millis(1_500));
    assert!(node.worker.is_recovering());
    assert!(node.worker.deadline() > Some(node.now.time), "nothing is to be done yet");
}

#[test]
fn a_client_that_resumes_is_told_that_sessions_are_known_also_where_no_coordinator_has_named_the_network() {
    // It took the server for one of the original protocol, hung up when it heard RESUMED, and came again at once, without end.
    let mut node = Node::new();
    let client = node.connect();
    node.say(
        client,
        r#"{"command":"LOGIN","username":"anonymous","capabilities":["session"],"session":"0123456789abcdef","resume":"w2/0000000000000022/0-4"}"#,
    );
    let heard = String::from_utf8(node.read_all(client)).unwrap();
    let Ok(Message::LoginSuccess(success)) = Message::decode(heard.lines().next().unwrap().as_bytes()) else {
        panic!("{heard}")
    };
    assert_eq!((success.network, success.position), (None, Some(Default::default())));
}

const FROM_THE_BEGINNING: &str = r#"{"command":"LOGIN","username":"anonymous","capabilities":["session"],"session":"0123456789abcdef","resume":""}"#;

/// A worker whose log has room for some sixty activities, and a client.
fn with_a_small_log() -> (Node, LinkId) {
    let mut node = Node::with("w1", Limits { log_bytes: 128 << 10, ..Limits::default() });
    let sender = node.client();
    (node, sender)
}

fn publish(node: &mut Node, sender: LinkId, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let padding = "x".repeat(2_000);
        node.say(
            sender,
            &format!(r#"{{"command":"ACTIVITY_MESSAGE","activity":{{"n":{number},"x":"{padding}"}}}}"#),
        );
        node.read_all(sender);
    }
}

#[test]
fn what_leaves_the_log_while_a_client_is_replayed_what_it_missed_is_no_silent_gap() {
    // What was appended during the replay and had gone before the replay came there was neither sent nor told of: only what had been
    // missing when it began was.
    let (mut node, sender) = with_a_small_log();
    publish(&mut node, sender, 0..50);
    let client = node.connect();
    node.say(client, FROM_THE_BEGINNING);
    publish(&mut node, sender, 50..150);
    let heard = String::from_utf8(node.read_all(client)).unwrap();
    let mut sent = Position::default();
    let mut resumed = None;
    for line in heard.lines() {
        match Message::decode(line.as_bytes()).unwrap() {
            Message::ActivityBroadcast(broadcast) => _ = sent.insert(&broadcast.id.unwrap()),
            Message::Resumed(it) => resumed = Some(it),
            _ => {}
        }
    }
    let resumed = resumed.expect("the replay ends");
    assert!(!resumed.recovered);
    assert_eq!(resumed.gaps, resumed.position.without(&sent));
    assert!(sent.common(&resumed.gaps).is_empty() && !sent.is_empty());
}

#[test]
fn what_leaves_the_log_during_a_long_replay_is_asked_of_who_holds_it() {
    // The time for asking counted from the beginning of the replay. A client that took seconds over it was told of a gap, and nobody had
    // been asked.
    let (mut node, sender) = with_a_small_log();
    let other = neighbour(&mut node, "w2", "w1/0000000000000001/0-149");
    publish(&mut node, sender, 0..50);
    let client = node.connect();
    node.say(client, FROM_THE_BEGINNING);
    publish(&mut node, sender, 50..150);
    node.read_all(other);
    node.wait(Duration::from_secs(5));
    let heard = String::from_utf8(node.read_all(client)).unwrap();
    assert!(!heard.contains("RESUMED"), "it has not been asked for everything");
    let asked = String::from_utf8(node.read_all(other)).unwrap();
    assert!(asked.contains(r#""ACTIVITY_RETRIEVE""#), "{asked}");
}

#[test]
fn who_begins_after_others_have_let_go_of_it_is_not_told_elsewhere_that_it_lacks_it() {
    // A worker that joined knew nothing of what the others had held once. A session that began there and went on at one of those was told
    // of gaps from before it began.
    let mut node = Node::with("w1", Limits::default());
    let older = neighbour(&mut node, "w2", "");
    let past = r#"{"command":"NEIGHBOURS","links":["w1"],"next":8,"past":"w2/0000000000000022/0-7,w3/0000000000000033/0-4"}"#;
    node.say(older, past);
    let client = node.connect();
    node.say(client, &FROM_THE_BEGINNING.replace(r#","resume":"""#, ""));
    let position = |line: &[u8]| match Message::decode(line.trim_ascii_end()).unwrap() {
        Message::LoginSuccess(success) => success.position.unwrap().to_string(),
        other => panic!("{other:?}"),
    };
    let begins_at = position(&node.read_all(client));
    assert_eq!(begins_at, "w2/0000000000000022/0-7,w3/0000000000000033/0-4");

    let (mut trimmed, sender) = with_a_small_log();
    publish(&mut trimmed, sender, 0..150);
    let gone = Position::from_str("w1/0000000000000001/0-149").unwrap().without(trimmed.worker.holds());
    let joining = trimmed.connect();
    let hello = format!(
        r#"{{"command":"AUTHENTICATE","id":"w2","hostname":"w2","port":1,"secret":"{SECRET}","incarnation":"0000000000000022","load":0}}"#
    );
    trimmed.say(joining, &hello);
    let first_words = String::from_utf8(trimmed.read_all(joining)).unwrap();
    assert!(!gone.is_empty() && first_words.contains(&format!(r#""past":"{gone}""#)), "{first_words}");
}

#[test]
fn a_worker_that_joins_takes_clients_when_what_it_has_fetched_has_had_its_turn() {
    // The log that was left began in the middle of a session, so that all of it waited for what came before. The worker took clients
    // meanwhile: a session that began there was sent old activities as new, and was told at other workers that it lacked them.
    let mut node = Node::starting("w1", Limits::default(), Remembered::default(), None);
    let coordinator = node.answer_dial();
    node.say(coordinator, &success("net", r#"{"id":"w2","hostname":"w2","port":1}"#));
    let other = neighbour(&mut node, "w2", "w2/0000000000000022/13-14");
    let activity = |n: u64| {
        format!(
            r#"{{"id":"w2/0000000000000022/{n}","session":"AAAAAAAAAAAAAAAAAAAAAA","activity_seq":{},"activity":{{"n":{n}}}}}"#,
            n + 1
        )
    };
    let answer = format!(
        r#"{{"command":"ACTIVITY_RETRIEVED","request":1,"activities":[{},{}],"done":true}}"#,
        activity(13),
        activity(14)
    );
    node.say(other, &answer);
    assert!(node.worker.is_recovering(), "what was fetched waits");
    node.wait(Duration::from_millis(500));
    node.say(
        other,
        r#"{"command":"NEIGHBOURS","links":["w1"],"next":15,"holds":"w2/0000000000000022/13-14"}"#,
    );
    node.wait(Duration::ZERO);
    assert!(!node.worker.is_recovering(), "nobody has what came before");
    let client = node.connect();
    node.say(client, &FROM_THE_BEGINNING.replace(r#""resume":"""#, r#""last":1"#));
    let heard = String::from_utf8(node.read_all(client)).unwrap();
    assert!(heard.contains(r#"{"n":14}"#) && !heard.contains(r#"{"n":13}"#), "{heard}");
    let client = node.connect();
    node.say(client, &FROM_THE_BEGINNING.replace(r#","resume":"""#, ""));
    let heard = String::from_utf8(node.read_all(client)).unwrap();
    assert!(heard.contains(r#""position":"w2/0000000000000022/0-14""#), "{heard}");
}

#[test]
fn what_one_worker_has_is_not_late_at_another_because_the_one_that_took_it_in_has_died() {
    // It had passed an activity on to one of the two others only when it died, and the session went on there. Workers compare what they
    // hold every second; the third one had gone on without that activity half a second later.
    let mut node = Node::new();
    let (witness, origin) = (neighbour(&mut node, "w2", ""), neighbour(&mut node, "w3", ""));
    let client = node.client();
    let activity = |id: &str, seq: u64| {
        format!(
            r#""id":"{id}","session":"AAAAAAAAAAAAAAAAAAAAAA","activity_seq":{seq},"activity":{{"n":{seq}}}"#
        )
    };
    let broadcast = |id, seq| format!(r#"{{"command":"ACTIVITY_BROADCAST",{}}}"#, activity(id, seq));
    node.say(origin, &broadcast("w3/0000000000000033/0", 1));
    node.hang_up(origin);
    node.say(witness, &broadcast("w2/0000000000000022/0", 3));
    node.hear(witness);
    node.wait(Duration::from_millis(500));
    let asked = String::from_utf8(node.read_all(witness)).unwrap();
    assert!(asked.contains(r#""needReply":true"#), "{asked}");
    node.say(
        witness,
        r#"{"command":"NEIGHBOURS","links":["w1"],"next":1,"holds":"w2/0000000000000022/0,w3/0000000000000033/0-1"}"#,
    );
    assert_eq!(node.hear(witness), ["ACTIVITY_RETRIEVE w3/0000000000000033/1-1"]);
    node.wait(Duration::from_secs(1));
    assert_eq!(node.hear(client), [r#"{"n":1}"#], "the answer is waited for");
    let missing = activity("w3/0000000000000033/1", 2);
    node.say(
        witness,
        &format!(
            r#"{{"command":"ACTIVITY_RETRIEVED","request":1,"activities":[{{{missing}}}],"done":true}}"#
        ),
    );
    assert_eq!(node.hear(client), [r#"{"n":2}"#, r#"{"n":3}"#]);
}

#[test]
fn a_worker_that_wants_to_know_at_once_what_another_holds_is_told_at_once() {
    let mut node = Node::new();
    let other = neighbour(&mut node, "w2", "");
    node.say(other, r#"{"command":"NEIGHBOURS","links":["w1"],"next":0,"holds":"","needReply":true}"#);
    assert_eq!(node.hear(other), ["NEIGHBOURS w2 0"]);
}

#[test]
fn what_was_taken_for_lost_and_came_during_a_replay_is_not_asked_for_besides() {
    // It had been sent from the log, and when another worker said that it held it, it was asked for and sent once more.
    let mut node = Node::starting("w1", Limits::default(), Remembered::default(), None);
    let coordinator = node.answer_dial();
    node.say(coordinator, &success("net", r#"{"id":"w2","hostname":"w2","port":1}"#));
    let other = neighbour(&mut node, "w2", "w2/0000000000000022/1");
    let broadcast = |n: u64| {
        format!(
            r#"{{"command":"ACTIVITY_BROADCAST","id":"w2/0000000000000022/{n}","session":"AAAAAAAAAAAAAAAAAAAAAA","activity_seq":{},"activity":{{}}}}"#,
            n + 1
        )
    };
    node.say(other, &broadcast(1));
    for request in [1, 2] {
        node.say(
            other,
            &format!(r#"{{"command":"ACTIVITY_RETRIEVED","request":{request},"activities":[],"done":true}}"#),
        );
    }
    node.wait(Duration::from_millis(500));
    node.say(other, r#"{"command":"NEIGHBOURS","links":["w1"],"next":2,"holds":"w2/0000000000000022/1"}"#);
    node.wait(Duration::ZERO);
    assert!(!node.worker.is_recovering(), "nobody has what came before");
    let sender = node.client();
    publish(&mut node, sender, 0..30);
    let client = node.connect();
    node.say(client, FROM_THE_BEGINNING);
    node.say(other, &broadcast(0));
    publish(&mut node, sender, 30..100);
    let first = r#""id":"w2/0000000000000022/0""#;
    let mut heard = String::new();
    while !heard.contains(first) {
        let piece = String::from_utf8(node.read(client, 1_000)).unwrap();
        assert!(!piece.is_empty(), "it is not sent at all");
        heard += &piece;
    }
    node.read_all(other);
    node.say(other, r#"{"command":"NEIGHBOURS","links":["w1"],"next":2,"holds":"w2/0000000000000022/0-1"}"#);
    heard += &String::from_utf8(node.read_all(client)).unwrap();
    let asked = String::from_utf8(node.read_all(other)).unwrap();
    assert!(!asked.contains("ACTIVITY_RETRIEVE"), "{asked}");
    assert_eq!(heard.matches(first).count(), 1);
    assert!(heard.contains("RESUMED"), "the replay ends");
}

/// A worker that had started again did not know any more that both were one, and gave it twice to whoever came with an old position.
#[test]
fn what_another_worker_has_under_another_id_is_not_replayed_from_the_log_besides() {
    let mut node = Node::with("w1", Limits::default());
    let other = neighbour(&mut node, "w2", "");
    let broadcast = |id: &str| {
        format!(
            r#"{{"command":"ACTIVITY_BROADCAST","id":"{id}","session":"AAAAAAAAAAAAAAAAAAAAAA","activity_seq":1,"activity":{{}}}}"#
        )
    };
    let (here, there) = ("w3/0000000000000033/0", "w2/0000000000000022/0");
    node.say(other, &broadcast(here));
    node.say(
        other,
        &format!(r#"{{"command":"NEIGHBOURS","links":["w1"],"next":1,"past":"{there}","holds":""}}"#),
    );
    node.say(other, &format!(r#"{{"command":"NEIGHBOURS","links":["w1"],"next":1,"holds":"{there}"}}"#));
    node.read_all(other);
    let client = node.connect();
    node.say(client, FROM_THE_BEGINNING);
    let asked = String::from_utf8(node.read_all(other)).unwrap();
    let ask = asked.lines().find(|line| line.contains("ACTIVITY_RETRIEVE")).expect("it is asked for");
    let Message::ActivityRetrieve(ask) = Message::decode(ask.as_bytes()).unwrap() else { panic!("{ask}") };
    let activity = broadcast(there).replacen(r#""command":"ACTIVITY_BROADCAST","#, "", 1);
    let request = ask.request;
    node.say(
        other,
        &format!(
            r#"{{"command":"ACTIVITY_RETRIEVED","request":{request},"activities":[{activity}],"done":true}}"#
        ),
    );
    let heard = String::from_utf8(node.read_all(client)).unwrap();
    assert_eq!(heard.matches("ACTIVITY_BROADCAST").count(), 1, "{heard}");
    assert!(heard.contains(there) && heard.contains(r#""recovered":true"#), "{heard}");
}

const HERE: &str = "w3/0000000000000033/0";
const THERE: &str = "w2/0000000000000022/0";

fn first_of_a_session(id: &str) -> String {
    format!(
        r#"{{"command":"ACTIVITY_BROADCAST","id":"{id}","session":"AAAAAAAAAAAAAAAAAAAAAA","activity_seq":1,"activity":{{}}}}"#
    )
}

const DOUBLES: &str = r#""doubles":[{"session":"AAAAAAAAAAAAAAAAAAAAAA","activity_seq":1,"ids":["w2/0000000000000022/0","w3/0000000000000033/0"]}]"#;

/// Its sender had sent it again elsewhere during a cut. A client that had got it there came to a worker which knew that there had been
/// another copy, was asked for by nobody that had it still, and was told of a gap.
#[test]
fn what_a_client_has_under_another_id_is_no_gap_where_somebody_knows_that_both_are_one() {
    let mut node = Node::with("w1", Limits::default());
    let other = neighbour(&mut node, "w2", "");
    node.say(other, &first_of_a_session(HERE));
    let past = format!(r#"{{"command":"NEIGHBOURS","links":["w1"],"next":1,"past":"{THERE}-0","holds":""}}"#);
    node.say(other, &past);
    let resume = |node: &mut Node| {
        let client = node.connect();
        node.say(client, &FROM_THE_BEGINNING.replace(r#""resume":"""#, &format!(r#""resume":"{HERE}-0""#)));
        String::from_utf8(node.read_all(client)).unwrap()
    };
    let heard = resume(&mut node);
    assert!(heard.contains(&format!(r#""recovered":false,"gaps":"{THERE}-0""#)), "nobody knows: {heard}");
    node.say(other, &format!(r#"{{"command":"NEIGHBOURS","links":["w1"],"next":1,{DOUBLES}}}"#));
    let heard = resume(&mut node);
    assert!(heard.contains(r#""recovered":true"#) && !heard.contains("ACTIVITY_BROADCAST"), "{heard}");
}

#[test]
fn who_lacks_an_activity_gets_it_under_whatever_id_somebody_has_it() {
    let mut node = Node::with("w1", Limits::default());
    let other = neighbour(&mut node, "w2", "");
    let past = format!(r#"{{"command":"NEIGHBOURS","links":["w1"],"next":1,"past":"{HERE}-0",{DOUBLES}}}"#);
    node.say(other, &past);
    node.say(other, &format!(r#"{{"command":"NEIGHBOURS","links":["w1"],"next":1,"holds":"{THERE}-0"}}"#));
    node.read_all(other);
    let client = node.connect();
    node.say(client, FROM_THE_BEGINNING);
    let asked = String::from_utf8(node.read_all(other)).unwrap();
    let ask = asked.lines().rfind(|line| line.contains("ACTIVITY_RETRIEVE")).expect("it is asked for");
    let Message::ActivityRetrieve(ask) = Message::decode(ask.as_bytes()).unwrap() else { panic!("{ask}") };
    assert_eq!(ask.within.to_string(), format!("{THERE}-0"));
    let (request, activity) = (ask.request, first_of_a_session(THERE));
    let activity = activity.replacen(r#""command":"ACTIVITY_BROADCAST","#, "", 1);
    let answer = format!(
        r#"{{"command":"ACTIVITY_RETRIEVED","request":{request},"activities":[{activity}],"done":true}}"#
    );
    node.say(other, &answer);
    let heard = String::from_utf8(node.read_all(client)).unwrap();
    assert!(heard.contains("ACTIVITY_BROADCAST") && heard.contains(r#""recovered":true"#), "{heard}");
}

#[test]
fn a_worker_that_drops_a_second_copy_tells_others_which_ids_are_one_activity_now_and_when_they_come() {
    let mut node = Node::with("w1", Limits::default());
    let other = neighbour(&mut node, "w2", "");
    node.say(other, &first_of_a_session(HERE));
    node.say(other, &first_of_a_session(THERE));
    let told = |node: &mut Node, link| String::from_utf8(node.read_all(link)).unwrap().contains(DOUBLES);
    node.read_all(other);
    node.wait(Duration::from_secs(1));
    assert!(told(&mut node, other));
    node.wait(Duration::from_secs(1));
    assert!(!told(&mut node, other), "it was told");
    let joining = node.connect();
    let hello = format!(
        r#"{{"command":"AUTHENTICATE","id":"w4","hostname":"w4","port":1,"secret":"{SECRET}","incarnation":"0000000000000044","load":0}}"#
    );
    node.say(joining, &hello);
    assert!(told(&mut node, joining));
}

/// It was let go of where it had been taken in, during a cut, and its sender had sent it again elsewhere. When the cut was over, nobody knew
/// that both had been one.
#[test]
fn what_a_worker_lets_go_of_and_nobody_else_was_known_to_have_keeps_its_name() {
    let (mut node, sender) = with_a_small_log();
    publish(&mut node, sender, 0..20);
    let other = neighbour(&mut node, "w2", "w1/0000000000000001/0-9");
    publish(&mut node, sender, 20..150);
    let gone = Position::from_str("w1/0000000000000001/0-149").unwrap().without(node.worker.holds());
    node.read_all(other);
    node.wait(Duration::from_secs(1));
    let heard = String::from_utf8(node.read_all(other)).unwrap();
    let mut named = Position::default();
    for line in heard.lines() {
        if let Message::Neighbours(neighbours) = Message::decode(line.as_bytes()).unwrap() {
            let ids = neighbours.doubles.iter().flat_map(|double| &double.ids);
            ids.for_each(|id| _ = named.insert(id));
        }
    }
    assert_eq!(named, gone.without(&"w1/0000000000000001/0-9".parse().unwrap()));
    let numbers = |position: &Position| -> u64 {
        position.streams().flat_map(|(_, ranges)| ranges.iter()).map(|(first, last)| last - first + 1).sum()
    };
    assert_eq!(node.remembered.doubles.len() as u64, numbers(&named));
}

/// It had been at another worker during a cut, where the later ones came first. Only who had stayed there was told that these were late.
#[test]
fn what_a_client_lacks_in_front_of_what_it_has_is_replayed_as_late() {
    let mut node = Node::with("w1", Limits::default());
    let other = neighbour(&mut node, "w2", "");
    for n in 0..6_u64 {
        let broadcast = first_of_a_session(&format!("w2/0000000000000022/{n}"));
        let broadcast = broadcast.replace(r#""activity_seq":1"#, &format!(r#""activity_seq":{}"#, n + 1));
        node.say(other, &broadcast);
    }
    let client = node.connect();
    node.say(client, &FROM_THE_BEGINNING.replace(r#""resume":"""#, r#""resume":"w2/0000000000000022/0+3""#));
    let heard = String::from_utf8(node.read_all(client)).unwrap();
    let heard: Vec<_> = heard
        .lines()
        .filter_map(|line| match Message::decode(line.as_bytes()).unwrap() {
            Message::ActivityBroadcast(broadcast) => {
                Some((broadcast.activity_seq.unwrap().0, broadcast.late))
            }
            _ => None,
        })
        .collect();
    assert_eq!(heard, [(2, true), (3, true), (5, false), (6, false)]);
}

#[test]
fn a_worker_that_has_not_said_yet_what_it_holds_is_waited_for_before_a_gap_is_told() {
    let (mut node, sender) = with_a_small_log();
    publish(&mut node, sender, 0..150);
    // Its link was lost a moment ago, say, and stands again. Its NEIGHBOURS is on its way.
    let other = node.connect();
    node.say(
        other,
        &format!(
            r#"{{"command":"AUTHENTICATE","id":"w2","hostname":"w2","port":1,"secret":"{SECRET}","incarnation":"0000000000000022","load":0}}"#
        ),
    );
    let client = node.connect();
    node.say(client, FROM_THE_BEGINNING);
    let mut heard = String::from_utf8(node.read_all(client)).unwrap();
    node.say(
        other,
        r#"{"command":"NEIGHBOURS","links":["w1"],"next":0,"holds":"w1/0000000000000001/0-149"}"#,
    );
    heard += &String::from_utf8(node.read_all(client)).unwrap();
    assert!(!heard.contains(r#""recovered":false"#), "somebody who can be reached has it and was not asked");
}

#[test]
fn what_comes_from_two_other_workers_comes_in_its_senders_order_or_is_late() {
    let (mut node, sender) = with_a_small_log();
    let some = neighbour(&mut node, "w2", "");
    let all = neighbour(&mut node, "w3", "");
    publish(&mut node, sender, 0..150);
    let frames = String::from_utf8(node.read_all(some)).unwrap();
    let frames: Vec<ActivityBroadcast> = frames
        .lines()
        .filter_map(|line| match Message::decode(line.as_bytes()).unwrap() {
            Message::ActivityBroadcast(broadcast) => Some(broadcast),
            _ => None,
        })
        .collect();
    assert_eq!(frames.len(), 150);
    for (link, first) in [(some, 40), (all, 0)] {
        let holds = format!("w1/0000000000000001/{first}-149");
        node.say(link, &format!(r#"{{"command":"NEIGHBOURS","links":["w1"],"next":0,"holds":"{holds}"}}"#));
        node.read_all(link);
    }
    let client = node.connect();
    node.say(client, FROM_THE_BEGINNING);
    let mut heard = String::new();
    for _ in 0..20 {
        for link in [some, all] {
            let asked = String::from_utf8(node.read_all(link)).unwrap();
            for line in asked.lines() {
                let Message::ActivityRetrieve(ask) = Message::decode(line.as_bytes()).unwrap() else {
                    continue;
                };
                let wanted = |frame: &&ActivityBroadcast| ask.within.contains(frame.id.as_ref().unwrap());
                let activities = frames.iter().filter(wanted).cloned().collect();
                let answer = ActivityRetrieved { request: ask.request, activities, done: true };
                let answer = String::from_utf8(Message::from(answer).encode()).unwrap();
                node.say(link, answer.trim_end());
            }
        }
        heard += &String::from_utf8(node.read_all(client)).unwrap();
    }
    assert!(heard.contains(r#""recovered":true"#));
    let mut last = 0;
    for line in heard.lines() {
        if let Message::ActivityBroadcast(it) = Message::decode(line.as_bytes()).unwrap() {
            let seq = it.activity_seq.unwrap().0;
            assert!(seq > last || it.late, "{seq} after {last}");
            last = last.max(seq);
        }
    }
    assert_eq!(last, 150);
}

#[test]
fn a_link_that_is_made_anew_while_its_worker_is_asked_for_a_client_makes_no_gap() {
    let (mut node, sender) = with_a_small_log();
    publish(&mut node, sender, 0..150);
    let other = neighbour(&mut node, "w2", "w1/0000000000000001/0-149");
    let client = node.connect();
    node.say(client, FROM_THE_BEGINNING);
    node.hang_up(other);
    let mut heard = String::from_utf8(node.read_all(client)).unwrap();
    neighbour(&mut node, "w2", "w1/0000000000000001/0-149");
    heard += &String::from_utf8(node.read_all(client)).unwrap();
    assert!(!heard.contains(r#""recovered":false"#), "it was away for a moment, and the gap is for ever");
}

/// Two copies, of two ids; this worker has dropped the other one and knows that both are one. Who comes with a token alone, in a new process,
/// recognises nothing by session and number.
#[test]
fn what_a_token_has_under_another_id_is_not_replayed_where_it_is_known_that_both_are_one() {
    let mut node = Node::with("w1", Limits::default());
    let other = neighbour(&mut node, "w2", "");
    node.say(other, &first_of_a_session(THERE));
    node.say(other, &first_of_a_session(HERE));
    node.wait(Duration::from_secs(1));
    let told = String::from_utf8(node.read_all(other)).unwrap();
    assert!(told.contains(DOUBLES), "it knows");
    let client = node.connect();
    node.say(client, &FROM_THE_BEGINNING.replace(r#""resume":"""#, &format!(r#""resume":"{HERE}-0""#)));
    let heard = String::from_utf8(node.read_all(client)).unwrap();
    assert!(heard.contains(r#""recovered":true"#), "{heard}");
    assert!(!heard.contains("ACTIVITY_BROADCAST"), "the client has it: {heard}");
}

/// More than 64 questions wait for the disk of the other worker: what it says to the next one is answered by the same question at once, as
/// fast as both can, for as long as that disk takes, for each of the clients that resume here.
#[test]
fn who_is_told_that_the_disk_is_waited_for_does_not_ask_again_at_once() {
    let mut node = Node::with("w1", Limits::default());
    let other = neighbour(&mut node, "w2", "");
    node.say(other, r#"{"command":"NEIGHBOURS","links":["w1"],"next":8,"past":"w3/0000000000000033/0-7"}"#);
    node.say(other, r#"{"command":"NEIGHBOURS","links":["w1"],"next":8,"holds":"w3/0000000000000033/0-7"}"#);
    // It asks for these itself, too; that is answered.
    node.say(other, r#"{"command":"ACTIVITY_RETRIEVED","request":1,"activities":[],"done":true}"#);
    node.read_all(other);
    let client = node.connect();
    node.say(client, FROM_THE_BEGINNING);
    let mut rounds = 0;
    while rounds < 100 {
        let asked = String::from_utf8(node.read_all(other)).unwrap();
        let Some(ask) = asked.lines().rfind(|line| line.contains("ACTIVITY_RETRIEVE")) else { break };
        let Message::ActivityRetrieve(ask) = Message::decode(ask.as_bytes()).unwrap() else {
            panic!("{ask}")
        };
        rounds += 1;
        let request = ask.request;
        node.say(
            other,
            &format!(
                r#"{{"command":"ACTIVITY_RETRIEVED","request":{request},"activities":[],"done":false}}"#
            ),
        );
    }
    assert!(rounds < 3, "{rounds} questions within no time");
}

/// Somebody publishes the same in one session at two workers at once, and something else at the second one in between: each number that
/// came twice is a hole in what is held of the second one. A digest of many holes was longer than a line may be, and every link was refused.
#[test]
fn what_is_held_is_said_in_a_line_however_many_holes_it_has() {
    let mut node = Node::new();
    let (one, two) = (neighbour(&mut node, "w2", ""), neighbour(&mut node, "w3", ""));
    let numbers = 17_000;
    for number in 0..numbers {
        let tell = |node: &mut Node, link, id: String, session: u128| {
            let broadcast = ActivityBroadcast {
                id: Some(id.parse().unwrap()),
                session: Some(common::session::SessionId(session)),
                activity_seq: Some(common::id::Seq(number + 1)),
                ..common::wire::Activity::parse("{}").unwrap().into()
            };
            node.event(Event::Received { link, message: Message::from(broadcast), epoch: None });
        };
        tell(&mut node, one, format!("w2/0000000000000022/{number}"), 7);
        tell(&mut node, two, format!("w3/0000000000000033/{}", 2 * number), 7);
        tell(&mut node, two, format!("w3/0000000000000033/{}", 2 * number + 1), 8);
        if number % 1_000 == 0 {
            [one, two].into_iter().for_each(|link| _ = node.read_all(link));
        }
    }
    assert!(node.worker.log.holds().len() as u64 >= numbers);
    let holds = node.worker.digest(node.now).holds.unwrap();
    assert!(holds.len() < 1_000, "{} ranges", holds.len());
    assert!(node.worker.log.holds().is_within(&holds));
}

/// Its first word has its neighbour announce it to all, and it reads nothing itself: its link is closed in the middle of that word.
#[test]
fn a_worker_that_is_cut_off_by_its_own_first_word_is_gone_and_nothing_else() {
    let mut node = Node::with("w1", Limits { server_outbox_bytes: 1_000, ..Limits::default() });
    let client = node.client();
    let slow = node.connect();
    node.say(
        slow,
        &format!(
            r#"{{"command":"AUTHENTICATE","id":"w2","hostname":"w2","port":1,"secret":"{SECRET}","incarnation":"0000000000000022"}}"#
        ),
    );
    let room = |node: &Node| 1_000 - node.worker.output(slow).len();
    let padding = "x".repeat(room(&node) - 190);
    node.say(client, &format!(r#"{{"command":"ACTIVITY_MESSAGE","activity":{{"x":"{padding}"}}}}"#));
    assert!((1..60).contains(&room(&node)), "{} bytes are left", room(&node));
    node.say(slow, r#"{"command":"NEIGHBOURS","links":["w1"],"next":0,"holds":""}"#);
    assert!(!node.links.contains_key(slow));
}

/// Its disk hung, and it said every second that there would be more: the client heard neither what others had nor of a gap.
#[test]
fn who_waits_for_its_disk_for_ever_is_asked_in_vain() {
    let mut node = Node::with("w1", Limits::default());
    let other = neighbour(&mut node, "w2", "");
    node.say(other, r#"{"command":"NEIGHBOURS","links":["w1"],"next":8,"past":"w3/0000000000000033/0-7"}"#);
    node.say(other, r#"{"command":"NEIGHBOURS","links":["w1"],"next":8,"holds":"w3/0000000000000033/0-7"}"#);
    let client = node.connect();
    node.say(client, FROM_THE_BEGINNING);
    let mut heard = String::new();
    for _ in 0..30 {
        let asked = String::from_utf8(node.read_all(other)).unwrap();
        for line in asked.lines().filter(|line| line.contains("ACTIVITY_RETRIEVE")) {
            let Message::ActivityRetrieve(ask) = Message::decode(line.as_bytes()).unwrap() else {
                panic!("{line}")
            };
            let request = ask.request;
            let answer = r#""activities":[],"done":false}"#;
            node.say(other, &format!(r#"{{"command":"ACTIVITY_RETRIEVED","request":{request},{answer}"#));
        }
        node.pass(Duration::from_millis(500));
        node.event(Event::DeadlinePassed);
        heard += &String::from_utf8(node.read_all(client)).unwrap();
    }
    assert!(heard.contains(r#""recovered":false"#), "{heard}");
}
