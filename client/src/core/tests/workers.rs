//! From worker to worker: by a token after a loss, by QUIT, and with what was missed.

use super::*;

/// Two workers beside the first one, and a token.
const LIST: &str = r#"{"command":"BACKUP_LIST","token":"renewed","servers":[
    {"id":"b","hostname":"10.0.1.2","port":4000,"role":"worker"},
    {"id":"c1","hostname":"10.0.0.1","port":3780,"role":"main"}]}"#;
const OTHER: &str = "10.0.1.2:4000";

/// A session at the first worker that has been told of the other.
fn told() -> World {
    let mut world = World::new(|_| {});
    world.begin();
    world.say(LIST);
    world.effects.clear();
    world
}

#[test]
fn who_loses_a_worker_goes_to_another_one_by_token_after_a_moment() {
    let mut world = told();
    world.lose_connection();
    let pause = world.client.deadline().unwrap() - world.time;
    assert!(pause <= Duration::from_millis(100), "{pause:?}");
    world.wait_for_deadline();
    world.answer_dial(OTHER);
    let login = world.hear_login();
    assert_eq!(login.token.as_deref(), Some("renewed"));
    assert_eq!(login.resume.unwrap().to_string(), "a/00000000000000ff/0-6");
}

#[test]
fn where_the_other_worker_is_gone_too_or_does_not_let_us_in_the_coordinators_are_asked_at_once() {
    let mut world = told();
    world.lose_connection();
    world.wait_for_deadline();
    let start = world.time;
    world.refuse_dial(OTHER);
    world.refuse_dial(COORDINATOR);
    world.answer_dial(WORKER);
    assert_eq!((world.hear_login().token.as_deref(), world.time), (Some("renewed"), start));

    let mut world = told();
    world.lose_connection();
    world.wait_for_deadline();
    world.answer_dial(OTHER);
    world.hear();
    world.say(r#"{"command":"LOGIN_FAILED","info":"the token has expired"}"#);
    world.answer_dial(COORDINATOR);
    world.lose_connection();
    world.refuse_dial(WORKER);
    world.wait_for_deadline();
    world.answer_dial(COORDINATOR);
}

#[test]
fn another_worker_that_says_when_to_come_back_is_obeyed() {
    let mut world = told();
    world.lose_connection();
    world.wait_for_deadline();
    world.answer_dial(OTHER);
    world.hear();
    world.say(r#"{"command":"LOGIN_FAILED","info":"busy","retry_after":700}"#);
    assert!(world.client.deadline().unwrap() - world.time >= Duration::from_millis(700));
    world.wait_for_deadline();
    world.answer_dial(OTHER);
}

#[test]
fn another_worker_that_does_not_answer_is_left_soon() {
    let mut world = told();
    world.lose_connection();
    world.wait_for_deadline();
    let start = world.time;
    assert!(world.dialling.is_some());
    world.wait_for_deadline();
    assert_eq!(world.time - start, Duration::from_secs(1));
    world.answer_dial(COORDINATOR);
}

#[test]
fn a_token_that_is_old_is_not_used() {
    let mut world = told();
    world.time = world.time + limits::TOKEN_LIFE;
    world.lose_connection();
    world.wait_for_deadline();
    world.answer_dial(COORDINATOR);
}

#[test]
fn who_is_sent_away_acknowledges_what_it_has_and_goes_on_there_at_once() {
    let mut world = told();
    world.publish("{}");
    let sent = world.hear();
    world.say(r#"{"command":"ACTIVITY_BROADCAST","id":"a/00000000000000ff/7","activity":{}}"#);
    world.say(r#"{"command":"QUIT","new_server_ip":"10.0.1.7","new_server_port":"4001","token":"quit"}"#);
    assert_eq!(world.farewell.as_deref(), Some("{\"command\":\"ACTIVITY_ACK\",\"received\":1}\n"));
    assert!(world.dialling.is_some(), "there is no pause before the attempt");
    world.answer_dial("10.0.1.7:4001");
    let login = world.hear_login();
    assert_eq!(login.token.as_deref(), Some("quit"));
    assert_eq!(login.resume.unwrap().to_string(), "a/00000000000000ff/0-7");
    world.say(r#"{"command":"LOGIN_SUCCESS","network":"n1"}"#);
    assert_eq!(world.hear(), sent, "it was not reported");
    assert!(matches!(&world.effects[..], [Effect::Activity(_), Effect::LoggedIn { after: None, .. }]));
}

#[test]
fn who_is_sent_away_in_the_middle_of_an_activity_finishes_it_first() {
    let mut world = told();
    world.publish("{}");
    let link = world.link.unwrap();
    let sent = String::from_utf8(world.client.output(link).to_vec()).unwrap();
    world.tell(Event::Wrote { link, bytes: 10 });
    world.say(r#"{"command":"QUIT","new_server_ip":"10.0.1.7","new_server_port":4001}"#);
    assert_eq!(world.farewell.as_deref(), Some(&sent[10..]));
    world.answer_dial("10.0.1.7:4001");
    world.hear();
    world.say(r#"{"command":"LOGIN_SUCCESS","network":"n1"}"#);
    assert_eq!(world.hear(), sent, "and says it again");
}

#[test]
fn a_worker_that_leaves_without_naming_another_one_is_a_lost_connection() {
    let mut world = told();
    world.say(r#"{"command":"QUIT"}"#);
    assert!(matches!(&world.effects[..], [Effect::Disconnected { retry_in: Some(_), .. }]));
    world.wait_for_deadline();
    world.answer_dial(OTHER);
}

#[test]
fn what_was_missed_comes_first_and_what_nobody_has_any_more_is_told() {
    let mut world = told();
    world.lose_connection();
    world.wait_for_deadline();
    world.answer_dial(OTHER);
    world.hear();
    world.say(r#"{"command":"LOGIN_SUCCESS","network":"n1"}"#);
    world.say(r#"{"command":"ACTIVITY_BROADCAST","id":"a/00000000000000ff/9","activity":{}}"#);
    world.effects.clear();
    world.say(
        r#"{"command":"RESUMED","recovered":false,"gaps":"a/00000000000000ff/7-8","position":"a/00000000000000ff/0-9"}"#,
    );
    let resumed = Effect::Resumed {
        recovered: false,
        gaps: "a/00000000000000ff/7-8".parse().unwrap(),
        position: "n1@a/00000000000000ff/0-9".parse().ok(),
    };
    assert_eq!(world.effects, [resumed]);
    assert_eq!(world.client.position().unwrap().to_string(), "n1@a/00000000000000ff/0-9");
}

#[test]
fn a_session_begins_after_a_position_that_was_given_or_ends_where_that_is_of_another_network() {
    let given = || Start::After("n1@a/00000000000000ff/0-3".parse().unwrap());
    let mut world = World::new(|config| config.start = given());
    let login = world.go_to_worker();
    assert_eq!(
        (login.resume.unwrap().to_string().as_str(), login.network.as_deref()),
        ("a/00000000000000ff/0-3", Some("n1"))
    );
    world.say(r#"{"command":"LOGIN_SUCCESS","network":"n1"}"#);
    assert!(world.client.is_live());

    let mut world = World::new(|config| config.start = given());
    world.go_to_worker();
    world.say(r#"{"command":"LOGIN_SUCCESS","network":"n2","position":""}"#);
    let info = "the position is of another network, n1; this is n2".to_owned();
    assert_eq!(world.effects, [Effect::Refused { info: info.clone() }]);
    assert_eq!((world.exit, world.link), (Some(Err(info)), None));
}

#[test]
fn a_session_that_finds_another_network_begins_anew_there() {
    let mut world = told();
    world.lose_connection();
    world.wait_for_deadline();
    world.answer_dial(OTHER);
    world.hear();
    world.say(r#"{"command":"LOGIN_SUCCESS","network":"n2","position":"x/00000000000000ff/0"}"#);
    let Some(Effect::LoggedIn { after: Some(after), .. }) = world.effects.last() else {
        panic!("{:?}", world.effects)
    };
    assert_eq!(after.to_string(), "n2@x/00000000000000ff/0-0");
}

#[test]
fn who_wants_no_activities_does_not_ask_for_those_that_it_missed() {
    let mut world = World::new(|config| config.resume = false);
    world.begin();
    world.lose_connection();
    world.wait_for_deadline();
    assert_eq!(world.begin().resume, None);
}

#[test]
fn a_session_may_begin_with_the_latest_activities() {
    let mut world = World::new(|config| config.start = Start::Last(10));
    assert_eq!(world.go_to_worker().last, Some(10));
    world.say(r#"{"command":"LOGIN_SUCCESS","network":"n1"}"#);
    world.say(r#"{"command":"ACTIVITY_BROADCAST","id":"a/00000000000000ff/9","activity":{}}"#);
    assert_eq!(world.client.position(), None);
    world.say(r#"{"command":"RESUMED","recovered":true,"position":"a/00000000000000ff/0-9"}"#);
    assert_eq!(world.client.position().unwrap().to_string(), "n1@a/00000000000000ff/0-9");
    world.lose_connection();
    world.wait_for_deadline();
    let login = world.begin();
    assert_eq!((login.last, login.resume.is_some()), (None, true));
}

#[test]
fn a_position_that_was_given_and_is_refused_again_and_again_ends_the_session() {
    let mut world = World::new(|config| config.start = Start::After("n1@".parse().unwrap()));
    for _ in 0..2 {
        world.go_to_worker();
        world.say(r#"{"command":"LOGIN_FAILED","info":"no","position":true}"#);
        assert_eq!(world.exit, None);
        world.wait_for_deadline();
    }
    world.go_to_worker();
    world.say(r#"{"command":"LOGIN_FAILED","info":"no","position":true}"#);
    assert_eq!((world.exit, world.link), (Some(Err("no".to_owned())), None));
}

#[test]
fn who_is_refused_for_something_else_goes_on_from_where_it_was() {
    // Three workers in a row had no room for unfinished lines, or did not hear LOGIN in time. The session forgot where it was, began anew
    // at the fourth one, and never got what had been published meanwhile.
    let mut world =
        World::new(|config| config.start = Start::After("n1@a/00000000000000ff/0-3".parse().unwrap()));
    let refusals = [
        r#"{"command":"LOGIN_FAILED","info":"no log-in within 10 s"}"#,
        r#"{"command":"INVALID_MESSAGE","info":"too many unfinished lines"}"#,
        r#"{"command":"AUTHENTICATION_FAIL","info":"no"}"#,
    ];
    for refusal in refusals.repeat(2) {
        assert_eq!(world.go_to_worker().resume.unwrap().to_string(), "a/00000000000000ff/0-3");
        world.say(refusal);
        assert_eq!(world.exit, None);
        world.wait_for_deadline();
    }
    assert_eq!(world.go_to_worker().resume.unwrap().to_string(), "a/00000000000000ff/0-3");
}
