//! `client passwd`: changes the secret of a user.

use common::wire::{ChangeSecret, Message};

use super::one_question::ask_within;
use super::output::print;
use super::{asked_secret, chosen_secret, given_secret, secret_from};
use crate::args::{Connection, Passwd};

pub(super) async fn run(connection: Connection, command: Passwd) -> Result<(), String> {
    let username = &connection.username;
    if username.is_anonymous() {
        return Err("anonymous has no secret: say whose with --username".to_owned());
    }
    let secret = match given_secret(&connection)? {
        Some(secret) => secret,
        None => asked_secret(&format!("Secret of {username} so far: "))?,
    };
    let new_secret = match &command.new_secret_file {
        Some(path) => secret_from(path)?,
        None => chosen_secret(&format!("New secret of {username}: "))?,
    };
    let question = ChangeSecret { username: username.to_string(), secret, new_secret };
    match ask_within(&connection, command.timeout, question, false).await {
        Ok(Message::ChangeSecretSuccess(_)) => print(&format!("the secret of {username} is changed\n")),
        Ok(other) => Err(format!("the secret may not be changed: the answer was {}", other.command())),
        Err(sentence) => Err(format!("{sentence}. Log in to see which secret holds")),
    }
}
