//! `client tail`.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use common::boot;
use serde::Serialize;

use super::{ended, options, report};
use crate::args::{After, Connection, Tail};
use crate::display;
use crate::{Activity, ActivityId, Client, Event, Options, Seq, Start};

/// How long a goodbye may take, so that the last activities are acknowledged.
const GOODBYE: Duration = Duration::from_secs(1);

pub(super) async fn run(connection: Connection, command: Tail) -> Result<(), String> {
    let mut options = options(&connection)?;
    let (goes_on, begins_before) = (command.after.is_some(), command.last.is_some());
    options.start = match (command.after, command.last) {
        (Some(After::Position(position)), _) => Start::After(position),
        (Some(after), _) => Start::After(after.position(&network(&options, connection.quiet).await?)?),
        (None, Some(count)) => Start::Last(count),
        (None, None) => Start::Now,
    };
    let mut client = Client::open(options);
    let printed = print_all(&mut client, command.count, command.json, connection.quiet).await;
    match printed {
        Ok(Ending::Refused) if goes_on => {
            let refused = client.close().await.err().map_or_else(String::new, |error| error.to_string());
            return Err(format!("refused: {}", display::escape(&refused)));
        }
        Ok(Ending::Refused) => return Err(ended(client).await),
        Ok(Ending::Enough) if !connection.quiet => tell_position(&mut client, begins_before).await,
        _ => {}
    }
    // What was printed is printed, whether or not the worker hears it.
    let _ = tokio::time::timeout(GOODBYE, client.close()).await;
    printed.map(|_| ())
}

/// The network's id, which a position names and an activity's id does not: whoever logs in is told.
async fn network(options: &Options, quiet: bool) -> Result<String, String> {
    let mut client = Client::open(options.clone());
    loop {
        match client.event().await {
            Some(Event::LoggedIn { .. }) => break,
            Some(event) => report(&event, quiet),
            None => return Err(ended(client).await),
        }
    }
    let network = client.position().map(|position| position.network().to_owned());
    let _ = tokio::time::timeout(GOODBYE, client.close()).await;
    network.ok_or_else(|| "the server knows no positions".to_owned())
}

/// Why there is no more to print.
enum Ending {
    /// It was enough.
    Enough,
    /// Nobody reads it any more.
    Unread,
    /// The session has ended.
    Refused,
}

async fn print_all(
    client: &mut Client,
    mut left: Option<u64>,
    json: bool,
    quiet: bool,
) -> Result<Ending, String> {
    let mut output = std::io::stdout().lock();
    let interrupted = boot::shutdown_signal();
    tokio::pin!(interrupted);
    while left != Some(0) {
        let printed = tokio::select! {
            () = &mut interrupted => break,
            event = client.event() => match event {
                Some(Event::Activity(broadcast)) => {
                    left = left.map(|left| left - 1);
                    print(&mut output, broadcast.into(), json)
                }
                Some(Event::Resumed { recovered: false, gaps, .. }) if json => {
                    print_line(&mut output, format!("{{\"gaps\":\"{gaps}\"}}"))
                }
                Some(event) => {
                    report(&event, quiet);
                    Ok(())
                }
                None => return Ok(Ending::Refused),
            },
        };
        match printed {
            Ok(()) => {}
            // Whoever read us (`head`, say) has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Ending::Unread),
            Err(error) => return Err(format!("cannot print: {error}")),
        }
    }
    Ok(Ending::Enough)
}

/// Tells where to go on from, with everything that was printed.
async fn tell_position(client: &mut Client, begins_before: bool) {
    if begins_before {
        // What was before the latest activities is told right after them.
        let _ = tokio::time::timeout(GOODBYE, learn_position(client)).await;
    }
    boot::note(&match client.position() {
        Some(position) => format!("to go on from here: --after '{position}'"),
        None if begins_before => "there is no position to go on from here: the history was not read to its end, where the server tells \
            what was before it"
            .to_owned(),
        None => "there is no position to go on from here: no server has told one".to_owned(),
    });
}

/// Waits until the position is known, unless there is more to print before.
async fn learn_position(client: &mut Client) {
    while client.position().is_none() {
        if let None | Some(Event::Activity(_)) = client.event().await {
            return;
        }
    }
}

/// Prints an activity as one line, at once.
fn print(output: &mut impl Write, activity: Activity, json: bool) -> std::io::Result<()> {
    print_line(output, if json { json_line(&activity) } else { display::line(&activity) })
}

fn print_line(output: &mut impl Write, mut line: String) -> std::io::Result<()> {
    line.push('\n');
    output.write_all(line.as_bytes())?;
    output.flush()
}

fn json_line(activity: &Activity) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        id: Option<&'a ActivityId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        missing_from: Option<Seq>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        late: bool,
        activity: &'a serde_json::value::RawValue,
    }
    let raw = serde_json::from_str(&activity.json).expect("an activity is JSON");
    let Activity { ref id, missing_from, late, .. } = *activity;
    let line = Line { id: id.as_ref(), missing_from, late, activity: raw };
    serde_json::to_string(&line).expect("all parts serialise")
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

    #[test]
    fn what_is_late_or_comes_without_what_was_before_says_so() {
        let activity =
            Activity { json: "{}".to_owned(), missing_from: Some(Seq(3)), late: true, ..Activity::default() };
        assert_eq!(json_line(&activity), r#"{"id":null,"missing_from":3,"late":true,"activity":{}}"#);
    }
}
