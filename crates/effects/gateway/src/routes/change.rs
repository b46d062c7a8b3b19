//! What a table changes of the one before.
//!
//! Decision: of ten thousand pools one changes, and who changes it should not be felt by the requests of the others. So
//! what a change asks for is done for the pools that were made anew. Only where services come or go, or routes do, is
//! everything looked at.

use std::collections::HashSet;
use std::sync::Arc;

use super::memory::Known;
use super::{Pool, Routes};
use crate::clock;
use crate::instance::Instance;
use crate::offer::Entry;

/// What a table changes.
pub(super) struct Change {
    /// The pools that were made for it, each with the one that its service had before.
    made: Vec<(Option<Arc<Pool>>, Arc<Pool>)>,
    is_in_place: bool,
}

impl Change {
    pub(super) fn new(before: &[Arc<Entry>], after: &[Arc<Entry>]) -> Self {
        Self {
            made: Vec::new(),
            is_in_place: is_in_place(before, after),
        }
    }

    /// Whether the table has the services of the one before, with the routes that they had.
    pub(super) fn is_in_place(&self) -> bool {
        self.is_in_place
    }

    /// One more pool, and the one that its service had before.
    pub(super) fn made(&mut self, before: Option<&Arc<Pool>>, pool: &Arc<Pool>) {
        self.made.push((before.cloned(), Arc::clone(pool)));
    }

    /// Closes the instances that the table does not name any more.
    pub(super) fn close(&self, known: &mut Known, after: &Routes) {
        if self.is_in_place {
            for (before, pool) in &self.made {
                let before = before.iter().flat_map(|before| &before.endpoints);
                let left = before.filter(|instance| !pool.names(instance.serial));
                left.for_each(|instance| known.close(instance));
            }
            return;
        }
        let pools = after.pools.iter();
        let named = pools.flat_map(|pool| pool.endpoints.iter().map(|instance| instance.serial));
        let named: HashSet<u64> = named.collect();
        known.close_others(|instance| named.contains(&instance.serial));
    }

    /// Ends the gaps of services that have a new instance, begins those of services that have none left, and
    /// lets the requests of a service or a host that is gone find that out.
    pub(super) fn tell_who_waits(&self, before: &Routes, after: &Routes) {
        for (old, pool) in &self.made {
            let old = old.as_ref();
            let is_new =
                |instance: &Arc<Instance>| !old.is_some_and(|old| old.names(instance.serial));
            if pool.endpoints.iter().any(is_new) {
                pool.gap.end();
            } else if pool.endpoints.is_empty() {
                pool.gap.begin(clock::millis());
            }
            // Who waits for it to wake, calls by the sleep that it is in.
            if old.is_some_and(|old| old.asleep != pool.asleep) {
                pool.gap.wake();
            }
        }
        if self.is_in_place {
            return;
        }
        let leads_on = |pool: &Pool, now: Option<&Arc<Pool>>| {
            now.is_some_and(|now| Arc::ptr_eq(&now.gap, &pool.gap))
        };
        let pools = before.pools.iter();
        let gone = pools.filter(|pool| !leads_on(pool, after.by_service(&pool.service)));
        let gone = gone.chain(before.sites.changed(&after.sites));
        gone.for_each(|pool| pool.gap.wake());
    }
}

/// Whether these are pools of the same services with the same routes, in the same order.
pub(super) fn is_in_place(before: &[Arc<Entry>], after: &[Arc<Entry>]) -> bool {
    let same = |(before, after): (&Arc<Entry>, &Arc<Entry>)| {
        let (one, other) = (&before.pool, &after.pool);
        let service = || (&one.env, &one.service) == (&other.env, &other.service);
        Arc::ptr_eq(before, after) || (service() && one.routes == other.routes)
    };
    before.len() == after.len() && before.iter().zip(after).all(same)
}
