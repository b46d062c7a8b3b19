//! The fold of what is kept beside environments: builds without a release, and sources with their commits.

use super::Event;
use super::state::{MisfitEvent, State};
use crate::id::Name;
use crate::source::{KNOWN_COMMITS, KeptBuild, Seen, Source, Standing, number};

impl Event {
    /// Whether it is about builds that are kept for themselves, or about sources.
    pub(super) fn is_of_sources(&self) -> bool {
        matches!(
            self,
            Event::BuildMade { .. }
                | Event::BuildDropped { .. }
                | Event::SourceAdded { .. }
                | Event::SourceTokenSet { .. }
                | Event::SourceRemoved { .. }
                | Event::CommitSeen { .. }
                | Event::CommitMoved { .. }
        )
    }
}

impl State {
    pub(super) fn apply_to_sources(&mut self, event: &Event) -> Result<(), MisfitEvent> {
        match event {
            Event::BuildMade { build } => self.build_made(build),
            Event::BuildDropped { stack, version } => self.build_dropped(stack, version),
            Event::SourceAdded { source } => match self.sources.contains_key(&source.name) {
                true => Err(MisfitEvent::SourceThere(source.name.clone())),
                false => {
                    self.sources.insert(source.name.clone(), (**source).clone());
                    Ok(())
                }
            },
            Event::SourceTokenSet { source, login } => {
                self.source_mut(source)?.login = Some(login.clone());
                Ok(())
            }
            Event::SourceRemoved { source } => match self.sources.remove(source) {
                Some(_) => Ok(()),
                None => Err(MisfitEvent::NoSource(source.clone())),
            },
            Event::CommitSeen { source, seen } => self.source_mut(source)?.sees(seen),
            Event::CommitMoved {
                source,
                commit,
                standing,
            } => {
                let known = self.source_mut(source)?;
                let mut commits = known.commits.iter_mut();
                let seen = commits.find(|seen| seen.commit.id == *commit);
                let seen = seen.ok_or_else(|| {
                    MisfitEvent::NoCommit(source.clone(), commit.short().to_owned())
                })?;
                seen.standing = standing.clone();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn source_mut(&mut self, name: &Name) -> Result<&mut Source, MisfitEvent> {
        let source = self.sources.get_mut(name);
        source.ok_or_else(|| MisfitEvent::NoSource(name.clone()))
    }

    fn build_made(&mut self, build: &KeptBuild) -> Result<(), MisfitEvent> {
        let version = &build.build.version;
        let misfit = || MisfitEvent::NoBuild(build.stack.clone(), version.clone());
        let number = number(version).ok_or_else(misfit)?;
        let builds = self.builds.entry(build.stack.clone()).or_default();
        if builds.kept.contains_key(&number) {
            return Err(misfit());
        }
        builds.last = builds.last.max(number);
        builds.kept.insert(number, build.clone());
        Ok(())
    }

    fn build_dropped(&mut self, stack: &Name, version: &str) -> Result<(), MisfitEvent> {
        let number = number(version);
        let builds = self.builds.get_mut(stack);
        let dropped = builds.and_then(|builds| builds.kept.remove(&number?));
        match dropped {
            Some(_) => Ok(()),
            None => Err(MisfitEvent::NoBuild(stack.clone(), version.to_owned())),
        }
    }
}

impl Source {
    fn sees(&mut self, seen: &Seen) -> Result<(), MisfitEvent> {
        let id = &seen.commit.id;
        if self.seen(id).is_some() {
            return Err(MisfitEvent::NoCommit(
                self.name.clone(),
                id.short().to_owned(),
            ));
        }
        self.commits.push(seen.clone());
        let surplus = self.commits.len().saturating_sub(KNOWN_COMMITS);
        let over = |seen: &Seen| {
            let Seen { standing, .. } = seen;
            !matches!(standing, Standing::Waiting | Standing::Built { .. })
        };
        let mut left = surplus;
        self.commits.retain(|seen| {
            let goes = left > 0 && over(seen);
            left -= usize::from(goes);
            !goes
        });
        Ok(())
    }
}
