//! Routes: which requests of the outside lead to a service, and what holds for them on the way.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::guard::RateLimit;
use crate::range::AddressRange;
use crate::time::Millis;
use crate::tls::HostTls;
use crate::unit::ByteSize;

/// The response headers that are added unless a route says otherwise, each where the application sent none
/// of that name. `strict-transport-security` only over TLS (RFC 6797 section 7.2), and not for `localhost` and
/// the names below it: a browser would take it for every port of that name, also those without TLS.
/// `x-frame-options` not where a `content-security-policy` of the application's names `frame-ancestors`.
pub const STANDARD_HEADERS: [(&str, &str); 4] = [
    ("strict-transport-security", "max-age=31536000"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("x-frame-options", "SAMEORIGIN"),
];

/// Response headers that no route sets: they frame the answer, belong to one hop, or are somebody else's to say
/// (RFC 9110 sections 6.4, 7.6.1 and 10.2). Beside them each that begins with `ward-`.
pub const RESERVED_HEADERS: [&str; 15] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "keep-alive",
    "location",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// Whether a response header, named in lower case, is not for a route to set.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with("ward-") || RESERVED_HEADERS.contains(&name)
}

/// How clients reach a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSpec {
    /// The host name that requests name, or `*.` and a host name: all names of one label more. `None` only of a
    /// private route: it has no public host.
    pub host: Option<String>,
    /// What the path begins with, in whole segments; `/` is every path.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    pub path: String,
    /// A header that requests must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderCondition>,
    /// What holds for its requests.
    #[serde(default = "RouteSettings::bare")]
    pub settings: RouteSettings,
    /// How TLS is spoken at its host, with whatever path; `None`: another route of the host says so, or none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<HostTls>,
}

impl RouteSpec {
    /// What of it stands in the routing table; `None` where no request of the outside can name it.
    #[must_use]
    pub fn route(&self) -> Option<Route> {
        Some(Route {
            host: self.host.clone()?,
            path: self.path.clone(),
            header: self.header.clone(),
            settings: self.settings.clone(),
            tls: self.tls.clone(),
        })
    }
}

/// One route of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// A host name, or `*.` and a host name. One that is named in full goes before a wildcard.
    pub host: String,
    /// What the path begins with, in whole segments. The longest that fits goes before others.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    pub path: String,
    /// A header that requests must have. Of two routes with one path the one that asks for a value goes before
    /// the one that asks for a header, and that before the one that asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderCondition>,
    /// What holds for its requests.
    #[serde(default, skip_serializing_if = "RouteSettings::is_standard")]
    pub settings: RouteSettings,
    /// How TLS is spoken at its host. Where several routes of a host say so, they say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<HostTls>,
}

impl Route {
    /// All requests for a host, with the standard settings.
    #[must_use]
    pub fn plain(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            path: root(),
            header: None,
            settings: RouteSettings::default(),
            tls: None,
        }
    }

    /// Whether it is all requests for one host, with whatever settings. One that asks clients for certificates is
    /// none: a Ward that knows hosts alone would serve it without.
    pub(crate) fn is_whole_host(&self) -> bool {
        let open = self.tls.as_ref().is_none_or(|tls| tls.client_ca.is_none());
        open && is_root(&self.path) && self.header.is_none() && !self.host.starts_with('*')
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.is_whole_host() && self.settings.is_standard() && self.tls.is_none()
    }
}

/// What a header of a request must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HeaderCondition {
    /// Its name, in lower case.
    pub name: String,
    /// Its whole value; `None`: it must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What holds for the requests of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteSettings {
    /// What the instance sees of the path.
    #[serde(skip_serializing_if = "is_default")]
    pub prefix: Prefix,
    /// What becomes of requests without TLS.
    #[serde(skip_serializing_if = "is_default")]
    pub https: Https,
    /// Who may ask.
    #[serde(skip_serializing_if = "is_default")]
    pub audience: Audience,
    /// The addresses that may ask; none: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<AddressRange>,
    /// How long an instance may take to the head of its answer, and a client to the next bytes of its request
    /// before that. `None`: as the gateway has it, and gRPC calls as long as they like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<Millis>,
    /// How long nothing may come of an answer whose head was there. Not of switched protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Millis>,
    /// From a request's head to the end of its answer. Not of event streams, gRPC calls and switched protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// The most bytes of a request's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<ByteSize>,
    /// How many of its requests each client may make, beside what its service says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<RateLimit>,
    /// Whether answers get [`STANDARD_HEADERS`].
    #[serde(skip_serializing_if = "is_default")]
    pub standard_headers: StandardHeaders,
    /// Whether the instance is told in `Forwarded` too (RFC 7239) what `x-forwarded-*` tells it.
    #[serde(skip_serializing_if = "is_default")]
    pub forwarded: Forwarded,
    /// Response headers by name in lower case, in place of standard ones or beside them, each where the
    /// application sent none; an empty value: not that one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl RouteSettings {
    /// Nothing is added: of releases that were recorded before there were such settings.
    #[must_use]
    pub fn bare() -> Self {
        Self {
            standard_headers: StandardHeaders::Left,
            ..Self::default()
        }
    }

    fn is_standard(&self) -> bool {
        is_default(self)
    }
}

/// What an instance sees of the path that a route asks for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Prefix {
    /// All of it.
    #[default]
    Kept,
    /// What is behind it, from a slash on; the rest is in `x-forwarded-prefix`.
    Stripped,
}

/// What becomes of requests without TLS.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Https {
    /// They are served like others.
    #[default]
    Optional,
    /// They are told to come again over HTTPS (308), but for ACME's challenges (RFC 8555 section 8.3).
    Redirect,
}

/// Who may ask at all.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Everybody.
    #[default]
    Public,
    /// Whoever has a link: to the outside it is not there.
    Links,
}

/// Whether an instance is told in `Forwarded` where a request comes from.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Forwarded {
    /// It is not: `x-forwarded-*` says it.
    #[default]
    Unsaid,
    /// It is, beside `x-forwarded-*`.
    Said,
}

/// Whether answers get the standard response headers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum StandardHeaders {
    /// They do, where the application sent none of that name.
    #[default]
    Added,
    /// They are left as they are.
    Left,
}

fn root() -> String {
    "/".to_owned()
}

fn is_root(path: &str) -> bool {
    path == "/"
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What was written as one route, or none, before a service could have several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Several(Vec<RouteSpec>),
    One(Box<RouteSpec>),
    None,
}

pub(crate) fn one_or_several<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<RouteSpec>, D::Error> {
    Ok(match Written::deserialize(from)? {
        Written::Several(routes) => routes,
        Written::One(route) => vec![*route],
        Written::None => Vec::new(),
    })
}

/// Whether it is a host's name: labels of at most 63 characters, 253 in all, in lower case (RFC 1123 section 2.1); and no
/// address, so that the last label is no number.
#[must_use]
pub fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        let inner = label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or("");
    text.len() <= 253 && text.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Holder {
        #[serde(default, rename = "route", deserialize_with = "one_or_several")]
        routes: Vec<RouteSpec>,
    }

    #[test]
    fn what_was_recorded_as_one_route_is_read_and_gets_no_headers_that_it_did_not_have() {
        let read = |json: &str| serde_json::from_str::<Holder>(json).unwrap().routes;
        assert!(read(r#"{"route": null}"#).is_empty() && read("{}").is_empty());
        let one = read(r#"{"route": {"host": "shop.localhost"}}"#);
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].settings, RouteSettings::bare());
        assert_eq!(one[0].path, "/");
        let json = serde_json::to_string(&one).unwrap();
        assert_eq!(read(&format!(r#"{{"route": {json}}}"#)), one);
    }

    #[test]
    fn settings_that_are_standard_take_no_room() {
        let json = serde_json::to_string(&Route::plain("a.example")).unwrap();
        assert_eq!(json, r#"{"host":"a.example"}"#);
        assert_eq!(
            serde_json::to_string(&RouteSettings::default()).unwrap(),
            "{}"
        );
    }
}
