//! What of the registry is needed: no manifest is deleted there from which a release could come back (promise P2).
//!
//! Decision: the same as for a collection. What is retained is needed; and while something is built, or on its way from
//! one release to another, it is in no release yet: a deletion and that exclude each other, and the deletion steps back.

use ward_registry::{Needs, Pass, Repository, Stays};
use ward_store::Log;
use ward_types::event::State;
use ward_types::id::{Digest, Name};
use ward_types::release::Build;

use crate::control::Control;
use crate::images::Images;
use crate::plans::Plans;

/// The most that a refusal names.
const NAMED: usize = 5;

impl Needs for Control {
    fn lets_go(&self, repository: &Repository, digest: &Digest) -> Result<Pass<'_>, Stays> {
        let Ok(alone) = self.0.unrecorded.try_write() else {
            return Err(Stays::Untold(
                "something is being built or released, which may need it; try again when that is done".to_owned(),
            ));
        };
        let mut by = needed_by(&self.store().state(), repository.as_str(), digest);
        let image = (repository.as_str().to_owned(), digest.clone());
        if Plans::of(&self.0.home).images().contains(&image) {
            by.push("a plan that can be carried out".to_owned());
        }
        if by.is_empty() {
            return Ok(Box::new(alone));
        }
        let more = by.len().saturating_sub(NAMED);
        by.truncate(NAMED);
        if more > 0 {
            by.push(format!("{more} more"));
        }
        Err(Stays::Needed(format!(
            "{digest} of {repository} is needed by {}: it stays, so that each of them can come back; what nothing needs any \
             more Ward removes by itself",
            by.join(", ")
        )))
    }
}

/// The releases and the builds that have an image.
fn needed_by(state: &State, repository: &str, digest: &Digest) -> Vec<String> {
    let has = |stack: &Name, build: &Build| {
        let mut images = build.images.iter().filter(|(_, of)| *of == digest);
        images.any(|(service, _)| Images::repository(stack, service) == repository)
    };
    let mut by = Vec::new();
    for env in state.environments.values() {
        let stack = env.id.stack();
        let releases = env.releases.values();
        let releases = releases.filter(|release| has(&stack, &release.build));
        by.extend(releases.map(|release| format!("{} {}", env.id, release.id)));
    }
    let builds = state.builds.values();
    let kept = builds.flat_map(|builds| builds.kept.values());
    let kept = kept.filter(|kept| has(&kept.stack, &kept.build));
    by.extend(kept.map(|kept| format!("the kept build {} of {}", kept.build.version, kept.stack)));
    by
}
