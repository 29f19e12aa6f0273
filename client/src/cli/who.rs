//! `client who`: who is online, and where.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::attempt::Attempt;
use super::output::print;
use super::status::columns;
use super::{ended, options};
use crate::args::{Connection, Who};
use crate::core::{Person, Presence};
use crate::display::escape;
use crate::{Client, Event, Receive};

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

pub(super) async fn run(connection: Connection, command: Who) -> Result<(), String> {
    let options = options(&connection)?.receive(Receive::Nothing).presence();
    let mut client = Client::open(options);
    let deadline = Instant::now() + command.timeout;
    let mut last = Attempt::default();
    let people = loop {
        match timeout_at(deadline, client.event()).await {
            Ok(Some(Event::Presence(Presence::Online(people)))) => break people,
            Ok(Some(event)) => last.note(event),
            Ok(None) => return Err(ended(client).await),
            Err(_) => return Err(last.failure(command.timeout, &connection.coordinators)),
        }
    };
    // What was learned is learned, whether or not the worker hears the goodbye.
    let _ = tokio::time::timeout(GOODBYE, client.close()).await;
    print(&match command.json {
        true => people.iter().map(json_line).collect(),
        false => table(people, SystemTime::now()),
    })
}

fn json_line(person: &Person) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        username: &'a crate::Username,
        worker: &'a crate::ServerId,
        session: crate::SessionId,
        since: u64,
    }
    let Person { username, place, session, since } = person;
    let line = Line { username, worker: &place.worker, session: *session, since: since.0 };
    serde_json::to_string(&line).expect("all parts serialise") + "\n"
}

/// Everybody by name, and for how long they have been where they are.
fn table(mut people: Vec<Person>, now: SystemTime) -> String {
    people.sort_by(|one, other| (&one.username, &one.place).cmp(&(&other.username, &other.place)));
    let mut lines = vec![match people.len() {
        0 => "nobody else is online".to_owned(),
        1 => "1 other is online".to_owned(),
        count => format!("{count} others are online"),
    }];
    lines.extend(columns(people.iter().map(|person| {
        let since = UNIX_EPOCH + Duration::from_millis(person.since.0);
        let seconds = now.duration_since(since).unwrap_or_default().as_secs();
        let time = humantime::format_duration(Duration::from_secs(seconds));
        [
            escape(person.username.as_str()).into_owned(),
            person.place.worker.to_string(),
            format!("for {time}"),
        ]
    })));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use common::id::Incarnation;
    use common::session::SessionId;
    use common::time::WallMillis;
    use common::wire::Place;

    use super::*;

    fn person(name: &str, attachment: u64) -> Person {
        let place = Place { worker: "worker-1".parse().unwrap(), incarnation: Incarnation(1), attachment };
        Person { username: name.parse().unwrap(), place, session: SessionId(7), since: WallMillis(5_000) }
    }

    #[test]
    fn everybody_stands_by_name_with_worker_and_time() {
        let now = UNIX_EPOCH + Duration::from_secs(68);
        let people = vec![person("zoë", 1), person("a\u{202e}b", 2)];
        assert_eq!(
            table(people, now),
            "2 others are online\na\\u202eb  worker-1  for 1m 3s\nzoë       worker-1  for 1m 3s\n"
        );
        assert_eq!(table(Vec::new(), now), "nobody else is online\n");
        assert_eq!(table(vec![person("ann", 1)], UNIX_EPOCH), "1 other is online\nann  worker-1  for 0s\n");
    }

    #[test]
    fn for_programs_each_is_a_line_of_json() {
        let expected =
            r#"{"username":"ann","worker":"worker-1","session":"AAAAAAAAAAAAAAAAAAAABw","since":5000}"#;
        assert_eq!(json_line(&person("ann", 1)), format!("{expected}\n"));
    }
}
