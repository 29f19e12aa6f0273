use std::time::Duration;

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
    assert_eq!(sizes, [500, 500, 201]);
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
