//! What becomes of a request of the outside before it is sent to an instance: whether its client may ask at all,
//! must ask over HTTPS, gets the page of a maintenance, or wants to send too much.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use ward_types::maintenance::Maintenance;
use ward_types::route::{Audience, Https};

use crate::failure::{Asked, Failure};
use crate::head::Outside;
use crate::site::Route;

/// The ports that the gateway listens on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// Plain HTTP.
    pub(crate) http: u16,
    /// HTTP over TLS.
    pub(crate) https: u16,
}

/// Whether a client may ask at all, if only to be led to HTTPS. Looked at again with each table under which a request waits.
pub(crate) fn admit(route: &Route, client: &Outside) -> Result<(), Failure> {
    if route.settings.audience == Audience::Links {
        return Err(Failure::UNKNOWN_PATH);
    }
    if !client.suits(&route.clients) && !is_redirected(route, client) {
        return Err(Failure::MISDIRECTED);
    }
    match route.settings.allows(client.address) {
        true => Ok(()),
        false => Err(Failure::FORBIDDEN),
    }
}

/// Whether a client may ask the instances, too: one that is led to HTTPS may not where certificates are asked for.
pub(crate) fn pass(route: &Route, client: &Outside) -> Result<(), Failure> {
    match client.suits(&route.clients) {
        true => Ok(()),
        false => Err(Failure::MISDIRECTED),
    }
}

fn is_redirected(route: &Route, client: &Outside) -> bool {
    route.settings.https == Https::Redirect && client.scheme == "http"
}

/// A request at the gate, its client admitted.
pub(crate) struct Visit<'a> {
    /// What it takes.
    pub(crate) route: &'a Route,
    /// Who asks.
    pub(crate) client: &'a Outside,
    /// For what.
    pub(crate) target: &'a PathAndQuery,
    /// With what, its host among it.
    pub(crate) headers: &'a HeaderMap,
    /// Where.
    pub(crate) ports: Ports,
}

impl Visit<'_> {
    /// The answer of a request that does not go on to an instance.
    ///
    /// # Errors
    /// When it announces more than it may send.
    pub(crate) fn answer(
        &self,
        asked: &Asked,
        id: &HeaderValue,
    ) -> Result<Option<Response<Bytes>>, Failure> {
        let settings = &self.route.settings;
        let by_itself = is_challenge(self.target.path()) && self.client.suits(&self.route.clients);
        if is_redirected(self.route, self.client) && !by_itself {
            return Ok(self.redirect());
        }
        if let Some(maintenance) = &self.route.pool.maintenance
            && !is_let_in(maintenance, self.client)
        {
            let mut page = page(maintenance, asked, id);
            settings.dress(page.headers_mut(), self.client.scheme);
            return Ok(Some(page));
        }
        match settings.body_limit {
            Some(limit) if announced(self.headers) > limit => Err(Failure::TOO_LARGE),
            _ => Ok(None),
        }
    }

    /// 308 keeps method and body (RFC 9110 section 15.4.9). It is not to be kept, so that what a route says of
    /// HTTPS can be changed; who wants browsers to remember has `strict-transport-security`.
    fn redirect(&self) -> Option<Response<Bytes>> {
        let host = self.headers.get(http::header::HOST)?;
        let host = Authority::try_from(host.as_bytes()).ok()?;
        let port = match host.port_u16().unwrap_or(80) {
            // Who came by another port has come through something that maps ports, and 443 to HTTPS's.
            port if port == self.ports.http && self.ports.https != 443 => {
                format!(":{}", self.ports.https)
            }
            _ => String::new(),
        };
        let target = match self.target.as_str() {
            "*" => "/",
            target => target,
        };
        let place = HeaderValue::try_from(format!("https://{}{port}{target}", host.host())).ok()?;
        let mut response = Response::new(Bytes::from_static(b"This is served over HTTPS alone.\n"));
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        let headers = response.headers_mut();
        headers.insert(LOCATION, place);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }
}

/// Whether a target may be a challenge of ACME, for the gateway or the application.
pub(crate) fn may_be_challenge(target: &str) -> bool {
    target.starts_with("/.well-known/acme-challenge/")
}

/// A challenge of ACME, and nothing that only begins like one (RFC 8555 section 8.3).
fn is_challenge(path: &str) -> bool {
    let token = path.strip_prefix("/.well-known/acme-challenge/");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    token.is_some_and(|token| !token.is_empty() && token.bytes().all(plain))
}

fn is_let_in(maintenance: &Maintenance, client: &Outside) -> bool {
    maintenance
        .allow
        .iter()
        .any(|range| range.contains(client.address))
}

fn page(maintenance: &Maintenance, asked: &Asked, id: &HeaderValue) -> Response<Bytes> {
    let mut page = Failure::MAINTENANCE.answer_saying(&maintenance.message, asked, id);
    let seconds = maintenance.retry_after.0.div_ceil(1000).max(1);
    page.headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
    page
}

/// The length that a head announces; one that is no number was refused by hyper.
fn announced(headers: &HeaderMap) -> u64 {
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_challenge_goes_without_tls() {
        assert!(is_challenge(
            "/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA"
        ));
        for path in [
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/../../secret",
            "/.well-known/acme-challenge/a/b",
            "/.well-known/acme-challenge/%2e%2e",
            "/.well-known/acme-challenges",
            "/",
        ] {
            assert!(!is_challenge(path), "{path}");
        }
    }
}
