//! Asking workers whether they hear the main coordinator, before taking over from one that is merely silent.
//!
//! The cut may be between the two coordinators alone. A worker that hears the main one says so (MAIN_ANSWER), and its word keeps this
//! coordinator from taking over; it is asked again as long as that is so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::id::{LinkId, ServerId};
use common::machine::{Action, DialId};
use common::time::Time;
use common::wire::{MainAnswer, MainQuery};
use tracing::info;

use super::links::Party;
use super::reign::Reigning;
use super::{Coordinator, Dialled, Turn};

/// How long an answer may take. Whoever has not given it by then cannot be reached, and is not waited for any more.
const ANSWER: Duration = Duration::from_millis(400);

/// How long an attempt to connect may take until another one is made beside it: its host may have been down when it began.
const REDIAL: Duration = Duration::from_secs(2);

/// The pause between two rounds of questions.
const AGAIN: Duration = Duration::from_millis(250);

/// Who was asked, and what they said.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    asked: BTreeMap<ServerId, Asked>,
    /// A round is under way.
    asking: bool,
    /// The next one begins then.
    again: Option<Time>,
    /// The main coordinator that somebody heard in the round before.
    heard: Option<ServerId>,
}

#[derive(Debug)]
struct Asked {
    contact: Contact,
    /// It is to answer by then.
    until: Time,
    /// What it said in this round: which main coordinator it hears, if it hears one.
    answer: Option<Option<ServerId>>,
}

#[derive(Debug)]
enum Contact {
    Dialling { dial: DialId, since: Time },
    Open(LinkId),
    Gone,
}

impl Contact {
    /// Whether another attempt is to be made.
    fn is_lost(&self, now: Time) -> bool {
        match self {
            Contact::Dialling { since, .. } => now.since(*since) >= REDIAL,
            Contact::Open(_) => false,
            Contact::Gone => true,
        }
    }
}

impl Inquiry {
    /// Whether this worker was asked in vain: it is gone, or cut off.
    pub(super) fn asked_in_vain(&self, id: &ServerId) -> bool {
        self.asked.get(id).is_some_and(|asked| asked.answer.is_none())
    }

    /// The main coordinator that a worker hears.
    pub(super) fn heard(&self) -> Option<&ServerId> {
        self.heard.as_ref()
    }
}

impl Coordinator {
    /// Whether workers are still to be heard, or hear a main coordinator; and when to look again.
    pub(super) fn inquire(&mut self, turn: &mut Turn<'_>) -> (bool, Option<Time>) {
        let now = turn.now.time;
        let Reigning::Seeking(seeking) = &mut self.reigning else { return (false, None) };
        let inquiry = &mut seeking.inquiry;
        if let Some(again) = inquiry.again.filter(|again| now < *again) {
            return (true, Some(again));
        }
        if !std::mem::replace(&mut inquiry.asking, true) {
            self.ask_workers(turn);
        }
        let Reigning::Seeking(seeking) = &mut self.reigning else { return (false, None) };
        let inquiry = &mut seeking.inquiry;
        if let Some(main) = inquiry.asked.values().find_map(|asked| asked.answer.clone().flatten()) {
            if inquiry.heard.is_none() {
                info!(%main, "workers hear the main coordinator; it is only this one that does not");
            }
            inquiry.heard = Some(main);
            inquiry.asking = false;
            inquiry.again = Some(now + AGAIN);
            let again = inquiry.again;
            if self.is_main_heard() {
                self.unpark(turn);
            }
            return (true, again);
        }
        let open = |asked: &&Asked| asked.answer.is_none() && !matches!(asked.contact, Contact::Gone);
        let until = inquiry.asked.values().filter(open).map(|asked| asked.until).max();
        let until = until.filter(|until| *until > now);
        if until.is_none() {
            inquiry.heard = None;
        }
        (until.is_some(), until)
    }

    fn ask_workers(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.time;
        let until = now + ANSWER;
        let Reigning::Seeking(seeking) = &self.reigning else { return };
        let mut workers = self.placement.servers();
        // A worker that has taken another id is where it was, and is asked once. Whoever did not answer makes room for others.
        let mut addresses = BTreeSet::new();
        workers.retain(|worker| addresses.insert(worker.address.clone()));
        workers.sort_by_key(|worker| seeking.inquiry.asked_in_vain(&worker.id));
        for worker in workers.into_iter().take(self.config.limits.asked_workers) {
            let Reigning::Seeking(seeking) = &mut self.reigning else { return };
            match seeking.inquiry.asked.get_mut(&worker.id) {
                Some(asked) if !asked.contact.is_lost(now) => {
                    asked.answer = None;
                    if let Contact::Open(link) = asked.contact {
                        asked.until = until;
                        self.ask(turn, link);
                    }
                }
                _ => {
                    let dial = self.dials.insert(Dialled::Worker(worker.id.clone()));
                    let asked =
                        Asked { contact: Contact::Dialling { dial, since: now }, until, answer: None };
                    seeking.inquiry.asked.insert(worker.id, asked);
                    turn.actions.push(Action::Dial { dial, address: worker.address });
                }
            }
        }
    }

    fn ask(&mut self, turn: &mut Turn<'_>, link: LinkId) {
        let query = MainQuery { id: self.config.id.clone(), secret: self.config.secret.clone() };
        self.say(turn, link, query);
    }

    /// A worker that is to be asked was reached, or not.
    pub(super) fn asked_dialled(
        &mut self,
        turn: &mut Turn<'_>,
        id: &ServerId,
        dial: DialId,
        link: Option<LinkId>,
    ) {
        let Reigning::Seeking(seeking) = &mut self.reigning else { return self.unwanted(turn, link) };
        let asked = seeking.inquiry.asked.get_mut(id);
        let Some(asked) = asked
            .filter(|asked| matches!(asked.contact, Contact::Dialling { dial: which, .. } if which == dial))
        else {
            return self.unwanted(turn, link);
        };
        match link {
            Some(link) => {
                asked.contact = Contact::Open(link);
                self.links.dialled(link, Party::Asked(id.clone()));
                self.ask(turn, link);
            }
            None => asked.contact = Contact::Gone,
        }
    }

    fn unwanted(&mut self, turn: &mut Turn<'_>, link: Option<LinkId>) {
        if let Some(link) = link {
            turn.actions.push(Action::Close { link, farewell: Vec::new() });
        }
    }

    /// A worker says which main coordinator it hears.
    pub(super) fn main_answer(&mut self, id: &ServerId, answer: MainAnswer) {
        let Reigning::Seeking(seeking) = &mut self.reigning else { return };
        if let Some(asked) = seeking.inquiry.asked.get_mut(id) {
            asked.answer = Some(answer.main.filter(|main| *main != self.config.id));
        }
    }

    /// The link to a worker that was asked is gone.
    pub(super) fn asked_gone(&mut self, id: &ServerId, link: LinkId) {
        let Reigning::Seeking(seeking) = &mut self.reigning else { return };
        let asked = seeking.inquiry.asked.get_mut(id);
        if let Some(asked) =
            asked.filter(|asked| matches!(asked.contact, Contact::Open(open) if open == link))
        {
            asked.contact = Contact::Gone;
        }
    }

    /// Nobody need be asked any more.
    pub(super) fn end_inquiry(&mut self, turn: &mut Turn<'_>) {
        if let Reigning::Seeking(seeking) = &mut self.reigning {
            seeking.inquiry = Inquiry::default();
        }
        for link in self.links.which(|party| matches!(party, Party::Asked(_))) {
            self.close(turn, link, None);
        }
    }
}
