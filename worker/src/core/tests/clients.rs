use common::token::Claims;

use super::*;

const LOGIN: &str = r#"{"command":"LOGIN","username":"ann","secret":"s"}"#;
const REGISTER: &str = r#"{"command":"REGISTER","username":"ann","secret":"s"}"#;
const ALLOWED: &str = r#"{"command":"LOCK_ALLOWED","username":"ann","registration":"1.0@c","changed":"1.0@c","secret":"hash of s","durability":"local"}"#;

const UNKNOWN: &str = "LOGIN_FAILED this server does not know you yet, and no coordinator answers; try again in a moment (again)";
const TOO_MANY_LOG_INS: &str =
    "LOGIN_FAILED too many log-ins and registrations at once; try again in a moment (again)";

/// A joined worker that knows ann, whose secret is `s`.
fn with_ann() -> (Node, LinkId) {
    let (mut node, coordinator) = Node::joined();
    let user = record("s");
    node.say(coordinator, &format!(r#"{{"command":"SYNC_USER","users":{{"ann":{user}}}}}"#));
    (node, coordinator)
}

#[test]
fn an_activity_reaches_everybody_with_the_name_of_its_sender() {
    let (mut node, _) = with_ann();
    let (ann, other) = (node.connect(), node.client());
    node.say(ann, LOGIN);
    node.hash();
    assert_eq!(node.hear(ann), ["LOGIN_SUCCESS logged in as ann"]);
    node.say(ann, r#"{"command":"ACTIVITY_MESSAGE","username":"ann","secret":"s","activity":{"a":1.0,"authenticated_user":"eve"}}"#);
    let expected = r#"{"authenticated_user":"ann","a":1.0}"#;
    assert_eq!((node.hear(ann), node.hear(other)), (vec![expected.to_owned()], vec![expected.to_owned()]));
}

#[test]
fn who_logs_in_receives_what_is_published_from_then_on() {
    let (mut node, _) = Node::joined();
    let early = node.client();
    node.publish(early, 1);
    let late = node.client();
    node.publish(early, 2);
    assert_eq!(node.hear(late), [r#"{"authenticated_user":"anonymous","n":2}"#]);
    assert_eq!(node.hear(early).len(), 2);
}

#[test]
fn the_coordinator_hears_of_every_client_that_comes_and_goes() {
    let (mut node, coordinator) = Node::joined();
    let first = node.client();
    let second = node.client();
    assert_eq!(node.hear(coordinator), ["NEW_CLIENT anonymous 1", "NEW_CLIENT anonymous 2"]);
    node.say(first, r#"{"command":"LOGOUT"}"#);
    assert_eq!(node.hear(first), ["(closed)"]);
    node.hang_up(second);
    assert_eq!(node.hear(coordinator), ["DE_LOAD 1", "DE_LOAD 0"]);
    assert_eq!(node.worker.load(), 0);
}

#[test]
fn a_client_that_vanishes_while_its_secret_is_verified_leaves_no_ghost() {
    let (mut node, coordinator) = with_ann();
    let ann = node.connect();
    node.say(ann, LOGIN);
    node.hang_up(ann);
    node.hash();
    assert_eq!((node.worker.load(), node.hear(coordinator)), (0, vec![]));
}

#[test]
fn a_wrong_secret_and_an_unknown_name_sound_the_same() {
    let (mut node, coordinator) = with_ann();
    let (wrong, unknown) = (node.connect(), node.connect());
    node.say(wrong, r#"{"command":"LOGIN","username":"ann","secret":"x"}"#);
    node.say(unknown, r#"{"command":"LOGIN","username":"bob","secret":"x"}"#);
    assert_eq!(node.hear(coordinator), ["USER_QUERY bob"]);
    node.say(coordinator, r#"{"command":"USER_ANSWER","username":"bob"}"#);
    assert_eq!(node.effects.len(), 2, "both cost a hash");
    node.hash();
    assert_eq!(node.hear(coordinator), ["USER_QUERY ann"], "and a question");
    let user = record("s");
    node.say(coordinator, &format!(r#"{{"command":"USER_ANSWER","username":"ann","user":{user}}}"#));
    let expected = ["LOGIN_FAILED wrong name or secret", "(closed)"];
    assert_eq!(
        (node.hear(wrong), node.hear(unknown)),
        (expected.map(String::from).to_vec(), expected.map(String::from).to_vec())
    );
}

#[test]
fn a_user_that_is_not_known_yet_is_asked_for_once() {
    let (mut node, coordinator) = Node::joined();
    let (first, second) = (node.connect(), node.connect());
    node.say(first, LOGIN);
    node.say(second, LOGIN);
    assert_eq!(node.hear(coordinator), ["USER_QUERY ann"]);
    let user = record("s");
    node.say(coordinator, &format!(r#"{{"command":"USER_ANSWER","username":"ann","user":{user}}}"#));
    node.hash();
    assert_eq!(node.hear(first), ["LOGIN_SUCCESS logged in as ann"]);
    assert_eq!(node.hear(second), ["LOGIN_SUCCESS logged in as ann"]);
}

#[test]
fn who_vanishes_while_a_user_is_asked_for_is_not_missed() {
    let (mut node, coordinator) = Node::joined();
    let (gone, stays) = (node.connect(), node.connect());
    node.say(gone, LOGIN);
    node.say(stays, LOGIN);
    node.hang_up(gone);
    let user = record("s");
    node.say(coordinator, &format!(r#"{{"command":"USER_ANSWER","username":"ann","user":{user}}}"#));
    node.hash();
    assert_eq!(
        (node.hear(stays), node.worker.load()),
        (vec!["LOGIN_SUCCESS logged in as ann".to_owned()], 1)
    );
    node.say(coordinator, r#"{"command":"USER_ANSWER","username":"ann"}"#);
}

#[test]
fn an_unknown_user_is_told_to_try_again_when_no_coordinator_answers_in_time() {
    let (mut node, coordinator) = Node::joined();
    let (first, second) = (node.connect(), node.connect());
    node.say(first, LOGIN);
    node.wait_with(coordinator, Duration::from_secs(6));
    node.hash();
    assert_eq!(node.hear(first), [UNKNOWN, "(closed)"]);
    node.say(second, LOGIN);
    node.hang_up(coordinator);
    assert_eq!(node.hear(second), [] as [&str; 0], "the next coordinator may know the name");
    node.wait(Duration::from_secs(6));
    node.hash();
    assert_eq!(node.hear(second), [UNKNOWN, "(closed)"]);
}

#[test]
fn a_worker_that_never_reached_a_coordinator_refuses_nobody_for_good() {
    let mut node = Node::new();
    let [secret, token, both, anonymous] = [(); 4].map(|()| node.connect());
    node.say(secret, LOGIN);
    node.say(token, &by_token("ann", 2_000_000, ""));
    node.say(both, &by_token("ann", 2_000_000, r#","secret":"s""#));
    node.say(anonymous, r#"{"command":"LOGIN","username":"anonymous"}"#);
    node.hash();
    assert_eq!(node.hear(secret), [UNKNOWN, "(closed)"]);
    let no_key = "LOGIN_FAILED this worker has not reached a coordinator yet and cannot check tokens (again)";
    assert_eq!(node.hear(token), [no_key, "(closed)"]);
    assert_eq!(node.hear(both), [UNKNOWN, "(closed)"]);
    assert_eq!(node.hear(anonymous), ["LOGIN_SUCCESS logged in as anonymous"]);
}

#[test]
fn users_log_in_while_no_coordinator_answers() {
    let (mut node, coordinator) = with_ann();
    node.hang_up(coordinator);
    let (secret, token) = (node.connect(), node.connect());
    node.say(secret, LOGIN);
    node.hash();
    assert_eq!(node.hear(secret), ["LOGIN_SUCCESS logged in as ann"]);
    node.say(token, &by_token("ann", 2_000_000, ""));
    assert_eq!(node.hear(token), ["LOGIN_SUCCESS logged in as ann"]);
}

fn by_token(username: &str, expires: u64, more: &str) -> String {
    let claims = Claims {
        username: "ann".parse().unwrap(),
        registration: "1.0@c".parse().ok(),
        expires: WallMillis(expires),
    };
    let token = token_key().sign(&claims);
    format!(r#"{{"command":"LOGIN","username":"{username}","token":"{token}"{more}}}"#)
}

#[test]
fn a_token_costs_no_hash_and_a_bad_one_falls_back_to_the_secret() {
    let (mut node, _) = with_ann();
    let [good, expired, anothers, fallback] = [(); 4].map(|()| node.connect());
    node.say(good, &by_token("ann", 2_000_000, ""));
    node.say(expired, &by_token("ann", 1, ""));
    node.say(anothers, &by_token("bob", 2_000_000, ""));
    assert!(node.effects.is_empty());
    assert_eq!(node.hear(good), ["LOGIN_SUCCESS logged in as ann"]);
    assert_eq!(node.hear(expired), ["LOGIN_FAILED the token has expired", "(closed)"]);
    assert_eq!(node.hear(anothers), ["LOGIN_FAILED the token is another user's", "(closed)"]);
    node.say(fallback, &by_token("ann", 1, r#","secret":"s""#));
    node.hash();
    assert_eq!(node.hear(fallback), ["LOGIN_SUCCESS logged in as ann"]);
}

#[test]
fn the_secret_that_came_with_a_token_is_the_one_to_be_repeated() {
    let (mut node, _) = with_ann();
    let activity = |secret: &str| {
        format!(r#"{{"command":"ACTIVITY_MESSAGE","username":"ann","secret":"{secret}","activity":{{}}}}"#)
    };
    let [both, alone] = [r#","secret":"s""#, ""].map(|secret| {
        let link = node.connect();
        node.say(link, &by_token("ann", 2_000_000, secret));
        node.say(link, &activity("s"));
        link
    });
    assert!(node.effects.is_empty(), "it costs no hash");
    node.hear(both);
    node.say(both, &activity("x"));
    assert_eq!(
        node.hear(both),
        ["AUTHENTICATION_FAIL the secret is not the one that logged in on this connection", "(closed)"]
    );
    // Whoever came by a token alone has proved who it is, and nothing to compare with.
    node.say(alone, &activity("x"));
    assert_eq!(node.hear(alone).len(), 3, "welcomed, and both activities");
}

#[test]
fn what_is_not_allowed_is_answered_with_its_reason_and_a_close() {
    let (mut node, _) = with_ann();
    let activity = |more: &str| format!(r#"{{"command":"ACTIVITY_MESSAGE",{more}"activity":{{}}}}"#);
    let broadcast = r#"{"command":"ACTIVITY_BROADCAST","activity":{}}"#.to_owned();
    let cases: Vec<(bool, String, &str)> = vec![
        (false, "nonsense".into(), "INVALID_MESSAGE the line is not valid JSON"),
        (false, "[]".into(), "INVALID_MESSAGE the line is JSON but not an object"),
        (false, r#"{"command":"DANCE"}"#.into(), "INVALID_MESSAGE unknown command \"DANCE\""),
        (false, activity(""), "AUTHENTICATION_FAIL log in first"),
        (false, broadcast.clone(), "INVALID_MESSAGE ACTIVITY_BROADCAST is for servers: authenticate first"),
        (
            false,
            r#"{"command":"LOGIN_SUCCESS"}"#.into(),
            "INVALID_MESSAGE LOGIN_SUCCESS is an answer; nobody asked",
        ),
        (false, r#"{"command":"STATUS","secret":"x"}"#.into(), "INVALID_MESSAGE STATUS is for coordinators"),
        (
            false,
            r#"{"command":"LOGIN","username":""}"#.into(),
            "LOGIN_FAILED a username has 1 to 64 characters",
        ),
        (
            false,
            r#"{"command":"LOGIN","username":"ann"}"#.into(),
            "LOGIN_FAILED a log-in needs a secret or a token",
        ),
        (
            false,
            r#"{"command":"LOGIN","username":"ann","secret":""}"#.into(),
            "LOGIN_FAILED wrong name or secret",
        ),
        (
            false,
            r#"{"command":"REGISTER","username":"anonymous","secret":"s"}"#.into(),
            "REGISTER_FAILED anonymous is everybody's",
        ),
        (
            false,
            r#"{"command":"REGISTER","username":"bob","secret":""}"#.into(),
            "REGISTER_FAILED a secret has 1 to 256 bytes",
        ),
        (false, REGISTER.replace("\"s\"", "\"\""), "REGISTER_FAILED a secret has 1 to 256 bytes"),
        (
            false,
            REGISTER.replace("ann", "ann\u{202e}"),
            "REGISTER_FAILED a username neither begins nor ends with white space, and has no invisible characters",
        ),
        (
            false,
            r#"{"command":"CHANGE_SECRET","username":"ann","secret":"s","new_secret":"t"}"#.into(),
            "REDIRECT coordinator:3780",
        ),
        (
            true,
            r#"{"command":"REMOVE_USER","username":"ann","secret":"s"}"#.into(),
            "INVALID_MESSAGE REMOVE_USER after LOGIN_SUCCESS",
        ),
        (true, LOGIN.into(), "INVALID_MESSAGE LOGIN after LOGIN_SUCCESS"),
        (true, REGISTER.into(), "INVALID_MESSAGE REGISTER after LOGIN_SUCCESS"),
        (true, activity(r#""username":"bob","#), "AUTHENTICATION_FAIL the username is not the one"),
        (true, activity(r#""secret":"x","#), "AUTHENTICATION_FAIL the secret is not the one"),
        (true, broadcast, "INVALID_MESSAGE ACTIVITY_BROADCAST is for servers"),
    ];
    for (logged_in, line, expected) in cases {
        let link = node.connect();
        if logged_in {
            node.say(link, LOGIN);
            node.hash();
            node.hear(link);
        }
        node.say(link, &line);
        let heard = node.hear(link);
        assert!(heard.len() == 2 && heard[0].starts_with(expected), "{line}: {heard:?}");
        assert_eq!(node.worker.load(), 0);
    }
}

#[test]
fn a_second_login_while_the_first_is_verified_is_refused() {
    let (mut node, _) = with_ann();
    let ann = node.connect();
    node.say(ann, LOGIN);
    node.say(ann, LOGIN);
    assert_eq!(node.hear(ann), ["INVALID_MESSAGE LOGIN before LOGIN was answered", "(closed)"]);
    node.hash();
    assert_eq!(node.worker.load(), 0);
}

#[test]
fn an_activity_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let mut node = Node::with("w1", Limits { activity_bytes: 20, ..Limits::default() });
    let (client, other) = (node.client(), node.client());
    node.say(client, r#"{"command":"ACTIVITY_MESSAGE","activity":{"k":"012345678901"}}"#);
    assert_eq!(node.hear(other).len(), 1);
    node.say(client, r#"{"command":"ACTIVITY_MESSAGE","activity":{"k":"0123456789012"}}"#);
    assert_eq!(node.hear(client)[1..], ["INVALID_MESSAGE the activity is longer than 20 bytes", "(closed)"]);
    assert_eq!(node.hear(other), [] as [&str; 0]);
}

#[test]
fn another_spelling_of_the_own_name_is_the_own_name() {
    let (mut node, coordinator) = Node::joined();
    let user = record("s");
    node.say(coordinator, &format!(r#"{{"command":"SYNC_USER","users":{{"Zo\u00eb":{user}}}}}"#));
    let link = node.connect();
    node.say(link, r#"{"command":"LOGIN","username":"Zo\u00eb","secret":"s"}"#);
    node.hash();
    node.hear(link);
    node.say(link, r#"{"command":"ACTIVITY_MESSAGE","username":"Zoe\u0308","activity":{}}"#);
    assert_eq!(node.hear(link), ["{\"authenticated_user\":\"Zo\u{eb}\"}"]);
}

#[test]
fn silence_before_the_log_in_ends_with_a_reason() {
    let mut node = Node::new();
    let (silent, busy) = (node.connect(), node.client());
    node.wait(Duration::from_secs(12));
    assert_eq!(node.hear(silent), ["LOGIN_FAILED no log-in within 10 s", "(closed)"]);
    assert_eq!(node.hear(busy), [] as [&str; 0]);
}

#[test]
fn one_connection_too_many_is_turned_away() {
    let mut node = Node::with("w1", Limits { connections: 2, ..Limits::default() });
    let [first, _second] = [node.client(), node.client()];
    let third = node.connect();
    assert_eq!(
        node.hear(third),
        ["LOGIN_FAILED this server carries 2 connections and takes no more (again)", "(closed)"]
    );
    node.hang_up(first);
    node.client();
}

#[test]
fn more_log_ins_than_may_ask_the_coordinator_are_told_to_come_back() {
    let mut node = Node::with("w1", Limits { queries: 2, ..Limits::default() });
    let coordinator = node.answer_dial();
    node.say(coordinator, &success("net", ""));
    let links = [(); 3].map(|()| node.connect());
    links.iter().for_each(|link| node.say(*link, LOGIN));
    assert_eq!(node.hear(links[2]), [TOO_MANY_LOG_INS, "(closed)"]);
    assert!(node.hear(links[0]).is_empty());
}

#[test]
fn who_cannot_be_hashed_in_time_is_told_to_come_back() {
    let (mut node, _) = Node::joined();
    let (newcomer, again) = (node.connect(), node.connect());
    node.say(newcomer, REGISTER);
    node.give_up_hashes();
    let too_many = TOO_MANY_LOG_INS.replace("LOGIN", "REGISTER");
    assert_eq!(node.hear(newcomer), [too_many.as_str(), "(closed)"]);
    node.say(again, REGISTER);
    node.hash();
    assert!(node.hear(again).is_empty(), "the name was free again");

    let mut node = Node::new();
    let ann = node.connect();
    node.say(ann, LOGIN);
    node.give_up_hashes();
    assert_eq!(node.hear(ann), [TOO_MANY_LOG_INS, "(closed)"]);
}

#[test]
fn who_says_no_more_hears_the_answers_to_what_it_said_and_then_the_end() {
    let (mut node, coordinator) = with_ann();
    let [ann, bob, unknown, idle] = [(); 4].map(|()| node.connect());
    node.say(ann, LOGIN);
    node.say(bob, &REGISTER.replace("ann", "bob"));
    node.say(unknown, r#"{"command":"LOGIN","username":"cy","secret":"s"}"#);
    for link in [ann, bob, unknown, idle] {
        node.finish(link);
    }
    assert_eq!((node.doubted.len(), node.cancelled.len()), (2, 0), "others come first");
    assert_eq!(node.hear(idle), ["(closed)"]);
    node.hash();
    assert_eq!(node.hear(ann), ["LOGIN_SUCCESS logged in as ann", "(closed)"]);
    node.say(coordinator, r#"{"command":"USER_ANSWER","username":"cy"}"#);
    node.hash();
    assert_eq!(node.hear(unknown), ["LOGIN_FAILED wrong name or secret", "(closed)"]);
    let allowed = ALLOWED.replace("ann", "bob");
    node.say(coordinator, &allowed);
    assert_eq!(node.hear(bob), ["REGISTER_SUCCESS bob is registered", "(closed)"]);
}

#[test]
fn who_is_logged_in_and_says_no_more_hears_what_there_is_and_is_gone() {
    let (mut node, _) = Node::joined();
    let guest = node.client();
    node.say(guest, r#"{"command":"ACTIVITY_MESSAGE","activity":{"n":1}}"#);
    node.finish(guest);
    assert_eq!(node.hear(guest), [r#"{"authenticated_user":"anonymous","n":1}"#, "(closed)"]);
    assert_eq!(node.worker.load(), 0);
}

#[test]
fn clients_that_leave_make_room_for_those_who_stay() {
    let (mut node, coordinator) = Node::joined();
    node.say(coordinator, &format!(r#"{{"command":"SYNC_USER","users":{{"ann":{}}}}}"#, record("s")));
    node.hear(coordinator);
    for round in 0..5 {
        let (guest, newcomer) = (node.connect(), node.connect());
        node.say(guest, LOGIN);
        node.say(newcomer, &REGISTER.replace("ann", "bob"));
        node.hang_up(guest);
        node.hang_up(newcomer);
        assert_eq!(node.cancelled.len(), 2 * (round + 1));
    }
    let [ann, bob] = [node.connect(), node.connect()];
    node.say(ann, LOGIN);
    node.say(bob, &REGISTER.replace("ann", "bob"));
    node.hash();
    assert_eq!(node.hear(ann), ["LOGIN_SUCCESS logged in as ann"]);
    let once = ["NEW_CLIENT ann 1", "LOCK_REQUEST bob hash of s"];
    assert_eq!(node.hear(coordinator), once, "late answers are ignored");
    node.hang_up(bob);
    assert_eq!(node.cancelled.len(), 10, "what is done is not cancelled");
}

#[test]
fn a_registration_is_passed_on_and_its_user_logs_in_on_the_same_connection() {
    let (mut node, coordinator) = Node::joined();
    let (ann, rival) = (node.connect(), node.connect());
    node.say(ann, REGISTER);
    node.say(rival, REGISTER);
    assert_eq!(node.hear(rival), ["REGISTER_FAILED ann is being registered (again)", "(closed)"]);
    node.hash();
    assert_eq!(node.hear(coordinator), ["LOCK_REQUEST ann hash of s"]);
    node.say(coordinator, ALLOWED);
    assert_eq!(node.hear(ann), ["REGISTER_SUCCESS ann is registered"]);
    node.wait(Duration::from_secs(9));
    node.say(ann, LOGIN);
    node.hash();
    assert_eq!(node.hear(ann), ["LOGIN_SUCCESS logged in as ann"]);
}

#[test]
fn a_registration_that_cannot_be_had_says_why() {
    let (mut node, coordinator) = Node::joined();
    let unanswered = "REGISTER_FAILED the coordinator did not answer; try again: the name may have been registered, then log in (again)";
    let denied = node.connect();
    node.say(denied, REGISTER);
    node.hash();
    node.say(coordinator, r#"{"command":"LOCK_DENIED","username":"ann","info":"ann is being registered"}"#);
    assert_eq!(node.hear(denied), ["REGISTER_FAILED ann is being registered", "(closed)"]);
    let late = node.connect();
    node.say(late, REGISTER);
    node.hash();
    node.wait_with(coordinator, Duration::from_secs(11));
    assert_eq!(node.hear(late), [unanswered, "(closed)"]);
    let [hashing, asked] = [node.connect(), node.connect()];
    node.say(asked, REGISTER);
    node.hash();
    node.say(hashing, r#"{"command":"REGISTER","username":"bob","secret":"s"}"#);
    node.hang_up(coordinator);
    node.hash();
    assert_eq!(node.hear(asked), [] as [&str; 0], "the next coordinator may answer");
    node.wait(Duration::from_secs(11));
    assert_eq!(node.hear(asked), [unanswered, "(closed)"]);
    assert_eq!(node.hear(hashing), [unanswered, "(closed)"]);
    let alone = node.connect();
    node.say(alone, REGISTER);
    assert_eq!(
        node.hear(alone),
        [
            "REGISTER_FAILED no coordinator can be reached, and a name needs one; try again (again)",
            "(closed)"
        ]
    );
}

#[test]
fn who_asks_for_a_name_while_another_server_registers_it_hears_that_it_is_being_registered() {
    // Each worker hashes before it asks for the name, so the loser often comes when the winner has it: of 200 races, 80 losers heard that
    // the name was registered, although nobody had it when they asked.
    let denied = r#"{"command":"LOCK_DENIED","username":"ann","info":"ann is registered","user":{"registration":"7.0@c","changed":"7.0@c","secret":"hash of other"}}"#;
    let told = r#"{"command":"USER_REGISTER_RESULT","username":"ann","registration":"7.0@c","changed":"7.0@c","secret":"hash of other"}"#;
    for told_before in [false, true] {
        let (mut node, coordinator) = Node::joined();
        let loser = node.connect();
        node.say(loser, REGISTER);
        if told_before {
            node.say(coordinator, told);
        }
        node.hash();
        node.say(coordinator, denied);
        node.hash();
        assert_eq!(node.hear(loser), ["REGISTER_FAILED ann is being registered (again)", "(closed)"]);
        // With another try it hears how that ended.
        let again = node.connect();
        node.say(again, REGISTER);
        node.hash();
        let user = r#"{"registration":"7.0@c","changed":"7.0@c","secret":"hash of other"}"#;
        node.say(coordinator, &format!(r#"{{"command":"USER_ANSWER","username":"ann","user":{user}}}"#));
        assert_eq!(node.hear(again), ["REGISTER_FAILED ann is registered", "(closed)"]);
    }
    // A worker that has not been told of all users yet cannot say that the name was free.
    let mut node = Node::new();
    let coordinator = node.answer_dial();
    let behind = success("net", "").replace("\"servers\"", r#""seen":["9.0@c"],"servers""#);
    node.say(coordinator, &behind);
    let late = node.connect();
    node.say(late, REGISTER);
    node.hash();
    node.say(coordinator, denied);
    node.hash();
    assert_eq!(node.hear(late), ["REGISTER_FAILED ann is registered", "(closed)"]);
}

#[test]
fn a_registration_whose_client_vanished_early_is_forgotten() {
    let (mut node, coordinator) = Node::joined();
    let (gone, stays) = (node.connect(), node.connect());
    node.say(gone, REGISTER);
    node.hang_up(gone);
    node.say(stays, r#"{"command":"REGISTER","username":"ann","secret":"other"}"#);
    node.hash();
    assert_eq!(node.hear(coordinator), ["LOCK_REQUEST ann hash of other"]);
}

#[test]
fn a_registration_whose_client_vanished_is_completed_all_the_same() {
    let (mut node, coordinator) = Node::joined();
    let ann = node.connect();
    node.say(ann, REGISTER);
    node.hash();
    node.hang_up(ann);
    node.say(coordinator, ALLOWED);
    node.hear(coordinator);
    let again = node.connect();
    node.say(again, LOGIN);
    node.hash();
    assert_eq!(node.hear(again), ["LOGIN_SUCCESS logged in as ann"]);
}
