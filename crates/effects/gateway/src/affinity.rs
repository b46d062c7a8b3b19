//! Decision: a client that is to come back to its instance carries the instance's name in a cookie, in a form that
//! tells it nothing and that it cannot make up.
//!
//! The value is HMAC-SHA256 over environment and instance, cut to 128 bits, under a key of this machine's own. So
//! it shows neither how many instances there are nor which release they are of, and a client can only come back
//! to where it was sent once: nobody can direct requests at an instance of their choice. That two clients with the
//! same value share an instance can be seen, and is worth nothing.
//!
//! The key is in the gateway's folder, so that clients find their instances again after an upgrade or a restart of
//! the gateway. Who loses it loses no more than that.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::hmac;
use http::{HeaderMap, HeaderName, HeaderValue};
use ward_types::balance::Affinity as Entry;
use ward_types::id::{EnvId, InstanceId};

use crate::head;
use crate::instance::Instance;

const FILE: &str = "affinity.key";
const KEY_BYTES: usize = 32;
const NAME_BYTES: usize = 16;

/// What instances' names in cookies are made with.
#[derive(Clone)]
pub(crate) struct Key(Arc<hmac::Key>);

impl Key {
    /// The key in the gateway's folder, made when there is none. Where it cannot be used, it is one that this
    /// process alone has.
    pub(crate) fn open(folder: &Path) -> Self {
        match kept(&folder.join(FILE)) {
            Ok(bytes) => Self::of(&bytes),
            Err(error) => {
                let path = folder.join(FILE).display().to_string();
                tracing::warn!(path, %error, "cannot use it: clients are brought back to their instances only until the gateway is replaced; remove the file if it is broken");
                Self::random()
            }
        }
    }

    /// One that nobody else has.
    pub(crate) fn random() -> Self {
        Self::of(&random())
    }

    fn of(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// The name of an instance in cookies.
    fn name(&self, env: &EnvId, instance: &InstanceId) -> String {
        // No name has a line feed in it.
        let whole = format!("{env}\n{instance}");
        let tag = hmac::sign(&self.0, whole.as_bytes());
        let bytes = &tag.as_ref()[..NAME_BYTES];
        hex::encode(bytes)
    }
}

fn random() -> [u8; KEY_BYTES] {
    let mut bytes = [0; KEY_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("the kernel has random bytes");
    bytes
}

fn kept(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let read = || {
        let bytes = std::fs::read(path)?;
        let broken = |_| io::Error::new(io::ErrorKind::InvalidData, "it has another length");
        bytes.try_into().map_err(broken)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(path)?;
            read()
        }
        read => read,
    }
}

/// Makes it beside its place and links it there, so that two gateways never make two, and never see half of one.
fn make(path: &Path) -> io::Result<()> {
    let beside = path.with_extension(format!("new.{}", std::process::id()));
    let _ = std::fs::remove_file(&beside);
    let mut options = OpenOptions::new();
    let mut file = options
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&beside)?;
    let written = file.write_all(&random()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| std::fs::hard_link(&beside, path));
    let _ = std::fs::remove_file(&beside);
    match linked {
        // Another process was faster: its key counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

/// Why such a cookie cannot be, if so.
pub(crate) fn check(entry: &Entry) -> Result<(), &'static str> {
    // The characters of a token (RFC 9110 section 5.6.2) are those of a header's name.
    let token = HeaderName::try_from(entry.cookie.as_str());
    token
        .map(drop)
        .map_err(|_| "the cookie that brings clients back has a name that is none")
}

/// What brings a pool's clients back to its instances.
pub(crate) struct Affinity {
    cookie: String,
    /// The instances in rotation by their names in the cookie.
    instances: HashMap<String, Arc<Instance>>,
    key: Key,
}

impl Affinity {
    /// For a pool with these instances, by an entry that passed [`check`].
    pub(crate) fn new(entry: &Entry, endpoints: &[Arc<Instance>], key: &Key) -> Self {
        let name = |one: &Arc<Instance>| key.name(&one.env, &one.endpoint.instance);
        let named = endpoints.iter().map(|one| (name(one), Arc::clone(one)));
        Self {
            cookie: entry.cookie.clone(),
            instances: named.collect(),
            key: key.clone(),
        }
    }

    /// The instance in rotation that a client comes back to.
    pub(crate) fn kept(&self, headers: &HeaderMap) -> Option<&Arc<Instance>> {
        head::cookies(headers, &self.cookie).find_map(|name| self.instances.get(name))
    }

    /// `Set-Cookie` for a client that is answered by `instance` from now on, and was `kept` by another one or none.
    pub(crate) fn cookie(
        &self,
        instance: &Instance,
        kept: Option<&Arc<Instance>>,
        scheme: &str,
    ) -> Option<HeaderValue> {
        if kept.is_some_and(|kept| kept.serial == instance.serial) {
            return None;
        }
        let name = self.key.name(&instance.env, &instance.endpoint.instance);
        head::set_cookie(&self.cookie, &name, scheme)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::tests::instance;
    use std::os::unix::fs::PermissionsExt;

    fn entry(cookie: &str) -> Entry {
        Entry {
            cookie: cookie.to_owned(),
        }
    }

    fn saying(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", cookie.parse().unwrap());
        headers
    }

    #[test]
    fn a_client_comes_back_by_what_it_was_told_and_by_nothing_else() {
        let endpoints = [instance("web-r1-1"), instance("web-r1-2")];
        let key = Key::random();
        let affinity = Affinity::new(&entry("at"), &endpoints, &key);
        let told = affinity.cookie(&endpoints[1], None, "https").unwrap();
        let (pair, rest) = told.to_str().unwrap().split_once(';').unwrap();
        assert_eq!(rest, " Path=/; HttpOnly; SameSite=Lax; Secure");
        let back = affinity.kept(&saying(&format!("a=b; at=other; {pair}")));
        assert_eq!(back.unwrap().endpoint, endpoints[1].endpoint);
        assert!(affinity.cookie(&endpoints[1], back, "https").is_none());
        let name = pair.strip_prefix("at=").unwrap();
        assert_eq!(name.len(), 32);
        assert!(!name.contains("web"));
        for other in ["at=web-r1-2", "at=", "at=1", &format!("xat={name}")] {
            assert!(affinity.kept(&saying(other)).is_none(), "{other}");
        }
        // Neither another machine's key nor another environment gives the same name.
        let elsewhere = Affinity::new(&entry("at"), &endpoints, &Key::random());
        assert!(elsewhere.kept(&saying(pair)).is_none());
        let instance = &endpoints[1].endpoint.instance;
        let other = key.name(&EnvId::parse("shop/test").unwrap(), instance);
        assert_ne!(other, name);
        let gone = Affinity::new(&entry("at"), &endpoints[..1], &key);
        assert!(gone.kept(&saying(pair)).is_none());
    }

    #[test]
    fn the_key_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let one = instance("web-r1-1");
        let name = |key: Key| key.name(&one.env, &one.endpoint.instance);
        let first = name(Key::open(folder.path()));
        assert_eq!(name(Key::open(folder.path())), first);
        let path = folder.path().join(FILE);
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::write(&path, "nonsense").unwrap();
        let alone = name(Key::open(folder.path()));
        assert_ne!(alone, name(Key::open(folder.path())));
    }

    #[test]
    fn names_that_no_cookie_has_are_refused() {
        assert!(check(&entry("at")).is_ok());
        for bad in ["", "a b", "a;b", "a=b", "a\n"] {
            assert!(check(&entry(bad)).is_err(), "{bad:?}");
        }
    }
}
