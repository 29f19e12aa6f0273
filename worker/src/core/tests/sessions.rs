//! Clients that have a session: what they publish is numbered and reported, what they receive is acknowledged, and they can be moved.

use common::session::SessionKey;
use common::user::Username;

use super::mesh::Mesh;
use super::*;

const KEY: &str = "0123456789abcdef";

impl Node {
    /// A client that goes on with the session of `key`, or begins it.
    pub(super) fn capable(&mut self, key: &str) -> LinkId {
        let link = self.connect();
        self.say(
            link,
            &format!(
                r#"{{"command":"LOGIN","username":"anonymous","capabilities":["session"],"session":"{key}"}}"#
            ),
        );
        assert_eq!(self.hear(link)[0], "LOGIN_SUCCESS logged in as anonymous");
        link
    }

    fn publish_numbered(&mut self, link: LinkId, seq: u64, number: u64) {
        self.say(
            link,
            &format!(r#"{{"command":"ACTIVITY_MESSAGE","activity_seq":{seq},"activity":{{"n":{number}}}}}"#),
        );
    }

    fn acknowledge(&mut self, link: LinkId, received: u64) {
        self.say(link, &format!(r#"{{"command":"ACTIVITY_ACK","received":{received}}}"#));
    }
}

fn activity(number: u64) -> String {
    format!(r#"{{"authenticated_user":"anonymous","n":{number}}}"#)
}

#[test]
fn a_sender_learns_how_many_have_it_when_they_have_said_so() {
    let mut node = Node::new();
    let (sender, other, classic) = (node.capable(KEY), node.capable("another-session-key"), node.client());
    node.publish_numbered(sender, 1, 7);
    for link in [sender, other, classic] {
        assert_eq!(node.hear(link), [activity(7)]);
    }
    node.acknowledge(sender, 1);
    node.wait(Duration::from_millis(100));
    assert_eq!(node.hear(sender), [] as [&str; 0], "one has not said that it has it");
    node.acknowledge(other, 1);
    node.wait(Duration::from_millis(100));
    assert_eq!(node.hear(sender), ["ACTIVITY_SENDING_REPORT 1: 3+0=3 Local []"]);
}

#[test]
fn who_leaves_unread_and_who_is_slow_has_not_received_it() {
    let mut node = Node::new();
    let (sender, leaves, slow) = (node.capable(KEY), node.capable("another-session-key"), node.client());
    node.publish_numbered(sender, 1, 7);
    node.hear(sender);
    node.acknowledge(sender, 1);
    node.hang_up(leaves);
    node.wait(Duration::from_secs(5));
    assert_eq!(node.hear(sender), ["ACTIVITY_SENDING_REPORT 1: 1+2=3 Local []"]);
    assert_eq!(node.hear(slow), [activity(7)]);
}

#[test]
fn what_is_sent_again_is_published_once_and_reported_again() {
    let mut node = Node::new();
    let (sender, classic) = (node.capable(KEY), node.client());
    node.publish_numbered(sender, 1, 7);
    node.hang_up(sender);
    assert_eq!(node.hear(classic), [activity(7)]);
    let sender = node.capable(KEY);
    node.publish_numbered(sender, 1, 7);
    node.publish_numbered(sender, 2, 8);
    assert_eq!(node.hear(classic), [activity(8)]);
    assert_eq!(node.hear(sender), [activity(8)], "its position says that it has the first");
    node.acknowledge(sender, 1);
    node.wait(Duration::from_millis(100));
    let reports = ["1: 1+1=2", "2: 2+0=2"].map(|counts| format!("ACTIVITY_SENDING_REPORT {counts} Local []"));
    assert_eq!(node.hear(sender), reports);
}

#[test]
fn numbers_that_make_no_sense_are_refused_and_nothing_of_them_is_published() {
    let wrong = [
        (5, 7, "activity_seq 5 comes where 2 was to come"),
        (1, 7, "activity_seq 1 comes where 2 was to come"),
        (1 << 60, 7, "activity_seq 1152921504606846976 comes where 2 was to come"),
    ];
    for (seq, number, reason) in wrong {
        let mut node = Node::new();
        let (sender, classic) = (node.capable(KEY), node.client());
        node.publish_numbered(sender, 1, 7);
        node.hear(classic);
        node.publish_numbered(sender, seq, number);
        let heard = node.hear(sender);
        assert_eq!(heard[heard.len() - 2..], [format!("INVALID_MESSAGE {reason}"), "(closed)".to_owned()]);
        assert_eq!(node.hear(classic), [] as [&str; 0]);
    }
}

#[test]
fn another_activity_under_a_number_that_is_taken_is_refused() {
    let mut node = Node::new();
    let (sender, classic) = (node.capable(KEY), node.client());
    for number in 1..=3 {
        node.publish_numbered(sender, number, number + 10);
    }
    node.hang_up(sender);
    let sender = node.capable(KEY);
    node.publish_numbered(sender, 1, 11);
    assert_eq!(node.hear(sender), [] as [&str; 0], "the same again is no mistake");
    node.publish_numbered(sender, 2, 11);
    assert_eq!(
        node.hear(sender),
        ["INVALID_MESSAGE activity_seq 2 of this session is another activity already", "(closed)"]
    );
    assert_eq!(node.hear(classic), [activity(11), activity(12), activity(13)]);
}

#[test]
fn who_sends_two_activities_under_one_number_to_two_workers_is_told_so() {
    let mut node = Node::new();
    let (sender, classic) = (node.capable(KEY), node.client());
    let worker = stream::neighbour(&mut node, "w2", "");
    node.publish_numbered(sender, 1, 11);
    assert_eq!(node.hear(sender), [activity(11)]);
    let session = KEY.parse::<SessionKey>().unwrap().session(&Username::anonymous());
    let other = |n: u64| {
        format!(
            r#"{{"command":"ACTIVITY_BROADCAST","id":"w2/0000000000000022/{n}","session":"{session}","activity_seq":1,"activity":{}}}"#,
            activity(n + 11)
        )
    };
    node.say(worker, &other(0));
    assert_eq!(node.hear(sender), [] as [&str; 0], "it is the same");
    node.say(worker, &other(1));
    assert_eq!(
        node.hear(sender),
        ["INVALID_MESSAGE activity_seq 1 of this session is another activity already", "(closed)"]
    );
    assert_eq!(node.hear(classic), [activity(11)]);
}

#[test]
fn nobody_acknowledges_what_was_not_sent_or_without_a_session() {
    let mut node = Node::new();
    let (sender, classic) = (node.capable(KEY), node.client());
    node.acknowledge(sender, 1);
    assert_eq!(
        node.hear(sender),
        ["INVALID_MESSAGE more activities are acknowledged than were sent", "(closed)"]
    );
    node.acknowledge(classic, 0);
    assert_eq!(
        node.hear(classic),
        ["INVALID_MESSAGE ACTIVITY_ACK is for clients that have a session", "(closed)"]
    );
}

#[test]
fn a_session_goes_on_over_one_connection_alone() {
    let mut node = Node::new();
    let old = node.capable(KEY);
    let new = node.capable(KEY);
    assert_eq!(node.hear(old), ["INVALID_MESSAGE the session goes on over another connection", "(closed)"]);
    node.publish_numbered(new, 1, 7);
    assert_eq!(node.hear(new), [activity(7)]);
}

#[test]
fn a_position_of_another_network_or_of_absurd_length_is_refused() {
    let (mut node, _) = Node::joined();
    let login = |rest: String| {
        format!(
            r#"{{"command":"LOGIN","username":"anonymous","capabilities":["session"],"session":"{KEY}",{rest}}}"#
        )
    };
    let ranges: Vec<String> = (0..5_000).map(|number| (number * 2).to_string()).collect();
    for (wrong, reason) in [
        (
            r#""resume":"w9/00000000000000ff/0-7","network":"other""#.to_owned(),
            "the position is of the network other, and this is net",
        ),
        (
            format!(r#""resume":"w9/00000000000000ff/{}""#, ranges.join("+")),
            "a position has at most 4096 ranges",
        ),
    ] {
        let link = node.connect();
        node.say(link, &login(wrong));
        assert_eq!(node.hear(link), [format!("LOGIN_FAILED {reason} (position)"), "(closed)".to_owned()]);
    }
    // One that is ahead of everything that is known here is legal; but what came after it, if anything did, nobody here can tell.
    let ahead = node.connect();
    node.say(ahead, &login(r#""resume":"w9/00000000000000ff/0-7","network":"net""#.to_owned()));
    assert_eq!(node.hear(ahead)[1..], ["RESUMED false [] w9/00000000000000ff/0-7"]);
}

#[test]
fn whoever_comes_back_gets_what_it_missed_and_then_what_is_new() {
    let mut node = Node::new();
    let (sender, classic) = (node.capable(KEY), node.client());
    for number in 1..=5 {
        node.publish_numbered(sender, number, number);
    }
    node.hear(classic);
    let link = node.connect();
    node.say(link, r#"{"command":"LOGIN","username":"anonymous","capabilities":["session"],"session":"another-session-key","resume":"w1/0000000000000001/0-1"}"#);
    node.publish_numbered(sender, 6, 6);
    let heard = node.hear(link);
    let expected = ["LOGIN_SUCCESS logged in as anonymous".to_owned()]
        .into_iter()
        .chain((3..=5).map(activity))
        .chain(["RESUMED true [] w1/0000000000000001/0-4".to_owned(), activity(6)]);
    assert_eq!(heard, expected.collect::<Vec<_>>());
    // What was replayed is not reported, what came afterwards is.
    node.acknowledge(link, 4);
}

#[test]
fn a_report_counts_the_clients_of_every_worker_once() {
    let mut mesh = Mesh::new(3);
    let sender = mesh.nodes[0].capable(KEY);
    let others: Vec<LinkId> = (0..3).map(|node| mesh.nodes[node].client()).collect();
    mesh.settle();
    mesh.nodes[0].publish_numbered(sender, 1, 7);
    mesh.run();
    for (node, link) in others.iter().enumerate() {
        assert_eq!(mesh.nodes[node].hear(*link), [activity(7)]);
    }
    assert_eq!(mesh.nodes[0].hear(sender)[0], activity(7));
    mesh.nodes[0].acknowledge(sender, 1);
    mesh.settle();
    assert_eq!(mesh.nodes[0].hear(sender), ["ACTIVITY_SENDING_REPORT 1: 4+0=4 Replicated []"]);
}

#[test]
fn a_drain_hands_clients_to_other_workers_and_classic_ones_are_redirected() {
    let mut mesh = Mesh::new(2);
    let (sender, classic) = (mesh.nodes[0].capable(KEY), mesh.nodes[0].client());
    mesh.nodes[0].publish_numbered(sender, 1, 7);
    mesh.nodes[0].event(Event::Input(Input::Drain));
    mesh.nodes[0].wait(Duration::from_secs(1));
    assert_eq!(mesh.nodes[0].hear(sender), ["QUIT w2:1 (token)".to_owned(), activity(7)]);
    assert_eq!(mesh.nodes[0].hear(classic), [activity(7), "REDIRECT".to_owned(), "(closed)".to_owned()]);
    mesh.nodes[0].acknowledge(sender, 1);
    mesh.nodes[0].hang_up(sender);
    mesh.run();
    assert_eq!(mesh.nodes[0].exit, Some(Ok(())));
}

/// Of two workers one was started again, and the other one told to stop a moment later: its clients were sent nowhere within a second.
#[test]
fn a_drain_waits_for_the_one_worker_that_is_about_to_take_clients() {
    let mut node = Node::new();
    let joining = stream::neighbour(&mut node, "w2", "");
    let says = |recovering| {
        format!(r#"{{"command":"NEIGHBOURS","links":["w1"],"next":0,"holds":"","recovering":{recovering}}}"#)
    };
    node.say(joining, &says(true));
    let clients: Vec<LinkId> = (0..10).map(|_| node.client()).collect();
    node.event(Event::Input(Input::Drain));
    node.wait(Duration::from_secs(2));
    node.say(joining, &says(false));
    node.wait(Duration::from_secs(2));
    let sent: Vec<String> = clients.iter().map(|link| node.hear(*link)[0].clone()).collect();
    assert!(sent.iter().all(|told| told == "REDIRECT w2:1"), "{sent:?}");
}

/// One that had just joined was sent as many as the others, which were full: the coordinator moved them on to it afterwards.
#[test]
fn a_drain_sends_clients_to_where_the_fewest_are() {
    let mut mesh = Mesh::new(3);
    let keys = (0..6).map(|number| format!("a-session-key-of-{number}"));
    let clients: Vec<LinkId> = keys.map(|key| mesh.nodes[0].capable(&key)).collect();
    (0..4).for_each(|_| _ = mesh.nodes[1].client());
    mesh.settle();
    clients.iter().for_each(|link| _ = mesh.nodes[0].hear(*link));
    mesh.nodes[0].event(Event::Input(Input::Drain));
    mesh.nodes[0].wait(Duration::from_secs(1));
    let told: Vec<String> = clients.iter().flat_map(|link| mesh.nodes[0].hear(*link)).collect();
    let to = |worker: &str| told.iter().filter(|told| told.contains(worker)).count();
    assert_eq!((to("QUIT w2:1"), to("QUIT w3:1")), (1, 5), "{told:?}");
}

#[test]
fn a_drain_leaves_whom_the_coordinator_has_just_sent_on_to_go_by_itself() {
    // No other worker was linked then, so there was nowhere to send clients to: it was closed as soon as its QUIT had been written, before
    // it could acknowledge what it had.
    let mut node = Node::new();
    let coordinator = node.answer_dial();
    node.say(coordinator, &success("net", r#"{"id":"w2","hostname":"w2","port":1}"#));
    let client = node.capable(KEY);
    node.wait_with(coordinator, Duration::from_secs(10));
    node.say(coordinator, r#"{"command":"MOVE_CLIENTS","count":1,"to":"w2"}"#);
    node.publish_numbered(client, 1, 7);
    node.event(Event::Input(Input::Drain));
    node.wait(Duration::from_secs(1));
    // What it published since then is not counted for it here any more.
    let report = "ACTIVITY_SENDING_REPORT 1: 0+0=0 Local [w2]".to_owned();
    let heard = ["QUIT w2:1 (token)".to_owned(), report, activity(7)];
    assert_eq!(node.hear(client), heard, "and it is not closed");
    node.acknowledge(client, 1);
    node.hang_up(client);
    node.wait(Duration::from_secs(1));
    assert_eq!(node.exit, Some(Ok(())));
}

#[test]
fn who_asks_for_everything_again_and_again_gets_it_at_a_bounded_pace() {
    let mut node = Node::with("w1", Limits { intake_bytes: 10_000, ..Limits::default() });
    let (sender, greedy) = (node.capable(KEY), node.capable("another-session-key"));
    for number in 1..=10 {
        node.publish_numbered(sender, number, number);
    }
    node.hear(greedy);
    let ask = r#"{"command":"ACTIVITY_RETRIEVE","after":""}"#;
    node.say(greedy, ask);
    let after = node.worker.read_after(greedy).expect("there is a pace");
    assert!(after > node.now.time + Duration::from_millis(50), "{after:?}");
    assert_eq!(node.hear(greedy), ["ACTIVITY_RETRIEVED"]);
    assert!(node.worker.read_after(sender) <= Some(node.now.time), "nobody else waits for that");
    node.say(greedy, ask);
    node.say(greedy, ask);
    let heard = node.hear(greedy);
    assert_eq!(
        heard[heard.len() - 2..],
        [
            "INVALID_MESSAGE ACTIVITY_RETRIEVE before the last one's answer, or what was missed, was taken",
            "(closed)"
        ]
    );
}

#[test]
fn who_asks_right_behind_its_log_in_is_answered_and_during_a_replay_is_not() {
    // LOGIN_SUCCESS was not written yet, and was taken for an answer that it had not waited for.
    let mut node = Node::new();
    let sender = node.capable(KEY);
    node.publish_numbered(sender, 1, 7);
    let login = |resume: &str| {
        format!(
            r#"{{"command":"LOGIN","username":"anonymous","capabilities":["session"],"session":"another-session-key"{resume}}}"#
        )
    };
    let ask = r#"{"command":"ACTIVITY_RETRIEVE","after":""}"#;
    let hasty = node.connect();
    node.say(hasty, &login(""));
    node.say(hasty, ask);
    assert_eq!(node.hear(hasty), ["LOGIN_SUCCESS logged in as anonymous", "ACTIVITY_RETRIEVED"]);
    node.hang_up(hasty);

    for number in 2..400 {
        node.say(
            sender,
            &format!(
                r#"{{"command":"ACTIVITY_MESSAGE","activity_seq":{number},"activity":{{"n":"{}"}}}}"#,
                "x".repeat(1_000)
            ),
        );
    }
    let hasty = node.connect();
    node.say(hasty, &login(r#","resume":"w1/0000000000000001/0""#));
    node.say(hasty, ask);
    let heard = node.hear(hasty);
    assert_eq!(heard.last().map(String::as_str), Some("(closed)"));
    assert!(heard[heard.len() - 2].ends_with("or what was missed, was taken"), "{heard:?}");
}

#[test]
fn who_has_got_it_at_another_worker_is_not_counted_again_where_it_goes() {
    // It moved while that worker was slow, and both counted it.
    let mut node = Node::new();
    let worker = stream::neighbour(&mut node, "w2", "");
    let client = node.connect();
    node.say(
        client,
        &format!(
            r#"{{"command":"LOGIN","username":"anonymous","capabilities":["session"],"session":"{KEY}","resume":"w2/0000000000000022/0"}}"#
        ),
    );
    let other = node.capable("another-session-key");
    node.hear(client);
    for n in 0..2 {
        node.say(worker, &broadcast(n));
    }
    for link in [client, other] {
        node.hear(link);
        node.acknowledge(link, 2);
    }
    assert_eq!(counts(&mut node, worker), [(1, 1, 1), (2, 2, 2)]);
}

#[test]
fn who_comes_after_an_activity_was_taken_for_past_is_not_counted_when_it_comes_after_all() {
    // When the worker started, it waited for its turn at another one, which did not hold it yet: it seemed to be older than all. A client
    // that had got it there came, and was counted here, too; so was one that began here, and passed it over.
    let mut node = Node::starting("w1", Limits::default(), Remembered::default(), None);
    let coordinator = node.answer_dial();
    node.say(coordinator, &success("net", r#"{"id":"w2","hostname":"w2","port":1}"#));
    let worker = stream::neighbour(&mut node, "w2", "w2/0000000000000022/1");
    node.say(worker, &broadcast(1));
    // It was asked for that one, and then for what is before it.
    for request in [1, 2] {
        let answer =
            format!(r#"{{"command":"ACTIVITY_RETRIEVED","request":{request},"activities":[],"done":true}}"#);
        node.say(worker, &answer);
    }
    // It was also asked what it holds, and did not say.
    node.wait(Duration::from_secs(3));
    assert!(!node.worker.is_recovering());
    let client = node.connect();
    let login = format!(
        r#"{{"command":"LOGIN","username":"anonymous","capabilities":["session"],"session":"{KEY}","resume":"w2/0000000000000022/0-1"}}"#
    );
    node.say(client, &login);
    assert_eq!(node.hear(client)[1..], ["RESUMED true [] w2/0000000000000022/0-1"]);
    let other = node.capable("another-session-key");
    counts(&mut node, worker);
    for n in [0, 2] {
        node.say(worker, &broadcast(n));
    }
    for link in [client, other] {
        assert_eq!(node.hear(link).len(), 2);
        node.acknowledge(link, 2);
    }
    assert_eq!(counts(&mut node, worker), [(1, 0, 0), (3, 2, 2)]);
}

/// The neighbour `w2` passes on its activity `n`, the one after `n` others of a session.
fn broadcast(n: u64) -> String {
    format!(
        r#"{{"command":"ACTIVITY_BROADCAST","id":"w2/0000000000000022/{n}","session":"AAAAAAAAAAAAAAAAAAAAAA","activity_seq":{},"activity":{{}}}}"#,
        n + 1
    )
}

/// What a neighbour is told soon: for how many each activity was, and how many have it.
fn counts(node: &mut Node, worker: LinkId) -> Vec<(u64, u64, u64)> {
    node.wait(Duration::from_millis(100));
    let told = String::from_utf8(node.read_all(worker)).unwrap();
    let infos = told.lines().filter_map(|line| match Message::decode(line.as_bytes()).unwrap() {
        Message::ActivitySuccInfo(info) => Some(info.counts),
        _ => None,
    });
    infos.flatten().map(|count| (count.first.0, count.client_count, count.succ_count)).collect()
}

#[test]
fn a_drain_sends_nobody_to_a_worker_that_leaves_too() {
    for leaves_first in [true, false] {
        let mut node = Node::new();
        let leaving = stream::neighbour(&mut node, "w2", "");
        stream::neighbour(&mut node, "w3", "");
        let clients: Vec<LinkId> = (0..100).map(|_| node.client()).collect();
        if leaves_first {
            node.say(leaving, r#"{"command":"QUIT"}"#);
        }
        node.event(Event::Input(Input::Drain));
        if !leaves_first {
            // A moment later. Two have been told by then.
            node.say(leaving, r#"{"command":"QUIT"}"#);
        }
        node.wait(Duration::from_secs(2));
        let sent = clients.iter().map(|link| node.hear(*link)[0].clone());
        let wrong = sent.filter(|told| told == "REDIRECT w2:1").count();
        assert!(wrong <= if leaves_first { 0 } else { 2 }, "{wrong} of 100 are sent where nobody is let in");
    }
}

#[test]
fn clients_are_not_told_of_a_worker_that_leaves() {
    let mut node = Node::new();
    let coordinator = node.answer_dial();
    node.say(coordinator, &success("net", ""));
    node.say(
        coordinator,
        r#"{"command":"BACKUP_LIST","servers":[{"id":"c","hostname":"c","port":1,"role":"main"}]}"#,
    );
    let leaving = stream::neighbour(&mut node, "w2", "");
    node.say(leaving, r#"{"command":"QUIT"}"#);
    node.say(coordinator, r#"{"command":"REMOVE_SERVER","id":"w2"}"#);
    let client = node.connect();
    node.say(client, r#"{"command":"LOGIN","username":"anonymous","capabilities":["backup_list"]}"#);
    node.wait(Duration::from_millis(1_500));
    let heard = node.hear(client).join("\n");
    assert!(heard.contains("BACKUP_LIST") && !heard.contains("w2:1"), "{heard}");
}

/// What it published meanwhile went through workers to which this one is cut off, or that have lost it. Of whom nothing at all is known may go
/// on with any number up to 2^40; who is known from long ago was refused, for ever.
#[test]
fn who_published_much_elsewhere_may_go_on_where_little_of_it_is_known() {
    let mut node = Node::new();
    let first = node.capable(KEY);
    node.publish_numbered(first, 1, 7);
    node.hear(first);
    node.hang_up(first);
    let back = node.capable(KEY);
    node.publish_numbered(back, 200_000, 8);
    assert!(node.links.contains_key(back), "{:?}", node.hear(back));
}

#[test]
fn a_drain_sends_nobody_to_a_worker_that_still_catches_up() {
    let mut node = Node::new();
    let joining = node.connect();
    node.say(
        joining,
        &format!(
            r#"{{"command":"AUTHENTICATE","id":"w2","hostname":"w2","port":1,"secret":"{SECRET}","incarnation":"0000000000000022"}}"#
        ),
    );
    node.say(joining, r#"{"command":"NEIGHBOURS","links":["w1"],"next":0,"holds":"","recovering":true}"#);
    stream::neighbour(&mut node, "w3", "");
    let clients: Vec<LinkId> = (0..10).map(|_| node.client()).collect();
    node.event(Event::Input(Input::Drain));
    node.wait(Duration::from_secs(2));
    let sent: Vec<String> = clients.iter().map(|link| node.hear(*link)[0].clone()).collect();
    assert!(sent.iter().all(|told| told == "REDIRECT w3:1"), "{sent:?}");
}
