//! A worker that starts asks others for what it missed before it takes clients. The wait is bounded, so that workers that all start at
//! once do not wait for each other for ever.

use std::time::Duration;

use common::machine::Action;
use common::time::{Now, Time};
use common::wire::ServerLoad;

use super::config::Limits;
use super::{Actions, Link, Worker};

/// How long workers that the coordinator lists have to connect, or to be connected to. One that is gone is not worth waiting for.
const LINKS: Duration = Duration::from_secs(1);

/// How long a worker takes nobody when it was told that another one bears its id, and lives: its clients would be on an island. Where no
/// coordinator is left to say so again, it takes them then.
const TAKEN: Duration = Duration::from_secs(60);

/// What a worker that starts waits for.
#[derive(Debug)]
pub(super) struct Recovery {
    /// When it takes clients whatever is missing.
    until: Time,
    /// Until when it waits for links to the other workers; none before it knows them.
    links_until: Option<Time>,
    /// That time has passed.
    waited: bool,
    /// Something came that belongs before what an earlier run left here.
    late: bool,
}

impl Recovery {
    /// A worker starts now.
    pub(super) fn new(now: Time, limits: &Limits) -> Self {
        Recovery { until: now + limits.recovery, links_until: None, waited: false, late: false }
    }

    /// A coordinator has said who the other workers are.
    pub(super) fn listed(&mut self, now: Time) {
        self.links_until.get_or_insert(now + LINKS);
    }

    /// A coordinator says that another worker bears our id.
    pub(super) fn id_is_taken(&mut self, now: Time) {
        self.until = self.until.max(now + TAKEN);
    }

    /// Something came late that an earlier run had, say, and its disk has lost.
    pub(super) fn came_late(&mut self) {
        self.late = true;
    }

    /// When to look again at the latest.
    pub(super) fn deadline(&self) -> Time {
        self.links_until.filter(|_| !self.waited).map_or(self.until, |links| links.min(self.until))
    }

    /// Whether it has heard of the others and waits for nobody to connect any more. `all_linked`: a link to every worker stands.
    pub(super) fn is_settled(&self, all_linked: bool) -> bool {
        self.waited || (self.links_until.is_some() && all_linked)
    }

    /// Whether it is over. `under_way`: somebody still has something for us, or what came waits for its turn. Who begins to listen here is
    /// told that everything lies behind it that lies in the log: what got there afterwards would be new to it, however old it is.
    fn is_over(&mut self, now: Time, all_linked: bool, under_way: bool) -> bool {
        self.waited |= self.links_until.is_some_and(|until| until <= now);
        now >= self.until || (self.is_settled(all_linked) && !under_way)
    }
}

impl Worker {
    /// Whether this worker takes clients.
    pub(super) fn is_recovering(&self) -> bool {
        self.recovery.is_some()
    }

    /// Ends the recovery when its time has come, and tells the coordinator. Says whether it did.
    pub(super) fn see_to_recovery(&mut self, now: Now, out: &mut Actions) -> bool {
        let all_linked = || self.roster.all_linked();
        let under_way = self.catch_up.is_under_way() || self.ordering.waits_since().is_some();
        let over = |recovery: &mut Recovery| recovery.is_over(now.time, all_linked(), under_way);
        let recovery = self.recovery.take_if(over);
        if let Some(recovery) = &recovery {
            self.flood.caught_up();
            if recovery.late {
                // Nobody has been given anything yet.
                self.log.put_in_order();
            }
            tracing::info!(holds = self.log.holds().len(), "caught up; taking clients");
            self.tell_load(now, out);
            // Who leaves just now may send its clients here.
            let digest = self.encode(self.digest(now));
            self.tell_all_neighbours(now, &digest, out);
            if std::mem::take(&mut self.flush_all) {
                out.push(Action::FlushAll);
            }
        }
        recovery.is_some()
    }

    /// Tells the coordinator how we are.
    pub(super) fn tell_load(&mut self, now: Now, out: &mut Actions) {
        let may_move = |link: &&Link| match link {
            Link::Client(session) => session.attachment().is_some_and(|client| client.may_move(now.time)),
            Link::Upstream | Link::Neighbour => false,
        };
        let movable = self.links.values().filter(may_move).count() as u64;
        let load = ServerLoad { load: self.load, movable, recovering: self.is_recovering() };
        self.tell_coordinator(now, load, out);
    }
}
