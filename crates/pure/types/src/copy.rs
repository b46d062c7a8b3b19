//! A copy of an environment: the same in everything but its name, its hosts, and what protects the original; and its
//! data, which is new, is filled by the seed commands.
//!
//! Decision: hosts are mapped one by one, not routes, so that services which share a host by path share the new
//! one. A host is named for the service that has its path `/`, else for the first by name; a second host of the
//! same service gets `-2`. A wildcard stays a wildcard. Certificates by ACME or from files are the parent's: names
//! below `localhost` get those of the local authority.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{EnvId, Name};
use crate::life::Origin;
use crate::policy::Policy;
use crate::route::is_host;
use crate::spec::EnvSpec;
use crate::tls::HostTls;

/// What can stand in a pattern, in words.
pub const PATTERN_RULE: &str = "a host name with `{service}`, `{env}`, `{stack}` or `{host}`, such as `{service}.{env}.localhost`";

/// How the hosts of a copy are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern(String);

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// It has another placeholder.
    #[error(
        "`{pattern}` has the placeholder {{{name}}}, and there are {{service}}, {{env}}, {{stack}} and {{host}}"
    )]
    Placeholder {
        /// The pattern.
        pattern: String,
        /// The placeholder.
        name: String,
    },
    /// It has a brace without the other one.
    #[error("`{pattern}` has a brace without the other one")]
    Braces {
        /// The pattern.
        pattern: String,
    },
    /// What it makes is no host name.
    #[error("`{pattern}` is not {PATTERN_RULE}")]
    NoHost {
        /// The pattern.
        pattern: String,
    },
}

/// Why an environment cannot be copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// What the pattern makes of a host is no host name.
    #[error("the pattern `{pattern}` makes `{made}` of the host {host}, which is no host name")]
    NoHost {
        /// The pattern.
        pattern: HostPattern,
        /// The parent's host.
        host: String,
        /// What came out.
        made: String,
    },
    /// It makes the same of two hosts.
    #[error("the pattern `{pattern}` makes `{made}` of both {one} and {other}")]
    Same {
        /// The pattern.
        pattern: HostPattern,
        /// A host of the parent's.
        one: String,
        /// Another one.
        other: String,
        /// What came out.
        made: String,
    },
}

impl HostPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`], as it says.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let pattern = || text.to_owned();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let braces = || InvalidPattern::Braces { pattern: pattern() };
            let inside = rest[at..].strip_prefix('{').ok_or_else(braces)?;
            let (name, behind) = inside.split_once('}').ok_or_else(braces)?;
            if name.contains('{') {
                return Err(braces());
            }
            if !["service", "env", "stack", "host"].contains(&name) {
                let name = name.to_owned();
                let pattern = pattern();
                return Err(InvalidPattern::Placeholder { pattern, name });
            }
            rest = behind;
        }
        let pattern = Self(text.to_owned());
        let sample = pattern.filled("a", "b", "c", "d");
        match is_host(&sample) {
            true => Ok(pattern),
            false => Err(InvalidPattern::NoHost { pattern: pattern.0 }),
        }
    }

    fn filled(&self, service: &str, env: &str, stack: &str, host: &str) -> String {
        let filled = self.0.replace("{service}", service);
        let filled = filled.replace("{env}", env).replace("{stack}", stack);
        filled.replace("{host}", host)
    }

    fn names_hosts(&self) -> bool {
        self.0.contains("{host}")
    }
}

impl Default for HostPattern {
    fn default() -> Self {
        Self("{service}.{env}.localhost".to_owned())
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> String {
        pattern.0
    }
}

impl TryFrom<String> for HostPattern {
    type Error = InvalidPattern;
    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        Self::parse(&text)
    }
}

/// The same environment under another id, with hosts of its own.
///
/// # Errors
/// [`CopyError`], when the pattern gives a host no name, or not one of its own.
pub fn copied(spec: &EnvSpec, id: &EnvId, origin: &Origin) -> Result<EnvSpec, CopyError> {
    let hosts = mapped(spec, id, &origin.hosts)?;
    let mut copy = EnvSpec {
        id: id.clone(),
        seeded: true,
        // What protects the original is about the original: a copy comes and goes.
        protected: false,
        // Where its rows may be is about them, wherever they are.
        policy: Policy {
            residency: spec.policy.residency,
            ..Policy::default()
        },
        sleep: origin.sleep.or(spec.sleep),
        ..spec.clone()
    };
    for job in copy.jobs.values_mut().filter(|job| !job.copies) {
        job.schedule = None;
    }
    let routes = copy.services.values_mut().flat_map(|s| &mut s.routes);
    for route in routes {
        let Some(host) = route.host.as_ref().and_then(|host| hosts.get(host)) else {
            continue;
        };
        if is_local(host) {
            route.tls = route.tls.take().and_then(with_local_certificate);
        }
        route.host = Some(host.clone());
    }
    Ok(copy)
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

fn with_local_certificate(tls: HostTls) -> Option<HostTls> {
    let local = HostTls {
        client_ca: tls.client_ca,
        ..HostTls::default()
    };
    (local != HostTls::default()).then_some(local)
}

/// Each host of the parent's, and what it becomes.
fn mapped(
    spec: &EnvSpec,
    id: &EnvId,
    pattern: &HostPattern,
) -> Result<BTreeMap<String, String>, CopyError> {
    let (env, stack) = (id.env(), id.stack());
    let mut mapped: BTreeMap<String, String> = BTreeMap::new();
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for (host, service) in named(spec) {
        let (wild, bare) = match host.strip_prefix("*.") {
            Some(bare) => ("*.", bare),
            None => ("", host),
        };
        let made = |number: u32| {
            let service = match number {
                1 => service.to_string(),
                _ => format!("{service}-{number}"),
            };
            let filled = pattern.filled(&service, env.as_str(), stack.as_str(), bare);
            format!("{wild}{filled}")
        };
        let numbers = match pattern.names_hosts() || made(1) == made(2) {
            true => 1..=1,
            false => 1..=1000,
        };
        let free = numbers.map(&made).find(|made| !taken.contains_key(made));
        let Some(made) = free else {
            let made = made(1);
            return Err(CopyError::Same {
                pattern: pattern.clone(),
                one: taken.get(&made).cloned().unwrap_or_default(),
                other: host.to_owned(),
                made,
            });
        };
        if !is_host(made.strip_prefix(wild).unwrap_or(&made)) {
            return Err(CopyError::NoHost {
                pattern: pattern.clone(),
                host: host.to_owned(),
                made,
            });
        }
        taken.insert(made.clone(), host.to_owned());
        mapped.insert(host.to_owned(), made);
    }
    Ok(mapped)
}

/// The distinct hosts with the services that they are named for; the first of each service before all others, so
/// that a service called `web-2` keeps its name where `web` has two.
fn named(spec: &EnvSpec) -> Vec<(&str, &Name)> {
    let routes = || {
        let services = spec.services.iter();
        services.flat_map(|(name, service)| service.routes.iter().map(move |route| (name, route)))
    };
    let mut owners: BTreeMap<&str, &Name> = BTreeMap::new();
    for (service, route) in routes().filter(|(_, route)| route.path == "/") {
        if let Some(host) = &route.host {
            owners.entry(host).or_insert(service);
        }
    }
    let mut order: Vec<(&str, &Name)> = Vec::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (service, route) in routes() {
        let Some(host) = route.host.as_deref().filter(|host| seen.insert(host)) else {
            continue;
        };
        order.push((host, owners.get(host).copied().unwrap_or(service)));
    }
    let mut firsts: BTreeSet<(&Name, bool)> = BTreeSet::new();
    let (mut first, mut others) = (Vec::new(), Vec::new());
    for (host, service) in order {
        match firsts.insert((service, host.starts_with('*'))) {
            true => first.push((host, service)),
            false => others.push((host, service)),
        }
    }
    first.extend(others);
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Millis;
    use crate::tls::CertificateFiles;

    fn spec(services: &str) -> EnvSpec {
        let text = format!(
            r#"{{"id":"shop/prod","version":"1.0","databases":{{}},"keep_warm":0,"services":{{{services}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn service(name: &str, routes: &[(&str, &str)]) -> String {
        let routes: Vec<String> = routes
            .iter()
            .map(|(host, path)| format!(r#"{{"host":"{host}","path":"{path}"}}"#))
            .collect();
        format!(
            r#""{name}":{{"source":{{"kind":"image","reference":"a:1"}},"command":null,"port":80,"health":null,
            "instances":1,"links":[],"egress":[],"env":{{}},"memory":null,"release":null,"route":[{}],
            "start_timeout":1,"drain_timeout":1,"stop_timeout":1}}"#,
            routes.join(",")
        )
    }

    fn origin(pattern: &str) -> Origin {
        Origin {
            from: Name::parse("prod").unwrap(),
            hosts: HostPattern::parse(pattern).unwrap(),
            sleep: None,
            above: None,
        }
    }

    #[test]
    fn a_copy_sleeps_as_its_parent_unless_it_is_told_otherwise() {
        let spec = EnvSpec {
            sleep: Some(Millis::secs(60)),
            ..spec(&service("web", &[]))
        };
        let id = EnvId::parse("shop/demo").unwrap();
        let own = Origin {
            sleep: Some(Millis::secs(5)),
            ..origin(DEFAULT)
        };
        let sleeps = |origin: &Origin| copied(&spec, &id, origin).unwrap().sleep.unwrap().0;
        assert_eq!((sleeps(&origin(DEFAULT)), sleeps(&own)), (60_000, 5_000));
    }

    #[test]
    fn a_copy_runs_those_jobs_on_their_schedule_that_say_so() {
        let mut spec = spec(&service("web", &[]));
        let job = |copies: bool| -> crate::run::JobSpec {
            let text = format!(
                r#"{{"service":"web","command":["a"],"schedule":{{"cron":"0 2 * * *","time_zone":"UTC"}},
                "overlap":"skip","retries":0,"deadline":1000,"missed":"run","copies":{copies}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let name = |text: &str| Name::parse(text).unwrap();
        spec.jobs = BTreeMap::from([(name("mail"), job(false)), (name("tidy"), job(true))]);
        let id = EnvId::parse("shop/demo").unwrap();
        let copy = copied(&spec, &id, &origin(DEFAULT)).unwrap();
        // Both are there, to be run by hand; a copy of the copy is no other.
        assert_eq!(copy.jobs[&name("mail")].schedule, None);
        assert_eq!(copy.jobs[&name("tidy")], spec.jobs[&name("tidy")]);
        let again = copied(&copy, &id, &origin(DEFAULT)).unwrap();
        assert_eq!(again.jobs, copy.jobs);
    }

    fn hosts(spec: &EnvSpec, pattern: &str) -> Result<Vec<String>, CopyError> {
        let id = EnvId::parse("shop/demo").unwrap();
        let copy = copied(spec, &id, &origin(pattern))?;
        assert_eq!(copy.id, id);
        let routes = copy.services.values().flat_map(|s| &s.routes);
        Ok(routes.filter_map(|route| route.host.clone()).collect())
    }

    const DEFAULT: &str = "{service}.{env}.localhost";

    #[test]
    fn services_that_share_a_host_share_the_new_one() {
        let api = service("api", &[("shop.example", "/api"), ("api.example", "/")]);
        let web = service("web", &[("shop.example", "/")]);
        let spec = spec(&format!("{api},{web}"));
        let expected = [
            "web.demo.localhost",
            "api.demo.localhost",
            "web.demo.localhost",
        ];
        assert_eq!(hosts(&spec, DEFAULT).unwrap(), expected);
    }

    #[test]
    fn a_host_without_a_root_is_named_for_the_first_service() {
        let spec = spec(&format!(
            "{},{}",
            service("b", &[("x.example", "/b")]),
            service("a", &[("x.example", "/a")])
        ));
        assert_eq!(hosts(&spec, DEFAULT).unwrap(), ["a.demo.localhost"; 2]);
    }

    #[test]
    fn a_second_host_gets_a_number_that_nobody_has() {
        let web = service("web", &[("a.example", "/"), ("b.example", "/")]);
        let two = service("web-2", &[("c.example", "/")]);
        let expected = [
            "web.demo.localhost",
            "web-3.demo.localhost",
            "web-2.demo.localhost",
        ];
        assert_eq!(
            hosts(&spec(&format!("{web},{two}")), DEFAULT).unwrap(),
            expected
        );
    }

    #[test]
    fn wildcards_stay_wildcards() {
        let web = service("web", &[("a.example", "/"), ("*.a.example", "/")]);
        let made = |pattern| hosts(&spec(&web), pattern).unwrap();
        assert_eq!(
            made(DEFAULT),
            ["web.demo.localhost", "*.web.demo.localhost"]
        );
        assert_eq!(
            made("{env}-{stack}.{host}"),
            ["demo-shop.a.example", "*.demo-shop.a.example"]
        );
    }

    #[test]
    fn one_name_for_two_hosts_is_refused() {
        let web = service("web", &[("a.example", "/"), ("b.example", "/")]);
        let refused = hosts(&spec(&web), "{env}.localhost").unwrap_err();
        let said = refused.to_string();
        assert!(
            said.contains("`demo.localhost` of both a.example and b.example"),
            "{said}"
        );
        let long = format!("{}.{{host}}", "a".repeat(60));
        let long = format!("{long}.{long}.{long}.{long}");
        assert!(matches!(
            hosts(&spec(&web), &long),
            Err(CopyError::NoHost { .. })
        ));
    }

    #[test]
    fn certificates_of_the_parent_stay_with_the_parent() {
        let mut spec = spec(&service("web", &[("a.example", "/")]));
        let certificate = Some(CertificateFiles {
            certificate: "/c".into(),
            key: "/k".into(),
        });
        let tls = HostTls {
            certificate,
            client_ca: Some("/ca".into()),
            acme: false,
        };
        spec.services.values_mut().next().unwrap().routes[0].tls = Some(tls.clone());
        let id = EnvId::parse("shop/demo").unwrap();
        let with = |pattern: &str| {
            let copy = copied(&spec, &id, &origin(pattern)).unwrap();
            copy.services.values().next().unwrap().routes[0].tls.clone()
        };
        let local = with(DEFAULT).unwrap();
        assert_eq!(
            (local.certificate, local.client_ca),
            (None, tls.client_ca.clone())
        );
        assert_eq!(with("{env}.a.example"), Some(tls));
    }

    #[test]
    fn bad_patterns_are_told_apart() {
        let wrong = |text: &str| HostPattern::parse(text).unwrap_err().to_string();
        assert!(wrong("{servce}.localhost").contains("placeholder {servce}"));
        for text in ["{service.localhost", "service}.localhost", "{{env}}.x"] {
            assert!(wrong(text).contains("brace"), "{text}");
        }
        for text in [
            "",
            "Web.{env}",
            "a b",
            "{env}.1",
            "*.{env}.x",
            "http://{host}",
            "-{env}",
        ] {
            assert!(wrong(text).contains("is not a host name with"), "{text}");
        }
    }
}
