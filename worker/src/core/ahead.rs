//! Who has had what is yet to come: a client that comes from another worker may have been given there what this one does not know yet. When
//! it comes, that client is not counted for it: it was counted where it got it, and would be twice.
//!
//! **Invariant.** What is remembered is bounded. Beyond that, some are counted twice.
//!
//! Not here: what clients have been given here (`deliveries`), and what this worker has taken for past, which every client that comes has a
//! range of: when it comes after all, nobody is counted for it (`flood`).

use std::collections::BTreeMap;

use common::id::{ActivityId, LinkId};
use common::position::{Position, Ranges, StreamId};

/// Ranges that are remembered, of all clients together. Whoever forges positions costs no more than that.
const RANGES: usize = 65_536;

/// Ranges that are remembered of one client, of more the lowest as one. Who tells the truth has something of a few workers, and with gaps
/// where this one is catching up.
const CLIENT_RANGES: usize = 64;

/// What attached clients have had, and this worker has not given to anybody yet.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    streams: BTreeMap<StreamId, BTreeMap<LinkId, Ranges>>,
    len: usize,
}

impl Ahead {
    /// The client on `link` has had this.
    pub(super) fn joined(&mut self, link: LinkId, had: &Position) {
        let mut room = CLIENT_RANGES.min(RANGES.saturating_sub(self.len));
        for (stream, ranges) in had.streams() {
            if room == 0 {
                return;
            }
            let mut ranges = ranges.clone();
            // What lies between them mostly has come here, and is not given again.
            ranges.bound(room);
            self.len += ranges.len();
            room -= ranges.len();
            self.streams.entry(stream.clone()).or_default().insert(link, ranges);
        }
    }

    /// The client is gone.
    pub(super) fn left(&mut self, link: LinkId) {
        if self.len > 0 {
            self.retain(|client, _| *client != link);
        }
    }

    /// The activity is given to everybody now. Returns how many have had it.
    pub(super) fn given(&mut self, id: &ActivityId) -> u64 {
        if self.len == 0 {
            return 0;
        }
        let stream = StreamId::from(id);
        let Some(clients) = self.streams.get_mut(&stream) else { return 0 };
        let mut had = 0;
        for ranges in clients.values_mut().filter(|ranges| ranges.contains(id.seq.0)) {
            let before = ranges.len();
            ranges.remove(id.seq.0, id.seq.0);
            self.len = self.len - before + ranges.len();
            had += 1;
        }
        if had > 0 {
            clients.retain(|_, ranges| !ranges.is_empty());
            if clients.is_empty() {
                self.streams.remove(&stream);
            }
        }
        had
    }

    fn retain(&mut self, mut keep: impl FnMut(&LinkId, &Ranges) -> bool) {
        for clients in self.streams.values_mut() {
            clients.retain(|link, ranges| keep(link, ranges));
        }
        self.streams.retain(|_, clients| !clients.is_empty());
        self.len = self.streams.values().flat_map(BTreeMap::values).map(Ranges::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn each_is_told_once_how_many_had_it_who_are_still_here() {
        let mut keys = SlotMap::<LinkId, ()>::with_key();
        let (one, other) = (keys.insert(()), keys.insert(()));
        let mut ahead = Ahead::default();
        let id = |seq: u64| format!("a/0000000000000001/{seq}").parse().unwrap();
        assert_eq!(ahead.given(&id(3)), 0);
        ahead.joined(one, &"a/0000000000000001/3-5,b/0000000000000001/0".parse().unwrap());
        ahead.joined(other, &"a/0000000000000001/5".parse().unwrap());
        assert_eq!([5, 5, 3, 2].map(|seq| ahead.given(&id(seq))), [2, 0, 1, 0]);
        ahead.left(one);
        assert_eq!((ahead.given(&id(4)), ahead.len, ahead.streams.len()), (0, 0, 0));
    }

    #[test]
    fn forged_positions_cost_little() {
        let mut keys = SlotMap::<LinkId, ()>::with_key();
        let mut ahead = Ahead::default();
        for number in 0..2 * RANGES / 4 {
            ahead.joined(
                keys.insert(()),
                &format!("a/{number:016x}/0+2+4+6-1152921504606846976").parse().unwrap(),
            );
        }
        assert_eq!(ahead.len, RANGES);
    }

    #[test]
    fn who_forges_does_not_have_others_counted_twice() {
        let mut keys = SlotMap::<LinkId, ()>::with_key();
        let mut ahead = Ahead::default();
        for client in 0..16 {
            let streams = (0..4_096).map(|number| format!("a/{:016x}/0", client * 4_096 + number));
            ahead.joined(keys.insert(()), &streams.collect::<Vec<_>>().join(",").parse().unwrap());
        }
        ahead.joined(keys.insert(()), &"b/0000000000000001/7".parse().unwrap());
        assert_eq!(ahead.given(&"b/0000000000000001/7".parse().unwrap()), 1, "it was counted elsewhere");
    }
    /// A worker that is catching up has seen this and that of a stream, and whoever comes has had the rest: many ranges.
    #[test]
    fn who_is_ahead_of_a_worker_with_many_gaps_is_not_counted_twice() {
        let mut keys = SlotMap::<LinkId, ()>::with_key();
        let mut ahead = Ahead::default();
        let had: Vec<String> = (0..1_000).map(|number| (2 * number).to_string()).collect();
        ahead.joined(keys.insert(()), &format!("a/0000000000000001/{}", had.join("+")).parse().unwrap());
        for number in 0..1_000 {
            assert_eq!(ahead.given(&format!("a/0000000000000001/{}", 2 * number).parse().unwrap()), 1);
        }
    }
}
