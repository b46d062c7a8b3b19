//! `top`: what is asked, how fast it is answered and what fails, per service, each second.

mod screen;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use serde::Serialize;
use ward_types::histogram::Histogram;
use ward_types::id::{EnvId, Name, ReleaseId};
use ward_types::tally::{GatewayTally, RequestTally, SeriesKey, SeriesTally};
use ward_types::view::{ServiceTraffic, TrafficView};

use self::screen::{End, Screen};
use super::access::duration;
use super::status::columns;
use super::{Context, Trouble};
use crate::args;
use crate::printer::{Printer, Status};

const EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn top(context: &Context, asked: args::Top) -> Result<Status, Trouble> {
    let path = match &asked.env.env {
        Some(name) => {
            let env = crate::env::find(context, Some(name)).await?;
            format!("/v1/traffic?env={env}")
        }
        None => "/v1/traffic".to_owned(),
    };
    let printer = &context.printer;
    let mut before: TrafficView = context.client.get(&path).await?;
    if asked.once || !std::io::stdout().is_terminal() {
        tokio::time::sleep(EVERY).await;
        let now: TrafficView = context.client.get(&path).await?;
        show(printer, &between(&before, &now));
        return Ok(Status::Success);
    }
    let mut end = End::new();
    let screen = (!printer.is_json()).then(|| Screen::enter(printer));
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = end.comes() => return Ok(Status::Success),
        }
        let now: TrafficView = context.client.get(&path).await?;
        let second = between(&before, &now);
        match &screen {
            Some(screen) => screen.draw(&table(&second, printer.width())),
            None => printer.json(&second),
        }
        before = now;
    }
}

fn show(printer: &Printer, second: &Second) {
    if printer.is_json() {
        return printer.json(second);
    }
    for line in table(second, printer.width()).lines() {
        printer.data(line);
    }
}

/// What happened between two observations.
#[derive(Debug, Serialize)]
struct Second {
    /// Milliseconds that it took.
    millis: u64,
    services: Vec<Row>,
    /// Requests that led nowhere: no host, or a head that could not be read.
    nowhere: f64,
    /// Client connections open.
    connections: u64,
}

/// One service in that time.
#[derive(Debug, Serialize)]
struct Row {
    env: EnvId,
    service: Name,
    releases: Vec<ReleaseId>,
    healthy: u32,
    instances: u32,
    asleep: bool,
    /// Requests that ended, per second.
    rate: f64,
    /// The part of them that the application or Ward failed, 0 to 1; none where none ended.
    errors: Option<f64>,
    /// To the head of the answer, in microseconds: half of all were faster than this, and so on.
    p50_us: Option<u64>,
    p95_us: Option<u64>,
    p99_us: Option<u64>,
    in_flight: u64,
    /// Upgraded connections, event streams and gRPC calls.
    long: u64,
}

/// What was counted in between.
#[derive(Default)]
struct Counted {
    requests: u64,
    errors: u64,
    head: Histogram,
}

impl Counted {
    fn add(&mut self, before: Option<&SeriesTally>, now: &SeriesTally) {
        let sum = |tally: &SeriesTally, of: fn(&RequestTally) -> bool| -> u64 {
            let counted = tally.requests.iter().filter(|one| of(one));
            counted.map(|one| one.count).sum()
        };
        // What was forgotten in between, and comes back, has begun anew.
        let since = |of: fn(&RequestTally) -> bool| {
            let (then, now) = (before.map_or(0, |before| sum(before, of)), sum(now, of));
            now.checked_sub(then).unwrap_or(now)
        };
        self.requests += since(|_| true);
        self.errors += since(RequestTally::is_error);
        let head = match before {
            Some(before) => now.head.buckets.since(&before.head.buckets),
            None => now.head.buckets.clone(),
        };
        self.head.merge(&head);
    }
}

fn between(before: &TrafficView, now: &TrafficView) -> Second {
    let mut counted: BTreeMap<(Option<EnvId>, Option<Name>), Counted> = BTreeMap::new();
    for gateway in &now.gateways {
        let then = before.gateways.iter().find(|then| then.pid == gateway.pid);
        let then = then.map(by_key).unwrap_or_default();
        for series in &gateway.series {
            let key = (series.key.env.clone(), series.key.service.clone());
            counted
                .entry(key)
                .or_default()
                .add(then.get(&series.key).copied(), series);
        }
    }
    let millis = elapsed(before, now);
    let rate = |requests: u64| requests as f64 * 1000.0 / millis as f64;
    let services = now.services.iter().map(|service| {
        let key = (Some(service.env.clone()), Some(service.service.clone()));
        row(service, &counted.remove(&key).unwrap_or_default(), rate)
    });
    let services = services.collect();
    let nowhere = counted
        .get(&(None, None))
        .map_or(0, |counted| counted.requests);
    let open = now.gateways.iter().flat_map(|gateway| &gateway.connections);
    Second {
        millis,
        services,
        nowhere: rate(nowhere),
        connections: open.map(|one| one.open).sum(),
    }
}

fn by_key(tally: &GatewayTally) -> BTreeMap<&SeriesKey, &SeriesTally> {
    tally
        .series
        .iter()
        .map(|series| (&series.key, series))
        .collect()
}

/// By the gateway's own clock; a gateway that is new has counted for as long as it lives.
fn elapsed(before: &TrafficView, now: &TrafficView) -> u64 {
    let Some(gateway) = now.gateways.first() else {
        return 1000;
    };
    let then = before.gateways.iter().find(|then| then.pid == gateway.pid);
    let then = then.map_or(0, |then| then.uptime.0);
    gateway.uptime.0.saturating_sub(then).max(1)
}

fn row(service: &ServiceTraffic, counted: &Counted, rate: impl Fn(u64) -> f64) -> Row {
    let errors = counted.errors as f64 / counted.requests as f64;
    Row {
        env: service.env.clone(),
        service: service.service.clone(),
        releases: service.releases.clone(),
        healthy: service.healthy,
        instances: service.instances,
        asleep: service.asleep,
        rate: rate(counted.requests),
        errors: (counted.requests > 0).then_some(errors),
        p50_us: counted.head.quantile(50),
        p95_us: counted.head.quantile(95),
        p99_us: counted.head.quantile(99),
        in_flight: service.in_flight,
        long: service.long,
    }
}

/// What is left out where a terminal is too narrow for all, the first of these first.
const LEFT_OUT: [&str; 5] = ["LONG", "P50", "RELEASE", "IN FLIGHT", "P95"];

/// Between two columns, and before the first.
const GAP: usize = 2;

/// What a terminal of this width shows of a second.
fn table(second: &Second, width: Option<usize>) -> String {
    let mut text = String::new();
    let rate: f64 = second.services.iter().map(|row| row.rate).sum();
    let _ = writeln!(
        text,
        "{rate:.0} requests/s, {} connections open, {:.0} requests/s led nowhere",
        second.connections, second.nowhere
    );
    if second.services.is_empty() {
        text.push_str("no service takes requests\n");
        return text;
    }
    let mut shown = shown(&second.services);
    let mut left_out = Vec::new();
    for name in LEFT_OUT {
        if width.is_some_and(|width| whole(&shown) > width) {
            shown.retain(|(head, _)| *head != name);
            left_out.push(name);
        }
    }
    let heads: Vec<&str> = shown.iter().map(|(head, _)| *head).collect();
    let mut table = columns(&heads);
    for number in 0..second.services.len() {
        let cells = shown.iter().filter_map(|(_, cells)| cells.get(number));
        table.add_row(cells);
    }
    for line in table.to_string().lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if !left_out.is_empty() {
        let _ = writeln!(text, "a wider terminal shows {}", left_out.join(", "));
    }
    text
}

/// Each column: its head, and a cell for each service.
fn shown(rows: &[Row]) -> Vec<(&'static str, Vec<String>)> {
    let column = |of: &dyn Fn(&Row) -> String| rows.iter().map(of).collect::<Vec<String>>();
    let span = |micros: Option<u64>| micros.map_or("-".to_owned(), duration);
    vec![
        ("ENVIRONMENT", column(&|row| row.env.to_string())),
        ("SERVICE", column(&|row| row.service.to_string())),
        ("RELEASE", column(&releases)),
        ("HEALTHY", column(&healthy)),
        ("REQUESTS/S", column(&|row| format!("{:.1}", row.rate))),
        ("ERRORS", column(&errors)),
        ("P50", column(&|row| span(row.p50_us))),
        ("P95", column(&|row| span(row.p95_us))),
        ("P99", column(&|row| span(row.p99_us))),
        ("IN FLIGHT", column(&|row| row.in_flight.to_string())),
        ("LONG", column(&|row| row.long.to_string())),
    ]
}

fn releases(row: &Row) -> String {
    let releases: Vec<String> = row.releases.iter().map(ToString::to_string).collect();
    match releases.is_empty() {
        true => "-".to_owned(),
        false => releases.join(" "),
    }
}

fn healthy(row: &Row) -> String {
    match row.asleep {
        true => "asleep".to_owned(),
        false => format!("{}/{}", row.healthy, row.instances),
    }
}

fn errors(row: &Row) -> String {
    let part = row.errors.map(|part| format!("{:.1} %", part * 100.0));
    part.unwrap_or_else(|| "-".to_owned())
}

/// How wide a table of these columns is.
fn whole(shown: &[(&str, Vec<String>)]) -> usize {
    let width = |(head, cells): &(&str, Vec<String>)| {
        let cells = cells.iter().map(|cell| cell.chars().count());
        cells.chain([head.len()]).max().unwrap_or(0) + GAP
    };
    shown.iter().map(width).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::tally::Durations;
    use ward_types::time::Millis;

    fn series(release: u64, good: u64, bad: u64) -> SeriesTally {
        let mut head = Durations::default();
        (0..good).for_each(|_| head.buckets.record(1000));
        (0..bad).for_each(|_| head.buckets.record(100_000));
        let request = |class: &str, count| RequestTally {
            class: class.to_owned(),
            fault: "none".to_owned(),
            by: "instance".to_owned(),
            count,
        };
        SeriesTally {
            key: SeriesKey {
                env: EnvId::parse("shop/dev").ok(),
                service: Name::parse("web").ok(),
                release: Some(ReleaseId(release)),
            },
            requests: vec![request("2xx", good), request("5xx", bad)],
            head,
            ..SeriesTally::default()
        }
    }

    fn view(gateways: Vec<(u32, u64, Vec<SeriesTally>)>) -> TrafficView {
        let gateways = gateways
            .into_iter()
            .map(|(pid, uptime, series)| GatewayTally {
                pid,
                uptime: Millis(uptime),
                series,
                ..GatewayTally::default()
            });
        TrafficView {
            gateways: gateways.collect(),
            services: vec![ServiceTraffic {
                env: EnvId::parse("shop/dev").unwrap(),
                service: Name::parse("web").unwrap(),
                releases: vec![ReleaseId(1), ReleaseId(2)],
                healthy: 3,
                instances: 4,
                asleep: false,
                in_flight: 5,
                long: 0,
            }],
        }
    }

    #[test]
    fn rates_are_what_came_in_between_of_all_releases() {
        let before = view(vec![(7, 10_000, vec![series(1, 100, 0)])]);
        let now = view(vec![(
            7,
            12_000,
            vec![series(1, 150, 0), series(2, 40, 10)],
        )]);
        let second = between(&before, &now);
        let row = &second.services[0];
        assert_eq!((second.millis, row.rate), (2000, 50.0));
        assert_eq!(row.errors, Some(0.1));
        assert_eq!(row.p50_us, Some(1024));
        assert!(
            row.p99_us
                .is_some_and(|p99| (100_000..125_000).contains(&p99)),
            "{row:?}"
        );
        let text = table(&second, None);
        let line = text.lines().last().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            words[..8],
            ["shop/dev", "web", "r1", "r2", "3/4", "50.0", "10.0", "%"]
        );
    }

    #[test]
    fn a_gateway_that_is_new_counts_from_its_beginning_and_nothing_is_no_ratio() {
        let before = view(vec![(7, 10_000, vec![series(1, 100, 0)])]);
        let now = view(vec![
            (8, 500, vec![series(1, 10, 0)]),
            (7, 10_500, vec![series(1, 105, 0)]),
        ]);
        let second = between(&before, &now);
        assert_eq!((second.millis, second.services[0].rate), (500, 30.0));
        let idle = between(&now, &now);
        assert_eq!(
            (idle.services[0].rate, idle.services[0].errors),
            (0.0, None)
        );
        assert_eq!(idle.services[0].p50_us, None);
    }

    #[test]
    fn a_narrow_terminal_leaves_out_what_matters_least_and_says_so() {
        let before = view(vec![(7, 10_000, vec![series(1, 100, 0)])]);
        let now = view(vec![(7, 12_000, vec![series(1, 150, 3)])]);
        let second = between(&before, &now);
        let at = |width| table(&second, width);
        assert!(!at(Some(120)).contains("a wider terminal"));
        assert!(at(None).contains("LONG") && at(Some(120)).contains("LONG"));
        for width in [100, 80, 60] {
            let text = at(Some(width));
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest.is_some_and(|widest| widest <= width), "{text}");
            for needed in ["REQUESTS/S", "ERRORS", "P99", "HEALTHY"] {
                assert!(text.contains(needed), "{width}: {text}");
            }
        }
        assert!(at(Some(80)).contains("a wider terminal shows LONG"));
    }
}
