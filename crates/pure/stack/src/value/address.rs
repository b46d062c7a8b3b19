//! What names another machine, or an image that is there: addresses, host names and image references.

use std::net::Ipv4Addr;

use ward_types::id::Digest;
use ward_types::route::is_host;
use ward_types::spec::EgressSpec;

use super::{Checked, Wrong, quote};
use crate::mistake::Code;

/// Reads `HOST:PORT`.
pub(crate) fn egress(text: &str) -> Checked<EgressSpec> {
    let wrong = |message: String| Wrong::new(Code::BadEgress, message);
    if let Some((_, rest)) = text.split_once("://") {
        let port = if text.starts_with("http:") { 80 } else { 443 };
        let host = rest.split('/').next().unwrap_or("");
        let meant = if host.contains(':') {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        };
        let meant = Some(meant).filter(|meant| egress(meant).is_ok());
        return Err(wrong(format!("{} is a URL, not an address", quote(text))).mean(meant));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        let meant = Some(format!("{text}:443")).filter(|_| is_host(text));
        return Err(wrong(format!("{} names no port", quote(text))).mean(meant));
    };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port: u16 = match port.parse() {
        Ok(number) if digits && number > 0 => number,
        _ => {
            return Err(
                wrong(format!("{} is not a port", quote(port))).expected("a port from 1 to 65535")
            );
        }
    };
    outside(host).map_err(|message| {
        let lower = text.to_ascii_lowercase();
        wrong(message).mean(Some(lower).filter(|lower| lower != text && egress(lower).is_ok()))
    })?;
    Ok(EgressSpec {
        host: host.to_owned(),
        port,
    })
}

/// Says why a host is no outside address. Inside of an instance loopback is the instance itself.
fn outside(host: &str) -> Result<(), String> {
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        let nobody = address.is_unspecified() || address.is_broadcast() || address.is_multicast();
        return match () {
            () if address.is_loopback() => Err(format!(
                "{} is the instance itself, not an outside address",
                quote(host)
            )),
            () if nobody => Err(format!("{} is not the address of one machine", quote(host))),
            () => Ok(()),
        };
    }
    match host {
        "localhost" => Err("`localhost` is the instance itself, not an outside address".to_owned()),
        _ if host.starts_with('[') => Err(format!(
            "{} is an IPv6 address, which egress does not know",
            quote(host)
        )),
        _ if is_host(host) => Ok(()),
        _ => Err(format!("{} is not a host", quote(host))),
    }
}

/// A route's host. A wildcard stands for one label, and not for all that there is below a top-level domain.
pub(crate) fn host(text: &str) -> Checked {
    let wide = |above: &str| is_host(above) && (above.contains('.') || above == "localhost");
    if is_host(text) || text.strip_prefix("*.").is_some_and(wide) {
        return Ok(());
    }
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let bare = bare
        .split(['/', ':'])
        .next()
        .unwrap_or("")
        .to_ascii_lowercase();
    let bare = bare.trim_end_matches('.').to_owned();
    let wrong = Wrong::new(Code::BadHost, format!("{} is not a host name", quote(text)));
    Err(wrong.mean(Some(bare).filter(|bare| *bare != text && host(bare).is_ok())))
}

/// `[HOST[:PORT]/]PATH` and `:TAG`, `@DIGEST` or both (OCI distribution specification 1.1, pulling manifests).
pub(crate) fn image(text: &str) -> Checked {
    let wrong = |message: String| Wrong::new(Code::BadImage, message);
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    if let Some(digest) = digest
        && Digest::parse(digest).is_err()
    {
        let expected = "`sha256:` and 64 hexadecimal digits in lower case";
        return Err(wrong(format!("{} is not a digest", quote(digest))).expected(expected));
    }
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if !is_image_name(name) {
        let lower = text.to_ascii_lowercase();
        let meant = Some(lower).filter(|lower| lower != text && image(lower).is_ok());
        return Err(wrong(format!("{} is not the name of an image", quote(name))).mean(meant));
    }
    match tag {
        Some(tag) if !is_tag(tag) => Err(wrong(format!("{} is not a tag", quote(tag)))),
        None if digest.is_none() => Err(wrong(format!(
            "{} names neither a tag nor a digest",
            quote(text)
        ))
        .mean(Some(format!("{text}:latest")))),
        _ => Ok(()),
    }
}

fn is_tag(text: &str) -> bool {
    let inner = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    inner && (1..=128).contains(&text.len()) && !text.starts_with(['.', '-'])
}

fn is_image_name(name: &str) -> bool {
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
            (Some(first), path)
        }
        _ => (None, name),
    };
    name.len() <= 255 && registry.is_none_or(is_registry) && path.split('/').all(is_path_component)
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let known = is_host(host) || host.parse::<Ipv4Addr>().is_ok();
    known && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(text: &str) -> bool {
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends =
        text.as_bytes().first().is_some_and(plain) && text.as_bytes().last().is_some_and(plain);
    let mut separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends && separators.all(|between| {
        matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::all;
    use super::*;

    #[test]
    fn outside_addresses() {
        let good = [
            "api.example.com:443",
            "db:5432",
            "10.0.0.1:80",
            "a-b.c:1",
            "169.254.169.254:80",
        ];
        let bad = [
            "",
            ":",
            ":80",
            "a",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a:-1",
            "a:8 0",
            "A:1",
            "a_b:1",
            "-a:1",
            "a-:1",
            "a..b:1",
            "localhost:1",
            "127.0.0.1:1",
            "127.9.9.9:1",
            "0.0.0.0:1",
            "255.255.255.255:1",
            "224.0.0.1:1",
            "[::1]:80",
            "::1:80",
            "1.2.3:80",
            "256.1.1.1:80",
            "http://a:80",
            "a:80/x",
            "*.a.de:443",
            "é.de:443",
        ];
        all(egress, &good, &bad);
        let meant = |text: &str| egress(text).unwrap_err().did_you_mean;
        assert_eq!(meant("http://a.de/x").as_deref(), Some("a.de:80"));
        assert_eq!(meant("https://a.de:8443").as_deref(), Some("a.de:8443"));
        assert_eq!(meant("A.de:80").as_deref(), Some("a.de:80"));
    }

    #[test]
    fn images() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let good = [
            "nginx:1.27".to_owned(),
            "library/nginx:latest".to_owned(),
            "ghcr.io/a/b_c/d__e.f-g--h:V1".to_owned(),
            "localhost:5050/a:1".to_owned(),
            "127.0.0.1:5050/a:1".to_owned(),
            format!("a@{digest}"),
            format!("example.com/a:1@{digest}"),
        ];
        for text in good {
            assert!(image(&text).is_ok(), "{text} was refused");
        }
        let bad = [
            "",
            ":",
            "@",
            "a",
            "a:",
            ":1",
            "a@",
            "a@sha256:00",
            "a:1@",
            "A:1",
            "a/:1",
            "/a:1",
            "a//b:1",
            "-a:1",
            "a-:1",
            "a._b:1",
            "a___b:1",
            "a..b:1",
            "a:.1",
            "a:-1",
            "a:1 ",
            "a b:1",
            "example.com:0/a:1",
            "example.com:x/a:1",
            "https://a/b:1",
            "localhost:5050/a",
        ];
        all(image, &[], &bad);
    }

    #[test]
    fn hosts() {
        let bad = [
            "",
            "A.de",
            "a.de.",
            ".de",
            "a..de",
            "*.de",
            "*",
            "*.*.example.org",
            "w*.example.org",
            "www.*.org",
            "a.de:80",
            "http://a.de",
            "a.de/x",
            "1.2.3.4",
            "a_b.de",
        ];
        all(
            host,
            &[
                "localhost",
                "returns.localhost",
                "a",
                "1.de",
                "xn--bcher-kva.de",
                "*.example.org",
                "*.localhost",
            ],
            &bad,
        );
        let long = vec!["a".repeat(63); 4].join(".");
        assert!(host(&long).is_err() && host(&"a".repeat(64)).is_err());
    }
}
