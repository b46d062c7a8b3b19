//! Whether an environment can run beside the others, and on this machine at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ward_store::Log;
use ward_types::event::State;
use ward_types::id::Name;
use ward_types::life::Origin;
use ward_types::release::{Environment, Goal};
use ward_types::route::Audience;
use ward_types::spec::{EnvSpec, RouteSpec, ServiceSpec};
use ward_types::table::Pool;

use crate::actor::{Refusal, RefusalKind, causes};
use crate::clock::now;
use crate::control::Control;
use crate::issuing::Issuing;
use crate::recording::is_over;

impl Control {
    /// Whether this machine can run the environment at all.
    pub(crate) fn possible(&self, spec: &EnvSpec, origin: Option<&Origin>) -> Result<(), Refusal> {
        if !spec.databases.is_empty() {
            self.0
                .postgres
                .newest()
                .map_err(|error| Refusal::new(RefusalKind::Conflict, causes(&error)))?;
        }
        certified(spec, self.0.issuing.as_ref())?;
        let state = self.store().state();
        for env in state
            .environments
            .values()
            .filter(|env| env.id != spec.id && env.goal == Goal::Up)
        {
            if let Some((service, host)) = shared_host(env, spec) {
                let message = format!("the host {host} leads to {} already", env.id);
                let hint = match origin {
                    Some(origin) => other_pattern(origin),
                    None => own_host(spec, service, host),
                };
                return Err(Refusal::new(RefusalKind::Conflict, message).hint(hint));
            }
        }
        Ok(())
    }
}

/// The hosts of environments that are down, in order, but for those that lead elsewhere by now. Only what everybody may ask
/// for: who is not let in is told nothing of an environment that is there.
pub(crate) fn down(state: &State, pools: &[Arc<Pool>]) -> Vec<String> {
    let mut found = BTreeSet::new();
    let down = state.environments.values();
    for env in down.filter(|env| env.goal == Goal::Down) {
        let services = env.current_release().map(|release| &release.spec.services);
        let routes = services.into_iter().flat_map(BTreeMap::values);
        let routes: Vec<&RouteSpec> = routes.flat_map(|service| &service.routes).collect();
        let known = |route: &RouteSpec| {
            route
                .tls
                .as_ref()
                .is_some_and(|tls| tls.client_ca.is_some())
        };
        let asks_who: BTreeSet<_> = routes
            .iter()
            .filter(|route| known(route))
            .map(|r| &r.host)
            .collect();
        let open = routes.iter().filter(|route| {
            let settings = &route.settings;
            let public = settings.audience == Audience::Public && settings.allow.is_empty();
            public && !asks_who.contains(&route.host)
        });
        found.extend(open.filter_map(|route| Some(route.host.as_ref()?.to_lowercase())));
    }
    // There are many routes, and mostly nothing is down.
    if !found.is_empty() {
        for route in pools.iter().flat_map(|pool| &pool.routes) {
            found.remove(&route.host.to_lowercase());
        }
    }
    found.into_iter().collect()
}

/// Whether environments that are to run beside each other have hosts of their own.
pub(crate) fn apart(specs: &[&EnvSpec]) -> Result<(), Refusal> {
    for (at, spec) in specs.iter().enumerate() {
        for other in &specs[..at] {
            let taken = hosts_of(other);
            if let Some((service, host)) = taken_host(&taken, spec) {
                let message = format!("the host {host} of {} leads to {}, too", spec.id, other.id);
                let hint = own_host(spec, service, host);
                return Err(Refusal::new(RefusalKind::Conflict, message).hint(hint));
            }
        }
    }
    Ok(())
}

/// Whether the certificates that its hosts name can be used now: what cannot is not deployed.
fn certified(spec: &EnvSpec, issuing: Option<&Issuing>) -> Result<(), Refusal> {
    let routes = spec.services.iter();
    let routes = routes.flat_map(|(name, service)| service.routes.iter().map(move |r| (name, r)));
    for (service, route) in routes {
        let (Some(host), Some(tls)) = (&route.host, &route.tls) else {
            continue;
        };
        if tls.acme && issuing.is_none() {
            let message = format!(
                "the certificate of {host} is to be had by ACME, and this Ward was started without an authority"
            );
            let hint = "start it with `ward serve --acme-directory URL`, or WARD_ACME_DIRECTORY in the environment of \
                        whoever starts it; who does agrees to the authority's terms";
            return Err(Refusal::new(RefusalKind::Invalid, message).hint(hint.to_owned()));
        }
        ward_gateway::certificates::check(host, tls, now()).map_err(|error| {
            let message = format!("TLS for {host} is not to be had: {}", causes(&error));
            let hint = format!(
                "the gateway reads these files as the user that runs Ward; mend them, or `service.{service}.route.tls` \
                 in ward.toml"
            );
            Refusal::new(RefusalKind::Invalid, message).hint(hint)
        })?;
    }
    Ok(())
}

/// The service of `spec` whose host another environment has, and that host.
fn shared_host<'a>(env: &Environment, spec: &'a EnvSpec) -> Option<(&'a Name, &'a str)> {
    let coming = env.deployments.values().filter(|d| !is_over(d));
    let releases = env
        .current_release()
        .into_iter()
        .chain(coming.filter_map(|d| env.releases.get(&d.to)));
    let taken: Vec<String> = releases
        .flat_map(|release| hosts_of(&release.spec))
        .collect();
    taken_host(&taken, spec)
}

fn hosts_of(spec: &EnvSpec) -> Vec<String> {
    let routes = spec.services.values().flat_map(|s| &s.routes);
    let hosts = routes.filter_map(|route| route.host.as_ref());
    hosts.map(|host| host.to_lowercase()).collect()
}

fn taken_host<'a>(taken: &[String], spec: &'a EnvSpec) -> Option<(&'a Name, &'a str)> {
    let routes = |(name, service): (&'a Name, &'a ServiceSpec)| {
        let hosts = service
            .routes
            .iter()
            .filter_map(|route| route.host.as_deref());
        hosts.map(move |host| (name, host))
    };
    let mut wanted = spec.services.iter().flat_map(routes);
    wanted.find(|(_, host)| taken.contains(&host.to_lowercase()))
}

fn other_pattern(origin: &Origin) -> String {
    format!(
        "the hosts of a copy of {} are named by `{}`; `ward env create` takes another pattern, such as \
         `--hosts \"{{service}}.{{env}}.{{stack}}.localhost\"`",
        origin.from, origin.hosts
    )
}

/// The lines that give an environment a host of its own.
fn own_host(spec: &EnvSpec, service: &Name, host: &str) -> String {
    let env = spec.id.env();
    let alone = spec
        .services
        .get(service)
        .is_some_and(|s| s.routes.len() == 1);
    if !alone || host.starts_with('*') {
        return format!(
            "give {} hosts of its own: `service.{service}.route` under [environment.{env}] in ward.toml replaces the \
             list of its routes",
            spec.id
        );
    }
    format!(
        "give {} a host of its own in ward.toml, such as:\n[environment.{env}]\nservice.{service}.route.host = \"{env}.{host}\"",
        spec.id
    )
}
