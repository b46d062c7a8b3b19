//! Where a plain request leads, and what the gateway says beside it.

use std::sync::Arc;

use ward_types::route::{Forwarded, Https};

use super::answer::push_line;
use crate::client::Client;
use crate::forwarded;
use crate::gate;
use crate::proxy::Entry;
use crate::rate::Meter;
use crate::routes::Pool;
use crate::settings::Settings;
use crate::sharing;
use crate::trace::Made;
use crate::worker::Worker;

/// Where a request leads.
pub(crate) struct Way {
    /// To one of these.
    pub(crate) pool: Arc<Pool>,
    /// What its requests are counted to beside what the pool's are.
    pub(crate) meter: Option<Arc<Meter>>,
    /// What its route says; `None` over links.
    pub(crate) settings: Option<Arc<Settings>>,
}

impl Way {
    /// Of a host, in lower case, and a path with its query, if nothing stands in the way that is for hyper's path. `body`
    /// is how many bytes come with it.
    pub(crate) fn find(
        worker: &Worker,
        client: &Client,
        (host, target): (&str, &str),
        body: usize,
    ) -> Option<Self> {
        let routes = worker.routing.current();
        let way = match &client.entry {
            Entry::Front(outside) => {
                if worker.shared.memory.is_tight() {
                    return None;
                }
                if outside.scheme == "http" && gate::may_be_challenge(target) {
                    return None;
                }
                let route = routes.sites.find_plain(host, target)?;
                let settings = &route.settings;
                let passes = gate::admit(route, outside).is_ok()
                    && (settings.https == Https::Optional || outside.scheme == "https")
                    && route.pool.maintenance.is_none()
                    && settings.body_limit.is_none_or(|limit| body as u64 <= limit);
                passes.then(|| Self {
                    pool: Arc::clone(&route.pool),
                    meter: route.meter.clone(),
                    settings: Some(Arc::clone(settings)),
                })?
            }
            Entry::Link { service, .. } => {
                let pool = routes.by_service(service)?;
                sharing::admits(&client.entry, pool).then(|| Self {
                    pool: Arc::clone(pool),
                    meter: None,
                    settings: None,
                })?
            }
            Entry::Probe { .. } => return None,
        };
        way.pool.is_plain().then_some(way)
    }

    /// What its requests are counted to.
    pub(crate) fn metered(&self) -> (&Pool, Option<&Meter>) {
        (&self.pool, self.meter.as_deref())
    }
}

/// What the gateway says beside what the client does.
pub(crate) struct Own<'a> {
    /// Who asks.
    pub(crate) client: &'a Client,
    /// The lines that all requests of a connection have.
    pub(crate) origin: &'a [u8],
    /// The host as the client wrote it.
    pub(crate) authority: &'a str,
    /// The trace that begins with the request.
    pub(crate) trace: Option<&'a Made>,
    /// Its name.
    pub(crate) id: &'a [u8],
}

impl Own<'_> {
    /// Writes it, and the end of the head.
    pub(crate) fn write(&self, way: &Way, out: &mut Vec<u8>) {
        out.extend_from_slice(self.origin);
        if let Entry::Front(outside) = &self.client.entry {
            let authority = self.authority.as_bytes();
            push_line(out, b"x-forwarded-host", authority);
            if way
                .settings
                .as_ref()
                .is_some_and(|own| own.forwarded == Forwarded::Said)
            {
                out.extend_from_slice(forwarded::NAME.as_bytes());
                out.extend_from_slice(b": ");
                forwarded::write(out, outside, authority);
                out.extend_from_slice(b"\r\n");
            }
        }
        if let Some(trace) = self.trace {
            push_line(out, b"traceparent", trace.value());
        }
        push_line(out, b"x-request-id", self.id);
        out.extend_from_slice(b"\r\n");
    }
}
