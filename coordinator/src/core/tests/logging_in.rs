use std::time::Duration;

use common::password;
use common::time::WallMillis;
use common::token::{Claims, TokenKey};
use common::user::Stamp;
use common::wire::Message;

use super::{Effect, KEY, Net};

fn redirect(net: &mut Net, link: common::id::LinkId) -> (String, Claims) {
    assert!(net.is_closed(link));
    assert_eq!(net.hear(link).command(), "LOGIN_SUCCESS");
    let Message::Redirect(redirect) = net.hear(link) else { panic!("no redirect") };
    let token = redirect.token.expect("a redirect carries a token");
    (redirect.address.to_string(), TokenKey::new(KEY).verify(&token, net.now.wall).unwrap())
}

#[test]
fn a_user_is_redirected_with_a_token_that_says_who_it_is() {
    let mut net = Net::new();
    net.worker("w1");
    net.has_registered("ann", "s");
    let ann = net.connect();
    net.login(ann, "ann", "s");
    let (address, claims) = redirect(&mut net, ann);
    assert_eq!(address, format!("host:{}", 4_000 + u16::from(b'w') + u16::from(b'1')));
    assert_eq!(claims.username.as_str(), "ann");
    assert_eq!(claims.expires, WallMillis(net.now.wall.0 + 60_000));
    assert!(claims.registration.is_some());
}

#[test]
fn a_wrong_secret_and_an_unknown_name_are_refused_alike_and_cost_alike() {
    let mut net = Net::new();
    net.worker("w1");
    net.has_registered("ann", "s");
    net.hold_effects();
    let (wrong, unknown) = (net.connect(), net.connect());
    net.login(wrong, "ann", "t");
    net.login(unknown, "bob", "t");
    let Some(Effect::Verify { hash, .. }) = net.effects.get(1) else { panic!("no verification") };
    assert_eq!(*hash, password::decoy());
    net.answer_all();
    let expected = ("LOGIN_FAILED", "wrong name or secret".to_owned(), false);
    assert_eq!(net.refusal(wrong), expected);
    assert_eq!(net.refusal(unknown), expected);
}

#[test]
fn an_unknown_name_is_refused_although_its_verification_succeeds() {
    let mut net = Net::new();
    net.worker("w1");
    net.hold_effects();
    let link = net.connect();
    net.login(link, "bob", "t");
    let Some(Effect::Verify { job, .. }) = net.effects.pop_front() else { panic!("no verification") };
    net.event(common::machine::Event::Input(crate::core::Input::Verified { job, matches: true }));
    assert_eq!(net.refusal(link).1, "wrong name or secret");
}

#[test]
fn nobody_logs_in_with_a_name_before_the_disk_has_confirmed_it() {
    let mut net = Net::new();
    net.worker("w1");
    net.hold_effects();
    let (first, second) = (net.connect(), net.connect());
    net.register(first, "ann", "s");
    net.answer();
    net.login(second, "ann", "s");
    let (command, info, retry) = net.refusal(second);
    assert_eq!((command, retry), ("LOGIN_FAILED", true));
    assert!(info.starts_with("ann is being registered"), "{info}");
}

#[test]
fn anonymous_needs_no_secret_and_costs_no_hash() {
    let mut net = Net::new();
    net.worker("w1");
    net.hold_effects();
    let link = net.connect();
    net.say(link, r#"{"command":"LOGIN","username":"anonymous"}"#);
    let (_, claims) = redirect(&mut net, link);
    assert!(claims.username.is_anonymous());
    assert_eq!(claims.registration, None);
}

#[test]
fn who_has_just_registered_logs_in_on_the_same_connection_without_a_second_hash() {
    let mut net = Net::new();
    net.worker("w1");
    let ann = net.connect();
    net.register(ann, "ann", "s");
    net.hold_effects();
    assert_eq!(net.commands(ann), ["REGISTER_SUCCESS"]);
    net.login(ann, "ann", "s");
    assert_eq!(redirect(&mut net, ann).1.username.as_str(), "ann");
}

#[test]
fn having_registered_helps_with_that_name_and_secret_alone() {
    for (name, secret) in [("ann", "other"), ("bob", "s")] {
        let mut net = Net::new();
        net.worker("w1");
        net.has_registered("bob", "b");
        let link = net.connect();
        net.register(link, "ann", "s");
        net.commands(link);
        net.hold_effects();
        net.login(link, name, secret);
        assert_eq!(net.effects.len(), 1, "{name} with {secret} is verified");
        net.answer();
        assert_eq!(net.refusal(link).1, "wrong name or secret");
    }
}

#[test]
fn a_registered_client_that_does_not_log_in_has_ten_seconds_more() {
    let mut net = Net::new();
    net.hold_effects();
    let ann = net.connect();
    net.pass(Duration::from_secs(8));
    net.register(ann, "ann", "s");
    net.answer_all();
    net.pass(Duration::from_secs(8));
    assert_eq!(net.commands(ann), ["REGISTER_SUCCESS"]);
    assert!(!net.is_closed(ann));
    net.pass(Duration::from_secs(4));
    assert_eq!(net.refusal(ann), ("LOGIN_FAILED", "no log-in within 10 s".to_owned(), false));
}

fn token(claims: &Claims) -> String {
    TokenKey::new(KEY).sign(claims)
}

#[test]
fn a_token_logs_in_its_user_and_nobody_else() {
    let mut net = Net::new();
    net.worker("w1");
    net.has_registered("ann", "s");
    let link = net.connect();
    net.login(link, "ann", "s");
    let (_, good) = redirect(&mut net, link);
    net.hold_effects();
    let other: Stamp = "1.0@c9".parse().unwrap();
    let cases = [
        ("ann", good.clone(), true),
        ("bob", good.clone(), false),
        ("bob", Claims { username: "bob".parse().unwrap(), ..good.clone() }, false),
        ("bob", Claims { username: "bob".parse().unwrap(), registration: None, ..good.clone() }, false),
        ("ann", Claims { registration: Some(other), ..good.clone() }, false),
        ("ann", Claims { registration: None, ..good.clone() }, false),
        ("ann", Claims { expires: WallMillis(1), ..good }, false),
    ];
    for (name, claims, accepted) in cases {
        let link = net.connect();
        net.say(link, &format!(r#"{{"command":"LOGIN","username":"{name}","token":"{}"}}"#, token(&claims)));
        assert!(net.effects.is_empty(), "a token costs no hash");
        let commands = net.commands(link);
        assert_eq!(
            commands == ["LOGIN_SUCCESS", "REDIRECT"],
            accepted,
            "{name} with {claims:?}: {commands:?}"
        );
        assert!(net.is_closed(link));
    }
}

#[test]
fn with_a_bad_token_the_secret_decides() {
    let mut net = Net::new();
    net.worker("w1");
    net.has_registered("ann", "s");
    let link = net.connect();
    net.say(link, r#"{"command":"LOGIN","username":"ann","secret":"s","token":"v1.x.y"}"#);
    assert_eq!(net.commands(link), ["LOGIN_SUCCESS", "REDIRECT"]);
    let link = net.connect();
    net.say(link, r#"{"command":"LOGIN","username":"ann","token":"v1.x.y"}"#);
    assert_eq!(net.refusal(link).1, "the token is not one of this network's");
}

#[test]
fn names_and_secrets_that_cannot_be_are_refused_with_the_reason() {
    let mut net = Net::new();
    net.worker("w1");
    for (line, reason) in [
        (r#"{"command":"LOGIN","username":"","secret":"s"}"#, "a username has 1 to 64 characters"),
        (r#"{"command":"LOGIN","username":"ann"}"#, "a secret or a token is needed to log in"),
        (r#"{"command":"LOGIN","username":"ann","secret":""}"#, "a secret has 1 to 256 bytes"),
    ] {
        let link = net.connect();
        net.say(link, line);
        assert_eq!(net.refusal(link), ("LOGIN_FAILED", reason.to_owned(), false));
    }
}

#[test]
fn without_a_worker_nobody_is_verified_and_everybody_is_told_to_try_again() {
    let mut net = Net::new();
    net.has_registered("ann", "s");
    net.hold_effects();
    let link = net.connect();
    net.login(link, "ann", "s");
    assert!(net.effects.is_empty());
    let expected = ("LOGIN_FAILED", "no worker is connected yet, try again".to_owned(), true);
    assert_eq!(net.refusal(link), expected);
    // The worker leaves while the secret is being verified.
    let worker = net.worker("w1");
    let link = net.connect();
    net.login(link, "ann", "s");
    net.vanish(worker);
    net.answer();
    assert_eq!(net.refusal(link), expected);
}

#[test]
fn a_verification_that_does_not_come_is_given_up_and_ignored_when_it_does() {
    let mut net = Net::new();
    net.worker("w1");
    net.has_registered("ann", "s");
    net.hold_effects();
    let link = net.connect();
    net.login(link, "ann", "s");
    net.pass(Duration::from_secs(12));
    let (command, _, retry) = net.refusal(link);
    assert_eq!((command, retry), ("LOGIN_FAILED", true));
    net.answer();
    assert_eq!(net.workers()[0].1, 0, "nobody is expected who has been refused");
}

#[test]
fn who_was_unknown_when_its_secret_was_verified_and_has_become_known_tries_again() {
    let mut net = Net::new();
    let worker = net.worker("w1");
    net.hold_effects();
    let link = net.connect();
    net.login(link, "ann", "s");
    let verify = net.effects.pop_back().unwrap();
    let hash = super::fake_hash(&common::user::Secret::new("s"));
    net.say(
        worker,
        &format!(
            r#"{{"command":"SYNC_USER","users":{{"ann":{{"registration":"5.0@c9","changed":"5.0@c9","secret":"{}"}}}},"seen":["5.0@c9"]}}"#,
            hash.text()
        ),
    );
    net.answer();
    net.effects.push_back(verify);
    net.answer();
    let (command, _, retry) = net.refusal(link);
    assert_eq!((command, retry), ("LOGIN_FAILED", true), "the worker has told of it meanwhile");
}
