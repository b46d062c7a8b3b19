//! Layers that other hands changed, and the instances that run from them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ward_types::keeper::{InstanceFacts, RootSpec};

use crate::engine::{Engine, Inner, Seen};
use crate::error::Error;
use crate::image::Image;
use crate::layers::Collected;
use crate::{folder, start};

impl Engine {
    /// Whether the layers of an image that was unpacked hold what was unpacked, as far as can be told without reading
    /// their files; `false` also where somebody removed them. Then [`Engine::unpack`] finds out, and puts it right.
    /// Blocks on the disk.
    #[must_use]
    pub fn is_whole(&self, image: &Image) -> bool {
        image
            .layers
            .iter()
            .all(|folder| self.0.layers.is_whole(folder))
    }

    /// Removes the layers that other hands changed, were unpacked anew since, and are used by no instance any more.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn sweep_layers(&self) -> Result<Collected, Error> {
        if !self.0.layers.is_any_condemned() {
            return Ok(Collected::default());
        }
        let used = start::roots(&self.0.home)?;
        self.0.layers.collect(|_| true, &used)
    }
}

impl Inner {
    /// Notes of each instance whether it runs from a layer that other hands changed. Blocks on the disk where one was.
    pub(crate) fn note_altered(&self) {
        if !self.layers.is_any_condemned() {
            return;
        }
        let unaltered = |seen: &&Seen| seen.altered.is_none() && !seen.status.state.is_over();
        let all: Vec<InstanceFacts> = {
            let all = self.seen();
            let seen = all.values().flat_map(BTreeMap::values).filter(unaltered);
            seen.map(|seen| seen.facts.clone()).collect()
        };
        for facts in all {
            let dir = self.home.instance(&facts.env, &facts.id);
            let root = folder::read_whole::<RootSpec>(&dir, folder::ROOT);
            let layers = root.ok().flatten().map(|root| root.layers);
            let layers = layers.unwrap_or_default();
            let what = self
                .layers
                .what_changed(layers.iter().map(PathBuf::as_path));
            if let Some(what) = what {
                self.alter(&facts, what);
            }
        }
    }

    fn alter(&self, facts: &InstanceFacts, what: String) {
        let mut all = self.seen();
        let env = all.get_mut(&facts.env);
        let Some(seen) = env.and_then(|env| env.get_mut(&facts.id)) else {
            return; // Removed meanwhile.
        };
        seen.altered = Some(what);
        drop(all);
        self.bump(&facts.env);
    }
}
