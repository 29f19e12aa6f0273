//! Who else is online, as the worker tells: everybody when the session is live, and then who comes and goes.
//!
//! The worker is asked page by page, and tells meanwhile what changes. All of it is applied in the order in which it comes, so that
//! in the end it is right. Where the worker has left something out, it is asked anew.

use std::collections::BTreeMap;

use common::id::LinkId;
use common::limits::PRESENT;
use common::session::SessionId;
use common::time::{Time, WallMillis};
use common::user::Username;
use common::wire::{Attached, ClientDisconnect, NewClient, Place, PresentClient, Who, WhoAnswer};

use super::{Action, Client, Effect, State};

/// Somebody's session that is attached to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Whose session.
    pub username: Username,
    /// Where it is attached. No other attachment, before or after, is there.
    pub place: Place,
    /// Which session.
    pub session: SessionId,
    /// Since when, by the worker's clock.
    pub since: WallMillis,
}

/// What is told of others who are online. A user may have several sessions, and a session that moves is at two places for a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// These are online, by place, and nobody else: what was told before does not count any more.
    Online(Vec<Person>),
    /// This one is online, too.
    Came(Person),
    /// This one is not any more.
    Left(Person),
}

/// What is known of who is online, while not everybody is.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    /// Who was found online so far; none where all have been told.
    found: Option<BTreeMap<Place, Person>>,
    /// The worker has left something out since it was asked.
    again: bool,
}

/// What an answer leads to.
#[derive(Debug, PartialEq)]
enum Next {
    Ask(Who),
    Tell(Presence),
    /// Nobody has asked.
    Nothing,
}

impl Attendance {
    /// Nobody is known. Returns the first question.
    fn begin(&mut self) -> Who {
        *self = Attendance { found: Some(BTreeMap::new()), again: false };
        Who { after: None }
    }

    /// The worker has left something out. Returns what to ask, where no question is open.
    fn missed(&mut self) -> Option<Who> {
        self.again = self.found.is_some();
        (!self.again).then(|| self.begin())
    }

    fn answered(&mut self, answer: WhoAnswer) -> Next {
        let Some(found) = &mut self.found else { return Next::Nothing };
        if self.again {
            return Next::Ask(self.begin());
        }
        let WhoAnswer { worker, incarnation, clients, next, .. } = answer;
        for PresentClient { attachment, username, session, since } in clients {
            let place = Place { worker: worker.clone(), incarnation, attachment };
            add(found, Person { username, place, session, since });
        }
        match next {
            Some(after) => Next::Ask(Who { after: Some(after) }),
            None => {
                let found = self.found.take().expect("it was there a moment ago");
                Next::Tell(Presence::Online(found.into_values().collect()))
            }
        }
    }

    /// Somebody has come. Returns what is to be told of it now.
    fn came(&mut self, person: Person) -> Option<Presence> {
        match &mut self.found {
            Some(found) => {
                add(found, person);
                None
            }
            None => Some(Presence::Came(person)),
        }
    }

    /// Somebody has left. Returns what is to be told of it now.
    fn left(&mut self, person: Person) -> Option<Presence> {
        match &mut self.found {
            Some(found) => {
                found.remove(&person.place);
                None
            }
            None => Some(Presence::Left(person)),
        }
    }
}

fn add(found: &mut BTreeMap<Place, Person>, person: Person) {
    if found.len() < PRESENT {
        found.insert(person.place.clone(), person);
    }
}

fn person(username: Username, at: Attached) -> Person {
    Person { username, place: at.place, session: at.session, since: at.since }
}

impl Client {
    /// The session is live: asks who is online, where that is wanted.
    pub(super) fn begin_presence(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.config.presence {
            let who = self.attendance.begin();
            self.ask_who(now, who, actions);
        }
    }

    pub(super) fn presence_missed(&mut self, now: Time, actions: &mut Vec<Action>) {
        if let Some(who) = self.attendance.missed() {
            self.ask_who(now, who, actions);
        }
    }

    pub(super) fn who_answered(&mut self, now: Time, mut answer: WhoAnswer, actions: &mut Vec<Action>) {
        let own = self.own_session();
        answer.clients.retain(|client| client.session != own);
        match self.attendance.answered(answer) {
            Next::Ask(who) => self.ask_who(now, who, actions),
            Next::Tell(presence) => actions.push(Action::Effect(Effect::Presence(presence))),
            Next::Nothing => {}
        }
    }

    pub(super) fn somebody_came(&mut self, came: NewClient, actions: &mut Vec<Action>) {
        let Some(at) = came.at.filter(|at| at.session != self.own_session()) else { return };
        let presence = self.attendance.came(person(came.username, at));
        actions.extend(presence.map(Effect::Presence).map(Action::Effect));
    }

    pub(super) fn somebody_left(&mut self, left: ClientDisconnect, actions: &mut Vec<Action>) {
        if left.at.session != self.own_session() {
            let presence = self.attendance.left(person(left.username, left.at));
            actions.extend(presence.map(Effect::Presence).map(Action::Effect));
        }
    }

    fn own_session(&self) -> SessionId {
        self.key.session(&self.config.username)
    }

    fn ask_who(&mut self, now: Time, who: Who, actions: &mut Vec<Action>) {
        let State::Live(live) = &mut self.state else { return };
        let link: LinkId = live.link;
        match live.outbox.push(now, &who.into()) {
            Ok(()) => actions.push(Action::Flush(link)),
            Err(full) => self.hang_up(now, full.to_string(), actions),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::id::Incarnation;

    use super::*;

    fn somebody(attachment: u64) -> Person {
        let place = Place { worker: "w".parse().unwrap(), incarnation: Incarnation(1), attachment };
        Person { username: "ann".parse().unwrap(), place, session: SessionId(7), since: WallMillis(5) }
    }

    fn page(attachments: &[u64], next: Option<u64>) -> WhoAnswer {
        let clients = attachments.iter().map(|attachment| {
            let Person { username, session, since, .. } = somebody(*attachment);
            PresentClient { attachment: *attachment, username, session, since }
        });
        WhoAnswer {
            worker: "w".parse().unwrap(),
            incarnation: Incarnation(1),
            after: 0,
            change: 9,
            clients: clients.collect(),
            next: next.map(|attachment| somebody(attachment).place),
        }
    }

    fn ask(after: u64) -> Next {
        Next::Ask(Who { after: Some(somebody(after).place) })
    }

    #[test]
    fn what_changes_while_the_pages_come_is_in_what_is_told_in_the_end() {
        let mut attendance = Attendance::default();
        assert_eq!(attendance.begin(), Who { after: None });
        assert_eq!(attendance.answered(page(&[1, 2], Some(2))), ask(2));
        assert_eq!([attendance.left(somebody(1)), attendance.came(somebody(6))], [None, None]);
        let online = Presence::Online([2, 4, 6].map(somebody).into());
        assert_eq!(attendance.answered(page(&[4], None)), Next::Tell(online));
        assert_eq!(attendance.came(somebody(7)), Some(Presence::Came(somebody(7))));
        assert_eq!(attendance.left(somebody(2)), Some(Presence::Left(somebody(2))));
        assert_eq!(attendance.answered(page(&[8], None)), Next::Nothing);
    }

    #[test]
    fn where_something_was_left_out_all_is_asked_anew() {
        let mut attendance = Attendance::default();
        attendance.begin();
        assert_eq!(attendance.missed(), None, "a question is open");
        assert_eq!(attendance.answered(page(&[1], Some(1))), Next::Ask(Who { after: None }));
        assert_eq!(attendance.answered(page(&[2], None)), Next::Tell(Presence::Online(vec![somebody(2)])));
        assert_eq!(attendance.missed(), Some(Who { after: None }));
    }
}
