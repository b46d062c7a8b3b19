//! Instances that are gone, and for how long they are remembered.

use std::collections::BTreeMap;
use std::sync::Arc;

use ward_types::id::{EnvId, InstanceId};

use crate::instance::Instance;

/// How many instances that are gone are remembered for their counts, in all.
pub(super) const REMEMBERED: usize = 256;

/// Forgets instances that are out of rotation with nothing under way. Of a release that is in rotation they
/// are remembered, the newest of them, so that what went before on one that was replaced still counts.
pub(super) fn forget(known: &mut Known) {
    let mut serials = forgotten(known);
    if serials.is_empty() {
        return;
    }
    serials.sort_unstable();
    known.retain(|_, instance| serials.binary_search(&instance.serial).is_err());
}

/// Which of those that are gone are not remembered.
fn forgotten(known: &Known) -> Vec<u64> {
    let gone = |one: &&Arc<Instance>| one.is_closed() && one.under_way() == 0;
    let (mut kept, mut forgotten): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
    // Those of one release come one after the other.
    let mut last: Option<(Lineage<'_>, bool)> = None;
    for instance in known.values().filter(gone) {
        let of = lineage(instance);
        let remembered = match &last {
            Some((before, remembered)) if *before == of => *remembered,
            _ => is_in_rotation(known, instance),
        };
        last = Some((of, remembered));
        match remembered {
            true => kept.push(instance.serial),
            false => forgotten.push(instance.serial),
        }
    }
    kept.sort_unstable();
    forgotten.extend(kept.iter().rev().skip(REMEMBERED));
    forgotten
}

/// Whether an instance of the same release is.
fn is_in_rotation(known: &Known, instance: &Instance) -> bool {
    let id = &instance.endpoint.instance;
    let Some((service, release)) = id.service().zip(id.release()) else {
        return false;
    };
    let first = (instance.env.clone(), InstanceId::new(&service, release, 0));
    let release = known.range(first..).map(|(_, other)| other);
    let mut release = release.take_while(|other| lineage(other) == lineage(instance));
    release.any(|other| !other.is_closed())
}

type Known = BTreeMap<(EnvId, InstanceId), Arc<Instance>>;
/// The environment, service and release of an instance.
type Lineage<'a> = (&'a EnvId, &'a str);

fn lineage(instance: &Instance) -> Lineage<'_> {
    let id = instance.endpoint.instance.as_str();
    let service_and_release = id.rsplit_once('-').map_or(id, |(before, _)| before);
    (&instance.env, service_and_release)
}
