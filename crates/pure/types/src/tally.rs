//! What a gateway has counted since it began. Never an event.

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::id::{EnvId, Generation, Name, ReleaseId};
use crate::time::Millis;

/// Everything that one gateway process has counted since it began.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GatewayTally {
    /// The gateway's process id: another one has begun to count anew.
    pub pid: u32,
    /// Since it began.
    pub uptime: Millis,
    /// The table in force.
    pub generation: Generation,
    /// Requests, by where they led.
    pub series: Vec<SeriesTally>,
    /// TLS handshakes, by how they ended.
    pub handshakes: Vec<(String, u64)>,
    /// Client connections, by where they came in and what they speak.
    pub connections: Vec<ConnectionTally>,
    /// Lines of the access log that were written.
    pub log_lines: u64,
    /// Lines of the access log that were lost, because the disk was full or too slow.
    pub log_lines_dropped: u64,
}

/// Client connections of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConnectionTally {
    /// `http`, `https`, `link` or `probe`.
    pub entry: String,
    /// `http/1`, `http/2`, `upgraded`, or `none` before the first request.
    pub protocol: String,
    /// Open now.
    pub open: u64,
}

/// Which requests are counted together. What led nowhere (a host that nobody has, a head that could not be
/// read) names no environment; what led to no instance names no release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct SeriesKey {
    /// The environment.
    pub env: Option<EnvId>,
    /// The service.
    pub service: Option<Name>,
    /// The release.
    pub release: Option<ReleaseId>,
}

/// Requests that were counted together, the gateway's own probes left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SeriesTally {
    /// Which.
    #[serde(flatten)]
    pub key: SeriesKey,
    /// How they ended, without those of which there were none.
    pub requests: Vec<RequestTally>,
    /// Second and further attempts.
    pub retries: u64,
    /// Bytes of requests' bodies, and what clients sent on upgraded connections.
    pub bytes_in: u64,
    /// Bytes of answers' bodies, and what instances sent on upgraded connections.
    pub bytes_out: u64,
    /// From the head of a request to the head of its answer, whoever answered.
    pub head: Durations,
    /// From the head of a request to the end of its answer; event streams and upgraded connections are left out.
    pub whole: Durations,
}

/// Requests that ended in one way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestTally {
    /// `2xx`; `none` where there was no answer.
    pub class: String,
    /// `none`, `client`, `upstream` or `ward`.
    pub fault: String,
    /// Who made the answer: `instance` or `gateway`.
    pub by: String,
    /// How many.
    pub count: u64,
}

impl RequestTally {
    /// Whether the application or Ward failed its client.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.class == "5xx" || matches!(self.fault.as_str(), "upstream" | "ward")
    }
}

/// Durations, counted and added up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Durations {
    /// The counts. A duration of just an upper edge is in that edge's bucket.
    pub buckets: Histogram,
    /// The sum, in microseconds.
    pub sum: u64,
}
