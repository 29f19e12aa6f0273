//! What is published and what is received, over connections that break.

use common::session::SessionId;
use common::wire::{ActivityAck, Durability};

use super::*;

fn world() -> World {
    let mut world = World::new(|_| {});
    world.begin();
    world
}

impl World {
    /// The numbers of the activities that the session writes, and what else it does.
    fn hear_numbers(&mut self) -> (Vec<u64>, Vec<Message>) {
        let (mut numbers, mut others) = (Vec::new(), Vec::new());
        for line in self.hear().lines() {
            match Message::decode(line.as_bytes()).unwrap() {
                Message::ActivityMessage(message) => numbers.push(message.activity_seq.unwrap().0),
                other => others.push(other),
            }
        }
        (numbers, others)
    }

    fn report(&mut self, first: u64, last: u64) {
        self.say(&format!(
            r#"{{"command":"ACTIVITY_SENDING_REPORT","first_seq":{first},"activity_seq":{last},"client_count":3,"succ_count":2,"fail_count":1,"durability":"replicated","unreachable":["w2"]}}"#
        ));
    }

    fn broadcast(&mut self, id: &str, session: u128, number: u64) {
        let (session, id) = (SessionId(session), format!("{id}/00000000000000ff/{number}"));
        self.say(&format!(
            r#"{{"command":"ACTIVITY_BROADCAST","id":"{id}","session":"{session}","activity_seq":{number},"activity":{{}}}}"#
        ));
    }

    fn reports(&self) -> Vec<(u64, u64)> {
        let report = |effect: &Effect| match effect {
            Effect::Report(report) => Some((report.first.0, report.last.0)),
            _ => None,
        };
        self.effects.iter().filter_map(report).collect()
    }

    fn return_to_worker(&mut self) -> Login {
        self.wait_for_deadline();
        let login = self.go_to_worker();
        self.say(r#"{"command":"LOGIN_SUCCESS","network":"n1"}"#);
        login
    }
}

fn ack(received: u64) -> Message {
    ActivityAck { received }.into()
}

#[test]
fn a_session_declares_itself_to_workers_and_keeps_its_key() {
    let mut world = World::new(|_| {});
    world.answer_dial(COORDINATOR);
    assert_eq!(world.hear_login().session, None, "that is for workers");
    world.say(REDIRECT);
    world.answer_dial(WORKER);
    let login = world.hear_login();
    assert_eq!(login.capabilities, ["backup_list", "session"]);
    assert!(login.session.is_some() && login.resume.is_none() && login.network.is_none());
    world.say(WELCOME);
    let [Effect::LoggedIn { after: Some(after), .. }] = &world.effects[..] else {
        panic!("{:?}", world.effects)
    };
    assert_eq!(after.to_string(), "n1@a/00000000000000ff/0-6");
    world.lose_connection();
    let again = world.return_to_worker();
    assert_eq!(again.session, login.session);
    assert_eq!(
        (again.resume.unwrap().to_string().as_str(), again.network.as_deref()),
        ("a/00000000000000ff/0-6", Some("n1"))
    );
}

#[test]
fn what_was_not_reported_is_sent_again_over_the_next_connection_before_anything_new() {
    let mut world = world();
    for _ in 0..3 {
        world.publish("{}");
    }
    assert_eq!(world.hear_numbers().0, [1, 2, 3]);
    world.report(1, 1);
    world.lose_connection();
    world.publish("{}");
    world.return_to_worker();
    assert_eq!(world.hear_numbers().0, [2, 3, 4]);
    // Half of one, this time.
    world.publish("{}");
    let link = world.link.unwrap();
    world.tell(Event::Wrote { link, bytes: 5 });
    world.lose_connection();
    world.return_to_worker();
    assert_eq!(world.hear_numbers().0, [2, 3, 4, 5]);
    assert_eq!(world.client.unreported(), 4);
}

#[test]
fn each_activity_is_reported_once_whatever_was_sent_again() {
    let mut world = world();
    for _ in 0..3 {
        world.publish("{}");
    }
    world.hear();
    world.report(1, 2);
    world.lose_connection();
    world.return_to_worker();
    world.hear();
    world.report(1, 3);
    world.report(3, 3);
    assert_eq!(world.reports(), [(1, 2), (3, 3)]);
    let report = Report {
        first: Seq(3),
        last: Seq(3),
        client_count: 3,
        succ_count: 2,
        fail_count: 1,
        durability: Durability::Replicated,
        unreachable: vec!["w2".parse().unwrap()],
    };
    assert_eq!(world.effects.last(), Some(&Effect::Report(report)));
    assert_eq!(world.client.unreported(), 0);
}

#[test]
fn a_server_that_reports_what_was_never_published_is_left() {
    let mut world = world();
    world.publish("{}");
    world.report(1, 2);
    assert_eq!((world.link, world.reports()), (None, vec![]));
    assert_eq!(world.client.unreported(), 1);
}

#[test]
fn a_session_has_room_for_so_many_activities_ahead_of_their_reports() {
    let mut world = World::new(|config| config.limits.unreported_activities = 2);
    world.begin();
    world.publish("{}");
    world.publish("{}");
    world.hear();
    assert!(!world.client.has_room(), "they are written, and not reported");
    world.report(1, 1);
    assert!(world.client.has_room());
}

#[test]
fn what_has_arrived_is_acknowledged_by_count_and_by_time() {
    let mut world = world();
    for number in 1..=4_095 {
        world.broadcast("a", 1, number);
    }
    assert_eq!(world.hear(), "");
    world.broadcast("a", 1, 4_096);
    assert_eq!(world.hear_numbers().1, [ack(4_096)]);
    let silence = Limits::default().silence;
    assert_eq!(world.client.deadline(), Some(world.time + silence), "nothing is owed");
    world.broadcast("a", 1, 4_097);
    let start = world.time;
    world.wait_for_deadline();
    assert_eq!((world.hear_numbers().1, world.time - start), (vec![ack(4_097)], Duration::from_millis(100)));
}

#[test]
fn duplicates_and_what_nobody_wants_are_acknowledged_too_and_each_connection_counts_anew() {
    let mut world = world();
    world.broadcast("a", 1, 7);
    world.broadcast("a", 1, 7);
    world.tell(Event::Input(Input::Skipped("a/00000000000000ff/8".parse().ok())));
    world.tell(Event::Input(Input::Skipped(None)));
    world.wait_for_deadline();
    assert_eq!(world.hear_numbers().1, [ack(4)]);
    assert_eq!(world.effects.len(), 1);
    world.lose_connection();
    assert_eq!(world.return_to_worker().resume.unwrap().to_string(), "a/00000000000000ff/0-8");
    world.broadcast("a", 1, 9);
    world.wait_for_deadline();
    assert_eq!(world.hear_numbers().1, [ack(1)]);
}

#[test]
fn an_acknowledgement_waits_for_little_where_much_is_to_be_sent() {
    let mut world = world();
    for _ in 0..20 {
        world.publish(&format!("{{\"a\":\"{}\"}}", "x".repeat(20_000)));
    }
    world.broadcast("a", 1, 7);
    let silence = Limits::default().silence;
    assert_eq!(world.client.deadline(), Some(world.time + silence), "there is no room for it");
    world.time = world.time + Duration::from_millis(100);
    let (numbers, others) = world.hear_numbers();
    assert_eq!((numbers, others), (vec![1, 2, 3, 4], vec![]));
    let (numbers, others) = world.hear_numbers();
    assert_eq!((numbers, others), (vec![5, 6, 7, 8], vec![ack(1)]));
}

#[test]
fn a_worker_that_owes_a_report_and_says_nothing_is_left_for_another_where_it_is_sent_again() {
    let mut world = world();
    world.publish("{}");
    let sent = world.hear();
    let start = world.time;
    world.broadcast("a", 1, 7);
    world.hear();
    world.time = world.time + limits::REPORT_TIMEOUT;
    world.broadcast("a", 1, 8);
    assert!(world.link.is_some(), "it lives");
    while world.link.is_some() {
        world.hear();
        world.wait_for_deadline();
    }
    assert_eq!(world.time - start, limits::REPORT_TIMEOUT + Limits::default().report_silence);
    world.return_to_worker();
    assert_eq!(world.hear(), sent);
}

#[test]
fn a_server_that_takes_nothing_is_left_although_it_talks() {
    let mut world = world();
    world.publish("{}");
    while world.link.is_some() {
        world.broadcast("a", 1, 7);
        world.wait_for_deadline();
    }
    assert_eq!(world.time, Time::ZERO + limits::WRITE_STALL);
}

#[test]
fn an_activity_with_two_ids_is_handed_up_once_and_never_asked_for_again() {
    let mut world = world();
    world.broadcast("a", 1, 7);
    world.broadcast("b", 1, 7);
    let repeated = Effect::Repeated("b/00000000000000ff/7".parse().unwrap());
    assert!(matches!(&world.effects[..], [Effect::Activity(_), second] if *second == repeated));
    assert_eq!(
        world.client.position().unwrap().to_string(),
        "n1@a/00000000000000ff/0-7,b/00000000000000ff/7"
    );
}

#[test]
fn a_classic_server_is_told_of_no_arrivals_and_gives_no_reports() {
    let mut world = World::new(|_| {});
    world.log_in();
    world.broadcast("a", 1, 7);
    assert_eq!(world.client.deadline(), None);
    world.publish("{}");
    assert_eq!((world.hear_numbers().0, world.client.unreported()), (vec![1], 0));
    world.report(1, 1);
    assert_eq!(world.link, None, "that is not for those who know no sessions");
}

#[test]
fn logging_out_waits_for_the_reports_and_acknowledges_what_has_arrived() {
    let mut world = world();
    world.publish("{}");
    world.tell(Event::Input(Input::Logout));
    world.publish("{}");
    assert_eq!(world.hear_numbers().0, [1], "what is published afterwards is ignored");
    world.broadcast("a", 1, 7);
    assert!(world.client.is_live());
    world.report(1, 1);
    let farewell = "{\"command\":\"ACTIVITY_ACK\",\"received\":1}\n{\"command\":\"LOGOUT\"}\n";
    assert_eq!(world.farewell.as_deref(), Some(farewell));
    assert_eq!(world.exit, Some(Ok(())));
}

#[test]
fn logging_out_waits_for_reports_over_connections_and_gives_up_after_a_while() {
    let mut world = world();
    world.publish("{}");
    world.tell(Event::Input(Input::Logout));
    world.hear();
    world.lose_connection();
    assert_eq!(world.exit, None);
    world.return_to_worker();
    assert_eq!(world.hear_numbers().0, [1]);
    let start = world.time;
    world.wait_for_deadline();
    assert_eq!(world.time - start, limits::REPORT_TIMEOUT + Duration::from_secs(1));
    assert_eq!(world.farewell.as_deref(), Some("{\"command\":\"LOGOUT\"}\n"));
    assert_eq!(world.exit, Some(Err("1 activities were not reported in time".to_owned())));
}

#[test]
fn a_session_that_is_continued_keeps_its_key_and_its_numbers() {
    let key: SessionKey = "0123456789abcdef".parse().unwrap();
    let mut world = World::new(|config| config.session = Some(Session { key: key.clone(), next: Seq(7) }));
    assert_eq!(world.begin().session, Some(key));
    world.publish("{}");
    assert_eq!(world.hear_numbers().0, [7]);
}
