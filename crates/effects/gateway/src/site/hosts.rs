//! What is served, by host.
//!
//! Decision: it is kept in parts, so that a table in which one host's routes change has all others in common with the
//! table before: of ten thousand hosts some hundred are copied, and as many are freed when nobody looks at the table
//! before any more.

use std::collections::HashMap;
use std::sync::Arc;

use super::Site;

const PARTS: usize = 64;

/// Sites by their hosts.
#[derive(Clone)]
pub(super) struct Hosts {
    parts: Vec<Arc<HashMap<String, Site>>>,
    len: usize,
}

impl Default for Hosts {
    fn default() -> Self {
        Self {
            parts: vec![Arc::default(); PARTS],
            len: 0,
        }
    }
}

impl Hosts {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, host: &str) -> Option<&Site> {
        // Most hosts that are asked for are not wildcards'.
        if self.len == 0 {
            return None;
        }
        self.parts[part(host)].get(host)
    }

    pub(super) fn get_mut(&mut self, host: &str) -> Option<&mut Site> {
        Arc::make_mut(&mut self.parts[part(host)]).get_mut(host)
    }

    /// The site of a host, which is empty where there was none.
    pub(super) fn entry(&mut self, host: String) -> &mut Site {
        let sites = Arc::make_mut(&mut self.parts[part(&host)]);
        self.len += usize::from(!sites.contains_key(&host));
        sites.entry(host).or_default()
    }

    /// Of a table that was just made.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Site> {
        let parts = self.parts.iter_mut();
        parts.flat_map(|part| Arc::make_mut(part).values_mut())
    }

    /// Each of these sites and the one at the same host in another table, but for those that they have in common.
    pub(super) fn beside<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (&'a Site, Option<&'a Site>)> {
        let parts = self.parts.iter().zip(&other.parts);
        let parts = parts.filter(|(one, other)| !Arc::ptr_eq(one, other));
        parts.flat_map(|(one, other)| one.iter().map(|(host, site)| (site, other.get(host))))
    }
}

/// Which part a host is in: FNV-1a, because what matters is that each has about as many.
fn part(host: &str) -> usize {
    let hash = host.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 32) as usize % PARTS
}
