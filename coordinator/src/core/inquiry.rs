//! Asking workers whether they hear the main coordinator, before taking over from one that is merely silent.
//!
//! The cut may be between the two coordinators alone. A worker that hears the main one says so (MAIN_ANSWER), and its word keeps this
//! coordinator from taking over; it is asked again as long as that is so.

use std::collections::BTreeMap;
use std::time::Duration;

use common::id::{LinkId, ServerId};
use common::machine::{Action, DialId};
use common::time::Time;
use common::wire::{MainAnswer, MainQuery};
use tracing::info;

use super::links::Party;
use super::reign::Reigning;
use super::{Coordinator, Dialled, Turn};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_millis(400);

/// The pause between two rounds of questions.
const AGAIN: Duration = Duration::from_millis(250);

/// Who was asked, and what they said.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    asked: BTreeMap<ServerId, Asked>,
    /// The round ends then.
    until: Option<Time>,
    /// The next one begins then.
    again: Option<Time>,
    /// Somebody heard a main coordinator in the round before.
    heard: bool,
}

#[derive(Debug)]
struct Asked {
    contact: Contact,
    /// What it said in this round: whether it hears a main coordinator.
    answer: Option<bool>,
}

#[derive(Debug)]
enum Contact {
    Dialling(DialId),
    Open(LinkId),
    Gone,
}

impl Coordinator {
    /// Whether workers are still to be heard, or hear a main coordinator; and when to look again.
    pub(super) fn inquire(&mut self, turn: &mut Turn<'_>) -> (bool, Option<Time>) {
        let now = turn.now.time;
        let Reigning::Seeking(seeking) = &mut self.reigning else { return (false, None) };
        let inquiry = &mut seeking.inquiry;
        match (inquiry.until, inquiry.again) {
            (None, Some(again)) if now < again => return (true, Some(again)),
            (None, _) => {
                inquiry.until = Some(now + ANSWER);
                inquiry.again = None;
                self.ask_workers(turn);
            }
            (Some(_), _) => {}
        }
        let Reigning::Seeking(seeking) = &mut self.reigning else { return (false, None) };
        let inquiry = &mut seeking.inquiry;
        let until = inquiry.until.unwrap_or(now);
        let open = |asked: &Asked| asked.answer.is_none() && !matches!(asked.contact, Contact::Gone);
        if inquiry.asked.values().any(|asked| asked.answer == Some(true)) {
            if !inquiry.heard {
                info!("workers hear the main coordinator; it is only this one that does not");
            }
            inquiry.heard = true;
            inquiry.until = None;
            inquiry.again = Some(now + AGAIN);
            return (true, inquiry.again);
        }
        let waits = until > now && inquiry.asked.values().any(open);
        (waits, waits.then_some(until))
    }

    fn ask_workers(&mut self, turn: &mut Turn<'_>) {
        let workers = self.placement.servers();
        for worker in workers.into_iter().take(self.config.limits.asked_workers) {
            let Reigning::Seeking(seeking) = &mut self.reigning else { return };
            match seeking.inquiry.asked.get_mut(&worker.id) {
                Some(asked) if !matches!(asked.contact, Contact::Gone) => {
                    asked.answer = None;
                    if let Contact::Open(link) = asked.contact {
                        self.ask(turn, link);
                    }
                }
                _ => {
                    let dial = self.dials.insert(Dialled::Worker(worker.id.clone()));
                    let asked = Asked { contact: Contact::Dialling(dial), answer: None };
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
        let Some(asked) =
            asked.filter(|asked| matches!(asked.contact, Contact::Dialling(which) if which == dial))
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
            asked.answer = Some(answer.main.is_some_and(|main| main != self.config.id));
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
