//! What the gateway has counted, in Prometheus' text exposition format, version 0.0.4.
//!
//! Labels are environments, services, releases and words of a fixed list: never a path or a client. A series is
//! there from its first request on. Where a request led nowhere, or to no instance, its labels are empty, which
//! Prometheus takes for absent.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ward_types::histogram;
use ward_types::table::{GatewayObserved, Refusal};
use ward_types::tally::{Durations, GatewayTally, SeriesKey, SeriesTally};
use ward_types::tls::{CertificateObserved, CertificateOf};

/// The answer's `Content-Type`.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What of the process itself is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Process {
    /// Since the epoch, in seconds.
    pub(crate) started: f64,
    /// User and system time together, in seconds.
    pub(crate) processor: f64,
    /// Memory that is its own or shared, in bytes.
    pub(crate) resident: u64,
    /// Descriptors that are open.
    pub(crate) descriptors: u64,
}

/// Writes everything.
pub(crate) fn text(tally: &GatewayTally, observed: &GatewayObserved, process: &Process) -> String {
    let mut text = Text::default();
    let version = env!("CARGO_PKG_VERSION");
    text.family(
        "ward_build_info",
        "gauge",
        "The version of Ward that serves; always 1.",
    );
    text.sample("ward_build_info", &[("version", version)], 1);
    requests(&mut text, tally);
    text.durations(
        "ward_response_head_seconds",
        "From the head of a request to the head of its answer, whoever answered.",
        tally.series.iter().map(|one| (&one.key, &one.head)),
    );
    text.durations(
        "ward_request_duration_seconds",
        "From the head of a request to the end of its answer; event streams and upgraded connections are left out.",
        tally.series.iter().map(|one| (&one.key, &one.whole)),
    );
    instances(&mut text, observed);
    connections(&mut text, tally);
    refusals(&mut text, observed);
    certificates(&mut text, observed);
    access_log(&mut text, tally);
    text.family(
        "ward_routing_table_generation",
        "gauge",
        "The generation of the routing table in force.",
    );
    text.sample("ward_routing_table_generation", &[], tally.generation.0);
    of_process(&mut text, process);
    text.0
}

fn requests(text: &mut Text, tally: &GatewayTally) {
    let name = "ward_requests_total";
    text.family(
        name,
        "counter",
        "Requests that have ended, by the class of the status, whose fault it was, and who answered.",
    );
    for series in &tally.series {
        for one in &series.requests {
            let ends = [
                ("class", &*one.class),
                ("fault", &*one.fault),
                ("by", &*one.by),
            ];
            text.series(name, &series.key, &ends, one.count);
        }
    }
    type Read = fn(&SeriesTally) -> u64;
    let counters: [(&str, &str, Read); 3] = [
        (
            "ward_request_retries_total",
            "Second and further attempts to have a request answered.",
            |one| one.retries,
        ),
        (
            "ward_request_body_bytes_total",
            "Bytes of requests' bodies, and what clients sent on upgraded connections.",
            |one| one.bytes_in,
        ),
        (
            "ward_response_body_bytes_total",
            "Bytes of answers' bodies, and what instances sent on upgraded connections.",
            |one| one.bytes_out,
        ),
    ];
    for (name, help, read) in counters {
        text.family(name, "counter", help);
        for series in &tally.series {
            text.series(name, &series.key, &[], read(series));
        }
    }
}

fn refusals(text: &mut Text, observed: &GatewayObserved) {
    let name = "ward_refused_total";
    text.family(
        name,
        "counter",
        "Connections and requests that a limit of the gateway's refused or cut, by the limit.",
    );
    for limit in Refusal::ALL {
        let count = observed.refused.get(&limit).copied().unwrap_or(0);
        text.sample(name, &[("limit", limit.word())], count);
    }
}

fn certificates(text: &mut Text, observed: &GatewayObserved) {
    let labels = |one: &CertificateObserved| {
        let of = match one.of {
            CertificateOf::Host => "host",
            CertificateOf::Clients => "clients",
        };
        (one.env.to_string(), one.host.clone(), of)
    };
    let name = "ward_certificate_not_after_seconds";
    text.family(
        name,
        "gauge",
        "Until when the certificates from files that are in use are good, in seconds since the epoch.",
    );
    for one in &observed.certificates {
        let (env, host, of) = labels(one);
        let labels = [("env", &*env), ("host", &*host), ("of", of)];
        if let Some(until) = one.until {
            text.sample(name, &labels, until.0 / 1000);
        }
    }
    let name = "ward_certificate_problem";
    text.family(
        name,
        "gauge",
        "1 where a file with certificates cannot be used as it is, or what is in use is not good; `ward status` says why.",
    );
    for one in &observed.certificates {
        let (env, host, of) = labels(one);
        let labels = [("env", &*env), ("host", &*host), ("of", of)];
        text.sample(name, &labels, u64::from(one.problem.is_some()));
    }
}

/// What the instances of one release have now.
#[derive(Default)]
struct Now {
    requests: u64,
    long: u64,
    in_rotation: u64,
}

fn instances(text: &mut Text, observed: &GatewayObserved) {
    let mut all: BTreeMap<SeriesKey, Now> = BTreeMap::new();
    for pool in &observed.table.pools {
        for endpoint in &pool.endpoints {
            let key = SeriesKey {
                env: Some(pool.env.clone()),
                service: Some(pool.service.clone()),
                release: Some(endpoint.release),
            };
            all.entry(key).or_default().in_rotation += 1;
        }
    }
    for (env, instances) in &observed.traffic {
        for (id, traffic) in instances {
            let key = SeriesKey {
                env: Some(env.clone()),
                service: id.service(),
                release: id.release(),
            };
            let now = all.entry(key).or_default();
            now.requests += traffic.requests;
            now.long += traffic.upgraded;
        }
    }
    type Read = fn(&Now) -> u64;
    let gauges: [(&str, &str, Read); 3] = [
        (
            "ward_requests_in_flight",
            "Requests under way on instances.",
            |now| now.requests,
        ),
        (
            "ward_long_connections",
            "Upgraded connections, event streams and gRPC calls under way on instances.",
            |now| now.long,
        ),
        (
            "ward_instances_in_rotation",
            "Instances that new requests go to.",
            |now| now.in_rotation,
        ),
    ];
    for (name, help, read) in gauges {
        text.family(name, "gauge", help);
        for (key, now) in &all {
            text.series(name, key, &[], read(now));
        }
    }
}

fn connections(text: &mut Text, tally: &GatewayTally) {
    let name = "ward_connections_open";
    text.family(
        name,
        "gauge",
        "Connections of clients, by where they came in and what they speak; none before the first request.",
    );
    for one in &tally.connections {
        let labels = [("entry", &*one.entry), ("protocol", &*one.protocol)];
        text.sample(name, &labels, one.open);
    }
    let name = "ward_tls_handshakes_total";
    text.family(
        name,
        "counter",
        "TLS handshakes that have ended, by how they did.",
    );
    for (result, count) in &tally.handshakes {
        text.sample(name, &[("result", result)], *count);
    }
}

fn access_log(text: &mut Text, tally: &GatewayTally) {
    let written = "Lines of the access log that were written.";
    text.family("ward_access_log_lines_total", "counter", written);
    text.sample("ward_access_log_lines_total", &[], tally.log_lines);
    let name = "ward_access_log_lines_dropped_total";
    let help = "Lines of the access log that were lost, because the disk was full or too slow.";
    text.family(name, "counter", help);
    text.sample(name, &[], tally.log_lines_dropped);
}

fn of_process(text: &mut Text, process: &Process) {
    let mut one = |name, kind, help, value: &dyn std::fmt::Display| {
        text.family(name, kind, help);
        text.sample(name, &[], value);
    };
    one(
        "process_start_time_seconds",
        "gauge",
        "When the gateway's process began, since the epoch.",
        &process.started,
    );
    one(
        "process_cpu_seconds_total",
        "counter",
        "Processor time of the gateway, user and system.",
        &process.processor,
    );
    one(
        "process_resident_memory_bytes",
        "gauge",
        "Memory of the gateway.",
        &process.resident,
    );
    one(
        "process_open_fds",
        "gauge",
        "Descriptors that the gateway has open.",
        &process.descriptors,
    );
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // In help texts a quotation mark stands for itself.
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        self.labels(labels);
        let _ = writeln!(self.0, " {value}");
    }

    fn series(&mut self, name: &str, key: &SeriesKey, more: &[(&str, &str)], value: u64) {
        self.0.push_str(name);
        self.keyed(key, more);
        let _ = writeln!(self.0, " {value}");
    }

    fn keyed(&mut self, key: &SeriesKey, more: &[(&str, &str)]) {
        let release = key.release.map(|release| release.to_string());
        let mut labels = vec![
            ("env", key.env.as_ref().map_or("", |env| env.as_str())),
            (
                "service",
                key.service.as_ref().map_or("", |name| name.as_str()),
            ),
            ("release", release.as_deref().unwrap_or("")),
        ];
        labels.extend_from_slice(more);
        self.labels(&labels);
    }

    fn labels(&mut self, labels: &[(&str, &str)]) {
        for (index, (name, value)) in labels.iter().enumerate() {
            self.0.push_str(if index == 0 { "{" } else { "," });
            let _ = write!(self.0, "{name}=\"");
            escape(&mut self.0, value);
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
    }

    /// Cumulative buckets, one for each doubling of the shortest.
    fn durations<'a>(
        &mut self,
        name: &str,
        help: &str,
        all: impl Iterator<Item = (&'a SeriesKey, &'a Durations)>,
    ) {
        self.family(name, "histogram", help);
        let (bucket, sum, count) = (
            format!("{name}_bucket"),
            format!("{name}_sum"),
            format!("{name}_count"),
        );
        for (key, durations) in all {
            let mut counted = durations.buckets.buckets().peekable();
            let mut below = 0;
            // The last one has no upper edge.
            for edge in (0..LAST).step_by(histogram::PER_DOUBLING as usize) {
                while let Some((_, more)) = counted.next_if(|(bucket, _)| *bucket <= edge) {
                    below += more;
                }
                let le = seconds(histogram::upper_edge(edge));
                self.series(&bucket, key, &[("le", &le)], below);
            }
            let total = durations.buckets.total();
            self.series(&bucket, key, &[("le", "+Inf")], total);
            self.0.push_str(&sum);
            self.keyed(key, &[]);
            let _ = writeln!(self.0, " {}", seconds(durations.sum));
            self.series(&count, key, &[], total);
        }
    }
}

const LAST: u8 = histogram::Histogram::BUCKETS as u8 - 1;

/// Exactly, without a float's rounding.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let text = text.trim_end_matches('0');
    text.strip_suffix('.').unwrap_or(text).to_owned()
}

fn escape(out: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::id::{EnvId, Name, ReleaseId};
    use ward_types::tally::RequestTally;

    fn key() -> SeriesKey {
        SeriesKey {
            env: EnvId::parse("shop/dev").ok(),
            service: Name::parse("web").ok(),
            release: Some(ReleaseId(2)),
        }
    }

    fn tally(durations: &[u64]) -> GatewayTally {
        let mut head = Durations::default();
        for micros in durations {
            head.buckets.record(micros - 1);
            head.sum += micros;
        }
        let request = RequestTally {
            class: "2xx".to_owned(),
            fault: "none".to_owned(),
            by: "instance".to_owned(),
            count: 3,
        };
        let one = SeriesTally {
            key: key(),
            requests: vec![request],
            head,
            ..SeriesTally::default()
        };
        GatewayTally {
            series: vec![one, SeriesTally::default()],
            ..GatewayTally::default()
        }
    }

    #[test]
    fn counters_have_their_labels_and_what_led_nowhere_has_empty_ones() {
        let text = text(
            &tally(&[]),
            &GatewayObserved::default(),
            &Process::default(),
        );
        for line in [
            "# TYPE ward_requests_total counter",
            r#"ward_requests_total{env="shop/dev",service="web",release="r2",class="2xx",fault="none",by="instance"} 3"#,
            r#"ward_request_retries_total{env="",service="",release=""} 0"#,
            "ward_routing_table_generation 0",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "no {line} in\n{text}"
            );
        }
    }

    #[test]
    fn buckets_add_up_and_an_edge_belongs_to_its_bucket() {
        let text = text(
            &tally(&[64, 65, 128, 5_000_000, 200_000_000]),
            &GatewayObserved::default(),
            &Process::default(),
        );
        let of = |what: &str| {
            let start = format!(r#"ward_response_head_seconds{what}"#);
            let line = text.lines().find(|line| line.starts_with(&start));
            line.and_then(|line| line.rsplit_once(' '))
                .map(|(_, value)| value.to_owned())
        };
        let bucket = |le: &str| {
            of(&format!(
                r#"_bucket{{env="shop/dev",service="web",release="r2",le="{le}"}}"#
            ))
        };
        assert_eq!(bucket("0.000064").as_deref(), Some("1"));
        assert_eq!(bucket("0.000128").as_deref(), Some("3"));
        assert_eq!(bucket("8.388608").as_deref(), Some("4"));
        assert_eq!(bucket("33.554432").as_deref(), Some("4"));
        assert_eq!(bucket("+Inf").as_deref(), Some("5"));
        assert_eq!(of("_sum").as_deref(), Some("205.000257"));
        assert_eq!(of("_count").as_deref(), Some("5"));
        assert_eq!(bucket("67.108864"), None, "what is longer is in it too");
    }

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.sample("a", &[("b", "c\\d\"e\nf")], 1);
        assert_eq!(text.0, "a{b=\"c\\\\d\\\"e\\nf\"} 1\n");
        assert_eq!(seconds(1_500_000), "1.5");
        assert_eq!(seconds(0), "0");
        assert_eq!(seconds(10_000_000), "10");
    }
}
