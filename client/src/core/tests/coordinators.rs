//! Several coordinators: one is gone, one is not the main one, and who is which changes.

use common::wire::Role;

use super::*;

const THIRD: &str = "10.0.0.3:3780";
const TO_SECOND: &str = r#"{"command":"REDIRECT","hostname":"10.0.0.2","port":3780}"#;
const TO_FIRST: &str = r#"{"command":"REDIRECT","hostname":"10.0.0.1","port":3780}"#;
const REGISTERED: &str = r#"{"command":"REGISTER_SUCCESS","existing":true}"#;
/// The third coordinator is the main one.
const LIST: &str = r#"{"command":"BACKUP_LIST","servers":[
    {"id":"w2","hostname":"10.0.1.2","port":4000,"role":"worker"},
    {"id":"c3","hostname":"10.0.0.3","port":3780,"role":"main"},
    {"id":"c1","hostname":"10.0.0.1","port":3780,"role":"backup"}]}"#;

fn with(coordinators: &[&str], register: RegisterMode) -> World {
    World::new(|config| {
        config.coordinators = coordinators.iter().map(|address| address.parse().unwrap()).collect();
        config.register = register;
    })
}

#[test]
fn a_standby_sends_a_registration_on_and_the_main_one_is_told_everything_again() {
    let mut world = with(&[COORDINATOR], RegisterMode::IfMissing);
    world.answer_dial(COORDINATOR);
    assert!(world.hear().contains("\"REGISTER\""));
    world.say(TO_SECOND);
    world.answer_dial(SECOND);
    assert_eq!(world.hear(), "{\"command\":\"REGISTER\",\"username\":\"ann\",\"secret\":\"hush\"}\n");
    world.say(REGISTERED);
    assert!(world.hear().contains("\"LOGIN\""));
    world.say(SUCCESS);
    world.say(REDIRECT);
    world.answer_dial(WORKER);
}

#[test]
fn a_standby_sends_a_log_in_on_and_the_main_ones_welcome_is_no_live_session() {
    let mut world = with(&[COORDINATOR], RegisterMode::No);
    world.publish(r#"{"n":1}"#);
    world.answer_dial(COORDINATOR);
    world.hear();
    world.say(TO_SECOND);
    world.answer_dial(SECOND);
    assert!(world.hear().contains("\"secret\":\"hush\""));
    world.say(SUCCESS);
    assert!(!world.client.is_live());
    assert_eq!(world.hear(), "", "an activity is not for coordinators");
    world.say(REDIRECT);
    world.answer_dial(WORKER);
    world.hear();
    world.say(SUCCESS);
    assert!(world.hear().contains("\"n\":1"));
}

#[test]
fn a_registration_that_broke_off_is_repeated_elsewhere_and_one_that_had_happened_is_a_success() {
    let mut world = with(&[COORDINATOR, SECOND], RegisterMode::Only);
    world.answer_dial(COORDINATOR);
    world.hear();
    world.lose_connection();
    world.answer_dial(SECOND);
    assert!(world.hear().contains("\"REGISTER\""));
    world.say(REGISTERED);
    assert_eq!(world.effects, [Effect::Registered { existing: true }]);
    assert_eq!(world.exit, Some(Ok(())));
}

#[test]
fn a_standby_that_sends_us_to_a_dead_main_one_is_not_the_last_to_be_asked() {
    let mut world = with(&[COORDINATOR, SECOND, THIRD], RegisterMode::No);
    world.answer_dial(COORDINATOR);
    world.hear();
    world.say(TO_SECOND);
    world.refuse_dial(SECOND);
    world.answer_dial(THIRD);
}

#[test]
fn coordinators_that_send_us_to_each_other_are_left_for_a_while() {
    let mut world = with(&[COORDINATOR, SECOND], RegisterMode::No);
    for (at, to) in [(COORDINATOR, TO_SECOND), (SECOND, TO_FIRST)].into_iter().cycle().take(5) {
        world.answer_dial(at);
        world.hear();
        world.say(to);
    }
    assert!(world.dialling.is_none());
    assert!(
        matches!(&world.effects[..], [Effect::Disconnected { reason, retry_in: Some(_), .. }] if reason.contains("circles"))
    );
    world.wait_for_deadline();
    assert!(world.dialling.is_some());
}

#[test]
fn being_told_to_come_later_means_at_the_next_coordinator() {
    let mut world = with(&[COORDINATOR, SECOND], RegisterMode::Only);
    world.answer_dial(COORDINATOR);
    world.hear();
    world.say(r#"{"command":"REGISTER_FAILED","info":"busy","retry_after":1000}"#);
    assert!(world.client.deadline().unwrap() - world.time >= Duration::from_secs(1));
    let [Effect::Disconnected { reason, put_off_by, .. }] = &world.effects[..] else {
        panic!("{:?}", world.effects)
    };
    assert_eq!((reason.as_str(), put_off_by), ("busy", &COORDINATOR.parse().ok()));
    world.wait_for_deadline();
    world.answer_dial(SECOND);
}

#[test]
fn a_silent_coordinator_is_left_for_another_soon_and_waited_for_when_all_are_silent() {
    let mut world = with(&[COORDINATOR, SECOND], RegisterMode::No);
    let soon = limits::FAILURE_TIMEOUT + limits::PULSE;
    for address in [COORDINATOR, SECOND] {
        world.answer_dial(address);
        assert_eq!(world.client.deadline(), Some(world.time + soon));
        world.wait_for_deadline();
    }
    world.wait_for_deadline();
    world.answer_dial(COORDINATOR);
    assert_eq!(world.client.deadline(), Some(world.time + limits::LOGIN_DEADLINE));
}

#[test]
fn who_is_said_to_be_the_main_coordinator_and_says_nothing_is_left_sooner_for_one_that_may_take_over() {
    let mut world = with(&[COORDINATOR, SECOND], RegisterMode::No);
    world.answer_dial(COORDINATOR);
    world.say(TO_SECOND);
    world.answer_dial(SECOND);
    assert_eq!(world.client.deadline(), Some(world.time + Duration::from_millis(1_500)));
    world.wait_for_deadline();
    world.wait_for_deadline();
    // The first one may be about to take over.
    world.answer_dial(COORDINATOR);
    assert_eq!(world.client.deadline(), Some(world.time + limits::LOGIN_DEADLINE));
}

#[test]
fn a_coordinator_that_does_not_even_connect_is_left_sooner_and_only_while_there_is_another() {
    let mut world = with(&[COORDINATOR, SECOND], RegisterMode::No);
    let late = world.dialling.take().unwrap().0;
    world.wait_for_deadline();
    assert_eq!(world.time, Time::ZERO + Duration::from_secs(1));
    // It connects after all, and is not needed any more.
    let link = world.links.insert(());
    world.link = Some(link);
    world.tell(Event::Dialled { dial: late, link });
    assert_eq!(world.link, None);
    world.answer_dial(SECOND);

    let world = with(&[COORDINATOR], RegisterMode::No);
    assert_eq!((world.dialling.is_some(), world.client.deadline()), (true, None));
}

#[test]
fn a_live_session_learns_the_servers_once_and_returns_by_their_order_without_a_pause() {
    let mut world = with(&[COORDINATOR, SECOND], RegisterMode::No);
    world.log_in();
    world.say(LIST);
    let [Effect::Servers(servers)] = &world.effects[..] else { panic!("{:?}", world.effects) };
    let roles: Vec<Role> = servers.iter().map(|server| server.role).collect();
    assert_eq!(roles, [Role::Worker, Role::Worker, Role::Main, Role::Backup], "ours among them");
    world.say(LIST);
    assert_eq!(world.effects.len(), 1, "the same is no news");
    assert!(world.client.is_live());
    world.lose_connection();
    world.wait_for_deadline();
    let start = world.time;
    for address in [THIRD, COORDINATOR, SECOND] {
        world.refuse_dial(address);
    }
    world.answer_dial(WORKER);
    assert_eq!(world.time, start);
}

#[test]
fn who_has_lost_its_session_leaves_a_coordinator_that_is_cut_off_as_soon_as_who_begins_one() {
    let mut world = with(&[COORDINATOR, SECOND], RegisterMode::No);
    assert_eq!(world.client.deadline(), Some(world.time + limits::FIRST_DIAL));
    world.log_in();
    world.lose_connection();
    world.wait_for_deadline();
    assert_eq!(world.dialling.as_ref().unwrap().1.to_string(), COORDINATOR);
    assert_eq!(world.client.deadline(), Some(world.time + limits::FIRST_DIAL), "the next one may answer");
}

#[test]
fn who_has_lost_its_session_leaves_a_coordinator_that_says_nothing_as_soon_as_who_begins_one() {
    let mut world = with(&[COORDINATOR, SECOND], RegisterMode::No);
    world.log_in();
    world.lose_connection();
    world.wait_for_deadline();
    world.answer_dial(COORDINATOR);
    let patience = limits::FAILURE_TIMEOUT + limits::PULSE;
    assert_eq!(world.client.deadline(), Some(world.time + patience));
}
