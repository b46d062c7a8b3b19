//! A command build: a command makes files in the stack's folder, and the named ones go into the image,
//! below `/app`, which is where an instance starts.

use std::collections::BTreeMap;

use ward_types::spec::Base;

use crate::files::{PLACE, Selection, inside};
use crate::fingerprint::{self, Memory, Scope};
use crate::image::{self, PATH, Run};
use crate::process::{Lines, Step};
use crate::work::{Work, blocking};
use crate::{BASE_LABEL, Image, ImageSink, Outcome, Request, Result};

/// The stack file's `build = { command, files, run, base }`.
pub(crate) struct Source<'a> {
    pub(crate) command: &'a [String],
    pub(crate) files: &'a [String],
    pub(crate) run: &'a [String],
    pub(crate) base: Base,
}

pub(crate) async fn build(
    request: &Request,
    source: &Source<'_>,
    work: &Work,
    sink: &impl ImageSink,
    lines: Lines<'_>,
) -> Result<Image> {
    let named: Vec<_> = source
        .files
        .iter()
        .map(|name| inside(name))
        .collect::<Result<_>>()?;
    let Some((program, args)) = source.command.split_first() else {
        return take(request, source, work, sink).await;
    };
    let before = fingerprint::of(request, Scope::Tracked(named.clone())).await?;
    if let Some(digest) = Memory::recall(request, &before, sink).await? {
        let outcome = Outcome::Unchanged;
        return Ok(Image { digest, outcome });
    }
    let step = Step {
        program,
        args: args.iter().map(Into::into).collect(),
        dir: &request.dir,
        env: Vec::new(),
    };
    step.run(lines).await?;
    let image = take(request, source, work, sink).await?;
    let after = fingerprint::of(request, Scope::Tracked(named)).await?;
    Memory::keep(request, [before, after], &image.digest);
    Ok(image)
}

/// Makes the image of the files as they are.
async fn take(
    request: &Request,
    source: &Source<'_>,
    work: &Work,
    sink: &impl ImageSink,
) -> Result<Image> {
    let selection = Selection {
        dir: request.dir.clone(),
        base: source.base,
        after_command: !source.command.is_empty(),
    };
    let names = source.files.to_vec();
    let tree = blocking(move || selection.tree(&names)).await?;
    let layers = work.write_layers(vec![tree]).await?;
    let labels = match source.base {
        Base::Host => BTreeMap::from([(BASE_LABEL.to_owned(), "host".to_owned())]),
        Base::Empty => BTreeMap::new(),
    };
    let run = Run {
        env: vec![PATH.into()],
        cmd: source.run.to_vec(),
        working_dir: format!("/{PLACE}"),
        labels,
        ..Run::default()
    };
    image::push(request, &run, &layers, work.path(), sink).await
}
