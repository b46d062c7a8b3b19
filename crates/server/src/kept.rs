//! Builds that are made for themselves: `ward build`, and the commits of sources. They are kept, can be released in any
//! environment of their stack and can go through its pipelines; nothing is built again for that.
//!
//! Decision: what is built is kept by an event, in one transaction with what a source knows of its commit. The newest
//! are kept, and those that a source has still to release; the event of a new one says which it takes the place of.

use std::path::{Path, PathBuf};

use ward_plan::source::surplus;
use ward_store::Log;
use ward_types::event::{Event, State};
use ward_types::id::{EnvId, Name};
use ward_types::release::Build;
use ward_types::source::{BuildName, KeptBuild, Provenance};
use ward_types::spec::EnvSpec;
use ward_types::view::{BuildRequest, Held, KeptDeployRequest, Progress};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::clock::now;
use crate::control::Control;
use crate::deploy::{Steps, Stop, mistaken, say, stack_of, unreadable, warned_of, with_strategy};
use crate::making::Once;
use crate::pipelines::files_of;
use crate::promote::same_images;
use crate::recording::{Offer, Settled, Terms, next_build, provenance_of};
use crate::source;

/// What a build is made of, and for whom.
pub(crate) struct Wish<'a> {
    /// The folder of the stack file.
    pub(crate) dir: &'a Path,
    /// The environment whose declaration says how the images are made.
    pub(crate) env: &'a Name,
    pub(crate) provenance: Option<Box<Provenance>>,
    pub(crate) why: &'a str,
}

impl Control {
    /// Makes a build, and keeps it; tells how it goes, to the end.
    pub async fn build(self, actor: Actor, request: BuildRequest, steps: Steps) {
        let last = match self.built_for_itself(&actor, &request, &steps).await {
            Ok(build) => Progress::Built {
                build: Box::new(build),
            },
            Err(stop) => stop.word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    async fn built_for_itself(
        &self,
        actor: &Actor,
        request: &BuildRequest,
        steps: &Steps,
    ) -> Result<KeptBuild, Stop> {
        let dir = Path::new(&request.dir);
        let wish = |dir, provenance| Wish {
            dir,
            env: &request.env,
            provenance,
            why: &request.why,
        };
        let Some(rev) = &request.rev else {
            let provenance = provenance_of(dir).await;
            return self
                .kept_of(actor, wish(dir, provenance), |_| None, steps)
                .await;
        };
        let revision = ward_git::Revision::find(dir, rev).await;
        let revision = revision.map_err(|error| git_refusal(&error))?;
        say(steps, format!("{rev} is {}", revision.provenance)).await;
        let tree = Scratch::new(&self.0.home);
        let checked_out = revision.check_out(&tree.0).await;
        let dir = checked_out.map_err(|error| git_refusal(&error))?;
        let provenance = Some(Box::new(revision.provenance));
        self.kept_of(actor, wish(&dir, provenance), |_| None, steps)
            .await
    }

    /// Builds, and records the build together with what `also` says of it.
    pub(crate) async fn kept_of(
        &self,
        actor: &Actor,
        wish: Wish<'_>,
        also: impl Fn(&KeptBuild) -> Option<Event>,
        steps: &Steps,
    ) -> Result<KeptBuild, Stop> {
        let admitted = self.admit()?;
        let (file, text) = source::read(wish.dir).map_err(unreadable)?;
        let stack = stack_of(&file, &text)?;
        let spec = stack.resolve(wish.env);
        let spec = spec.map_err(|mistakes| mistaken(&file, &text, &mistakes))?;
        self.say_no_secret(&stack.name, &[], Some(&text)).await?;
        let building = self.0.builds.begin(&spec.id, actor, admitted);
        let once = Once::default();
        let made = tokio::select! {
            biased;
            end = building.ended() => Err(self.cut_off(&building, &spec.id, &end).into()),
            made = self.images_made(wish.dir, &spec, &building, &once, steps) => made,
        };
        let made = match made {
            Ok(made) => made,
            Err(stop) => {
                self.record_end(actor, wish.why, &spec.id, &stop).await;
                return Err(stop);
            }
        };
        let checks = files_of(wish.dir, stack.pipelines.values()).await?;
        let desk = self.desk_for(wish.why).await;
        let wanted = building.wanted();
        wanted.map_err(|end| self.cut_off(&building, &spec.id, &end))?;
        let deciding = self.decided(&desk, actor, wish.why, |state| {
            let kept = KeptBuild {
                stack: stack.name.clone(),
                env: wish.env.clone(),
                build: Build {
                    version: format!("{}.{}", spec.version, next_build(state, &spec.id)),
                    images: made.images.clone(),
                    stack_file: Some(text.clone()),
                    provenance: wish.provenance.clone(),
                },
                checks: checks.clone(),
                made: now(),
                by: actor.who.clone(),
            };
            let also = also(&kept);
            let known = also.is_none().then(|| same(state, &kept)).flatten();
            match known {
                Some(known) => Ok((known, Vec::new())),
                None => Ok((kept.clone(), recorded(state, kept, also))),
            }
        });
        let kept = deciding.await?;
        drop((building, made, desk));
        Ok(kept)
    }

    /// The builds of all stacks that are kept, the newest of each first.
    #[must_use]
    pub fn kept_builds(&self) -> Vec<KeptBuild> {
        let state = self.store().state();
        let stacks = state.builds.values();
        stacks
            .flat_map(|builds| builds.kept.values().rev().cloned())
            .collect()
    }

    /// The build that is named.
    ///
    /// # Errors
    /// When none is kept, or several stacks have one of that version.
    pub(crate) fn kept_build(&self, name: &BuildName) -> Result<KeptBuild, Refusal> {
        let all = self.kept_builds();
        let of_stack = |kept: &&KeptBuild| name.stack.as_ref().is_none_or(|s| *s == kept.stack);
        let fitting = all.iter().filter(of_stack);
        let fitting: Vec<&KeptBuild> = fitting
            .filter(|kept| kept.build.version == name.version)
            .collect();
        match fitting[..] {
            [only] => Ok(only.clone()),
            [] => Err(Refusal::new(
                RefusalKind::NotFound,
                format!("no build {name} is kept"),
            )
            .hint(
                "`ward build --list` lists them; what an environment runs is brought to another with `ward promote`",
            )),
            _ => {
                let stacks: Vec<String> =
                    fitting.iter().map(|k| format!("{}/{}", k.stack, name.version)).collect();
                let message = format!("several stacks have a build {name}");
                let hint = format!("name one of {}", stacks.join(", "));
                Err(Refusal::new(RefusalKind::Invalid, message).hint(hint))
            }
        }
    }

    /// Releases a build that is kept; tells how it goes, to the end.
    pub async fn deploy_kept(self, actor: Actor, request: KeptDeployRequest, steps: Steps) {
        let last = match self.kept_released(&actor, &request, &steps).await {
            Ok((env, settled)) => {
                let until = request.until;
                self.seen_through(&env, settled, until, &steps).await
            }
            Err(stop) => stop.word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    pub(crate) async fn kept_released(
        &self,
        actor: &Actor,
        request: &KeptDeployRequest,
        steps: &Steps,
    ) -> Result<(EnvId, Settled), Stop> {
        let _admitted = self.admit()?;
        // Nothing is collected until the release refers to the images, too.
        let _unrecorded = self.0.unrecorded.read().await;
        let kept = self.kept_build(&request.build)?;
        let mut offer = self.kept_offer(&kept, &request.env)?;
        with_strategy(&mut offer.spec, request.strategy.as_ref())?;
        self.releasable(&offer.spec, offer.origin.as_ref()).await?;
        self.images_at_hand(&offer).await?;
        let desk = self.desk_for(&request.why).await;
        let state = self.store().state();
        let made = (&kept.build, &kept.checks);
        self.by_its_pipeline(&state, made, &offer.spec.id, &named(&kept))?;
        let forced = self.told_anew(&offer.spec.id, offer.provenance.as_deref());
        let warned = self.permitted(actor, offer.as_offered(), None, forced)?;
        let terms = Terms {
            why: &request.why,
            unchanged: request.unchanged,
            others: request.others,
            rollback: Held::Superseded,
            made: None,
            stage_of: None,
            plan: None,
        };
        let settled = self.recorded(&desk, actor, terms, &offer).await?;
        drop(desk);
        let env = offer.spec.id;
        self.live(&env);
        warned_of(&warned, steps).await;
        Ok((env, settled))
    }

    fn kept_offer(&self, kept: &KeptBuild, env: &Name) -> Result<Offer, Stop> {
        let Build {
            version,
            images,
            stack_file,
            provenance,
        } = &kept.build;
        let (name, text) = (named(kept), stack_file.as_deref().unwrap_or_default());
        let (declared, _) = self.resolved_in(&name, text, &kept.env)?;
        let (spec, origin) = self.resolved_in(&name, text, env)?;
        let images = same_images(&declared, images, &spec)?;
        Ok(Offer {
            spec,
            images,
            stack_file: stack_file.clone(),
            provenance: provenance.clone(),
            origin,
            version: Some(version.clone()),
            promoted: None,
        })
    }
}

/// What a mistake in the stack file of a build is said to be in.
pub(crate) fn named(kept: &KeptBuild) -> String {
    format!("{} of {} {}", source::FILE, kept.stack, kept.build.version)
}

/// What the environment declares that a kept build was made for.
pub(crate) fn declared(kept: &KeptBuild, stack: &ward_stack::Stack) -> Result<EnvSpec, Stop> {
    let text = kept.build.stack_file.as_deref().unwrap_or_default();
    let spec = stack.resolve(&kept.env);
    spec.map_err(|mistakes| mistaken(&named(kept), text, &mistakes))
}

/// One that is kept and is the very same: then it need not be kept twice.
fn same(state: &State, kept: &KeptBuild) -> Option<KeptBuild> {
    let is_same = |other: &&KeptBuild| {
        let known = Build {
            version: kept.build.version.clone(),
            ..other.build.clone()
        };
        known == kept.build && other.env == kept.env && other.checks == kept.checks
    };
    let all = &state.builds.get(&kept.stack)?.kept;
    all.values().rev().find(is_same).cloned()
}

fn recorded(state: &State, kept: KeptBuild, also: Option<Event>) -> Vec<Event> {
    let stack = kept.stack.clone();
    let made = Event::BuildMade {
        build: Box::new(kept),
    };
    let events: Vec<Event> = [Some(made), also].into_iter().flatten().collect();
    let mut then = state.clone();
    for event in &events {
        // What does not fit is said by the log, which takes none of them then.
        let _ = then.apply(now(), event);
    }
    let dropped = surplus(&then, &stack).into_iter();
    let dropped = dropped.map(|version| Event::BuildDropped {
        stack: stack.clone(),
        version,
    });
    events.into_iter().chain(dropped).collect()
}

pub(crate) fn git_refusal(error: &ward_git::Error) -> Refusal {
    let kind = match error {
        ward_git::Error::Invalid { .. } => RefusalKind::Invalid,
        _ => RefusalKind::Failed,
    };
    Refusal {
        kind,
        message: format!("{}; nothing was changed", crate::actor::causes(error)),
        hint: error.hint(),
    }
}

/// A folder that is gone when nobody needs it any more.
struct Scratch(PathBuf);

impl Scratch {
    fn new(home: &Path) -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self(home.join(TREES).join(next.to_string()))
    }
}

/// Where revisions are checked out while they are built.
const TREES: &str = "trees";

/// Removes what a server before has left there.
pub(crate) fn clear(home: &Path) {
    let _ = ward_tree::remove(&home.join(TREES));
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = ward_tree::remove(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "a checkout is left");
        }
    }
}
