//! Who brought a commit to a repository that Ward hosts: by what was noted when it was pushed, whether a server ran then
//! or not, and whoever finds it.

use ward_git::{Note, Repository};
use ward_plan::source::Sighting;
use ward_types::source::{CommitId, Source};

use crate::actor::{Actor, causes};

/// What is noted of pushes.
pub(super) struct Pushers(Vec<Note>);

impl Pushers {
    /// What is noted by now: who wants to know of a commit asks after it was found, because the note is older than that.
    pub(super) fn of(repository: &Repository) -> ward_git::Result<Self> {
        repository.notes().map(Self)
    }

    /// Who pushed it, or what it came with: of several the first whose push was taken.
    pub(super) fn of_sighting(&self, sighting: &Sighting) -> Option<Actor> {
        let with = sighting.with.as_ref();
        let mut commits = std::iter::once(&sighting.commit).chain(with);
        commits.find_map(|commit| self.of_commit(&sighting.reference, commit))
    }

    fn of_commit(&self, reference: &str, commit: &CommitId) -> Option<Actor> {
        let is_of = |note: &&Note| {
            let mut tips = note.tips.iter();
            tips.any(|tip| tip.reference == reference && tip.commit == *commit)
        };
        let mut notes = self.0.iter().filter(is_of);
        // They are in order, the newest first. Whose push is not known to have been taken may have wanted to in vain.
        let first = notes.clone().rfind(|note| note.taken);
        let note = first.or_else(|| notes.next())?;
        Some(Actor::of_uid(note.uid))
    }
}

/// Forgets what the log knows by now.
pub(super) fn forget(repository: &Repository, source: &Source) {
    let forgotten = repository.forget_notes(|tip| source.seen(&tip.commit).is_some());
    if let Err(error) = forgotten {
        let error = causes(&error);
        tracing::warn!(source = %source.name, error, "notes of pushes are left that nothing needs");
    }
}
