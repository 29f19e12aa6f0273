//! How a replay goes, and how it went.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio::time::Instant;

use super::PerServer;
use super::player::News;
use crate::display::escape;

/// How often progress is written where there is no terminal to draw it on.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// What the players told.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) joined: usize,
    pub(super) registered: usize,
    pub(super) per_server: PerServer,
    pub(super) seen: usize,
    pub(super) lost: usize,
    pub(super) disconnections: usize,
    pub(super) delivered: u64,
    pub(super) joining_took: Duration,
    pub(super) playing_took: Duration,
    /// Why an attempt failed last.
    trouble: Option<String>,
}

impl Tally {
    /// # Errors
    /// A sentence, where the replay cannot go on.
    pub(super) fn note(&mut self, news: News) -> Result<(), String> {
        match news {
            News::Registered => self.registered += 1,
            News::LoggedIn { server, before } => {
                match before {
                    Some(before) => *self.per_server.entry(before).or_default() -= 1,
                    None => self.joined += 1,
                }
                *self.per_server.entry(server).or_default() += 1;
            }
            News::Disconnected { reason, live } => {
                self.disconnections += usize::from(live);
                self.trouble = Some(reason);
            }
            News::Seen => self.seen += 1,
            News::Lost(count) => self.lost += count,
            News::Ended { username, reason } => {
                return Err(format!(
                    "{} cannot take part: {}; where a name is registered with another secret, give that with --secret-file",
                    escape(username.as_str()),
                    escape(&reason)
                ));
            }
        }
        Ok(())
    }

    /// Activities of which nothing more is expected.
    pub(super) fn done(&self) -> usize {
        self.seen + self.lost
    }

    pub(super) fn report(self, activities: usize) -> Report {
        let seconds = self.playing_took.as_secs_f64().max(1e-6);
        Report {
            users: self.joined,
            registered: self.registered,
            existing: self.joined - self.registered,
            sessions: self.per_server.into_iter().filter(|(_, count)| *count > 0).collect(),
            activities,
            seen: self.seen,
            deliveries: self.delivered,
            joining_seconds: rounded(self.joining_took.as_secs_f64()),
            playing_seconds: rounded(seconds),
            activities_per_second: rounded(self.seen as f64 / seconds),
            deliveries_per_second: rounded(self.delivered as f64 / seconds),
            disconnections: self.disconnections,
        }
    }
}

fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

/// The result, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    users: usize,
    registered: usize,
    existing: usize,
    sessions: PerServer,
    activities: usize,
    seen: usize,
    deliveries: u64,
    joining_seconds: f64,
    playing_seconds: f64,
    activities_per_second: f64,
    deliveries_per_second: f64,
    disconnections: usize,
}

impl Report {
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers serialise")
    }

    pub(super) fn text(&self) -> String {
        let sessions: Vec<String> =
            self.sessions.iter().map(|(server, count)| format!("{} {count}", escape(server))).collect();
        format!(
            "users           {} ({} registered now, {} before), joined in {:.1} s\n\
             sessions        {}\n\
             activities      {} sent, {} came back, in {:.2} s: {:.0} a second\n\
             deliveries      {}: {:.0} a second\n\
             disconnections  {}",
            self.users,
            self.registered,
            self.existing,
            self.joining_seconds,
            sessions.join(", "),
            self.activities,
            self.seen,
            self.playing_seconds,
            self.activities_per_second,
            self.deliveries,
            self.deliveries_per_second,
            self.disconnections
        )
    }

    /// # Errors
    /// A sentence, where something is missing.
    pub(super) fn verdict(&self) -> Result<(), String> {
        match self.activities - self.seen {
            0 => Ok(()),
            missing => Err(format!("{missing} of {} activities did not come back", self.activities)),
        }
    }
}

/// A bar on a terminal, a line every few seconds elsewhere, nothing where quiet is wanted.
pub(super) struct Progress {
    bar: ProgressBar,
    activities: usize,
    /// When the last line was written; `None` where none is wanted.
    last_line: Option<Instant>,
}

impl Progress {
    pub(super) fn new(quiet: bool, users: usize, activities: usize) -> Progress {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(users as u64), target);
        let style = "{prefix:8} {wide_bar} {pos}/{len}  {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
        bar.set_prefix("joining");
        let last_line = (bar.is_hidden() && !quiet).then(Instant::now);
        Progress { bar, activities, last_line }
    }

    pub(super) fn joining(&mut self, tally: &Tally) {
        self.bar.set_position(tally.joined as u64);
        let mut message = format!("{} registered", tally.registered);
        if let (Some(trouble), 0) = (&tally.trouble, tally.joined) {
            message = format!("{message}; {}", escape(trouble));
        }
        self.show("joining", message);
    }

    pub(super) fn play(&mut self) {
        self.bar.reset();
        self.bar.set_length(self.activities as u64);
        self.bar.set_prefix("playing");
    }

    pub(super) fn playing(&mut self, tally: &Tally) {
        self.bar.set_position(tally.done() as u64);
        let message = match (tally.disconnections, tally.lost) {
            (0, 0) => String::new(),
            (disconnections, lost) => format!("{disconnections} disconnections, {lost} lost"),
        };
        self.show("playing", message);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&mut self, phase: &str, message: String) {
        if let Some(last) = &mut self.last_line
            && last.elapsed() >= LINE_EVERY
        {
            *last = Instant::now();
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
            common::boot::note(&format!("{phase}: {done} of {all}  {message}"));
        }
        self.bar.set_message(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_players_tell_adds_up() {
        let mut tally = Tally::default();
        let logged_in = |server: &str, before: Option<&str>| News::LoggedIn {
            server: server.to_owned(),
            before: before.map(str::to_owned),
        };
        for news in [
            News::Registered,
            logged_in("a", None),
            logged_in("b", None),
            News::Seen,
            News::Disconnected { reason: "gone".to_owned(), live: true },
            News::Disconnected { reason: "still gone".to_owned(), live: false },
            logged_in("b", Some("a")),
            News::Lost(1),
        ] {
            tally.note(news).unwrap();
        }
        tally.playing_took = Duration::from_secs(2);
        tally.delivered = 4;
        let report = tally.report(2);
        assert_eq!(
            report.json(),
            r#"{"users":2,"registered":1,"existing":1,"sessions":{"b":2},"activities":2,"seen":1,"deliveries":4,"#
                .to_owned()
                + r#""joining_seconds":0.0,"playing_seconds":2.0,"activities_per_second":0.5,"deliveries_per_second":2.0,"#
                + r#""disconnections":1}"#
        );
        assert_eq!(report.verdict(), Err("1 of 2 activities did not come back".to_owned()));
    }

    #[test]
    fn a_user_who_is_refused_ends_the_replay_with_advice() {
        let ended =
            News::Ended { username: "ann".parse().unwrap(), reason: "wrong name or secret".to_owned() };
        let error = Tally::default().note(ended).unwrap_err();
        assert!(
            error.starts_with("ann cannot take part: wrong name or secret; where a name is registered"),
            "{error}"
        );
    }
}
