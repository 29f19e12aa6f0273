//! Takeovers with real processes: the main coordinator is killed, stopped, or told to leave, while clients register and others publish.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::wire::Address;
use serde_json::json;
use tests::cluster::{Caller, Cluster, Crowd, eventually, start_group};

/// Connections that register at once.
const REGISTERING: usize = 50;

/// Clients at the workers that must notice nothing.
const CONNECTED: usize = 12;

/// A registration that was acknowledged.
#[derive(Clone, Debug)]
struct Acknowledged {
    name: String,
    replicated: bool,
    from: Address,
    began: Instant,
    at: Instant,
    attempts: usize,
}

/// Many clients that register one name after the other.
#[derive(Debug, Default)]
struct Stream {
    stop: AtomicBool,
    acknowledged: Mutex<Vec<Acknowledged>>,
}

/// Ends a stream, also where the test fails.
struct End<'a>(&'a Stream);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Relaxed);
    }
}

impl Stream {
    /// Registers until the end. Nobody else wants these names, so that none may ever be refused.
    fn register(&self, coordinators: &[Address], prefix: &str) {
        let mut caller = Caller::new(coordinators);
        for number in 0.. {
            if self.stop.load(Relaxed) {
                return;
            }
            let name = format!("{prefix}-{number}");
            let answer = caller.ask(&json!({"command": "REGISTER", "username": name, "secret": name}));
            assert_eq!(answer.command(), "REGISTER_SUCCESS", "{name}: {:#?}", answer.trail);
            let replicated = answer.message["durability"] == "replicated";
            let (from, began, at, attempts) =
                (answer.from.clone(), answer.began, answer.at, answer.trail.len());
            self.acknowledged.lock().unwrap().push(Acknowledged {
                name,
                replicated,
                from,
                began,
                at,
                attempts,
            });
        }
    }

    fn all(&self) -> Vec<Acknowledged> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// When the coordinator there was first heard to have registered somebody after `moment`.
    fn first_from(&self, address: &Address, moment: Instant) -> Option<Instant> {
        let acknowledged = self.acknowledged.lock().unwrap();
        acknowledged.iter().filter(|one| one.from == *address && one.at > moment).map(|one| one.at).min()
    }

    fn await_more(&self, count: usize) {
        let before = self.acknowledged.lock().unwrap().len();
        eventually("more users are registered", || self.acknowledged.lock().unwrap().len() >= before + count);
    }
}

/// Runs `story` while many clients register and others publish at the workers, who must neither be disconnected nor miss anything.
fn while_busy(
    cluster: &mut Cluster,
    prefix: &str,
    story: impl FnOnce(&mut Cluster, &Stream),
) -> Vec<Acknowledged> {
    let (coordinators, workers) = (cluster.coordinators(), cluster.workers());
    let stream = Stream::default();
    std::thread::scope(|scope| {
        let end = End(&stream);
        let (over, wait) = tokio::sync::oneshot::channel::<()>();
        let crowd = scope.spawn(move || publish(&workers, wait));
        for index in 0..REGISTERING {
            let (stream, coordinators) = (&stream, &coordinators);
            scope.spawn(move || stream.register(coordinators, &format!("{prefix}-{index}")));
        }
        story(cluster, &stream);
        drop(end);
        drop(over);
        let (published, slowest) = crowd.join().expect("nobody at a worker notices anything");
        println!(
            "{CONNECTED} clients published {published} activities meanwhile, the slowest arrived after {slowest:?}"
        );
    });
    stream.all()
}

fn publish(workers: &[Address], over: tokio::sync::oneshot::Receiver<()>) -> (u64, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut crowd = Crowd::gather(workers, CONNECTED).await;
        // The sender is dropped in the end, also where the test fails.
        let _ = crowd.go_on_during(Duration::from_millis(20), over).await;
        (crowd.total(), crowd.slowest())
    })
}

/// Nobody who was acknowledged is lost: every coordinator has all of them on disk, with one registration each, and lets a sample in.
fn nobody_is_lost(cluster: &Cluster, acknowledged: &[Acknowledged]) {
    for coordinator in cluster.network.coordinators() {
        let users = cluster.export(coordinator.name());
        for Acknowledged { name, .. } in acknowledged {
            let count = users.get(name).map_or(0, Vec::len);
            assert_eq!(count, 1, "{} has {count} registrations of {name}", coordinator.name());
        }
    }
    let sample: Vec<_> = acknowledged.iter().step_by(acknowledged.len().div_ceil(200)).collect();
    std::thread::scope(|scope| {
        for share in sample.chunks(sample.len().div_ceil(4)) {
            scope.spawn(move || {
                let mut caller = Caller::new(&cluster.coordinators());
                for Acknowledged { name, .. } in share {
                    let answer = caller.ask(&json!({"command": "LOGIN", "username": name, "secret": name}));
                    assert_eq!(answer.command(), "LOGIN_SUCCESS", "{name}: {}", answer.message);
                }
            });
        }
    });
}

fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// `default`, or what the environment says.
fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn address_of(cluster: &mut Cluster, name: &str) -> Address {
    cluster.network.server_mut(name).address().clone()
}

/// The other one of two coordinators.
fn other(name: &str) -> &'static str {
    if name == "coordinator-1" { "coordinator-2" } else { "coordinator-1" }
}

/// Whoever reigns is killed, again and again, when the standby is healthy; it returns as the standby of the other.
///
/// `local` is right for a registration that was under way while there was no healthy standby: from a kill until the group is NORMAL.
#[test]
fn kill_after_kill_no_acknowledged_user_is_lost_and_nobody_at_a_worker_notices() {
    let kills = number("FRESHET_KILLS", 20);
    let mut cluster = start_group(2, 2);
    let (mut takeovers, mut sick) = (Vec::new(), Vec::new());
    let acknowledged = while_busy(&mut cluster, "user", |cluster, stream| {
        for _ in 0..kills {
            cluster.await_normal();
            stream.await_more(20);
            let main = cluster.main();
            let heir = address_of(cluster, other(&main));
            let killed = Instant::now();
            cluster.network.server_mut(&main).kill();
            eventually("the other one registers users", || stream.first_from(&heir, killed).is_some());
            takeovers.extend(stream.first_from(&heir, killed).map(|at| at - killed));
            cluster.network.restart(&main).expect("it starts again");
            cluster.await_normal();
            sick.push((killed, Instant::now()));
        }
        stream.await_more(20);
    });
    let local: Vec<_> = acknowledged.iter().filter(|one| !one.replicated).collect();
    let worst = takeovers.iter().max().unwrap();
    println!(
        "{kills} kills, {} registrations ({} `local`, {} asked more than once); kill to the first REGISTER_SUCCESS: median {:?}, worst {worst:?}: {takeovers:?}",
        acknowledged.len(),
        local.len(),
        acknowledged.iter().filter(|one| one.attempts > 1).count(),
        median(&takeovers),
    );
    for one in local {
        let excused = sick.iter().any(|(from, until)| one.began < *until && one.at > *from);
        assert!(excused, "there was a healthy standby, and the answer was `local`: {one:?}");
    }
    assert!(*worst < Duration::from_secs(5), "a takeover took {worst:?}");
    nobody_is_lost(&cluster, &acknowledged);

    for name in ["coordinator-1", "coordinator-2"] {
        cluster.network.server_mut(name).kill();
    }
    for name in ["coordinator-1", "coordinator-2"] {
        cluster.network.restart(name).expect("it starts again");
    }
    cluster.await_normal();
    nobody_is_lost(&cluster, &acknowledged);
}

#[test]
fn a_stopped_main_coordinator_is_replaced_and_becomes_a_standby_when_it_goes_on() {
    let mut cluster = start_group(2, 2);
    let mut took = Duration::ZERO;
    let acknowledged = while_busy(&mut cluster, "user", |cluster, stream| {
        stream.await_more(20);
        let heir = address_of(cluster, "coordinator-2");
        let stopped = Instant::now();
        cluster.network.coordinator.signal("STOP").expect("kill runs");
        eventually("the other one registers users", || stream.first_from(&heir, stopped).is_some());
        took = stream.first_from(&heir, stopped).unwrap() - stopped;
        stream.await_more(20);
        cluster.network.coordinator.signal("CONT").expect("kill runs");
        let goes_on = Instant::now();
        cluster.await_normal();
        println!("after SIGCONT it took {:?} until all was NORMAL", goes_on.elapsed());
        assert_eq!(cluster.main(), "coordinator-2");
        let status = cluster.status_of(&cluster.network.coordinator).unwrap();
        assert_eq!(status["role"], "backup");
        stream.await_more(20);
        // What it acknowledges after it went on, it must have acknowledged before it was stopped.
        let old = address_of(cluster, "coordinator-1");
        let began_later = stream.all().into_iter().find(|one| one.from == old && one.began > stopped);
        assert!(began_later.is_none(), "the stopped one acknowledged {began_later:?}");
    });
    println!("SIGSTOP to the first REGISTER_SUCCESS of the other: {took:?}");
    // The failure time-out is two seconds; the machine may be slow.
    assert!(took < Duration::from_secs(2 + 1 + 2), "the takeover took {took:?}");
    nobody_is_lost(&cluster, &acknowledged);
}

#[test]
fn a_planned_handover_under_load_fails_no_request() {
    let mut cluster = start_group(2, 2);
    let mut left = Vec::new();
    let acknowledged = while_busy(&mut cluster, "user", |cluster, stream| {
        for _ in 0..3 {
            stream.await_more(20);
            let main = cluster.main();
            let heir = address_of(cluster, other(&main));
            let told = Instant::now();
            let status = cluster.network.server_mut(&main).terminate(Duration::from_secs(10)).unwrap();
            assert!(status.success(), "it ended with {status}");
            let gone = told.elapsed();
            eventually("the other one registers users", || stream.first_from(&heir, told).is_some());
            left.push((gone, stream.first_from(&heir, told).unwrap() - told));
            cluster.network.restart(&main).expect("it starts again");
            cluster.await_normal();
        }
    });
    let slowest = acknowledged.iter().map(|one| one.at - one.began).max().unwrap();
    println!(
        "SIGTERM to exit, and to the first REGISTER_SUCCESS of the other: {left:?}; the slowest registration took {slowest:?}"
    );
    nobody_is_lost(&cluster, &acknowledged);
}

#[test]
fn both_told_to_stop_at_once_end_cleanly_and_both_start_again() {
    for _ in 0..3 {
        let mut cluster = start_group(2, 1);
        cluster.register("ann", "correct horse");
        let coordinators = [&mut cluster.network.coordinator, &mut cluster.network.standbys[0]];
        std::thread::scope(|scope| {
            for server in coordinators {
                scope.spawn(move || {
                    let status = server.terminate(Duration::from_secs(10)).unwrap();
                    let log = server.log_tail(20);
                    assert!(status.success(), "{} ended with {status}:\n{log}", server.name());
                    assert!(log.contains("shutting down"), "it says so:\n{log}");
                });
            }
        });
        for name in ["coordinator-2", "coordinator-1"] {
            cluster.network.restart(name).expect("it starts again");
        }
        cluster.await_normal();
        let mut caller = Caller::new(&cluster.coordinators());
        let answer = caller.ask(&json!({"command": "LOGIN", "username": "ann", "secret": "correct horse"}));
        assert_eq!(answer.command(), "LOGIN_SUCCESS", "{}", answer.message);
    }
}
