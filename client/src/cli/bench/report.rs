//! What is printed at the end.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::load::{Outcome, Pace, Plan};

/// The result, as `--json` prints it. Latencies are in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    publishers: usize,
    subscribers: usize,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<usize>,
    seconds: f64,
    published: u64,
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
}

impl Report {
    pub(super) fn new(plan: &Plan, outcome: &Outcome) -> Self {
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
        });
        Report {
            publishers: plan.publishers,
            subscribers: plan.subscribers,
            size: plan.payloads.bytes(),
            rate,
            window,
            seconds,
            published: outcome.published,
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
        let mut text = format!(
            "load            {} publishers, {} subscribers, {} bytes, {pace}\n\
             everything      {} activities, each received by all, once and in order\n\
             deliveries      {} in {:.1} s: {:.0} a second\n\
             latency         {}\n\
             last receiver   {}\n\
             connecting      {:.0} a second\n\
             this load       {:.2} µs of CPU for a delivery",
            self.publishers,
            self.subscribers,
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
        if let Some(servers) = &self.servers {
            text.push_str(&format!(
                "\nservers         {:.2} µs of CPU for a delivery, {:.0} % of one CPU, {:.1} MB, {} bytes for a connection",
                servers.cpu_us_per_delivery,
                servers.cpus * 100.0,
                servers.resident_bytes as f64 / 1e6,
                servers.resident_bytes_per_connection,
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
