//! Certificates by ACME for the hosts that the table in force names: asked for when there is none, and ahead of the
//! end of those that there are. The gateway reads the files by itself, so that serving does not wait for this.
//!
//! One host after the other. What fails is tried again by the other challenge, later each time, because authorities
//! count failures (and one of the two ports may not be open).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ward_acme::{Acme, Answers, Due, Way};
use ward_types::table::Challenge;
use ward_types::tls::CertificateObserved;

use crate::actor::causes;
use crate::clock::now;
use crate::control::{Control, lock};
use crate::routing::Routing;

/// How often it is looked which hosts there are.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the authority is asked when a certificate should be renewed.
const ASK_EVERY: Duration = Duration::from_secs(6 * 3600);
/// How long after a failure it is tried again, and at most after many.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

impl Answers for Routing {
    async fn answer(&self, challenges: Vec<Challenge>) -> Result<(), String> {
        self.challenge(challenges)
            .await
            .map_err(|error| causes(&error))
    }
}

/// The certificates of this Ward's authority. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Issuing {
    acme: Acme,
    hosts: Arc<Mutex<BTreeMap<String, Host>>>,
}

/// What is known of one host.
#[derive(Debug, Clone)]
struct Host {
    next: Instant,
    way: Way,
    failures: u32,
    problem: Option<String>,
}

impl Host {
    fn new() -> Self {
        Self {
            next: Instant::now(),
            way: Way::Http,
            failures: 0,
            problem: None,
        }
    }

    fn failed(&mut self, why: String) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16));
        self.next = Instant::now() + pause.min(LONGEST_PAUSE);
        self.failures += 1;
        self.way = self.way.other();
        self.problem = Some(why);
    }

    fn rests(&mut self, pause: Duration) {
        *self = Self {
            next: Instant::now() + pause,
            way: self.way,
            failures: 0,
            problem: None,
        };
    }
}

impl Issuing {
    /// Of one authority.
    pub(crate) fn new(acme: Acme) -> Self {
        Self {
            acme,
            hosts: Arc::default(),
        }
    }

    /// What is known of a certificate, with what this knows better.
    pub(crate) fn told(&self, mut one: CertificateObserved) -> CertificateObserved {
        if one.file != self.acme.file(&one.host) {
            return one;
        }
        let hosts = lock(&self.hosts);
        let problem = hosts.get(&one.host).and_then(|host| host.problem.clone());
        one.problem = match (problem, one.until) {
            (Some(problem), _) => Some(format!("by ACME: {problem}; it is tried again")),
            (None, None) => Some("it is being asked for by ACME".to_owned()),
            (None, Some(_)) => one.problem,
        };
        one
    }
}

impl Control {
    /// Has certificates issued for as long as the server lives, where there is an authority.
    pub(crate) fn keep_issuing(&self) {
        let Some(issuing) = self.0.issuing.clone() else {
            return;
        };
        let (control, mut ending) = (self.clone(), self.ending());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = ending.wait_for(|end| *end) => return,
                    () = control.issue_all(&issuing) => {}
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
    }

    async fn issue_all(&self, issuing: &Issuing) {
        let seen = self.0.world.routing.last_seen();
        let pools = seen.iter().flat_map(|seen| &seen.table.pools);
        let routes = pools.flat_map(|pool| &pool.routes);
        let by_acme = routes.filter(|route| route.tls.as_ref().is_some_and(|tls| tls.acme));
        let wanted: BTreeSet<String> = by_acme.map(|route| route.host.to_lowercase()).collect();
        let due: Vec<(String, Host)> = {
            let mut hosts = lock(&issuing.hosts);
            hosts.retain(|host, _| wanted.contains(host));
            for host in wanted {
                hosts.entry(host).or_insert_with(Host::new);
            }
            let due = hosts.iter().filter(|(_, host)| host.next <= Instant::now());
            due.map(|(name, host)| (name.clone(), host.clone()))
                .collect()
        };
        for (name, mut host) in due {
            self.see_to(issuing, &name, &mut host).await;
            lock(&issuing.hosts)
                .entry(name)
                .and_modify(|known| *known = host);
        }
    }

    async fn see_to(&self, issuing: &Issuing, name: &str, host: &mut Host) {
        if let Due::At(moment) = issuing.acme.due(name).await
            && let left = moment.since(now()).duration()
            && !left.is_zero()
        {
            return host.rests(left.min(ASK_EVERY));
        }
        let gateway = &self.0.world.routing;
        match issuing.acme.issue(name, host.way, gateway).await {
            Ok(()) => {
                tracing::info!(host = name, way = ?host.way, "a certificate was issued");
                host.rests(LOOK_EVERY);
            }
            Err(error) => {
                let error = causes(&error);
                tracing::error!(host = name, way = ?host.way, "no certificate by ACME: {error}");
                host.failed(error);
            }
        }
    }
}
