//! Who is online in the whole network: for each worker that lives, the clients that are attached to it.
//!
//! A worker numbers the changes of its clients; the number of a client's coming names its attachment. What changed is passed on as
//! activities are, and is taken when it is the next change of its worker. Every second workers tell each other how far they know whom
//! ([`PresenceKnown`]): who is behind asks for the clients of that worker, a page at a time, and merges each page into what is known.
//!
//! **Invariants.** Only an attachment's own end removes it, never that of another one of the same session: a late goodbye hides nobody.
//! What is known of a worker is of one start of it, and lasts as long as that worker was heard lately, over whatever path: there are no
//! ghosts. A page is merged only where it is as young as what is known; so no page brings back who has gone.
//!
//! Not here: how a message gets to others, and who wants to be told (`attending`).

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::time::Duration;

use common::id::{Incarnation, LinkId, ServerId};
use common::limits::{DIGEST, PRESENT, WORKERS};
use common::session::SessionId;
use common::time::{Now, Time, WallMillis};
use common::user::Username;
use common::wire::{
    Attached, ClientDisconnect, Message, NewClient, Place, PresenceKnown, PresentClient, Who, WhoAnswer,
};

/// Starts of workers that are remembered. Some workers may have started anew a moment ago.
const RUNS: usize = 2 * WORKERS;

/// One start of a worker.
type Run = (ServerId, Incarnation);

/// The clients of all workers.
#[derive(Debug)]
pub(super) struct Presence {
    own: Run,
    /// After which silence a worker's clients are taken to be gone.
    silence: Duration,
    /// How long an answer may take.
    patience: Duration,
    tables: BTreeMap<Run, Table>,
    /// Clients in all tables.
    count: usize,
    asked: Option<Asked>,
}

/// What is known of a worker's clients.
#[derive(Debug)]
struct Table {
    clients: BTreeMap<u64, Client>,
    /// The latest change that is known.
    change: u64,
    /// Behind which attachment the clients are still to be asked for; none where all are known that were there at `change`.
    unknown_after: Option<u64>,
    /// When the worker itself said last that it lives.
    heard: Time,
    /// The number of that word. Who tells us how long ago a worker was heard does not know how long it takes to tell: an older word is not
    /// taken again, or those that survive a worker would keep it alive among themselves.
    pulse: u64,
    /// Since when it is taken to be gone; what was said of it before means nothing.
    gone: Option<Time>,
    offer: Option<Offer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Client {
    username: Username,
    session: SessionId,
    since: WallMillis,
}

/// Somebody knows a worker's clients better.
#[derive(Clone, Copy, Debug)]
struct Offer {
    link: LinkId,
    /// Up to which change.
    change: u64,
    /// It is that worker itself: what it said before has arrived before.
    is_own: bool,
    /// Since when we are behind.
    since: Time,
}

/// The question that waits for its answer.
#[derive(Debug)]
struct Asked {
    link: LinkId,
    run: Run,
    after: u64,
    until: Time,
}

/// Who has come or gone.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// A session is online at a worker.
    Came(NewClient),
    /// It is not any more.
    Left(ClientDisconnect),
}

impl From<Change> for Message {
    fn from(change: Change) -> Message {
        match change {
            Change::Came(came) => came.into(),
            Change::Left(left) => left.into(),
        }
    }
}

/// What somebody's word about a client was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is no news, or it is not the next change of its worker.
    Nothing,
    /// It is to be passed on, and was known already from a page.
    News,
    /// It is to be passed on, and somebody has come or gone by it.
    Change,
}

impl Presence {
    /// Nobody is online. `own` is this worker, and this start of it.
    pub(super) fn new(own: Run, silence: Duration, patience: Duration) -> Self {
        let table = Table { unknown_after: None, ..Table::new(Time::ZERO) };
        Presence {
            tables: BTreeMap::from([(own.clone(), table)]),
            own,
            silence,
            patience,
            count: 0,
            asked: None,
        }
    }

    /// A session is attached here from now on.
    pub(super) fn came(&mut self, now: Now, username: Username, session: SessionId) -> NewClient {
        let attachment = self.own_table().change + 1;
        let client = Client { username, session, since: now.wall };
        let came = coming(&self.own, attachment, &client);
        let table = self.own_table();
        table.change = attachment;
        // Our own clients are bounded by our connections.
        table.clients.insert(attachment, client);
        self.count += 1;
        came
    }

    /// An attachment here is over.
    pub(super) fn left(&mut self, attachment: u64) -> ClientDisconnect {
        let table = self.own_table();
        table.change += 1;
        let change = table.change;
        let client = table.clients.remove(&attachment).expect("who leaves has come");
        self.count -= 1;
        ClientDisconnect { change, ..going(&self.own, attachment, &client) }
    }

    /// A worker says who has come.
    pub(super) fn heard_came(&mut self, said: &NewClient) -> Heard {
        let Some(at) = &said.at else { return Heard::Nothing };
        let Attached { place, session, since } = at.clone();
        let has_room = self.count < PRESENT;
        let Some(table) = self.next_change(&place, place.attachment) else { return Heard::Nothing };
        let client = Client { username: said.username.clone(), session, since };
        if !has_room || table.clients.insert(place.attachment, client).is_some() {
            return Heard::News;
        }
        self.count += 1;
        Heard::Change
    }

    /// A worker says who has left.
    pub(super) fn heard_left(&mut self, said: &ClientDisconnect) -> Heard {
        let Some(table) = self.next_change(&said.at.place, said.change) else { return Heard::Nothing };
        if table.clients.remove(&said.at.place.attachment).is_none() {
            return Heard::News;
        }
        self.count -= 1;
        Heard::Change
    }

    /// The table of a worker of which this is the next change, which counts as known from now on.
    fn next_change(&mut self, place: &Place, change: u64) -> Option<&mut Table> {
        if place.worker == self.own.0 {
            return None;
        }
        let table = self.tables.get_mut(&(place.worker.clone(), place.incarnation))?;
        if table.gone.is_some() || table.change.checked_add(1) != Some(change) {
            return None;
        }
        table.change = change;
        Some(table)
    }

    /// How far we know whom: what the other workers are to be told.
    pub(super) fn known(&self, now: Time) -> Vec<PresenceKnown> {
        let living = self.tables.iter().filter(|(_, table)| table.gone.is_none());
        living
            .map(|(run, table)| PresenceKnown {
                worker: run.0.clone(),
                incarnation: run.1,
                change: table.complete_up_to(),
                silent: if *run == self.own { Duration::ZERO } else { now.since(table.heard) }.into(),
                pulse: if *run == self.own { own_pulse(now) } else { table.pulse },
            })
            .collect()
    }

    /// The worker `from` says how far it knows whom. Who has gone, because their worker has started anew, is in the answer.
    pub(super) fn told(
        &mut self,
        now: Time,
        link: LinkId,
        from: &ServerId,
        known: Vec<PresenceKnown>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for PresenceKnown { worker, incarnation, change, silent, pulse } in known {
            let silent = Duration::from(silent);
            if worker == self.own.0 || silent >= self.silence {
                continue;
            }
            let (is_own, run) = (worker == *from, (worker, incarnation));
            if is_own {
                self.end(now, |other| other.0 == run.0 && other.1 != run.1, &mut changes);
            }
            let heard = Time::ZERO + now.since(Time::ZERO + silent);
            if !self.tables.contains_key(&run) && self.tables.len() == RUNS {
                continue;
            }
            let table = self.tables.entry(run).or_insert_with(|| Table::new(heard));
            // A worker of a version that does not number its words says 0.
            let is_news = pulse > table.pulse || pulse == 0;
            if table.gone.is_some_and(|gone| heard <= gone || !is_news) {
                continue;
            }
            table.gone = None;
            if is_news {
                table.heard = table.heard.max(heard);
                table.pulse = table.pulse.max(pulse);
            }
            table.offered(now, Offer { link, change, is_own, since: now });
        }
        changes
    }

    /// The next question and whom to ask, where one is to be asked. It counts as asked.
    pub(super) fn next(&mut self, now: Time) -> Option<(LinkId, Who)> {
        if self.asked.as_ref().is_some_and(|asked| now < asked.until) {
            return None;
        }
        self.asked = None;
        let mut tables = self.tables.iter_mut().filter(|(_, table)| table.gone.is_none());
        let (run, table, link) = tables.find_map(|(run, table)| {
            let link = table.whom_to_ask(now)?;
            Some((run, table, link))
        })?;
        let after = *table.unknown_after.get_or_insert(0);
        self.asked = Some(Asked { link, run: run.clone(), after, until: now + self.patience });
        Some((link, Who { after: Some(place(run, after)) }))
    }

    /// A page of a worker's clients, of some `bytes` in a message.
    pub(super) fn answer(&self, who: &Who, bytes: usize) -> WhoAnswer {
        let start = who.after.as_ref().map(|after| (after.worker.clone(), after.incarnation));
        let mut tables =
            self.tables.iter().filter(|(run, _)| start.as_ref().is_none_or(|start| start <= run));
        let Some((run, table)) = tables.next() else {
            let (worker, incarnation) = self.own.clone();
            return WhoAnswer { worker, incarnation, after: 0, change: 0, clients: Vec::new(), next: None };
        };
        let after = who.after.as_ref().filter(|_| start.as_ref() == Some(run)).map_or(0, |at| at.attachment);
        let mut left = bytes;
        let mut clients = Vec::new();
        let mut next = tables.next().map(|(run, _)| place(run, 0));
        for (attachment, client) in table.clients.range((Excluded(after), Included(u64::MAX))) {
            let Some(rest) = left.checked_sub(client.bytes()) else {
                next = clients.last().map(|last: &PresentClient| place(run, last.attachment));
                break;
            };
            left = rest;
            clients.push(client.present(*attachment));
        }
        let (worker, incarnation) = run.clone();
        WhoAnswer { worker, incarnation, after, change: table.complete_up_to(), clients, next }
    }

    /// A page has come over `link`. Returns who has come and gone by it.
    pub(super) fn answered(&mut self, link: LinkId, answer: WhoAnswer) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(asked) = self.asked.take_if(|asked| asked.link == link) else { return changes };
        let Some(table) = self.tables.get_mut(&asked.run).filter(|table| table.gone.is_none()) else {
            return changes;
        };
        let run = (answer.worker, answer.incarnation);
        let next = answer.next.filter(|next| (&next.worker, next.incarnation) == (&run.0, run.1));
        let next = next.map(|next| next.attachment);
        let is_answer = run == asked.run && answer.after == asked.after;
        // Else it knows less than we do, or nothing for certain, or leads round in circles: somebody else may do better.
        let is_good =
            answer.change > 0 && answer.change >= table.change && next.is_none_or(|next| next > asked.after);
        if !is_answer || !is_good {
            table.offer = None;
            return changes;
        }
        if asked.after == 0 {
            table.change = answer.change;
        }
        table.unknown_after = next;
        let mut before = split_behind(&mut table.clients, asked.after);
        if let Some(next) = next {
            table.clients.append(&mut split_behind(&mut before, next));
        }
        self.count -= before.len();
        for client in answer.clients {
            let (attachment, client) = Client::of(client);
            let is_within = attachment > asked.after && next.is_none_or(|next| attachment <= next);
            if !is_within || self.count >= PRESENT {
                continue;
            }
            if before.remove(&attachment).is_none() {
                changes.push(Change::Came(coming(&run, attachment, &client)));
            }
            self.count += usize::from(table.clients.insert(attachment, client).is_none());
        }
        let left = before.iter().map(|(attachment, client)| Change::Left(going(&run, *attachment, client)));
        changes.extend(left);
        changes
    }

    /// A link to another worker is gone.
    pub(super) fn lost(&mut self, link: LinkId) {
        self.asked.take_if(|asked| asked.link == link);
        for table in self.tables.values_mut() {
            table.offer.take_if(|offer| offer.link == link);
        }
    }

    /// A worker is gone for good. Returns who is gone with it.
    pub(super) fn removed(&mut self, now: Time, worker: &ServerId) -> Vec<Change> {
        let mut changes = Vec::new();
        if *worker != self.own.0 {
            self.end(now, |run| run.0 == *worker, &mut changes);
        }
        changes
    }

    /// Time has passed. Returns who is gone, because their worker was silent for too long.
    pub(super) fn sweep(&mut self, now: Time) -> Vec<Change> {
        let mut changes = Vec::new();
        let silent = |table: &Table| now.since(table.heard) >= self.silence;
        let gone: Vec<Run> =
            self.tables.iter().filter(|(_, table)| silent(table)).map(|(run, _)| run.clone()).collect();
        let own = self.own.clone();
        self.end(now, |run| *run != own && gone.contains(run), &mut changes);
        // Nobody speaks any more of what was said before it was gone.
        let forgotten = |table: &Table| table.gone.is_some_and(|gone| now.since(gone) >= self.silence);
        self.tables.retain(|_, table| !forgotten(table));
        changes
    }

    /// Everybody who is online, by place.
    pub(super) fn all(&self) -> impl Iterator<Item = (Place, &Username)> {
        self.tables.iter().flat_map(|(run, table)| {
            table.clients.iter().map(|(attachment, client)| (place(run, *attachment), &client.username))
        })
    }

    /// How many are online at each worker.
    pub(super) fn by_worker(&self) -> BTreeMap<ServerId, usize> {
        let mut count = BTreeMap::new();
        for ((worker, _), table) in &self.tables {
            *count.entry(worker.clone()).or_default() += table.clients.len();
        }
        count
    }

    /// Asserts that no more is kept than may be, and that `own` clients of this worker are online.
    pub(super) fn assert_bounds(&self, own: usize) {
        assert_eq!(self.tables[&self.own].clients.len(), own, "who is logged in is online");
        let count: usize = self.tables.values().map(|table| table.clients.len()).sum();
        assert_eq!(count, self.count, "all clients are counted");
        assert!(count <= PRESENT + own, "{count} clients are remembered");
        assert!(self.tables.len() <= RUNS, "{} workers are remembered", self.tables.len());
    }

    fn own_table(&mut self) -> &mut Table {
        self.tables.get_mut(&self.own).expect("it is there from the beginning")
    }

    /// These workers are gone.
    fn end(&mut self, now: Time, which: impl Fn(&Run) -> bool, changes: &mut Vec<Change>) {
        for (run, table) in self.tables.iter_mut().filter(|(run, _)| which(run)) {
            if table.gone.is_some() {
                continue;
            }
            let clients = std::mem::take(&mut table.clients);
            self.count -= clients.len();
            changes.extend(
                clients.iter().map(|(attachment, client)| Change::Left(going(run, *attachment, client))),
            );
            *table = Table { gone: Some(now), pulse: table.pulse, ..Table::new(table.heard) };
        }
    }
}

impl Table {
    /// Of a worker of which nothing is known yet.
    fn new(heard: Time) -> Self {
        Table {
            clients: BTreeMap::new(),
            change: 0,
            unknown_after: Some(0),
            heard,
            pulse: 0,
            gone: None,
            offer: None,
        }
    }

    /// Up to which change everything is known.
    fn complete_up_to(&self) -> u64 {
        if self.unknown_after.is_none() { self.change } else { 0 }
    }

    fn offered(&mut self, now: Time, offer: Offer) {
        if offer.is_own && offer.change == 0 {
            // Nobody has come there yet.
            self.unknown_after = None;
        }
        if offer.change == 0 || (self.unknown_after.is_none() && offer.change <= self.change) {
            return;
        }
        match &mut self.offer {
            Some(before) if before.change > self.change => {
                let since = before.since;
                // What a worker says of itself is worth more: what it says next comes the same way.
                if offer.is_own || !before.is_own {
                    *before = Offer { since, ..offer };
                }
            }
            before => *before = Some(Offer { since: now, ..offer }),
        }
    }

    /// Whom to ask now for what is not known. Others may have heard of a change a moment before us: they are asked when it has not come
    /// for a while.
    fn whom_to_ask(&self, now: Time) -> Option<LinkId> {
        let offer = self.offer?;
        let is_behind = self.unknown_after.is_some()
            || offer.change > self.change && (offer.is_own || now.since(offer.since) >= DIGEST / 2);
        is_behind.then_some(offer.link)
    }
}

impl Client {
    fn of(client: PresentClient) -> (u64, Client) {
        let PresentClient { attachment, username, session, since } = client;
        (attachment, Client { username, session, since })
    }

    fn present(&self, attachment: u64) -> PresentClient {
        let Client { username, session, since } = self.clone();
        PresentClient { attachment, username, session, since }
    }

    /// About how many bytes it takes in a message.
    fn bytes(&self) -> usize {
        120 + self.username.as_str().len()
    }
}

/// The clients behind this attachment.
fn split_behind(clients: &mut BTreeMap<u64, Client>, attachment: u64) -> BTreeMap<u64, Client> {
    attachment.checked_add(1).map_or_else(BTreeMap::new, |first| clients.split_off(&first))
}

/// The number of what this worker says of itself now: later words have higher numbers.
fn own_pulse(now: Time) -> u64 {
    u64::try_from(now.since(Time::ZERO).as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

fn place(run: &Run, attachment: u64) -> Place {
    Place { worker: run.0.clone(), incarnation: run.1, attachment }
}

fn attached(run: &Run, attachment: u64, client: &Client) -> Attached {
    Attached { place: place(run, attachment), session: client.session, since: client.since }
}

fn coming(run: &Run, attachment: u64, client: &Client) -> NewClient {
    let at = Some(attached(run, attachment, client));
    NewClient { username: client.username.clone(), load: None, at }
}

fn going(run: &Run, attachment: u64, client: &Client) -> ClientDisconnect {
    let at = attached(run, attachment, client);
    ClientDisconnect { username: client.username.clone(), at, change: 0 }
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
