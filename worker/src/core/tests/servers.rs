use super::*;

const GREETING: &str = r#"{"command":"AUTHENTICATE","id":"w0","hostname":"w0","port":1,"secret":"the network's secret","incarnation":"0000000000000000"}"#;

/// Another worker has come to `node` and heard its first words.
fn neighbour(node: &mut Node) -> LinkId {
    let link = node.connect();
    node.say(link, GREETING);
    assert_eq!(node.hear(link)[0], "AUTHENTICATE_SUCCESS");
    node.say(link, r#"{"command":"NEIGHBOURS","links":[],"next":0}"#);
    node.hear(link);
    link
}

#[test]
fn an_absurd_epoch_is_refused_whoever_says_it_and_not_passed_on() {
    const EPOCH: &str = r#","epoch":"9223372036854775807@evil"}"#;
    let (mut node, coordinator) = Node::joined();
    let other = neighbour(&mut node);
    node.hear(coordinator);
    let (newcomer, asking) = (node.connect(), node.connect());
    for (who, line, answer) in [
        (other, r#"{"command":"NEIGHBOURS","links":[],"next":0}"#, "INVALID_MESSAGE"),
        (newcomer, GREETING, "AUTHENTICATION_FAIL"),
        (
            asking,
            r#"{"command":"MAIN_QUERY","id":"c9","secret":"the network's secret"}"#,
            "AUTHENTICATION_FAIL",
        ),
        (coordinator, r#"{"command":"HEARTBEAT","role":"main"}"#, "INVALID_MESSAGE"),
    ] {
        node.hear(who);
        node.say(who, &format!("{}{EPOCH}", line.trim_end_matches('}')));
        let heard = node.hear(who);
        assert!(heard.first().is_some_and(|first| first.starts_with(answer)), "{answer}: {heard:?}");
        assert!(!node.links.contains_key(who), "{answer}");
        assert_eq!(node.worker.epoch, None);
    }
}

fn broadcast(origin: &str, seq: u64) -> String {
    let number = seq + 1;
    format!(
        r#"{{"command":"ACTIVITY_BROADCAST","id":"{origin}/0000000000000000/{seq}","session":"AAAAAAAAAAAAAAAAAAAAAA","activity_seq":{number},"activity":{{"n":{seq}}}}}"#
    )
}

#[test]
fn a_worker_dials_until_a_coordinator_answers_and_announces_its_load_afresh() {
    let mut node = Node::new();
    node.client();
    for _ in 0..5 {
        node.refuse_dial();
        node.wait(Duration::from_secs(6));
    }
    let coordinator = node.answer_dial();
    assert_eq!(node.hear(coordinator), ["AUTHENTICATE w1 Some(1)"]);
    node.client();
    assert_eq!(node.hear(coordinator), [] as [&str; 0], "nothing before it was let in");
    node.say(coordinator, &success("net", ""));
    assert_eq!((node.worker.upstream(), node.hear(coordinator)), (true, vec!["SERVER_LOAD 2".to_owned()]));
    node.wait_with(coordinator, Duration::from_secs(5));
    assert_eq!(node.hear(coordinator), ["SERVER_LOAD 2"; 5], "a sign of life each second");
}

#[test]
fn a_coordinator_that_goes_silent_is_given_up_and_the_next_one_is_dialled_at_once() {
    let (mut node, coordinator) = Node::joined();
    node.wait_with(coordinator, Duration::from_secs(10));
    node.say(coordinator, &backup_list(&["c", "d"]));
    node.wait(Duration::from_millis(1_999));
    assert!(node.worker.upstream());
    node.wait(Duration::from_millis(1));
    assert!(!node.worker.upstream() && !node.links.contains_key(coordinator));
    assert_eq!(node.dialling(), "d:3780");
    let parked = node.answer_dial();
    node.wait(Duration::from_millis(4_999));
    assert!(node.links.contains_key(parked), "it may want to know first whether it takes over");
    node.wait(Duration::from_millis(1));
    assert!(!node.links.contains_key(parked), "it did not answer AUTHENTICATE");
}

#[test]
fn a_worker_whose_place_another_one_takes_does_not_drive_that_out_at_once() {
    // Two workers with one id drove each other out eighteen times a second, and activities were lost between their links.
    let (mut node, mut coordinator) = Node::joined();
    let mut joined = 0;
    let end = node.now.time + Duration::from_secs(60);
    while node.now.time < end {
        node.wait_with(coordinator, Duration::from_secs(3));
        node.say(coordinator, r#"{"command":"INVALID_MESSAGE","info":"this server has connected anew"}"#);
        node.wait(Duration::from_millis(2_499));
        assert!(node.dials.is_empty() && node.exit.is_none());
        node.wait(Duration::from_millis(2_501));
        coordinator = node.answer_dial();
        node.say(coordinator, &success("net", ""));
        joined += 1;
    }
    assert!(joined <= 8, "{joined} times in a minute");
    // Any other loss is no reason to wait.
    node.wait_with(coordinator, Duration::from_secs(3));
    node.hang_up(coordinator);
    node.wait(Duration::ZERO);
    assert_eq!(node.dials.len(), 1);
}

#[test]
fn a_refused_network_secret_ends_the_worker_with_a_sentence() {
    let mut node = Node::new();
    let coordinator = node.answer_dial();
    node.say(coordinator, r#"{"command":"AUTHENTICATION_FAIL","info":"no main yet","retry_after":1000}"#);
    assert!(node.exit.is_none(), "a coordinator that does not know yet who reigns refuses for the moment");
    node.wait(Duration::from_secs(1));
    let coordinator = node.answer_dial();
    node.say(coordinator, r#"{"command":"AUTHENTICATION_FAIL","info":"wrong network secret"}"#);
    let sentence = node.exit.unwrap().unwrap_err();
    assert!(
        sentence.starts_with("the coordinator at coordinator:3780 refused this worker: wrong network secret"),
        "{sentence}"
    );
}

#[test]
fn a_worker_whose_id_is_taken_takes_no_clients_before_it_is_let_in() {
    // A copy of a stopped worker's directory took clients for itself: what they published reached nobody else, and nobody was named.
    let mut node = Node::starting("w1", Limits::default(), Remembered::default(), None);
    for _ in 0..10 {
        while node.dials.is_empty() {
            node.wait(Duration::from_millis(500));
        }
        let coordinator = node.answer_dial();
        node.say(
            coordinator,
            r#"{"command":"AUTHENTICATION_FAIL","info":"w1 lives already","retry_after":1000,"taken":true}"#,
        );
    }
    node.wait(Duration::from_secs(10));
    assert!(node.worker.is_recovering());
    let client = node.connect();
    node.say(client, r#"{"command":"LOGIN","username":"anonymous"}"#);
    assert!(node.hear(client)[0].contains("(again)"));
    while node.dials.is_empty() {
        node.wait(Duration::from_millis(500));
    }
    let coordinator = node.answer_dial();
    node.say(coordinator, &success("net", ""));
    node.wait(Duration::from_secs(2));
    node.client();
}

#[test]
fn a_worker_whose_place_another_one_has_taken_sends_its_clients_there_and_ends() {
    // It had been paused, and a copy of it was let in meanwhile. When it went on, both took clients, for good, and reports counted those of
    // one.
    let (mut node, mut coordinator) = Node::joined();
    let other = neighbour(&mut node);
    let client = node.client();
    node.hang_up(coordinator);
    let refused = node.now.time;
    while node.accepting {
        assert!(node.now.time < refused + Duration::from_secs(10), "it goes on");
        node.wait(Duration::from_millis(100));
        node.say(other, r#"{"command":"NEIGHBOURS","links":["w1"],"next":0}"#);
        if !node.dials.is_empty() {
            coordinator = node.answer_dial();
            node.say(
                coordinator,
                r#"{"command":"AUTHENTICATION_FAIL","info":"w1 lives already","retry_after":1000,"taken":true}"#,
            );
        }
    }
    let patience = node.now.time - refused;
    assert!(patience > Duration::from_millis(2_500), "an earlier start may have been heard just before");
    node.wait(Duration::from_secs(12));
    assert_eq!(node.hear(client), ["REDIRECT", "(closed)"]);
    let sentence = node.exit.unwrap().unwrap_err();
    assert!(sentence.starts_with("another worker called w1 has taken the place of this one"), "{sentence}");
}

#[test]
fn a_worker_whose_place_another_one_may_have_taken_acknowledges_nothing_before_that_is_clear() {
    // It had been paused, and a copy of it was let in meanwhile. For seconds it acknowledged what nobody but itself would ever have.
    let (mut node, coordinator) = Node::joined();
    let sender = node.capable("a key of sixteen");
    node.hang_up(coordinator);
    let refusal =
        r#"{"command":"AUTHENTICATION_FAIL","info":"w1 lives already","retry_after":1000,"taken":true}"#;
    while node.dials.is_empty() {
        node.wait(Duration::from_millis(100));
    }
    let coordinator = node.answer_dial();
    node.say(coordinator, refusal);
    node.say(sender, r#"{"command":"ACTIVITY_MESSAGE","activity_seq":1,"activity":{}}"#);
    node.say(sender, r#"{"command":"ACTIVITY_ACK","received":1}"#);
    let is_report = |line: &String| line.starts_with("ACTIVITY_SENDING_REPORT 1: ");
    let mut heard = Vec::new();
    while node.dials.is_empty() {
        node.wait(Duration::from_millis(100));
        heard.extend(node.hear(sender));
    }
    assert!(!heard.iter().any(is_report), "{heard:?}");
    let coordinator = node.answer_dial();
    node.say(coordinator, &success("net", ""));
    node.wait(Duration::from_millis(100));
    assert!(node.hear(sender).iter().any(is_report), "it is the one");

    // Nor does one that has slept, and has not heard yet what became of it meanwhile.
    node.now.time = node.now.time + Duration::from_secs(9);
    node.say(sender, r#"{"command":"ACTIVITY_MESSAGE","activity_seq":2,"activity":{}}"#);
    node.say(sender, r#"{"command":"ACTIVITY_ACK","received":2}"#);
    node.wait(Duration::from_secs(2));
    let is_report = |line: &String| line.starts_with("ACTIVITY_SENDING_REPORT 2: ");
    assert!(!node.hear(sender).iter().any(is_report));
    node.wait(Duration::from_secs(1));
    assert!(node.hear(sender).iter().any(is_report));
}

#[test]
fn what_a_coordinator_must_not_say_closes_the_link() {
    for line in [r#"{"command":"LOGOUT"}"#, "nonsense", GREETING] {
        let (mut node, coordinator) = Node::joined();
        node.say(coordinator, line);
        assert!(node.hear(coordinator)[0].starts_with("INVALID_MESSAGE "));
        assert!(!node.worker.upstream());
    }
    let mut node = Node::new();
    let coordinator = node.answer_dial();
    node.hear(coordinator);
    node.say(coordinator, r#"{"command":"AUTHENTICATE_SUCCESS","id":"w9","incarnation":"0000000000000000"}"#);
    assert_eq!(
        node.hear(coordinator),
        ["INVALID_MESSAGE only a coordinator can let a worker in", "(closed)"]
    );
}

#[test]
fn a_worker_must_know_the_secret_and_have_an_id_of_its_own() {
    let mut node = Node::new();
    for (line, expected) in [
        (GREETING.replace("network's", "wrong"), "AUTHENTICATION_FAIL wrong network secret"),
        (GREETING.replace("\"w0\"", "\"w1\""), "AUTHENTICATION_FAIL w1 is my own id; choose another"),
    ] {
        let link = node.connect();
        node.say(link, &line);
        assert_eq!(node.hear(link), [expected, "(closed)"]);
    }
    let link = neighbour(&mut node);
    node.say(link, GREETING);
    assert_eq!(node.hear(link), ["INVALID_MESSAGE AUTHENTICATE is not for a neighbour", "(closed)"]);
    let client = node.client();
    node.say(client, GREETING);
    assert!(node.hear(client)[0].starts_with("INVALID_MESSAGE AUTHENTICATE after LOGIN_SUCCESS"));
}

#[test]
fn who_means_somebody_else_is_refused_and_a_good_link_stays() {
    // Seed 525 of the simulator: a worker returned at its old address under a new name; its neighbours went on dialling the old name for a
    // minute, and each time the link that stood was given up for the one that was then refused.
    let mut node = Node::new();
    let good = neighbour(&mut node);
    let misled = node.connect();
    node.say(misled, &GREETING.replace("\"port\"", "\"to\":\"w1-before\",\"port\""));
    assert_eq!(node.hear(misled), ["AUTHENTICATION_FAIL this is w1, not w1-before", "(closed)"]);
    assert_eq!(node.hear(good), [] as [&str; 0]);
    assert_eq!(node.worker.neighbours(), ["w0".parse().unwrap()]);
}

#[test]
fn a_worker_that_comes_back_takes_the_place_of_its_old_link() {
    let mut node = Node::new();
    let old = neighbour(&mut node);
    let new = neighbour(&mut node);
    assert_eq!((node.hear(old), node.links.contains_key(new)), (vec!["(closed)".to_owned()], true));
    assert_eq!(node.worker.neighbours().len(), 1);
}

#[test]
fn a_second_worker_of_one_id_does_not_take_the_link_of_the_first_while_that_stands() {
    // The two took it from each other every few seconds, without end.
    let mut node = Node::new();
    let first = neighbour(&mut node);
    let second = GREETING.replace("0000000000000000", "00000000000000ff");
    let link = node.connect();
    node.say(link, &second);
    assert_eq!(node.hear(link), ["AUTHENTICATION_FAIL a worker called w0 lives already", "(closed)"]);
    assert!(node.links.contains_key(first));
    node.hang_up(first);
    let link = node.connect();
    node.say(link, &second);
    assert_eq!(node.hear(link)[0], "AUTHENTICATE_SUCCESS");
}

#[test]
fn the_worker_that_answers_must_be_the_one_that_was_dialled() {
    let (mut node, coordinator) = Node::joined();
    let new = r#"{"command":"SYNCHRONISED_NEW_SERVER","id":"w2","hostname":"w2","port":1}"#;
    node.say(coordinator, new);
    node.wait(Duration::ZERO);
    let link = node.answer_dial();
    assert_eq!(node.hear(link), ["AUTHENTICATE w1 None"]);
    node.say(link, r#"{"command":"AUTHENTICATE_SUCCESS","id":"w3","incarnation":"0000000000000000"}"#);
    assert_eq!(node.hear(link), ["INVALID_MESSAGE w2 was dialled here, and w3 answered", "(closed)"]);
    node.wait(Duration::from_secs(1));
    assert_eq!(node.dials.len(), 1, "and it is dialled again");
    node.say(coordinator, r#"{"command":"REMOVE_SERVER","id":"w2"}"#);
    let link = node.answer_dial();
    assert_eq!(node.hear(link), ["(closed)"], "it was removed meanwhile");
}

#[test]
fn an_activity_without_an_id_and_a_clients_command_are_refused_from_a_neighbour() {
    for line in [r#"{"command":"ACTIVITY_BROADCAST","activity":{}}"#, r#"{"command":"LOGOUT"}"#, "nonsense"] {
        let mut node = Node::new();
        let link = neighbour(&mut node);
        node.say(link, line);
        assert!(node.hear(link)[0].starts_with("INVALID_MESSAGE "), "{line}");
        assert!(node.worker.neighbours().is_empty());
    }
}

#[test]
fn a_neighbours_activities_are_delivered_once_and_in_order() {
    let mut node = Node::new();
    let (link, client) = (neighbour(&mut node), node.client());
    for seq in [0, 2, 2, 3, 1, 1, 4] {
        node.say(link, &broadcast("w0", seq));
    }
    assert_eq!(node.hear(client), [0, 1, 2, 3, 4].map(|n| format!(r#"{{"n":{n}}}"#)));
    assert_eq!((node.worker.dropped().duplicates, node.worker.dropped().gaps), (2, 0));
}

#[test]
fn what_came_early_waits_for_the_ordering_period_and_no_longer() {
    let mut node = Node::new();
    let (link, client) = (neighbour(&mut node), node.client());
    node.say(link, r#"{"command":"NEIGHBOURS","links":[],"next":0,"holds":""}"#);
    node.say(link, &broadcast("w0", 0));
    node.say(link, &broadcast("w0", 2));
    // What it missed is asked for at once, and it is said to be gone.
    let asked = node.hear(link);
    assert_eq!(asked.last().unwrap(), "ACTIVITY_RETRIEVE w0/0000000000000000/1-1", "{asked:?}");
    node.say(link, r#"{"command":"ACTIVITY_RETRIEVED","request":1,"activities":[],"done":true}"#);
    node.wait(Duration::from_millis(499));
    assert_eq!(node.hear(client), [r#"{"n":0}"#]);
    node.wait(Duration::from_millis(1));
    assert_eq!(node.hear(client), [] as [&str; 0], "it is asked for once more");
    node.say(link, r#"{"command":"NEIGHBOURS","links":[],"next":0,"holds":""}"#);
    node.wait(Duration::ZERO);
    assert_eq!(
        (node.hear(client), node.worker.dropped().gaps),
        (vec![r#"(without 2) {"n":2}"#.to_owned()], 1)
    );
    node.say(link, &broadcast("w0", 1));
    assert_eq!(node.hear(client), [r#"(late) {"n":1}"#]);
}

#[test]
fn a_neighbour_that_does_not_read_is_cut_off() {
    let mut node = Node::with("w1", Limits { server_outbox_bytes: 1_000, ..Limits::default() });
    let (link, client) = (neighbour(&mut node), node.client());
    for number in 0..20 {
        node.publish(client, number);
    }
    assert!(!node.links.contains_key(link));
    assert_eq!(node.hear(client).len(), 20);
}

#[test]
fn a_silent_neighbour_is_given_up_and_a_talking_one_is_not() {
    let mut node = Node::new();
    let link = neighbour(&mut node);
    node.wait(Duration::from_secs(5));
    node.say(link, r#"{"command":"NEIGHBOURS","links":[],"next":0}"#);
    node.wait(Duration::from_secs(5));
    let said = node.hear(link);
    assert!(said.len() >= 7 && said.iter().all(|line| line == "NEIGHBOURS w0 0"), "{said:?}");
    node.wait(Duration::from_secs(2));
    assert!(!node.links.contains_key(link));
}
