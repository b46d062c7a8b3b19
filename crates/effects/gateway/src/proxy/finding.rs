//! Where a request leads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response};

use super::{Entry, Exchange, Target};
use crate::failure::{Asked, Failure};
use crate::gate::{self, Visit};
use crate::routes::{Pool, Routes};
use crate::settings::Settings;
use crate::sharing;

impl Exchange<'_> {
    /// Finds the route of a request of the outside, and its answer if it does not go on to an instance.
    pub(super) fn at_the_gate(
        &self,
        asked: &Asked,
        id: &HeaderValue,
    ) -> Result<Option<Response<Bytes>>, Failure> {
        let (Entry::Front(outside), Target::Host(host)) = (&self.client.entry, &self.target) else {
            return Ok(None);
        };
        let challenges = &self.worker.shared.tls.challenges;
        if challenges.is_asked()
            && outside.scheme == "http"
            && let Some(answer) = challenges.answer(host, self.path.path())
        {
            return Ok(Some(answer));
        }
        self.find_route(&self.worker.routing.current(), host)?;
        let found = self.route.borrow();
        let Some((_, route)) = found.as_ref() else {
            return Ok(None);
        };
        if let Some(limit) = route.settings.body_limit {
            self.upload.limit(limit);
        }
        let visit = Visit {
            route,
            client: outside,
            target: &self.path,
            headers: &self.headers,
            ports: self.worker.shared.ports,
        };
        visit.answer(asked, id)
    }

    /// Finds the newest table's route, once for each table.
    fn find_route(&self, routes: &Routes, host: &str) -> Result<(), Failure> {
        let generation = routes.table.generation;
        let found = self.route.borrow().as_ref().map(|(seen, _)| *seen);
        if found == Some(generation) {
            return Ok(());
        }
        let route = routes.sites.find(host, &self.path, &self.headers);
        let route = route.map_err(|failure| match generation.0 {
            0 => Failure::NO_TABLE,
            _ if failure == Failure::UNKNOWN_HOST && routes.is_down(host) => Failure::DOWN,
            _ => failure,
        })?;
        if let Entry::Front(outside) = &self.client.entry {
            gate::admit(route, outside)?;
        }
        *self.route.borrow_mut() = Some((generation, Arc::clone(route)));
        Ok(())
    }

    fn by_route(&self, routes: &Routes, host: &str) -> Result<Arc<Pool>, Failure> {
        self.find_route(routes, host)?;
        let route = self.route.borrow();
        let Some((_, route)) = route.as_ref() else {
            return Err(Failure::UNKNOWN_HOST);
        };
        if let Entry::Front(outside) = &self.client.entry {
            gate::pass(route, outside)?;
        }
        Ok(Arc::clone(&route.pool))
    }

    /// A limit that its route has.
    pub(super) fn limit(&self, of: fn(&Settings) -> Option<Duration>) -> Option<Duration> {
        let route = self.route.borrow();
        route.as_ref().and_then(|(_, route)| of(&route.settings))
    }

    /// For whoever asks where a request led that was answered by no instance.
    pub(super) fn note_service(&self) {
        if let Ok(pool) = self.pool() {
            self.account.leads_to(&pool.service);
        }
    }

    /// The gateway's own page, which stands in for the service's answers.
    pub(super) fn note_page(&self, page: &Response<Bytes>) {
        if page.status().is_server_error() {
            self.account.failed(&Failure::MAINTENANCE);
        }
        self.note_service();
    }

    pub(super) fn pool(&self) -> Result<Arc<Pool>, Failure> {
        let routes = self.worker.routing.current();
        let service = match &self.target {
            Target::Host(host) => return self.by_route(&routes, host),
            Target::Service(service) | Target::Release(service, _) => service,
        };
        match routes.by_service(service) {
            Some(pool) if !sharing::admits(&self.client.entry, pool) => Err(Failure::NOT_EXPORTED),
            Some(pool) => Ok(Arc::clone(pool)),
            None if routes.table.generation.0 == 0 => Err(Failure::NO_TABLE),
            None if sharing::is_guest(&self.client.entry) => Err(Failure::NOT_THERE),
            None => Err(Failure::NO_INSTANCE),
        }
    }
}
