//! The command line: one file a subcommand, and what they share.
//!
//! Standard output is for results, standard error for what happens meanwhile. An error is a sentence that says what to do next.

mod attempt;
pub mod bench;
mod forget_coordinator;
mod input;
mod interactive;
mod one_question;
mod output;
mod outstanding;
mod passwd;
mod register;
mod remove_user;
mod replay;
mod send;
mod status;
mod tail;
mod who;

use std::io::IsTerminal;
use std::time::Duration;

use common::boot::{self, LogArgs};
use common::user::Secret;
use common::wire::Address;
use tokio::time::{Instant, timeout_at};

use attempt::Attempt;

use crate::args::{Args, Command, Connection};
use crate::display::escape;
use crate::memory::{self, Memory};
use crate::{Client, Durability, Event, Options, Report, ServerId};

/// The environment variable that may hold the user's secret.
pub const USER_SECRET: &str = "FRESHET_USER_SECRET";

/// Does what the command line says.
///
/// # Errors
/// A sentence for people.
pub async fn run(args: Args) -> Result<(), String> {
    let connection = args.connection;
    let log = if connection.quiet { "error" } else { "warn" };
    boot::init_logging(&LogArgs { log: log.to_owned(), log_json: false })?;
    match args.command {
        Some(Command::Register(command)) => register::run(connection, command).await,
        Some(Command::Send(command)) => send::run(connection, command).await,
        Some(Command::Tail(command)) => tail::run(connection, command).await,
        Some(Command::Replay(command)) => replay::run(connection, command).await,
        Some(Command::Bench(command)) => bench::bench(&connection, &command),
        Some(Command::Passwd(command)) => passwd::run(connection, command).await,
        Some(Command::RemoveUser(command)) => remove_user::run(connection, command).await,
        Some(Command::ForgetCoordinator(command)) => forget_coordinator::run(connection, command).await,
        Some(Command::Who(command)) => who::run(connection, command).await,
        Some(Command::Status(command)) => status::run(connection, command).await,
        None if std::io::stdin().is_terminal() => interactive::run(connection).await,
        None => {
            let timeout = Duration::from_secs(10);
            send::run(connection, crate::args::Send { activity: None, timeout, json: false }).await
        }
    }
}

/// What the command line says about the connection, as the library wants it. Finds the secret where the name needs one.
fn options(connection: &Connection) -> Result<Options, String> {
    let mut options = anonymous(connection);
    if !connection.username.is_anonymous() {
        let secret = match given_secret(connection)? {
            Some(secret) => secret,
            None => asked_secret(&format!("Secret of {}: ", connection.username))?,
        };
        options = options.user(connection.username.clone(), secret);
    }
    Ok(options)
}

fn anonymous(connection: &Connection) -> Options {
    let mut coordinators = connection.coordinators.iter().cloned();
    let first = coordinators.next().expect("there is a default");
    let mut options = coordinators.fold(Options::new(first), Options::or_at);
    options.remember = memory::default_directory();
    options
}

/// What earlier runs learned of the network; `None` where this user has no place to keep it.
fn memory(connection: &Connection) -> Option<Memory> {
    memory::default_directory().map(|directory| Memory::new(directory, &connection.coordinators))
}

/// The coordinators that are known: those that were given, and those of which earlier runs have learned.
fn known_coordinators(connection: &Connection) -> Vec<Address> {
    let remembered = memory(connection).map_or_else(Vec::new, |memory| memory.recall());
    crate::core::coordinators(&remembered, &connection.coordinators)
}

/// The user's secret from `--secret-file` or the environment.
fn given_secret(connection: &Connection) -> Result<Option<Secret>, String> {
    match (&connection.secret_file, std::env::var(USER_SECRET)) {
        (Some(path), _) => secret_from(path).map(Some),
        (None, Ok(text)) => one_line(&text).map(Some),
        (None, Err(std::env::VarError::NotPresent)) => Ok(None),
        (None, Err(error)) => Err(format!("{USER_SECRET}: {error}")),
    }
}

/// The user's secret from a file.
fn secret_from(path: &std::path::Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the secret from {}: {error}", path.display()))?;
    one_line(&text)
}

fn one_line(text: &str) -> Result<Secret, String> {
    acceptable(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

/// A secret to be, typed twice and not shown.
fn chosen_secret(prompt: &str) -> Result<Secret, String> {
    let secret = asked_secret(prompt)?;
    let same = asked_secret("The same again: ")?.equals(&secret);
    same.then_some(secret).ok_or_else(|| "the two secrets differ; nothing was changed".to_owned())
}

/// The user's secret, typed and not shown.
fn asked_secret(prompt: &str) -> Result<Secret, String> {
    let terminal = console::Term::stderr();
    if !std::io::stdin().is_terminal() || !terminal.is_term() {
        return Err(format!(
            "this user needs a secret: name a file with --secret-file, or set {USER_SECRET} (there is no terminal to ask on)"
        ));
    }
    let typed = terminal.write_str(prompt).and_then(|()| terminal.read_secure_line());
    acceptable(Secret::new(typed.map_err(|error| format!("cannot read the secret: {error}"))?))
}

fn acceptable(secret: Secret) -> Result<Secret, String> {
    let bounds = common::limits::SECRET_BYTES;
    if secret.is_acceptable() { Ok(secret) } else { Err(format!("a user's secret has 1 to {bounds} bytes")) }
}

/// Waits until a session is live, for so long.
async fn log_in_within(
    mut client: Client,
    patience: Duration,
    coordinators: &[Address],
) -> Result<Client, String> {
    let deadline = Instant::now() + patience;
    let mut last = Attempt::default();
    loop {
        match timeout_at(deadline, client.event()).await {
            Ok(Some(Event::LoggedIn { .. })) => return Ok(client),
            Ok(Some(event)) => last.note(event),
            Ok(None) => return Err(ended(client).await),
            Err(_) => return Err(last.failure(patience, coordinators)),
        }
    }
}

/// Why a session that has ended has ended, and what to do.
async fn ended(client: Client) -> String {
    match client.close().await {
        Ok(()) => "the session ended".to_owned(),
        Err(error) => format!(
            "the coordinator refused: {}; check --username and its secret, or register the name with `client register`",
            escape(&error.to_string())
        ),
    }
}

/// Tells the user how a session fares, on standard error.
fn report(event: &Event, quiet: bool) {
    if !quiet && let Some(sentence) = describe(event) {
        boot::note(&sentence);
    }
}

/// What became of an activity, for people: how many have it.
fn outcome(report: &Report) -> String {
    let durability = match report.durability {
        Durability::Local => "local",
        Durability::Replicated => "replicated",
    };
    let mut text =
        format!("received by {} of {} clients, {durability}", report.succ_count, report.client_count);
    if !report.unreachable.is_empty() {
        let workers: Vec<&str> = report.unreachable.iter().map(ServerId::as_str).collect();
        text.push_str(&format!("; not counting those of {}, which could not be asked", workers.join(", ")));
    }
    text
}

/// What a notice says, for people; nothing for an activity, nor for a refusal, which ends the program with a sentence of its own.
fn describe(event: &Event) -> Option<String> {
    match event {
        Event::LoggedIn { server, address, .. } => Some(match server {
            Some(server) => format!("connected to {server} at {}", escape(&address.to_string())),
            None => format!("connected to {}", escape(&address.to_string())),
        }),
        Event::Disconnected { reason, put_off_by, retry_in } => {
            let server = put_off_by.as_ref().map_or_else(String::new, |server| format!("{server}: "));
            let again = retry_in
                .map_or_else(String::new, |wait| format!("; trying again in {:.1} s", wait.as_secs_f64()));
            Some(format!("not connected: {}{again}", escape(&format!("{server}{reason}"))))
        }
        Event::Registered { existing: false } => Some("registered".to_owned()),
        Event::Resumed { recovered: false, gaps, .. } if gaps.is_empty() => Some(
            "what was missed may be lost: the servers have started again without what they knew of it"
                .to_owned(),
        ),
        Event::Resumed { recovered: false, gaps, .. } => {
            Some(format!("some of what was missed is lost, because no server has it any more: {gaps}"))
        }
        Event::Registered { existing: true }
        | Event::Resumed { recovered: true, .. }
        | Event::Presence(_)
        | Event::Report(_)
        | Event::Unreported { .. }
        | Event::Servers(_)
        | Event::Activity(_)
        | Event::Repeated(_)
        | Event::Refused { .. } => None,
    }
}
