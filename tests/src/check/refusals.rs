//! Whoever a server throws out is told why before the connection ends; and while nothing is wrong, nobody who keeps to the rules is thrown
//! out or told off.

use std::collections::{BTreeMap, BTreeSet};

use common::wire::Message;

use super::{Check, Ledger, Scene, Verdict};
use crate::sim::cast::Role;
use crate::sim::coverage::Coverage;
use crate::sim::mischief::Kind;
use crate::sim::node::Effect;
use crate::sim::{ConnId, Seen};

#[derive(Debug)]
pub(super) struct Refusals {
    calm: bool,
    /// The last that each connection of a client has heard.
    heard: BTreeMap<ConnId, &'static str>,
    /// Closed by a draining server, which has nothing to say that the original protocol knows.
    drained: BTreeSet<ConnId>,
}

impl Refusals {
    pub(super) fn new(calm: bool) -> Self {
        Refusals { calm, heard: BTreeMap::new(), drained: BTreeSet::new() }
    }

    fn hears(
        &mut self,
        scene: &Scene<'_>,
        at: Role,
        conn: ConnId,
        message: &Message,
        coverage: &mut Coverage,
    ) -> Verdict {
        if !at.is_server() {
            self.heard.insert(conn, message.command());
        }
        let told_off = matches!(message, Message::InvalidMessage(_) | Message::AuthenticationFail(_));
        // Whom a worker finds first may turn out not to be the main coordinator; that takes a moment.
        let settled = scene.health.group_since.is_some() && self.calm;
        if told_off && settled && !matches!(at, Role::Mischief(_)) {
            return Err(format!("{conn:?} kept to the rules and was told {message:?} at {}", scene.now));
        }
        match (at, message) {
            (Role::Mischief(Kind::StaleToken), Message::LoginFailed(_)) => {
                coverage.add("log-ins refused for a token out of date", 1);
            }
            (Role::Mischief(Kind::StaleToken | Kind::StolenToken), Message::Redirect(_)) => {
                coverage.add("redirects that nobody followed", 1);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Check for Refusals {
    fn observe(
        &mut self,
        scene: &Scene<'_>,
        ledger: &Ledger,
        seen: &Seen<Effect>,
        coverage: &mut Coverage,
    ) -> Verdict {
        match seen {
            Seen::Received { at, conn, message, .. } => {
                self.hears(scene, scene.role(*at), *conn, message, coverage)
            }
            Seen::Closed { by, conn, .. } => {
                if ledger.draining.contains_key(&(*by, scene.world[*by].run)) {
                    self.drained.insert(*conn);
                }
                Ok(())
            }
            Seen::Lost { at, from, conn, clean: true }
                if scene.role(*from).is_server() && !scene.role(*at).is_server() =>
            {
                let heard = self.heard.get(conn).copied().unwrap_or("nothing");
                let mischief = matches!(scene.role(*at), Role::Mischief(_));
                let half_closed = scene.role(*at) == Role::Mischief(Kind::HalfCloses);
                if half_closed && heard != "nothing" {
                    coverage.add("half-closed peers answered", 1);
                    return Ok(());
                }
                let told = matches!(heard, "INVALID_MESSAGE" | "LOGIN_FAILED" | "AUTHENTICATION_FAIL")
                    || (heard == "REDIRECT" && scene.is_coordinator(*from));
                coverage.add("forged or misplaced messages refused", u64::from(mischief && told));
                if told
                    || self.drained.contains(conn)
                    || (!mischief && matches!(heard, "REGISTER_FAILED" | "REDIRECT"))
                {
                    return Ok(());
                }
                // Where a slow client stands in a frame is forgotten with the frame: there is no place for a reason then. What came before
                // that frame was another one, or what is told between two.
                let slow = matches!(
                    heard,
                    "ACTIVITY_BROADCAST" | "LOGIN_SUCCESS" | "RESUMED" | "ACTIVITY_SENDING_REPORT"
                );
                let slow = !self.calm && slow;
                if slow && !mischief {
                    return Ok(());
                }
                Err(format!(
                    "{} was thrown out over {conn:?} without a reason, after {heard}",
                    scene.name(*at)
                ))
            }
            Seen::Lost { at, from, conn, clean: false }
                if self.calm && scene.health.group_since.is_some() && scene.world[*from].is_up() =>
            {
                Err(format!(
                    "{} lost {conn:?} to {} although nothing was wrong",
                    scene.name(*at),
                    scene.name(*from)
                ))
            }
            _ => Ok(()),
        }
    }
}
