//! What a request to move comes to, and what of it is written into the log.
//!
//! Decision: a deploy of what serves changes nothing, whatever failed or was cancelled since. Where it would
//! make a copy of a release that is there, it moves to that one: to what serves, behind a deployment that
//! still leads elsewhere; after a purge, or where nothing has ever served, to the newest. A rollback holds
//! until somebody asks for something else: `ward up`, by which a server is started again too, is not that.

use std::collections::BTreeMap;
use std::path::Path;

use ward_plan::policy::Built;
use ward_types::event::{Event, State};
use ward_types::id::{DeploymentId, Digest, EnvId, Name, PipelineRunId, ReleaseId};
use ward_types::life::Origin;
use ward_types::pipeline::Reached;
use ward_types::release::{
    Build, Deployment, Environment, Goal, Phase, Promoted, Reason, Release, Verdict, is_named,
};
use ward_types::secrets::SecretName;
use ward_types::sleep::Alarm;
use ward_types::source::Provenance;
use ward_types::spec::EnvSpec;
use ward_types::time::Timestamp;
use ward_types::view::{DeployRequest, Held, Made, Others, Unchanged};

use crate::actor::{Actor, Refusal};
use crate::clock::now;
use crate::configuration::known_or_created;
use crate::control::{Control, Desk};
use crate::environments::over as over_already;
use crate::policing::Forced;
use crate::schedule;
use crate::secrets::{applied, missing_secrets};

/// What a release is to be made of.
pub(crate) struct Offer {
    pub(crate) spec: EnvSpec,
    pub(crate) images: BTreeMap<Name, Digest>,
    /// The text of the stack file; of builds that an older Ward made, none.
    pub(crate) stack_file: Option<String>,
    /// The commit that it was made of.
    pub(crate) provenance: Option<Box<Provenance>>,
    /// What the environment is a copy of.
    pub(crate) origin: Option<Origin>,
    /// The build that it is, where that has a version already, and where it was taken from.
    pub(crate) version: Option<String>,
    pub(crate) promoted: Option<Promoted>,
}

/// What is to be, what that is a copy of, and of which build.
pub(crate) type Offered<'a> = (&'a EnvSpec, Option<&'a Origin>, Built<'a>);

impl Offer {
    /// The same for those who judge it.
    pub(crate) fn as_offered(&self) -> Offered<'_> {
        (&self.spec, self.origin.as_ref(), self.built())
    }

    /// The build that it is.
    pub(crate) fn built(&self) -> Built<'_> {
        Built {
            images: Some(&self.images),
            stack_file: self.stack_file.as_deref(),
        }
    }
}

/// What a move to an offer depends on beside it.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) why: &'a str,
    pub(crate) unchanged: Unchanged,
    pub(crate) others: Others,
    pub(crate) rollback: Held,
    /// Where the environment is to be made by it.
    pub(crate) made: Option<Made>,
    /// The run of a pipeline that reaches a stage by it.
    pub(crate) stage_of: Option<PipelineRunId>,
    /// The plan that is carried out by it.
    pub(crate) plan: Option<&'a Digest>,
}

impl<'a> From<&'a DeployRequest> for Terms<'a> {
    fn from(request: &'a DeployRequest) -> Self {
        Self {
            why: &request.why,
            unchanged: request.unchanged,
            others: request.others,
            rollback: request.rollback,
            made: request.made,
            stage_of: None,
            plan: None,
        }
    }
}

/// A move that is asked for.
pub(crate) struct Wish {
    pub(crate) to: ReleaseId,
    pub(crate) reason: Reason,
    pub(crate) others: Others,
    /// Why it goes there even if the schema cannot take that.
    pub(crate) despite_schema: Option<String>,
    /// The plan that is carried out by it.
    pub(crate) plan: Option<Digest>,
}

/// A deployment that is in the log, and those that were cancelled for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) id: DeploymentId,
    /// The release that it leads to.
    pub(crate) to: ReleaseId,
    pub(crate) superseded: Vec<Deployment>,
}

/// What a deploy came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// To a new deployment.
    Queued(Queued),
    /// To one that somebody asked for before, and that has not ended.
    UnderWay(DeploymentId),
    /// To nothing: this release serves, and nothing leads elsewhere.
    Nothing(ReleaseId),
    /// To nothing: somebody rolled back to this release, and that holds.
    Held(ReleaseId),
}

/// The same, before it is written down.
#[derive(Debug, PartialEq, Eq)]
enum Course {
    New,
    To(ReleaseId, Reason),
    UnderWay(DeploymentId),
    Nothing(ReleaseId),
    Held(ReleaseId),
}

/// What a release should be.
struct Wanted<'a> {
    /// As the stack file declares it.
    declared: &'a EnvSpec,
    /// With the values that are set over it.
    spec: &'a EnvSpec,
    images: &'a BTreeMap<Name, Digest>,
    secrets: &'a BTreeMap<SecretName, u64>,
    provenance: Option<&'a Provenance>,
    /// As in [`Release`].
    named: Option<bool>,
}

impl Wanted<'_> {
    fn is(&self, release: &Release) -> bool {
        if settles(self.provenance, release)
            || is_named(self.named, self.spec) != release.is_named()
        {
            return false;
        }
        let same = release.spec == *self.spec && release.secrets == *self.secrets;
        same && release.build.images == *self.images && release.declared() == *self.declared
    }
}

impl Control {
    /// Whether what is declared could be released here, policies aside: each way to a release asks this, before anything
    /// is built.
    pub(crate) async fn releasable(
        &self,
        spec: &EnvSpec,
        origin: Option<&Origin>,
    ) -> Result<(), Refusal> {
        schedule::known(spec)?;
        self.possible(spec, origin)?;
        self.secrets_there(spec).await
    }

    /// The same of what a stack file says just now of environments of its stack, and of its text, where that is recorded
    /// with them; what is missing in any of them is told at once.
    pub(crate) async fn declarable(
        &self,
        stack: &Name,
        all: &[(&EnvSpec, Option<&Origin>)],
        text: Option<&str>,
    ) -> Result<(), Refusal> {
        let mut found = Vec::new();
        for (spec, origin) in all {
            found.extend(self.releasable(spec, *origin).await.err());
        }
        let specs: Vec<&EnvSpec> = all.iter().map(|(spec, _)| *spec).collect();
        found.extend(self.say_no_secret(stack, &specs, text).await.err());
        found.into_iter().reduce(Refusal::and).map_or(Ok(()), Err)
    }

    /// Whether a deploy makes a release of what serves already, beside where that is asked for: to tell its commit.
    pub(crate) fn told_anew(&self, env: &EnvId, provenance: Option<&Provenance>) -> Forced {
        let known = self.known(env);
        let serves = known.as_ref().and_then(Environment::current_release);
        match serves.is_some_and(|release| settles(provenance, release)) {
            true => Forced::Yes,
            false => Forced::No,
        }
    }

    /// Writes what a deploy of an offer comes to.
    pub(crate) async fn recorded(
        &self,
        desk: &Desk<'_>,
        actor: &Actor,
        terms: Terms<'_>,
        offer: &Offer,
    ) -> Result<Settled, Refusal> {
        let (spec, origin) = (&offer.spec, offer.origin.as_ref());
        let made = self.generated(spec).await?;
        let deciding = self.decided(desk, actor, terms.why, |state| {
            // Checked again: another environment may have been deployed while this one was built.
            self.possible(spec, origin)?;
            let known = state.environment(&spec.id);
            // A copy that is gone is not what was to be deployed to; one that the file declares is made again.
            let over = known.filter(|env| origin.is_some() || !env.is_deleted());
            if let Some(refusal) = over.and_then(over_already) {
                return Err(refusal);
            }
            self.can_be_made(terms.made, &spec.id)?;
            let until = made_until(terms.made);
            let (env, mut events) = known_or_created(state, &spec.id, until, (actor, terms.why));
            events.extend(made.iter().cloned());
            let env = applied(&env, &events);
            let (laid_over, _) = env.configuration.over(spec.clone());
            let secrets = env.secrets_for(&laid_over);
            let secrets = secrets.map_err(|missing| missing_secrets(&spec.id, spec, &missing))?;
            let wanted = Wanted {
                declared: spec,
                spec: &laid_over,
                images: &offer.images,
                secrets: &secrets,
                provenance: offer.provenance.as_deref(),
                named: named(&env, offer),
            };
            let nothing_new = |settled: Settled| {
                let reached = settled.reached(&env, terms.stage_of);
                // Whoever brings up what sleeps wants it awake.
                let woken = wakes(&env).into_iter();
                Ok((settled, woken.chain(reached).collect()))
            };
            let (to, reason) = match course(&env, terms, &wanted) {
                Course::Nothing(release) => return nothing_new(Settled::Nothing(release)),
                Course::Held(release) => return nothing_new(Settled::Held(release)),
                Course::UnderWay(id) => return nothing_new(Settled::UnderWay(id)),
                Course::To(release, reason) => (release, reason),
                Course::New => {
                    let release = release(state, &env, actor, offer);
                    let to = release.id;
                    events.push(Event::ReleaseRecorded {
                        env: spec.id.clone(),
                        release: Box::new(release),
                    });
                    (to, Reason::Deploy)
                }
            };
            let others = terms.others;
            let wish = Wish {
                to,
                reason,
                others,
                despite_schema: None,
                plan: terms.plan.cloned(),
            };
            let (queued, mut events) = wish.events(&env, actor, events);
            let settled = Settled::Queued(queued);
            events.extend(settled.reached(&env, terms.stage_of));
            Ok((settled, events))
        });
        deciding.await
    }
}

impl Settled {
    /// That a run of a pipeline has come to this environment by it.
    fn reached(&self, env: &Environment, run: Option<PipelineRunId>) -> Option<Event> {
        let run = run?;
        let (deployment, queued) = match self {
            Settled::Nothing(_) | Settled::Held(_) => (None, false),
            Settled::UnderWay(id) => (Some(*id), false),
            Settled::Queued(queued) => (Some(queued.id), true),
        };
        Some(Event::PipelineReached {
            env: env.id.clone(),
            run,
            reached: Reached {
                release: self.release(env)?,
                deployment,
                queued,
            },
        })
    }

    /// The release that serves by it, or will.
    pub(crate) fn release(&self, env: &Environment) -> Option<ReleaseId> {
        match self {
            Settled::Nothing(release) | Settled::Held(release) => Some(*release),
            Settled::UnderWay(id) => Some(env.deployments.get(id)?.to),
            Settled::Queued(queued) => Some(queued.to),
        }
    }
}

impl Wish {
    /// The events by which an environment shall move, behind those that make it possible.
    pub(crate) fn events(
        &self,
        env: &Environment,
        actor: &Actor,
        mut events: Vec<Event>,
    ) -> (Queued, Vec<Event>) {
        if env.goal != Goal::Up {
            events.push(Event::GoalChanged {
                env: env.id.clone(),
                goal: Goal::Up,
            });
        }
        let superseded = match self.others {
            Others::Cancel => uncancelled(env),
            Others::Wait => Vec::new(),
        };
        events.extend(cancellations(&env.id, &superseded, actor));
        let deployment = self.deployment(env, actor);
        let (id, to) = (deployment.id, deployment.to);
        events.push(Event::DeploymentQueued {
            env: env.id.clone(),
            deployment: Box::new(deployment),
        });
        (Queued { id, to, superseded }, events)
    }

    fn deployment(&self, env: &Environment, actor: &Actor) -> Deployment {
        Deployment {
            id: env.next_deployment(),
            reason: self.reason,
            from: env.current,
            to: self.to,
            requested: now(),
            started: None,
            phase_since: now(),
            by: actor.who.clone(),
            paused: None,
            resumed: None,
            promoted: 0,
            served: None,
            cancelled: None,
            plan: self.plan.clone(),
            gaps: Vec::new(),
            despite_schema: self.despite_schema.clone(),
            phase: Phase::Queued,
        }
    }
}

/// That deployments are cancelled, by whom.
pub(crate) fn cancellations(
    env: &EnvId,
    deployments: &[Deployment],
    actor: &Actor,
) -> impl Iterator<Item = Event> {
    deployments.iter().map(|one| Event::DeploymentCancelled {
        env: env.clone(),
        deployment: one.id,
        by: actor.who.clone(),
    })
}

fn course(env: &Environment, terms: Terms<'_>, wanted: &Wanted<'_>) -> Course {
    if let (Some(held), Held::Kept) = (rolled_back_to(env), terms.rollback) {
        return match env.goal {
            Goal::Up => Course::Held(held),
            Goal::Down | Goal::Purged => Course::To(held, Reason::Up),
        };
    }
    if let Some(last) = on_its_way(env, terms, wanted) {
        return Course::UnderWay(last);
    }
    let newest = || env.releases.values().next_back();
    let known = env.current_release().or_else(newest);
    let same = known.filter(|release| wanted.is(release));
    let (Some(same), Unchanged::Keep) = (same, terms.unchanged) else {
        return Course::New;
    };
    let (id, serves) = (same.id, env.current == Some(same.id));
    let mut unfinished = env.deployments.values().rev().filter(|d| !is_over(d));
    match (env.goal, serves, unfinished.next()) {
        (Goal::Down | Goal::Purged, true, _) => Course::To(id, Reason::Up),
        (Goal::Up, true, None) => Course::Nothing(id),
        (Goal::Up, _, Some(last)) if joins(terms, last, id) => Course::UnderWay(last.id),
        // What leads elsewhere is taken back: the release commands of what serves have run.
        (Goal::Up, true, Some(last)) if last.to < id => Course::To(id, Reason::Rollforward),
        (Goal::Up, true, Some(_)) => Course::To(id, Reason::Rollback),
        (_, false, _) => Course::To(id, Reason::Deploy),
    }
}

/// The deployment that was asked for last, where it brings the very same and goes on with it. One that goes back to it is
/// another wish: it holds against what is brought up later.
fn on_its_way(env: &Environment, terms: Terms<'_>, wanted: &Wanted<'_>) -> Option<DeploymentId> {
    let last = env
        .deployments
        .values()
        .next_back()
        .filter(|d| !is_over(d))?;
    let brings = last.reason != Reason::Rollback;
    let same = env.releases.get(&last.to).is_some_and(|to| wanted.is(to));
    let asked = env.goal == Goal::Up && terms.unchanged == Unchanged::Keep;
    (asked && brings && same && joins(terms, last, last.to)).then_some(last.id)
}

/// Whether a release of the same would tell the commit that holds all of it, which this one cannot.
fn settles(provenance: Option<&Provenance>, release: &Release) -> bool {
    let before = release.build.provenance.as_deref();
    provenance.is_some_and(|provenance| provenance.settles(before))
}

fn wakes(env: &Environment) -> Vec<Event> {
    let woken = |_| Event::EnvironmentWoken {
        env: env.id.clone(),
        by: Alarm::Asked,
    };
    env.asleep().map(woken).into_iter().collect()
}

fn made_until(made: Option<Made>) -> Option<Timestamp> {
    let ttl = made.and_then(|made| made.ttl);
    ttl.map(|ttl| now() + ttl)
}

/// The release that serves because somebody rolled back to it, and nothing was asked for since but other values for the
/// same build.
pub(crate) fn rolled_back_to(env: &Environment) -> Option<ReleaseId> {
    let build = |release: ReleaseId| env.releases.get(&release).map(|r| &r.build);
    let same_build = |d: &Deployment| {
        let builds = d.from.and_then(build).zip(build(d.to));
        d.reason == Reason::Deploy && builds.is_some_and(|(from, to)| from == to)
    };
    let moved = |d: &&Deployment| d.reason != Reason::Up && !same_build(d);
    let last = env.deployments.values().rev().find(moved)?;
    let succeeded = Verdict::Succeeded;
    let ended = matches!(last.phase, Phase::Finished { verdict, .. } if verdict == succeeded);
    let serves = env.current_release()?;
    let holds = ended
        && last.reason == Reason::Rollback
        && (serves.id == last.to || Some(&serves.build) == build(last.to));
    holds.then_some(serves.id)
}

fn joins(terms: Terms<'_>, last: &Deployment, to: ReleaseId) -> bool {
    last.to == to && goes_on(last) && terms.others == Others::Wait
}

/// Whether a deployment has not ended, and nothing takes it back.
pub(crate) fn goes_on(deployment: &Deployment) -> bool {
    let back = matches!(deployment.phase, Phase::Reverting { .. });
    !back && !is_over(deployment) && deployment.cancelled.is_none()
}

pub(crate) fn is_over(deployment: &Deployment) -> bool {
    matches!(deployment.phase, Phase::Finished { .. })
}

/// The deployments that have not ended, and that nobody has cancelled yet.
fn uncancelled(env: &Environment) -> Vec<Deployment> {
    let all = env.deployments.values();
    let all = all.filter(|d| !is_over(d) && d.cancelled.is_none());
    all.cloned().collect()
}

/// The release that would be recorded next. A secret that is still to be made is in it with the version that it gets.
pub(crate) fn release(state: &State, env: &Environment, actor: &Actor, offer: &Offer) -> Release {
    let (spec, config) = env.configuration.over(offer.spec.clone());
    let own = || format!("{}.{}", spec.version, next_build(state, &env.id));
    Release {
        id: env.next_release(),
        build: Build {
            version: offer.version.clone().unwrap_or_else(own),
            images: offer.images.clone(),
            stack_file: offer.stack_file.clone(),
            provenance: offer.provenance.clone(),
        },
        config,
        secrets: env.secrets_planned(&spec),
        spec,
        recorded: now(),
        by: actor.who.clone(),
        promoted: offer.promoted.clone(),
        named: named(env, offer),
    }
}

/// Whether what began as a copy is declared by the stack file of what is offered.
fn named(env: &Environment, offer: &Offer) -> Option<bool> {
    let began_as_one = env.life.origin.is_some() && !env.is_deleted();
    began_as_one.then_some(offer.origin.is_none())
}

/// The commit that a folder is at, before anything is built in it: a build may write there.
pub(crate) async fn provenance_of(dir: &Path) -> Option<Box<Provenance>> {
    ward_git::provenance(dir).await.map(Box::new)
}

/// Counted for the whole stack: a build keeps its version when it is promoted, and no other has the same.
pub(crate) fn next_build(state: &State, env: &EnvId) -> u64 {
    let environments = state.environments.values();
    let of_stack = environments.filter(|other| other.id.stack() == env.stack());
    let released = of_stack.map(|other| other.builds).max().unwrap_or(0);
    let kept = state.builds.get(&env.stack()).map_or(0, |kept| kept.last);
    released.max(kept) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(env: &str) -> EnvId {
        EnvId::parse(env).unwrap()
    }

    /// The first stage of a pipeline may refuse it before any release has it.
    #[test]
    fn no_build_gets_the_number_of_one_that_a_pipeline_began_with() {
        let began = r#"{"kind":"pipeline_began","env":"shop/dev","run":{"id":1,"stack":"shop","pipeline":"delivery",
            "stages":[{"env":"dev"}],"author":"anna","began":1,"dir":"/src","since":1,
            "build":{"version":"1.0.5","images":{}},"position":{"at":"deploying","stage":0}}}"#;
        let mut state = State::default();
        let mut apply = |event: &Event| state.apply(Timestamp(1), event).map(drop).unwrap();
        apply(&Event::created(id("shop/dev")));
        apply(&serde_json::from_str(began).unwrap());
        assert_eq!(next_build(&state, &id("shop/dev")), 6);
        assert_eq!(next_build(&state, &id("shop/qa")), 6);
        assert_eq!(next_build(&state, &id("other/dev")), 1);
        // Also when nobody remembers the run any more.
        state.pipelines.clear();
        assert_eq!(next_build(&state, &id("shop/dev")), 6);
    }
}
