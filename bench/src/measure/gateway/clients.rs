//! Who asks: wrk and h2load, and what they say.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::pace;
use super::proxies::{Proxy, program};
use crate::error::{Error, doing};
use crate::sample::Sample;

/// What is asked, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) host: &'static str,
    pub(super) path: &'static str,
    pub(super) speaks: Speaks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// HTTP/1.1 on connections that are kept.
    Http1,
    /// HTTP/1.1 with a connection for each request.
    NewConnections,
    /// HTTP/1.1 over TLS 1.3, on connections that are kept.
    Tls,
    /// HTTP/2 over TLS 1.3, 100 requests at once on each connection.
    Http2,
}

/// How many connections ask at once over HTTP/1.1, and over HTTP/2: of those so many that none has all the
/// requests that Ward allows one (10,000), because h2load does not connect again.
const CONNECTIONS: u32 = 64;
const CONNECTIONS_OF_2: u32 = 32;

/// What a run at saturation gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saturated {
    pub(super) requests: f64,
    pub(super) seconds: f64,
    /// Those that were not answered with 2xx.
    pub(super) failed: f64,
}

/// As many requests as there can be, for so long.
pub(super) fn saturate(proxy: &Proxy, way: Way, time: Duration) -> Result<Saturated, Error> {
    let plain = matches!(way.speaks, Speaks::Http1 | Speaks::NewConnections);
    match plain {
        true => wrk(proxy.http, way, time),
        false => {
            let mut h2load = h2load(proxy, way)?;
            h2load.arg(format!("--duration={}", time.as_secs()));
            of_h2load(&output(h2load)?, time)
        }
    }
}

fn wrk(address: SocketAddr, way: Way, time: Duration) -> Result<Saturated, Error> {
    let mut wrk = program("wrk", "wrk", &["/usr/bin/wrk"])?;
    wrk.args(["--threads", "1", "--connections"]);
    wrk.arg(CONNECTIONS.to_string());
    wrk.arg("--duration").arg(format!("{}s", time.as_secs()));
    wrk.args(["--header", &format!("Host: {}", way.host)]);
    if way.speaks == Speaks::NewConnections {
        wrk.args(["--header", "Connection: close"]);
    }
    wrk.arg(format!("http://{address}{}", way.path));
    let text = output(wrk)?;
    let number = |after: &str, before: &str| {
        let line = text.lines().find(|line| line.contains(before))?;
        let words = line.replace([',', ':'], " ");
        let mut words = words.split_whitespace();
        match after {
            "" => words.next()?.parse::<f64>().ok(),
            _ => words
                .find(|word| *word == after)
                .and(words.next()?.parse().ok()),
        }
    };
    let requests = number("", "requests in").ok_or_else(|| strange("wrk", &text))?;
    let errors = ["connect", "read", "write", "timeout"].iter();
    let errors = errors
        .filter_map(|kind| number(kind, "Socket errors"))
        .sum::<f64>();
    Ok(Saturated {
        requests,
        seconds: time.as_secs_f64(),
        failed: errors + number("responses", "Non-2xx").unwrap_or(0.0),
    })
}

fn h2load(proxy: &Proxy, way: Way) -> Result<Command, Error> {
    let clients = match way.speaks {
        Speaks::Http2 => CONNECTIONS_OF_2,
        _ => CONNECTIONS,
    };
    h2load_of(proxy, way, clients)
}

fn h2load_of(proxy: &Proxy, way: Way, clients: u32) -> Result<Command, Error> {
    let mut h2load = program("h2load", "nghttp2-client", &["/usr/bin/h2load"])?;
    let (scheme, address) = match way.speaks {
        Speaks::Http1 | Speaks::NewConnections => ("http", proxy.http),
        Speaks::Tls | Speaks::Http2 => ("https", proxy.https),
    };
    h2load.args(["--threads=1", &format!("--connect-to={address}")]);
    h2load.arg(format!("--clients={clients}"));
    h2load.arg(match way.speaks {
        Speaks::Http2 => "--max-concurrent-streams=100",
        _ => "--h1",
    });
    h2load.arg(format!("{scheme}://{}{}", way.host, way.path));
    Ok(h2load)
}

fn of_h2load(text: &str, time: Duration) -> Result<Saturated, Error> {
    let line = text.lines().find(|line| line.starts_with("requests:"));
    let line = line.ok_or_else(|| strange("h2load", text))?;
    let of = |word: &str| {
        let parts: Vec<&str> = line.split([' ', ',']).filter(|w| !w.is_empty()).collect();
        let at = parts.iter().position(|part| *part == word)?;
        parts.get(at.checked_sub(1)?)?.parse::<f64>().ok()
    };
    let statuses = text.lines().find(|line| line.starts_with("status codes:"));
    let good = statuses.and_then(|line| line.split_whitespace().nth(2)?.parse::<f64>().ok());
    let done = of("done").ok_or_else(|| strange("h2load", text))?;
    Ok(Saturated {
        requests: done,
        seconds: time.as_secs_f64(),
        failed: done - good.unwrap_or(0.0).min(done),
    })
}

/// So many requests a second, evenly; how long each took, in microseconds.
pub(super) fn at_rate(
    proxy: &Proxy,
    way: Way,
    rate: f64,
    time: Duration,
    folder: &Path,
) -> Result<Sample, Error> {
    let answers = match way.speaks {
        Speaks::Http1 => pace::run(proxy.http, way, (rate, CONNECTIONS), time)?,
        Speaks::Tls | Speaks::NewConnections => {
            offer(proxy, way, (rate, CONNECTIONS), time, folder)?
        }
        Speaks::Http2 => offer(proxy, way, (rate, CONNECTIONS_OF_2), time, folder)?,
    };
    let good = answers.iter().filter(|answer| answer.is_good);
    let mut sample = Sample::default();
    sample.extend(good.map(|answer| answer.took * 1e6));
    Ok(sample)
}

/// How a request was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    /// From the first request's moment to this one's, in seconds.
    pub(super) at: f64,
    /// To its end, in seconds.
    pub(super) took: f64,
    /// Whether with 2xx.
    pub(super) is_good: bool,
}

/// So many requests a second, evenly, from so many clients: one that waits for an answer asks nothing meanwhile. h2load looks
/// at its clock each millisecond, and no answer is faster.
fn offer(
    proxy: &Proxy,
    way: Way,
    (rate, clients): (f64, u32),
    time: Duration,
    folder: &Path,
) -> Result<Vec<Answer>, Error> {
    let log = folder.join("requests.log");
    let _ = fs::remove_file(&log);
    let mut h2load = h2load_of(proxy, way, clients)?;
    h2load.arg(format!("--rps={:.3}", rate / f64::from(clients)));
    h2load.arg(format!("--duration={}", time.as_secs()));
    h2load.arg("--log-file").arg(&log);
    output(h2load)?;
    let text = doing("read h2load's log", fs::read_to_string(&log))?;
    let answers = text.lines().filter_map(|line| {
        let mut fields = line.split('\t');
        Some(Answer {
            at: fields.next()?.parse::<f64>().ok()? / 1e6,
            is_good: fields.next()?.starts_with('2'),
            took: fields.next()?.parse::<f64>().ok()? / 1e6,
        })
    });
    let mut answers: Vec<Answer> = answers.collect();
    let first = answers.iter().map(|one| one.at).fold(f64::MAX, f64::min);
    answers.iter_mut().for_each(|answer| answer.at -= first);
    Ok(answers)
}

/// As many requests as so many clients have answered one after the other, each second.
pub(super) fn closed_loop(
    proxy: &Proxy,
    way: Way,
    clients: u32,
    time: Duration,
) -> Result<f64, Error> {
    let mut h2load = h2load_of(proxy, way, clients)?;
    h2load.arg(format!("--duration={}", time.as_secs()));
    let run = of_h2load(&output(h2load)?, time)?;
    Ok((run.requests - run.failed) / run.seconds)
}

fn output(mut command: Command) -> Result<String, Error> {
    let line = format!("{command:?}");
    let output = doing(format!("run {line}"), command.output())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Error::Command {
            line,
            how: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
    }
}

fn strange(program: &str, text: &str) -> Error {
    Error::Unexpected(format!("{program} said what is not understood: {text}"))
}
