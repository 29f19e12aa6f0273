//! Nobody but a misbehaving peer ever says anything that is no message: every line of a server is whole, whatever was being written when a
//! reply came in between. And classic clients hear only what the original protocol knows.

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::Seen;
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::node::Effect;

/// What the original protocol says to clients.
const CLASSIC: [&str; 8] = [
    "REGISTER_SUCCESS",
    "REGISTER_FAILED",
    "LOGIN_SUCCESS",
    "LOGIN_FAILED",
    "REDIRECT",
    "ACTIVITY_BROADCAST",
    "INVALID_MESSAGE",
    "AUTHENTICATION_FAIL",
];

#[derive(Debug)]
pub(super) struct Framing;

impl Check for Framing {
    fn observe(&mut self, scene: &Scene<'_>, _: &Ledger, seen: &Seen<Effect>, _: &mut Coverage) -> Verdict {
        match seen {
            Seen::Malformed { at, from, conn, error } if !matches!(scene.role(*from), Role::Mischief(_)) => {
                Err(format!(
                    "{} got what is no message from {} over {conn:?}: {error}",
                    scene.name(*at),
                    scene.name(*from)
                ))
            }
            Seen::Received { at, from, message, .. }
                if scene.role(*at) == Role::Classic && !CLASSIC.contains(&message.command()) =>
            {
                let (at, from) = (scene.name(*at), scene.name(*from));
                Err(format!("{from} said {} to {at}, a classic client", message.command()))
            }
            _ => Ok(()),
        }
    }
}
