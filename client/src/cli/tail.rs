//! `client tail`.

use std::io::{ErrorKind, Write};

use serde::Serialize;

use super::{ended, options, report};
use crate::args::{Connection, Tail};
use crate::display;
use crate::{Activity, ActivityId, Client, Event};

pub(super) async fn run(connection: Connection, command: Tail) -> Result<(), String> {
    let mut client = Client::open(options(&connection)?);
    let mut left = command.count;
    let mut output = std::io::stdout().lock();
    let interrupted = common::boot::shutdown_signal();
    tokio::pin!(interrupted);
    while left != Some(0) {
        tokio::select! {
            () = &mut interrupted => break,
            event = client.event() => match event {
                Some(Event::Activity(broadcast)) => {
                    match print(&mut output, broadcast.into(), command.json) {
                        Ok(()) => left = left.map(|left| left - 1),
                        // Whoever read us (`head`, say) has seen enough.
                        Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                        Err(error) => return Err(format!("cannot print: {error}")),
                    }
                }
                Some(event) => report(&event, connection.quiet),
                None => return Err(ended(client).await),
            },
        }
    }
    Ok(())
}

/// Prints an activity as one line, at once.
fn print(output: &mut impl Write, activity: Activity, json: bool) -> std::io::Result<()> {
    let mut line = if json { json_line(&activity) } else { display::line(&activity) };
    line.push('\n');
    output.write_all(line.as_bytes())?;
    output.flush()
}

fn json_line(activity: &Activity) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        id: Option<&'a ActivityId>,
        activity: &'a serde_json::value::RawValue,
    }
    let raw = serde_json::from_str(&activity.json).expect("an activity is JSON");
    serde_json::to_string(&Line { id: activity.id.as_ref(), activity: raw }).expect("both parts serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activity_is_one_line_of_json_as_its_sender_wrote_it() {
        let json = r#"{"authenticated_user":"ann","n":1.0e2,"b":[ 1 ]}"#.to_owned();
        let mut printed = Vec::new();
        let id = "w/00000000000000ff/1".parse().ok();
        print(
            &mut printed,
            Activity { id, user: "ann".to_owned(), json: json.clone(), ..Activity::default() },
            true,
        )
        .unwrap();
        let expected = format!("{{\"id\":\"w/00000000000000ff/1\",\"activity\":{json}}}\n");
        assert_eq!(String::from_utf8(printed).unwrap(), expected);
    }
}
