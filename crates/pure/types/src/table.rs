//! The routing table: what the server tells the gateway, whole, each time anything changes.
//!
//! The gateway's control socket is a Unix stream socket. Each message is one line of JSON: a
//! [`GatewayRequest`], answered by one [`GatewayReply`] line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::guard::Guard;
use crate::histogram::Histogram;
use crate::id::{EnvId, Generation, InstanceId, Name, ReleaseId, Term};
use crate::spec::{Probe, Sticky};
use crate::time::Millis;

/// What the gateway serves. An immutable value that is swapped whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Table {
    /// The fencing number of the server that made it: a table of a server that was succeeded is refused.
    #[serde(default)]
    pub term: Term,
    /// A table of an older generation is refused.
    pub generation: Generation,
    /// The pools, each named by its environment and service.
    pub pools: Vec<Pool>,
}

/// The instances of one service that take new requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The environment.
    pub env: EnvId,
    /// The service.
    pub service: Name,
    /// The host names that lead here; none when only links do.
    pub hosts: Vec<String>,
    /// The instances in rotation. May be empty: requests wait for a few seconds, then 503 with Retry-After.
    pub endpoints: Vec<Endpoint>,
    /// How requests are divided while two releases are in rotation; `None`: by the instances alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Requests that the gateway makes itself, while a release in rotation is on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// What its clients may take.
    #[serde(default, skip_serializing_if = "Guard::is_default")]
    pub guard: Guard,
}

/// A release's share of a pool's requests. Where no instance of one of the two sides is in rotation, the
/// other side takes all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The release whose share this is.
    pub release: ReleaseId,
    /// How many of any 100 requests in a row go to it, 0 to 100.
    pub percent: u8,
    /// What keeps a client on one side; `None`: each request is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
}

/// One instance in rotation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// Which instance.
    pub instance: InstanceId,
    /// Its release.
    pub release: ReleaseId,
    /// Its folder, where its keeper's socket is.
    pub dir: PathBuf,
    /// The port inside its sandbox.
    pub port: u16,
    /// From the table that does not name it any more until the last of its long connections is told to go
    /// away; they are told one after the other, evenly over this time. `None`: the gateway tells none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_drain: Option<Millis>,
}

/// What the gateway can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum GatewayRequest {
    /// Serve this table. The answer `Observed` names the generation in force: from then on no new
    /// request goes to an instance that the table does not name.
    Apply {
        /// The table.
        table: Table,
    },
    /// What do you see?
    Observe,
    /// Cut what still runs on an instance that is out of rotation: end requests, close upgraded
    /// connections in the protocol's own way.
    Cut {
        /// Which instance.
        env: EnvId,
        /// Which instance.
        instance: InstanceId,
    },
    /// The listening sockets, as descriptors beside an `Observed` (HTTP first, then HTTPS).
    Listeners,
    /// Stop accepting, finish what is under way within the budget, then exit.
    Quit {
        /// How long requests under way may take.
        grace: Millis,
    },
}

/// What the gateway answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum GatewayReply {
    /// What it sees.
    Observed {
        /// What it sees.
        observed: GatewayObserved,
    },
    /// It cannot be done.
    Refused {
        /// Why, in a sentence.
        message: String,
    },
}

/// What a gateway sees. Never an event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GatewayObserved {
    /// The gateway's process id.
    pub pid: u32,
    /// The table in force.
    pub table: Table,
    /// Per environment and instance with anything under way, in rotation or not.
    pub traffic: BTreeMap<EnvId, BTreeMap<InstanceId, Traffic>>,
    /// How long those that answered anything took since the gateway started, from the moment that a
    /// request was given to the instance to the head of its answer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub latency: BTreeMap<EnvId, BTreeMap<InstanceId, Histogram>>,
    /// What was refused or cut since the gateway started, by the limit that did it; none that did nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<Refusal, u64>,
}

/// A limit of the gateway's that refuses connections or requests, or cuts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Connections that were closed because their address had too many.
    Address,
    /// TLS handshakes that did not come to their end in time, or not to their turn.
    Handshake,
    /// Requests whose header section was too large (431).
    Head,
    /// Requests whose body came too slowly (408).
    SlowBody,
    /// Connections that were cut because the client did not read on.
    SlowReader,
    /// HTTP/2 connections that were cut because of frames that serve nothing.
    Flood,
    /// HTTP/2 connections that were cut because of requests that were taken back.
    Churn,
    /// Requests over their rate (429).
    Rate,
    /// Requests that were shed because their service had too many under way (503).
    Overload,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Address,
        Self::Handshake,
        Self::Head,
        Self::SlowBody,
        Self::SlowReader,
        Self::Flood,
        Self::Churn,
        Self::Rate,
        Self::Overload,
    ];
}

/// What is under way on one instance, and what went before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Requests under way.
    pub requests: u64,
    /// Long connections under way: upgraded ones, event streams and gRPC calls that are being answered.
    pub upgraded: u64,
    /// Requests answered since the gateway started.
    pub answered: u64,
    /// Of those, answered with a 5xx of the instance's own making or cut by it.
    pub failed: u64,
    /// Of those answered, the gateway's own probes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub probes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
