use common::id::Incarnation;
use proptest::prelude::*;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(5);

/// The reports of worker `a`, whose network consists of `known`, of which all are reachable but those in brackets.
fn reports_at_a(known: &str) -> Reports {
    let mut reports = Reports::new(Time::ZERO, worker("a"), TIMEOUT);
    set_network(&mut reports, 0, known);
    reports
}

fn set_network(reports: &mut Reports, millis: u64, known: &str) {
    let all = known.split_whitespace().map(|name| worker(name.trim_matches(['(', ')']))).collect();
    let reachable = known.split_whitespace().filter(|name| !name.starts_with('(')).map(worker).collect();
    reports.network(at(millis), reachable, &all);
}

fn worker(name: &str) -> ServerId {
    name.parse().unwrap()
}

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

/// `who` counts session 7's activities `first` to `last`. How many runs of it are news.
fn counted(
    reports: &mut Reports,
    millis: u64,
    who: &str,
    first: u64,
    last: u64,
    counts: (u64, u64),
) -> usize {
    let (client_count, succ_count) = counts;
    let (first, last) = (Seq(first), Seq(last));
    let taken_by = Incarnation(1);
    let count = DeliveryCount { session: SessionId(7), first, last, taken_by, client_count, succ_count };
    reports.counted(at(millis), &worker(who), &[count]).len()
}

fn owed(reports: &mut Reports, millis: u64, seqs: std::ops::RangeInclusive<u64>) {
    seqs.for_each(|seq| reports.owed(at(millis), SessionId(7), Seq(seq), false));
}

/// What is due now, as `first-last succ+fail=client durability -unreachable`.
fn due(reports: &mut Reports, millis: u64) -> String {
    let due = reports.due(at(millis));
    reports.assert_bounds();
    let text = |(_, report): &(SessionId, ActivitySendingReport)| {
        let ActivitySendingReport { activity_seq: last, client_count, succ_count, fail_count, .. } = report;
        let first = report.first_seq.unwrap_or(*last);
        let unreachable: String = report.unreachable.iter().map(|id| format!(" -{id}")).collect();
        let durability = format!("{:?}", report.durability).to_lowercase();
        format!("{first}-{last} {succ_count}+{fail_count}={client_count} {durability}{unreachable}")
    };
    due.iter().map(text).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_report_comes_when_every_reachable_worker_has_counted() {
    let mut reports = reports_at_a("a b c");
    owed(&mut reports, 0, 1..=3);
    assert_eq!(counted(&mut reports, 1, "a", 1, 3, (2, 2)), 1);
    assert_eq!(counted(&mut reports, 1, "b", 1, 3, (4, 3)), 1);
    assert_eq!(due(&mut reports, 5), "");
    counted(&mut reports, 6, "c", 1, 2, (1, 1));
    assert_eq!(reports.deadline(), Some(at(11)));
    assert_eq!(due(&mut reports, 11), "1-2 6+1=7 replicated");
    counted(&mut reports, 12, "c", 3, 3, (0, 0));
    assert_eq!(due(&mut reports, 17), "3-3 5+1=6 replicated");
    assert_eq!(due(&mut reports, 6_000), "", "each is reported once");
    assert_eq!(reports.deadline(), None);
}

#[test]
fn a_worker_that_is_alone_reports_at_once_and_says_that_only_it_has_it() {
    let mut reports = reports_at_a("a");
    owed(&mut reports, 0, 1..=1);
    counted(&mut reports, 1, "a", 1, 1, (2, 2));
    assert_eq!(due(&mut reports, 5), "1-1 2+0=2 local");
}

#[test]
fn a_worker_that_cannot_be_reached_is_named_and_not_waited_for() {
    let mut reports = reports_at_a("a b (c)");
    owed(&mut reports, 0, 1..=1);
    counted(&mut reports, 1, "a", 1, 1, (2, 2));
    counted(&mut reports, 1, "b", 1, 1, (1, 1));
    assert_eq!(due(&mut reports, 5), "1-1 3+0=3 replicated -c");
    set_network(&mut reports, 10, "a (b) (c)");
    owed(&mut reports, 10, 2..=2);
    counted(&mut reports, 11, "a", 2, 2, (2, 2));
    assert_eq!(due(&mut reports, 15), "2-2 2+0=2 local -b -c");
}

#[test]
fn nobody_waits_any_longer_for_a_worker_that_dies_meanwhile() {
    let mut reports = reports_at_a("a b c");
    owed(&mut reports, 0, 1..=1);
    counted(&mut reports, 1, "a", 1, 1, (2, 2));
    counted(&mut reports, 1, "b", 1, 1, (2, 2));
    assert_eq!(due(&mut reports, 100), "");
    set_network(&mut reports, 200, "a b (c)");
    assert_eq!(due(&mut reports, 205), "1-1 4+0=4 replicated -c");
}

/// It had it on disk, from just before it left, and so it never counted it: the sender heard nothing for five seconds.
#[test]
fn who_has_started_again_is_waited_for_only_for_a_moment() {
    let mut reports = reports_at_a("a b");
    reports.linked(at(0), &worker("b"), Incarnation(1));
    owed(&mut reports, 1_000, 1..=1);
    counted(&mut reports, 1_000, "a", 1, 1, (3, 3));
    reports.linked(at(1_200), &worker("b"), Incarnation(2));
    reports.sweep(at(2_100));
    assert_eq!(due(&mut reports, 2_105), "", "it may count what it fetches");
    reports.sweep(at(3_100));
    assert_eq!(due(&mut reports, 3_105), "1-1 3+0=3 local -b");
    owed(&mut reports, 4_000, 2..=2);
    counted(&mut reports, 4_000, "a", 2, 2, (3, 3));
    reports.sweep(at(6_100));
    assert_eq!(due(&mut reports, 6_105), "", "what was sent since then it will count");
}

/// In a rolling restart its sender came to the worker that had just started, and had the activity on its disk: it waited for its own count.
#[test]
fn a_worker_that_has_just_started_does_not_wait_for_what_it_never_counts() {
    let mut reports = reports_at_a("a b");
    reports.owed(at(100), SessionId(7), Seq(1), true);
    counted(&mut reports, 200, "b", 1, 1, (3, 3));
    assert_eq!(due(&mut reports, 205), "");
    reports.sweep(at(1_200));
    assert_eq!(due(&mut reports, 1_205), "1-1 3+0=3 local -a");
    reports.owed(at(11_000), SessionId(7), Seq(2), true);
    reports.sweep(at(13_000));
    assert_eq!(due(&mut reports, 13_005), "", "by now it has heard what others count");
}

/// One that was moved on every few seconds began to wait anew at every worker.
#[test]
fn who_sends_again_elsewhere_waits_no_longer_than_at_first() {
    let mut reports = reports_at_a("a b");
    counted(&mut reports, 1_000, "a", 1, 1, (3, 3));
    owed(&mut reports, 4_000, 1..=1);
    reports.sweep(at(5_100));
    assert_eq!(due(&mut reports, 5_105), "");
    reports.sweep(at(6_100));
    assert_eq!(due(&mut reports, 6_105), "1-1 3+0=3 local -b");
}

#[test]
fn a_slow_worker_is_named_at_the_time_out() {
    let mut reports = reports_at_a("a b c");
    owed(&mut reports, 100, 1..=2);
    counted(&mut reports, 110, "a", 1, 2, (2, 2));
    counted(&mut reports, 110, "b", 1, 1, (1, 1));
    assert_eq!(due(&mut reports, 115), "");
    assert_eq!(reports.deadline(), Some(at(5_100)));
    assert_eq!(due(&mut reports, 5_099), "");
    assert_eq!(due(&mut reports, 5_100), "1-1 3+0=3 replicated -c, 2-2 2+0=2 local -b -c");
}

#[test]
fn nothing_is_reported_before_our_own_count_but_at_the_time_out() {
    let mut reports = reports_at_a("a b");
    owed(&mut reports, 0, 1..=1);
    counted(&mut reports, 1, "b", 1, 1, (1, 1));
    assert_eq!(due(&mut reports, 4_999), "");
    assert_eq!(due(&mut reports, 5_000), "1-1 1+0=1 local -a");
}

#[test]
fn reports_are_in_order_also_where_a_later_activity_is_counted_first() {
    let mut reports = reports_at_a("a");
    owed(&mut reports, 0, 1..=2);
    counted(&mut reports, 1, "a", 2, 2, (1, 1));
    assert_eq!(due(&mut reports, 5), "");
    counted(&mut reports, 6, "a", 1, 1, (1, 1));
    assert_eq!(due(&mut reports, 11), "1-2 1+0=1 local");
}

#[test]
fn what_is_said_twice_or_passed_on_by_two_counts_once() {
    let mut reports = reports_at_a("a b");
    owed(&mut reports, 0, 1..=4);
    counted(&mut reports, 1, "a", 1, 4, (1, 1));
    assert_eq!(counted(&mut reports, 1, "b", 1, 2, (3, 3)), 1);
    assert_eq!(counted(&mut reports, 2, "b", 1, 2, (3, 3)), 0);
    assert_eq!(counted(&mut reports, 3, "b", 2, 4, (3, 3)), 1);
    assert_eq!(due(&mut reports, 6), "1-4 4+0=4 replicated");
}

#[test]
fn sent_again_at_another_worker_it_gets_the_same_report_though_the_first_has_died() {
    let [mut first, mut second] = ["a", "b"].map(|own| Reports::new(Time::ZERO, worker(own), TIMEOUT));
    for reports in [&mut first, &mut second] {
        set_network(reports, 0, "a b c");
        for (who, counts) in [("a", (3, 2)), ("b", (1, 1)), ("c", (1, 1))] {
            counted(reports, 1, who, 1, 1, counts);
        }
    }
    owed(&mut first, 0, 1..=1);
    assert_eq!(due(&mut first, 5), "1-1 4+1=5 replicated");
    set_network(&mut second, 2_000, "b c (a)");
    owed(&mut second, 2_000, 1..=1);
    assert_eq!(due(&mut second, 2_005), "1-1 4+1=5 replicated");
    set_network(&mut second, 30_000, "b c");
    second.detached(SessionId(7));
    owed(&mut second, 30_000, 1..=1);
    assert_eq!(due(&mut second, 30_005), "1-1 4+1=5 replicated");
}

#[test]
fn what_was_not_sent_is_not_reported() {
    let mut reports = reports_at_a("a");
    owed(&mut reports, 0, 1..=2);
    owed(&mut reports, 0, 5..=5);
    counted(&mut reports, 1, "a", 1, 9, (1, 1));
    assert_eq!(due(&mut reports, 5), "1-2 1+0=1 local, 5-5 1+0=1 local");
}

#[test]
fn who_has_left_is_told_nothing() {
    let mut reports = reports_at_a("a b");
    owed(&mut reports, 0, 1..=1);
    counted(&mut reports, 1, "a", 1, 1, (1, 1));
    reports.detached(SessionId(7));
    counted(&mut reports, 2, "b", 1, 1, (1, 1));
    assert_eq!(due(&mut reports, 6_000), "");
    assert_eq!(reports.deadline(), None);
}

#[derive(Clone, Debug)]
enum Step {
    Owed { session: u8 },
    Counted { who: usize, session: u8, first: u64, length: u64, clients: u64 },
    Detached { session: u8 },
    Reachable([bool; 3]),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let counted = (0..3usize, 0..2u8, 1..15u64, 1..8u64, 0..2u64);
    let step = prop_oneof![
        6 => (0..2u8).prop_map(|session| Step::Owed { session }),
        6 => counted.prop_map(|(who, session, first, length, clients)| {
            Step::Counted { who, session, first, length, clients }
        }),
        1 => (0..2u8).prop_map(|session| Step::Detached { session }),
        1 => any::<[bool; 3]>().prop_map(Step::Reachable),
        5 => (5..1_500u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..100)
}

/// Reports as one would make them by hand: every activity by itself, looked at whenever time passes.
#[derive(Default)]
struct ByHand {
    words: BTreeMap<(u8, u64), BTreeMap<usize, u64>>,
    /// When the first of these came.
    first: BTreeMap<(u8, u64), u64>,
    owed: [VecDeque<(u64, u64)>; 2],
    reachable: Vec<usize>,
}

impl ByHand {
    /// Session, number, client count, workers that counted, unreachable ones. What has been known of for longer than the time-out, and was
    /// sent later, may be reported already: it `is_told`.
    fn due(
        &mut self,
        millis: u64,
        is_told: impl Fn(u8, u64) -> bool,
    ) -> Vec<(u8, u64, u64, usize, Vec<usize>)> {
        let mut due = Vec::new();
        for session in 0..2u8 {
            while let Some((seq, sent)) = self.owed[usize::from(session)].front().copied() {
                let words = self.words.get(&(session, seq)).cloned().unwrap_or_default();
                let all = self.reachable.iter().all(|who| words.contains_key(who));
                let first = self.first.get(&(session, seq)).copied().unwrap_or(millis);
                let may_be_due = millis >= first + 5_000 && is_told(session, seq);
                if !all && millis < sent + 5_000 && !may_be_due {
                    break;
                }
                let unreachable = (0..3).filter(|who| !words.contains_key(who)).collect();
                due.push((session, seq, words.values().sum(), words.len(), unreachable));
                self.owed[usize::from(session)].pop_front();
            }
        }
        due
    }
}

proptest! {
    #[test]
    fn it_reports_what_one_would_report_by_hand(steps in steps()) {
        let names = ["a", "b", "c"];
        let (mut reports, mut by_hand) = (reports_at_a("a (b) (c)"), ByHand::default());
        by_hand.reachable = vec![0];
        let (mut millis, mut seqs) = (0, [0u64; 2]);
        for step in steps {
            match step {
                Step::Owed { session } => {
                    let seq = &mut seqs[usize::from(session)];
                    *seq += 1;
                    reports.owed(at(millis), SessionId(session.into()), Seq(*seq), false);
                    by_hand.owed[usize::from(session)].push_back((*seq, millis));
                }
                Step::Counted { who, session, first, length, clients } => {
                    let last = first + length - 1;
                    let count = DeliveryCount {
                        session: SessionId(session.into()),
                        first: Seq(first),
                        last: Seq(last),
                        taken_by: Incarnation(1),
                        client_count: clients,
                        succ_count: clients,
                    };
                    reports.counted(at(millis), &worker(names[who]), &[count]);
                    for seq in first..=last {
                        by_hand.words.entry((session, seq)).or_default().entry(who).or_insert(clients);
                        by_hand.first.entry((session, seq)).or_insert(millis);
                    }
                }
                Step::Detached { session } => {
                    reports.detached(SessionId(session.into()));
                    by_hand.owed[usize::from(session)].clear();
                    // It resumes at some activity that was perhaps reported.
                    seqs[usize::from(session)] /= 2;
                }
                Step::Reachable(which) => {
                    by_hand.reachable = (0..3).filter(|who| *who == 0 || which[*who]).collect();
                    let reachable = by_hand.reachable.iter().map(|who| worker(names[*who])).collect();
                    reports.network(at(millis), reachable, &names.into_iter().map(worker).collect());
                }
                Step::Wait(pause) => {
                    millis += pause;
                    let mut due = Vec::new();
                    for (session, report) in reports.due(at(millis)) {
                        prop_assert_eq!(report.fail_count, 0);
                        for seq in report.first_seq.unwrap_or(report.activity_seq).0..=report.activity_seq.0 {
                            let unreachable: Vec<usize> = report.unreachable.iter()
                                .map(|id| names.iter().position(|name| *name == id.as_str()).unwrap())
                                .collect();
                            let replicated = report.durability == Durability::Replicated;
                            due.push((session.0 as u8, seq, report.client_count, replicated, unreachable));
                        }
                    }
                    let is_told = |session, seq| due.iter().any(|told| (told.0, told.1) == (session, seq));
                    let expected: Vec<_> = by_hand.due(millis, is_told).into_iter()
                        .map(|(session, seq, clients, counted, missing)| (session, seq, clients, counted > 1, missing))
                        .collect();
                    prop_assert_eq!(due, expected);
                    reports.assert_bounds();
                }
            }
        }
    }
}
