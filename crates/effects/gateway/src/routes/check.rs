//! What a table must be to be taken.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ward_types::id::{EnvId, Generation, Name, Term};
use ward_types::route::Route;
use ward_types::table::Pool;

use super::Shared;
use super::change::is_in_place;
use crate::offer::{self, Entry, Offer};
use crate::{affinity, site, split};

/// Why a table is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// A newer one is in force.
    #[error("table {offered} is older than {current}, which is in force")]
    Older {
        offered: Generation,
        current: Generation,
    },
    /// It is of a server that was succeeded.
    #[error(
        "the table is of a server with the fencing number {offered}, and one with {current} has taken over"
    )]
    Fenced {
        /// Of the server that offers it.
        offered: Term,
        /// Of the server that acts.
        current: Term,
    },
    /// Another one of the same generation is in force.
    #[error("another table {0} is in force already; a changed table needs a new generation")]
    SameGeneration(Generation),
    /// Two environments have routes at one host.
    #[error("host {host} is claimed by {first} and by {second}; one of them must give it up")]
    HostTwice {
        host: String,
        first: String,
        second: String,
    },
    /// The same requests lead to two pools, or twice to one.
    #[error("{requests} lead to {first} and to {second}; one of the routes must go")]
    RouteTwice {
        requests: String,
        first: String,
        second: String,
    },
    /// A route cannot be.
    #[error("a route to {service} of {env} at {host} cannot be: {why}")]
    BadRoute {
        env: EnvId,
        service: Name,
        host: String,
        why: &'static str,
    },
    /// A service has two pools.
    #[error("{service} of {env} has two pools in the table; a service has one")]
    ServiceTwice { env: EnvId, service: Name },
    /// A pool's requests cannot be divided as the table says.
    #[error("the requests of {service} of {env} cannot be divided: {why}")]
    BadSplit {
        env: EnvId,
        service: Name,
        why: &'static str,
    },
}

/// What has not changed was checked before, but for what it has in common with the rest; and that, too, where no service
/// has come or gone, and no route.
pub(super) fn check(offer: &Offer, before: &[Arc<Entry>]) -> Result<(), TableError> {
    if !offer::was_checked(before) || !is_in_place(before, &offer.entries) {
        unambiguous(&offer.entries)?;
    }
    passable(&offer.changed)?;
    divisible(&offer.changed)
}

fn unambiguous(entries: &[Arc<Entry>]) -> Result<(), TableError> {
    let name = |pool: &Pool| format!("{} of {}", pool.service, pool.env);
    let mut owners: HashMap<Cow<'_, str>, &Pool> = HashMap::with_capacity(entries.len());
    let mut claimed: HashMap<_, &Pool> = HashMap::with_capacity(entries.len());
    let mut services = HashSet::with_capacity(entries.len());
    for pool in entries.iter().map(|entry| &entry.pool) {
        if !services.insert((&pool.env, &pool.service)) {
            let (env, service) = (pool.env.clone(), pool.service.clone());
            return Err(TableError::ServiceTwice { env, service });
        }
        for route in &pool.routes {
            let host = lower(route.host.strip_suffix('.').unwrap_or(&route.host));
            let owner = *owners.entry(host.clone()).or_insert(pool);
            if owner.env != pool.env {
                let (first, second) = (name(owner), name(pool));
                let host = route.host.clone();
                return Err(TableError::HostTwice {
                    host,
                    first,
                    second,
                });
            }
            // Of two paths that differ in case alone, no request could be told which it takes.
            let asked = (host, lower(&route.path), route.header.as_ref());
            if let Some(other) = claimed.insert(asked, pool) {
                let (first, second) = (name(other), name(pool));
                let requests = requests(route);
                return Err(TableError::RouteTwice {
                    requests,
                    first,
                    second,
                });
            }
        }
    }
    Ok(())
}

/// What a route takes, in words.
fn requests(route: &Route) -> String {
    let header = route.header.as_ref().map(|header| match &header.value {
        Some(value) => format!(" with the header {}: {value}", header.name),
        None => format!(" with a header {}", header.name),
    });
    let header = header.unwrap_or_default();
    format!("requests for {}{}{header}", route.host, route.path)
}

/// A name in lower case, which most names are.
fn lower(name: &str) -> Cow<'_, str> {
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => name.to_ascii_lowercase().into(),
        false => name.into(),
    }
}

fn passable(entries: &[Arc<Entry>]) -> Result<(), TableError> {
    let mut shared = Shared::default();
    for pool in entries.iter().map(|entry| &entry.pool) {
        for route in &pool.routes {
            site::check(route)
                .and_then(|()| shared.settings(route).map(drop))
                .map_err(|why| TableError::BadRoute {
                    env: pool.env.clone(),
                    service: pool.service.clone(),
                    host: route.host.clone(),
                    why,
                })?;
        }
    }
    Ok(())
}

fn divisible(entries: &[Arc<Entry>]) -> Result<(), TableError> {
    for pool in entries.iter().map(|entry| &entry.pool) {
        let checked = pool.split.as_ref().map_or(Ok(()), split::check);
        let affinity = pool.balance.affinity.as_ref();
        let checked = checked.and_then(|()| affinity.map_or(Ok(()), affinity::check));
        checked.map_err(|why| TableError::BadSplit {
            env: pool.env.clone(),
            service: pool.service.clone(),
            why,
        })?;
    }
    Ok(())
}
