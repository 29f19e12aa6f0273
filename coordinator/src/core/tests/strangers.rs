//! Stories of those who do not belong to the group: strangers, coordinators of another network, and absurd epochs.

use super::seconds;
use super::town::Town;

#[test]
fn who_has_another_secret_or_network_or_our_name_is_refused() {
    let mut town = Town::in_step(1);
    let ann = town.register(0, "ann", "s");
    assert_eq!(town.answer(ann), "local");
    let greet = |secret: &str, id: &str, network: &str| {
        format!(
            r#"{{"command":"BACKUP_AUTHENTICATE","epoch":"9@evil","id":"{id}","hostname":"h","port":1,"secret":"{secret}",
            "incarnation":"00000000000000aa","network":"{network}","role":"main"}}"#
        )
    };
    for (line, reason) in [
        (greet("wrong", "cx", "net-0"), "wrong network secret"),
        (greet(super::SECRET, "cx", "net-9"), "it keeps users of network net-9"),
        (greet(super::SECRET, "c0", "net-0"), "c0 is the id of this coordinator too"),
    ] {
        let stranger = town.connect(0);
        town.say(stranger, &line);
        let [common::wire::Message::BackupAuthenticationFail(fail)] = &town.heard(stranger)[..] else {
            panic!()
        };
        assert!(fail.info.starts_with(reason), "{}", fail.info);
        assert!(town.outsiders[stranger].closed);
    }
    for update in [
        r#"{"command":"SYNCHRONISE_USER_STORE","epoch":"9@evil","update":1,"users":{}}"#,
        r#"{"command":"HEARTBEAT","epoch":"9@evil","role":"main"}"#,
        r#"{"command":"PROMOTE","epoch":"9@evil"}"#,
    ] {
        let stranger = town.connect(0);
        town.say(stranger, update);
        let [common::wire::Message::InvalidMessage(_)] = &town.heard(stranger)[..] else { panic!() };
    }
    assert_eq!(town.role(0), "main");
    assert_eq!(town.status(0).highest_epoch.unwrap().to_string(), "1@c0");
}

/// Two coordinators, each of which has registered somebody in a network of its own, and is down. The second names the first.
fn strangers() -> Town {
    let mut town = Town::new(2);
    let backups = std::mem::take(&mut town.nodes[1].backups);
    for node in [0, 1] {
        town.start(node);
        let somebody = town.register(node, &format!("of-{node}"), "s");
        assert_eq!(town.answer(somebody), "local");
        town.kill(node);
    }
    town.nodes[1].backups = backups;
    town
}

/// A usual mistake on the first day: somebody has registered at the second coordinator before it was told of the first.
#[test]
fn a_coordinator_that_starts_and_whose_backup_is_of_another_network_ends_and_has_changed_nothing() {
    let mut town = strangers();
    town.start(0);
    town.pass(seconds(3));
    town.start(1);
    town.pass(seconds(3));
    let Some(Err(reason)) = &town.nodes[1].exited else { panic!("it goes on as {}", town.role(1)) };
    assert!(reason.contains("another network (net-0; this one has users of net-1)"), "{reason}");
    assert!(reason.contains("start without that --backup"), "{reason}");
    assert_eq!(town.nodes[1].disk.group.epoch.as_ref().unwrap().to_string(), "1@c1");
    assert_eq!(town.role(0), "main");
}

#[test]
fn a_coordinator_that_meets_another_network_later_goes_on_and_says_so_while_it_is_there() {
    let mut town = strangers();
    town.start(1);
    town.pass(seconds(8));
    assert_eq!(town.troubles(1), [""; 0]);
    town.start(0);
    town.pass(seconds(8));
    assert_eq!(town.roles(), ["main", "main"]);
    assert_eq!(town.troubles(1), ["town:3000, named by --backup, is of another network"]);
    assert_eq!(town.troubles(0), [""; 0], "nobody has named the other one there");
    town.kill(0);
    town.pass(seconds(3));
    assert_eq!(town.troubles(1), [""; 0]);
}

#[test]
fn an_absurd_epoch_is_refused_whoever_says_it_and_changes_nothing() {
    let absurd = format!("{}@evil", common::epoch::Epoch::MAX);
    let mut town = Town::in_step(2);
    let (secret, incarnation) = (super::SECRET, "00000000000000aa");
    let worker = town.worker(0, "w1");
    town.heard(worker);
    let coordinator = town.connect(0);
    let greeting = format!(
        r#""hostname":"h","port":1,"secret":"{secret}","incarnation":"{incarnation}","role":"seeking"}}"#
    );
    town.say(
        coordinator,
        &format!(r#"{{"command":"BACKUP_AUTHENTICATE","epoch":"1@c0","id":"cx",{greeting}"#),
    );
    assert_eq!(town.heard(coordinator)[0].command(), "BACKUP_AUTHENTICATION_SUCCESS");
    let (another, newcomer) = (town.connect(0), town.connect(0));
    for (who, line, answer) in [
        (worker, r#"{"command":"SERVER_LOAD","load":1,"#.to_owned(), "INVALID_MESSAGE"),
        (coordinator, r#"{"command":"HEARTBEAT","role":"main","#.to_owned(), "INVALID_MESSAGE"),
        (
            another,
            format!(r#"{{"command":"BACKUP_AUTHENTICATE","id":"cy",{},"#, greeting.trim_end_matches('}')),
            "BACKUP_AUTHENTICATION_FAIL",
        ),
        (
            newcomer,
            format!(
                r#"{{"command":"AUTHENTICATE","id":"w2","hostname":"h","port":2,"secret":"{secret}","incarnation":"{incarnation}","#
            ),
            "AUTHENTICATION_FAIL",
        ),
    ] {
        town.heard(who);
        town.say(who, &format!(r#"{line}"epoch":"{absurd}"}}"#));
        let heard = town.heard(who);
        assert_eq!(heard.last().map(|last| last.command()), Some(answer), "{heard:?}");
        assert!(format!("{heard:?}").contains("is absurd"), "{heard:?}");
        assert!(town.outsiders[who].closed, "{answer}");
    }
    town.pass(seconds(5));
    assert_eq!(town.roles(), ["main", "backup"]);
    for node in 0..2 {
        assert_eq!(town.status(node).highest_epoch.unwrap().to_string(), "1@c0");
        assert_eq!(town.nodes[node].disk.group.epoch.as_ref().unwrap().to_string(), "1@c0");
    }
}
