//! The way to a live session: dial, register, log in, be redirected. What an answer means is for `login` to say, whom to dial
//! next for `route`; here it is done.

use std::time::Duration;

use common::id::LinkId;
use common::limits;
use common::machine::{DialError, DialId, Machine};
use common::outbox::Outbox;
use common::time::Time;
use common::user::Secret;
use common::wire::{Address, Login, Message, Redirect, Register};

use super::login::{self, Step, Verdict};
use super::route::Target;
use super::{Action, Client, Effect, RegisterMode, State};

/// What we understand beyond the classic commands, at a coordinator.
const CAPABILITIES: [&str; 1] = ["backup_list"];

/// The same at a worker.
const WORKER_CAPABILITIES: [&str; 2] = ["backup_list", "session"];

/// What we say there beside, where we want to know who else is online.
const PRESENCE: &str = "presence";

impl Client {
    pub(super) fn deadline_passed(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        match &self.state {
            State::Pausing { .. } => {
                self.rounds = self.rounds.saturating_add(1);
                let target = self.route.begin(now, &mut self.rng);
                self.dial(now, target, actions);
            }
            State::LoggingIn { step: Step::AwaitingRedirect, .. } => {
                self.hang_up(now, login::NO_REDIRECT.to_owned(), actions);
            }
            State::LoggingIn { .. } => self.hang_up(now, "it does not answer".to_owned(), actions),
            State::Live(_) => self.live_deadline_passed(now, actions),
            State::Dialling { .. } => self.hang_up(now, DialError::Unreachable.to_string(), actions),
            State::Done => {}
        }
    }

    pub(super) fn dial(&mut self, now: Time, target: Target, actions: &mut Vec<Action>) {
        self.dials += 1;
        let dial = DialId(self.dials);
        actions.push(Action::Dial { dial, address: target.address().clone() });
        let until = self.may_pass(&target).then(|| now + self.config.limits.first_dial);
        self.state = State::Dialling { dial, target, until };
    }

    pub(super) fn dialled(&mut self, now: Time, dial: DialId, link: LinkId, actions: &mut Vec<Action>) {
        match &self.state {
            State::Dialling { dial: current, target, .. } if *current == dial => {
                let target = target.clone();
                let step = if target.is_coordinator() && self.register != RegisterMode::No {
                    Step::Registering
                } else {
                    Step::LoggingIn
                };
                self.say(now, link, target, step, actions);
            }
            _ => actions.push(Action::Close { link, farewell: Vec::new() }),
        }
    }

    /// Says what `step` needs said, and waits for the answer.
    fn say(&mut self, now: Time, link: LinkId, target: Target, step: Step, actions: &mut Vec<Action>) {
        let message: Option<Message> = match step {
            Step::Registering => {
                let username = self.config.username.to_string();
                let secret = self.config.secret.clone().unwrap_or_else(|| Secret::new(""));
                Some(Register { username, secret }.into())
            }
            Step::LoggingIn => Some(self.login(&target).into()),
            Step::AwaitingRedirect => None,
        };
        let patience = self.patience(&target, step);
        let mut outbox = Outbox::new(limits::LINE_BYTES);
        if let Some(message) = message {
            if outbox.push(now, &message).is_err() {
                actions.push(Action::Close { link, farewell: Vec::new() });
                return self
                    .refused("name, secret, token and position do not fit into a line".to_owned(), actions);
            }
            actions.push(Action::Flush(link));
        }
        self.state = State::LoggingIn { link, target, step, outbox, until: now + patience };
    }

    fn login(&self, target: &Target) -> Login {
        let login = Login {
            username: self.config.username.to_string(),
            secret: self.config.secret.clone(),
            token: target.token().map(str::to_owned),
            capabilities: CAPABILITIES.map(str::to_owned).into(),
            ..Login::default()
        };
        if target.is_coordinator() {
            return login;
        }
        let resume = self.receipt.resume();
        let capabilities = WORKER_CAPABILITIES.into_iter().chain(self.config.presence.then_some(PRESENCE));
        Login {
            capabilities: capabilities.map(str::to_owned).collect(),
            session: Some(self.key.clone()),
            resume: resume.map(|position| position.told().into_owned()),
            network: resume.map(|position| position.network().to_owned()),
            last: self.receipt.last(),
            ..login
        }
    }

    /// How long the other side may take to answer.
    fn patience(&self, target: &Target, step: Step) -> Duration {
        let limits = &self.config.limits;
        match step {
            Step::AwaitingRedirect => limits.redirect_wait,
            _ if self.may_pass(target) && self.route.is_main(target) => limits.main_silence,
            _ if self.may_pass(target) => limits.first_silence,
            _ => limits.login_silence,
        }
    }

    /// Whether to leave this one soon for another. A worker that is one of many; and in the first round since the last session a
    /// coordinator among several, or a worker that one sent us to, or told us of, and that may have fallen silent since.
    fn may_pass(&self, target: &Target) -> bool {
        let is_first_round = self.rounds <= 1;
        match target {
            Target::Coordinator(_) => is_first_round && self.route.has_a_choice(),
            Target::Redirected(_) | Target::LastResort(_) => is_first_round,
            Target::Elsewhere(_) => true,
        }
    }

    pub(super) fn received(&mut self, now: Time, message: Message, actions: &mut Vec<Action>) {
        match &self.state {
            State::LoggingIn { link, target, step, .. } => {
                let (link, target, verdict) = (*link, target.clone(), login::judge(*step, message));
                self.answered(now, link, target, verdict, actions);
            }
            State::Live(live) => {
                let link = live.link;
                self.heard(now, link, message, actions);
            }
            State::Pausing { .. } | State::Dialling { .. } | State::Done => {}
        }
    }

    /// A server has answered what we said to log in.
    fn answered(
        &mut self,
        now: Time,
        link: LinkId,
        target: Target,
        verdict: Verdict,
        actions: &mut Vec<Action>,
    ) {
        match verdict {
            Verdict::Registered { existing } => {
                actions.push(Action::Effect(Effect::Registered { existing }));
                if self.register == RegisterMode::Only {
                    return self.finish(link, Vec::new(), actions);
                }
                self.register = RegisterMode::No;
                self.say(now, link, target, Step::LoggingIn, actions);
            }
            Verdict::NotRegistered(info) if self.register == RegisterMode::IfMissing => {
                // The server closes the connection after a refusal, so the log-in needs a new one. It settles what the refusal
                // meant: whether the name is registered to us, to somebody else, or no name at all.
                self.register = RegisterMode::No;
                self.not_registered = Some(info);
                actions.push(Action::Close { link, farewell: Vec::new() });
                self.dial(now, target, actions);
            }
            Verdict::Welcome(_) if target.is_coordinator() => {
                self.say(now, link, target, Step::AwaitingRedirect, actions);
            }
            Verdict::Welcome(success) => self.arrived(now, link, &target, success, actions),
            // A main coordinator says LOGIN_SUCCESS first, or at least gives us a token.
            Verdict::SentOn(redirect) if target.is_coordinator() && redirect.token.is_none() => {
                self.sent_on(now, link, &target, redirect.address, actions);
            }
            Verdict::SentOn(redirect) | Verdict::GoTo(redirect) => self.follow(now, link, redirect, actions),
            Verdict::Later(info, wait) => {
                actions.push(Action::Close { link, farewell: Vec::new() });
                self.route.pass(&target);
                self.pause(now, info, Some((target.address().clone(), wait)), actions);
            }
            Verdict::Refused(info) | Verdict::NotRegistered(info) if target.is_coordinator() => {
                actions.push(Action::Close { link, farewell: Vec::new() });
                self.refused(info, actions);
            }
            Verdict::NotFromThere(info) if self.receipt.refused() => {
                actions.push(Action::Close { link, farewell: Vec::new() });
                self.refused(info, actions);
            }
            Verdict::Refused(info)
            | Verdict::NotFromThere(info)
            | Verdict::NotRegistered(info)
            | Verdict::Nonsense(info) => {
                self.route.refused(&target);
                self.hang_up(now, info, actions);
            }
        }
    }

    fn follow(&mut self, now: Time, link: LinkId, redirect: Redirect, actions: &mut Vec<Action>) {
        actions.push(Action::Close { link, farewell: Vec::new() });
        self.go_to(now, redirect, actions);
    }

    pub(super) fn go_to(&mut self, now: Time, redirect: Redirect, actions: &mut Vec<Action>) {
        let next = self.route.redirected(redirect);
        self.go_on(now, next, actions);
    }

    /// To the main coordinator, where what was to be done at `from` is done from the beginning.
    fn sent_on(&mut self, now: Time, link: LinkId, from: &Target, to: Address, actions: &mut Vec<Action>) {
        actions.push(Action::Close { link, farewell: Vec::new() });
        let next = self.route.sent_on(from, to);
        self.go_on(now, next, actions);
    }

    fn go_on(&mut self, now: Time, next: Option<Target>, actions: &mut Vec<Action>) {
        match next {
            Some(target) => self.dial(now, target, actions),
            None => self.pause(now, "we are sent round in circles".to_owned(), None, actions),
        }
    }
}
