//! `ward plan`: what a deploy would change, without changing it; and `ward deploy --plan`, which changes exactly that.
//!
//! A plan goes the way of a deploy (`deploy`) up to where that would record something: the same stack file, the same
//! images, the same policy. What is kept is an immutable value with a parent: the release that served. It is carried
//! out only where that still serves.

use std::path::PathBuf;

use ward_plan::changes::{Between, changes, cost_change, set_aside, steps as planned_steps};
use ward_plan::policy::Built;
use ward_store::Log;
use ward_types::changes::{
    CarryOutRequest, Change, Drift, EnvDiffView, FORMAT, Keep, Outcome, PlanRequest, PlanView,
    Side, Summary,
};
use ward_types::event::Event;
use ward_types::id::{EnvId, Name};
use ward_types::keeper::InstanceState;
use ward_types::life::Origin;
use ward_types::policy::{PolicyOutcome, Rule};
use ward_types::release::{Environment, Goal, Phase, Release};
use ward_types::spec::EnvSpec;
use ward_types::view::{ComponentView, Held, Others, Progress, Unchanged};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::clock::now;
use crate::control::{Control, Duty};
use crate::deploy::{Steps, Stop, ended_builds, say, warned_of};
use crate::making::Once;
use crate::plans::{Basis, Document, Plans};
use crate::policing;
use crate::recording::{self, Offer, Settled, Terms, is_over, provenance_of};

/// How many ends of instances a plan names.
const MOST_ENDS: usize = 5;

impl Control {
    /// Says what a deploy would change. Nothing is recorded.
    pub async fn plan(self, actor: Actor, request: PlanRequest, steps: Steps) {
        let last = match self.planned(&actor, &request, &steps).await {
            Ok(progress) => progress,
            Err(stop) => stop.word(),
        };
        let _ = steps.send(last).await;
    }

    async fn planned(
        &self,
        actor: &Actor,
        request: &PlanRequest,
        steps: &Steps,
    ) -> Result<Progress, Stop> {
        let admitted = self.admit()?;
        let dir = PathBuf::from(&request.dir);
        let provenance = provenance_of(&dir).await;
        let (spec, origin, stack_file) = self
            .wanted(&dir, &request.env, request.strategy.as_ref())
            .await?;
        let building = self.0.builds.begin(&spec.id, actor, admitted);
        let once = Once::default();
        let made = tokio::select! {
            biased;
            end = building.ended() => {
                let message = format!("the plan was not made {}", end.because(&spec.id));
                Err(Refusal::new(RefusalKind::Conflict, message).into())
            }
            made = self.images_made(&dir, &spec, &building, &once, steps) => made,
        }?;
        let known = self.known(&spec.id);
        let env = known.unwrap_or_else(|| Environment::new(spec.id.clone()));
        let offer = Offer {
            spec,
            images: made.images.clone(),
            stack_file: Some(stack_file),
            provenance,
            origin,
            version: None,
            promoted: None,
        };
        let to = recording::release(&self.store().state(), &env, actor, &offer);
        let origin = offer.origin;
        self.look_at_files(Some(&env.id)).await;
        let (mut view, rendered) = self.seen_plan(&env, &to, &dir)?;
        let file = match request.keep {
            Keep::No => None,
            Keep::Yes => {
                let (file, kept) = self.kept(actor, &env, (to, origin), &view)?;
                view.kept = Some(kept);
                Some(file)
            }
        };
        drop((made, building));
        let plan = Box::new(view);
        Ok(Progress::Planned {
            plan,
            rendered,
            file,
        })
    }

    fn seen_plan(
        &self,
        env: &Environment,
        to: &Release,
        dir: &std::path::Path,
    ) -> Result<(PlanView, String), Refusal> {
        let from = env.current_release();
        let mut changes = changes(Between::Releases, from, Some(to));
        self.digested(&mut changes, &env.id, &env.id)?;
        let nothing = changes.is_empty() && env.goal == Goal::Up;
        let mut violations = match changes.is_empty() {
            true => Vec::new(),
            false => self.violations(to, &changes, Built::from(&to.build))?,
        };
        let rendered = policing::rendered(Some(dir), &to.spec, &mut violations);
        let mut notes: Vec<String> = notes(env).into_iter().chain(made_of(to)).collect();
        notes.extend(self.unobserved());
        let mut refused = Vec::new();
        if !changes.is_empty() {
            notes.extend(loosened(env, to));
            notes.extend(self.links_noted(from, &to.spec, &violations));
            refused = self.refused(from, &to.spec);
            notes.extend(
                refused
                    .iter()
                    .map(|why| format!("a deploy is refused: {why}")),
            );
        }
        let policy = PolicyOutcome { violations };
        let steps = match nothing {
            true => Vec::new(),
            false => planned_steps(env, from.filter(|_| env.goal == Goal::Up), to),
        };
        let outcome = match (nothing, policy.denied().next()) {
            (true, _) => Outcome::Nothing,
            (false, Some(_)) => Outcome::Forbidden,
            (false, None) if !refused.is_empty() => Outcome::Refused,
            (false, None) => Outcome::Changes,
        };
        let view = PlanView {
            format: FORMAT,
            env: env.id.clone(),
            outcome,
            from: from.map(side),
            to: match from.filter(|_| changes.is_empty()) {
                Some(same) => side(same),
                None => Side {
                    release: None,
                    version: to.build.version.clone(),
                },
            },
            summary: Summary::of(&changes, &steps),
            changes,
            steps,
            cost: cost_change(from, Some(to)),
            drift: self.drift(env),
            policy,
            notes,
            kept: None,
        };
        Ok((view, rendered))
    }

    /// What a deploy is refused for beside the policy, each in a sentence without a full stop: as [`Control::permitted`] asks.
    fn refused(&self, from: Option<&Release>, spec: &EnvSpec) -> Vec<String> {
        let links = self.links_lead(from, spec).map(drop);
        let all = [self.volumes_fit(spec), links].into_iter();
        let refusals = all.filter_map(Result::err);
        let words = |refusal: Refusal| {
            let message = refusal.message.trim_end_matches("; nothing was changed");
            match refusal.hint {
                Some(hint) => format!("{message} ({hint})"),
                None => message.to_owned(),
            }
        };
        refusals.map(words).collect()
    }

    /// Until it is kept, whoever made its images holds them; from then on they are the kept plan's.
    fn kept(
        &self,
        actor: &Actor,
        env: &Environment,
        (release, origin): (Release, Option<Origin>),
        view: &PlanView,
    ) -> Result<(String, ward_types::changes::KeptPlan), Refusal> {
        let plans = Plans::of(&self.0.home);
        let failed = |error: std::io::Error| Refusal::failed("the plan cannot be kept", &error);
        let made = now();
        let document = Document {
            ward: plans.ward().map_err(failed)?,
            made,
            valid_until: Plans::valid_until(made),
            by: actor.who.clone(),
            basis: basis(env),
            origin,
            release,
            view: view.clone(),
        };
        plans.keep(&document).map_err(failed)
    }

    /// What nobody could look at.
    fn unobserved(&self) -> Option<String> {
        let reads = self.0.duty == Duty::Reads;
        let note = "no platform runs, and none was started: this is from the state folder alone; `ward deploy` starts one";
        reads.then(|| note.to_owned())
    }

    /// What other hands changed: what runs beside what should, and what ended since the last deployment. Of what sleeps
    /// nothing should run.
    fn drift(&self, env: &Environment) -> Vec<Drift> {
        if self.0.duty == Duty::Reads
            || env.goal != Goal::Up
            || env.active().is_some()
            || env.current.is_none()
            || env.sleep.asleep.is_some()
        {
            return Vec::new();
        }
        let components = self.environment_view(env).components;
        let missing = components.iter().filter_map(missing);
        let drifted = components.iter().flat_map(drifted);
        let ends = self.ends(env, &components);
        missing.chain(drifted).chain(ends).collect()
    }

    fn ends(&self, env: &Environment, components: &[ComponentView]) -> Vec<Drift> {
        let finished = env.deployments.values().filter_map(|d| match d.phase {
            Phase::Finished { at, .. } => Some(at),
            _ => None,
        });
        let since = finished.max().unwrap_or_default();
        let records = self.events(None, Some(&env.id), 500).unwrap_or_default();
        let mut ends: Vec<Drift> = records
            .into_iter()
            .filter(|record| record.at >= since)
            .filter_map(|record| {
                let (instance, how) = match record.event {
                    Event::InstanceEnded { instance, how, .. } => (instance, how),
                    Event::InstanceGivenUp {
                        instance, because, ..
                    } => (instance, format!("{because}; it was given up")),
                    _ => return None,
                };
                let component = instance.service()?;
                let now = components.iter().find(|c| c.name == component);
                // What is said of it as it runs need not be said twice.
                let runs = now.is_some_and(|c| {
                    let mut drifted = c.instances.iter().filter(|i| i.drift.is_some());
                    drifted.any(|i| i.id == instance)
                });
                let whole = |c: &ComponentView| missing(c).is_none() && drifted(c).is_empty();
                (!runs).then(|| Drift {
                    put_right: now.is_some_and(whole),
                    text: format!("{instance} {how} on {}", record.at),
                    component,
                })
            })
            .collect();
        ends.drain(..ends.len().saturating_sub(MOST_ENDS));
        ends
    }

    /// Carries a plan out, and nothing else.
    pub async fn carry_out(self, actor: Actor, request: CarryOutRequest, steps: Steps) {
        let last = match self.carried_out(&actor, &request, &steps).await {
            Ok((env, settled)) => {
                self.seen_through(&env, settled, request.until, &steps)
                    .await
            }
            Err(stop) => stop.word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    async fn carried_out(
        &self,
        actor: &Actor,
        request: &CarryOutRequest,
        steps: &Steps,
    ) -> Result<(EnvId, Settled), Stop> {
        let admitted = self.admit()?;
        let plan = Plans::of(&self.0.home).read(&request.file, request.env.as_ref())?;
        let digest = Plans::named(&request.file);
        // What is set is laid over it again where it is recorded, and is what it was: see `stands`.
        let declared = plan.release.declared();
        let (spec, images) = (&declared, &plan.release.build.images);
        let id = spec.id.clone();
        self.stands(&plan, request.others)?;
        self.releasable(spec, plan.origin.as_ref()).await?;
        let building = self.0.builds.begin(&id, actor, admitted);
        if request.others == Others::Cancel {
            let desk = self.desk().await;
            let over = building.supersede(actor);
            drop(desk);
            ended_builds(&over, "superseded", steps).await;
        }
        building.turn().await;
        let unrecorded = self.0.unrecorded.read().await;
        self.unpacked(&id, images, &building, steps).await?;
        say(
            steps,
            format!("the plan of {} by {} holds", plan.made, plan.by),
        )
        .await;
        let desk = self.desk_for(&request.why).await;
        building.wanted().map_err(|end| {
            let message = format!("the plan was not carried out {}", end.because(&id));
            Refusal::new(RefusalKind::Conflict, message)
        })?;
        // Again, where nobody else decides: the world may have moved while its images were unpacked.
        self.stands(&plan, request.others)?;
        let warned = self.permitted(
            actor,
            (spec, plan.origin.as_ref(), Built::from(&plan.release.build)),
            None,
            self.told_anew(&id, plan.release.build.provenance.as_deref()),
        )?;
        let terms = Terms {
            why: &request.why,
            unchanged: Unchanged::Keep,
            others: request.others,
            rollback: Held::Superseded,
            made: None,
            stage_of: None,
            plan: digest.as_ref(),
        };
        let offer = Offer {
            spec: spec.clone(),
            images: images.clone(),
            stack_file: plan.release.build.stack_file.clone(),
            provenance: plan.release.build.provenance.clone(),
            origin: plan.origin.clone(),
            version: None,
            promoted: None,
        };
        let settled = self.recorded(&desk, actor, terms, &offer).await?;
        drop((building, unrecorded, desk));
        self.live(&id);
        warned_of(&warned, steps).await;
        Ok((id, settled))
    }

    /// Whether a plan still starts from what is there. What it leads to may serve already.
    fn stands(&self, plan: &Document, others: Others) -> Result<(), Stop> {
        let id = &plan.view.env;
        let known = self.known(id);
        let env = known.unwrap_or_else(|| Environment::new(id.clone()));
        let (parent, current) = (plan.basis.parent.as_ref(), env.current_release());
        let is_target = |release: &Release| {
            let images = release.build.images == plan.release.build.images;
            images && is_set_alike(release, &plan.release)
        };
        if env.goal == Goal::Up && current.is_some_and(is_target) {
            return Ok(());
        }
        let moved = |message: String, mut changes: Vec<Change>| {
            self.digested(&mut changes, id, id)?;
            Err(Stop::Word(Box::new(Progress::Moved {
                message: format!("the plan was not carried out: {message}"),
                hint: "`ward plan --out FILE` makes a new one from what serves now".to_owned(),
                changes,
            })))
        };
        let name = |release: Option<&Release>| match release {
            Some(release) => format!("{} ({})", release.id, release.build.version),
            None => "nothing".to_owned(),
        };
        if parent != current {
            let message = format!(
                "it starts from {} in {id}, and {} serves now",
                name(parent),
                name(current)
            );
            return moved(message, changes(Between::Releases, parent, current));
        }
        let moved_by = env.moved_by();
        if moved_by != plan.basis.moved_by {
            let since = moved_by.map_or(String::new(), |id| format!(" since {id}"));
            let message = format!(
                "{} serves in {id} again{since}, and the plan was made before that",
                name(current)
            );
            return moved(message, Vec::new());
        }
        if env.goal != plan.basis.goal {
            let message = format!("{id} was asked to be {:?} since", env.goal).to_lowercase();
            return moved(message, Vec::new());
        }
        if env.data != plan.basis.data {
            return moved(format!("the data of {id} is not what it was"), Vec::new());
        }
        let planned = Offer {
            spec: plan.release.declared(),
            images: plan.release.build.images.clone(),
            stack_file: plan.release.build.stack_file.clone(),
            provenance: plan.release.build.provenance.clone(),
            origin: plan.origin.clone(),
            version: None,
            promoted: None,
        };
        let state = self.store().state();
        let would = recording::release(&state, &env, &Actor::ward(), &planned);
        if !is_set_alike(&would, &plan.release) {
            let message = format!("values or secrets were set in {id} since it was made");
            let changes = changes(Between::Releases, Some(&plan.release), Some(&would));
            return moved(message, changes);
        }
        let under_way = env.deployments.values().rev().find(|d| !is_over(d));
        match under_way.filter(|_| others == Others::Wait) {
            Some(other) => {
                let (other, to) = (other.id, other.to);
                let message = format!("{other} leads {id} to {to}, and has not ended");
                let hint = "wait for it (`ward deployment watch`), or `--supersede` it";
                Err(Refusal::new(
                    RefusalKind::Conflict,
                    format!("the plan was not carried out: {message}"),
                )
                .hint(hint)
                .into())
            }
            None => Ok(()),
        }
    }

    /// What differs between what serves in two environments.
    ///
    /// # Errors
    /// When one of them does not exist.
    pub fn env_diff(&self, from: &EnvId, to: &EnvId) -> Result<EnvDiffView, Refusal> {
        let release = |id: &EnvId| -> Result<Option<Release>, Refusal> {
            let id = self.environment(Some(id))?;
            Ok(self
                .known(&id)
                .and_then(|env| env.current_release().cloned()))
        };
        let (one, other) = (release(from)?, release(to)?);
        let mut all = changes(Between::Environments, one.as_ref(), other.as_ref());
        self.digested(&mut all, from, to)?;
        let (changes, aside) = set_aside(all);
        Ok(EnvDiffView {
            format: FORMAT,
            from_env: from.clone(),
            to_env: to.clone(),
            from: one.as_ref().map(side),
            to: other.as_ref().map(side),
            summary: Summary::of(&changes, &[]),
            changes,
            aside,
            cost: cost_change(one.as_ref(), other.as_ref()),
        })
    }
}

fn side(release: &Release) -> Side {
    Side {
        release: Some(release.id),
        version: release.build.version.clone(),
    }
}

fn basis(env: &Environment) -> Basis {
    Basis {
        goal: env.goal,
        data: env.data,
        parent: env.current_release().cloned(),
        moved_by: env.moved_by(),
    }
}

/// What of a component should run and does not.
fn missing(component: &ComponentView) -> Option<Drift> {
    let healthy = |state: &InstanceState| *state == InstanceState::Healthy;
    let runs = component
        .instances
        .iter()
        .filter(|i| healthy(&i.state))
        .count();
    let wanted = component.wanted as usize;
    let name: &Name = &component.name;
    (runs < wanted).then(|| Drift {
        component: name.clone(),
        text: format!(
            "{runs} of {wanted} run well; Ward puts it right (`ward status` says how far that is)"
        ),
        put_right: false,
    })
}

/// What of a component runs and is not what it was started as, or does nothing.
fn drifted(component: &ComponentView) -> Vec<Drift> {
    let instances = component.instances.iter();
    let drifted = instances.filter_map(|i| {
        let drift = i.drift.as_ref()?;
        Some(Drift {
            component: component.name.clone(),
            text: format!("{} {drift}; Ward puts it right", i.id),
            put_right: false,
        })
    });
    drifted.collect()
}

/// The commit of the build, where git knows the folder.
fn made_of(to: &Release) -> Option<String> {
    let provenance = to.build.provenance.as_ref()?;
    Some(format!("the build is made of {provenance}"))
}

/// That rules end by it which what serves does not ask for: they are not among the changes.
fn loosened(env: &Environment, to: &Release) -> Option<String> {
    let serves = env.current_release()?;
    env.outlasting(&serves.spec.policy)?;
    let declared = env.outlasting(&to.spec.policy)?;
    let lost = Rule::ALL.into_iter();
    let lost = lost.filter(|rule| declared.policy.level(*rule) > to.spec.policy.level(*rule));
    let lost: Vec<&str> = lost.map(Rule::as_str).collect();
    let less = match lost.is_empty() {
        true => "less".to_owned(),
        false => format!("less ({})", lost.join(", ")),
    };
    let version = &declared.version;
    Some(format!(
        "the rules of {version} hold until this serves, which asks for {less}"
    ))
}

fn notes(env: &Environment) -> Vec<String> {
    let mut notes = Vec::new();
    if env.goal != Goal::Up {
        notes.push(format!("{} is down; a deploy brings it up", env.id));
    }
    if let Some(other) = env.deployments.values().rev().find(|d| !is_over(d)) {
        let (id, to) = (other.id, other.to);
        notes.push(match env.current {
            Some(current) => {
                format!("{id} to {to} has not ended; this is held against {current}, which serves")
            }
            None => {
                format!("{id} to {to} has not ended; this is held against nothing, which serves")
            }
        });
    }
    notes
}

/// Whether two releases run with the same declarations, values and versions of secrets.
fn is_set_alike(one: &Release, other: &Release) -> bool {
    let same = one.spec == other.spec && one.secrets == other.secrets;
    same && one.declared() == other.declared()
}
