//! The routing table: what the server tells the gateway, and what changes in it.
//!
//! The gateway's control socket is a Unix stream socket. Each message is one line of JSON: a
//! [`GatewayRequest`], answered by one [`GatewayReply`] line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::balance::Balance;
use crate::guard::Guard;
use crate::histogram::Histogram;
use crate::id::{EnvId, Generation, InstanceId, Name, ReleaseId, Term};
use crate::maintenance::Maintenance;
use crate::route::Route;
use crate::secret::Secret;
use crate::sharing::Export;
use crate::spec::{Probe, Sticky};
use crate::tally::GatewayTally;
use crate::time::{Millis, Timestamp};
use crate::tls::CertificateObserved;

/// What the gateway serves. An immutable value that is swapped whole; of two in a row most pools are the same ones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Table {
    /// The fencing number of the server that made it: a table of a server that was succeeded is refused.
    #[serde(default)]
    pub term: Term,
    /// A table of an older generation is refused.
    pub generation: Generation,
    /// The pools, each named by its environment and service.
    pub pools: Vec<Arc<Pool>>,
    /// The hosts of environments that are down, in order, as routes have them. Whoever asks there is told that, and nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub down: Vec<String>,
}

impl Table {
    /// Which table it is.
    #[must_use]
    pub const fn version(&self) -> Version {
        Version {
            term: self.term,
            generation: self.generation,
        }
    }

    /// The table that follows: with these pools in place of all pools of an environment, where the first of those
    /// stood, and behind all others where it had none.
    #[must_use]
    pub fn followed_by(&self, change: &TableChange) -> Self {
        let is_other = |pool: &&Arc<Pool>| pool.env != change.env;
        let first = self.pools.iter().position(|pool| pool.env == change.env);
        let (before, after) = self.pools.split_at(first.unwrap_or(self.pools.len()));
        let after = after.iter().filter(is_other);
        let pools = before.iter().chain(&change.pools).chain(after);
        Self {
            term: change.to.term,
            generation: change.to.generation,
            pools: pools.cloned().collect(),
            down: change.down.as_ref().unwrap_or(&self.down).clone(),
        }
    }
}

/// What a table has otherwise than the one before: of ten thousand pools mostly one environment's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableChange {
    /// The table that it changes.
    pub from: Version,
    /// The table that comes of it.
    pub to: Version,
    /// Whose pools these are.
    pub env: EnvId,
    /// They stand in place of all that the environment had.
    pub pools: Vec<Arc<Pool>>,
    /// The hosts of environments that are down, in order, where they are others than before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<Vec<String>>,
}

/// Which table: no two that differ were ever in force under one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Version {
    /// The fencing number of the server that made it.
    #[serde(default)]
    pub term: Term,
    /// Its generation.
    pub generation: Generation,
}

/// The instances of one service that take new requests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub struct Pool {
    /// The environment.
    pub env: EnvId,
    /// The service.
    pub service: Name,
    /// The requests that lead here; none when only links do.
    pub routes: Vec<Route>,
    /// The instances in rotation. May be empty: requests wait for a few seconds, then 503 with Retry-After.
    pub endpoints: Vec<Endpoint>,
    /// How requests are divided while two releases are in rotation; `None`: by the instances alone.
    pub split: Option<Split>,
    /// Requests that the gateway makes itself, while a release in rotation is on trial.
    pub probe: Option<Probe>,
    /// What clients get instead of answers, for now.
    pub maintenance: Option<Maintenance>,
    /// Since when its environment sleeps, if it does or wakes just now: requests that find no instance wait for it to
    /// wake, for as long as [`HELD_FOR`](crate::sleep::HELD_FOR) says.
    pub asleep: Option<Timestamp>,
    /// Who of other stacks may link to it.
    pub exports: Vec<Export>,
    /// What its clients may take.
    pub guard: Guard,
    /// How its requests are placed on its instances.
    pub balance: Balance,
}

/// A pool as it stands in a table. One without `routes` leads there by its `hosts` alone: so did all of a Ward
/// that knew no others, whose gateway follows the tables of its successor until it has ended.
#[derive(Deserialize)]
struct Written {
    env: EnvId,
    service: Name,
    hosts: Vec<String>,
    #[serde(default)]
    routes: Option<Vec<Route>>,
    endpoints: Vec<Endpoint>,
    #[serde(default)]
    split: Option<Split>,
    #[serde(default)]
    probe: Option<Probe>,
    #[serde(default)]
    maintenance: Option<Maintenance>,
    #[serde(default)]
    asleep: Option<Timestamp>,
    #[serde(default)]
    exports: Vec<Export>,
    #[serde(default)]
    guard: Guard,
    #[serde(default)]
    balance: Balance,
}

impl From<Written> for Pool {
    fn from(written: Written) -> Self {
        let hosts = || written.hosts.iter().map(|host| Route::plain(host));
        Self {
            env: written.env,
            service: written.service,
            routes: written.routes.unwrap_or_else(|| hosts().collect()),
            endpoints: written.endpoints,
            split: written.split,
            probe: written.probe,
            maintenance: written.maintenance,
            asleep: written.asleep,
            exports: written.exports,
            guard: written.guard,
            balance: written.balance,
        }
    }
}

impl Serialize for Pool {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            env: &'a EnvId,
            service: &'a Name,
            hosts: Vec<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            routes: Option<&'a [Route]>,
            endpoints: &'a [Endpoint],
            #[serde(skip_serializing_if = "Option::is_none")]
            split: Option<&'a Split>,
            #[serde(skip_serializing_if = "Option::is_none")]
            probe: Option<&'a Probe>,
            #[serde(skip_serializing_if = "Option::is_none")]
            maintenance: Option<&'a Maintenance>,
            #[serde(skip_serializing_if = "Option::is_none")]
            asleep: Option<Timestamp>,
            #[serde(skip_serializing_if = "<[Export]>::is_empty")]
            exports: &'a [Export],
            #[serde(skip_serializing_if = "Guard::is_default")]
            guard: &'a Guard,
            #[serde(skip_serializing_if = "Balance::is_default")]
            balance: &'a Balance,
        }
        let whole = self.routes.iter().filter(|route| route.is_whole_host());
        let plain = self.routes.iter().all(Route::is_plain);
        let written = Written {
            env: &self.env,
            service: &self.service,
            hosts: whole.map(|route| route.host.as_str()).collect(),
            routes: (!plain).then_some(&self.routes),
            endpoints: &self.endpoints,
            split: self.split.as_ref(),
            probe: self.probe.as_ref(),
            maintenance: self.maintenance.as_ref(),
            asleep: self.asleep,
            exports: &self.exports,
            guard: &self.guard,
            balance: &self.balance,
        };
        written.serialize(serializer)
    }
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
    /// Serve this table. The answer names the generation in force: from then on no new request goes to an
    /// instance that the table does not name. It is an `Applied` where that was asked for, else an
    /// `Observed`, and always that from a gateway that knows nothing else.
    Apply {
        /// What the answer should be.
        #[serde(default, skip_serializing_if = "Answer::is_whole")]
        answer: Answer,
        /// The table.
        table: Table,
    },
    /// Serve the table that this makes of the one in force; the answer is that of an `Apply`. It is refused, and nothing
    /// changes, where another table is in force than the one that it changes, or one that nobody checked. Whoever asks
    /// sends the table whole then, and so it does where a gateway does not understand.
    Change {
        /// What the answer should be.
        answer: Answer,
        /// What changes.
        change: TableChange,
    },
    /// What do you see? The answer is an `Unchanged` where the table in force is the one that is named here, else
    /// an `Observed`, and always that from a gateway that does not understand the name.
    Observe {
        /// The table that whoever asks has at hand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        known: Option<Version>,
    },
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
    /// The listening socket of the operators' address, as a descriptor beside an `Observed`; none where it
    /// was given none. A request of its own, so that gateways and servers of other versions understand the
    /// one above.
    MetricsListener,
    /// Which environments that sleep are asked for? The answer is a `Called`, given when there is one beside those that
    /// are named here, or after a few seconds.
    Calls {
        /// Those that the server knows of, with the sleep that is meant.
        known: Vec<Call>,
        /// Those of them that cannot be woken now: what is held for them is refused at once.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unable: Vec<Call>,
    },
    /// What has been counted so far; the answer is a `Tallied`.
    Tally,
    /// Answer these challenges of ACME from now on, and no others (RFC 8555 section 8).
    Challenges {
        /// The challenges; none: nothing is asked any more.
        challenges: Vec<Challenge>,
    },
    /// What the gateway that takes over cannot know by itself; the answer is a `Handover`.
    Handover,
    /// Stop accepting, finish what is under way within the budget, then exit.
    Quit {
        /// How long requests under way may take.
        grace: Millis,
    },
}

/// How a gateway answers a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// By all that it sees: so does one for a server that knows no other way.
    #[default]
    Whole,
    /// By the table's version.
    Brief,
}

impl Answer {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
    fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
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
    /// What it sees, without the pools of its table: they are those of the table that the question named.
    Unchanged {
        /// What it sees.
        observed: GatewayObserved,
    },
    /// A table is in force.
    Applied {
        /// Which, and where.
        applied: Applied,
    },
    /// What it has counted.
    Tallied {
        /// What it has counted.
        tally: GatewayTally,
    },
    /// The environments that sleep and for which requests are held.
    Called {
        /// All of them.
        calls: Vec<Call>,
    },
    /// What it has in memory alone.
    Handover {
        /// What it has in memory alone.
        handover: Handover,
    },
    /// It cannot be done.
    Refused {
        /// Why, in a sentence.
        message: String,
    },
}

/// That requests are held for an environment that sleeps. It sleeps many times: which sleep is meant is a part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Call {
    /// Which environment.
    pub env: EnvId,
    /// Since when it sleeps, as the table says.
    pub asleep: Timestamp,
}

/// A question of an authority, and its answer. Neither is a secret: the authority asks in the open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The host in question.
    pub host: String,
    /// What is asked for over HTTP.
    pub token: String,
    /// The key authorization (RFC 8555 section 8.1).
    pub answer: String,
}

/// What a gateway has in memory alone, for the one that takes over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Handover {
    /// The keys of session tickets, the newest first.
    pub tickets: Vec<TicketKey>,
    /// What was read from files whose content cannot be used any more, and is still in use.
    pub kept: Vec<KeptFiles>,
}

/// Files with certificates and keys as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFiles {
    /// The files.
    pub files: Vec<PathBuf>,
    /// What was in each.
    pub texts: Vec<Secret>,
}

/// A key of session tickets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketKey {
    /// Its name, 16 bytes, and the key itself, 32, in hexadecimal digits.
    pub secret: Secret,
    /// How long ago it was made.
    pub age: Millis,
}

/// That a table is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The gateway's process id.
    pub pid: u32,
    /// The table in force.
    pub table: Version,
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
    /// Whether it holds requests for environments that sleep: one of an older version does not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds: bool,
    /// Those for which it holds some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// The files with certificates that the table names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateObserved>,
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
    /// Connections that were closed or cut, and requests that were refused (503), because clients made the gateway
    /// hold more memory than it may.
    Memory,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Address,
        Self::Handshake,
        Self::Head,
        Self::SlowBody,
        Self::SlowReader,
        Self::Flood,
        Self::Churn,
        Self::Rate,
        Self::Overload,
        Self::Memory,
    ];

    /// Its word, as it is written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Handshake => "handshake",
            Self::Head => "head",
            Self::SlowBody => "slow_body",
            Self::SlowReader => "slow_reader",
            Self::Flood => "flood",
            Self::Churn => "churn",
            Self::Rate => "rate",
            Self::Overload => "overload",
            Self::Memory => "memory",
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{HeaderCondition, RouteSettings};

    fn pool(routes: Vec<Route>) -> Pool {
        Pool {
            env: EnvId::parse("shop/dev").unwrap(),
            service: Name::parse("web").unwrap(),
            routes,
            endpoints: Vec::new(),
            split: None,
            probe: None,
            maintenance: None,
            asleep: None,
            exports: Vec::new(),
            guard: Guard::default(),
            balance: Balance::default(),
        }
    }

    fn again(pool: &Pool) -> (serde_json::Value, Pool) {
        let json = serde_json::to_value(pool).unwrap();
        (json.clone(), serde_json::from_value(json).unwrap())
    }

    #[test]
    fn a_table_of_a_ward_that_knew_hosts_alone_is_read() {
        let old = r#"{"env":"shop/dev","service":"web","hosts":["a.example","b.example"],"endpoints":[]}"#;
        let read: Pool = serde_json::from_str(old).unwrap();
        let plain = ["a.example", "b.example"].map(Route::plain);
        assert_eq!(read, pool(plain.to_vec()));
        assert_eq!(serde_json::to_string(&read).unwrap(), old);
    }

    /// What the control socket understood before answers could be brief.
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "ask", rename_all = "snake_case")]
    enum OlderRequest {
        Apply { table: Table },
        Observe,
    }

    #[test]
    fn a_gateway_that_knows_no_brief_answers_understands_the_questions() {
        let table = Table::default();
        let apply = GatewayRequest::Apply {
            answer: Answer::Brief,
            table: table.clone(),
        };
        let observe = GatewayRequest::Observe {
            known: Some(table.version()),
        };
        let older = |request: &GatewayRequest| {
            let text = serde_json::to_string(request).unwrap();
            serde_json::from_str::<OlderRequest>(&text).unwrap()
        };
        assert_eq!(older(&apply), OlderRequest::Apply { table });
        assert_eq!(older(&observe), OlderRequest::Observe);
    }

    #[test]
    fn a_server_that_knows_no_brief_answers_is_understood() {
        let read = |text: &str| serde_json::from_str::<GatewayRequest>(text).unwrap();
        assert_eq!(
            read(r#"{"ask":"observe"}"#),
            GatewayRequest::Observe { known: None }
        );
        let text = r#"{"ask":"apply","table":{"term":1,"generation":2,"pools":[]}}"#;
        let GatewayRequest::Apply { answer, table } = read(text) else {
            panic!("it is something else");
        };
        assert_eq!((answer, table.generation.0), (Answer::Whole, 2));
    }

    #[test]
    fn refusals_are_written_as_they_are_named() {
        for refusal in Refusal::ALL {
            assert_eq!(serde_json::to_value(refusal).unwrap(), refusal.word());
        }
    }

    #[test]
    fn such_a_ward_still_finds_the_hosts_that_lead_to_one_service_alone() {
        let header = HeaderCondition {
            name: "x-beta".to_owned(),
            value: None,
        };
        let routes = vec![
            Route::plain("a.example"),
            Route {
                path: "/api".to_owned(),
                ..Route::plain("a.example")
            },
            Route {
                header: Some(header),
                settings: RouteSettings::bare(),
                ..Route::plain("b.example")
            },
            Route::plain("*.c.example"),
        ];
        let (json, read) = again(&pool(routes.clone()));
        assert_eq!(json["hosts"], serde_json::json!(["a.example"]));
        assert_eq!(read, pool(routes));
        let inner = pool(Vec::new());
        assert_eq!(again(&inner).1, inner);
    }
}
