//! `build`: a build for itself.

use ward_types::source::KeptBuild;
use ward_types::view::BuildRequest;

use super::deploy::{absolute, follow};
use super::releases::{images, made_of};
use super::status::{columns, moment};
use super::{Context, Trouble};
use crate::args;
use crate::platform;
use crate::printer::{Printer, Status};

pub(crate) async fn build(context: &Context, asked: args::Build) -> Result<Status, Trouble> {
    if asked.list {
        return list(context).await;
    }
    platform::ensure(&context.home, &asked.addresses, &context.printer).await?;
    let request = BuildRequest {
        dir: absolute(&asked.dir)?,
        rev: asked.rev,
        env: asked.env,
        why: asked.why.text,
    };
    let lines = context.client.post_lines("/v1/builds", &request).await?;
    follow(context, lines).await
}

async fn list(context: &Context) -> Result<Status, Trouble> {
    let builds: Vec<KeptBuild> = context.client.get("/v1/builds").await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&builds);
        return Ok(Status::Success);
    }
    if builds.is_empty() {
        printer.say("no build is kept; `ward build DIR` makes one");
        return Ok(Status::Success);
    }
    let mut table = columns(&["BUILD", "MADE", "BY", "COMMIT", "IMAGES"]);
    for kept in &builds {
        let commit = kept.build.provenance.as_deref().map(made_of);
        table.add_row(vec![
            format!("{}/{}", kept.stack, kept.build.version),
            moment(kept.made),
            kept.by.clone(),
            commit.unwrap_or_else(|| "-".to_owned()),
            images(&kept.build.images),
        ]);
    }
    printer.table(&table, "");
    Ok(Status::Success)
}

/// What was built: the sentence to standard error, the version and the digests to standard output.
pub(crate) fn made(printer: &Printer, kept: &KeptBuild) {
    let KeptBuild { stack, build, .. } = kept;
    let of = build.provenance.as_deref();
    let of = of.map(|p| format!(", made of {p}")).unwrap_or_default();
    let version = &build.version;
    printer.done(&format!(
        "{stack}/{version} is kept{of}; `ward deploy --build {version}` releases it"
    ));
    printer.data(version);
    for (service, digest) in &build.images {
        printer.data(&format!("{service} {}", digest.as_str()));
    }
}
