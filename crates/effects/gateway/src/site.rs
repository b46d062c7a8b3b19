//! Which route a request of the outside takes.
//!
//! The host decides first: one that is named in full goes before a wildcard, which stands for one label. Of a
//! host's routes the longest prefix that covers the path goes first, and of those with one prefix the one that
//! asks for a header's value, then the one that asks for a header. No other host is tried when none of them fits.
//! A host that has one route, for all of its requests, costs one look-up and no look at the path.

mod hosts;

use std::collections::HashMap;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use ward_types::route::{HeaderCondition, Prefix, Route as RouteEntry};

use hosts::Hosts;

use crate::failure::Failure;
use crate::mutual::Clients;
use crate::path;
use crate::rate::Meter;
use crate::routes::{Pool, canonical};
use crate::settings::Settings;

/// One route, ready for requests.
#[derive(Clone)]
pub(crate) struct Route {
    /// Where it leads.
    pub(crate) pool: Arc<Pool>,
    /// What holds for its requests.
    pub(crate) settings: Arc<Settings>,
    /// Whose clients its host takes.
    pub(crate) clients: Clients,
    /// What its requests are counted to, beside what those of its service are.
    pub(crate) meter: Option<Arc<Meter>>,
    /// What a path begins with; empty: every path.
    prefix: String,
    depth: usize,
    header: Option<Condition>,
    /// Whether nothing is asked of its requests, or of their answers, that takes more than looking at them once.
    is_plain: bool,
}

#[derive(Clone)]
struct Condition {
    name: HeaderName,
    value: Option<HeaderValue>,
}

impl Condition {
    fn of(entry: &HeaderCondition) -> Result<Self, &'static str> {
        let name = HeaderName::try_from(entry.name.as_str());
        let value = entry.value.as_deref().map(HeaderValue::try_from);
        Ok(Self {
            name: name.map_err(|_| "its header's name is not one")?,
            value: value
                .transpose()
                .map_err(|_| "its header's value is not one")?,
        })
    }

    fn holds(&self, headers: &HeaderMap) -> bool {
        match &self.value {
            None => headers.contains_key(&self.name),
            Some(value) => headers.get_all(&self.name).iter().any(|one| one == value),
        }
    }
}

impl Route {
    /// A route that passed [`check`].
    fn new(entry: &RouteEntry, pool: Arc<Pool>, settings: Arc<Settings>, clients: Clients) -> Self {
        let prefix = entry.path.trim_end_matches('/').to_owned();
        let depth = prefix.matches('/').count();
        let meter = pool.guard.of_route(entry);
        Self {
            is_plain: settings.is_plain()
                && (depth == 0 || settings.prefix == Prefix::Kept)
                && meter.as_ref().is_none_or(|meter| meter.is_by_address()),
            pool,
            meter,
            settings,
            depth,
            clients,
            prefix,
            header: entry
                .header
                .as_ref()
                .and_then(|header| Condition::of(header).ok()),
        }
    }

    fn is_for_all(&self) -> bool {
        self.depth == 0 && self.header.is_none()
    }

    fn takes(&self, headers: &HeaderMap) -> bool {
        self.header
            .as_ref()
            .is_none_or(|header| header.holds(headers))
    }

    /// Whether it is the same requests of the same service, in another table.
    fn is_same(&self, other: &Self) -> bool {
        let header = |route: &Self| {
            let header = route.header.as_ref();
            header.map(|header| (header.name.clone(), header.value.clone()))
        };
        Arc::ptr_eq(&self.pool.gap, &other.pool.gap)
            && self.prefix == other.prefix
            && self.clients == other.clients
            && header(self) == header(other)
    }

    /// What it asks for, the most first.
    fn rank(&self) -> impl Ord + use<> {
        let header = match &self.header {
            Some(header) if header.value.is_some() => 0,
            Some(_) => 1,
            None => 2,
        };
        let name = self.header.as_ref().map(|header| header.name.to_string());
        (
            std::cmp::Reverse(self.prefix.len()),
            header,
            name,
            self.prefix.clone(),
        )
    }

    /// The target that the instance sees, and the prefix that was taken off, if one was.
    pub(crate) fn target(&self, asked: &PathAndQuery) -> (PathAndQuery, Option<HeaderValue>) {
        if self.settings.prefix == Prefix::Kept || self.depth == 0 {
            return (asked.clone(), None);
        }
        let rest = path::without(asked.as_str(), self.depth);
        let rest = rest.and_then(|rest| PathAndQuery::try_from(rest.as_ref()).ok());
        let rest = rest.unwrap_or_else(|| PathAndQuery::from_static("/"));
        (rest, HeaderValue::try_from(self.prefix.as_str()).ok())
    }
}

/// What is served at one host.
#[derive(Clone, Default)]
struct Site {
    /// In the order in which they are tried.
    routes: Vec<Arc<Route>>,
    /// How many segments the longest prefix has.
    depth: usize,
    /// Whether one of them asks for a header.
    by_header: bool,
}

impl Site {
    fn add(&mut self, route: Route) {
        self.depth = self.depth.max(route.depth);
        self.by_header |= route.header.is_some();
        self.routes.push(Arc::new(route));
    }

    fn find(&self, target: &PathAndQuery, headers: &HeaderMap) -> Result<&Arc<Route>, Failure> {
        if let [only] = self.routes.as_slice()
            && only.is_for_all()
        {
            return Ok(only);
        }
        let found = match self.depth {
            0 => self.routes.iter().find(|route| route.takes(headers)),
            depth => {
                let both = (target.path(), target.as_str());
                self.by_path(both, depth, |route| route.takes(headers))?
            }
        };
        found.ok_or(Failure::UNKNOWN_PATH)
    }

    /// The route that a path leads to whatever else a request has, if its requests reach instances as they are.
    fn find_plain(&self, target: &str) -> Option<&Arc<Route>> {
        let found = match self.routes.as_slice() {
            [only] if only.is_for_all() => Some(only),
            _ if self.by_header => None,
            _ => {
                let path = target.split('?').next().unwrap_or(target);
                self.by_path((path, target), self.depth, |_| true).ok()?
            }
        };
        found.filter(|route| route.is_plain)
    }

    fn by_path(
        &self,
        (asked, target): (&str, &str),
        depth: usize,
        takes: impl Fn(&Route) -> bool,
    ) -> Result<Option<&Arc<Route>>, Failure> {
        // `OPTIONS *` asks about the host as a whole (RFC 9110 section 9.3.7).
        let leading = match asked {
            "*" => "/".into(),
            asked => path::leading(asked, depth).ok_or(Failure::AMBIGUOUS_PATH)?,
        };
        let first = |same: fn(&[u8], &[u8]) -> bool| {
            let mut routes = self.routes.iter();
            let covers = |route: &Route| path::covers(&route.prefix, &leading, same);
            routes.find(|route| covers(route) && takes(route))
        };
        let found = first(|one, other| one == other);
        let folded = first(<[u8]>::eq_ignore_ascii_case);
        let same = match (found, folded) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let strips = |route: &&Arc<Route>| route.settings.prefix == Prefix::Stripped;
        let left = |route: &Arc<Route>| path::without(target, route.depth);
        match same
            && found
                .filter(strips)
                .is_none_or(|route| left(route).is_some())
        {
            true => Ok(found),
            false => Err(Failure::AMBIGUOUS_PATH),
        }
    }
}

/// Everything that is served to the outside.
#[derive(Clone, Default)]
pub(crate) struct Sites {
    named: Hosts,
    /// By what is behind `*.`.
    wildcards: Hosts,
}

impl Sites {
    /// One more route, which passed [`check`].
    pub(crate) fn add(
        &mut self,
        entry: &RouteEntry,
        pool: Arc<Pool>,
        settings: Arc<Settings>,
        clients: &HashMap<String, Clients>,
    ) {
        let host = canonical(&entry.host);
        let clients = clients.get(&host).cloned().flatten();
        let (sites, host) = self.among(&host);
        sites
            .entry(host.to_owned())
            .add(Route::new(entry, pool, settings, clients));
    }

    /// Lets the routes of a host that lead to one pool lead to another.
    pub(crate) fn lead_on(&mut self, host: &str, from: &Arc<Pool>, to: &Arc<Pool>) {
        let host = canonical(host);
        let (sites, host) = self.among(&host);
        let routes = sites.get_mut(host).map(|site| &mut site.routes);
        let routes = routes.into_iter().flatten();
        for route in routes.filter(|route| Arc::ptr_eq(&route.pool, from)) {
            Arc::make_mut(route).pool = Arc::clone(to);
        }
    }

    /// Where a host of a table is, and under which name.
    fn among<'a>(&mut self, host: &'a str) -> (&mut Hosts, &'a str) {
        match host.strip_prefix("*.") {
            Some(above) => (&mut self.wildcards, above),
            None => (&mut self.named, host),
        }
    }

    /// Puts routes in the order in which they are tried; after the last one was added.
    pub(crate) fn sort(&mut self) {
        let sites = self.named.values_mut().chain(self.wildcards.values_mut());
        for site in sites.filter(|site| site.routes.len() > 1) {
            site.routes.sort_by_cached_key(|route| route.rank());
        }
    }

    /// The route of a request for a host, given in lower case and without port.
    ///
    /// # Errors
    /// When nothing is served there, or the path can be read in two ways.
    pub(crate) fn find(
        &self,
        host: &str,
        target: &PathAndQuery,
        headers: &HeaderMap,
    ) -> Result<&Arc<Route>, Failure> {
        let site = self.site(host);
        site.ok_or(Failure::UNKNOWN_HOST)?.find(target, headers)
    }

    /// The same for a request that may be plain; `None` when it is not, or nothing is found.
    pub(crate) fn find_plain(&self, host: &str, target: &str) -> Option<&Arc<Route>> {
        self.site(host)?.find_plain(target)
    }

    fn site(&self, host: &str) -> Option<&Site> {
        self.named.get(host).or_else(|| {
            let (label, above) = host.split_once('.')?;
            self.wildcards.get(above).filter(|_| !label.is_empty())
        })
    }

    /// The pools of which a host's requests may have to find their way anew, because `after` has other routes.
    pub(crate) fn changed<'a>(&'a self, after: &'a Self) -> impl Iterator<Item = &'a Arc<Pool>> {
        let is_same = |site: &Site, now: Option<&Site>| {
            let now = now.map_or(&[][..], |now| &now.routes);
            let mut pairs = site.routes.iter().zip(now);
            site.routes.len() == now.len() && pairs.all(|(one, other)| one.is_same(other))
        };
        let named = self.named.beside(&after.named);
        let wildcards = self.wildcards.beside(&after.wildcards);
        // A host that is named now was a wildcard's before.
        let more_names = after.named.len() > self.named.len();
        let changed = named
            .filter(move |(site, now)| !is_same(site, *now))
            .chain(wildcards.filter(move |(site, now)| more_names || !is_same(site, *now)));
        changed
            .flat_map(|(site, _)| &site.routes)
            .map(|route| &route.pool)
    }
}

/// Why a route of a table cannot be, if so.
pub(crate) fn check(route: &RouteEntry) -> Result<(), &'static str> {
    let host = route.host.strip_prefix("*.").unwrap_or(&route.host);
    if canonical(host).is_empty() || host.contains(['*', '/', ':', '@', ' ']) {
        return Err("its host is neither a name nor `*.` and a name");
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"%;\\?#*".contains(&byte);
    let segment = |segment: &str| !matches!(segment, "" | "." | "..");
    let segments = route
        .path
        .strip_prefix('/')
        .ok_or("its path does not begin with a slash")?;
    if !route.path.bytes().all(plain) || (route.path != "/" && !segments.split('/').all(segment)) {
        return Err("its path is not a plain one of whole segments");
    }
    route
        .header
        .as_ref()
        .map_or(Ok(()), |header| Condition::of(header).map(drop))
}
