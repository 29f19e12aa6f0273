//! `client register`.

use tokio::time::{Instant, timeout_at};

use super::attempt::Attempt;
use super::output::print;
use super::{chosen_secret, given_secret};
use crate::args::{Connection, Register};
use crate::display::escape;
use crate::{Client, Event, RegisterMode};

pub(super) async fn run(connection: Connection, command: Register) -> Result<(), String> {
    let username = connection.username.clone();
    if username.is_anonymous() {
        return Err("anonymous is everybody's: choose a name with --username".to_owned());
    }
    let secret = match given_secret(&connection)? {
        Some(secret) => secret,
        None => chosen_secret(&format!("Secret for {username}: "))?,
    };
    let mut options = super::anonymous(&connection).user(username.clone(), secret);
    options.register = RegisterMode::Only;
    let mut client = Client::open(options);

    let deadline = Instant::now() + command.timeout;
    let mut last = Attempt::default();
    loop {
        match timeout_at(deadline, client.event()).await {
            Ok(Some(Event::Registered { existing })) => {
                let already = if existing { " already, with this secret" } else { "" };
                return print(&format!("{username} is registered{already}\n"));
            }
            Ok(Some(Event::Refused { info })) => {
                return Err(format!("{username} was not registered: {}", escape(&info)));
            }
            Ok(Some(event)) => last.note(event),
            Ok(None) => return Err(format!("{username} was not registered: the session ended")),
            Err(_) => return Err(last.failure(command.timeout, &connection.coordinators)),
        }
    }
}
