//! `client remove-user`: removes a user, by whoever knows the network's secret.

use common::wire::{self, Message};

use super::one_question::{ask_within, network_secret};
use super::output::print;
use crate::args::{Connection, RemoveUser};

pub(super) async fn run(connection: Connection, command: RemoveUser) -> Result<(), String> {
    let secret = network_secret(&connection)?;
    let question = wire::RemoveUser { username: command.name.to_string(), secret };
    // Asked twice, it may say that there is no such user, which is what was wanted.
    match ask_within(&connection, command.timeout, question, true).await? {
        Message::RemoveUserSuccess(_) => print(&format!("{} is removed\n", command.name)),
        other => Err(format!("{} may not be removed: the answer was {}", command.name, other.command())),
    }
}
