//! What a deployment to a release would do, in the order in which it does it, as sentences.

use ward_types::changes::{PlannedStep, StepKind};
use ward_types::id::Name;
use ward_types::release::{Environment, Release};
use ward_types::spec::{Schema, ServiceSpec, Strategy};
use ward_types::text;
use ward_types::time::Millis;
use ward_types::unit::format_duration;
use ward_types::volume::Snapshots;

/// The steps of `env` from what serves, or from nothing, to `to`.
#[must_use]
pub fn steps(env: &Environment, from: Option<&Release>, to: &Release) -> Vec<PlannedStep> {
    let had = |name: &Name| from.is_some_and(|from| from.spec.databases.contains_key(name));
    let new = to.spec.databases.keys().filter(|name| !had(name));
    let databases =
        new.map(|name| step(StepKind::Database, Some(name), format!("{name} is started")));
    let snapshots = snapshots(from, to);
    let services = to.spec.services.iter();
    let commands = services
        .clone()
        .filter_map(|(name, service)| command(name, service));
    let seeded = env.is_seeded_by(&to.spec);
    let unseeded = |name: &Name| seeded && !env.life.seeded.contains(name);
    let seeds = services
        .clone()
        .filter(|(name, _)| unseeded(name))
        .filter_map(|(name, service)| seed(name, service));
    let instances = services.map(|(name, service)| {
        let before = from.and_then(|from| from.spec.services.get(name));
        step(
            StepKind::Instances,
            Some(name),
            taking_over(name, service, before),
        )
    });
    let gone = from.into_iter().flat_map(|from| from.spec.services.keys());
    let gone = gone.filter(|name| !to.spec.services.contains_key(name));
    let ends = gone.map(|name| {
        step(
            StepKind::End,
            Some(name),
            format!("{name}: its instances end"),
        )
    });
    let warm = from.filter(|_| to.spec.keep_warm > Millis(0)).map(|from| {
        let kept = format_duration(to.spec.keep_warm);
        let text = format!(
            "the instances of {} are kept for {kept}, for a rollback",
            from.id
        );
        step(StepKind::KeepWarm, None, text)
    });
    let all = databases
        .chain(snapshots)
        .chain(commands)
        .chain(seeds)
        .chain(instances)
        .chain(ends)
        .chain(warm);
    all.collect()
}

fn snapshots(from: Option<&Release>, to: &Release) -> Vec<PlannedStep> {
    let had = |name: &Name| from.is_some_and(|from| from.spec.volumes.contains_key(name));
    let asked = to
        .spec
        .volumes
        .iter()
        .filter(|(name, volume)| volume.snapshot == Snapshots::BeforeRelease && had(name));
    let made = asked.map(|(name, volume)| {
        let kept = match volume.keep_snapshots {
            1 => "only this one is kept".to_owned(),
            many => format!("the newest {many} are kept"),
        };
        let text = format!("a snapshot of the volume {name} is made; {kept}");
        step(StepKind::Snapshot, Some(name), text)
    });
    made.collect()
}

fn step(step: StepKind, component: Option<&Name>, text: String) -> PlannedStep {
    PlannedStep {
        step,
        component: component.cloned(),
        text,
        destructive: false,
    }
}

fn command(name: &Name, service: &ServiceSpec) -> Option<PlannedStep> {
    let release = service.release.as_ref()?;
    let schema = match release.schema {
        Schema::None => "it leaves the schema as it is",
        Schema::Expand => "it only adds to the schema",
        Schema::Contract => {
            "it contracts the schema: releases before the one that serves do not run afterwards"
        }
        Schema::Irreversible => "it is irreversible: no release before runs afterwards",
    };
    let (command, timeout) = (
        text::command(&release.command),
        format_duration(release.timeout),
    );
    let text = format!("{name} runs `{command}`, for {timeout} at most; {schema}");
    Some(PlannedStep {
        destructive: release.schema.takes_away(),
        ..step(StepKind::ReleaseCommand, Some(name), text)
    })
}

fn seed(name: &Name, service: &ServiceSpec) -> Option<PlannedStep> {
    let seed = service.seed.as_ref()?;
    let (command, timeout) = (text::command(&seed.command), format_duration(seed.timeout));
    let text = format!("{name} runs `{command}`, for {timeout} at most; it fills the new data");
    Some(step(StepKind::Seed, Some(name), text))
}

fn taking_over(name: &Name, service: &ServiceSpec, before: Option<&ServiceSpec>) -> String {
    let many = |count: u32, verb: &str| match count {
        1 => format!("1 instance {verb}s"),
        count => format!("{count} instances {verb}"),
    };
    let new = service.instances;
    let old = before.map(|before| before.instances).unwrap_or_default();
    match (old, new) {
        (0, 0) => return format!("{name}: none runs"),
        (0, new) => return format!("{name}: {}", many(new, "start")),
        (old, 0) => return format!("{name}: {}, none takes over", many(old, "end")),
        _ => {}
    }
    if !service.overlap {
        return format!(
            "{name}: {}, then {}; nothing of it runs meanwhile",
            many(old, "end"),
            many(new, "start")
        );
    }
    let beside = format!("{} beside the old ones", many(new, "start"));
    match &service.strategy {
        Strategy::BlueGreen { bake } => {
            format!("{name}: {beside}, then one switch{}", baking(*bake))
        }
        Strategy::Rolling { batch, surge } => format!(
            "{name}: {new} new for {old} old, {} at a time, at most {} more than declared",
            batch.of(new),
            surge.of(new)
        ),
        Strategy::Canary { steps, bake, .. } => {
            let weights = steps.iter().map(|step| match step.hold {
                Some(hold) => format!("{} % for {}", step.weight, format_duration(hold)),
                None => format!("{} % until told", step.weight),
            });
            let weights: Vec<String> = weights.collect();
            let (weights, bake) = (weights.join(", "), baking(*bake));
            format!("{name}: {beside}, {weights} of the requests, then all{bake}")
        }
    }
}

fn baking(bake: Millis) -> String {
    match bake {
        Millis(0) => String::new(),
        bake => format!(", then {} to bake", format_duration(bake)),
    }
}
