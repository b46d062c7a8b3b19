//! The gateway over real sockets: a real gateway process, real clients, real servers behind keepers that
//! speak the keepers' protocol on real sockets. Only the sandboxes are left out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod app;
mod clients;
mod keeper;
mod windows;
mod world;

mod accounts;
mod affinity;
mod certificates;
mod conformance;
mod control;
mod crowds;
mod deadlines;
mod draining;
mod edges;
mod extended;
mod gaps;
mod hedging;
mod http;
mod lean;
mod links;
mod memory;
mod mutual;
mod overload;
mod partings;
mod pipes;
mod posture;
mod probes;
mod routing;
mod sharing;
mod sleeping;
mod smuggling;
mod splits;
mod swaps;
mod tls;
mod upgrades;
mod uploads;
mod wires;

/// The gateway's process: the tests start their own binary again with this as its only test.
#[test]
fn gateway_process() {
    world::become_the_gateway();
}
