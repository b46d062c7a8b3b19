//! What was written and counted: the log, the output of instances, requests.

use serde::{Deserialize, Serialize};

use crate::event::Record;
use crate::id::{EnvId, InstanceId, Name, ReleaseId};
use crate::tally::GatewayTally;
use crate::time::Timestamp;

/// `GET /v1/events?after=N&env=…&limit=…`; with `follow=true` a stream, one record a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsView {
    /// The records, oldest first.
    pub records: Vec<Record>,
}

/// One line of `GET /v1/logs?env=…&component=…&release=…&since=MILLIS&tail=N&follow=true`, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// Which instance.
    pub instance: InstanceId,
    /// `o` or `e`.
    pub stream: String,
    /// The text.
    pub text: String,
}

/// `GET /v1/traffic?env=…`: what the gateways have counted so far, and what serves now. Whoever wants to know how
/// much that is in a second asks twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficView {
    /// The gateway, and those that were replaced and finish what they have begun. Of the environment that was
    /// asked for, or of all and of what led nowhere.
    pub gateways: Vec<GatewayTally>,
    /// The services that take requests.
    pub services: Vec<ServiceTraffic>,
}

/// One service that takes requests, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTraffic {
    /// Its environment.
    pub env: EnvId,
    /// Its name.
    pub service: Name,
    /// The releases in rotation.
    pub releases: Vec<ReleaseId>,
    /// Instances that are healthy, without those of releases that are only kept warm.
    pub healthy: u32,
    /// Instances that there are, or should be where that is more.
    pub instances: u32,
    /// Whether its environment sleeps: then it has none, and its first request wakes it.
    #[serde(default)]
    pub asleep: bool,
    /// Requests under way.
    pub in_flight: u64,
    /// Upgraded connections, event streams and gRPC calls under way.
    pub long: u64,
}

/// `GET /v1/audit/verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditView {
    /// How many events the log holds.
    pub events: u64,
    /// The root of the Merkle tree (RFC 6962), hexadecimal.
    pub root: String,
    /// The first event that is not what was appended, as far as that can be told; `None` when nothing is
    /// wrong, or only beside the events.
    pub first: Option<u64>,
    /// What is wrong, the first first; empty when nothing is.
    pub breaks: Vec<String>,
}
