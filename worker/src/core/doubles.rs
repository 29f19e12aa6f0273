//! Activities that have several ids, because their senders sent them again through other workers: which ids are one activity's.
//!
//! A worker delivers an activity under the id under which it came first, and another worker may have delivered it under another one. To
//! whoever got it there and comes here it is not missing, although a position, which is made of ids, looks as if it were; and who lacks it can
//! be given it under any of its ids. So workers that drop a second copy tell each other under which ids there is one.
//!
//! **Invariant.** What is remembered is bounded: of more than [`DOUBLES`] activities the one that has been known for longest is forgotten, and
//! of one activity [`IDS`] ids count.
//!
//! Not here: finding out that something has come before (`ordering`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::id::{ActivityId, Seq};
use common::limits::DOUBLES;
use common::position::{Position, StreamId};
use common::session::SessionId;
use common::wire::Double;

/// Ids of one activity: its sender has sent it through so many workers, or more, and its report never came.
const IDS: usize = 16;

/// Activities that are remembered from one run to the next: some 200 KB, written once a second while there are ever more.
const REMEMBERED: usize = 1_024;

/// What an activity is recognised by: the session that it was published in, and its number there.
pub(super) type Identity = (SessionId, Seq);

/// Which ids are one activity's.
#[derive(Debug, Default)]
pub(super) struct Doubles {
    known: BTreeMap<Identity, BTreeSet<ActivityId>>,
    /// Whose id each of these is.
    whose: BTreeMap<ActivityId, Identity>,
    /// In the order in which they became known.
    order: VecDeque<Identity>,
    /// Those of which it has not been looked up under which id they are in our log.
    sought: BTreeSet<Identity>,
    /// What other workers have not been told of.
    news: BTreeSet<Identity>,
}

impl Doubles {
    /// What an earlier run knew.
    pub(super) fn of(remembered: &[Double]) -> Self {
        let mut doubles = Doubles::default();
        for Double { session, activity_seq, ids } in remembered {
            doubles.learn((*session, *activity_seq), ids.iter().cloned());
        }
        doubles
    }

    /// An activity has `id` besides the one under which it is known here.
    pub(super) fn dropped(&mut self, activity: Identity, id: &ActivityId) {
        self.learn(activity, [id.clone()]);
    }

    /// An activity leaves the log, and it is not known that anybody else has it. Its sender may have sent it again elsewhere.
    pub(super) fn parted(&mut self, activity: Identity, id: ActivityId) {
        self.learn(activity, [id]);
        self.sought.remove(&activity);
    }

    /// Another worker says that these are ids of one activity.
    pub(super) fn learn(&mut self, activity: Identity, ids: impl IntoIterator<Item = ActivityId>) {
        let is_new = !self.known.contains_key(&activity);
        let known = self.known.entry(activity).or_default();
        for id in ids {
            if known.len() < IDS && known.insert(id.clone()) {
                self.whose.insert(id, activity);
                self.news.insert(activity);
            }
        }
        if is_new {
            self.sought.insert(activity);
            self.order.push_back(activity);
            if self.order.len() > DOUBLES {
                let oldest = self.order.pop_front().expect("there are many");
                let ids = self.known.remove(&oldest).expect("it is known");
                ids.iter().for_each(|id| _ = self.whose.remove(id));
                self.sought.remove(&oldest);
                self.news.remove(&oldest);
            }
        }
    }

    /// What is to be looked up in the log. To be called when that can be done: it is looked up once, but for what is `waiting` for its turn.
    pub(super) fn seek(&mut self, waiting: impl Fn(&Identity) -> bool) -> BTreeSet<Identity> {
        let (later, now) = std::mem::take(&mut self.sought).into_iter().partition(waiting);
        self.sought = later;
        now
    }

    /// What other workers are to be told of now: what has become known since this was asked last.
    pub(super) fn news(&mut self) -> Vec<Double> {
        std::mem::take(&mut self.news).iter().map(|activity| self.double(activity)).collect()
    }

    /// All that is known.
    pub(super) fn all(&self) -> Vec<Double> {
        self.known.keys().map(|activity| self.double(activity)).collect()
    }

    /// Those that became known last, for the next run.
    pub(super) fn latest(&self) -> Vec<Double> {
        let others = self.order.len().saturating_sub(REMEMBERED);
        self.order.range(others..).map(|activity| self.double(activity)).collect()
    }

    /// Takes of `lacking` what is in `has` under another id.
    pub(super) fn settle(&self, lacking: &mut Position, has: &Position) {
        for ids in self.within(lacking).filter(|ids| ids.iter().any(|id| has.contains(id))) {
            ids.iter().for_each(|id| lacking.remove(id));
        }
    }

    /// The other ids under which there is what is in `lacking`.
    pub(super) fn others(&self, lacking: &Position) -> Position {
        let mut others = Position::default();
        for ids in self.within(lacking) {
            ids.iter().for_each(|id| _ = others.insert(id));
        }
        others.without(lacking)
    }

    /// Asserts that no more is remembered than may be.
    pub(super) fn assert_bounds(&self) {
        assert!(self.known.len() <= DOUBLES, "{} activities with several ids", self.known.len());
        assert_eq!(self.known.len(), self.order.len(), "each is known once");
        let ids: usize = self.known.values().map(BTreeSet::len).sum();
        assert!(self.whose.len() <= ids, "{} ids of several", self.whose.len());
    }

    /// The ids of each activity of which one is in `position`.
    fn within(&self, position: &Position) -> impl Iterator<Item = &BTreeSet<ActivityId>> + use<'_> {
        let mut activities = BTreeSet::new();
        for (StreamId { origin, incarnation }, ranges) in position.streams() {
            let id = |seq| ActivityId { origin: origin.clone(), incarnation: *incarnation, seq: Seq(seq) };
            for (first, last) in ranges.iter() {
                activities.extend(self.whose.range(id(first)..=id(last)).map(|(_, activity)| *activity));
            }
        }
        activities.into_iter().map(|activity| &self.known[&activity])
    }

    fn double(&self, (session, activity_seq): &Identity) -> Double {
        let ids = self.known[&(*session, *activity_seq)].iter().cloned().collect();
        Double { session: *session, activity_seq: *activity_seq, ids }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ActivityId {
        let (origin, seq) = text.split_at(1);
        format!("{origin}/0000000000000001/{seq}").parse().unwrap()
    }

    fn position<const N: usize>(ids: [&str; N]) -> Position {
        let mut position = Position::default();
        ids.iter().for_each(|text| _ = position.insert(&id(text)));
        position
    }

    fn activity(number: u64) -> Identity {
        (SessionId(7), Seq(number))
    }

    #[test]
    fn what_somebody_has_under_another_id_is_not_lacking() {
        let mut doubles = Doubles::default();
        doubles.dropped(activity(1), &id("a1"));
        doubles.learn(activity(1), [id("b5")]);
        doubles.dropped(activity(2), &id("a2"));
        let mut lacking = position(["a1", "a2", "a3"]);
        doubles.settle(&mut lacking, &position(["b5"]));
        assert_eq!(lacking, position(["a2", "a3"]));
        doubles.settle(&mut lacking, &position(["b6"]));
        assert_eq!(lacking, position(["a2", "a3"]));
        assert_eq!(doubles.others(&position(["a1", "a3"])), position(["b5"]));
    }

    #[test]
    fn others_are_told_of_it_once_and_again_when_it_has_one_more_id() {
        let mut doubles = Doubles::default();
        doubles.dropped(activity(1), &id("a1"));
        assert_eq!(doubles.news().len(), 1);
        doubles.learn(activity(1), [id("a1")]);
        assert_eq!(doubles.news(), []);
        doubles.learn(activity(1), [id("b5"), id("a1")]);
        let double = Double { session: SessionId(7), activity_seq: Seq(1), ids: vec![id("a1"), id("b5")] };
        assert_eq!(doubles.news(), std::slice::from_ref(&double));
        assert_eq!(doubles.all(), [double]);
    }

    #[test]
    fn an_earlier_run_remembers_the_latest() {
        let mut doubles = Doubles::default();
        for number in 0..REMEMBERED as u64 + 5 {
            doubles.parted(activity(number), id(&format!("a{number}")));
        }
        assert_eq!(doubles.seek(|_| false), BTreeSet::new(), "it was there");
        let latest = doubles.latest();
        assert_eq!((latest.len(), latest[0].activity_seq), (REMEMBERED, Seq(5)));
        assert_eq!(Doubles::of(&latest).latest(), latest);
    }

    #[test]
    fn each_is_looked_up_once_when_it_does_not_wait_for_its_turn_any_more() {
        let mut doubles = Doubles::default();
        doubles.dropped(activity(1), &id("a1"));
        doubles.dropped(activity(2), &id("a2"));
        assert_eq!(doubles.seek(|sought| *sought == activity(2)), BTreeSet::from([activity(1)]));
        assert_eq!(doubles.seek(|_| false), BTreeSet::from([activity(2)]));
        assert_eq!(doubles.seek(|_| false), BTreeSet::new());
    }

    #[test]
    fn of_too_many_the_oldest_is_forgotten_and_of_too_many_ids_some() {
        let mut doubles = Doubles::default();
        for number in 0..2 * DOUBLES as u64 {
            doubles.dropped(activity(number), &id(&format!("a{number}")));
            doubles.assert_bounds();
        }
        assert_eq!(doubles.all().len(), DOUBLES);
        assert_eq!(doubles.others(&position(["a0"])), Position::default());
        let last = activity(2 * DOUBLES as u64 - 1);
        doubles.learn(last, (0..100).map(|seq| id(&format!("b{seq}"))));
        assert_eq!(doubles.known[&last].len(), IDS);
        assert_eq!((doubles.news().len(), doubles.seek(|_| false).len()), (DOUBLES, DOUBLES));
    }
}
