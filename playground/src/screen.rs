//! Shows the board: as a picture that is drawn over itself on a terminal, as a line now and then elsewhere.

use std::time::{Duration, Instant};

use console::{Term, style, truncate_str};

use crate::board::Board;

/// How often those who read lines are told the figures.
const SUMMARY: Duration = Duration::from_secs(5);

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
            println!("Join from another terminal:");
            screen.how_to_join.iter().for_each(|line| println!("  {line}"));
        }
        screen
    }

    /// Shows the board as it is now.
    pub(crate) fn draw(&mut self, board: &mut Board) {
        if self.term.is_term() {
            let (rows, columns) = self.term.size();
            let mut lines = picture(board, &self.how_to_join);
            lines.truncate(usize::from(rows).saturating_sub(1));
            let text: String = lines
                .iter()
                .map(|line| format!("{}\n", truncate_str(line, usize::from(columns), "…")))
                .collect();
            // A terminal that goes away is no reason to stop the network.
            let _ = self.term.clear_last_lines(self.drawn).and_then(|()| self.term.write_str(&text));
            self.drawn = lines.len();
        } else {
            for event in board.events.drain(..) {
                println!("{event}");
            }
            if self.last_summary.elapsed() >= SUMMARY {
                self.last_summary = Instant::now();
                println!("{}", summary(board));
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
        board.workers.iter().map(|worker| format!("{} {}", worker.server.id, worker.load)).collect();
    format!(
        "{} activities sent, {sent:.0}/s; {} deliveries, {delivered:.0}/s; clients: {}; latest: {}",
        board.sent,
        board.delivered,
        loads.join(", "),
        board.latest.back().map_or("none yet", String::as_str)
    )
}

fn picture(board: &mut Board, how_to_join: &[String]) -> Vec<String> {
    let (sent, delivered) = board.rates();
    let state = if board.answers { style("up").green() } else { style("does not answer").red() };
    let mut lines = vec![
        format!(
            "{}  a whole network on this machine; Ctrl-C drains and stops it",
            style("Freshet playground").bold()
        ),
        String::new(),
        format!("  coordinator  {}  {state}, {} users", board.coordinator, board.users),
    ];
    let most = board.workers.iter().map(|worker| worker.load).max().unwrap_or(0).max(1);
    for worker in &board.workers {
        let bar = "█".repeat(usize::try_from(worker.load * 20 / most).unwrap_or(0));
        let users: Vec<&str> = board.users_at(&worker.server.id).collect();
        let load = format!("{:>4} clients", worker.load);
        let load = if worker.connected { style(load) } else { style(load).dim() };
        lines.push(format!(
            "  {:<12} {}  {load}  {:<20}  {}",
            worker.server.id.as_str(),
            worker.server.address,
            style(bar).cyan(),
            style(users.join(" ")).dim()
        ));
    }
    lines.extend([
        String::new(),
        format!("  {:>9} activities sent     {sent:>8.0} a second", board.sent),
        format!("  {:>9} deliveries          {delivered:>8.0} a second", board.delivered),
        String::new(),
        style("  The latest").bold().to_string(),
    ]);
    lines.extend(board.latest.iter().map(|activity| format!("    {activity}")));
    lines.extend(
        board.events.iter().rev().take(3).map(|event| style(format!("    {event}")).yellow().to_string()),
    );
    lines.extend([String::new(), style("  Join from another terminal").bold().to_string()]);
    lines.extend(how_to_join.iter().map(|line| format!("    {line}")));
    lines
}
