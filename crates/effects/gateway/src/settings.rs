//! What holds for the requests of a route, ready for them.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{CONTENT_SECURITY_POLICY, Entry, STRICT_TRANSPORT_SECURITY, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue};
use ward_types::range::AddressRange;
use ward_types::route::{
    Audience, Forwarded, Https, Prefix, RouteSettings, STANDARD_HEADERS, StandardHeaders,
    is_reserved,
};

/// What holds for the requests of a route. Routes that have the same share one.
pub(crate) struct Settings {
    /// What the instance sees of the path.
    pub(crate) prefix: Prefix,
    /// What becomes of requests without TLS.
    pub(crate) https: Https,
    /// Who may ask.
    pub(crate) audience: Audience,
    /// How long an instance may take to the head of its answer.
    pub(crate) response_timeout: Option<Duration>,
    /// How long nothing may come of an answer.
    pub(crate) idle_timeout: Option<Duration>,
    /// From a request's head to the end of its answer.
    pub(crate) timeout: Option<Duration>,
    /// The most bytes of a request's body.
    pub(crate) body_limit: Option<u64>,
    /// Whether the instance is told in `Forwarded` too where a request comes from.
    pub(crate) forwarded: Forwarded,
    allow: Vec<AddressRange>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Whether a host's name is this machine's own for every client (RFC 6761 section 6.3).
pub(crate) fn is_local(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

impl Settings {
    /// Those of a host that [`is_local`] or not.
    ///
    /// # Errors
    /// Why a response header cannot be.
    pub(crate) fn new(entry: &RouteSettings, local: Locality) -> Result<Self, &'static str> {
        Ok(Self {
            prefix: entry.prefix,
            https: entry.https,
            audience: entry.audience,
            response_timeout: entry.response_timeout.map(|limit| limit.duration()),
            idle_timeout: entry.idle_timeout.map(|limit| limit.duration()),
            timeout: entry.timeout.map(|limit| limit.duration()),
            body_limit: entry.body_limit.map(|limit| limit.0),
            forwarded: entry.forwarded,
            allow: entry.allow.clone(),
            headers: headers(entry, local)?,
        })
    }

    /// Whether an address may ask.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|range| range.contains(address))
    }

    /// Whether an answer needs no timers of its own, and its headers can be counted in a word.
    pub(crate) fn is_plain(&self) -> bool {
        self.timeout.is_none() && self.idle_timeout.is_none() && self.headers.len() < 64
    }

    /// Response headers that are added where an answer does not have them.
    pub(crate) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Adds the response headers that an answer does not have.
    pub(crate) fn dress(&self, headers: &mut HeaderMap, scheme: &str) {
        for (name, value) in &self.headers {
            if suits(name, scheme, || is_framing_said(headers))
                && let Entry::Vacant(place) = headers.entry(name)
            {
                place.insert(value.clone());
            }
        }
    }
}

/// Whether a response header makes sense in an answer over `scheme`, of which `is_framing_said` tells whether its policy
/// says who may frame it.
pub(crate) fn suits(
    name: &HeaderName,
    scheme: &str,
    is_framing_said: impl FnOnce() -> bool,
) -> bool {
    match name {
        name if *name == STRICT_TRANSPORT_SECURITY => scheme == "https",
        name if *name == X_FRAME_OPTIONS => !is_framing_said(),
        _ => true,
    }
}

/// Whether a host is this machine's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Locality {
    /// It is.
    Local,
    /// It is a name like others.
    Elsewhere,
}

impl Locality {
    /// Of a host.
    pub(crate) fn of(host: &str) -> Self {
        match is_local(&crate::routes::canonical(host)) {
            true => Self::Local,
            false => Self::Elsewhere,
        }
    }
}

fn headers(
    entry: &RouteSettings,
    local: Locality,
) -> Result<Vec<(HeaderName, HeaderValue)>, &'static str> {
    let added = entry.standard_headers == StandardHeaders::Added;
    let standard = STANDARD_HEADERS.iter().filter(|(name, _)| {
        let pinned = *name == "strict-transport-security" && local == Locality::Local;
        added && !pinned && !entry.headers.contains_key(*name)
    });
    // What is there for ever needs no references counted, which all workers would count in one place.
    let standard = standard.map(|(name, value)| {
        let name = HeaderName::from_static(name);
        Ok((name, HeaderValue::from_static(value)))
    });
    let own = entry.headers.iter().filter(|(_, value)| !value.is_empty());
    let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
    let header = |(name, value): (&str, &str)| {
        if is_reserved(&name.to_ascii_lowercase()) {
            return Err("one of its response headers is not for a route to set");
        }
        let name = HeaderName::try_from(name);
        let value = HeaderValue::try_from(value);
        Ok((
            name.map_err(|_| "the name of one of its response headers is not one")?,
            value.map_err(|_| "the value of one of its response headers is not one")?,
        ))
    };
    standard.chain(own.map(header)).collect()
}

fn is_framing_said(headers: &HeaderMap) -> bool {
    let policies = headers.get_all(CONTENT_SECURITY_POLICY).iter();
    policies.map(HeaderValue::as_bytes).any(says_who_may_frame)
}

/// Whether a policy has `frame-ancestors`, which says more than `x-frame-options`, which some clients would follow
/// instead.
pub(crate) fn says_who_may_frame(policy: &[u8]) -> bool {
    let mut names = policy
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii_start);
    names.any(|name| {
        let start = name.get(.."frame-ancestors".len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(b"frame-ancestors"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dressed(
        entry: &RouteSettings,
        host: &str,
        scheme: &str,
        sent: &[(&'static str, &'static str)],
    ) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        let settings = Settings::new(entry, Locality::of(host)).unwrap();
        settings.dress(&mut headers, scheme);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut lines: Vec<String> = headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn standard_headers_are_added_where_the_application_sent_none() {
        let standard = RouteSettings::default();
        assert_eq!(
            dressed(
                &standard,
                "a.example",
                "https",
                &[("referrer-policy", "no-referrer")]
            ),
            [
                "referrer-policy: no-referrer",
                "strict-transport-security: max-age=31536000",
                "x-content-type-options: nosniff",
                "x-frame-options: SAMEORIGIN",
            ]
        );
        let has_hsts = |host, scheme| {
            let lines = dressed(&standard, host, scheme, &[]);
            lines.iter().any(|line| line.starts_with("strict-"))
        };
        assert!(has_hsts("a.example", "https") && !has_hsts("a.example", "http"));
        assert!(!has_hsts("shop.localhost", "https") && !has_hsts("LOCALHOST.", "https"));
        assert!(dressed(&RouteSettings::bare(), "a.example", "https", &[]).is_empty());
    }

    #[test]
    fn framing_is_left_to_a_policy_of_the_application() {
        for (policy, added) in [
            (
                "default-src 'self'; Frame-Ancestors https://b.example",
                false,
            ),
            ("frame-ancestors 'none'", false),
            ("default-src 'self'", true),
        ] {
            let sent = [("content-security-policy", policy)];
            let lines = dressed(&RouteSettings::default(), "a.example", "http", &sent);
            let frames = lines.iter().any(|line| line.starts_with("x-frame-options"));
            assert_eq!(frames, added, "{policy}");
        }
    }

    #[test]
    fn headers_are_changed_and_switched_off_by_name() {
        let own = |pairs: &[(&str, &str)]| RouteSettings {
            headers: pairs
                .iter()
                .map(|(n, v)| ((*n).into(), (*v).into()))
                .collect(),
            ..RouteSettings::default()
        };
        let changed = own(&[
            ("x-frame-options", "DENY"),
            ("referrer-policy", ""),
            ("x-content-type-options", ""),
            ("permissions-policy", "camera=()"),
            ("strict-transport-security", "max-age=60"),
        ]);
        assert_eq!(
            dressed(&changed, "shop.localhost", "https", &[]),
            [
                "permissions-policy: camera=()",
                "strict-transport-security: max-age=60",
                "x-frame-options: DENY",
            ]
        );
        for bad in [
            ("content-length", "1"),
            ("ward-release", "r9"),
            ("a b", "c"),
            ("a", "b\nc"),
        ] {
            assert!(
                Settings::new(&own(&[bad]), Locality::Elsewhere).is_err(),
                "{bad:?}"
            );
        }
    }
}
