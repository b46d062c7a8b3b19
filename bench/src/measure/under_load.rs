//! What a load tells, as rows and notes.

use crate::load::{Client as _, KeepAlive, Summary};
use crate::report::{Row, informs};
use crate::sample::Sample;

/// The host of the route of examples/returns.
pub(super) const HOST: &str = "returns.localhost";

/// Rows that inform: how many were asked, of which kinds, and how long the short requests took.
pub(super) fn rows(group: &str, load: &Summary) -> Vec<Row> {
    let mut rows = vec![informs(
        format!("{group}: requests in all"),
        load.asked() as f64,
        "requests",
    )];
    for (name, kind) in &load.kinds {
        rows.push(informs(
            format!("{group}: {name}, asked"),
            kind.asked as f64,
            "requests",
        ));
        rows.push(informs(
            format!("{group}: {name}, failed"),
            kind.failed as f64,
            "requests",
        ));
    }
    let mut short = Sample::default();
    for name in [KeepAlive::KIND, "new connection", "HTTP/2"] {
        if let Some(kind) = load.kinds.get(name) {
            short.extend(kind.latency.values());
        }
    }
    for (name, value) in [
        ("p50", short.quantile(0.5)),
        ("p99", short.quantile(0.99)),
        ("max", short.max()),
    ] {
        rows.push(informs(
            format!("{group}: latency of short requests, {name}"),
            value,
            "ms",
        ));
    }
    rows
}

/// The first failures, if there are any.
pub(super) fn failures(load: &Summary) -> Option<String> {
    let failures = load.failures();
    let told = || {
        format!(
            "the first failures of each kind:\n  {}",
            failures.join("\n  ")
        )
    };
    (!failures.is_empty()).then(told)
}

/// How it was measured, and the first failures.
pub(super) fn notes(load: &Summary) -> Vec<String> {
    let mut notes = vec![
        "open loop at 100 keep-alive, 40 new-connection and 50 HTTP/2 requests a second to / of examples/returns, an \
         upload of 10 MB over 5 s and an event stream of 10 s begun every 2 s; latency counts from when a request was \
         due. An event stream that ends in order did not fail; one that breaks off, or is silent for 5 s, did."
            .to_owned(),
    ];
    notes.extend(failures(load));
    notes
}
