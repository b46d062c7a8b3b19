//! The rules that a plan must pass.

use ward_types::policy::{FEW_INSTANCES, Freeze, Level, Policy};

use super::At;

/// Of an environment's file: what is not said is on where it is protected, and off elsewhere.
pub(super) fn policy(file: &At<'_>) -> Policy {
    let usual = match file.flag("protected") {
        Some(true) => Policy::of_protected(),
        _ => Policy::default(),
    };
    // Who names a region means it.
    let region = file.below("stack").and_then(|stack| stack.text("region"));
    let usual = match region {
        Some(_) => Policy {
            residency: Level::Deny,
            ..usual
        },
        None => usual,
    };
    let Some(at) = file.below("policy") else {
        return usual;
    };
    let level = |name: &str, usual: Level| match at.text(name).as_deref() {
        Some("deny") => Level::Deny,
        Some("warn") => Level::Warn,
        Some("off") => Level::Off,
        _ => usual,
    };
    let number = at.number("min_instances");
    let number = number.and_then(|number| u32::try_from(number).ok());
    let min_instances = match number {
        Some(_) => Level::Deny,
        None => level("min_instances", usual.min_instances),
    };
    Policy {
        database_removed: level("database_removed", usual.database_removed),
        volume_removed: level("volume_removed", usual.volume_removed),
        export_removed: level("export_removed", usual.export_removed),
        min_instances,
        instances: match min_instances {
            Level::Off => 0,
            Level::Warn | Level::Deny => number.unwrap_or(FEW_INSTANCES),
        },
        tls: level("tls", usual.tls),
        host_base: level("host_base", usual.host_base),
        rate_limit: level("rate_limit", usual.rate_limit),
        images: level("images", usual.images),
        backups: level("backups", usual.backups),
        reason: level("reason", usual.reason),
        residency: level("residency", usual.residency),
        freeze: freezes(&at),
        pipeline: level("pipeline", usual.pipeline),
        second_person: level("second_person", usual.second_person),
    }
}

fn freezes(at: &At<'_>) -> Vec<Freeze> {
    let zone = at.text("freeze_zone").unwrap_or_else(|| "UTC".to_owned());
    let days = at.texts("freeze").filter_map(Freeze::days);
    let freezes = days.map(|(first, last)| Freeze {
        first,
        last,
        zone: zone.clone(),
    });
    freezes.collect()
}
