//! Shows the board: as a picture that is drawn over itself on a terminal, as a line now and then elsewhere.

use std::time::{Duration, Instant};

use client::display::escape;
use common::wire::{Role, State};
use console::{Term, style, truncate_str};

use crate::board::{Board, Part};
use crate::stage::Condition;

/// How often those who read lines are told the figures.
const SUMMARY: Duration = Duration::from_secs(5);

/// Events that a picture shows, the latest ones.
const EVENTS: usize = 5;

/// Where the board is shown.
#[derive(Debug)]
pub(crate) struct Screen {
    term: Term,
    how_to_join: Vec<String>,
    /// Lines of the last picture.
    drawn: usize,
    last_summary: Instant,
}

impl Screen {
    pub(crate) fn new(how_to_join: Vec<String>) -> Self {
        let screen = Screen { term: Term::stdout(), how_to_join, drawn: 0, last_summary: Instant::now() };
        if !screen.term.is_term() {
            screen.say("Join from another terminal:");
            screen.how_to_join.iter().for_each(|line| screen.say(&format!("  {line}")));
        }
        screen
    }

    /// A line for those who read lines. Nobody reading them, or no room for them, is no reason to stop the network.
    fn say(&self, line: &str) {
        let _ = self.term.write_line(line);
    }

    /// Shows the board as it is now.
    pub(crate) fn draw(&mut self, board: &mut Board) {
        if self.term.is_term() {
            let (rows, columns) = self.term.size();
            let old = board.events.len().saturating_sub(EVENTS);
            board.events.drain(..old);
            let mut lines = picture(board, &self.how_to_join);
            lines.truncate(usize::from(rows).saturating_sub(1));
            let text: String = lines
                .iter()
                // While keys are awaited the terminal takes a line feed for no more than that.
                .map(|line| format!("{}\r\n", truncate_str(line, usize::from(columns), "…")))
                .collect();
            // A terminal that goes away is no reason to stop the network.
            let _ = self.term.clear_last_lines(self.drawn).and_then(|()| self.term.write_str(&text));
            self.drawn = lines.len();
        } else {
            for event in board.events.drain(..) {
                self.say(&event);
            }
            if self.last_summary.elapsed() >= SUMMARY {
                self.last_summary = Instant::now();
                self.say(&summary(board));
            }
        }
    }

    /// Leaves the last picture where it is.
    pub(crate) fn finish(&mut self) {
        self.drawn = 0;
    }
}

fn summary(board: &mut Board) -> String {
    let (sent, delivered) = board.rates();
    let loads: Vec<String> =
        board.workers().iter().map(|worker| format!("{} {}", worker.server.id, worker.load)).collect();
    format!(
        "{}; {} activities sent, {sent:.0}/s; {} deliveries, {delivered:.0}/s; clients: {}; latest: {}",
        condition(board),
        board.sent,
        board.delivered,
        loads.join(", "),
        board.latest.back().map_or("none yet", String::as_str)
    )
}

/// How the network is, in one line.
fn condition(board: &Board) -> String {
    match &board.status {
        _ if !board.answers => "no coordinator answers; whoever is connected goes on".to_owned(),
        None => "starting".to_owned(),
        Some(status) if status.state == State::Normal => format!("NORMAL, {} users", status.users),
        Some(status) => {
            let reasons: Vec<_> = status.reasons.iter().map(|reason| escape(reason)).collect();
            format!("RECOVERING, {} users: {}", status.users, reasons.join(", "))
        }
    }
}

fn picture(board: &mut Board, how_to_join: &[String]) -> Vec<String> {
    let (sent, delivered) = board.rates();
    let normal = board.answers && board.status.as_ref().is_some_and(|status| status.state == State::Normal);
    let condition = if normal { style(condition(board)).green() } else { style(condition(board)).yellow() };
    let mut lines = vec![
        format!(
            "{}  a whole network on this machine; q drains and stops it",
            style("Freshet playground").bold()
        ),
        "A key in brackets kills that part (kill -9), and starts it anew.".to_owned(),
        String::new(),
        format!("  {condition}"),
    ];
    let most = board.workers().iter().map(|worker| worker.load).max().unwrap_or(0).max(1);
    lines.extend(board.parts.iter().map(|part| row(board, part, most)));
    lines.extend([
        String::new(),
        format!("  {:>9} activities sent     {sent:>8.0} a second", board.sent),
        format!("  {:>9} deliveries          {delivered:>8.0} a second", board.delivered),
        String::new(),
        style("  The latest").bold().to_string(),
    ]);
    lines.extend(board.latest.iter().map(|activity| format!("    {activity}")));
    lines.extend(board.events.iter().rev().map(|event| style(format!("    {event}")).yellow().to_string()));
    lines.extend([String::new(), style("  Join from another terminal").bold().to_string()]);
    lines.extend(how_to_join.iter().map(|line| format!("    {line}")));
    lines
}

/// One server; `most` clients make a full bar.
fn row(board: &Board, part: &Part, most: u64) -> String {
    let key = part.key.map_or("   ".to_owned(), |key| format!("[{key}]"));
    let what = match part.condition {
        Condition::Dead => style("not running".to_owned()).red().to_string(),
        Condition::Starting => style("starting".to_owned()).yellow().to_string(),
        Condition::Running if part.coordinates => coordinator(board, &part.name),
        Condition::Running => worker(board, &part.name, most),
    };
    format!("  {key} {:<13}  {:<15}  {what}", part.name, part.address)
}

fn coordinator(board: &Board, name: &str) -> String {
    let known = board.status.iter().flat_map(|status| &status.coordinators);
    let Some(status) = known.into_iter().find(|coordinator| coordinator.server.id.as_str() == name) else {
        return style("joining").yellow().to_string();
    };
    let role = match status.role {
        Some(Role::Main) => style("main").green().bold(),
        Some(Role::Backup) if status.listed => style("standby").green(),
        Some(Role::Backup) => style("standby, catching up").yellow(),
        Some(Role::Seeking | Role::Worker) => style("seeking").yellow(),
        None => style("not connected").red(),
    };
    let epoch = status.heard_epoch.as_ref().map_or(String::new(), |epoch| format!("epoch {epoch}"));
    format!("{role:<20}  {}", style(epoch).dim())
}

fn worker(board: &Board, name: &str, most: u64) -> String {
    let Some(status) = board.workers().iter().find(|worker| worker.server.id.as_str() == name) else {
        return style("joining").yellow().to_string();
    };
    let bar = "█".repeat(usize::try_from(status.load * 20 / most).unwrap_or(0));
    let users: Vec<&str> = board.users_at(name).collect();
    let load = format!("{:>4} clients", status.load);
    let load = if status.connected { style(load) } else { style(load).dim() };
    format!("{load}  {:<20}  {}", style(bar).cyan(), style(users.join(" ")).dim())
}
