//! A worker joins a network that has its clients already, and gets its share of them.

use std::time::Instant;

use tests::cluster::audience::Audience;
use tests::cluster::{self, Cluster, eventually};

const SESSIONS: usize = 24;

fn loads(cluster: &Cluster) -> Vec<u64> {
    let status = cluster.status();
    let workers = status["workers"].as_array().expect("a report lists workers");
    workers.iter().map(|worker| worker["load"].as_u64().expect("a load is a number")).collect()
}

/// How many clients the workers have sent to each other, by their logs.
fn moved(cluster: &Cluster) -> u64 {
    let logs = cluster.network.workers.iter().map(|worker| worker.log_tail(usize::MAX));
    let count = |line: &str| {
        let fields = serde_json::from_str::<serde_json::Value>(line).ok()?["fields"].clone();
        fields["clients"].as_u64().filter(|_| fields["message"] == "sending clients to another worker")
    };
    logs.map(|log| log.lines().filter_map(count).sum::<u64>()).sum()
}

#[test]
fn a_worker_that_joins_gets_its_share_while_activities_flow_and_nobody_misses_any() {
    let mut cluster = cluster::start(2);
    let coordinators: Vec<_> =
        cluster.network.coordinators().map(|server| server.address().clone()).collect();
    let audience = Audience::open(&coordinators, SESSIONS, 4);
    audience.publish(100, || {
        let worker = cluster.network.start_worker("worker-3").expect("it starts");
        cluster.network.workers.push(worker);
        let joined = Instant::now();
        let share = SESSIONS as u64 / 3;
        eventually("the loads are even", || {
            let loads = loads(&cluster);
            loads.len() == 3 && loads.iter().all(|load| load.abs_diff(share) <= 1)
        });
        println!("even {:?} after the third worker had started: {:?}", joined.elapsed(), loads(&cluster));
    });
    let moved = moved(&cluster);
    let findings = audience.conclude(false, 0);
    println!(
        "the slowest report took {:?}, the slowest delivery {:?}",
        findings.slowest_report,
        findings.latencies.last()
    );
    assert_eq!((findings.late, findings.reports_with_unreachable, findings.local), (0, 0, 0));
    let share = SESSIONS as u64 / 3;
    assert!(
        (share - 1..=share).contains(&moved),
        "{moved} clients were moved, and only the surplus should be"
    );
}
