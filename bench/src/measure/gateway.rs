//! The gateway beside nginx and HAProxy: the same origin, the same certificates' kind, the same two cores, in turn
//! and in one run.
//!
//! Everything that Ward's gateway does is on; the peers have their best public settings, without an access log.
//! Caddy is measured beside them where it is installed; no bar is about it.
//!
//! Processor time is what the kernel accounts to the proxy's own processes, user and system, divided by what was
//! answered. Latencies are of requests at a rate that every proxy can bear: half of, and four fifths of, what the
//! slowest one can. Each ratio is of Ward's median to the better peer's.

mod attacks;
mod clients;
mod connections;
mod echo;
mod overload;
mod pace;
mod proxies;
mod slow;
mod swaps;

use std::time::Duration;

use super::{Measured, blocking};
use crate::error::Error;
use crate::report::{Bar, Floor, Row, informs, say};
use crate::sample::Sample;
use crate::workshop::Workshop;
pub(crate) use attacks::run as attack;
use attacks::{ATTACKS, Attack};
use clients::{Speaks, Way};
use connections::{Direction, Idle, LARGE, Sessions};
use proxies::{HOST, Proxies, Proxy};

const PER_REQUEST: Bar = Bar {
    name: "gateway: processor time per 1 KB HTTP/1.1 request, against the better peer",
    unit: "ratio",
    most: 0.9,
};
const PER_TLS: Bar = Bar {
    name: "gateway: the same over TLS",
    unit: "ratio",
    most: 1.0,
};
const PER_HTTP2: Bar = Bar {
    name: "gateway: the same over HTTP/2",
    unit: "ratio",
    most: 1.0,
};
const TAIL: Bar = Bar {
    name: "gateway: p99 at 80 % of the slowest's saturation, 1 KB over HTTP/1.1, against the better peer",
    unit: "ratio",
    most: 1.0,
};
const DOWNLOAD: Bar = Bar {
    name: "gateway: processor time per byte of a 1 GB download, against the better peer",
    unit: "ratio",
    most: 1.0,
};
const UPLOAD: Bar = Bar {
    name: "gateway: processor time per byte of a 1 GB upload, against the better peer",
    unit: "ratio",
    most: 1.0,
};
const IDLE: Bar = Bar {
    name: "gateway: memory per idle TLS connection",
    unit: "KB",
    most: 24.0,
};
const SWAPS: swaps::Bars = swaps::Bars {
    acknowledged: Bar {
        name: "gateway: routing table of 10,000 hosts: swap, acknowledged",
        unit: "ms",
        most: 100.0,
    },
    tail: Bar {
        name: "gateway: routing table of 10,000 hosts: p99 during swaps, against the worst run without",
        unit: "ratio",
        most: 1.0,
    },
};
const SLOW: Bar = Bar {
    name: "gateway: p99 with one of four instances ten times slower, against round robin",
    unit: "ratio",
    most: 0.5,
};
const GOODPUT: Floor = Floor {
    name: "gateway: goodput at 10 times the load that the service can take, against 1 time",
    unit: "ratio",
    least: 0.9,
};
pub(super) const FLOORS: &[Floor] = &[GOODPUT];
pub(super) const BARS: &[Bar] = &[
    PER_REQUEST,
    PER_TLS,
    PER_HTTP2,
    TAIL,
    DOWNLOAD,
    UPLOAD,
    IDLE,
    SWAPS.acknowledged,
    SWAPS.tail,
    SLOW,
    ATTACKS[0].bar,
    ATTACKS[1].bar,
    ATTACKS[2].bar,
    ATTACKS[3].bar,
    ATTACKS[4].bar,
    ATTACKS[5].bar,
    ATTACKS[6].bar,
    ATTACKS[7].bar,
    ATTACKS[8].bar,
    ATTACKS[9].bar,
    ATTACKS[10].bar,
    ATTACKS[11].bar,
    ATTACKS[12].bar,
    ATTACKS[13].bar,
    attacks::MEMORY,
];

const SMALL: &str = "/bytes/1000";
const MEDIUM: &str = "/bytes/100000";
const WAYS: &[(Way, Option<Bar>)] = &[
    (
        way("1 KB over HTTP/1.1", SMALL, Speaks::Http1),
        Some(PER_REQUEST),
    ),
    (way("1 KB over TLS 1.3", SMALL, Speaks::Tls), Some(PER_TLS)),
    (
        way("1 KB over HTTP/2", SMALL, Speaks::Http2),
        Some(PER_HTTP2),
    ),
    (way("100 KB over HTTP/1.1", MEDIUM, Speaks::Http1), None),
    (
        way("1 KB on new connections", SMALL, Speaks::NewConnections),
        None,
    ),
];

const fn way(name: &'static str, path: &'static str, speaks: Speaks) -> Way {
    Way {
        name,
        host: HOST,
        path,
        speaks,
    }
}

/// How often each is measured, in turn. Many short ones: what else goes on in a machine changes from second to second, and
/// is the same for those that are side by side.
const ROUNDS: u32 = 7;
const WARM_UP: Duration = Duration::from_secs(1);
const SATURATED_FOR: Duration = Duration::from_secs(2);
const AT_RATE_FOR: Duration = Duration::from_secs(2);
/// How many handshakes one measurement is of.
const HANDSHAKES: u32 = 2000;
const IDLE_CONNECTIONS: u32 = 1000;

/// What is measured, under a name that can be asked for.
#[derive(Clone, Copy)]
enum Part {
    Way(Way, Option<Bar>),
    Handshakes(Sessions),
    Large(Direction, Bar),
    Idle,
    Echo,
    Slow,
    Overload,
    Swaps,
    Attack(Attack),
}

impl Part {
    fn all() -> impl Iterator<Item = Self> {
        let ways = WAYS.iter().map(|(way, bar)| Self::Way(*way, *bar));
        // First: a process that has had more connections before has the memory for them.
        let ways = std::iter::once(Self::Idle).chain(ways);
        ways.chain([
            Self::Handshakes(Sessions::Forgotten),
            Self::Handshakes(Sessions::Resumed),
            Self::Large(Direction::Download, DOWNLOAD),
            Self::Large(Direction::Upload, UPLOAD),
            Self::Echo,
            Self::Slow,
            Self::Overload,
            Self::Swaps,
        ])
        .chain(ATTACKS.map(Self::Attack))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Way(way, _) => way.name,
            Self::Handshakes(Sessions::Forgotten) => "TLS 1.3 connections",
            Self::Handshakes(Sessions::Resumed) => "resumed TLS 1.3 connections",
            Self::Large(Direction::Download, _) => "1 GB download",
            Self::Large(Direction::Upload, _) => "1 GB upload",
            Self::Idle => "memory per idle TLS connection",
            Self::Echo => "websocket echo",
            Self::Slow => "one of four instances ten times slower",
            Self::Overload => "overload",
            Self::Swaps => "routing table of 10,000 hosts",
            Self::Attack(attack) => attack.name,
        }
    }

    /// Its bars, of which nothing is known.
    fn unmeasured(self) -> Vec<Row> {
        let bars = match self {
            Self::Way(way, bar) => {
                let tail = Some(TAIL).filter(|_| way.name == WAYS[0].0.name);
                bar.into_iter().chain(tail).collect()
            }
            Self::Large(_, bar) => vec![bar],
            Self::Idle => vec![IDLE],
            Self::Slow => vec![SLOW],
            Self::Swaps => vec![SWAPS.acknowledged, SWAPS.tail],
            Self::Attack(attack) => vec![attack.bar],
            Self::Overload => return vec![GOODPUT.row(None)],
            Self::Handshakes(_) | Self::Echo => {
                return vec![informs(format!("gateway: {}", self.name()), None, "µs")];
            }
        };
        bars.iter().map(|bar| bar.row(None)).collect()
    }

    fn measure(self, proxies: &Proxies, folder: &std::path::Path) -> Result<Vec<Row>, Error> {
        let all = &proxies.all;
        match self {
            Self::Way(way, bar) => at_saturation(all, way, bar, folder),
            Self::Handshakes(sessions) => handshakes(all, sessions, self.name()),
            Self::Large(direction, bar) => large(all, direction, bar, self.name()),
            Self::Idle => idle(all, self.name()),
            Self::Echo => echoes(all, self.name()),
            Self::Slow => slow::measure(proxies, SLOW, folder),
            Self::Overload => overload::measure(proxies, GOODPUT),
            Self::Swaps => swaps::measure(proxies, WAYS[0].0, &SWAPS, folder),
            Self::Attack(attack) => attacks::measure(attack, proxies, WAYS[0].0),
        }
    }
}

/// The parts whose names hold this text.
fn parts(only: Option<&str>) -> Result<Vec<Part>, Error> {
    let asked = |part: &Part| only.is_none_or(|text| part.name().contains(text));
    let parts: Vec<Part> = Part::all().filter(asked).collect();
    if parts.is_empty() {
        let names: Vec<&str> = Part::all().map(Part::name).collect();
        let (text, names) = (only.unwrap_or_default(), names.join("; "));
        let why = format!("no part has \"{text}\" in its name (--only); there are: {names}");
        return Err(Error::Unexpected(why));
    }
    Ok(parts)
}

pub(super) async fn measure(workshop: &Workshop, only: Option<&str>) -> Measured {
    let parts = parts(only)?;
    allow_connections();
    let proxies = Proxies::start(workshop).await?;
    let folder = workshop.scratch("gateway-")?;
    let (measured, proxies) = blocking(move || {
        let measured = all(&parts, &proxies, folder.path());
        (measured, proxies)
    })
    .await;
    let (rows, failed) = measured;
    proxies.stop().await?;
    let note = format!(
        "{ROUNDS} rounds of each in turn, medians; {} s at saturation (wrk with 64 connections; h2load over TLS, and \
         with 32 connections of 100 streams over HTTP/2), {} s at a rate (over HTTP/1.1 each request at its own moment, and \
         counted from that; else h2load, whose clock has milliseconds). One origin, a thread per connection; Ward \
         reaches another process of the same binary in a sandbox.",
        SATURATED_FOR.as_secs(),
        AT_RATE_FOR.as_secs()
    );
    let only = only.map(|text| format!("only what has \"{text}\" in its name (--only)"));
    let notes = std::iter::once(note).chain(only).chain(failed).collect();
    Ok((rows, notes))
}

/// A connection is a descriptor.
fn allow_connections() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What is too little shows as an error of its own.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The rows of all parts, and why those of a part are missing: the others are measured all the same.
fn all(parts: &[Part], proxies: &Proxies, folder: &std::path::Path) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for part in parts {
        match part.measure(proxies, folder) {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                let why = proxies.explain(&error).sentence();
                let why = format!("\"{}\" could not be measured: {why}", part.name());
                say(&why);
                failed.push(why);
                rows.extend(part.unmeasured());
            }
        }
    }
    rows.extend(attacks::memory(&rows));
    (rows, failed)
}

/// What was measured of one proxy, in rounds.
#[derive(Default)]
struct Taken {
    /// Microseconds of processor time for each.
    cost: Sample,
    /// How many a second.
    rate: Sample,
}

impl Taken {
    fn note(&mut self, processor: Duration, count: f64, seconds: f64) {
        self.cost.add(processor.as_secs_f64() * 1e6 / count);
        self.rate.add(count / seconds);
    }
}

/// The median of the first to the least median of the others that have bars.
fn against_the_better(proxies: &[Proxy], samples: &[&Sample]) -> Option<f64> {
    let mut medians = proxies
        .iter()
        .zip(samples)
        .filter(|(proxy, _)| proxy.has_bars)
        .map(|(_, sample)| sample.median());
    let (own, others) = (medians.next()?, medians.flatten());
    Some(own? / others.min_by(f64::total_cmp)?)
}

/// Each proxy in turn, another one first in each round.
fn in_turn(proxies: &[Proxy]) -> impl Iterator<Item = (usize, &Proxy)> {
    (0..ROUNDS as usize).flat_map(move |round| {
        let order = (0..proxies.len()).map(move |at| (at + round) % proxies.len());
        order.map(|one| (one, &proxies[one]))
    })
}

fn at_saturation(
    proxies: &[Proxy],
    way: Way,
    bar: Option<Bar>,
    folder: &std::path::Path,
) -> Result<Vec<Row>, Error> {
    for proxy in proxies {
        clients::saturate(proxy, way, WARM_UP)?;
    }
    let mut taken: Vec<Taken> = proxies.iter().map(|_| Taken::default()).collect();
    for (one, proxy) in in_turn(proxies) {
        let before = proxy.processor_time()?;
        let run = clients::saturate(proxy, way, SATURATED_FOR)?;
        let spent = proxy.processor_time()?.saturating_sub(before);
        if run.failed > 0.0 && proxy.has_bars {
            let (name, failed, of) = (proxy.name, run.failed, run.requests);
            return Err(Error::Unexpected(format!(
                "{name}, {}: {failed} of {of} requests failed",
                way.name
            )));
        }
        taken[one].note(spent, run.requests - run.failed, run.seconds);
    }
    let costs: Vec<&Sample> = taken.iter().map(|taken| &taken.cost).collect();
    let mut rows = vec![match bar {
        Some(bar) => bar.row(against_the_better(proxies, &costs)),
        None => informs(
            format!(
                "gateway: {}: processor time, against the better peer",
                way.name
            ),
            against_the_better(proxies, &costs),
            "ratio",
        ),
    }];
    rows.extend(rows_of(proxies, &taken, way.name, "requests/s"));
    if way.speaks != Speaks::NewConnections {
        let most = taken.iter().map(|taken| taken.rate.median().unwrap_or(0.0));
        rows.extend(latencies(proxies, way, &most.collect::<Vec<_>>(), folder)?);
    }
    Ok(rows)
}

fn rows_of(proxies: &[Proxy], taken: &[Taken], what: &str, per_second: &'static str) -> Vec<Row> {
    let rows = proxies.iter().zip(taken).flat_map(|(proxy, taken)| {
        let (cost, rate) = (taken.cost.median(), taken.rate.median());
        let named = |measured: &str| format!("gateway: {what}: {measured}, {}", proxy.name);
        say(&format!(
            "  {what}, {}: {:.1} µs, {:.0} {per_second}",
            proxy.name,
            cost.unwrap_or(f64::NAN),
            rate.unwrap_or(f64::NAN)
        ));
        [
            informs(named("processor time"), cost, "µs"),
            informs(named("most"), rate, per_second),
        ]
    });
    rows.collect()
}

/// At shares of the most that the slowest of those with bars can bear. One without is asked no more than the same share of
/// what it can bear itself.
fn latencies(
    proxies: &[Proxy],
    way: Way,
    most: &[f64],
    folder: &std::path::Path,
) -> Result<Vec<Row>, Error> {
    let with_bars = proxies.iter().zip(most).filter(|(proxy, _)| proxy.has_bars);
    let slowest = with_bars.map(|(_, most)| *most).min_by(f64::total_cmp);
    let slowest = slowest.unwrap_or(0.0);
    let mut rows = Vec::new();
    for percent in [50, 80] {
        let mut taken: Vec<[Sample; 3]> = proxies.iter().map(|_| Default::default()).collect();
        for (one, proxy) in in_turn(proxies) {
            let rate = most[one].min(slowest) * f64::from(percent) / 100.0;
            let sample = clients::at_rate(proxy, way, rate, AT_RATE_FOR, folder)?;
            for (into, share) in taken[one].iter_mut().zip([0.5, 0.99, 0.999]) {
                into.extend(sample.quantile(share));
            }
        }
        let tails: Vec<&Sample> = taken.iter().map(|[_, tail, _]| tail).collect();
        let ratio = against_the_better(proxies, &tails);
        if percent == 80 && way.name == WAYS[0].0.name {
            rows.push(TAIL.row(ratio));
        }
        for (proxy, taken) in proxies.iter().zip(&taken) {
            for (sample, what) in taken.iter().zip(["p50", "p99", "p99.9"]) {
                let name = format!(
                    "gateway: {}: {what} at {percent} %, {}",
                    way.name, proxy.name
                );
                rows.push(informs(name, sample.median(), "µs"));
            }
        }
    }
    Ok(rows)
}

fn handshakes(proxies: &[Proxy], sessions: Sessions, what: &str) -> Result<Vec<Row>, Error> {
    let mut taken: Vec<Taken> = proxies.iter().map(|_| Taken::default()).collect();
    for (one, proxy) in in_turn(proxies) {
        let (before, started) = (proxy.processor_time()?, std::time::Instant::now());
        connections::connect(proxy.https, sessions, HANDSHAKES)?;
        let spent = proxy.processor_time()?.saturating_sub(before);
        taken[one].note(
            spent,
            f64::from(HANDSHAKES),
            started.elapsed().as_secs_f64(),
        );
    }
    let costs: Vec<&Sample> = taken.iter().map(|taken| &taken.cost).collect();
    let name = format!("gateway: {what}: processor time, against the better peer");
    let mut rows = vec![informs(name, against_the_better(proxies, &costs), "ratio")];
    rows.extend(rows_of(proxies, &taken, what, "connections/s"));
    Ok(rows)
}

fn large(proxies: &[Proxy], direction: Direction, bar: Bar, what: &str) -> Result<Vec<Row>, Error> {
    let megabytes = LARGE as f64 / 1e6;
    let mut taken: Vec<Taken> = proxies.iter().map(|_| Taken::default()).collect();
    // Each is over soon, and no two are alike: how much comes at once is chance.
    for (one, proxy) in (0..3).flat_map(|_| in_turn(proxies)) {
        let before = proxy.processor_time()?;
        let seconds = connections::carry(proxy.http, direction)?;
        let spent = proxy.processor_time()?.saturating_sub(before);
        taken[one].note(spent, megabytes, seconds);
    }
    let costs: Vec<&Sample> = taken.iter().map(|taken| &taken.cost).collect();
    let mut rows = vec![bar.row(against_the_better(proxies, &costs))];
    let name = format!("{what}, each MB");
    rows.extend(rows_of(proxies, &taken, &name, "MB/s"));
    Ok(rows)
}

fn echoes(proxies: &[Proxy], what: &str) -> Result<Vec<Row>, Error> {
    let mut taken: Vec<Taken> = proxies.iter().map(|_| Taken::default()).collect();
    for (one, proxy) in in_turn(proxies) {
        let before = proxy.processor_time()?;
        let echoed = echo::run(proxy.http, AT_RATE_FOR)?;
        let spent = proxy.processor_time()?.saturating_sub(before);
        taken[one].note(spent, echoed.messages, echoed.seconds);
    }
    let costs: Vec<&Sample> = taken.iter().map(|taken| &taken.cost).collect();
    let name = format!("gateway: {what}: processor time per message, against the better peer");
    let mut rows = vec![informs(name, against_the_better(proxies, &costs), "ratio")];
    rows.extend(rows_of(proxies, &taken, what, "messages/s"));
    Ok(rows)
}

fn idle(proxies: &[Proxy], what: &str) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for proxy in proxies {
        let before = proxy.memory()?;
        let idle = Idle::open(proxy.https, IDLE_CONNECTIONS)?;
        let more = proxy.memory()?.saturating_sub(before) as f64;
        let each = more / 1e3 / idle.len() as f64;
        if rows.is_empty() {
            rows.push(IDLE.row(each));
        }
        let name = format!("gateway: {what}, {}", proxy.name);
        rows.push(informs(name, each, "KB"));
    }
    Ok(rows)
}
