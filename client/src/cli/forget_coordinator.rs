//! `client forget-coordinator`: ends the membership of a coordinator that will not come back.

use common::wire::{self, Message};

use super::one_question::{ask_within, network_secret};
use super::output::print;
use crate::args::{Connection, ForgetCoordinator};

pub(super) async fn run(connection: Connection, command: ForgetCoordinator) -> Result<(), String> {
    let secret = network_secret(&connection)?;
    let question = wire::ForgetCoordinator { id: command.id.clone(), secret };
    // Asked twice, it may say that there is no such member, which is what was wanted.
    match ask_within(&connection, command.timeout, question, true).await? {
        Message::ForgetCoordinatorSuccess(_) => {
            print(&format!("{} is no member of the group any more\n", command.id))
        }
        other => Err(format!("{} may not be forgotten: the answer was {}", command.id, other.command())),
    }
}
