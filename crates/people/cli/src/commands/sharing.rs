//! What stacks share, in words: where links to other stacks lead, and who may and does link here.

use owo_colors::OwoColorize;
use ward_types::id::EnvId;
use ward_types::sharing::{Importer, admits};
use ward_types::view::{ExportView, LinkState, SharedLinkView, SharingView};

/// The lines of an environment's status.
pub(super) fn lines(env: &EnvId, sharing: &SharingView) -> Vec<String> {
    let links = sharing.links.iter().map(link);
    let exports = sharing.exports.iter().map(exported);
    let importers = sharing
        .importers
        .iter()
        .map(|one| importer(env, sharing, one));
    links.chain(exports).chain(importers).collect()
}

fn link(link: &SharedLinkView) -> String {
    let sentence = format!("{} links to {} of {}", link.service, link.to, link.env);
    match link.state {
        LinkState::Open => sentence,
        closed => format!("{}", format!("{sentence}: {closed}").yellow()),
    }
}

fn exported(export: &ExportView) -> String {
    let to: Vec<String> = export.to.iter().map(ToString::to_string).collect();
    format!("{} is exported to {}", export.service, to.join(", "))
}

fn importer(env: &EnvId, sharing: &SharingView, one: &Importer) -> String {
    let sentence = format!("{one} links to {}", one.to);
    let mut exports = sharing
        .exports
        .iter()
        .filter(|export| export.service == one.to);
    match exports.any(|export| admits(&export.to, env, &one.env)) {
        true => sentence,
        false => format!("{}", format!("{sentence}, and is not let in").yellow()),
    }
}
