//! Instances that are known, and for how long those that are gone are remembered.

use std::collections::BTreeMap;
use std::sync::Arc;

use ward_types::id::{EnvId, InstanceId};

use crate::instance::Instance;

/// How many instances that are gone are remembered for their counts, in all.
pub(super) const REMEMBERED: usize = 256;

type Key = (EnvId, InstanceId);

/// Every instance that still matters.
#[derive(Default)]
pub(super) struct Known {
    /// In rotation, with something under way, or replaced within a release that is in rotation.
    all: BTreeMap<Key, Arc<Instance>>,
    /// Those of them that are out of rotation: of ten thousand only these are looked at after each change.
    closed: BTreeMap<Key, Arc<Instance>>,
}

impl Known {
    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Instance>> {
        self.all.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<Instance>)> {
        self.all.iter()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.all.values()
    }

    /// Those out of rotation.
    pub(super) fn closed(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.closed.values()
    }

    /// One that is in rotation now, in place of any other with its name.
    pub(super) fn insert(&mut self, instance: &Arc<Instance>) {
        let key = key(instance);
        self.closed.remove(&key);
        self.all.insert(key, Arc::clone(instance));
    }

    /// It is in rotation again.
    pub(super) fn open(&mut self, instance: &Instance) {
        instance.open();
        self.closed.remove(&key(instance));
    }

    /// It is out of rotation from now on.
    pub(super) fn close(&mut self, instance: &Arc<Instance>) {
        instance.close();
        let key = key(instance);
        // Another one may have its name by now.
        if self
            .all
            .get(&key)
            .is_some_and(|one| Arc::ptr_eq(one, instance))
        {
            self.closed.insert(key, Arc::clone(instance));
        }
    }

    /// Closes those that are not named.
    pub(super) fn close_others(&mut self, is_named: impl Fn(&Instance) -> bool) {
        let others = self.all.values().filter(|instance| !is_named(instance));
        let others: Vec<_> = others.map(Arc::clone).collect();
        others.iter().for_each(|instance| self.close(instance));
    }

    /// Forgets instances that are out of rotation with nothing under way. Of a release that is in rotation they
    /// are remembered, the newest of them, so that what went before on one that was replaced still counts.
    pub(super) fn forget(&mut self) {
        for key in self.forgotten() {
            self.closed.remove(&key);
            self.all.remove(&key);
        }
    }

    /// Which of those that are gone are not remembered.
    fn forgotten(&self) -> Vec<Key> {
        let gone = |one: &&Arc<Instance>| one.under_way() == 0;
        let (mut kept, mut forgotten): (Vec<&Instance>, Vec<Key>) = (Vec::new(), Vec::new());
        // Those of one release come one after the other.
        let mut last: Option<(Lineage<'_>, bool)> = None;
        for instance in self.closed.values().filter(gone) {
            let of = lineage(instance);
            let remembered = match &last {
                Some((before, remembered)) if *before == of => *remembered,
                _ => self.is_in_rotation(instance),
            };
            last = Some((of, remembered));
            match remembered {
                true => kept.push(instance),
                false => forgotten.push(key(instance)),
            }
        }
        kept.sort_unstable_by_key(|instance| instance.serial);
        let old = kept.iter().rev().skip(REMEMBERED);
        forgotten.extend(old.map(|instance| key(instance)));
        forgotten
    }

    /// Whether an instance of the same release is.
    fn is_in_rotation(&self, instance: &Instance) -> bool {
        let id = &instance.endpoint.instance;
        let Some((service, release)) = id.service().zip(id.release()) else {
            return false;
        };
        let first = (instance.env.clone(), InstanceId::new(&service, release, 0));
        let release = self.all.range(first..).map(|(_, other)| other);
        let mut release = release.take_while(|other| lineage(other) == lineage(instance));
        release.any(|other| !other.is_closed())
    }
}

fn key(instance: &Instance) -> Key {
    (instance.env.clone(), instance.endpoint.instance.clone())
}

/// The environment, service and release of an instance.
type Lineage<'a> = (&'a EnvId, &'a str);

fn lineage(instance: &Instance) -> Lineage<'_> {
    let id = instance.endpoint.instance.as_str();
    let service_and_release = id.rsplit_once('-').map_or(id, |(before, _)| before);
    (&instance.env, service_and_release)
}
