//! Counting what our clients have received, telling other workers, and telling senders what became of what they published.

use common::id::LinkId;
use common::time::{Now, Time};
use common::wire::{ActivityAck, ActivitySuccInfo, DeliveryCount};

use super::deliveries::{Has, Reader};
use super::session::Session;
use super::{Actions, Link, Worker};

/// Counts in one ACTIVITY_SUCC_INFO: some 120 bytes each, far below what a line may have.
const COUNTS: usize = 4_000;

impl Worker {
    /// A client says how much it has received.
    pub(super) fn acknowledged(&mut self, now: Now, link: LinkId, ack: &ActivityAck, out: &mut Actions) {
        let end = self.deliveries.next_ordinal();
        let taken = match self.session(link).attachment_mut() {
            Some(attachment) => attachment.acknowledge(ack.received, end),
            None => Err("ACTIVITY_ACK before LOGIN was answered"),
        };
        if let Err(info) = taken {
            self.refuse(now, link, info, out);
        }
    }

    /// Counts what all who are to receive it have, where it is time to look.
    pub(super) fn count_deliveries(&mut self, now: Now, out: &mut Actions) {
        if self.deliveries.deadline().is_none_or(|at| at > now.time) {
            return;
        }
        let readers = self.links.values().filter_map(|link| match link {
            Link::Client(session) => reader(session),
            Link::Upstream | Link::Neighbour => None,
        });
        let counts = self.deliveries.look(now.time, readers);
        self.tell_counts(now, counts, out);
    }

    /// Counts what is left when nobody reads any more.
    pub(super) fn count_the_rest(&mut self, now: Now, out: &mut Actions) {
        let counts = self.deliveries.look(now.time, []);
        self.tell_counts(now, counts, out);
    }

    fn tell_counts(&mut self, now: Now, mut counts: Vec<DeliveryCount>, out: &mut Actions) {
        let (worker, incarnation) = (self.config.id.clone(), self.config.incarnation);
        self.reports.counted(now.time, &worker, &counts);
        while !counts.is_empty() {
            let rest = counts.split_off(counts.len().min(COUNTS));
            let info = ActivitySuccInfo { worker: worker.clone(), incarnation, counts };
            let info = self.encode(info);
            self.tell_all_neighbours(now, &info, out);
            counts = rest;
        }
    }

    /// A client reads no more: what it lacks it will not get from here.
    pub(super) fn stops_reading(&mut self, session: &Session) {
        if let Some(reader) = reader(session) {
            self.attached -= u64::from(reader.until.is_none());
            self.deliveries.left(reader);
        }
    }

    /// A capable client is told to go to another worker: what is appended from now on it is given there, and is not counted for it here, where
    /// it may have stopped reading.
    pub(super) fn sends_on(&mut self, link: LinkId) {
        let next = self.deliveries.next_ordinal();
        let attachment = self.session(link).attachment_mut().expect("it is logged in");
        if attachment.sent_on(next) {
            self.attached -= 1;
            self.ahead.left(link);
        }
    }

    /// Another worker says what became of activities there. What is news is passed on to those who may not hear it from there.
    pub(super) fn neighbour_counted(
        &mut self,
        now: Now,
        link: LinkId,
        info: ActivitySuccInfo,
        out: &mut Actions,
    ) {
        let ActivitySuccInfo { worker, incarnation, counts } = info;
        if worker == self.config.id {
            return;
        }
        let news: Vec<DeliveryCount> = self.reports.counted(now.time, &worker, &counts);
        if !news.is_empty() {
            let passed_on =
                self.encode(ActivitySuccInfo { worker: worker.clone(), incarnation, counts: news });
            let full = self.neighbours.relay(now.time, &passed_on, link, &worker);
            self.flush_neighbours(now, full, out);
        }
        self.send_reports(now, out);
    }

    /// When senders are to be told what became of what they published. Not while another process may bear our id: nobody fetches from us what
    /// we alone have then, so senders are to say it again elsewhere.
    pub(super) fn reports_deadline(&self) -> Option<Time> {
        let doubted = [self.waking, self.upstream.doubted_until()].into_iter().flatten().max();
        Some(self.reports.deadline()?.max(doubted.unwrap_or(Time::ZERO)))
    }

    /// Tells senders what is known of what they published.
    pub(super) fn send_reports(&mut self, now: Now, out: &mut Actions) {
        if self.reports_deadline().is_none_or(|at| at > now.time) {
            return;
        }
        for (session, report) in self.reports.due(now.time) {
            if let Some(link) = self.sessions.get(&session).copied() {
                self.reply(now, link, report, out);
            }
        }
    }

    /// Who can be reached may have changed: reports wait for them alone.
    pub(super) fn see_who_is_reachable(&mut self, now: Now) {
        let reachable = self.neighbours.reachable();
        let known = self.roster.reachable().map(|(id, _)| id.clone()).collect();
        self.reports.network(now.time, reachable, &known);
    }
}

/// A client that receives what is appended, and what it has of that.
fn reader(session: &Session) -> Option<Reader> {
    let attachment = session.attachment()?;
    let has = match attachment.acknowledged() {
        Some(ordinal) => Has::Acknowledged(ordinal),
        None => Has::Written(session.cursor()?),
    };
    Some(Reader { from: attachment.from?, until: attachment.until, has })
}
