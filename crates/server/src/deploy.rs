//! Brings a stack's source to a recorded release and a queued deployment.
//!
//! Everything that can fail for a reason of the user's (mistakes in the file, a build that fails, an
//! image that is not there, a host that another environment has) happens before the first event:
//! nothing is changed by it. From the event on the environment's driver acts, whoever listens.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio::sync::mpsc;
use ward_build::{Line, Outcome};
use ward_registry::{Reference, Repository};
use ward_stack::Look;
use ward_store::Log;
use ward_types::event::Event;
use ward_types::id::{DeploymentId, Digest, EnvId, Name, ReleaseId};
use ward_types::release::{Build, Deployment, Environment, Goal, Phase, Reason, Release};
use ward_types::spec::{EnvSpec, ImageSource, ServiceSpec};
use ward_types::view::{
    DeployRequest, DownRequest, LogView, Others, Progress, RollbackRequest, Unchanged, Until,
};

use crate::actor::{Actor, Refusal, RefusalKind, causes};
use crate::clock::now;
use crate::control::{Control, Direction};
use crate::images::{Images, Sink};
use crate::source;

/// Why an operation ends before there is a deployment.
enum Stop {
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
    fn word(self) -> Progress {
        match self {
            Stop::Word(progress) => *progress,
            Stop::Refused(refusal) => Progress::Failed {
                message: refusal.message,
                hint: refusal.hint,
            },
        }
    }
}

/// A move that is asked for.
struct Wish<'a> {
    to: ReleaseId,
    reason: Reason,
    others: Others,
    why: &'a str,
}

type Steps = mpsc::Sender<Progress>;

/// How long one service's build may take.
const BUILD_WITHIN: std::time::Duration = std::time::Duration::from_secs(30 * 60);

/// How long `ward up` waits for an environment that should serve already.
const AT_REST_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

async fn step(steps: &Steps, message: impl Into<String>, since: Option<std::time::Instant>) {
    let took = since.map(|since| {
        let millis = since.elapsed().as_millis();
        ward_types::time::Millis(u64::try_from(millis).unwrap_or(u64::MAX))
    });
    let _ = steps
        .send(Progress::Step {
            message: message.into(),
            took,
        })
        .await;
}

impl Control {
    /// Builds, releases and switches; tells how it goes, to the end.
    pub async fn deploy(self, actor: Actor, request: DeployRequest, steps: Steps) {
        let last = match self.released(&actor, &request, &steps).await {
            Ok((env, id)) => self.followed(&env, id, request.until, &steps).await,
            Err(stop) => stop.word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    /// Goes back or forward to a release that is there already.
    pub async fn go_to(
        self,
        actor: Actor,
        direction: Direction,
        request: RollbackRequest,
        steps: Steps,
    ) {
        let last = match self.sent_back(&actor, direction, &request).await {
            Ok((env, id)) => self.followed(&env, id, request.until, &steps).await,
            Err(refusal) => Stop::Refused(refusal).word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    async fn followed(
        &self,
        env: &EnvId,
        id: DeploymentId,
        until: Until,
        steps: &Steps,
    ) -> Progress {
        match until {
            Until::Verdict => self.follow_deployment(env, id, steps).await,
            Until::Queued => Progress::Done {
                message: format!(
                    "{id} is recorded; `ward deployment watch {id} --env {env}` shows how it goes"
                ),
                addresses: Vec::new(),
            },
        }
    }

    /// Says before the last word, where it is read, that the log does not verify.
    async fn warn(&self, steps: &Steps) {
        if let LogView::Altered { message, hint, .. } = self.0.auditor.view() {
            let _ = steps.send(Progress::Warning { message, hint }).await;
        }
    }

    /// Stops environments.
    pub async fn down(self, actor: Actor, request: DownRequest, steps: Steps) {
        let last = match self.take_down(&actor, &request, &steps).await {
            Ok(done) => done,
            Err(refusal) => Stop::Refused(refusal).word(),
        };
        let _ = steps.send(last).await;
    }

    async fn released(
        &self,
        actor: &Actor,
        request: &DeployRequest,
        steps: &Steps,
    ) -> Result<(EnvId, DeploymentId), Stop> {
        let _admitted = self.admit()?;
        let dir = PathBuf::from(&request.dir);
        let mut spec = resolved(&dir, &request.env)?;
        if let Some(strategy) = &request.strategy {
            let reachable = spec.services.values_mut().filter(|s| s.port.is_some());
            reachable.for_each(|service| service.strategy.clone_from(strategy));
        }
        let id = spec.id.clone();
        self.possible(&spec)?;
        let lane = self.lane(&id);
        let turn = match lane.try_lock() {
            Ok(turn) => turn,
            Err(_taken) => {
                let on = vec![format!(
                    "Waiting for another deploy of {id}, which is being built."
                )];
                let _ = steps.send(Progress::Waiting { on }).await;
                lane.lock().await
            }
        };
        let unrecorded = self.0.unrecorded.read().await;
        let images = self.built(&dir, &spec, steps).await?;
        self.unpacked(&id, &images, steps).await?;
        // Checked again: another environment may have been deployed while this one was built.
        self.possible(&spec)?;
        let deployment = self.recorded(actor, request, spec, images, steps).await?;
        drop((unrecorded, turn));
        Ok((id, deployment))
    }

    /// Whether this machine can run the environment at all.
    fn possible(&self, spec: &EnvSpec) -> Result<(), Refusal> {
        if !spec.databases.is_empty() {
            self.0
                .postgres
                .newest()
                .map_err(|error| Refusal::new(RefusalKind::Conflict, causes(&error)))?;
        }
        let state = self.store().state();
        for env in state
            .environments
            .values()
            .filter(|env| env.id != spec.id && env.goal == Goal::Up)
        {
            if let Some((service, host)) = shared_host(env, spec) {
                let message = format!("the host {host} leads to {} already", env.id);
                let hint = own_host(spec, service, host);
                return Err(Refusal::new(RefusalKind::Conflict, message).hint(hint));
            }
        }
        Ok(())
    }

    async fn built(
        &self,
        dir: &std::path::Path,
        spec: &EnvSpec,
        steps: &Steps,
    ) -> Result<BTreeMap<Name, Digest>, Stop> {
        let mut images = BTreeMap::new();
        for (name, service) in &spec.services {
            let since = std::time::Instant::now();
            let (digest, what) = match &service.source {
                ImageSource::Image { reference } => {
                    step(steps, format!("{name}: fetching {reference}"), None).await;
                    (self.pulled(spec, name, reference).await?, "fetched")
                }
                _ => self.made(dir, spec, name, service, steps).await?,
            };
            step(
                steps,
                format!("{name}: {what} {}", digest.short()),
                Some(since),
            )
            .await;
            images.insert(name.clone(), digest);
        }
        Ok(images)
    }

    async fn made(
        &self,
        dir: &std::path::Path,
        spec: &EnvSpec,
        name: &Name,
        service: &ServiceSpec,
        steps: &Steps,
    ) -> Result<(Digest, &'static str), Stop> {
        let request = ward_build::Request {
            service: name.clone(),
            source: service.source.clone(),
            dir: dir.to_owned(),
            cache: self.0.home.join("builds").join(spec.id.stack().as_str()),
            repository: Images::repository(&spec.id.stack(), name),
        };
        let (lines, mut written) = mpsc::unbounded_channel::<Line>();
        let output = move |line: Line| drop(lines.send(line));
        let mut last: Vec<String> = Vec::new();
        let result = {
            let sink = Sink(self.0.registry.clone());
            // Dropping the build kills what it started.
            let building =
                tokio::time::timeout(BUILD_WITHIN, ward_build::build(&request, &sink, &output));
            let mut building = std::pin::pin!(building);
            loop {
                tokio::select! {
                    biased;
                    Some(line) = written.recv() => keep(&mut last, line, steps).await,
                    result = &mut building => break result,
                }
            }
        };
        while let Ok(line) = written.try_recv() {
            keep(&mut last, line, steps).await;
        }
        let Ok(result) = result else {
            let message = format!(
                "the build of {name} took longer than {} minutes and was ended",
                BUILD_WITHIN.as_secs() / 60
            );
            return Err(Refusal::new(RefusalKind::Failed, message)
                .hint(self.untouched(&spec.id))
                .into());
        };
        match result {
            Ok(image) if image.outcome == Outcome::Unchanged => Ok((image.digest, "unchanged")),
            Ok(image) => Ok((image.digest, "built")),
            Err(error) => {
                let mut message = format!("the build of {name} failed: {}", causes(&error));
                for line in last {
                    message.push_str("\n  | ");
                    message.push_str(&line);
                }
                Err(Refusal::new(RefusalKind::Invalid, message)
                    .hint(self.untouched(&spec.id))
                    .into())
            }
        }
    }

    /// What a deploy that failed before it was recorded left as it was.
    fn untouched(&self, env: &EnvId) -> String {
        let known = self.known(env).filter(|env| env.goal == Goal::Up);
        match known.and_then(|env| env.current) {
            Some(current) => format!("nothing was changed; {current} serves as before"),
            None => "nothing was changed".to_owned(),
        }
    }

    /// Fetches an image that others built, and records it under the service's own repository, so that
    /// the release depends on nobody else's registry.
    async fn pulled(
        &self,
        spec: &EnvSpec,
        name: &Name,
        reference: &str,
    ) -> Result<Digest, Refusal> {
        let refused = |error: &(dyn std::error::Error + 'static)| {
            Refusal::new(
                RefusalKind::Failed,
                format!("cannot use {reference} for {name}: {}", causes(error)),
            )
            .hint(self.untouched(&spec.id))
        };
        let pulled = ward_registry::pull(&self.0.registry, reference)
            .await
            .map_err(|error| {
                let message = format!("{name}: {}", causes(&error));
                let hint = format!("{}\n{}", error.hint(), self.untouched(&spec.id));
                Refusal::new(RefusalKind::Failed, message).hint(hint)
            })?;
        let there = Reference::parse(pulled.digest.as_str()).map_err(|error| refused(&error))?;
        let manifest = self
            .0
            .registry
            .manifest(&pulled.repo, &there)
            .await
            .map_err(|error| refused(&error))?;
        let own = Repository::parse(&Images::repository(&spec.id.stack(), name))
            .map_err(|error| refused(&error))?;
        let stored = self
            .0
            .registry
            .put_manifest(&own, None, &manifest.media_type, manifest.bytes)
            .await;
        stored.map_err(|error| refused(&error))
    }

    async fn unpacked(
        &self,
        env: &EnvId,
        images: &BTreeMap<Name, Digest>,
        steps: &Steps,
    ) -> Result<(), Refusal> {
        for (name, digest) in images {
            let since = std::time::Instant::now();
            let repository = Images::repository(&env.stack(), name);
            self.0
                .images
                .ready(&repository, digest)
                .await
                .map_err(|error| {
                    Refusal::failed(&format!("the image of {name} cannot be used"), &error)
                        .hint(self.untouched(env))
                })?;
            if since.elapsed().as_millis() > 500 {
                step(steps, format!("{name}: unpacked"), Some(since)).await;
            }
        }
        Ok(())
    }

    /// Writes the release and its deployment into the log, or finds that nothing changed.
    async fn recorded(
        &self,
        actor: &Actor,
        request: &DeployRequest,
        spec: EnvSpec,
        images: BTreeMap<Name, Digest>,
        steps: &Steps,
    ) -> Result<DeploymentId, Stop> {
        let id = spec.id.clone();
        let known = self.known(&id);
        let mut events = Vec::new();
        if known.is_none() {
            events.push(Event::EnvironmentCreated { env: id.clone() });
        }
        let env = known.unwrap_or_else(|| Environment::new(id.clone()));
        let same = env.current_release().filter(|current| {
            let newest = env.deployments.values().next_back().map(|d| d.to) == Some(current.id);
            newest && current.spec == spec && current.build.images == images
        });
        let (to, reason) = match (same, request.unchanged, env.goal) {
            (Some(current), Unchanged::Keep, Goal::Up) => {
                return Err(self.nothing_changed(current, steps).await);
            }
            (Some(current), Unchanged::Keep, Goal::Down | Goal::Purged) => (current.id, Reason::Up),
            _ => {
                let release = release(&env, actor, spec, images);
                let to = release.id;
                events.push(Event::ReleaseRecorded {
                    env: id.clone(),
                    release: Box::new(release),
                });
                (to, Reason::Deploy)
            }
        };
        let wish = Wish {
            to,
            reason,
            others: request.others,
            why: &request.why,
        };
        Ok(self.queued(actor, &env, events, wish).await?)
    }

    /// Records that an environment shall move, behind the events that make it possible, and sees that
    /// its driver runs.
    async fn queued(
        &self,
        actor: &Actor,
        env: &Environment,
        mut events: Vec<Event>,
        wish: Wish<'_>,
    ) -> Result<DeploymentId, Refusal> {
        let id = env.id.clone();
        if env.goal != Goal::Up {
            events.push(Event::GoalChanged {
                env: id.clone(),
                goal: Goal::Up,
            });
        }
        if wish.others == Others::Cancel {
            events.extend(cancel_all(env, actor));
        }
        let deployment = deployment(env, actor, wish.to, wish.reason);
        let number = deployment.id;
        events.push(Event::DeploymentQueued {
            env: id.clone(),
            deployment,
        });
        self.append(actor, wish.why, events).await?;
        self.live(&id);
        Ok(number)
    }

    /// The release is the right one; after a restart of the machine its instances may not run yet.
    async fn nothing_changed(&self, current: &Release, steps: &Steps) -> Stop {
        if let Err(refusal) = self
            .comes_to_rest(&current.spec.id, AT_REST_WITHIN, |_| true, steps)
            .await
        {
            return refusal.into();
        }
        Stop::Word(Box::new(Progress::Done {
            message: format!(
                "nothing changed: {} ({}) serves",
                current.id, current.build.version
            ),
            addresses: self.addresses(current),
        }))
    }

    async fn sent_back(
        &self,
        actor: &Actor,
        direction: Direction,
        request: &RollbackRequest,
    ) -> Result<(EnvId, DeploymentId), Refusal> {
        let _admitted = self.admit()?;
        let id = self.environment(request.env.as_ref())?;
        let lane = self.lane(&id);
        let _turn = lane.lock().await;
        let env = self
            .known(&id)
            .unwrap_or_else(|| Environment::new(id.clone()));
        let to = target(&env, direction, request.to)?;
        let reason = match direction {
            Direction::Back => Reason::Rollback,
            Direction::Forward => Reason::Rollforward,
        };
        self.possible(&env.releases[&to].spec)?;
        let wish = Wish {
            to,
            reason,
            others: request.others,
            why: &request.why,
        };
        let number = self.queued(actor, &env, Vec::new(), wish).await?;
        Ok((id, number))
    }
}

fn resolved(dir: &std::path::Path, env: &Name) -> Result<EnvSpec, Stop> {
    let unreadable = |error: source::SourceError| Refusal {
        kind: RefusalKind::Invalid,
        hint: error.hint(),
        message: error.to_string(),
    };
    let (name, text) = source::read(dir).map_err(unreadable)?;
    let reading = ward_stack::read(&name, &text);
    let mistakes = match reading.stack {
        Some(stack) if reading.mistakes.is_empty() => match stack.resolve(env) {
            Ok(spec) => return Ok(spec),
            Err(mistakes) => mistakes,
        },
        _ => reading.mistakes,
    };
    Err(Stop::Word(Box::new(Progress::Mistakes {
        rendered: ward_stack::render(&name, &text, &mistakes, Look::Plain, 100),
        count: mistakes.len(),
        mistakes: ward_stack::views(&name, &text, &mistakes),
    })))
}

/// The service of `spec` whose host another environment has, and that host.
fn shared_host<'a>(env: &Environment, spec: &'a EnvSpec) -> Option<(&'a Name, &'a str)> {
    let hosts = |spec: &EnvSpec| -> Vec<String> {
        let routes = spec.services.values().filter_map(|s| s.route.as_ref());
        routes.map(|route| route.host.to_lowercase()).collect()
    };
    let releases = env
        .current_release()
        .into_iter()
        .chain(env.active().and_then(|d| env.releases.get(&d.to)));
    let taken: Vec<String> = releases.flat_map(|release| hosts(&release.spec)).collect();
    let mut wanted = spec
        .services
        .iter()
        .filter_map(|(name, service)| Some((name, service.route.as_ref()?.host.as_str())));
    wanted.find(|(_, host)| taken.contains(&host.to_lowercase()))
}

/// The lines that give an environment a host of its own.
fn own_host(spec: &EnvSpec, service: &Name, host: &str) -> String {
    let env = spec.id.env();
    format!(
        "give {} a host of its own in ward.toml, such as:\n[environment.{env}]\nservice.{service}.route.host = \"{env}.{host}\"",
        spec.id
    )
}

fn release(
    env: &Environment,
    actor: &Actor,
    spec: EnvSpec,
    images: BTreeMap<Name, Digest>,
) -> Release {
    Release {
        id: env.next_release(),
        build: Build {
            version: format!("{}.{}", spec.version, env.builds + 1),
            images,
        },
        spec,
        recorded: now(),
        by: actor.who.clone(),
    }
}

/// The end of every deployment that has not ended, for one that does not wait for them.
fn cancel_all(env: &Environment, actor: &Actor) -> impl Iterator<Item = Event> {
    let unfinished = |d: &&Deployment| !matches!(d.phase, Phase::Finished { .. });
    let others = env.deployments.values().filter(unfinished);
    others.map(|other| Event::DeploymentCancelled {
        env: env.id.clone(),
        deployment: other.id,
        by: actor.who.clone(),
    })
}

fn deployment(env: &Environment, actor: &Actor, to: ReleaseId, reason: Reason) -> Deployment {
    Deployment {
        id: env.next_deployment(),
        reason,
        from: env.current,
        to,
        requested: now(),
        started: None,
        phase_since: now(),
        by: actor.who.clone(),
        paused: None,
        promoted: 0,
        cancelled: None,
        phase: Phase::Queued,
    }
}

fn target(
    env: &Environment,
    direction: Direction,
    asked: Option<ReleaseId>,
) -> Result<ReleaseId, Refusal> {
    let list = || {
        env.releases
            .keys()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let pending = leading_away(env);
    if let Some(asked) = asked {
        return match env.releases.get(&asked) {
            Some(_) if env.current == Some(asked) && !pending => Err(Refusal::new(
                RefusalKind::Conflict,
                format!("{asked} serves already"),
            )),
            Some(_) => Ok(asked),
            None if asked > ReleaseId::default() && asked < env.next_release() => {
                Err(Refusal::new(
                    RefusalKind::NotFound,
                    format!(
                        "{asked} of {} is retired: it is not retained any more",
                        env.id
                    ),
                )
                .hint(format!(
                    "there are: {}; `stack.keep_releases` says how many are retained",
                    list()
                )))
            }
            None => Err(Refusal::new(
                RefusalKind::NotFound,
                format!("{} has no release {asked}", env.id),
            )
            .hint(format!("there are: {}", list()))),
        };
    }
    let (found, word) = match direction {
        // In the middle of a deployment: back from where it leads, which is to what serves.
        Direction::Back if pending => (env.current, "before"),
        Direction::Back => (env.rollback_target(), "before"),
        Direction::Forward => (env.rollforward_target(), "after"),
    };
    found.ok_or_else(|| {
        let current = env
            .current
            .map_or("the current one".to_owned(), |id| id.to_string());
        Refusal::new(
            RefusalKind::Conflict,
            format!(
                "{} has no release {word} {current} that once served",
                env.id
            ),
        )
        .hint("`ward releases` lists them; --to names one")
    })
}

/// Whether the newest deployment is not over and leads to another release than the current one.
fn leading_away(env: &Environment) -> bool {
    env.current.is_some()
        && env.deployments.values().next_back().is_some_and(|last| {
            !matches!(last.phase, Phase::Finished { .. }) && Some(last.to) != env.current
        })
}

/// Passes a line on, and keeps the last for an error message.
async fn keep(last: &mut Vec<String>, line: Line, steps: &Steps) {
    if last.len() == 30 {
        last.remove(0);
    }
    last.push(line.text.clone());
    let _ = steps
        .send(Progress::Output {
            source: line.service.to_string(),
            line: line.text,
        })
        .await;
}
