//! Sessions of our own client that publish and write down everything they are told, and what must hold of what they wrote down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::{Client, Event, Options, Report};
use common::wire::{Address, Durability};
use serde::Deserialize;
use serde_json::json;

use super::eventually;

/// An activity of one of the audience: who published it, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Tag {
    /// The place of its publisher.
    p: usize,
    /// The number among that one's, from 1.
    n: u64,
    /// When it was published, in microseconds of the audience's clock.
    t: u64,
}

/// What one session was told.
#[derive(Debug, Default)]
struct Diary {
    received: Vec<(Tag, bool)>,
    /// Whose activity took how long from publication to arrival, in microseconds.
    latencies: Vec<(usize, u64)>,
    reports: Vec<(Instant, Report)>,
    gaps: Vec<String>,
    lost_at: Option<Instant>,
    /// How long it was away, each time, and since when.
    absences: Vec<(Instant, Duration)>,
    workers: Vec<String>,
}

/// Where sessions are.
pub struct Place {
    /// The coordinators that they know, in order.
    pub coordinators: Vec<Address>,
    /// What brings a thread there.
    pub enter: Box<dyn FnOnce() + Send>,
}

/// Sessions, the first of which publish.
#[derive(Debug)]
pub struct Audience {
    diaries: Vec<Arc<Mutex<Diary>>>,
    publishers: usize,
    published: Arc<Mutex<BTreeMap<(usize, u64), Instant>>>,
    stop: Arc<AtomicBool>,
    hush: Arc<AtomicBool>,
    /// One a place, with what ends it.
    runtimes: Vec<(tokio::runtime::Handle, Arc<tokio::sync::Notify>)>,
    began: Instant,
}

/// What was seen in all.
#[derive(Debug)]
pub struct Findings {
    /// Activities that were published.
    pub published: u64,
    /// Activities that arrived, at all sessions together.
    pub deliveries: u64,
    /// Those that came late.
    pub late: u64,
    /// Activities whose report named somebody unreachable.
    pub reports_with_unreachable: u64,
    /// Activities whose report said that one worker holds them.
    pub local: u64,
    /// How long sessions were away, sorted.
    pub absences: Vec<Duration>,
    /// From publication to arrival at sessions of the same place, sorted.
    pub latencies: Vec<Duration>,
    /// From publication to report, the longest.
    pub slowest_report: Duration,
}

impl Audience {
    /// Opens `size` sessions at the coordinators, and waits until all of them are live. The first `publishers` of them publish.
    ///
    /// # Panics
    /// When one cannot be opened.
    pub fn open(coordinators: &[Address], size: usize, publishers: usize) -> Self {
        Audience::open_at(
            vec![Place { coordinators: coordinators.to_vec(), enter: Box::new(|| ()) }],
            size,
            publishers,
        )
    }

    /// The same, with the sessions at these places in turn.
    ///
    /// # Panics
    /// When one cannot be opened.
    pub fn open_at(places: Vec<Place>, size: usize, publishers: usize) -> Self {
        let diaries: Vec<Arc<Mutex<Diary>>> = (0..size).map(|_| Arc::default()).collect();
        let mut audience = Audience {
            diaries,
            publishers,
            published: Arc::default(),
            stop: Arc::default(),
            hush: Arc::new(AtomicBool::new(true)),
            began: Instant::now(),
            runtimes: Vec::new(),
        };
        let live = Arc::new(Mutex::new(0));
        let count = places.len();
        for (number, place) in places.into_iter().enumerate() {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            let (handle, end) = (runtime.handle().clone(), Arc::new(tokio::sync::Notify::new()));
            let until = end.clone();
            std::thread::spawn(move || {
                (place.enter)();
                runtime.block_on(until.notified());
                runtime.shutdown_background();
            });
            for seat in (number..size).step_by(count) {
                audience.seat(&handle, seat, &place.coordinators, live.clone());
            }
            audience.runtimes.push((handle, end));
        }
        eventually("all sessions are live", || *live.lock().unwrap() == size);
        audience
    }

    fn seat(
        &self,
        runtime: &tokio::runtime::Handle,
        seat: usize,
        coordinators: &[Address],
        live: Arc<Mutex<usize>>,
    ) {
        let mut options = Options::new(coordinators[0].clone());
        for other in &coordinators[1..] {
            options = options.or_at(other.clone());
        }
        let (diary, stop, began) = (self.diaries[seat].clone(), self.stop.clone(), self.began);
        runtime.spawn(async move {
            let mut client = Client::connect(options).await.expect("a session opens");
            PUBLISHERS.lock().unwrap().push((began, seat, client.publisher()));
            *live.lock().unwrap() += 1;
            while let Some(event) = client.event().await {
                diary.lock().unwrap().note(event, began);
                if stop.load(Relaxed) {
                    break;
                }
            }
        });
    }

    /// Waits until everybody has received all that was published before `moment`, and says how long that took.
    pub fn await_all_before(&self, moment: Instant) -> Duration {
        let began = Instant::now();
        let before: BTreeSet<(usize, u64)> = self
            .published
            .lock()
            .unwrap()
            .iter()
            .filter(|(_, at)| **at < moment)
            .map(|(tag, _)| *tag)
            .collect();
        eventually("everybody has received what was published before", || {
            self.diaries.iter().all(|diary| {
                let diary = diary.lock().unwrap();
                let received: BTreeSet<_> = diary.received.iter().map(|(tag, _)| (tag.p, tag.n)).collect();
                before.is_subset(&received)
            })
        });
        began.elapsed()
    }

    /// Publishes `rate` activities a second, all publishers together, while `story` goes on.
    pub fn publish<T>(&self, rate: u64, story: impl FnOnce() -> T) -> T {
        self.hush.store(false, Relaxed);
        let each = Duration::from_secs(self.publishers as u64).div_f64(rate as f64);
        for (began, place, publisher) in PUBLISHERS.lock().unwrap().iter() {
            if *began != self.began || *place >= self.publishers {
                continue;
            }
            let (p, publisher, hush, published) =
                (*place, publisher.clone(), self.hush.clone(), self.published.clone());
            let began = self.began;
            let (runtime, _) = &self.runtimes[p % self.runtimes.len()];
            runtime.spawn(async move {
                let mut ticks = tokio::time::interval(each);
                for n in 1.. {
                    ticks.tick().await;
                    if hush.load(Relaxed) {
                        return;
                    }
                    let now = Instant::now();
                    published.lock().unwrap().insert((p, n), now);
                    let t = began.elapsed().as_micros() as u64;
                    publisher.publish(&json!({"p": p, "n": n, "t": t})).await.expect("the session lasts");
                }
            });
        }
        let told = story();
        self.hush.store(true, Relaxed);
        told
    }

    /// Waits until everything that was published has been reported and received, and says what was seen. At most `guests` others received
    /// it too. `healthy`: nothing went wrong meanwhile, so that reports are exact.
    ///
    /// # Panics
    /// When something came twice or out of order, is missing, or was reported falsely.
    pub fn conclude(self, healthy: bool, guests: u64) -> Findings {
        let published = self.published.lock().unwrap().clone();
        let reported = |diary: &Diary| -> u64 {
            diary.reports.iter().map(|(_, report)| report.last.0 - report.first.0 + 1).sum()
        };
        let all = published.len() as u64;
        let complete = || {
            let reports: u64 = self.diaries.iter().map(|diary| reported(&diary.lock().unwrap())).sum();
            let received = self.diaries.iter().map(|diary| diary.lock().unwrap().received.len() as u64).min();
            (reports, received.unwrap_or_default())
        };
        let done = super::comes_true(|| complete() == (all, all));
        let (reports, least) = complete();
        self.stop.store(true, Relaxed);
        PUBLISHERS.lock().unwrap().retain(|(began, _, _)| *began != self.began);
        self.runtimes.iter().for_each(|(_, end)| end.notify_one());
        let mut findings = Findings {
            published: all,
            deliveries: 0,
            late: 0,
            reports_with_unreachable: 0,
            local: 0,
            absences: Vec::new(),
            latencies: Vec::new(),
            slowest_report: Duration::ZERO,
        };
        let mut holders: BTreeMap<(usize, u64), u64> = BTreeMap::new();
        let mut incomplete = Vec::new();
        for (place, diary) in self.diaries.iter().enumerate() {
            let diary = diary.lock().unwrap();
            let mut last: BTreeMap<usize, u64> = BTreeMap::new();
            let mut seen = BTreeSet::new();
            for (tag, late) in &diary.received {
                assert!(seen.insert((tag.p, tag.n)), "session {place} received {tag:?} twice");
                *holders.entry((tag.p, tag.n)).or_default() += 1;
                let before = last.entry(tag.p).or_default();
                assert!(*late || tag.n > *before, "session {place} received {tag:?} after {before}");
                *before = tag.n.max(*before);
                findings.late += u64::from(*late);
            }
            let mut missing: Vec<_> = published.keys().filter(|tag| !seen.contains(tag)).collect();
            if !missing.is_empty() {
                let all = missing.len();
                missing.truncate(5);

                incomplete.push(format!("session {place}: {all}, {missing:?} … (gaps: {:?})", diary.gaps));
            }
            findings.deliveries += diary.received.len() as u64;
            findings.absences.extend(diary.absences.iter().map(|(_, away)| *away));
            let places = self.runtimes.len();
            let near = diary.latencies.iter().filter(|(p, _)| p % places == place % places);
            findings.latencies.extend(near.map(|(_, micros)| Duration::from_micros(*micros)));
        }
        assert!(incomplete.is_empty(), "never received:\n{}", incomplete.join("\n"));
        assert!(done, "{reports} of {all} were reported, and some session has {least}");
        for (place, diary) in self.diaries.iter().enumerate() {
            for (at, report) in &diary.lock().unwrap().reports {
                let count = report.last.0 - report.first.0 + 1;
                findings.reports_with_unreachable += if report.unreachable.is_empty() { 0 } else { count };
                findings.local += if report.durability == Durability::Local { count } else { 0 };
                assert_eq!(report.client_count, report.succ_count + report.fail_count, "{report:?}");
                for n in report.first.0..=report.last.0 {
                    let has = guests + holders.get(&(place, n)).copied().unwrap_or_default();
                    assert!(report.succ_count <= has, "{report:?} claims more than the {has} that have {n}");
                    assert!(!healthy || report.succ_count == self.diaries.len() as u64, "{report:?}");
                    let took = at.saturating_duration_since(published[&(place, n)]);
                    findings.slowest_report = findings.slowest_report.max(took);
                }
            }
        }
        findings.absences.sort_unstable();
        findings.latencies.sort_unstable();
        findings
    }
}

impl Findings {
    /// The latency or absence below which `share` of the sorted `times` lie.
    pub fn quantile(times: &[Duration], share: f64) -> Duration {
        times
            .get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

/// The publishers of all audiences of this process, by their beginning.
static PUBLISHERS: Mutex<Vec<(Instant, usize, client::Publisher)>> = Mutex::new(Vec::new());

impl Diary {
    fn note(&mut self, event: Event, began: Instant) {
        let now = Instant::now();
        match event {
            Event::Activity(broadcast) => {
                let tag: Tag = serde_json::from_str(broadcast.activity.get()).expect("it is one of ours");
                let t = began.elapsed().as_micros() as u64;
                self.latencies.push((tag.p, t.saturating_sub(tag.t)));
                self.received.push((tag, broadcast.late));
            }
            Event::Report(report) => self.reports.push((now, report)),
            Event::Resumed { recovered: false, gaps, .. } => self.gaps.push(gaps.to_string()),
            Event::Disconnected { .. } => {
                self.lost_at.get_or_insert(now);
            }
            Event::LoggedIn { server, .. } => {
                self.workers.push(server.map_or_else(String::new, |id| id.to_string()));
                if let Some(lost) = self.lost_at.take() {
                    self.absences.push((lost, now - lost));
                }
            }
            _ => {}
        }
    }
}
