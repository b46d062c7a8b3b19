//! Instances that are gone, and for how long they are remembered.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ward_types::id::{EnvId, InstanceId};

use crate::instance::Instance;

/// How many instances that are gone are remembered for their counts, in all.
pub(super) const REMEMBERED: usize = 256;

/// Forgets instances that are out of rotation with nothing under way. Of a release that is in rotation they
/// are remembered, the newest of them, so that what went before on one that was replaced still counts.
pub(super) fn forget(known: &mut BTreeMap<(EnvId, InstanceId), Arc<Instance>>) {
    let gone = |instance: &Instance| instance.is_closed() && instance.under_way() == 0;
    let mut serials = forgotten(known.values().filter(|one| gone(one)), known);
    if serials.is_empty() {
        return;
    }
    serials.sort_unstable();
    known.retain(|_, instance| serials.binary_search(&instance.serial).is_err());
}

/// Which of those that are gone are not remembered.
fn forgotten<'a>(
    gone: impl Iterator<Item = &'a Arc<Instance>>,
    known: &BTreeMap<(EnvId, InstanceId), Arc<Instance>>,
) -> Vec<u64> {
    let mut gone = gone.peekable();
    if gone.peek().is_none() {
        return Vec::new();
    }
    let open = known.values().filter(|instance| !instance.is_closed());
    let in_rotation: HashSet<(&EnvId, &str)> = open.map(|instance| lineage(instance)).collect();
    let (mut kept, mut forgotten): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
    for instance in gone {
        match in_rotation.contains(&lineage(instance)) {
            true => kept.push(instance.serial),
            false => forgotten.push(instance.serial),
        }
    }
    kept.sort_unstable();
    forgotten.extend(kept.iter().rev().skip(REMEMBERED));
    forgotten
}

/// The environment, service and release of an instance.
fn lineage(instance: &Instance) -> (&EnvId, &str) {
    let id = instance.endpoint.instance.as_str();
    let service_and_release = id.rsplit_once('-').map_or(id, |(before, _)| before);
    (&instance.env, service_and_release)
}
