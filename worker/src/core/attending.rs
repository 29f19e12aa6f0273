//! Telling others who is online: the workers beside, and the clients that want to know.
//!
//! A client that does not take what it is told is told no more, until it has: then it hears that it missed something, and asks.

use common::id::{LinkId, ServerId};
use common::limits::{RETRIEVED_BYTES, WHO_BYTES};
use common::machine::Action;
use common::session::SessionId;
use common::time::Now;
use common::user::Username;
use common::wire::{
    ClientDisconnect, Message, NewClient, Place, PresenceKnown, PresenceMissed, Who, WhoAnswer,
};

use super::presence::{Change, Heard};
use super::{Actions, Link, Worker};

impl Worker {
    /// Who is online in the network, as far as is known here, and where.
    pub fn present(&self) -> impl Iterator<Item = (Place, &Username)> {
        self.presence.all()
    }

    /// A session begins here. Returns the number of its attachment.
    pub(super) fn comes(
        &mut self,
        now: Now,
        username: &Username,
        session: SessionId,
        out: &mut Actions,
    ) -> u64 {
        let came = self.presence.came(now, username.clone(), session);
        let attachment = came.at.as_ref().expect("it is somewhere").place.attachment;
        self.tell_everybody(now, Change::Came(came), out);
        attachment
    }

    /// An attachment here is over.
    pub(super) fn goes(&mut self, now: Now, attachment: u64, out: &mut Actions) {
        let left = self.presence.left(attachment);
        self.tell_everybody(now, Change::Left(left), out);
    }

    fn tell_everybody(&mut self, now: Now, change: Change, out: &mut Actions) {
        let frame = self.encode(change.clone());
        self.tell_all_neighbours(now, &frame, out);
        self.tell_watchers(now, [change], out);
    }

    /// A worker says who has come somewhere.
    pub(super) fn neighbour_said_who_came(
        &mut self,
        now: Now,
        link: LinkId,
        came: NewClient,
        out: &mut Actions,
    ) {
        let heard = self.presence.heard_came(&came);
        if let Some(place) = came.at.as_ref().map(|at| at.place.clone()) {
            self.pass_on(now, link, heard, &place.worker, Change::Came(came), out);
        }
    }

    /// A worker says who has left somewhere.
    pub(super) fn neighbour_said_who_left(
        &mut self,
        now: Now,
        link: LinkId,
        left: ClientDisconnect,
        out: &mut Actions,
    ) {
        let heard = self.presence.heard_left(&left);
        let worker = left.at.place.worker.clone();
        self.pass_on(now, link, heard, &worker, Change::Left(left), out);
    }

    /// A change at `worker` has come by `link`: passes it on, and tells it, where that is called for.
    fn pass_on(
        &mut self,
        now: Now,
        link: LinkId,
        heard: Heard,
        worker: &ServerId,
        change: Change,
        out: &mut Actions,
    ) {
        if heard == Heard::Nothing {
            return;
        }
        let frame = self.encode(change.clone());
        let full = self.neighbours.relay(now.time, &frame, link, worker);
        self.flush_neighbours(now, full, out);
        if heard == Heard::Change {
            self.tell_watchers(now, [change], out);
        }
    }

    /// The worker on `link` says how far it knows whose clients.
    pub(super) fn neighbour_knows(
        &mut self,
        now: Now,
        link: LinkId,
        known: Vec<PresenceKnown>,
        out: &mut Actions,
    ) {
        let Some(from) = self.neighbours.id(link).cloned() else { return };
        let changes = self.presence.told(now.time, link, &from, known);
        self.tell_watchers(now, changes, out);
        self.ask_who(now, out);
    }

    /// Asks for what is not known, where it is time for it.
    pub(super) fn ask_who(&mut self, now: Now, out: &mut Actions) {
        if let Some((link, question)) = self.presence.next(now.time) {
            let question = self.encode(question);
            self.tell_neighbour(now, link, &question, out);
        }
    }

    /// Another worker asks.
    pub(super) fn neighbour_asks_who(&mut self, now: Now, link: LinkId, who: &Who, out: &mut Actions) {
        let answer = self.encode(self.presence.answer(who, RETRIEVED_BYTES));
        self.tell_neighbour(now, link, &answer, out);
    }

    /// Another worker answers.
    pub(super) fn neighbour_answers_who(
        &mut self,
        now: Now,
        link: LinkId,
        answer: WhoAnswer,
        out: &mut Actions,
    ) {
        let changes = self.presence.answered(link, answer);
        self.tell_watchers(now, changes, out);
        self.ask_who(now, out);
    }

    /// A coordinator says that a worker is gone. If its link stands, it is not.
    pub(super) fn worker_removed(&mut self, now: Now, id: &ServerId, out: &mut Actions) {
        if !self.neighbours.established_ids().contains(id) {
            let changes = self.presence.removed(now.time, id);
            self.tell_watchers(now, changes, out);
        }
    }

    /// A client asks.
    pub(super) fn client_asks_who(&mut self, now: Now, link: LinkId, who: &Who, out: &mut Actions) {
        if !self.session(link).is_logged_in() {
            return self.refuse(now, link, "log in first: WHO comes after LOGIN_SUCCESS", out);
        }
        let answer = self.presence.answer(who, WHO_BYTES);
        self.reply(now, link, answer, out);
    }

    /// Whoever was not heard of for too long is not online any more; and who has missed something by now has taken what it was told.
    pub(super) fn sweep_presence(&mut self, now: Now, out: &mut Actions) {
        let changes = self.presence.sweep(now.time);
        self.tell_watchers(now, changes, out);
        self.ask_who(now, out);
        for link in self.watchers.clone() {
            if self.session(link).has_missed_presence() {
                self.reply(now, link, PresenceMissed {}, out);
            }
        }
    }

    /// Tells the clients that want to know.
    pub(super) fn tell_watchers(
        &mut self,
        now: Now,
        changes: impl IntoIterator<Item = Change>,
        out: &mut Actions,
    ) {
        if self.watchers.is_empty() {
            return;
        }
        for change in changes {
            let frame = Message::from(change).encode();
            for link in &self.watchers {
                let Some(Link::Client(session)) = self.links.get_mut(*link) else {
                    unreachable!("only clients watch")
                };
                if session.tell_presence(now.time, &frame) {
                    out.push(Action::Flush(*link));
                }
            }
        }
    }
}
