//! The routes of a service.

use std::path::PathBuf;

use ward_types::route::{
    Audience, Forwarded, HeaderCondition, Https, Prefix, RouteSettings, RouteSpec, StandardHeaders,
};
use ward_types::tls::{CertificateFiles, HostTls};

use super::{At, limit};

pub(super) fn spec(at: &At<'_>) -> Option<RouteSpec> {
    let private = at.flag("private")?;
    let header = at.below("header").and_then(|header| {
        Some(HeaderCondition {
            name: header.text("name")?.to_ascii_lowercase(),
            value: header.text("value"),
        })
    });
    let host = at.text("host");
    (private || host.is_some()).then_some(())?;
    Some(RouteSpec {
        host,
        path: at.text("path")?,
        header,
        settings: settings(at, private)?,
        tls: at.below("tls").map(|tls| self::tls(&tls)),
    })
}

fn tls(at: &At<'_>) -> HostTls {
    let path = |key| at.text(key).map(PathBuf::from);
    let files = path("certificate").zip(path("key"));
    HostTls {
        certificate: files.map(|(certificate, key)| CertificateFiles { certificate, key }),
        client_ca: path("client_ca"),
        acme: at.flag("acme") == Some(true),
    }
}

fn settings(at: &At<'_>, private: bool) -> Option<RouteSettings> {
    Some(RouteSettings {
        prefix: match at.flag("strip")? {
            true => Prefix::Stripped,
            false => Prefix::Kept,
        },
        https: match at.text("https")?.as_str() {
            "redirect" => Https::Redirect,
            _ => Https::Optional,
        },
        audience: match private {
            true => Audience::Links,
            false => Audience::Public,
        },
        allow: at
            .texts("allow")
            .filter_map(|range| range.parse().ok())
            .collect(),
        response_timeout: at.limit("response_timeout"),
        idle_timeout: at.limit("idle_timeout"),
        timeout: at.limit("timeout"),
        body_limit: at.size("body_limit"),
        limit: at.below("limit").and_then(|at| limit(&at)),
        standard_headers: match at.flag("standard_headers")? {
            true => StandardHeaders::Added,
            false => StandardHeaders::Left,
        },
        forwarded: match at.flag("forwarded")? {
            true => Forwarded::Said,
            false => Forwarded::Unsaid,
        },
        headers: at.pairs("response_headers"),
    })
}
