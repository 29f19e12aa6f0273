use super::*;

const LITTLE: Limits = Limits {
    connections: 100,
    login_deadline: Duration::from_secs(10),
    activity_bytes: 1_000,
    log_bytes: 2_000,
    retain_bytes: common::limits::RETAIN_BYTES,
    retain_age: common::limits::RETAIN_AGE,
    intake_bytes: 1_000_000,
    client_outbox_bytes: 400,
    server_outbox_bytes: 4_000,
    write_stall: Duration::from_secs(15),
    queries: 10,
    under_registration: 10,
    registration_hold: Duration::from_secs(10),
    retry_after: Duration::from_secs(1),
    heartbeat: Duration::from_secs(5),
    server_silence: Duration::from_secs(20),
    worker_silence: Duration::from_secs(6),
    failure_timeout: Duration::from_secs(2),
    server_answer: Duration::from_secs(5),
    sync_users: 2,
    first_dial: Duration::from_secs(1),
    feed_bytes: 400,
    sessions: 1_000,
    report_timeout: Duration::from_secs(5),
    recovery: Duration::from_secs(5),
    ordering_period: Duration::from_millis(500),
    held_bytes: 2_000,
    unlisted: Duration::from_secs(60),
    drain: Duration::from_secs(3),
    sweep: Duration::from_secs(1),
};

#[test]
fn a_client_that_falls_behind_the_log_is_dropped_and_delays_nobody() {
    let mut node = Node::with("w1", LITTLE);
    let (slow, quick) = (node.client(), node.client());
    for number in 0..100 {
        node.publish(quick, number);
        assert_eq!(node.hear(quick).len(), 1);
    }
    assert!(node.worker.output(slow).is_empty(), "what it should read next is gone");
    node.wait(Duration::from_secs(1));
    assert_eq!(node.hear(slow), ["INVALID_MESSAGE you fell behind what this server keeps", "(closed)"]);
    assert_eq!((node.worker.dropped().fell_behind, node.worker.load()), (1, 1));
}

#[test]
fn a_client_that_takes_nothing_is_dropped_and_one_that_takes_a_little_is_not() {
    let mut node = Node::with("w1", LITTLE);
    let (stuck, slow, idle) = (node.client(), node.client(), node.client());
    node.wait(Duration::from_secs(60));
    node.publish(idle, 1);
    for _ in 0..16 {
        assert_eq!(node.read(slow, 1).len(), 1);
        node.hear(idle);
        node.wait(Duration::from_secs(1));
    }
    let heard = node.hear(stuck);
    assert_eq!(heard[1..], ["INVALID_MESSAGE you read nothing for too long", "(closed)"]);
    assert_eq!((node.worker.dropped().stalled, node.worker.load()), (1, 2));
}

#[test]
fn nobody_is_blamed_for_what_was_not_written_while_the_worker_itself_slept() {
    // It was stopped for a quarter of a minute, and told those who had read all the time that they had read nothing for too long.
    let mut node = Node::with("w1", LITTLE);
    let (reader, stuck) = (node.client(), node.client());
    node.publish(stuck, 1);
    node.now.time = node.now.time + Duration::from_secs(60);
    node.event(Event::DeadlinePassed);
    assert_eq!(node.worker.load(), 2);
    node.hear(reader);
    node.wait(Duration::from_secs(4));
    assert_eq!(
        (node.worker.dropped().stalled, node.worker.load()),
        (1, 1),
        "who takes nothing now is dropped all the same"
    );
}

#[test]
fn a_refusal_in_the_middle_of_a_frame_comes_after_its_end() {
    let mut node = Node::with("w1", LITTLE);
    let (client, other) = (node.client(), node.client());
    node.publish(other, 1);
    node.publish(other, 2);
    let mut bytes = node.read(client, 10);
    node.say(client, "nonsense");
    bytes.extend(node.read_all(client));
    let told: Vec<_> = std::str::from_utf8(&bytes).unwrap().lines().map(tell).collect();
    assert_eq!(told.len(), 3);
    assert!(told[2].starts_with("INVALID_MESSAGE the line is not valid JSON"), "{told:?}");
}

#[test]
fn a_drain_flushes_every_client_then_leaves_the_others() {
    let (mut node, coordinator) = Node::joined();
    let (reader, sleeper) = (node.client(), node.client());
    node.publish(reader, 1);
    node.hear(coordinator);
    node.event(Event::Input(Input::Drain));
    assert!(!node.accepting);
    assert_eq!(node.hear(coordinator), ["QUIT  ", "(closed)"]);
    node.publish(sleeper, 2);
    node.wait(Duration::from_secs(1));
    let both = ["1", "2"].map(|n| format!(r#"{{"authenticated_user":"anonymous","n":{n}}}"#));
    assert_eq!(node.hear(reader), [&both[0], &both[1], "(closed)"]);
    assert_eq!((node.links.contains_key(sleeper), &node.exit), (true, &None));
    node.wait(Duration::from_secs(9));
    assert_eq!(node.exit, Some(Ok(())));
    assert_eq!(node.hear(sleeper), [&both[0], &both[1], "(closed)"]);
    assert_eq!(node.worker.deadline(), None);
}

#[test]
fn a_drain_ends_in_time_although_neither_a_client_nor_another_worker_reads() {
    // The time for the other workers came on top: with a network under load, a worker took eleven seconds of the ten that it had.
    let mut node = Node::with("w1", Limits::default());
    let sleeper = node.client();
    let other = stream::neighbour(&mut node, "w2", "");
    node.publish(sleeper, 1);
    node.event(Event::Input(Input::Drain));
    let time = Limits::default().drain - common::limits::LINGER;
    node.wait(time / 2);
    node.say(other, r#"{"command":"NEIGHBOURS","links":["w1"],"next":0}"#);
    node.wait(time / 2 - Duration::from_millis(1));
    assert_eq!((node.links.contains_key(other), &node.exit), (true, &None));
    node.wait(Duration::from_millis(1));
    assert_eq!(node.exit, Some(Ok(())), "closing connections linger after that");
}
