//! Decision: what new data is filled with, and when.
//!
//! A clone's databases get the rows of those that they are copies of, before release commands run; then its volumes get
//! the files, so that what a row leads to is there. Else the seed
//! commands of an environment that wants to be seeded run after them, in the same order. Each is an instance that runs
//! to its end, and is recorded when it ended well: it is never run again on that data, whatever becomes of the
//! deployment. Data that was ever served is not filled.

use std::collections::BTreeSet;

use ward_types::id::{Name, ReleaseId};
use ward_types::keeper::Role;
use ward_types::life::{Cause, Filling};
use ward_types::release::{Deployment, Environment, Phase};
use ward_types::spec::EnvSpec;
use ward_types::time::Millis;

use crate::action::Action;
use crate::draft::Draft;
use crate::limits::{CLEARING, COPYING};
use crate::observed::SeenInstance;
use crate::prepare;
use crate::scene::Scene;
use crate::waiting::{Bound, Waiting};

/// Whether everything that is to be copied was.
pub(crate) fn is_copied(
    scene: &Scene,
    draft: &mut Draft,
    deployment: &Deployment,
    spec: &EnvSpec,
) -> bool {
    if !scene.env.copies_data() {
        return true;
    }
    let databases = spec.databases.keys().map(|name| (Filling::Copy, name));
    // Files of now do not belong to rows of a backup.
    let files = spec.volumes.keys();
    let files = files.filter(|_| scene.env.life.restores.is_empty());
    let volumes = files.map(|name| (Filling::Volume, name));
    let mut all = databases.chain(volumes);
    let next = all.find(|(filling, name)| !scene.env.is_filled(*filling, name));
    next.is_none_or(|(filling, name)| {
        fill(scene, draft, deployment, filling, name);
        false
    })
}

/// Whether every seed command that is to run has.
pub(crate) fn is_seeded(
    scene: &Scene,
    draft: &mut Draft,
    deployment: &Deployment,
    spec: &EnvSpec,
) -> bool {
    if !scene.env.is_seeded_by(spec) {
        return true;
    }
    let done: BTreeSet<&Name> = scene.env.life.seeded.iter().collect();
    let next = prepare::next_in_order(spec, &done, |service| service.seed.is_some());
    next.is_none_or(|service| {
        fill(scene, draft, deployment, Filling::Seed, service);
        false
    })
}

fn fill(
    scene: &Scene,
    draft: &mut Draft,
    deployment: &Deployment,
    filling: Filling,
    component: &Name,
) {
    let role = role(filling);
    let ours = |i: &&SeenInstance| {
        let facts = &i.facts;
        facts.role == role && facts.release == deployment.to && facts.component == *component
    };
    let mut seen = scene.seen().filter(ours).peekable();
    if seen.peek().is_none() {
        return draft.start(component, deployment.to, role);
    }
    for instance in seen {
        match instance.is_over() {
            true => draft.act(Action::Fill {
                deployment: deployment.id,
                filling,
                component: component.clone(),
            }),
            false => draft.wait(Waiting::Filling {
                filling,
                component: component.clone(),
                instance: instance.facts.id.clone(),
                bound: bound(scene, deployment.to, instance),
            }),
        }
    }
}

pub(crate) fn role(filling: Filling) -> Role {
    match filling {
        Filling::Copy => Role::Copy,
        Filling::Volume => Role::VolumeCopy,
        Filling::Seed => Role::Seed,
    }
}

/// How long one may take.
pub(crate) fn bound(scene: &Scene, release: ReleaseId, instance: &SeenInstance) -> Bound {
    let facts = &instance.facts;
    let seed = scene.service(release, &facts.component);
    match seed.and_then(|service| service.seed.as_ref()) {
        Some(seed) if facts.role == Role::Seed => {
            Bound::setting(facts.started, seed.timeout, "seed.timeout")
        }
        _ => Bound::fixed(facts.started, COPYING),
    }
}

/// How long all that is to be filled may take, with the time to clear away.
pub(crate) fn whole(env: &Environment, spec: &EnvSpec) -> Millis {
    let copies = match env.copies_data() {
        true => (spec.databases.len() + spec.volumes.len()) as u64 * (COPYING.0 + CLEARING.0),
        false => 0,
    };
    let seeds = spec.services.values().filter_map(|s| s.seed.as_ref());
    let seeds = seeds.map(|seed| seed.timeout.0.saturating_add(CLEARING.0));
    let seeds: u64 = match env.is_seeded_by(spec) {
        true => seeds.sum(),
        false => 0,
    };
    Millis(copies.saturating_add(seeds))
}

/// A clone that did not come up is not left behind: nobody uses it, and it holds a part of another's data.
pub(crate) fn is_unmade(scene: &Scene) -> bool {
    let env = scene.env;
    let over = |d: &Deployment| matches!(d.phase, Phase::Finished { .. });
    let mut deployments = env.deployments.values();
    // Not one of an earlier life.
    let began = |d: &&Deployment| d.to > env.life.last_release;
    let failed = env.deployments.values().any(|d| began(&d) && over(d));
    let ended = failed && deployments.all(over);
    env.copies_data() && env.current.is_none() && ended && env.life.ending.is_none()
}

/// Ends it.
pub(crate) fn unmake(draft: &mut Draft) {
    let cause = Cause::Unmade;
    draft.act(Action::End { cause });
}
