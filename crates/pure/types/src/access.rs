//! One line of the gateway's access log: a request and what became of it.

use serde::{Deserialize, Serialize};

use crate::id::{EnvId, InstanceId, Name, ReleaseId};

/// A request, written when its answer has ended (an upgraded connection's when that has). Fields that do not
/// apply are left out of the line. Headers, cookies and bodies are never in it, and the query string only where
/// whoever runs the gateway asked for that.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AccessLine {
    /// When the head of the request had come: RFC 3339, UTC, microseconds.
    pub time: String,
    /// The request id, which the client and the instance see too; empty where the head could not be read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The trace that it belongs to (W3C Trace Context): 32 hexadecimal digits; empty where it belongs to none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trace: String,
    /// The client's address; none for those that do not come from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Where it came in: `http`, `https`, `link` (an instance asked), `probe` (the gateway itself did).
    #[serde(default)]
    pub entry: String,
    /// The instance that asked over a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<InstanceId>,
    /// Its environment, where that is of another stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_env: Option<EnvId>,
    /// `TLSv1.3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The method; empty where the head could not be read, as the two below.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// The host that was asked for, as it was written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The path, without the query string.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The query string, where it is logged at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// The status of the answer; none where there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The environment that the request led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvId>,
    /// The service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Name>,
    /// The release that answered, or was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// The instance that answered, or was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// Microseconds until an instance was chosen: in queues, in a gap without instances, and with instances that
    /// were asked before.
    pub wait_us: u64,
    /// Microseconds that making a connection to it took; 0 on one that was kept.
    #[serde(default)]
    pub connect_us: u64,
    /// Microseconds from the connection to the head of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_us: Option<u64>,
    /// Microseconds in all, to the end of the answer.
    pub total_us: u64,
    /// Bytes of the request's body that came; of an upgraded connection all that the client sent.
    pub bytes_in: u64,
    /// Bytes of the answer's body that went out; of an upgraded connection all that the instance sent.
    pub bytes_out: u64,
    /// Whose fault it was: `client`, `upstream`, `ward`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it was tried again.
    #[serde(default)]
    pub retries: u32,
    /// Where a second instance was asked beside the first: `won` if it answered, `lost` if the first one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_apply_is_left_out_and_read_back() {
        let line = AccessLine {
            time: "2026-11-21T13:55:30.000001Z".to_owned(),
            entry: "http".to_owned(),
            ..AccessLine::default()
        };
        let text = serde_json::to_string(&line).unwrap_or_default();
        assert!(
            !text.contains("status") && !text.contains("instance"),
            "{text}"
        );
        assert_eq!(serde_json::from_str(&text).ok(), Some(line));
    }
}
