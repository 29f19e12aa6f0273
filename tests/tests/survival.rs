//! Workers die, leave and are replaced while activities flow: every session that stays receives each activity once and in its sender's
//! order, and every sender learns how many have it.
//!
//! `FRESHET_SESSIONS`, `FRESHET_RATE` (activities a second) and `FRESHET_SECONDS` set another size than the one that suits a quick run.

use std::time::{Duration, Instant};

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use serde_json::json;
use tests::cluster::audience::{Audience, Findings, Place};
use tests::cluster::{self, Caller, Cluster, LEFT, Peer, RIGHT, Running, Sandbox, Town};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn report(what: &str, findings: &Findings) {
    let Findings {
        published,
        deliveries,
        late,
        reports_with_unreachable,
        local,
        absences,
        latencies,
        slowest_report,
    } = findings;
    println!(
        "{what}: {published} activities, {deliveries} deliveries, {late} late; reports: slowest {slowest_report:?}, {reports_with_unreachable} name somebody \
         unreachable, {local} local; {} absences: 99 % {:?}, longest {:?}; latency: median {:?}, 99 % {:?}, longest {:?}",
        absences.len(),
        Findings::quantile(absences, 0.99),
        absences.last(),
        Findings::quantile(latencies, 0.5),
        Findings::quantile(latencies, 0.99),
        latencies.last(),
    );
}

fn audience(cluster: &Cluster, publishers: usize) -> Audience {
    let coordinators: Vec<_> =
        cluster.network.coordinators().map(|server| server.address().clone()).collect();
    Audience::open(&coordinators, setting("FRESHET_SESSIONS", 40) as usize, publishers)
}

#[test]
fn in_a_healthy_network_every_report_is_exact() {
    let cluster = cluster::start(3);
    let audience = audience(&cluster, 10);
    let length = Duration::from_secs(setting("FRESHET_SECONDS", 6) / 2);
    audience.publish(setting("FRESHET_RATE", 200), || std::thread::sleep(length));
    let findings = audience.conclude(true, 0);
    report("healthy", &findings);
    assert_eq!((findings.late, findings.reports_with_unreachable, findings.local), (0, 0, 0));
}

#[test]
fn whoever_stays_misses_nothing_although_workers_are_killed_one_after_the_other() {
    let mut cluster = cluster::start(3);
    let audience = audience(&cluster, 10);
    let length = Duration::from_secs(setting("FRESHET_SECONDS", 15));
    let pause = (length / 6).min(Duration::from_secs(5));
    audience.publish(setting("FRESHET_RATE", 200), || {
        let end = Instant::now() + length;
        for victim in (0..3).cycle() {
            std::thread::sleep(pause);
            let name = format!("worker-{}", victim + 1);
            cluster.network.workers[victim].kill();
            std::thread::sleep(pause);
            cluster.network.workers[victim] = cluster.network.start_worker(&name).expect("it starts again");
            if Instant::now() >= end {
                break;
            }
        }
    });
    let findings = audience.conclude(false, 0);
    report("one worker killed after the other", &findings);
    assert!(
        Findings::quantile(&findings.absences, 0.99) <= Duration::from_secs(3),
        "{:?}",
        findings.absences
    );
    assert!(findings.absences.last() <= Some(&Duration::from_secs(10)), "{:?}", findings.absences);
    assert!(!findings.absences.is_empty(), "nobody was at the workers that died");
}

/// The same with a load that costs so little that a thousand sessions at a thousand activities a second fit on a small machine:
/// `FRESHET_CROWD=1000 FRESHET_CROWD_RATE=1000 FRESHET_SECONDS=60`.
#[test]
fn a_benchmark_goes_on_although_workers_are_killed_and_everything_still_arrives_once_and_in_order() {
    let mut cluster = cluster::start(3);
    let sandbox = Sandbox::new();
    let seconds = setting("FRESHET_SECONDS", 8);
    let (crowd, rate) =
        (setting("FRESHET_CROWD", 90).to_string(), setting("FRESHET_CROWD_RATE", 200).to_string());
    let duration = format!("{seconds}s");
    let mut command = sandbox.command(
        "client",
        &[
            "bench",
            "--reconnect",
            "--json",
            "--publishers",
            "10",
            "--subscribers",
            &crowd,
            "--rate",
            &rate,
            "--duration",
            &duration,
        ],
    );
    command.env("FRESHET_COORDINATOR", cluster.network.address().to_string());
    let bench = Running::start(&mut command);
    let pause = Duration::from_secs(seconds / 4).min(Duration::from_secs(5));
    let end = Instant::now() + Duration::from_secs(seconds);
    for victim in (0..3).cycle() {
        std::thread::sleep(pause);
        if Instant::now() >= end {
            break;
        }
        cluster.network.workers[victim].kill();
        std::thread::sleep(pause);
        let name = format!("worker-{}", victim + 1);
        cluster.network.workers[victim] = cluster.network.start_worker(&name).expect("it starts again");
    }
    let outcome = bench.outcome();
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.stdout, outcome.stderr);
    println!("{}", outcome.stdout);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("it is JSON");
    assert!(report["absences"]["count"].as_u64() > Some(0), "nobody was at the workers that died: {report}");
    assert!(report["absences"]["away_us"]["max"].as_u64() < Some(10_000_000), "{report}");
}

/// A classic client at `worker`, which is sent on when that leaves: it is told where to go, and then the connection ends.
fn is_sent_on(mut classic: Peer) {
    loop {
        let message = classic.hear_any();
        if message["command"] == "REDIRECT" {
            assert!(message["port"].is_u64(), "{message}");
            return classic.expect_closed();
        }
        assert_eq!(message["command"], "ACTIVITY_BROADCAST", "{message}");
    }
}

#[test]
fn every_server_is_restarted_in_turn_and_nobody_notices() {
    let mut cluster = cluster::start_group(2, 3);
    let audience = audience(&cluster, 10);
    let (done, registered) = (AtomicBool::new(false), AtomicU64::new(0));
    let coordinators = cluster.coordinators();
    audience.publish(setting("FRESHET_RATE", 200), || {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut caller = Caller::new(&coordinators);
                while !done.load(Relaxed) {
                    let name = format!("user-{}", registered.fetch_add(1, Relaxed));
                    let answer =
                        caller.ask(&json!({"command": "REGISTER", "username": name, "secret": name}));
                    assert_eq!(answer.command(), "REGISTER_SUCCESS", "{}", answer.message);
                }
            });
            for index in 0..3 {
                let classic = cluster.session(index, "anonymous", "");
                let asked = Instant::now();
                let name = format!("worker-{}", index + 1);
                let sent_on = scope.spawn(move || is_sent_on(classic));
                let worker = cluster.network.server_mut(&name);
                let status = worker.terminate(Duration::from_secs(15)).expect("it leaves in time");
                assert!(status.success(), "{name}: {status}");
                println!("{name} left within {:?}", asked.elapsed());
                sent_on.join().expect("a classic client is sent on");
                cluster.network.restart(&name).expect("it starts again");
                cluster.await_normal();
            }
            for name in ["coordinator-1", "coordinator-2"] {
                let server = cluster.network.server_mut(name);
                let status = server.terminate(Duration::from_secs(15)).expect("it leaves in time");
                assert!(status.success(), "{name}: {status}");
                cluster.network.restart(name).expect("it starts again");
                cluster.await_normal();
            }
            done.store(true, Relaxed);
        });
    });
    let findings = audience.conclude(false, 1);
    report("every server restarted", &findings);
    println!("{} registrations meanwhile", registered.into_inner());
    assert_eq!((findings.late, findings.local), (0, 0));
}

#[test]
fn two_sides_of_a_cut_have_everything_when_it_has_healed() {
    let Some(town) = Town::start() else { return };
    let length = Duration::from_secs(setting("FRESHET_SECONDS", 8));
    let place = |host: &str, coordinators: [&str; 2]| Place {
        coordinators: coordinators.map(|host| town.coordinator(host)).to_vec(),
        enter: Box::new(town.spaces.way_in(host)),
    };
    let places = vec![place(LEFT[3], ["c1", "c2"]), place(RIGHT[3], ["c2", "c1"])];
    // Everybody is at a worker of its own side.
    town.spaces.part(&LEFT, &RIGHT);
    let audience = Audience::open_at(places, 20, 10);
    let caught_up = audience.publish(2 * setting("FRESHET_RATE", 100), || {
        std::thread::sleep(length);
        town.spaces.join(&LEFT, &RIGHT);
        let caught_up = audience.await_all_before(Instant::now());
        println!("NORMAL {:?} after that", town.await_normal());
        caught_up
    });
    let findings = audience.conclude(false, 0);
    report(&format!("{length:?} apart, caught up {caught_up:?} after the heal"), &findings);
    assert!(caught_up <= Duration::from_secs(10), "{caught_up:?}");
    let slow = Findings::quantile(&findings.latencies, 0.99);
    assert!(slow <= Duration::from_millis(100), "on each side 99 % arrive within {slow:?}");
}
