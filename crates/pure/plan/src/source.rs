//! What a source does next, which commits count, and which builds are kept.
//!
//! Decision: each commit that is seen is built once, in the order in which they were seen, one at a time. What is
//! built is released as soon as its way is free; where several wait for a pipeline that is under way, the newest has
//! its turn and the others give way to it, because what they would bring is in it. One that came behind a newer one in the same look is never released. Whatever failed is not tried again
//! by itself: the same commit would fail again.

use ward_types::event::State;
use ward_types::id::Name;
use ward_types::source::{
    CommitId, Follows, KEPT_BUILDS, KeptBuild, KeptBuilds, Seen, Source, Standing, Then,
};

/// What to do now about a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until something changes.
    Wait,
    /// Build this commit.
    Build(CommitId),
    /// Release what was built of this commit.
    Release(CommitId),
    /// Write down what became of a commit.
    Move(CommitId, Standing),
}

/// What to do now.
#[must_use]
pub fn next(state: &State, source: &Source) -> Next {
    let came_behind = source.commits.iter().find_map(|seen| {
        let (Standing::Built { version }, Some(by)) = (&seen.standing, &seen.with) else {
            return None;
        };
        let passed = Standing::Passed {
            version: Some(version.clone()),
            by: by.clone(),
        };
        Some(Next::Move(seen.commit.id.clone(), passed))
    });
    if let Some(passed) = came_behind.filter(|_| source.then != Then::Keep) {
        return passed;
    }
    let built = |seen: &&Seen| matches!(seen.standing, Standing::Built { .. });
    let mut ready = source.commits.iter().rev().filter(built);
    if source.then != Then::Keep
        && let Some(newest) = ready.next()
    {
        if let Some(older) = ready.next() {
            return Next::Move(older.commit.id.clone(), gave_way(older, newest));
        }
        let id = newest.commit.id.clone();
        let Some(build) = kept(state, &source.name, &id) else {
            let message = "its build is kept no more".to_owned();
            return Next::Move(id, Standing::Failed { message });
        };
        if is_free(state, &source.then, build) {
            return Next::Release(id);
        }
    }
    let waiting = |seen: &&Seen| seen.standing == Standing::Waiting;
    match source.commits.iter().find(waiting) {
        Some(seen) => Next::Build(seen.commit.id.clone()),
        None => Next::Wait,
    }
}

fn gave_way(older: &Seen, newer: &Seen) -> Standing {
    let version = match &older.standing {
        Standing::Built { version } => Some(version.clone()),
        _ => None,
    };
    Standing::Passed {
        version,
        by: newer.commit.id.clone(),
    }
}

/// Two runs of one pipeline would move the same environments against each other.
fn is_free(state: &State, then: &Then, build: &KeptBuild) -> bool {
    let Then::Pipeline(name) = then else {
        return true;
    };
    let mut runs = state.pipelines.values().filter(|run| !run.is_over());
    !runs.any(|run| run.stack == build.stack && run.pipeline == *name)
}

/// The build that a source made of a commit.
#[must_use]
pub fn kept<'a>(state: &'a State, source: &Name, commit: &CommitId) -> Option<&'a KeptBuild> {
    let all = state
        .builds
        .values()
        .flat_map(|builds| builds.kept.values());
    let mut all = all.rev();
    all.find(|kept| comes_from(kept, source, commit))
}

fn comes_from(kept: &KeptBuild, source: &Name, commit: &CommitId) -> bool {
    let provenance = kept.build.provenance.as_deref();
    provenance.is_some_and(|p| p.source.as_ref() == Some(source) && p.commit.id == *commit)
}

/// A commit that was found in a repository, or pushed to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Where: `refs/heads/main`.
    pub reference: String,
    /// Which.
    pub commit: CommitId,
    /// Whether the reference still leads to it.
    pub tip: bool,
    /// The newer one of the same look that it lies behind.
    pub with: Option<CommitId>,
}

/// What a look at a repository adds: commits that were never seen, in this order. On the first look tags are what was
/// there before, and a branch's tip is what is to be built.
#[must_use]
pub fn sighted(source: &Source, found: &[Sighting], first: bool) -> Vec<(Sighting, Standing)> {
    let mut new: Vec<(Sighting, Standing)> = Vec::new();
    for sighting in found {
        let id = &sighting.commit;
        let known = source.seen(id).is_some() || new.iter().any(|(s, _)| s.commit == *id);
        if known || !source.follows.names(&sighting.reference) {
            continue;
        }
        let standing = match (&source.follows, first) {
            (Follows::Tags(_), true) => Standing::There,
            _ => standing(source, found, sighting),
        };
        new.push((sighting.clone(), standing));
    }
    new
}

/// One that its reference has left behind has come too late where what the reference leads to was seen before it.
fn standing(source: &Source, found: &[Sighting], sighting: &Sighting) -> Standing {
    let later = found
        .iter()
        .find(|other| other.tip && other.reference == sighting.reference);
    match later {
        Some(later) if !sighting.tip && source.seen(&later.commit).is_some() => Standing::Passed {
            version: None,
            by: later.commit.clone(),
        },
        _ => Standing::Waiting,
    }
}

/// The versions of a stack's builds that are kept no more: all but the newest, and but those that a source has still
/// to release.
#[must_use]
pub fn surplus(state: &State, stack: &Name) -> Vec<String> {
    let Some(KeptBuilds { kept, .. }) = state.builds.get(stack) else {
        return Vec::new();
    };
    let needed = |build: &KeptBuild| {
        let mut sources = state.sources.values();
        sources.any(|source| {
            let mut commits = source.commits.iter();
            commits.any(|seen| {
                let waits = matches!(seen.standing, Standing::Built { .. });
                waits
                    && source.then != Then::Keep
                    && comes_from(build, &source.name, &seen.commit.id)
            })
        })
    };
    let older = kept.values().rev().skip(KEPT_BUILDS);
    older
        .filter(|build| !needed(build))
        .map(|build| build.build.version.clone())
        .collect()
}

#[cfg(test)]
mod tests;
