//! What people name: repositories, branches, tags and folders in them. Whatever git could take for an option, for
//! another transport or for a program to run is refused here.

use std::path::Path;

use crate::{Error, Result};

/// Where a repository is: a folder, or a URL without a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

const FORMS: &str =
    "a folder, file:///path, https://host/path, ssh://user@host/path or user@host:path";

impl Address {
    /// Reads the path of a folder, absolute, or a URL.
    ///
    /// # Errors
    /// When it is none of the forms, or has a password in it, which would stand in the log.
    pub fn parse(text: &str) -> Result<Self> {
        let refused = |message: String| Err(Error::invalid(message, FORMS));
        let shown = text.escape_debug();
        if text.is_empty() || text.len() > 1000 || text.contains(|c: char| c.is_control()) {
            return refused(format!("`{shown}` is no address of a repository"));
        }
        if text.starts_with('/') {
            return Ok(Self(text.to_owned()));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let authority = rest.split('/').next().unwrap_or_default();
            let user = authority.rsplit_once('@').map(|(user, _)| user);
            return match (scheme, user) {
                ("file", None) if rest.starts_with('/') => Ok(Self(text.to_owned())),
                ("https", Some(_)) | ("ssh", Some(_)) if secret(scheme, user) => {
                    let hint = "leave it out of the address, which stands in the log: `--token` reads it from \
                                standard input, and for ssh:// Ward's user has a key";
                    let message = "the address holds a password or a token".to_owned();
                    Err(Error::invalid(message, hint))
                }
                ("https" | "ssh", _) if host(authority) => Ok(Self(text.to_owned())),
                ("https" | "ssh" | "file", _) => {
                    refused(format!("`{shown}` names no host, or no path"))
                }
                (other, _) => refused(format!(
                    "Ward does not fetch by {}://",
                    other.escape_debug()
                )),
            };
        }
        match text.split_once(':') {
            // git's own short form of ssh; `ext::` and its kin have no user in front.
            Some((place, path)) if place.contains('@') && host(place) && !path.is_empty() => {
                let plain = !path.starts_with([':', '-']);
                match plain {
                    true => Ok(Self(text.to_owned())),
                    false => refused(format!("`{shown}` is no address of a repository")),
                }
            }
            _ => refused(format!("`{shown}` is no address of a repository")),
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, with its port, of a repository that is reached over HTTPS.
    pub(crate) fn https_host(&self) -> Option<&str> {
        self.0.strip_prefix("https://")?.split('/').next()
    }
}

/// For https any user is one: services take tokens there. For ssh it is only a name.
fn secret(scheme: &str, user: Option<&str>) -> bool {
    let user = user.unwrap_or_default();
    scheme == "https" || user.contains(':')
}

/// `user@host:22`, nothing of which ssh could take for an option.
fn host(authority: &str) -> bool {
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:[]".contains(c);
    let user_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !host.is_empty()
        && !host.starts_with('-')
        && !user.starts_with('-')
        && host.chars().all(plain)
        && user.chars().all(user_plain)
}

/// An address as a repository's settings have it, without what is a secret in it.
pub(crate) fn without_secret(text: &str) -> Option<String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Address::parse(text).ok().map(|address| address.0);
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (user.split(':').next(), host),
        None => (None, authority),
    };
    let user = user.filter(|_| scheme == "ssh");
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let clean = format!("{scheme}://{user}{host}/{path}");
    Address::parse(&clean).ok().map(|address| address.0)
}

/// Reads the name of a branch (git-check-ref-format).
///
/// # Errors
/// When no branch can have it.
pub fn branch(text: &str) -> Result<String> {
    if text.contains('*') {
        return Err(Error::invalid(
            format!(
                "`{}` is a pattern, and a source follows one branch",
                text.escape_debug()
            ),
            "name a branch such as main or release/1.2, and add a source for each",
        ));
    }
    match names_reference(text) {
        true => Ok(text.to_owned()),
        false => Err(Error::invalid(
            format!("`{}` is no name of a branch", text.escape_debug()),
            "name a branch such as main or release/1.2",
        )),
    }
}

/// Reads a pattern of tags: a tag's name in which one `*` may stand for anything.
///
/// # Errors
/// When no tag can have such a name.
pub fn tags(text: &str) -> Result<String> {
    let filled = text.replacen('*', "x", 1);
    match names_reference(&filled) && !filled.contains('*') {
        true => Ok(text.to_owned()),
        false => Err(Error::invalid(
            format!("`{}` is no pattern of tags", text.escape_debug()),
            "name a tag such as v1.2, or several with one `*`: 'v*'",
        )),
    }
}

fn names_reference(text: &str) -> bool {
    let bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?[\\".contains(c);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    !text.is_empty()
        && text.len() <= 200
        && !text.starts_with('-')
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.contains("@{")
        && text != "@"
        && !text.contains(bad)
        && text.split('/').all(part)
}

/// Reads the path of a folder inside a repository: relative, and without a way out. `.` is the top.
///
/// # Errors
/// When it is none.
pub fn folder(text: &str) -> Result<String> {
    let refused = || {
        Error::invalid(
            format!("`{}` is no folder inside a repository", text.escape_debug()),
            "name it from the repository's top, such as services/shop",
        )
    };
    if text.len() > 500 || text.contains(|c: char| c.is_control()) || Path::new(text).is_absolute()
    {
        return Err(refused());
    }
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    match parts
        .iter()
        .any(|part| *part == ".." || part.starts_with('-'))
    {
        true => Err(refused()),
        false => Ok(parts.join("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_three_transports_are_addresses_and_nothing_else() {
        for good in [
            "/srv/git/shop",
            "file:///srv/git/shop.git",
            "https://git.example.com/shop.git",
            "https://git.example.com:8443/shop.git",
            "ssh://git@git.example.com:22/shop.git",
            "git@git.example.com:team/shop.git",
        ] {
            assert_eq!(Address::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "shop",
            "./shop",
            "-u/x",
            "--upload-pack=x",
            "ext::sh -c x",
            "a@b::x",
            "http://git.example.com/shop.git",
            "git://git.example.com/shop.git",
            "https:///shop",
            "https://-x/shop",
            "ssh://-oProxyCommand=x/shop",
            "ssh://a@-oProxyCommand=x/shop",
            "-oProxyCommand=x@host:shop",
            "a@-x:shop",
            "a@host:-x",
            "/srv/\nshop",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn an_address_with_a_secret_is_refused_without_repeating_it() {
        for secret in [
            "https://anna:s3cret@host/x",
            "https://s3cret@host/x",
            "ssh://anna:s3cret@host/x",
        ] {
            let error = Address::parse(secret).unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
            assert!(error.to_string().contains("password"), "{error}");
        }
        let clean = without_secret("https://anna:s3cret@host/x");
        assert_eq!(clean.as_deref(), Some("https://host/x"));
        let ssh = without_secret("ssh://git:s3cret@host/x");
        assert_eq!(ssh.as_deref(), Some("ssh://git@host/x"));
        assert_eq!(without_secret("ext::sh -c x"), None);
    }

    #[test]
    fn names_of_branches_and_patterns_of_tags_are_checked() {
        for good in ["main", "release/1.2", "a-b"] {
            assert!(branch(good).is_ok(), "{good}");
        }
        for bad in [
            "", "-x", "a..b", "a b", "a:b", "a*", "/a", "a/", "a.lock", "@", "a@{1}", "a~1",
            "a\\b", ".a",
        ] {
            assert!(branch(bad).is_err(), "{bad} was taken");
        }
        for good in ["v*", "v1.2", "*", "release/*-ok"] {
            assert!(tags(good).is_ok(), "{good}");
        }
        for bad in ["", "v**", "*a*", "-*", "v?", "v[1]"] {
            assert!(tags(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn a_folder_stays_inside() {
        assert_eq!(folder(".").unwrap(), "");
        assert_eq!(folder("./a//b/").unwrap(), "a/b");
        for bad in ["/a", "..", "a/../b", "-a"] {
            assert!(folder(bad).is_err(), "{bad} was taken");
        }
    }
}
