//! What is done for one commit: it is checked out, built, released, and what became of it is written down.

use std::path::PathBuf;

use ward_plan::source::kept;
use ward_store::Log;
use ward_types::event::Event;
use ward_types::id::{EnvId, Name};
use ward_types::source::{
    BuildName, CommitId, KeptBuild, Provenance, Seen, Source, Standing, Then, Tree,
};
use ward_types::text::steers;
use ward_types::view::{KeptDeployRequest, Others, PipelineRequest, Unchanged, Until};

use super::no_source;
use super::place::{Folder, repository};
use crate::actor::{Actor, Refusal};
use crate::control::Control;
use crate::deploy::{Steps, Stop, unreadable};
use crate::kept::{Wish, git_refusal};
use crate::policing::{Forced, unmade};
use crate::recording::Settled;
use crate::source as stack_file;

/// Whether a commit's folder may be one that was there.
#[derive(Debug, Clone, Copy)]
enum Checkout {
    Anew,
    Kept,
}

impl Control {
    pub(super) async fn commit_moved(
        &self,
        source: &Source,
        id: &CommitId,
        standing: &Standing,
    ) -> Result<(), Refusal> {
        let event = moved(&source.name, id, standing.clone());
        let actor = Actor::source(&source.name);
        self.append(&actor, "", vec![event]).await.map(drop)
    }

    /// The folder of the stack file of a commit, checked out: for a build anew, because one before may have written
    /// there.
    async fn checked_out(
        &self,
        source: &Source,
        id: &CommitId,
        tree: Checkout,
    ) -> Result<PathBuf, Refusal> {
        let folder = Folder::of(&self.0.home, &source.name);
        let into = folder.commit(id);
        let repository = folder.repository();
        let checked_out = match tree {
            Checkout::Anew => repository.check_out_anew(id, &into).await,
            Checkout::Kept => repository.check_out(id, &into).await,
        };
        checked_out.map_err(|error| git_refusal(&error))?;
        Ok(match source.folder.is_empty() {
            true => into,
            false => into.join(&source.folder),
        })
    }

    pub(super) async fn commit_built(
        &self,
        source: &Source,
        id: &CommitId,
        steps: &Steps,
    ) -> Result<(), Stop> {
        let seen = source.seen(id).ok_or_else(|| no_source(&source.name))?;
        let dir = self.checked_out(source, id, Checkout::Anew).await?;
        let author = Actor {
            who: seen.by.clone(),
        };
        // Before a build, so that nobody waits for one in vain.
        let env = match &source.then {
            Then::Keep => Name::parse(ward_stack::DEFAULT_ENVIRONMENT)
                .map_err(|error| Refusal::failed("no environment has this name", &error))?,
            Then::Pipeline(pipeline) => {
                let (file, text) = stack_file::read(&dir).map_err(unreadable)?;
                self.can_begin(&file, &text, pipeline).await?
            }
            Then::Deploy(env) => {
                let (spec, origin, text) = self.wanted(&dir, env, None).await?;
                let offered = (&spec, origin.as_ref(), unmade(&text));
                self.permitted(&author, offered, Some(&dir), Forced::No)?;
                env.clone()
            }
        };
        let provenance = Provenance {
            repository: repository(&self.0.home, source),
            commit: seen.commit.clone(),
            tree: Tree::AsCommitted,
            source: Some(source.name.clone()),
        };
        let wish = Wish {
            dir: &dir,
            env: &env,
            provenance: Some(Box::new(provenance)),
            why: &because(source, seen),
        };
        let built = |kept: &KeptBuild| {
            let version = kept.build.version.clone();
            Some(moved(&source.name, id, Standing::Built { version }))
        };
        self.kept_of(&author, wish, built, steps).await?;
        Ok(())
    }

    pub(super) async fn commit_released(
        &self,
        source: &Source,
        id: &CommitId,
        steps: &Steps,
    ) -> Result<(), Stop> {
        let state = self.store().state();
        let seen = source.seen(id).ok_or_else(|| no_source(&source.name))?;
        let Some(build) = kept(&state, &source.name, id) else {
            return Ok(()); // It is moved for that at the next turn.
        };
        let author = Actor {
            who: seen.by.clone(),
        };
        let version = build.build.version.clone();
        let name = BuildName {
            stack: Some(build.stack.clone()),
            version: version.clone(),
        };
        let why = because(source, seen);
        match &source.then {
            Then::Keep => Ok(()),
            Then::Pipeline(pipeline) => {
                let dir = self.checked_out(source, id, Checkout::Kept).await?;
                let request = PipelineRequest {
                    dir: dir.display().to_string(),
                    pipeline: pipeline.clone(),
                    build: Some(name),
                    why,
                    until: Until::Queued,
                };
                let began = |run: &ward_types::pipeline::Run| {
                    let (version, run) = (version.clone(), run.id);
                    Some(moved(&source.name, id, Standing::Began { version, run }))
                };
                let run = self.begun_with(&author, &request, build, began).await?;
                tokio::spawn(self.clone().conduct(run));
                Ok(())
            }
            Then::Deploy(env) => {
                let request = KeptDeployRequest {
                    build: name,
                    env: env.clone(),
                    why,
                    unchanged: Unchanged::Keep,
                    others: Others::Wait,
                    until: Until::Queued,
                    strategy: None,
                };
                let (env, settled) = self.kept_released(&author, &request, steps).await?;
                let standing = self.deployed(&env, version, &settled)?;
                Ok(self.commit_moved(source, id, &standing).await?)
            }
        }
    }

    fn deployed(
        &self,
        env: &EnvId,
        version: String,
        settled: &Settled,
    ) -> Result<Standing, Refusal> {
        let known = self.known(env);
        let to = |id| Some(known.as_ref()?.deployments.get(&id)?.to);
        let (release, deployment) = match settled {
            Settled::Nothing(release) | Settled::Held(release) => (Some(*release), None),
            Settled::UnderWay(id) => (to(*id), Some(*id)),
            Settled::Queued(queued) => (to(queued.id), Some(queued.id)),
        };
        let release = release.ok_or_else(|| {
            let kind = crate::actor::RefusalKind::Failed;
            Refusal::new(kind, format!("{env} has not got its release"))
        })?;
        Ok(Standing::Deployed {
            version,
            release,
            deployment,
        })
    }
}

fn moved(source: &Name, commit: &CommitId, standing: Standing) -> Event {
    Event::CommitMoved {
        source: source.clone(),
        commit: commit.clone(),
        standing,
    }
}

/// Why a build or a release is made, for the log.
fn because(source: &Source, seen: &Seen) -> String {
    let (name, id) = (&source.name, seen.commit.id.short());
    // An older Ward let more of it through than a reason may have.
    let subject = seen.commit.subject.replace(steers, " ");
    format!("{id} of the source {name}: {subject}")
}
