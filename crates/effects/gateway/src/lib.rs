//! What clients talk to: routes, balances, drains.
//!
//! The gateway is a process of its own ([`run`], started by [`spawn`]) so that serving does not depend on
//! the control plane (promise P10). It holds one immutable routing table, swapped whole; each table has a
//! generation, and once a table is acknowledged no new request goes to an instance that it does not name.
//!
//! What a client sees beside the application's own answer:
//!
//! - `ward-instance` and `ward-release` say which instance of which release answered;
//! - where a table divides a pool by a sticky cookie, a client that has none is sent one with its bucket;
//! - `x-request-id` is the client's own (when it is well-formed) or a new one, and reaches the instance too;
//! - `traceparent` is the client's own when it is well-formed, else a new one; the instance gets it, the client does not;
//! - where a route has response headers to add, they are there unless the application sent its own;
//! - an answer of the gateway's own making is a plain page with `ward-fault: client | upstream | ward`,
//!   and for a gRPC call a status in trailers;
//! - a request with `ward-probe: 1` is one of the gateway's own, made while a release is on trial; nobody
//!   else's request reaches an instance with that header;
//! - when a service's instances are all gone at once, requests wait a moment for the next one instead of
//!   failing: also those over links, of any method, and those that switch protocols.

pub mod access;
mod account;
mod adapt;
mod admission;
mod affinity;
mod arrival;
mod balance;
mod budget;
pub mod ca;
mod calls;
pub mod certificates;
mod challenges;
mod client;
mod clock;
mod coming;
mod connection;
pub mod control;
mod corks;
mod course;
mod crew;
mod deadlines;
mod egress;
mod exposition;
mod extended;
mod failure;
mod fitness;
mod flood;
mod forwarded;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gap;
mod gate;
mod gone;
mod guard;
mod head;
mod instance;
mod journal;
mod lean;
mod limits;
mod lines;
mod links;
mod local;
mod marks;
mod memory;
mod metrics;
mod mutual;
mod offer;
mod origin;
mod parting;
mod path;
mod probe;
mod process;
mod proxy;
mod rate;
mod refusals;
mod renewed;
mod reply;
mod routes;
mod scribe;
mod sending;
mod sends;
mod serve;
mod settings;
mod sharing;
mod site;
mod socket;
mod sparing;
mod spawn;
mod split;
mod table_file;
mod tally;
mod throttle;
mod tickets;
mod tls;
mod trace;
mod tunnel;
mod upload;
mod upstream;
mod watched;
mod websocket;
mod worker;

pub use admission::Origin;
pub use limits::Limits;
pub use origin::Balancers;
pub use process::{Options, run};
pub use spawn::{Sockets, SpawnError, spawn, start};
pub use trace::Traces;

use std::path::{Path, PathBuf};

/// The gateway's folder in the state folder: its sockets and its table.
#[must_use]
pub fn folder(home: &Path) -> PathBuf {
    home.join("gateway")
}

/// The control socket's name, in the gateway's folder, of a gateway that was replaced and finishes what it
/// has begun.
pub(crate) fn leaving_socket(pid: u32) -> String {
    format!("leaving-{pid}.sock")
}

/// Whether a file has a name as that one has.
pub(crate) fn is_leaving_socket(name: &str) -> bool {
    name.starts_with("leaving-") && name.ends_with(".sock")
}

/// The Unix stream socket that keepers hand link and egress connections to
/// ([`ward_types::keeper::InstanceSpec::gateway_links`]).
#[must_use]
pub fn links_socket(home: &Path) -> PathBuf {
    folder(home).join("links.sock")
}

/// The Unix stream socket that the server talks to, in JSON lines ([`ward_types::table`]).
#[must_use]
pub fn control_socket(home: &Path) -> PathBuf {
    folder(home).join("control.sock")
}
