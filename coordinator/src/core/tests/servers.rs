use std::time::Duration;

use common::id::LinkId;
use common::machine::Machine;
use common::user::{PasswordHash, Stamp, UserRecord, Username};
use common::wire::Message;

use super::{Net, SECRET, newcomer};
use crate::core::Limits;

fn users(count: u64) -> Vec<(Username, UserRecord)> {
    let user = |n: u64| {
        let stamp: Stamp = format!("{n}.0@c1").parse().unwrap();
        let record = UserRecord {
            registration: stamp.clone(),
            changed: stamp,
            written: None,
            secret: Some(PasswordHash::new("h")),
        };
        (format!("user-{n}").parse().unwrap(), record)
    };
    (0..count).map(user).collect()
}
#[test]
fn a_silent_worker_is_removed_and_the_others_hear_it() {
    let mut net = Net::new();
    let (gone, mute, alive) = (net.worker("w1"), net.worker("w2"), net.worker("w3"));
    net.vanish(gone);
    for _ in 0..5 {
        net.pass(Duration::from_secs(5));
        net.say(alive, r#"{"command":"SERVER_LOAD","load":0}"#);
    }
    assert!(net.is_closed(mute));
    assert_eq!(net.commands(mute).last(), Some(&"INVALID_MESSAGE"));
    assert_eq!(net.workers(), [(0, 0, true)]);
    let removed: Vec<String> = net
        .hear_all(alive)
        .into_iter()
        .filter_map(|message| match message {
            Message::RemoveServer(removed) => Some(removed.id.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(removed, ["w1", "w2"]);
}

#[test]
fn a_returning_worker_replaces_its_old_connection() {
    let mut net = Net::new();
    let old = net.worker("w1");
    let new = net.worker("w1");
    assert_eq!(net.refusal(old), ("INVALID_MESSAGE", "this server has connected anew".to_owned(), false));
    assert_eq!(net.workers(), [(0, 0, true)]);
    net.say(new, r#"{"command":"SERVER_LOAD","load":2}"#);
    assert_eq!(net.workers(), [(2, 0, true)]);
}

#[test]
fn workers_hear_of_each_other() {
    let mut net = Net::new();
    let w1 = net.worker("w1");
    let w2 = net.connect();
    net.authenticate(w2, "w2", 0);
    let Message::AuthenticateSuccess(welcome) = net.hear(w2) else { panic!("not welcome") };
    assert_eq!(welcome.servers.iter().map(|server| server.id.as_str()).collect::<Vec<_>>(), ["w1"]);
    assert_eq!((welcome.id.as_str(), welcome.network.as_deref()), ("c1", Some("net")));
    assert!(welcome.token_key.is_some());
    let Message::SynchronisedNewServer(news) = net.hear(w1) else { panic!("not told") };
    assert_eq!(news.server.id.as_str(), "w2");
    // It returns to another address.
    net.vanish(w2);
    let moved = net.connect();
    net.say(moved, &authenticate("w2", SECRET, r#","users_after":[]"#));
    let Message::SynchronisedNewServer(news) = net.hear(w1) else { panic!("not told") };
    assert_eq!(news.server.address.port, 9);
}

fn authenticate(id: &str, secret: &str, more: &str) -> String {
    format!(
        r#"{{"command":"AUTHENTICATE","id":"{id}","hostname":"h","port":"9","secret":"{secret}",
        "incarnation":"00000000000000aa"{more}}}"#
    )
}

#[test]
fn who_does_not_belong_here_is_refused() {
    let mut net = Net::with(Limits { workers: 1, ..Limits::default() }, Vec::new());
    net.worker("w1");
    for (id, secret, reason) in [
        ("w2", "guessed", "wrong network secret"),
        ("c1", SECRET, "c1 is the id of this coordinator; choose another"),
        ("w2", SECRET, "this network has 1 workers already"),
    ] {
        let link = net.connect();
        net.say(link, &authenticate(id, secret, ""));
        assert_eq!(net.refusal(link), ("AUTHENTICATION_FAIL", reason.to_owned(), false));
    }
}

#[test]
fn workers_hear_from_the_coordinator_every_few_seconds() {
    let mut net = Net::new();
    let w1 = net.worker("w1");
    net.pass(Duration::from_secs(16));
    assert_eq!(net.commands(w1), ["BACKUP_LIST"; 3]);
}

#[test]
fn a_worker_is_told_all_users_in_bounded_pieces_and_only_what_it_lacks_when_it_returns() {
    let limits = Limits { sync_users: 500, ..Limits::default() };
    let mut net = Net::with(limits, users(1_201));
    let w1 = net.connect();
    net.authenticate(w1, "w1", 0);
    let sizes: Vec<usize> = net
        .hear_all(w1)
        .iter()
        .filter_map(|message| match message {
            Message::SyncUser(sync) => Some(sync.users.len()),
            _ => None,
        })
        .collect();
    assert_eq!(sizes, [500, 500, 201, 0], "the last says that this was all");
    net.vanish(w1);
    for (after, expected) in
        [("1198.0@c1", 2), ("1200.0@c1", 0), ("77.0@c9", 1_201), ("77.0@c9\",\"1198.0@c1", 2)]
    {
        let back = net.connect();
        net.say(back, &authenticate("w1", SECRET, &format!(r#","users_after":["{after}"]"#)));
        let told: usize = net
            .hear_all(back)
            .iter()
            .map(|message| match message {
                Message::SyncUser(sync) => sync.users.len(),
                _ => 0,
            })
            .sum();
        assert_eq!(told, expected, "after {after}");
    }
}

#[test]
fn the_feed_waits_for_a_worker_that_does_not_read() {
    let mut net = Net::with(Limits::default(), users(4_900));
    let w1 = net.connect();
    net.links[w1].deaf = true;
    net.authenticate(w1, "w1", 0);
    let waiting = net.coordinator.output(w1).len();
    assert!(waiting < 200_000, "{waiting} bytes wait");
    net.has_registered("ann", "s");
    assert_eq!(net.coordinator.output(w1).len(), waiting, "ann comes in her turn");
    net.links[w1].deaf = false;
    net.write(w1);
    let heard = net.hear_all(w1);
    let told: usize = heard
        .iter()
        .map(|message| match message {
            Message::SyncUser(sync) => sync.users.len(),
            _ => 0,
        })
        .sum();
    assert_eq!(told, 4_901, "nobody was left out");
}

#[test]
fn a_registration_that_a_worker_asked_for_while_behind_is_told_once() {
    let mut net = Net::with(Limits::default(), users(2_000));
    let w1 = net.connect();
    net.links[w1].deaf = true;
    net.authenticate(w1, "w1", 0);
    net.lock(w1, "ann");
    net.links[w1].deaf = false;
    net.write(w1);
    let heard = net.hear_all(w1);
    let told = heard.iter().filter(|message| match message {
        Message::SyncUser(sync) => sync.users.contains_key(&"ann".parse::<Username>().unwrap()),
        Message::LockAllowed(allowed) => allowed.username.as_str() == "ann",
        Message::UserRegisterResult(_) => newcomer(message) == "ann",
        _ => false,
    });
    assert_eq!(told.count(), 1);
    net.has_registered("bob", "s");
    assert_eq!(newcomer(&net.hear(w1)), "bob");
}

#[test]
fn a_worker_may_ask_for_a_user() {
    let mut net = Net::with(Limits::default(), users(1));
    let w1 = net.connect();
    net.authenticate(w1, "w1", 0);
    net.commands(w1);
    for (name, known) in [("user-0", true), ("nobody", false)] {
        net.say(w1, &format!(r#"{{"command":"USER_QUERY","username":"{name}"}}"#));
        let Message::UserAnswer(answer) = net.hear(w1) else { panic!("no answer") };
        assert_eq!((answer.username.as_str(), answer.user.is_some()), (name, known));
    }
}

#[test]
fn what_a_worker_may_not_say_closes_its_connection() {
    let again = authenticate("w1", SECRET, "");
    for (line, reason) in [
        (again.as_str(), "this connection has authenticated already"),
        (
            r#"{"command":"LOGIN","username":"anonymous"}"#,
            "LOGIN is not for a worker to say to a coordinator",
        ),
        (
            r#"{"command":"BACKUP_LIST","servers":[]}"#,
            "BACKUP_LIST is not for a worker to say to a coordinator",
        ),
        (r#"{"command":"DE_LOAD","load":-1}"#, "DE_LOAD: "),
    ] {
        let mut net = Net::new();
        let w1 = net.worker("w1");
        net.say(w1, line);
        let (command, info, _) = net.refusal(w1);
        assert_eq!(command, "INVALID_MESSAGE");
        assert!(info.starts_with(reason), "{info}");
        assert!(!net.workers()[0].2, "it is not connected any more");
    }
}

#[test]
fn an_operator_who_knows_the_secret_may_ask_again_and_again() {
    let mut net = Net::new();
    net.worker("w1");
    net.has_registered("ann", "s");
    let operator = net.connect();
    for _ in 0..2 {
        net.say(operator, &format!(r#"{{"command":"STATUS","secret":"{SECRET}"}}"#));
        let Message::StatusReport(report) = net.hear(operator) else { panic!("no report") };
        assert_eq!((report.users, report.workers.len(), report.network.as_str()), (1, 1, "net"));
        net.pass(Duration::from_secs(15));
    }
    assert!(!net.is_closed(operator));
    net.say(operator, r#"{"command":"STATUS","secret":"guessed"}"#);
    assert_eq!(net.refusal(operator).0, "AUTHENTICATION_FAIL");
}

/// A worker of this incarnation says AUTHENTICATE.
fn start(net: &mut Net, incarnation: &str) -> LinkId {
    let link = net.connect();
    let line = authenticate("w1", SECRET, r#","load":1"#).replace("00000000000000aa", incarnation);
    net.say(link, &line);
    link
}

#[test]
fn a_second_worker_of_an_id_is_refused_while_the_first_one_lives() {
    let mut net = Net::new();
    let first = net.worker("w1");
    let second = start(&mut net, "00000000000000bb");
    assert!(net.is_closed(second) && !net.is_closed(first));
    let Message::AuthenticationFail(fail) = net.hear(second) else { panic!("it was let in") };
    let reason = "a worker called w1 lives already, at host:4168: if this one has a copy of its data directory, give it an id of its own";
    assert_eq!(fail.info, reason);
    assert!(fail.retry_after.is_some(), "the first one may go");
    assert_eq!(net.workers(), [(0, 0, true)], "what the second one says is not the first one's");
    // A worker says something every second.
    net.pass(Duration::from_secs(1));
    net.say(first, r#"{"command":"SERVER_LOAD","load":0}"#);
    net.pass(Duration::from_millis(2_400));
    let still = start(&mut net, "00000000000000bb");
    assert_eq!(net.commands(still), ["AUTHENTICATION_FAIL"]);
    net.pass(Duration::from_millis(200));
    let at_last = start(&mut net, "00000000000000bb");
    assert_eq!(net.commands(at_last)[0], "AUTHENTICATE_SUCCESS");
    assert!(net.is_closed(first), "it is as good as gone");
}

#[test]
fn a_worker_that_was_started_again_takes_its_place_at_once() {
    let mut net = Net::new();
    let killed = net.worker("w1");
    net.vanish(killed);
    let again = start(&mut net, "00000000000000bb");
    assert_eq!(net.commands(again)[0], "AUTHENTICATE_SUCCESS");
}

#[test]
fn a_worker_that_catches_up_is_known_to_the_others_and_gets_no_clients() {
    let mut net = Net::new();
    let w1 = net.worker("w1");
    let w2 = net.connect();
    net.say(w2, &authenticate("w2", SECRET, r#","recovering":true"#));
    assert_eq!(net.commands(w1), ["SYNCHRONISED_NEW_SERVER"]);
    assert_eq!(reasons(&net), ["worker w2 is catching up with what it missed"]);
    for _ in 0..3 {
        client(&mut net);
    }
    assert_eq!(net.workers(), [(0, 3, true), (0, 0, true)]);
    // The only one that is left is not ready.
    net.vanish(w1);
    let (command, info, may_retry) = client(&mut net);
    assert_eq!((command, may_retry), ("LOGIN_FAILED", true));
    assert!(info.contains("catching up"), "{info}");
    net.say(w2, r#"{"command":"SERVER_LOAD","load":0,"recovering":true}"#);
    assert_eq!(client(&mut net).0, "LOGIN_FAILED");
    assert_eq!(
        reasons(&net),
        [
            "no worker takes clients",
            "worker w1 is not connected",
            "worker w2 is catching up with what it missed"
        ]
    );
    net.say(w2, r#"{"command":"SERVER_LOAD","load":0}"#);
    assert_eq!(client(&mut net).0, "REDIRECT");
    assert_eq!(reasons(&net), ["worker w1 is not connected"]);
}

#[test]
fn a_worker_that_leaves_on_purpose_gets_nobody_and_is_no_loss() {
    let mut net = Net::new();
    let (w1, w2) = (net.worker("w1"), net.worker("w2"));
    net.commands(w1);
    net.say(w1, r#"{"command":"QUIT"}"#);
    net.say(w1, r#"{"command":"SERVER_LOAD","load":7}"#);
    for _ in 0..3 {
        client(&mut net);
    }
    assert_eq!(net.workers(), [(7, 0, true), (0, 3, true)]);
    assert_eq!(reasons(&net), Vec::<String>::new());
    net.vanish(w1);
    let Message::RemoveServer(removed) = net.hear(w2) else { panic!("not told") };
    assert_eq!(removed.id.as_str(), "w1");
    assert_eq!(net.workers(), [(0, 3, true)]);
    assert_eq!(reasons(&net), Vec::<String>::new());
    // It was stopped to be started again.
    let back = start(&mut net, "00000000000000bb");
    assert_eq!(net.commands(back)[0], "AUTHENTICATE_SUCCESS");
    assert_eq!(net.commands(w2), ["SYNCHRONISED_NEW_SERVER"]);
    client(&mut net);
    assert_eq!(net.workers(), [(1, 1, true), (0, 3, true)]);
}

#[test]
fn a_network_without_a_worker_that_takes_clients_is_not_as_it_should_be() {
    let mut net = Net::new();
    assert_eq!(reasons(&net), ["no worker takes clients"]);
    let w1 = net.worker("w1");
    assert_eq!(reasons(&net), [""; 0]);
    net.say(w1, r#"{"command":"QUIT"}"#);
    assert_eq!(reasons(&net), ["no worker takes clients"]);
    net.vanish(w1);
    assert_eq!(reasons(&net), ["no worker takes clients"]);
    assert!(client(&mut net).1.contains("no worker"));
}

fn reasons(net: &Net) -> Vec<String> {
    net.coordinator.status(false).reasons
}

/// Somebody logs in: what they hear last, the `info` of a refusal, and whether they may try again.
fn client(net: &mut Net) -> (&'static str, String, bool) {
    let link = net.connect();
    net.say(link, r#"{"command":"LOGIN","username":"anonymous"}"#);
    match net.hear_all(link).pop() {
        Some(Message::LoginFailed(failed)) => ("LOGIN_FAILED", failed.info, failed.retry_after.is_some()),
        Some(last) => (last.command(), String::new(), false),
        None => panic!("no answer"),
    }
}
