//! Brings a stack's source to a recorded release and a queued deployment.
//!
//! Everything that can fail for a reason of the user's (mistakes in the file, a build that fails, an
//! image that is not there, a host that another environment has) happens before the first event:
//! nothing is changed by it. From the event on the environment's driver acts, whoever listens.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use ward_stack::{Look, Mistake, Stack};
use ward_types::event::Event;
use ward_types::id::{DeploymentId, EnvId, Name, ReleaseId};
use ward_types::life::Origin;
use ward_types::release::{Deployment, Environment, Goal, Phase, Reason};
use ward_types::spec::{EnvSpec, Schema, Strategy};
use ward_types::view::{DeployRequest, Held, LogView, Others, Progress, Unchanged, Until};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::builds::{Building, End, Over};
use crate::control::Control;
use crate::environments::resolved_copy;
use crate::follow::Follows;
use crate::making::Once;
use crate::policing::{Allowed, Forced, made_of, unmade};
use crate::recording::{Offer, Settled, provenance_of, rolled_back_to};
use crate::sharing::warn_of;
use crate::source;

/// Why an operation ends before there is a deployment.
pub(crate) enum Stop {
    /// With this as its last word.
    Word(Box<Progress>),
    /// Refused.
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl Stop {
    pub(crate) fn word(self) -> Progress {
        match self {
            Stop::Word(progress) => *progress,
            Stop::Refused(refusal) => Progress::Failed {
                message: refusal.message,
                hint: refusal.hint,
            },
        }
    }
}

pub(crate) type Steps = mpsc::Sender<Progress>;

/// How long `ward up` waits for an environment that should serve already.
const AT_REST_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

pub(crate) async fn say(steps: &Steps, message: impl Into<String>) {
    let message = message.into();
    // Nobody may be listening any more.
    let took = None;
    let _ = steps.send(Progress::Step { message, took }).await;
}

impl Control {
    /// Builds, releases and switches; tells how it goes, to the end.
    pub async fn deploy(self, actor: Actor, request: DeployRequest, steps: Steps) {
        let last = match self.released(&actor, &request, &steps).await {
            Ok((env, settled)) => {
                self.seen_through(&env, settled, request.until, &steps)
                    .await
            }
            Err(stop) => stop.word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    /// Whether a rollback holds, and nothing of what is wanted will be deployed.
    fn is_held(&self, env: &EnvId, request: &DeployRequest) -> bool {
        let back = |env: Environment| rolled_back_to(&env).is_some();
        request.rollback == Held::Kept && self.known(env).is_some_and(back)
    }

    /// What the stack file in a folder wants of an environment, where that is possible here, and the file's text.
    pub(crate) async fn wanted(
        &self,
        dir: &Path,
        env: &Name,
        strategy: Option<&Strategy>,
    ) -> Result<(EnvSpec, Option<Origin>, String), Stop> {
        let (mut spec, origin, text) = self.resolved(dir, env)?;
        with_strategy(&mut spec, strategy)?;
        let declared = [(&spec, origin.as_ref())];
        self.declarable(&spec.id.stack(), &declared, Some(&text))
            .await?;
        Ok((spec, origin, text))
    }

    pub(crate) async fn seen_through(
        &self,
        env: &EnvId,
        settled: Settled,
        until: Until,
        steps: &Steps,
    ) -> Progress {
        let id = match settled {
            Settled::Nothing(release) => {
                let message = "nothing changed";
                return self.serves_on(env, release, message, steps).await;
            }
            Settled::Held(release) => {
                // What serves may be the same build with other values.
                let known = self.known(env);
                let mut moves = known.iter().flat_map(|env| env.deployments.values().rev());
                let back = moves.find(|deployment| deployment.reason == Reason::Rollback);
                let (by, to) = match back {
                    Some(back) => (back.by.as_str(), back.to),
                    None => ("somebody", release),
                };
                let message = format!("{by} rolled back to {to}, and that holds");
                let hint = "`ward deploy` supersedes it; `ward rollforward` goes forward again";
                let hint = hint.to_owned();
                let _ = steps.send(Progress::Warning { message, hint }).await;
                let message = "nothing was deployed";
                return self.serves_on(env, release, message, steps).await;
            }
            Settled::UnderWay(id) => return self.joined(env, id, until, steps).await,
            Settled::Queued(queued) => {
                superseded(&queued.superseded, steps).await;
                queued.id
            }
        };
        self.followed(env, id, until, steps).await
    }

    /// Follows one that is under way and brings what is asked for again.
    pub(crate) async fn joined(
        &self,
        env: &EnvId,
        id: DeploymentId,
        until: Until,
        steps: &Steps,
    ) -> Progress {
        say(steps, self.already(env, id)).await;
        match until {
            Until::Queued => followed_by_hand(env, id, "is under way"),
            Until::Verdict => self.followed(env, id, until, steps).await,
        }
    }

    /// That a deployment which is under way brings what is asked for again, and how far it is.
    fn already(&self, env: &EnvId, id: DeploymentId) -> String {
        let known = self.known(env);
        let deployment = known.as_ref().and_then(|env| env.deployments.get(&id));
        let Some(deployment) = deployment else {
            return format!("{id} leads to this very release already");
        };
        let stands = match &deployment.phase {
            Phase::Queued => "waits for its turn".to_owned(),
            Phase::Preparing => "is being prepared".to_owned(),
            Phase::Rolling { stage } => format!("is rolled out, at stage {}", stage + 1),
            Phase::Reverting { .. } => "is taken back".to_owned(),
            Phase::Finished { .. } => "has ended".to_owned(),
        };
        let stands = match &deployment.paused {
            Some(pause) => format!("{stands}, and paused by {}", pause.by),
            None => stands,
        };
        let (to, by) = (deployment.to, &deployment.by);
        format!("{id} leads to this very release already: {to}, asked for by {by}, {stands}")
    }

    pub(crate) async fn followed(
        &self,
        env: &EnvId,
        id: DeploymentId,
        until: Until,
        steps: &Steps,
    ) -> Progress {
        match until {
            Until::Verdict => {
                let follows = Follows::FromTheRequest;
                let last = self.follow_deployment(env, id, follows, steps).await;
                self.tell_end(env, steps).await;
                last
            }
            Until::Queued => followed_by_hand(env, id, "is recorded"),
        }
    }

    /// Says before the last word, where it is read, that the log does not verify.
    pub(crate) async fn warn(&self, steps: &Steps) {
        if let LogView::Altered { message, hint, .. } = self.0.auditor.view() {
            let _ = steps.send(Progress::Warning { message, hint }).await;
        }
    }

    async fn released(
        &self,
        actor: &Actor,
        request: &DeployRequest,
        steps: &Steps,
    ) -> Result<(EnvId, Settled), Stop> {
        let admitted = self.admit()?;
        let dir = PathBuf::from(&request.dir);
        let provenance = provenance_of(&dir).await;
        let (spec, origin, stack_file) = self
            .wanted(&dir, &request.env, request.strategy.as_ref())
            .await?;
        let id = spec.id.clone();
        // Before a build, so that nobody waits for one in vain; looked at again when it is recorded.
        self.can_be_made(request.made, &id)?;
        if request.made.is_some_and(|made| made.ttl.is_some()) {
            self.may_end_by_itself(&spec)?;
        }
        let forced = match request.unchanged {
            Unchanged::Keep => Forced::No,
            Unchanged::Redeploy => Forced::Yes,
        };
        let forced = forced.or(self.told_anew(&id, provenance.as_deref()));
        // `ward up` may have nothing to do, which is seen when the images are there.
        if request.rollback == Held::Superseded {
            self.reasoned(actor, &request.why, &spec)?;
        }
        // Before a build, so that nobody waits for one in vain.
        if !self.is_held(&id, request) {
            let offered = (&spec, origin.as_ref(), unmade(&stack_file));
            self.permitted(actor, offered, Some(&dir), forced)?;
        }
        let building = self.0.builds.begin(&id, actor, admitted);
        if request.others == Others::Cancel {
            let desk = self.desk().await;
            let over = building.supersede(actor);
            drop(desk);
            ended_builds(&over, "superseded", steps).await;
        }
        let once = Once::default();
        let made = tokio::select! {
            biased;
            end = building.ended() => Err(self.cut_off(&building, &id, &end).into()),
            made = self.images_made(&dir, &spec, &building, &once, steps) => made,
        };
        let made = match made {
            Ok(made) => made,
            Err(stop) => {
                self.record_end(actor, &request.why, &id, &stop).await;
                return Err(stop);
            }
        };
        // From here to the record nobody else decides: see `builds`.
        let desk = self.desk_for(&request.why).await;
        let wanted = building.wanted();
        wanted.map_err(|end| self.cut_off(&building, &id, &end))?;
        let warned = match self.is_held(&id, request) {
            true => Allowed::default(),
            false => {
                let built = made_of(&made.images, &stack_file);
                self.permitted(actor, (&spec, origin.as_ref(), built), Some(&dir), forced)?
            }
        };
        let offer = Offer {
            spec,
            images: made.images.clone(),
            stack_file: Some(stack_file),
            provenance,
            origin,
            version: None,
            promoted: None,
        };
        let settled = self.recorded(&desk, actor, request.into(), &offer).await?;
        drop((building, made, desk));
        self.live(&id);
        warned_of(&warned, steps).await;
        Ok((id, settled))
    }

    /// What was asked for is part of the record, also when it came to nothing. Only the first line: the output
    /// of a build is the asker's alone.
    pub(crate) async fn record_end(&self, actor: &Actor, why: &str, env: &EnvId, stop: &Stop) {
        let Stop::Refused(refusal) = stop else {
            return;
        };
        let message = refusal.message.lines().next().unwrap_or_default();
        let event = Event::BuildEnded {
            env: env.clone(),
            message: message.to_owned(),
        };
        if let Err(refusal) = self.append(actor, why, vec![event]).await {
            tracing::error!(
                error = refusal.message,
                "the end of a build is not recorded"
            );
        }
    }

    /// The last word of a build that somebody ended.
    pub(crate) fn cut_off(&self, building: &Building, env: &EnvId, end: &End) -> Refusal {
        let what = building.what_ended();
        let (why, left) = (end.because(env), self.untouched(env));
        let refusal = Refusal::new(RefusalKind::Conflict, format!("{what} {why}; {left}"));
        match end {
            End::Down { .. } => refusal.hint("`ward up` brings it up again"),
            End::Superseded { .. } | End::Cancelled { .. } => refusal,
        }
    }

    /// The release is the right one; after a restart of the machine its instances may not run yet.
    async fn serves_on(
        &self,
        env: &EnvId,
        release: ReleaseId,
        message: &str,
        steps: &Steps,
    ) -> Progress {
        let rest = self.comes_to_rest(env, AT_REST_WITHIN, |_| true, steps);
        if let Err(refusal) = rest.await {
            return Stop::Refused(refusal).word();
        }
        self.tell_end(env, steps).await;
        let env = self.known(env).filter(|env| env.goal == Goal::Up);
        match env.as_ref().and_then(Environment::current_release) {
            Some(current) if current.id == release => Progress::Done {
                message: format!(
                    "{message}: {} ({}) serves",
                    current.id, current.build.version
                ),
                addresses: self.addresses(current),
            },
            _ => Progress::Failed {
                message: format!(
                    "nothing was changed, but {release} serves no longer: somebody asked for something else meanwhile"
                ),
                hint: Some("`ward events` says who and what".to_owned()),
            },
        }
    }
}

/// The last word about a deployment that nobody waits for here.
fn followed_by_hand(env: &EnvId, id: DeploymentId, is: &str) -> Progress {
    Progress::Done {
        message: format!("{id} {is}; `ward deployment watch {id} --env {env}` shows how it goes"),
        addresses: Vec::new(),
    }
}

/// Says which deployments are cancelled for another.
pub(crate) async fn superseded(others: &[Deployment], steps: &Steps) {
    for other in others {
        let (id, to, by) = (other.id, other.to, &other.by);
        say(
            steps,
            format!("{id} to {to}, asked for by {by}, is superseded"),
        )
        .await;
    }
}

/// Says what the policy warns of, who answers for what it forbids, and what else speaks against it.
pub(crate) async fn warned_of(allowed: &Allowed, steps: &Steps) {
    warn_of(&allowed.warned, steps).await;
    for one in &allowed.found {
        let message = match &one.waived {
            Some(waiver) => format!(
                "{} ({}), for which {} answers until {}: {}",
                one.message, one.rule, waiver.by, waiver.until, waiver.why
            ),
            None => format!("{} ({})", one.message, one.rule),
        };
        let hint = one.way_out.clone();
        let _ = steps.send(Progress::Warning { message, hint }).await;
    }
}

/// Says which builds are ended.
pub(crate) async fn ended_builds(over: &[Over], how: &str, steps: &Steps) {
    for Over { env, by, .. } in over {
        say(
            steps,
            format!("the build of {env} that {by} asked for is {how}"),
        )
        .await;
    }
}

impl Control {
    /// What the stack file in `dir` says of an environment, and its text.
    pub(crate) fn resolved(
        &self,
        dir: &Path,
        env: &Name,
    ) -> Result<(EnvSpec, Option<Origin>, String), Stop> {
        let (name, text) = source::read(dir).map_err(unreadable)?;
        let (spec, origin) = self.resolved_in(&name, &text, env)?;
        Ok((spec, origin, text))
    }

    /// What a stack file's text says of an environment; of a copy that it does not name, what it says of the
    /// original, with the copy's hosts.
    pub(crate) fn resolved_in(
        &self,
        name: &str,
        text: &str,
        env: &Name,
    ) -> Result<(EnvSpec, Option<Origin>), Stop> {
        let stack = stack_of(name, text)?;
        let mistakes = match stack.resolve(env) {
            Ok(spec) => return Ok((spec, None)),
            Err(mistakes) => mistakes,
        };
        let Some(origin) = self.origin(&EnvId::new(&stack.name, env))? else {
            return Err(mistaken(name, text, &mistakes));
        };
        match resolved_copy(&stack, env, &origin) {
            Ok(spec) => Ok((spec?, Some(origin))),
            Err(mistakes) => Err(mistaken(name, text, &mistakes)),
        }
    }
}

pub(crate) fn unreadable(error: source::SourceError) -> Refusal {
    Refusal {
        kind: RefusalKind::Invalid,
        hint: error.hint(),
        message: error.to_string(),
    }
}

/// A stack file without a mistake.
pub(crate) fn stack_of(name: &str, text: &str) -> Result<Stack, Stop> {
    let reading = ward_stack::read(name, text);
    match reading.stack {
        Some(stack) if reading.mistakes.is_empty() => Ok(stack),
        _ => Err(mistaken(name, text, &reading.mistakes)),
    }
}

pub(crate) fn mistaken(name: &str, text: &str, mistakes: &[Mistake]) -> Stop {
    Stop::Word(Box::new(Progress::Mistakes {
        rendered: ward_stack::render(name, text, mistakes, Look::Plain, 100),
        count: mistakes.len(),
        mistakes: ward_stack::views(name, text, mistakes),
    }))
}

/// The services that take requests take over in this way, where one is given.
pub(crate) fn with_strategy(
    spec: &mut EnvSpec,
    strategy: Option<&Strategy>,
) -> Result<(), Refusal> {
    let Some(strategy) = strategy else {
        return Ok(());
    };
    let services = spec.services.values_mut();
    let reachable = services.filter(|s| s.port.is_some() && s.overlap);
    reachable.for_each(|service| service.strategy.clone_from(strategy));
    schema_suits(spec)
}

/// What a stack file is checked for (W0414), where the strategy comes from elsewhere.
fn schema_suits(spec: &EnvSpec) -> Result<(), Refusal> {
    let irreversible = spec.services.iter().find(|(_, service)| {
        let release = service.release.as_ref();
        release.is_some_and(|release| release.schema == Schema::Irreversible)
    });
    let beside = spec.services.values().find_map(|s| s.strategy.beside());
    let (Some((name, _)), Some(beside)) = (irreversible, beside) else {
        return Ok(());
    };
    let message = format!(
        "the release command of {name} is irreversible, but {beside} keeps the release before serving beside the new one"
    );
    Err(Refusal::new(RefusalKind::Invalid, message).hint(
        "split it into a command that expands and, in a later release, one that contracts; or deploy with `--strategy blue_green`",
    ))
}
