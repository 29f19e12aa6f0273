//! What is printed at the end.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::plan::{Faults, Outcome, Pace, Plan};

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
    cpu_us_per_delivery: f64,
    cpus: f64,
    resident_bytes: u64,
    resident_bytes_per_connection: i64,
    /// Processes that ended meanwhile; of them counts what was seen last.
    gone: Vec<u32>,
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
        let [before, connected, end] = outcome.resident;
        let servers = (!plan.pids.is_empty()).then(|| Servers {
            cpu_us_per_delivery: each(outcome.cpu),
            cpus: outcome.cpu.as_secs_f64() / seconds,
            resident_bytes: end,
            resident_bytes_per_connection: (connected as i64 - before as i64) / connections as i64,
            gone: outcome.gone.clone(),
        });
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
            absences: (!outcome.absences.is_empty()).then(|| Absences {
                count: outcome.absences.len(),
                away_us: Percentiles::of(&outcome.absences),
            }),
            load_cpu_us_per_delivery: each(outcome.own_cpu),
            servers,
        }
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
        if let Some(servers) = &self.servers {
            text.push_str(&format!(
                "\nservers         {:.2} µs of CPU for a delivery, {:.0} % of one CPU, {:.1} MB, {} bytes for a connection",
                servers.cpu_us_per_delivery,
                servers.cpus * 100.0,
                servers.resident_bytes as f64 / 1e6,
                servers.resident_bytes_per_connection,
            ));
            for pid in &servers.gone {
                text.push_str(&format!(
                    "\ngone            process {pid} has ended meanwhile: of it counts what was seen last"
                ));
            }
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

    #[test]
    fn faults_and_processes_that_are_gone_are_told_to_people_and_to_programs() {
        let plan = Plan {
            publishers: 1,
            subscribers: 2,
            payloads: Payloads::OfSize(128),
            pace: Pace::Window { window: 64, piece: 16 },
            settle: Duration::ZERO,
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(2),
            pids: vec![4_711],
            awake: false,
        };
        let histogram = || Histogram::new(3).unwrap();
        let faults = Faults { lost: 3, repeated: 2, out_of_order: 1 };
        let outcome = Outcome {
            took: Duration::from_secs(2),
            deliveries: 0,
            published: 7,
            faults,
            skipped: 5,
            latency: histogram(),
            last: histogram(),
            connections: (2, Duration::from_millis(1)),
            connecting_cpu: Duration::ZERO,
            kernel: 0,
            cpu: Duration::ZERO,
            own_cpu: Duration::ZERO,
            absences: histogram(),
            resident: [0; 3],
            gone: vec![4_711],
        };
        let clients = Clients { workers: 3, classic: false, reconnect: true };
        let report = Report::new(&plan, clients, &outcome);
        let text = report.text();
        for part in ["3 deliveries lost, 2 repeated, 1 out of order", "skipped         5", "process 4711"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        for (field, value) in
            [("lost", 3), ("repeated", 2), ("out_of_order", 1), ("skipped_after_move", 5), ("workers", 3)]
        {
            assert_eq!(json[field], value, "{field}");
        }
        assert_eq!((&json["reconnect"], &json["classic"]), (&true.into(), &false.into()));
        assert_eq!(json["servers"]["gone"][0], 4_711);
        // Nothing came, and nothing is divided by that.
        assert_eq!(json["load_cpu_us_per_delivery"], 0.0);
        assert!(faults.sentence().unwrap().contains("3 deliveries lost"));
        assert_eq!(Faults::default().sentence(), None);
    }
}
