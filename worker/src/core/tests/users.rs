use common::token::Claims;
use common::user::Stamp;

use super::*;

fn told(registration: &str, changed: &str, secret: Option<&str>) -> String {
    let secret = secret.map_or("null".to_owned(), |secret| format!("\"hash of {secret}\""));
    format!(
        r#"{{"command":"USER_REGISTER_RESULT","username":"ann","registration":"{registration}","changed":"{changed}","secret":{secret}}}"#
    )
}

fn answer(registration: &str, changed: &str, secret: &str) -> String {
    format!(
        r#"{{"command":"USER_ANSWER","username":"ann","user":{{"registration":"{registration}","changed":"{changed}","secret":"hash of {secret}"}}}}"#
    )
}

fn log_in(node: &mut Node, secret: &str) -> LinkId {
    let link = node.connect();
    node.say(link, &format!(r#"{{"command":"LOGIN","username":"ann","secret":"{secret}"}}"#));
    node.hash();
    link
}

fn by_token(node: &mut Node, registration: &str) -> LinkId {
    let registration: Option<Stamp> = registration.parse().ok();
    let claims = Claims { username: "ann".parse().unwrap(), registration, expires: WallMillis(u64::MAX) };
    let link = node.connect();
    let token = token_key().sign(&claims);
    node.say(link, &format!(r#"{{"command":"LOGIN","username":"ann","token":"{token}"}}"#));
    link
}

#[test]
fn a_removed_users_sessions_end_with_the_reason_and_its_token_is_worthless() {
    let (mut node, coordinator) = Node::joined();
    node.say(coordinator, &told("5.0@c", "5.0@c", Some("s")));
    let other = node.client();
    let sessions = [log_in(&mut node, "s"), by_token(&mut node, "5.0@c")];
    sessions.iter().for_each(|link| assert_eq!(node.hear(*link), ["LOGIN_SUCCESS logged in as ann"]));
    node.say(coordinator, &told("5.0@c", "6.0@c", None));
    for link in sessions {
        let expected = "AUTHENTICATION_FAIL ann was removed from this network";
        assert_eq!(node.hear(link), [expected, "(closed)"]);
    }
    assert_eq!((node.hear(other).len(), node.worker.load()), (0, 1), "others stay");
    let late = by_token(&mut node, "5.0@c");
    assert!(node.hear(late)[0].starts_with("LOGIN_FAILED "));
}

#[test]
fn a_session_by_a_token_that_came_before_its_record_ends_with_the_removal_too() {
    let (mut node, coordinator) = Node::joined();
    let link = by_token(&mut node, "5.0@c");
    assert_eq!(node.hear(link), ["LOGIN_SUCCESS logged in as ann"]);
    node.say(coordinator, &told("5.0@c", "6.0@c", None));
    assert_eq!(node.hear(link).last().unwrap(), "(closed)");
}

#[test]
fn who_loses_the_name_to_an_earlier_registration_is_logged_out_and_the_earlier_one_logs_in() {
    let (mut node, coordinator) = Node::joined();
    node.say(coordinator, &told("5.0@c", "5.0@c", Some("later")));
    let loser = log_in(&mut node, "later");
    node.hear(loser);
    node.say(coordinator, &told("4.0@d", "4.0@d", Some("earlier")));
    assert_eq!(node.hear(loser), ["AUTHENTICATION_FAIL ann is registered to somebody else", "(closed)"]);
    let winner = log_in(&mut node, "earlier");
    assert_eq!(node.hear(winner), ["LOGIN_SUCCESS logged in as ann"]);
}

#[test]
fn who_has_lost_the_name_is_told_what_happened_and_a_stranger_is_not() {
    let (mut node, coordinator) = Node::joined();
    for (stamp, secret) in [("4.0@d", "earlier"), ("5.0@c", "later"), ("6.0@e", "last")] {
        node.say(coordinator, &told(stamp, stamp, Some(secret)));
    }
    node.say(coordinator, &told("5.0@c", "7.0@c", None));
    node.hang_up(coordinator);
    let [loser, removed, stranger] = ["last", "later", "x"].map(|secret| {
        let link = log_in(&mut node, secret);
        node.hash();
        link
    });
    let [told, closed] = &node.hear(loser)[..] else { panic!("one sentence, and closed") };
    assert!(told.starts_with("LOGIN_FAILED this registration of ann lost its name"), "{told}");
    assert!(told.contains("Register under another name") && closed == "(closed)", "{told}");
    for link in [removed, stranger] {
        assert_eq!(node.hear(link), ["LOGIN_FAILED wrong name or secret", "(closed)"]);
    }
}

#[test]
fn a_changed_secret_keeps_sessions_and_lets_nobody_else_in_by_the_old_one() {
    let (mut node, coordinator) = Node::joined();
    node.say(coordinator, &told("5.0@c", "5.0@c", Some("s")));
    let session = log_in(&mut node, "s");
    let verifying = node.connect();
    node.say(verifying, r#"{"command":"LOGIN","username":"ann","secret":"s"}"#);
    node.say(coordinator, &told("5.0@c", "6.0@c", Some("t")));
    node.hash();
    assert_eq!(
        node.hear(verifying),
        ["LOGIN_FAILED ann has changed just now; try again (again)", "(closed)"],
        "it was verified against what no longer holds"
    );
    assert_eq!(node.hear(session), ["LOGIN_SUCCESS logged in as ann"]);
    let (old, new) = (log_in(&mut node, "s"), log_in(&mut node, "t"));
    node.say(coordinator, &answer("5.0@c", "6.0@c", "t"));
    assert_eq!(node.hear(old), ["LOGIN_FAILED wrong name or secret", "(closed)"]);
    assert_eq!(node.hear(new), ["LOGIN_SUCCESS logged in as ann"]);
}

#[test]
fn whoever_registers_again_what_is_registered_needs_the_same_secret() {
    let (mut node, coordinator) = Node::joined();
    node.say(coordinator, &told("5.0@c", "5.0@c", Some("s")));
    let [same, another] = ["s", "t"].map(|secret| {
        let link = node.connect();
        node.say(link, &format!(r#"{{"command":"REGISTER","username":"ann","secret":"{secret}"}}"#));
        link
    });
    node.hash();
    let success = "REGISTER_SUCCESS ann is registered already, with this secret; log in";
    assert_eq!(node.hear(same), [success]);
    assert_eq!(node.hear(coordinator), ["USER_QUERY ann"]);
    node.say(coordinator, &answer("5.0@c", "5.0@c", "s"));
    assert_eq!(node.hear(another), ["REGISTER_FAILED ann is registered", "(closed)"]);
}

#[test]
fn a_wrong_secret_costs_a_question_and_no_second_hash() {
    let (mut node, coordinator) = Node::joined();
    node.say(coordinator, &told("5.0@c", "5.0@c", Some("s")));
    let wrong = log_in(&mut node, "x");
    assert_eq!(node.hear(wrong), [] as [&str; 0], "the coordinator may know better");
    assert_eq!(node.hear(coordinator), ["USER_QUERY ann"]);
    node.say(coordinator, &answer("5.0@c", "5.0@c", "s"));
    assert!(node.effects.is_empty());
    assert_eq!(node.hear(wrong), ["LOGIN_FAILED wrong name or secret", "(closed)"]);
}

#[test]
fn a_worker_that_has_not_heard_of_a_new_secret_asks_before_it_refuses_it() {
    for (secret, expected) in
        [("t", "LOGIN_SUCCESS logged in as ann"), ("x", "LOGIN_FAILED wrong name or secret")]
    {
        let (mut node, coordinator) = Node::joined();
        node.say(coordinator, &told("5.0@c", "5.0@c", Some("s")));
        let link = log_in(&mut node, secret);
        node.say(coordinator, &answer("5.0@c", "6.0@c", "t"));
        assert_eq!(node.effects.len(), 1, "the record is another one, and worth a hash");
        node.hash();
        assert_eq!(node.hear(link)[0], expected);
        assert_eq!(node.hear(coordinator)[0], "USER_QUERY ann");
        assert!(node.effects.is_empty(), "nobody is asked twice");
    }
}

#[test]
fn a_wrong_secret_is_refused_at_once_without_a_coordinator_and_in_time_without_an_answer() {
    let (mut node, coordinator) = Node::joined();
    node.say(coordinator, &told("5.0@c", "5.0@c", Some("s")));
    let asking = log_in(&mut node, "x");
    node.wait_with(coordinator, Duration::from_secs(6));
    assert_eq!(node.hear(asking), ["LOGIN_FAILED wrong name or secret", "(closed)"]);
    node.hang_up(coordinator);
    let alone = log_in(&mut node, "x");
    assert_eq!(node.hear(alone), ["LOGIN_FAILED wrong name or secret", "(closed)"]);
}

#[test]
fn a_worker_that_lags_verifies_against_the_record_that_comes_with_the_refusal() {
    let (mut node, coordinator) = Node::joined();
    let denied = r#"{"command":"LOCK_DENIED","username":"ann","info":"ann is registered","user":{"registration":"5.0@c","changed":"5.0@c","secret":"hash of s"}}"#;
    for (secret, expected) in [
        ("s", "REGISTER_SUCCESS ann is registered already"),
        ("t", "REGISTER_FAILED ann is being registered"),
    ] {
        let (mut node, coordinator) = Node::joined();
        let link = node.connect();
        node.say(link, &format!(r#"{{"command":"REGISTER","username":"ann","secret":"{secret}"}}"#));
        node.hash();
        node.say(coordinator, denied);
        node.hash();
        assert!(node.hear(link)[0].starts_with(expected));
    }
    node.say(coordinator, denied);
    assert!(node.worker.upstream(), "an answer that nobody waits for does no harm");
}

#[test]
fn a_name_that_somebody_gets_after_long_is_not_said_to_be_a_rivals() {
    // The coordinator had too few backups, and said yes to the first one when that was waited for no longer. The rival, who had asked
    // meanwhile, took it for its own, and was told that the name was registered: to it, as it had to believe.
    let (mut node, coordinator) = Node::joined();
    let first = node.connect();
    let register = |secret: &str| format!(r#"{{"command":"REGISTER","username":"ann","secret":"{secret}"}}"#);
    node.say(first, &register("s"));
    node.hash();
    node.wait_with(coordinator, Duration::from_secs(11));
    assert!(node.hear(first)[0].starts_with("REGISTER_FAILED the coordinator did not answer"));
    let rival = node.connect();
    node.say(rival, &register("another"));
    node.hash();
    let user = r#"{"registration":"1.0@c","changed":"1.0@c","secret":"hash of s"}"#;
    let allowed =
        format!(r#"{{"command":"LOCK_ALLOWED","username":"ann","durability":"local",{}"#, &user[1..]);
    node.say(coordinator, &allowed);
    assert!(node.hear(rival).is_empty(), "that was not its answer");
    let denied =
        format!(r#"{{"command":"LOCK_DENIED","username":"ann","info":"ann is registered","user":{user}}}"#);
    node.say(coordinator, &denied);
    node.hash();
    assert!(node.hear(rival)[0].starts_with("REGISTER_FAILED ann is "));
}

/// Both are told no when the first one's time is over; then the second one's was, which was gone.
#[test]
fn two_wrong_secrets_that_wait_for_the_same_answer_end_together() {
    let (mut node, coordinator) = Node::joined();
    node.say(coordinator, &told("5.0@c", "5.0@c", Some("s")));
    let asking = [log_in(&mut node, "x"), log_in(&mut node, "y")];
    node.wait_with(coordinator, Duration::from_secs(7));
    for link in asking {
        assert_eq!(node.hear(link), ["LOGIN_FAILED wrong name or secret", "(closed)"]);
    }
}
