//! Where the platform listens, from one start to the next.
//!
//! A port that was left to the kernel (port 0) is kept: whoever has learned an address goes on using it
//! after a restart of everything. Where it is taken meanwhile, the kernel gives another.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;

use serde::{Deserialize, Serialize};

const FILE: &str = "addresses.json";

/// The addresses that were bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) http: Option<SocketAddr>,
    pub(crate) https: Option<SocketAddr>,
    pub(crate) registry: Option<SocketAddr>,
    #[serde(default)]
    pub(crate) metrics: Option<SocketAddr>,
}

impl Addresses {
    /// Those of the last start; none where they are not known.
    pub(crate) fn read(home: &Path) -> Self {
        let bytes = std::fs::read(home.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Keeps them for the next start. A start that cannot is none the worse.
    pub(crate) fn keep(self, home: &Path) {
        let (file, temporary) = (home.join(FILE), home.join(".addresses.json.new"));
        let bytes = serde_json::to_vec(&self).unwrap_or_default();
        let kept = std::fs::write(&temporary, bytes);
        if let Err(error) = kept.and_then(|()| std::fs::rename(&temporary, &file)) {
            tracing::warn!(%error, "the addresses are not kept for the next start");
        }
    }

    /// Without the ports that are asked for now: whoever asks for one by its number has it.
    pub(crate) fn without(self, asked: &[SocketAddr]) -> Self {
        let free = |kept: SocketAddr| !asked.iter().any(|asked| asked.port() == kept.port());
        Self {
            http: self.http.filter(|kept| free(*kept)),
            https: self.https.filter(|kept| free(*kept)),
            registry: self.registry.filter(|kept| free(*kept)),
            metrics: self.metrics.filter(|kept| free(*kept)),
        }
    }
}

/// Binds what is asked for; a port that is left open to the kernel becomes the one that was kept.
pub(crate) fn bind(asked: SocketAddr, kept: Option<SocketAddr>) -> io::Result<TcpListener> {
    let same = |ip: IpAddr| ip == asked.ip();
    if let Some(kept) = kept.filter(|kept| asked.port() == 0 && same(kept.ip()))
        && let Ok(listener) = TcpListener::bind(kept)
    {
        return Ok(listener);
    }
    TcpListener::bind(asked)
}

/// Binds what was bound last, else `usual`, else any port of that address: for what nobody asked for, and what
/// must keep nobody from starting.
pub(crate) fn bind_any(usual: SocketAddr, kept: Option<SocketAddr>) -> io::Result<TcpListener> {
    let any = SocketAddr::new(usual.ip(), 0);
    let bound = kept.and_then(|kept| TcpListener::bind(kept).ok());
    let bound = bound.or_else(|| TcpListener::bind(usual).ok());
    bound.map_or_else(|| TcpListener::bind(any), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn a_port_is_kept_where_it_is_free() {
        let home = tempfile::tempdir().expect("a folder");
        let first = bind(ANY, None).expect("a port");
        let address = first.local_addr().expect("its address");
        let kept = Addresses {
            http: Some(address),
            ..Addresses::default()
        };
        kept.keep(home.path());
        let read = Addresses::read(home.path());
        assert_eq!(read, kept);
        let other = bind(ANY, read.http).expect("another port");
        assert_ne!(other.local_addr().expect("its address"), address);
        drop(first);
        let again = bind(ANY, read.http).expect("the same port");
        assert_eq!(again.local_addr().expect("its address"), address);
        assert_eq!(read.without(&[address]), Addresses::default());
    }

    #[test]
    fn what_nobody_asked_for_is_somewhere_else_where_its_port_is_taken() {
        let taken = bind(ANY, None).expect("a port");
        let taken = (taken.local_addr().expect("its address"), taken);
        let other = bind_any(taken.0, Some(taken.0)).expect("another port");
        let address = other.local_addr().expect("its address");
        assert_ne!(address, taken.0);
        drop(other);
        let again = bind_any(taken.0, Some(address)).expect("the one that was kept");
        assert_eq!(again.local_addr().expect("its address"), address);
    }
}
