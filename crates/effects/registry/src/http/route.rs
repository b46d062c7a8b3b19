//! Which endpoint a path means (distribution specification, "Endpoints").

use crate::digest::ContentDigest;
use crate::http::answer::Failure;
use crate::name::{Reference, Repository};

/// An endpoint with its parameters, all of them checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// end-1
    Base,
    /// end-2, end-10
    Blob(Repository, ContentDigest),
    /// end-4, end-11
    Uploads(Repository),
    /// end-5, end-6, end-13, end-14
    Upload(Repository, String),
    /// end-3, end-7, end-9
    Manifest(Repository, Reference),
    /// end-8
    Tags(Repository),
    /// end-12
    Referrers(Repository, ContentDigest),
}

impl Route {
    /// The methods that the endpoint knows.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Base | Self::Tags(_) | Self::Referrers(..) => "GET, HEAD",
            Self::Blob(..) => "GET, HEAD, DELETE",
            Self::Uploads(_) => "POST",
            Self::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
            Self::Manifest(..) => "GET, HEAD, PUT, DELETE",
        }
    }
}

/// Reads a path, from its end: a repository may itself be called `a/blobs/b`.
pub(super) fn parse(path: &str) -> Result<Route, Failure> {
    let path = decode(path).ok_or_else(Failure::no_endpoint)?;
    let rest = path.strip_prefix("/v2").ok_or_else(Failure::no_endpoint)?;
    if rest.is_empty() || rest == "/" {
        return Ok(Route::Base);
    }
    let rest = rest.strip_prefix('/').ok_or_else(Failure::no_endpoint)?;
    let segments: Vec<&str> = rest.split('/').collect();
    let name = |of: &[&str]| Repository::parse(&of.join("/")).map_err(Failure::from);
    match segments.as_slice() {
        [of @ .., "manifests", reference] => {
            Ok(Route::Manifest(name(of)?, Reference::parse(reference)?))
        }
        [of @ .., "tags", "list"] => Ok(Route::Tags(name(of)?)),
        [of @ .., "referrers", digest] => {
            Ok(Route::Referrers(name(of)?, ContentDigest::parse(digest)?))
        }
        [of @ .., "blobs", "uploads"] | [of @ .., "blobs", "uploads", ""] => {
            Ok(Route::Uploads(name(of)?))
        }
        [of @ .., "blobs", "uploads", id] => Ok(Route::Upload(name(of)?, (*id).to_owned())),
        [of @ .., "blobs", digest] => Ok(Route::Blob(name(of)?, ContentDigest::parse(digest)?)),
        _ => Err(Failure::no_endpoint()),
    }
}

/// Undoes percent-encoding; `None` for what is not UTF-8 or breaks off.
pub(super) fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A parameter of a query, decoded; the first one of that name.
pub(super) fn query(uri: &http::Uri, name: &str) -> Option<String> {
    uri.query()?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| decode(&value.replace('+', " ")))?
    })
}

/// A text as a query parameter's value.
pub(super) fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| match plain(b) {
            true => char::from(b).to_string(),
            false => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_look_like_endpoints() {
        let name = |text| Repository::parse(text).unwrap();
        let tag = |text| Reference::parse(text).unwrap();
        assert_eq!(
            parse("/v2/a/blobs/uploads/manifests/list").ok(),
            Some(Route::Manifest(name("a/blobs/uploads"), tag("list")))
        );
        assert_eq!(
            parse("/v2/tags/tags/list").ok(),
            Some(Route::Tags(name("tags")))
        );
        assert_eq!(
            parse("/v2/a/blobs/uploads/").ok(),
            Some(Route::Uploads(name("a")))
        );
        let digest = format!("sha256:{}", "0".repeat(64));
        let escaped = format!("/v2/a/blobs/{}", digest.replace(':', "%3A"));
        let blob = Route::Blob(name("a"), ContentDigest::parse(&digest).unwrap());
        assert_eq!(parse(&escaped).ok(), Some(blob));
    }

    #[test]
    fn what_is_no_endpoint() {
        for bad in [
            "/",
            "/v1/",
            "/v2x",
            "/v2/a",
            "/v2//manifests/x",
            "/v2/../manifests/x",
            "/v2/%2e%2e/manifests/x",
            "/v2/a/manifests/..",
            "/v2/a/manifests/%2e%2e%2fx",
            "/v2/a/blobs/..",
            "/v2/a/%00/manifests/x",
            "/v2/A/tags/list",
            "/v2/a/%zz/tags/list",
        ] {
            assert!(parse(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let uri: http::Uri = "/x?n=3&last=a%2Bb&artifactType=application%2Fjson&m"
            .parse()
            .unwrap();
        assert_eq!(query(&uri, "n").as_deref(), Some("3"));
        assert_eq!(query(&uri, "last").as_deref(), Some("a+b"));
        assert_eq!(query(&uri, "m").as_deref(), Some(""));
        assert_eq!(query(&uri, "x"), None);
        assert_eq!(decode(&encode("a+b/ü")).as_deref(), Some("a+b/ü"));
    }
}
