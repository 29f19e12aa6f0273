//! Who else is online, as a session is told.

use super::*;
use crate::core::Presence;

const PLACE: &str = r#""worker":"w","incarnation":"0000000000000001","attachment""#;

fn client(attachment: u64, session: &str) -> String {
    format!(r#"{{"attachment":{attachment},"username":"bob","session":"{session}","since":5}}"#)
}

fn change(command: &str, attachment: u64) -> String {
    let at = format!(r#"{{{PLACE}:{attachment},"session":"{OTHERS}","since":5}}"#);
    format!(r#"{{"command":"{command}","username":"bob","at":{at}}}"#)
}

const OTHERS: &str = "AAAAAAAAAAAAAAAAAAAABw";

fn answer(clients: &[String], next: &str) -> String {
    let clients = clients.join(",");
    format!(
        r#"{{"command":"WHO_ANSWER","worker":"w","incarnation":"0000000000000001","change":9,"clients":[{clients}]{next}}}"#
    )
}

/// What was told since it was asked last.
fn told(world: &mut World) -> Vec<(&'static str, Vec<u64>)> {
    let told = world.effects.drain(..).filter_map(|effect| match effect {
        Effect::Presence(Presence::Online(people)) => {
            Some(("online", people.iter().map(|person| person.place.attachment).collect()))
        }
        Effect::Presence(Presence::Came(person)) => Some(("came", vec![person.place.attachment])),
        Effect::Presence(Presence::Left(person)) => Some(("left", vec![person.place.attachment])),
        _ => None,
    });
    told.collect()
}

#[test]
fn who_wants_to_know_who_is_online_is_told_everybody_else_and_then_who_comes_and_goes() {
    let mut world = World::new(|config| config.presence = true);
    let login = world.begin();
    assert_eq!(login.capabilities, ["backup_list", "session", "presence"]);
    let own = login.session.unwrap().session(&"ann".parse().unwrap()).to_string();
    assert_eq!(world.hear(), "{\"command\":\"WHO\"}\n");
    let next = format!(r#","next":{{{PLACE}:2}}"#);
    world.say(&answer(&[client(1, OTHERS), client(2, &own)], &next));
    assert_eq!(world.hear(), format!("{{\"command\":\"WHO\",\"after\":{{{PLACE}:2}}}}\n"));
    world.say(&change("NEW_CLIENT", 7));
    assert_eq!(told(&mut world), []);
    world.say(&answer(&[client(3, OTHERS)], ""));
    assert_eq!(told(&mut world), [("online", vec![1, 3, 7])]);
    world.say(&change("CLIENT_DISCONNECT", 3));
    world.say(&change("NEW_CLIENT", 8));
    assert_eq!(told(&mut world), [("left", vec![3]), ("came", vec![8])]);
    world.say(r#"{"command":"PRESENCE_MISSED"}"#);
    assert_eq!(world.hear(), "{\"command\":\"WHO\"}\n");
    world.lose_connection();
    world.wait_for_deadline();
    world.begin();
    assert_eq!(world.hear(), "{\"command\":\"WHO\"}\n", "whoever came or left meanwhile is not known");
    world.say(&answer(&[], ""));
    assert_eq!(told(&mut world), [("online", vec![])]);
}

#[test]
fn who_does_not_want_to_know_asks_nobody_and_takes_no_such_word() {
    let mut world = World::new(|_| {});
    assert_eq!(world.begin().capabilities, ["backup_list", "session"]);
    assert_eq!(world.hear(), "");
    world.say(&change("NEW_CLIENT", 7));
    assert!(!world.client.is_live());
}
