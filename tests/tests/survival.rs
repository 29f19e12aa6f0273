//! Workers die and are replaced while activities flow: every session that stays receives each activity once and in its sender's order, and
//! every sender learns how many have it.
//!
//! `FRESHET_SESSIONS`, `FRESHET_RATE` (activities a second) and `FRESHET_SECONDS` set another size than the one that suits a quick run.

use std::time::{Duration, Instant};

use tests::cluster::audience::{Audience, Findings};
use tests::cluster::{self, Cluster};

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
    let findings = audience.conclude(true);
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
    let findings = audience.conclude(false);
    report("one worker killed after the other", &findings);
    assert!(
        Findings::quantile(&findings.absences, 0.99) <= Duration::from_secs(3),
        "{:?}",
        findings.absences
    );
    assert!(findings.absences.last() <= Some(&Duration::from_secs(10)), "{:?}", findings.absences);
    assert!(!findings.absences.is_empty(), "nobody was at the workers that died");
}
