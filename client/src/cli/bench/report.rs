//! What is printed at the end.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::plan::{self, Faults, Outcome, Pace, Plan};

/// How late a load may publish at the end before it is told, in microseconds: what it shares its CPU with may keep it from it for a moment.
const LATE_US: u64 = 200_000;

/// The result, as `--json` prints it. Latencies are in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Of this program.
    version: &'static str,
    /// At how many workers the clients began.
    workers: usize,
    classic: bool,
    reconnect: bool,
    publishers: usize,
    subscribers: usize,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<usize>,
    warm_up_seconds: f64,
    seconds: f64,
    published: u64,
    #[serde(flatten)]
    faults: Faults,
    /// Came once more, as they may to a session that has moved.
    skipped_after_move: u64,
    deliveries: u64,
    deliveries_per_second: f64,
    connects_per_second: f64,
    latency_us: Percentiles,
    last_receiver_us: Percentiles,
    /// In an open loop, how much later than intended the load published at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind_us: Option<u64>,
    /// How often sessions were away because their connection had ended, and how long.
    #[serde(skip_serializing_if = "Option::is_none")]
    absences: Option<Absences>,
    /// Of this benchmark itself.
    load_cpu_us_per_delivery: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<Servers>,
}

#[derive(Debug, Serialize)]
struct Percentiles {
    p50: u64,
    p99: u64,
    p99_9: u64,
    max: u64,
}

#[derive(Debug, Serialize)]
struct Absences {
    count: u64,
    away_us: Percentiles,
}

#[derive(Debug, Serialize)]
struct Servers {
    /// Of those that lived until the end; absent where there was none.
    #[serde(flatten)]
    used: Option<Used>,
    /// Processes that ended before, of which nothing counts.
    gone: Vec<u32>,
}

#[derive(Debug, Serialize)]
struct Used {
    cpu_us_per_delivery: f64,
    cpus: f64,
    resident_bytes: u64,
    resident_bytes_per_connection: i64,
}

/// Which clients they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clients {
    pub(super) workers: usize,
    pub(super) classic: bool,
    pub(super) reconnect: bool,
}

impl Report {
    pub(super) fn new(plan: &Plan, clients: Clients, outcome: &Outcome) -> Self {
        let (rate, window) = match plan.pace {
            Pace::Rate(rate) => (Some(rate), None),
            Pace::Window { window, .. } => (None, Some(window)),
        };
        let seconds = outcome.took.as_secs_f64();
        let (connections, opening) = outcome.connections;
        let each = |cpu: std::time::Duration| cpu.as_secs_f64() * 1e6 / outcome.deliveries.max(1) as f64;
        let used =
            outcome.servers.map(|plan::Servers { cpu, resident: [before, connected, end], .. }| Used {
                cpu_us_per_delivery: each(cpu),
                cpus: cpu.as_secs_f64() / seconds,
                resident_bytes: end,
                resident_bytes_per_connection: (connected as i64 - before as i64) / connections as i64,
            });
        let servers = (!plan.pids.is_empty()).then(|| Servers { used, gone: outcome.gone.clone() });
        Report {
            version: env!("CARGO_PKG_VERSION"),
            workers: clients.workers,
            classic: clients.classic,
            reconnect: clients.reconnect,
            publishers: plan.publishers,
            subscribers: plan.subscribers,
            size: plan.payloads.bytes(),
            rate,
            window,
            warm_up_seconds: plan.warm_up.as_secs_f64(),
            seconds,
            published: outcome.published,
            faults: outcome.faults,
            skipped_after_move: outcome.skipped,
            deliveries: outcome.deliveries,
            deliveries_per_second: outcome.deliveries as f64 / seconds,
            connects_per_second: connections as f64 / opening.as_secs_f64(),
            latency_us: Percentiles::of(&outcome.latency),
            last_receiver_us: Percentiles::of(&outcome.last),
            behind_us: rate.map(|_| outcome.behind.as_micros() as u64),
            absences: (!outcome.absences.is_empty()).then(|| Absences {
                count: outcome.absences.len(),
                away_us: Percentiles::of(&outcome.absences),
            }),
            load_cpu_us_per_delivery: each(outcome.own_cpu),
            servers,
        }
    }

    /// Whether the load itself could not publish as fast as it was to, by far.
    fn is_late(&self) -> bool {
        self.behind_us.is_some_and(|behind| behind > LATE_US)
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers serialise")
    }

    pub(super) fn text(&self) -> String {
        let pace = match (self.rate, self.window) {
            (Some(rate), _) => format!("{rate} activities a second"),
            (None, window) => format!("at most {} under way for each publisher", window.unwrap_or_default()),
        };
        let Faults { lost, repeated, out_of_order } = self.faults;
        let received = match self.faults == Faults::default() {
            true => "each received by all, once and in order".to_owned(),
            false => format!("{lost} deliveries lost, {repeated} repeated, {out_of_order} out of order"),
        };
        let kind = if self.classic { "classic " } else { "" };
        let mut text = format!(
            "load            {} publishers, {} {kind}subscribers at {} workers, {} bytes, {pace}\n\
             everything      {} activities, {received}\n\
             deliveries      {} in {:.1} s: {:.0} a second\n\
             latency         {}\n\
             last receiver   {}\n\
             connecting      {:.0} a second\n\
             this load       {:.2} µs of CPU for a delivery",
            self.publishers,
            self.subscribers,
            self.workers,
            self.size,
            self.published,
            self.deliveries,
            self.seconds,
            self.deliveries_per_second,
            self.latency_us.text(),
            self.last_receiver_us.text(),
            self.connects_per_second,
            self.load_cpu_us_per_delivery,
        );
        if let Some(Absences { count, away_us }) = &self.absences {
            text.push_str(&format!("\naway            {count} times, {}", away_us.text()));
        }
        if self.reconnect {
            text.push_str(&format!(
                "\nskipped         {} deliveries that came once more, as they may to a session that has moved",
                self.skipped_after_move
            ));
        }
        if self.is_late() {
            text.push_str(&format!(
                "\nlate            at the end this load published {:.1} s later than it was to: it was the limit, not the servers",
                self.behind_us.unwrap_or_default() as f64 / 1e6
            ));
        }
        if let Some(servers) = &self.servers {
            text.push_str(&format!("\nservers         {}", servers.text()));
        }
        text
    }
}

impl Servers {
    fn text(&self) -> String {
        let mut text = match &self.used {
            Some(used) => format!(
                "{:.2} µs of CPU for a delivery, {:.0} % of one CPU, {:.1} MB, {} bytes for a connection",
                used.cpu_us_per_delivery,
                used.cpus * 100.0,
                used.resident_bytes as f64 / 1e6,
                used.resident_bytes_per_connection,
            ),
            None => "not known what they used".to_owned(),
        };
        for pid in &self.gone {
            text.push_str(&format!(
                "\ngone            process {pid} ended before all was measured: it is not in these figures"
            ));
        }
        text
    }
}

impl Percentiles {
    fn of(latencies: &Histogram<u64>) -> Self {
        Percentiles {
            p50: latencies.value_at_quantile(0.5),
            p99: latencies.value_at_quantile(0.99),
            p99_9: latencies.value_at_quantile(0.999),
            max: latencies.max(),
        }
    }

    fn text(&self) -> String {
        let ms = |micros: u64| format!("{:.2}", micros as f64 / 1e3);
        format!(
            "p50 {} ms, p99 {} ms, p99.9 {} ms, max {} ms",
            ms(self.p50),
            ms(self.p99),
            ms(self.p99_9),
            ms(self.max)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::payload::Payloads;
    use super::*;

    fn plan(pace: Pace) -> Plan {
        Plan {
            publishers: 1,
            subscribers: 2,
            payloads: Payloads::OfSize(128),
            pace,
            settle: Duration::ZERO,
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(2),
            pids: vec![4_711, 4_712],
            awake: false,
        }
    }

    fn outcome() -> Outcome {
        let histogram = || Histogram::new(3).unwrap();
        Outcome {
            took: Duration::from_secs(2),
            deliveries: 0,
            published: 7,
            faults: Faults { lost: 3, repeated: 2, out_of_order: 1 },
            skipped: 5,
            latency: histogram(),
            last: histogram(),
            connections: (2, Duration::from_millis(1)),
            kernel: 0,
            own_cpu: Duration::ZERO,
            behind: Duration::from_secs(3),
            absences: histogram(),
            servers: None,
            gone: vec![4_711, 4_712],
        }
    }

    fn report(pace: Pace, outcome: &Outcome) -> (String, serde_json::Value) {
        let clients = Clients { workers: 3, classic: false, reconnect: true };
        let report = Report::new(&plan(pace), clients, outcome);
        (report.text(), serde_json::from_str(&report.json()).unwrap())
    }

    const CLOSED: Pace = Pace::Window { window: 64, piece: 16 };

    #[test]
    fn faults_are_told_to_people_and_to_programs() {
        let outcome = outcome();
        let (text, json) = report(CLOSED, &outcome);
        for part in ["3 deliveries lost, 2 repeated, 1 out of order", "skipped         5"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        for (field, value) in
            [("lost", 3), ("repeated", 2), ("out_of_order", 1), ("skipped_after_move", 5), ("workers", 3)]
        {
            assert_eq!(json[field], value, "{field}");
        }
        assert_eq!((&json["reconnect"], &json["classic"]), (&true.into(), &false.into()));
        // Nothing came, and nothing is divided by that.
        assert_eq!(json["load_cpu_us_per_delivery"], 0.0);
        assert!(outcome.faults.sentence().unwrap().contains("3 deliveries lost"));
        assert_eq!(Faults::default().sentence(), None);
    }

    #[test]
    fn what_servers_used_that_are_gone_is_absent_and_no_zero() {
        let (text, json) = report(CLOSED, &outcome());
        assert!(text.contains("servers         not known") && text.contains("process 4711 ended"), "{text}");
        assert_eq!(json["servers"], serde_json::json!({"gone": [4_711, 4_712]}));
        let (cpu, connecting_cpu) = (Duration::from_secs(1), Duration::ZERO);
        let servers = Some(plan::Servers { connecting_cpu, cpu, resident: [1_000, 3_000, 4_000] });
        let lived = Outcome { deliveries: 1_000_000, servers, gone: vec![4_711], ..outcome() };
        let (text, json) = report(CLOSED, &lived);
        assert!(text.contains("1.00 µs of CPU") && text.contains("1000 bytes for"), "{text}");
        assert!(text.contains("process 4711 ended") && !text.contains("4712"), "{text}");
        assert_eq!(json["servers"]["cpu_us_per_delivery"], 1.0);
        assert_eq!(json["servers"]["gone"], serde_json::json!([4_711]));
    }

    #[test]
    fn a_load_that_could_not_publish_as_fast_as_it_was_to_says_so() {
        let late = |pace, behind| report(pace, &Outcome { behind, ..outcome() }).0.contains("\nlate ");
        assert!(late(Pace::Rate(1e6), Duration::from_secs(3)));
        assert!(!late(Pace::Rate(1e6), Duration::from_millis(5)));
        assert!(!late(CLOSED, Duration::ZERO));
    }
}
