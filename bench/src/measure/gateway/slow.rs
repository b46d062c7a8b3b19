//! Four instances, of which one is ten times slower than the others: what the slowest requests take through Ward, and
//! through a proxy that asks each in turn.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use super::clients::{self, Speaks, Way};
use super::proxies::{FOUR, Proxies, Proxy};
use super::{AT_RATE_FOR, ROUNDS};
use crate::error::{Error, doing};
use crate::report::{Bar, Row, informs, say};
use crate::sample::Sample;

/// 2 ms, and 20 of the slow one.
const WAY: Way = Way {
    name: "one of four instances ten times slower",
    host: FOUR,
    path: "/wait/2",
    speaks: Speaks::Http1,
};
/// Requests a second: with each in turn, five are under way at once.
const RATE: f64 = 800.0;
/// As long as it may take a proxy to see who is slow.
const LEARNS_FOR: Duration = Duration::from_secs(3);
/// How often each instance is asked at the least whether it is the slow one.
const QUESTIONS: usize = 200;

pub(super) fn measure(proxies: &Proxies, bar: Bar, folder: &Path) -> Result<Vec<Row>, Error> {
    let ward = &proxies.all[0];
    one_is_slow(ward)?;
    let peer = proxies.round_robin(&[&[], &[], &[], &[("SLOW", "yes")]])?;
    let both = [("Ward", ward), ("HAProxy, each in turn", &peer.proxy)];
    for (_, proxy) in both {
        clients::at_rate(proxy, WAY, RATE, LEARNS_FOR, folder)?;
    }
    let mut taken: [[Sample; 2]; 2] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, proxy), [middle, tail]) in both.iter().zip(&mut taken) {
            let sample = clients::at_rate(proxy, WAY, RATE, AT_RATE_FOR, folder)?;
            middle.extend(sample.median());
            tail.extend(sample.quantile(0.99));
        }
    }
    Ok(rows(&both.map(|(name, _)| name), &taken, bar))
}

fn rows(names: &[&str; 2], taken: &[[Sample; 2]; 2], bar: Bar) -> Vec<Row> {
    let [[_, own], [_, other]] = taken;
    let ratio = own.median().zip(other.median());
    let mut rows = vec![bar.row(ratio.map(|(own, other)| own / other))];
    for (name, samples) in names.iter().zip(taken) {
        for (sample, what) in samples.iter().zip(["p50", "p99"]) {
            let row = informs(
                format!("gateway: {}: {what}, {name}", WAY.name),
                sample.median(),
                "µs",
            );
            say(&format!(
                "  {}: {}",
                row.name,
                row.value.unwrap_or(f64::NAN)
            ));
            rows.push(row);
        }
    }
    rows
}

/// Without this nothing would be measured, and it would look good.
fn one_is_slow(ward: &Proxy) -> Result<(), Error> {
    let mut paces = std::collections::BTreeMap::new();
    for _ in 0..QUESTIONS {
        let (instance, pace) = doing("ask an instance for its pace", pace(ward))?;
        paces.insert(instance, pace);
    }
    let slow = paces.values().filter(|pace| *pace == "slow").count();
    match (paces.len(), slow) {
        (4, 1) => Ok(()),
        _ => Err(Error::Unexpected(format!(
            "of four instances one should be slow: {paces:?}"
        ))),
    }
}

fn pace(proxy: &Proxy) -> std::io::Result<(String, String)> {
    let mut stream = TcpStream::connect(proxy.http)?;
    write!(
        stream,
        "GET /pace HTTP/1.1\r\nhost: {FOUR}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let strange = || std::io::Error::other(format!("it answered {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(strange)?;
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let instance = lines.find(|(name, _)| name.eq_ignore_ascii_case("ward-instance"));
    let (_, instance) = instance.ok_or_else(strange)?;
    Ok((instance.to_owned(), body.to_owned()))
}
