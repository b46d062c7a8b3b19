//! Whose word about a run counts.

use ward_types::person::{is, name, same};
use ward_types::pipeline::{Approval, By, Position, Run, Vote, Word};
use ward_types::release::Build;
use ward_types::source::Tree;

/// Why the word of `who` does not count; to be recorded with it.
///
/// # Errors
/// A predicate of the one who gave it.
pub fn counts(run: &Run, who: &str, word: Word) -> Result<(), String> {
    let approval = run
        .stages
        .get(run.stage())
        .and_then(|s| s.gate.approve.as_ref());
    match (word, approval) {
        // Whoever started it may take it back.
        (Word::Reject, _) if same(who, &run.author) => Ok(()),
        (Word::Reject, None) => {
            let approvals = run.stages.iter().filter_map(|s| s.gate.approve.as_ref());
            let mut people = approvals.flat_map(|approval| &approval.people);
            match people.any(|person| is(who, person)) {
                true => Ok(()),
                false => Err("has no role in this pipeline, and did not start the run".to_owned()),
            }
        }
        (Word::Approve, _) if !matches!(run.position, Position::Approving { .. }) => {
            Err("is not asked for a word yet".to_owned())
        }
        (Word::Approve, None) => Err("is not asked for a word here".to_owned()),
        (_, Some(approval)) => entitled(approval, run, who, word),
    }
}

/// The word by which a gate was passed that somebody would let pass once more: their own, or that of somebody else with
/// the role.
#[must_use]
pub fn passed<'a>(run: &'a Run, who: &str, word: Word) -> Option<&'a Vote> {
    let stage = run.stage();
    let waits = matches!(run.position, Position::Approving { .. });
    if word == Word::Reject || (waits && run.approval(stage).is_none()) {
        return None;
    }
    let last = (0..=stage).rev().find_map(|stage| run.approval(stage))?;
    let approval = run.stages.get(last.stage)?.gate.approve.as_ref()?;
    let theirs = same(&last.by, who) || entitled(approval, run, who, word).is_ok();
    theirs.then_some(last)
}

/// Whether the word of somebody would let a run past the gate of a stage, when it stands there.
#[must_use]
pub fn may_approve(run: &Run, stage: usize, who: &str) -> bool {
    let approval = run.stages.get(stage).and_then(|s| s.gate.approve.as_ref());
    approval.is_some_and(|approval| entitled(approval, run, who, Word::Approve).is_ok())
}

fn entitled(approval: &Approval, run: &Run, who: &str, word: Word) -> Result<(), String> {
    if !approval.people.iter().any(|person| is(who, person)) {
        return Err(format!("does not have the role {}", approval.role));
    }
    if (approval.by, word) != (By::Another, Word::Approve) {
        return Ok(());
    }
    match brought(run, who) {
        Some(how) => Err(format!("{how}, and a second person has to approve it")),
        None => Ok(()),
    }
}

/// Whether somebody is another person than the one whose run it is, and than who wrote what was built.
#[must_use]
pub fn is_another(run: &Run, who: &str) -> bool {
    brought(run, who).is_none()
}

/// How somebody has a part in what is built; a predicate.
fn brought(run: &Run, who: &str) -> Option<String> {
    if same(who, &run.author) {
        return Some("started the run".to_owned());
    }
    let author = author(&run.build).filter(|author| wrote(who, author))?;
    Some(format!("wrote the commit, as that says ({author})"))
}

/// Who wrote what was built, as the commit says that it was built of and of nothing else.
fn author(build: &Build) -> Option<&str> {
    let provenance = build.provenance.as_deref()?;
    (provenance.tree == Tree::AsCommitted).then_some(&*provenance.commit.author)
}

/// Whether `uid:1000(anna)` is who a commit says: `Anna`, or `Anna Bauer <anna@example.com>`. Nobody has proved that, and
/// who writes another name there is another one: it is for those who forget, and not against those who lie.
fn wrote(who: &str, author: &str) -> bool {
    let Some(name) = name(who) else {
        return false;
    };
    let (said, address) = match author.split_once('<') {
        Some((said, address)) => (said.trim(), address.trim_end_matches('>').trim()),
        None => (author.trim(), ""),
    };
    let local = address.split('@').next().unwrap_or_default();
    let plain = local.split('+').next().unwrap_or_default();
    let mut names = [said, local, plain].into_iter();
    !name.is_empty() && names.any(|said| said.eq_ignore_ascii_case(name))
}
