//! `volume`: what is kept across releases in folders, and the snapshots of it.

use owo_colors::OwoColorize;
use ward_types::view::{
    DeleteVolumeRequest, RestoreRequest, SnapshotView, VolumeUseView, VolumeView, VolumesView,
};
use ward_types::volume::Occasion;

use super::environments::size;
use super::status::{columns, moment};
use super::{Context, Trouble, deploy};
use crate::args;
use crate::printer::Status;

pub(crate) async fn volume(context: &Context, asked: args::Volume) -> Result<Status, Trouble> {
    match asked {
        args::Volume::List(env) => list(context, env).await,
        args::Volume::Restore {
            snapshot,
            env,
            yes,
            why,
        } => {
            let env = crate::env::find(context, env.env.as_deref()).await?;
            let what = format!("Put {snapshot} in the place of what its volume of {env} holds?");
            let refused =
                "restoring replaces what the volume holds, and there is no terminal to ask at";
            let request = RestoreRequest {
                env: Some(env),
                snapshot,
                why: why.text,
            };
            // Nobody is asked about what cannot be.
            let path = "/v1/volumes/restorable";
            context.client.post::<VolumesView>(path, &request).await?;
            if !yes && !deploy::agreed(&what, refused)? {
                context.printer.say("nothing was changed");
                return Ok(Status::Failure);
            }
            let path = "/v1/volumes/restore";
            let view: VolumesView = context.client.post(path, &request).await?;
            restored(context, &view, &request);
            Ok(Status::Success)
        }
        args::Volume::Delete {
            volume,
            env,
            yes,
            why,
        } => {
            let env = crate::env::find(context, env.env.as_deref()).await?;
            let what = format!("Delete the volume {volume} of {env} and its snapshots for good?");
            let refused = format!(
                "deleting {volume} removes what it holds, and there is no terminal to ask at"
            );
            if !yes && !deploy::agreed(&what, &refused)? {
                context.printer.say("nothing was changed");
                return Ok(Status::Failure);
            }
            let request = DeleteVolumeRequest {
                env: Some(env),
                volume,
                why: why.text,
            };
            let path = "/v1/volumes/delete";
            let view: VolumesView = context.client.post(path, &request).await?;
            match context.printer.is_json() {
                true => context.printer.json(&view),
                false => {
                    let line = format!("the volume {} of {} is deleted", request.volume, view.env);
                    context.printer.data(&line);
                }
            }
            Ok(Status::Success)
        }
    }
}

fn restored(context: &Context, view: &VolumesView, request: &RestoreRequest) {
    let printer = &context.printer;
    if printer.is_json() {
        return printer.json(view);
    }
    let id = request.snapshot;
    let kept = view.volumes.iter().find_map(|volume| {
        let mut snapshots = volume.snapshots.iter();
        let kept = snapshots.find(|one| one.occasion == Occasion::Restore(id))?;
        Some((volume, kept.id))
    });
    let Some((volume, kept)) = kept else { return };
    let (name, env) = (&volume.name, &view.env);
    printer.data(&format!(
        "the volume {name} of {env} holds what {id} held; what it held before is {kept}"
    ));
}

async fn list(context: &Context, env: args::OfEnv) -> Result<Status, Trouble> {
    let env = crate::env::find(context, env.env.as_deref()).await?;
    let view: VolumesView = context
        .client
        .get(&format!("/v1/volumes?env={env}"))
        .await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&view);
        return Ok(Status::Success);
    }
    if view.volumes.is_empty() {
        printer.say(&format!("{env} has no volume"));
        return Ok(Status::Success);
    }
    let mut table = columns(&["VOLUME", "SERVICE", "PATH", "HOLDS", "OF", "SNAPSHOTS"]);
    for volume in &view.volumes {
        table.add_row(row(volume));
    }
    printer.table(&table, "");
    let snapshots = view.volumes.iter().flat_map(|volume| {
        let all = volume.snapshots.iter();
        all.map(move |snapshot| (volume, snapshot))
    });
    let snapshots: Vec<_> = snapshots.collect();
    if !snapshots.is_empty() {
        printer.data("");
        let mut table = columns(&["SNAPSHOT", "VOLUME", "MADE", "BEFORE", "SERVED", "HOLDS"]);
        for (volume, snapshot) in snapshots {
            table.add_row(snapshot_row(volume, snapshot));
        }
        printer.table(&table, "");
    }
    for volume in view.volumes.iter().filter(|volume| volume.is_over()) {
        let message = format!("the volume {} holds more than its size", volume.name);
        let hint = format!(
            "nothing is deployed to {env} until it holds less, or `volume.{}.size` is raised",
            volume.name
        );
        printer.warning(&message, &hint);
    }
    Ok(Status::Success)
}

/// What a volume holds of what it is to hold, for `ward status`.
pub(crate) fn sentence(volume: &VolumeUseView) -> String {
    let (name, of) = (&volume.name, &volume.size);
    match volume.bytes {
        None => format!("volume {name}: not measured yet, of {of}"),
        Some(bytes) if bytes > of.0 => {
            let held = size(bytes);
            let sentence = format!(
                "volume {name} holds {held}, more than its size, {of}: nothing is deployed until it holds less"
            );
            sentence.yellow().to_string()
        }
        Some(bytes) => format!("volume {name}: {} of {of}", size(bytes)),
    }
}

fn row(volume: &VolumeView) -> Vec<String> {
    let or = |text: Option<String>, none: &str| text.unwrap_or_else(|| none.to_owned());
    vec![
        volume.name.to_string(),
        or(volume.service.as_ref().map(ToString::to_string), "(none)"),
        or(volume.path.clone(), ""),
        or(volume.bytes.map(size), "?"),
        or(volume.size.map(|size| size.to_string()), ""),
        volume.snapshots.len().to_string(),
    ]
}

fn snapshot_row(volume: &VolumeView, snapshot: &SnapshotView) -> Vec<String> {
    let before = match snapshot.occasion {
        Occasion::Deployment(deployment) => deployment.to_string(),
        Occasion::Restore(restored) => format!("restore of {restored}"),
    };
    vec![
        snapshot.id.to_string(),
        volume.name.to_string(),
        moment(snapshot.at),
        before,
        snapshot.release.map(|r| r.to_string()).unwrap_or_default(),
        snapshot.bytes.map_or("?".to_owned(), size),
    ]
}
