//! The interactive session: what is typed is published, what others publish appears above the prompt.
//!
//! The line editor blocks, so it has a thread of its own; typed lines come from there, and its printer puts a line above
//! the prompt without disturbing what is being typed.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustyline::error::ReadlineError;
use rustyline::{
    Cmd, ConditionalEventHandler, DefaultEditor, EventContext, EventHandler, ExternalPrinter, KeyEvent,
    Movement, RepeatCount,
};
use serde_json::json;
use tokio::sync::mpsc;

use super::{describe, ended, options, outcome, send};
use crate::args::Connection;
use crate::display;
use crate::{Client, Event};

/// What `/help` says.
const HELP: &str =
    "  some text          is sent to everybody, as {\"type\":\"Note\",\"content\":\"some text\"}
  {\"type\":…}         is sent as it is: any JSON object
  /status            where you are connected, and how much is going on
  /help              this
  /quit              leave (Ctrl-D does, too, and Ctrl-C on an empty line)";

/// Over how long `/status` measures the rate.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// What a typed line means.
#[derive(Debug, PartialEq)]
enum Typed {
    Publish(String),
    Help,
    Status,
    Unknown(String),
    Quit,
}

pub(super) async fn run(connection: Connection) -> Result<(), String> {
    let options = options(&connection)?;
    let name = connection.username.to_string();
    let editor_failed = |error: ReadlineError| {
        format!("cannot use this terminal: {error}; try `client tail` and `client send`")
    };
    let mut editor = DefaultEditor::new().map_err(editor_failed)?;
    editor.bind_sequence(KeyEvent::ctrl('C'), EventHandler::Conditional(Box::new(ClearFirst)));
    let printer = editor.create_external_printer().map_err(editor_failed)?;
    let mut screen = Screen { printer: Box::new(printer) };
    if !connection.quiet {
        screen.say(&format!("You are {}. Type a line to send it, /help for more.", display::escape(&name)));
    }

    let (typed, mut lines) = mpsc::unbounded_channel();
    let editing = std::thread::spawn(move || edit(editor, &format!("{}> ", display::escape(&name)), &typed));
    let mut client = Client::open(options);
    let mut seen = Seen { server: None, arrivals: VecDeque::new() };
    let ending = loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(Typed::Publish(text)) => publish(&client, &mut screen, &text).await,
                Some(Typed::Help) => screen.say(HELP),
                Some(Typed::Status) => screen.say(&seen.status(&client)),
                Some(Typed::Unknown(command)) => screen.say(&format!("there is no {command}; see /help")),
                Some(Typed::Quit) | None => break Ok(client),
            },
            event = client.event() => match event {
                Some(event) => {
                    seen.note(&event);
                    match event {
                        Event::Activity(broadcast) => screen.say(&display::line(&broadcast.into())),
                        Event::Report(report) => screen.note(&outcome(&report)),
                        event => describe(&event).into_iter().for_each(|sentence| screen.note(&sentence)),
                    }
                }
                None => break Err(ended(client).await),
            },
        }
    };
    match ending {
        Ok(client) => {
            let patience = Duration::from_secs(2);
            let closed = tokio::time::timeout(patience, client.close()).await;
            closed
                .map_err(|_| "there is no connection: what was typed last may not have been sent".to_owned())?
                .map_err(|error| error.to_string())
        }
        Err(sentence) => {
            // The editor has the terminal in its own mode until a line ends.
            screen.note("the session has ended; press Enter to leave");
            drop(lines);
            // Nothing else is left to do meanwhile. A panic there has been reported.
            let _ = editing.join();
            Err(sentence)
        }
    }
}

async fn publish(client: &Client, screen: &mut Screen, text: &str) {
    let activity = match text.starts_with('{') {
        true => send::parse(text),
        false => send::parse(&json!({"type": "Note", "content": text}).to_string()),
    };
    match activity {
        // It waits only where a thousand lines wait already; a session that has ended says so by itself.
        Ok(activity) => {
            let _ = client.publish(&activity).await;
        }
        Err(error) => screen.note(&format!("not sent: {error}")),
    }
}

/// Ctrl-C: of a line that was begun it clears all, as in a shell; where there is none, it means leaving.
struct ClearFirst;

impl ConditionalEventHandler for ClearFirst {
    fn handle(&self, _: &rustyline::Event, _: RepeatCount, _: bool, line: &EventContext<'_>) -> Option<Cmd> {
        (!line.line().is_empty()).then_some(Cmd::Kill(Movement::WholeBuffer))
    }
}

/// Above the prompt.
struct Screen {
    printer: Box<dyn ExternalPrinter>,
}

impl Screen {
    fn say(&mut self, text: &str) {
        // A terminal that is gone ends the editor, and with it the session.
        let _ = self.printer.print(format!("{text}\n"));
    }

    fn note(&mut self, sentence: &str) {
        self.say(&console::style(format!("— {sentence}")).dim().to_string());
    }
}

/// What `/status` tells.
struct Seen {
    server: Option<String>,
    /// When the activities of the last seconds arrived.
    arrivals: VecDeque<Instant>,
}

impl Seen {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Activity(_) => {
                self.forget_old();
                self.arrivals.push_back(Instant::now());
            }
            Event::LoggedIn { .. } => self.server = describe(event),
            Event::Disconnected { .. } => self.server = None,
            _ => {}
        }
    }

    fn forget_old(&mut self) {
        while self.arrivals.front().is_some_and(|arrival| arrival.elapsed() > RATE_WINDOW) {
            self.arrivals.pop_front();
        }
    }

    fn status(&mut self, client: &Client) -> String {
        self.forget_old();
        let rate = self.arrivals.len() as f64 / RATE_WINDOW.as_secs_f64();
        let server = self.server.as_deref().unwrap_or("not connected");
        format!("{server}; {} activities so far, {rate:.1} a second of late", client.received())
    }
}

/// Reads lines until the user leaves, and tells what they mean.
fn edit(mut editor: DefaultEditor, prompt: &str, typed: &mpsc::UnboundedSender<Typed>) {
    let history = history_file();
    if let Some(path) = &history {
        // The first time there is none.
        let _ = editor.load_history(path);
    }
    // Ctrl-C, Ctrl-D and a broken terminal all mean leaving.
    while let Ok(line) = editor.readline(prompt) {
        let line = line.trim();
        if line.is_empty() && !typed.is_closed() {
            continue;
        }
        // Kept for the next time or not, the line is sent.
        let _ = editor.add_history_entry(line);
        let meaning = meaning(line);
        if meaning == Typed::Quit || typed.send(meaning).is_err() {
            break;
        }
    }
    if let Some(path) = &history
        && let Err(error) = editor.save_history(path)
    {
        common::boot::note(&format!("the history was not saved to {}: {error}", path.display()));
    }
    // Nobody listens where the session ended first.
    let _ = typed.send(Typed::Quit);
}

fn history_file() -> Option<PathBuf> {
    let directory = dirs::data_dir()?.join("freshet");
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join("client-history"))
}

fn meaning(line: &str) -> Typed {
    match line {
        "/quit" | "/exit" => Typed::Quit,
        "/help" => Typed::Help,
        "/status" => Typed::Status,
        command if command.starts_with('/') => Typed::Unknown(command.to_owned()),
        text => Typed::Publish(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_text_and_commands_begin_with_a_slash() {
        assert_eq!(meaning("hello /quit"), Typed::Publish("hello /quit".to_owned()));
        assert_eq!(meaning("/quit"), Typed::Quit);
        assert_eq!(meaning("/dance"), Typed::Unknown("/dance".to_owned()));
    }
}
