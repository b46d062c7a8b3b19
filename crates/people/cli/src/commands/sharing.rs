//! What stacks share, in words: where links to other stacks lead, and who may and does link here.

use owo_colors::OwoColorize;
use ward_types::view::{LinkState, SharedLinkView, SharingView};

/// The lines of a status.
pub(super) fn lines(sharing: &SharingView) -> Vec<String> {
    let links = sharing.links.iter().map(link);
    links.chain(exports(sharing)).collect()
}

fn link(link: &SharedLinkView) -> String {
    let sentence = format!("{} links to {} of {}", link.service, link.to, link.env);
    match link.state {
        LinkState::Open => sentence,
        closed => format!("{}", format!("{sentence}: {closed}").yellow()),
    }
}

fn exports(sharing: &SharingView) -> impl Iterator<Item = String> + '_ {
    let exported = sharing.exports.iter().map(|export| {
        let to: Vec<String> = export.to.iter().map(ToString::to_string).collect();
        let names = to.join(", ");
        format!("{} is exported to {names}", export.service)
    });
    let importers = sharing.importers.iter();
    exported.chain(importers.map(|one| format!("{one} links to {}", one.to)))
}
