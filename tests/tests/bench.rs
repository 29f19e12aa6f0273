//! `client bench` and `bench/compare` as whoever measures meets them: what is printed, what a mistake is told, and that nothing is left
//! behind.

use std::fs;

use serde_json::Value;
use tests::cluster::{self, Outcome, Running, Sandbox, eventually};

#[test]
fn a_server_that_is_killed_while_it_is_measured_does_not_lose_the_result() {
    let mut cluster = cluster::start(2);
    let sandbox = Sandbox::new();
    let pids: Vec<u32> = cluster.network.workers.iter().map(|worker| worker.pid()).collect();
    // As `pgrep` lists them.
    let list = pids.iter().map(u32::to_string).collect::<Vec<_>>().join("\n");
    let arguments =
        ["bench", "--reconnect", "--json", "--rate", "200", "--subscribers", "20", "--duration", "5s"];
    let mut command = sandbox.command("client", &[&arguments[..], &["--pid", &list]].concat());
    command.env("FRESHET_COORDINATOR", cluster.network.address().to_string());
    let bench = Running::start(&mut command);
    let clients = |cluster: &cluster::Cluster| {
        let status = cluster.status();
        status["workers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|worker| worker["load"].as_u64().unwrap())
            .sum::<u64>()
    };
    eventually("all subscribers are there", || clients(&cluster) == 20);
    cluster.network.workers[0].kill();
    let Outcome { code, stdout, stderr } = bench.outcome();
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let report: Value = serde_json::from_str(&stdout).expect("it is JSON");
    // What it has used is not known, and is not told; of the other one it is.
    assert_eq!(report["servers"]["gone"], serde_json::json!([pids[0]]), "{report}");
    assert!(report["servers"]["cpu_us_per_delivery"].as_f64() > Some(0.0), "{report}");
    assert!(report["load_cpu_us_per_delivery"].as_f64() > Some(0.0), "{report}");
    assert_eq!(
        (&report["lost"], &report["repeated"], &report["out_of_order"]),
        (&0.into(), &0.into(), &0.into())
    );
    assert_eq!((&report["reconnect"], &report["workers"]), (&true.into(), &2.into()), "{report}");
}

#[test]
fn what_cannot_be_measured_is_told_and_measured_by_nobody() {
    let cluster = cluster::start(1);
    let sandbox = Sandbox::new();
    let run = |arguments: &[&str]| {
        let mut command = sandbox.command("client", &[&["bench"], arguments].concat());
        command.env("FRESHET_COORDINATOR", cluster.network.address().to_string());
        Running::start(&mut command).outcome()
    };
    // Nothing comes in that time: there is a result to look at, and it is no success.
    let outcome = run(&["--rate", "0.1", "--warm-up", "100ms", "--duration", "200ms", "--json"]);
    assert_eq!(outcome.code, Some(1), "{}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains("lengthen --duration"), "{}", outcome.stderr);
    assert!(outcome.stdout.contains(r#""deliveries":0"#), "{}", outcome.stdout);
    // Nobody publishes that fast: it is not the servers' fault.
    let outcome = run(&["--rate", "1000000000", "--warm-up", "0s", "--duration", "1s"]);
    assert_eq!(outcome.code, Some(1), "{}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains("this load itself does not keep up"), "{}", outcome.stderr);
    let mistakes = [
        ("client", &["bench", "--duration", "10000000000000000000s"][..]),
        ("client", &["bench", "--warm-up", "500000000000years"]),
        ("client", &["bench", "--publishers", "9999", "--subscribers", "60000"]),
        ("bench", &["--rounds", "0"]),
        ("bench", &["--load-cpu", "9999999"]),
        ("bench", &["--load-cpu", "1", "--servers-cpu", "1"]),
    ];
    for (program, arguments) in mistakes {
        let Outcome { code, stdout, stderr } = sandbox.run(program, arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {stdout}{stderr}");
        assert!(stderr.contains("error: ") && !stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
}

/// Processes whose command line names something in the sandbox: the servers that were started there, and who was told to write there.
fn named_in(sandbox: &Sandbox) -> usize {
    let place = sandbox.path("").to_string_lossy().into_owned();
    let lines = fs::read_dir("/proc").unwrap().flatten();
    lines
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(&place))
        .count()
}

#[cfg(target_os = "linux")]
#[test]
fn a_comparison_that_is_interrupted_leaves_no_server_and_no_file_behind() {
    let cpus = rustix::thread::sched_getaffinity(None).unwrap();
    let cpus: Vec<String> = (0..1_024).filter(|cpu| cpus.is_set(*cpu)).map(|cpu| cpu.to_string()).collect();
    // It needs two.
    let [servers, load, ..] = &cpus[..] else { return };
    for (signal, expected) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let sandbox = Sandbox::new();
        fs::create_dir(sandbox.path("tmp")).unwrap();
        fs::write(sandbox.path("table"), "the last one").unwrap();
        let table = sandbox.path("table").to_string_lossy().into_owned();
        let arguments =
            ["--cell", "two-workers", "--servers-cpu", servers, "--load-cpu", load, "--output", &table];
        let mut command = sandbox.command("bench", &arguments);
        command.env("TMPDIR", sandbox.path("tmp"));
        let compare = Running::start(&mut command);
        // Its own command line names the sandbox as well, and that long before it listens for signals: only a second one is a server's.
        eventually("a server has been started", || named_in(&sandbox) > 1);
        compare.signal(signal);
        let Outcome { code, stdout, stderr } = compare.outcome();
        assert_eq!(code, Some(expected), "{stdout}{stderr}");
        assert!(stderr.contains("interrupted"), "{stderr}");
        assert_eq!(named_in(&sandbox), 0, "{signal}: a server runs on");
        assert_eq!(fs::read_dir(sandbox.path("tmp")).unwrap().count(), 0, "{signal}: files are left");
        assert_eq!(fs::read_to_string(&table).unwrap(), "the last one");
    }
}
