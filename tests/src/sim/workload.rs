//! What honest clients do, and when misbehaving ones come by.

use std::time::Duration;

use common::user::{Secret, Username};
use common::wire::Activity;
use serde_json::json;

use super::ProcessId;
use super::cast::{NETWORK_SECRET, TOKEN_LIFE, User};
use super::errand::{Outcome, Wish};
use super::mischief;
use super::node::{Input, Node};
use super::scenario::{Account, GLANCE, Own, Scenario};
use crate::check::Tag;
use crate::sim::classic;

/// Activities in a burst.
const BURST: u64 = 60;

/// One errand in this many is to copy all users, and to bring them back later.
const RESTORES: u8 = 25;

impl Scenario {
    /// Some honest client.
    pub(super) fn any_user(&mut self) -> ProcessId {
        let ids: Vec<ProcessId> = self.cast.users.keys().copied().collect();
        ids[self.rng.usize(..ids.len())]
    }

    /// A client publishes, now and again later.
    pub(super) fn publishes(&mut self, id: ProcessId) {
        let burst = if self.rng.f64() < self.plan.bursts { BURST } else { 1 };
        for _ in 0..burst {
            self.publish(id);
        }
        let next = self.plan.between_activities.mul_f64(0.2 + 1.6 * self.rng.f64());
        self.own.push(self.world.now() + next, Own::Publish(id));
    }

    /// Two workers have found each other: what is under way by other ways now meets what comes directly, so let there be something.
    pub(super) fn publish_across_a_change(&mut self) {
        if self.going {
            for step in 0..20 {
                self.own.push(self.world.now() + Duration::from_millis(7 * step), Own::PublishOnce);
            }
        }
    }

    /// A client publishes one activity, if it is logged in and has room for it. What it published is written down, with what
    /// everybody is to receive.
    pub(super) fn publish(&mut self, id: ProcessId) -> Option<Tag> {
        let room = match self.world[id].machine.as_ref()? {
            Node::Client(client) => client.is_live() && client.has_room(),
            Node::Classic(classic) => classic.is_live(),
            _ => false,
        };
        if !room || self.world[id].is_paused() || self.cast.users[&id].away {
            return None;
        }
        self.published += 1;
        let tag = Tag { from: self.world[id].name.clone(), number: self.published };
        let padding = "x".repeat(self.rng.usize(..self.plan.padding));
        let rest = format!(r#""from":{},"number":{},"padding":"{padding}"}}"#, json!(tag.from), tag.number);
        // Whatever a client claims to be, everybody is told who it is.
        let forged = [
            "",
            r#""authenticated_user":"root","#,
            r#""\u0061uthenticated_user":{"a":[1]},"#,
            r#""big":1e400,"#,
        ];
        let claim = forged[(tag.number % 4) as usize];
        let kept = if claim.contains("uthenticated") { "" } else { claim };
        let name = json!(self.cast.users[&id].username.as_str());
        self.watch.ledger.published(tag.clone(), format!(r#"{{"authenticated_user":{name},{kept}{rest}"#));
        let text = format!("{{{claim}{rest}");
        let input = match self.world[id].machine {
            Some(Node::Classic(_)) => Input::Classic(classic::Input::Publish(text)),
            _ => {
                self.watch.ledger.stream.published((id, self.world[id].run), tag.clone());
                Input::Client(client::core::Input::Publish(Activity::parse(&text).expect("it is an object")))
            }
        };
        self.coverage.add("activities published", 1);
        self.world.input(id, self.world[id].run, input);
        Some(tag)
    }

    /// A client logs out, sometimes right after a burst, and comes back later.
    pub(super) fn leaves(&mut self) {
        let id = self.any_user();
        let last_words = if self.rng.bool() { BURST } else { 0 };
        for _ in 0..last_words {
            self.publish(id);
        }
        if self.logs_out(id) {
            let back = self.world.now() + Duration::from_millis(self.rng.u64(50..8_000));
            self.own.push(back, Own::Return(id));
        }
    }

    /// A client logs out, if it is logged in. Says whether it was.
    pub(super) fn logs_out(&mut self, id: ProcessId) -> bool {
        let run = self.world[id].run;
        let input = match &self.world[id].machine {
            Some(Node::Client(client)) if client.is_live() => Input::Client(client::core::Input::Logout),
            Some(Node::Classic(classic)) if classic.is_live() => Input::Classic(classic::Input::Logout),
            _ => return false,
        };
        self.coverage.add("log-outs", 1);
        self.world.trace.note(self.world.now(), format_args!("{id:?} logs out"));
        self.cast.users.get_mut(&id).expect("it is a user").away = true;
        self.world.input(id, run, input);
        true
    }

    /// A client that had logged out is back, as soon as it has gone: it waits for its reports first.
    pub(super) fn returns(&mut self, id: ProcessId) {
        if self.world[id].is_up() && self.cast.users[&id].away {
            return self.own.push(self.world.now() + GLANCE, Own::Return(id));
        }
        self.cast.users.get_mut(&id).expect("it is a user").away = false;
        if !self.world[id].is_up() {
            self.start(id);
        }
    }

    /// Somebody new comes and registers, and tries to log in beside that at once; or two come who want the same name.
    pub(super) fn newcomers(&mut self) {
        let coming = if self.rng.bool() {
            self.coverage.add("names that two wanted at once", 1);
            self.cast.add_rivals(&mut self.world).to_vec()
        } else {
            let newcomer = self.cast.add_newcomer(&mut self.world);
            self.cast.add_impatient(&mut self.world, newcomer);
            vec![newcomer]
        };
        for id in coming {
            self.world.trace.note(self.world.now(), format_args!("{id:?} is new"));
            self.start(id);
            self.own.push(self.world.now() + self.plan.between_activities, Own::Publish(id));
        }
    }

    fn has_wild_clocks(&self) -> bool {
        self.plan.clocks_apart().is_none()
    }

    /// Somebody wants an account registered, changed or removed, and insists.
    pub(super) fn errands(&mut self) {
        if self.rng.u8(..RESTORES) == 0 {
            let pause = Duration::from_millis(self.rng.u64(500..8_000));
            let network_secret = Secret::new(NETWORK_SECRET);
            self.cast.add_errand(&mut self.world, Wish::Restore { network_secret, pause });
            self.coverage.add("copies of all users that were brought back", 1);
        }
        self.accounts.retain(|account| {
            // Whoever does not know whether its secret is the old or the new one leaves it at that.
            let errand = match &self.world[account.errand].machine {
                Some(Node::Errand(errand)) => errand.outcome(),
                _ => None,
            };
            errand.is_none_or(|outcome| outcome == Outcome::Done)
        });
        let idle = |account: &&mut Account| match &self.world[account.errand].machine {
            Some(Node::Errand(errand)) => errand.outcome().is_some(),
            _ => false,
        };
        let mut idle: Vec<&mut Account> = self.accounts.iter_mut().filter(idle).collect();
        let roll = self.rng.u8(..10);
        let chosen = if idle.is_empty() || roll < 6 { None } else { Some(self.rng.usize(..idle.len())) };
        let Some(chosen) = chosen else { return self.register_an_account() };
        let account = &mut *idle[chosen];
        let username = account.username.clone();
        if roll == 9 {
            let wish = Wish::Remove { username, network_secret: Secret::new(NETWORK_SECRET) };
            account.errand = self.cast.add_errand(&mut self.world, wish);
            self.coverage.add("removals wanted", 1);
        } else {
            let new = Secret::new(format!("{}+", account.secret.expose()));
            let wish = Wish::ChangeSecret { username, secret: account.secret.clone(), new: new.clone() };
            account.secret = new;
            account.errand = self.cast.add_errand(&mut self.world, wish);
            self.coverage.add("changes of a secret wanted", 1);
        }
    }

    fn register_an_account(&mut self) {
        let number = self.accounts_opened;
        self.accounts_opened += 1;
        let username: Username = format!("account-{number}").parse().expect("it is short and plain");
        let secret = Secret::new(format!("key of {number}"));
        let wish = Wish::Register { username: username.clone(), secret: secret.clone() };
        let errand = self.cast.add_errand(&mut self.world, wish);
        if self.plan.rivalry > 0.0 && self.rng.f64() < self.plan.rivalry {
            let secret = Secret::new(format!("rival key of {number}"));
            self.cast.add_errand(&mut self.world, Wish::Register { username: username.clone(), secret });
            self.coverage.add("names that two wanted at once", 1);
        }
        self.accounts.push(Account { username, secret, errand });
    }

    /// Some want a name at once.
    pub(super) fn register_a_few(&mut self) {
        (0..3).for_each(|_| self.register_an_account());
    }

    /// An activity that somebody who misbehaves publishes as anybody would.
    fn publish_in_bad_company(&mut self, username: &Username) -> String {
        self.published += 1;
        let tag = Tag { from: "m".to_owned(), number: self.published };
        let rest = format!(r#""from":"m","number":{}}}"#, tag.number);
        let name = json!(username.as_str());
        self.watch.ledger.published(tag, format!(r#"{{"authenticated_user":{name},{rest}"#));
        format!("{{{rest}")
    }

    /// Somebody misbehaves.
    pub(super) fn misbehave(&mut self) {
        let kind = mischief::KINDS[self.rng.usize(..mischief::KINDS.len())];
        // Who is only being registered, and on some disks already, may be refused; and then nothing of what is to be published ever is.
        let users = self.cast.users.iter().filter(|(id, _)| self.everybody_knows(**id));
        let registered: Vec<User> = users.map(|(_, user)| user.clone()).collect();
        let (Some(user), Some(victim)) = (self.rng.choice(&registered), self.rng.choice(&registered)) else {
            return;
        };
        if user.username == victim.username {
            return;
        }
        let at_coordinator = self.rng.u8(..3) == 0 && !kind.needs_a_worker();
        let coordinator = self.cast.any_coordinator();
        let target = if at_coordinator { coordinator } else { self.cast.any_worker() };
        // Where clocks are hours apart, nobody can tell when a token is out of date. And where workers die, what somebody repeats in
        // another way may be lost, and is new then.
        let is_pointless = match kind {
            mischief::Kind::StaleToken => self.has_wild_clocks(),
            mischief::Kind::RepeatsWithAnother => !self.plan.is_calm(),
            _ => false,
        };
        if is_pointless {
            return;
        }
        let config = mischief::Config {
            kind,
            coordinator: self.world[coordinator].address.clone(),
            target: self.world[target].address.clone(),
            username: user.username.clone(),
            secret: user.secret.clone(),
            victim: victim.username.clone(),
            // Clocks are up to three seconds off, either way.
            keep_token: TOKEN_LIFE + Duration::from_secs(7),
            session: format!("the session of a troublemaker {}", self.published),
            activities: (0..kind.publishes()).map(|_| self.publish_in_bad_company(&user.username)).collect(),
        };
        let id = self.cast.add_mischief(&mut self.world, config);
        self.coverage.add("peers that misbehaved", 1);
        self.world.trace.note(self.world.now(), format_args!("{id:?} comes to bother {target:?}: {kind:?}"));
    }
}
