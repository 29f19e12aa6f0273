use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::core::log::Log;

const PATIENCE: Duration = Duration::from_secs(4);

/// Deliveries of a log of ten-byte frames.
struct Bench {
    deliveries: Deliveries,
    log: Log,
}

impl Bench {
    fn new() -> Self {
        Bench { deliveries: Deliveries::new(PATIENCE), log: Log::new(1 << 20) }
    }

    fn append(&mut self, millis: u64, session: u128, seq: u64, attached: u64) {
        self.log.append_line(b"123456789\n");
        let key = (SessionId(session), Seq(seq));
        self.deliveries.appended(at(millis), key, Incarnation(1), attached, self.log.end());
    }

    /// What is counted now, as `session:first-last succ/client`.
    fn look(&mut self, millis: u64, readers: &[Reader]) -> String {
        let counts = self.deliveries.look(at(millis), readers.iter().copied());
        self.deliveries.assert_bounds();
        let text = |count: &DeliveryCount| {
            let DeliveryCount { session, first, last, client_count, succ_count, .. } = count;
            format!("{}:{first}-{last} {succ_count}/{client_count}", session.0)
        };
        counts.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

fn acknowledged(from: u64, below: u64) -> Reader {
    Reader { from: Ordinal(from), until: None, has: Has::Acknowledged(Ordinal(below)) }
}

fn written(from: u64, bytes: usize) -> Reader {
    Reader { from: Ordinal(from), until: None, has: Has::Written(Log::new(1).end().plus(bytes)) }
}

#[test]
fn what_everybody_has_is_counted_at_the_next_look() {
    let mut bench = Bench::new();
    assert_eq!(bench.deliveries.deadline(), None);
    for seq in 1..=3 {
        bench.append(0, 7, seq, 2);
    }
    assert_eq!(bench.deliveries.deadline(), Some(at(5)));
    assert_eq!(bench.look(5, &[acknowledged(0, 3), written(0, 30)]), "7:1-3 2/2");
    assert_eq!(bench.deliveries.deadline(), None);
}

#[test]
fn a_classic_client_has_a_frame_when_its_last_byte_is_written() {
    let mut bench = Bench::new();
    bench.append(0, 7, 1, 1);
    bench.append(0, 7, 2, 1);
    assert_eq!(bench.look(5, &[written(0, 9)]), "");
    assert_eq!(bench.look(15, &[written(0, 19)]), "7:1-1 1/1");
    assert_eq!(bench.look(20, &[written(0, 20)]), "7:2-2 1/1");
}

#[test]
fn a_client_that_dies_unread_failed_to_receive_what_it_lacked_and_nothing_else() {
    let mut bench = Bench::new();
    bench.append(0, 7, 1, 2);
    bench.append(0, 7, 2, 2);
    bench.deliveries.left(acknowledged(0, 1));
    bench.append(1, 7, 3, 1);
    assert_eq!(bench.look(5, &[acknowledged(0, 3)]), "7:1-1 2/2, 7:2-2 1/2, 7:3-3 1/1");
}

#[test]
fn one_that_attaches_later_is_neither_counted_nor_waited_for() {
    let mut bench = Bench::new();
    bench.append(0, 7, 1, 1);
    let from = bench.deliveries.next_ordinal();
    assert_eq!(from, Ordinal(1));
    // It is still being sent what it had missed.
    let later = Reader { from, until: None, has: Has::Acknowledged(Ordinal(0)) };
    assert_eq!(bench.look(5, &[acknowledged(0, 1), later]), "7:1-1 1/1");
    bench.append(6, 7, 2, 2);
    assert_eq!(bench.look(11, &[acknowledged(0, 2), later]), "");
    bench.deliveries.left(later);
    assert_eq!(bench.look(20, &[acknowledged(0, 2)]), "7:2-2 1/2");
}

/// One session that read everything and acknowledged nothing delayed the reports of all others to four seconds, for as long as it stayed.
#[test]
fn whoever_has_missed_the_time_is_not_waited_for_again_before_it_has_caught_up() {
    let mut bench = Bench::new();
    for slow in [acknowledged(0, 0), written(0, 5)] {
        bench = Bench::new();
        bench.append(0, 7, 1, 2);
        assert_eq!(bench.look(4_000, &[acknowledged(0, 1), slow]), "7:1-1 1/2");
        bench.append(4_500, 7, 2, 2);
        assert_eq!(bench.look(4_600, &[acknowledged(0, 2), slow]), "", "it may be about to say so");
        assert_eq!(bench.look(5_200, &[acknowledged(0, 2), slow]), "7:2-2 1/2");
        bench.append(6_000, 7, 3, 2);
        assert_eq!(bench.look(6_005, &[acknowledged(0, 2), slow]), "", "others are waited for");
        assert_eq!(bench.look(6_010, &[acknowledged(0, 3), slow]), "7:3-3 1/2");
        bench.deliveries.left(slow);
    }
    // It catches up, and is waited for again.
    let mut slow = acknowledged(0, 3);
    bench.append(6_100, 7, 4, 2);
    assert_eq!(bench.look(7_500, &[acknowledged(0, 4), slow]), "");
    slow = acknowledged(0, 4);
    assert_eq!(bench.look(7_600, &[acknowledged(0, 4), slow]), "7:4-4 2/2");
}

#[test]
fn a_slow_one_is_waited_for_and_then_counted_as_it_stands() {
    let mut bench = Bench::new();
    bench.append(0, 7, 1, 2);
    bench.append(0, 7, 2, 2);
    bench.append(100, 7, 3, 2);
    let slow = [acknowledged(0, 3), acknowledged(0, 1)];
    assert_eq!(bench.look(200, &slow), "7:1-1 2/2");
    assert_eq!(bench.look(3_999, &slow), "");
    assert_eq!(bench.look(4_000, &slow), "7:2-2 1/2");
    // What it acknowledges too late changes nothing; what it leaves behind is counted once.
    bench.deliveries.left(acknowledged(0, 1));
    assert_eq!(bench.look(4_005, &slow[..1]), "7:3-3 1/2");
}

#[test]
fn while_somebody_is_waited_for_looks_become_rarer() {
    let mut bench = Bench::new();
    bench.append(0, 7, 1, 1);
    let mut looks = 0;
    while let Some(next) = bench.deliveries.deadline() {
        bench.look((next.as_micros()) / 1_000, &[acknowledged(0, 0)]);
        looks += 1;
    }
    assert!((80..90).contains(&looks), "{looks} looks in four seconds");
    bench.append(5_000, 7, 2, 1);
    assert_eq!(bench.deliveries.deadline(), Some(at(5_005)));
}

#[test]
fn the_runs_of_those_who_publish_at_once_are_joined_each() {
    let mut bench = Bench::new();
    for seq in 1..=50 {
        bench.append(0, 7, seq, 1);
        bench.append(0, 8, seq, 1);
    }
    assert_eq!(bench.look(5, &[acknowledged(0, 100)]), "7:1-50 1/1, 8:1-50 1/1");
}

#[test]
fn more_than_may_wait_is_counted_as_it_stands() {
    let mut bench = Bench::new();
    for seq in 1..=UNCOUNTED as u64 + 3 {
        bench.append(0, 7, seq, 2);
    }
    assert_eq!(bench.look(5, &[acknowledged(0, 2), acknowledged(0, 9)]), "7:1-2 2/2, 7:3-3 1/2");
}

#[test]
fn one_that_acknowledges_what_was_never_sent_has_no_more_than_there_is() {
    let mut bench = Bench::new();
    bench.append(0, 7, 1, 1);
    let forward = acknowledged(0, u64::MAX);
    assert_eq!(bench.look(5, &[forward]), "7:1-1 1/1");
    bench.deliveries.left(forward);
    bench.append(6, 7, 2, 0);
    assert_eq!(bench.look(11, &[]), "7:2-2 0/0");
}

/// A drain of a healthy worker had its clients counted as having failed to receive what came while they went: it was given them where they
/// went to.
#[test]
fn what_comes_after_a_client_was_sent_on_is_not_counted_for_it_here() {
    let mut bench = Bench::new();
    bench.append(0, 7, 1, 2);
    let stays = |has| acknowledged(0, has);
    let goes = |has| Reader { until: Some(Ordinal(1)), ..acknowledged(0, has) };
    bench.append(1, 7, 2, 1);
    assert_eq!(bench.look(5, &[stays(2), goes(0)]), "", "the first one is for it");
    assert_eq!(bench.look(10, &[stays(2), goes(1)]), "7:1-1 2/2, 7:2-2 1/1");
    bench.append(11, 7, 3, 1);
    bench.deliveries.left(goes(1));
    assert_eq!(bench.look(16, &[stays(3)]), "7:3-3 1/1");
}

#[derive(Clone, Debug)]
enum Step {
    Attach { can_acknowledge: bool },
    Leave(usize),
    SendOn(usize),
    Append { session: u8 },
    Receive { reader: usize, bytes: usize },
    Look,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => any::<bool>().prop_map(|can_acknowledge| Step::Attach { can_acknowledge }),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => any::<usize>().prop_map(Step::SendOn),
        6 => (0..3u8).prop_map(|session| Step::Append { session }),
        6 => (any::<usize>(), 0..45usize).prop_map(|(reader, bytes)| Step::Receive { reader, bytes }),
        2 => Just(Step::Look),
        2 => (0..2_500u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..80)
}

/// A reader as one would count it by hand: how many bytes from which frame on.
#[derive(Clone, Debug)]
struct Client {
    name: usize,
    can_acknowledge: bool,
    from: usize,
    until: Option<usize>,
    bytes: usize,
}

impl Client {
    fn has(&self, frame: usize) -> bool {
        frame < self.from + self.bytes / 10
    }

    fn reader(&self) -> Reader {
        let reader = match self.can_acknowledge {
            true => acknowledged(self.from as u64, (self.from + self.bytes / 10) as u64),
            false => written(self.from as u64, self.from * 10 + self.bytes),
        };
        Reader { until: self.until.map(|until| Ordinal(until as u64)), ..reader }
    }
}

/// An activity as one would count it by hand: what has become of it with each client that was attached.
#[derive(Debug)]
struct Frame {
    key: (SessionId, Seq),
    appended: u64,
    /// None: still attached.
    clients: BTreeMap<usize, Option<bool>>,
    counted: bool,
}

proptest! {
    #[test]
    fn it_counts_what_one_would_count_by_hand(steps in steps()) {
        let (mut bench, mut millis) = (Bench::new(), 0);
        let (mut clients, mut frames, mut seqs) = (Vec::<Client>::new(), Vec::<Frame>::new(), [0; 3]);
        // When it was looked, and how many had been counted by then.
        let mut looks = Vec::<(u64, usize)>::new();
        for (name, step) in steps.into_iter().enumerate() {
            match step {
                Step::Attach { can_acknowledge } => {
                    clients.push(Client { name, can_acknowledge, from: frames.len(), until: None, bytes: 0 });
                }
                Step::Leave(index) if !clients.is_empty() => {
                    let client = clients.swap_remove(index % clients.len());
                    bench.deliveries.left(client.reader());
                    for (index, frame) in frames.iter_mut().enumerate() {
                        frame.clients.entry(client.name).and_modify(|fate| *fate = Some(client.has(index)));
                    }
                }
                Step::SendOn(index) if !clients.is_empty() => {
                    let index = index % clients.len();
                    clients[index].until.get_or_insert(frames.len());
                }
                Step::Append { session } => {
                    let seq = &mut seqs[usize::from(session)];
                    *seq += 1;
                    let counted = clients.iter().filter(|client| client.until.is_none());
                    let attached: BTreeMap<_, _> = counted.map(|client| (client.name, None)).collect();
                    let key = (SessionId(session.into()), Seq(*seq));
                    bench.append(millis, session.into(), *seq, attached.len() as u64);
                    frames.push(Frame { key, appended: millis, clients: attached, counted: false });
                }
                Step::Receive { reader, bytes } if !clients.is_empty() => {
                    let index = reader % clients.len();
                    let client = &mut clients[index];
                    client.bytes = (client.bytes + bytes).min((frames.len() - client.from) * 10);
                }
                Step::Look => {
                    let mark = looks.iter().rfind(|(look, _)| look + 1_000 <= millis).map(|(_, first)| *first);
                    let is_behind = |client: &Client| {
                        mark.is_some_and(|first| client.from < first && !client.has(first - 1))
                    };
                    let counts =
                        bench.deliveries.look(at(millis), clients.iter().map(Client::reader));
                    bench.deliveries.assert_bounds();
                    let mut counted = BTreeMap::new();
                    for count in counts {
                        for seq in count.first.0..=count.last.0 {
                            let counts = (count.client_count, count.succ_count);
                            prop_assert_eq!(counted.insert((count.session, Seq(seq)), counts), None);
                        }
                    }
                    let (mut expected, mut in_order) = (BTreeMap::new(), true);
                    for (index, frame) in frames.iter_mut().enumerate().filter(|(_, frame)| !frame.counted) {
                        let has = |name: &usize| {
                            clients.iter().any(|client| client.name == *name && client.has(index))
                        };
                        let is_waited_for = |name: &usize| {
                            clients.iter().any(|client| client.name == *name && !is_behind(client))
                        };
                        let fate = |(name, fate): (&usize, &Option<bool>)| {
                            fate.or(has(name).then_some(true)).or((!is_waited_for(name)).then_some(false))
                        };
                        let fates: Vec<_> = frame.clients.iter().map(fate).collect();
                        in_order &= fates.iter().all(Option::is_some);
                        if frame.appended + 4_000 <= millis || in_order {
                            frame.counted = true;
                            let have = fates.iter().filter(|fate| **fate == Some(true)).count();
                            expected.insert(frame.key, (fates.len() as u64, have as u64));
                        }
                    }
                    prop_assert_eq!(counted, expected);
                    if looks.last().is_none_or(|(last, _)| last + 100 <= millis) {
                        looks.push((millis, frames.iter().filter(|frame| frame.counted).count()));
                    }
                }
                Step::Wait(pause) => millis += pause,
                Step::Leave(_) | Step::SendOn(_) | Step::Receive { .. } => {}
            }
        }
    }
}
