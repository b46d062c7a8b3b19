//! Runs: jobs and one-off commands are asked for, told of, stopped and shown here. The driver carries them out.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use ward_engine::LogReader;
use ward_store::Log;
use ward_types::event::{Event, State};
use ward_types::id::{EnvId, InstanceId, Name, ReleaseId, RunId};
use ward_types::keeper::Role;
use ward_types::release::{Environment, Goal, Release};
use ward_types::run::{
    JobSpec, JobView, Overlap, Run, RunProgress, RunRequest, RunUntil, RunView, RunsView,
    StopRequest, What,
};
use ward_types::time::{Millis, Timestamp};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::clock::now;
use crate::control::Control;
use crate::driver::Live;
use crate::schedule;

/// How long a one-off command may take when nobody says.
const DEADLINE: Millis = Millis::secs(3600);
/// How long it may be given.
const LONGEST: Millis = Millis::secs(7 * 24 * 3600);
/// How many runs of an environment may be open.
pub(crate) const OPEN: usize = 100;
/// The most bytes of a command that the log takes.
const COMMAND: usize = 16 * 1024;
/// How often what a run writes is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A run of a job: by its schedule, at `due`, or because `actor` asked.
pub(crate) fn of_job(
    (id, name, job): (RunId, &Name, &JobSpec),
    release: ReleaseId,
    due: Option<Timestamp>,
    actor: &Actor,
    requested: Timestamp,
) -> Run {
    Run {
        id,
        job: Some(name.clone()),
        due,
        service: job.service.clone(),
        release,
        command: job.command.clone(),
        deadline: job.deadline,
        retries: job.retries,
        overlap: job.overlap,
        requested,
        by: actor.who.clone(),
        attempts: Vec::new(),
        again: None,
        stopped: None,
    }
}

impl Control {
    /// Records a run, and tells how it goes, to its end.
    pub async fn run(self, actor: Actor, request: RunRequest, steps: mpsc::Sender<RunProgress>) {
        let failed = |Refusal { message, hint, .. }| RunProgress::Failed { message, hint };
        let (env, run) = match self.queued_run(&actor, &request).await {
            Ok(begun) => begun,
            Err(refusal) => {
                let _ = steps.send(failed(refusal)).await;
                return;
            }
        };
        let id = run.id;
        let queued = RunProgress::Queued {
            env: env.clone(),
            run: Box::new(run),
        };
        // Nobody may be listening any more; the run goes on.
        let _ = steps.send(queued).await;
        if request.until == RunUntil::Ended {
            self.follow_run(&env, id, &steps).await;
        }
    }

    async fn queued_run(
        &self,
        actor: &Actor,
        request: &RunRequest,
    ) -> Result<(EnvId, Run), Refusal> {
        let _admitted = self.admit()?;
        let id = self.alive(request.env.as_ref())?;
        if let What::Command { command, .. } = &request.what {
            self.says_no_secret(&id, command).await?;
        }
        let desk = self.desk_for(&request.why).await;
        let decide = |state: &State| {
            let env = state.environment(&id);
            let run = decided(&id, env, actor, request)?;
            let event = Event::RunQueued {
                env: id.clone(),
                run: Box::new(run.clone()),
            };
            Ok((run, vec![event]))
        };
        let run = self.decided(&desk, actor, &request.why, decide).await?;
        drop(desk);
        self.live(&id);
        Ok((id, run))
    }

    /// Asks that a run stop. It has ended when its instance has.
    ///
    /// # Errors
    /// When there is no such run, or it has ended.
    pub async fn stop_run(&self, actor: &Actor, request: &StopRequest) -> Result<Run, Refusal> {
        let id = self.environment(request.env.as_ref())?;
        let desk = self.desk_for(&request.why).await;
        let decide = |state: &State| {
            let runs = state.environments.get(&id).map(|env| &env.runs);
            let run = runs.and_then(|runs| runs.get(request.run));
            let open = runs.is_some_and(|runs| runs.open.contains_key(&request.run));
            let Some(run) = run else {
                let message = format!("{id} has no run {}, or has forgotten it", request.run);
                return Err(Refusal::new(RefusalKind::NotFound, message)
                    .hint("`ward job history` shows those that are remembered"));
            };
            if !open {
                let message = format!("{} has ended", run.id);
                return Err(Refusal::new(RefusalKind::Conflict, message));
            }
            let event = Event::RunStopped {
                env: id.clone(),
                run: run.id,
                by: actor.who.clone(),
            };
            Ok((run.clone(), vec![event]))
        };
        let run = self.decided(&desk, actor, &request.why, decide).await?;
        drop(desk);
        self.live(&id);
        Ok(run)
    }

    /// The jobs of the release that serves, and the runs that are remembered.
    ///
    /// # Errors
    /// When there is no such environment.
    pub fn runs(&self, env: Option<&EnvId>) -> Result<RunsView, Refusal> {
        let id = self.environment(env)?;
        let known = self.known(&id);
        let known = known.unwrap_or_else(|| Environment::new(id.clone()));
        let release = known.current_release();
        let jobs = release.into_iter().flat_map(|release| &release.spec.jobs);
        let jobs = jobs.map(|(name, spec)| JobView {
            name: name.clone(),
            spec: spec.clone(),
            next: schedule::next_due(&known, name),
        });
        let view = |open| {
            move |run: &Run| RunView {
                run: run.clone(),
                open,
            }
        };
        let ended = known.runs.ended.iter().map(view(false));
        let mut runs: Vec<RunView> = ended
            .chain(known.runs.open.values().map(view(true)))
            .collect();
        runs.sort_by_key(|view| view.run.id);
        Ok(RunsView {
            env: id,
            jobs: jobs.collect(),
            runs,
        })
    }

    /// Tells what a run waits for and writes, until it has ended.
    async fn follow_run(&self, env: &EnvId, id: RunId, steps: &mpsc::Sender<RunProgress>) {
        let live = self.live(env);
        let mut told = Told::default();
        loop {
            let state = self.store().state();
            let known = state.environments.get(env);
            let run = known.and_then(|env| env.runs.get(id)).cloned();
            let Some(run) = run else {
                let message = format!("{id} is not remembered any more");
                let hint = Some("`ward events` tells how it ended".to_owned());
                let _ = steps.send(RunProgress::Failed { message, hint }).await;
                return;
            };
            let open = known.is_some_and(|env| env.runs.open.contains_key(&id));
            let seen = live.borrow().clone();
            for step in told.news(self, env, &run, &seen).await {
                if steps.send(step).await.is_err() {
                    return; // It goes on without a listener.
                }
            }
            if !open {
                let _ = steps.send(RunProgress::Ended { run: Box::new(run) }).await;
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = steps.closed() => return,
            }
        }
    }
}

/// What was told of a run.
#[derive(Default)]
struct Told {
    waiting: BTreeSet<String>,
    attempts: usize,
    /// The instance whose output is told, and what was read of it.
    output: Option<(InstanceId, LogReader)>,
}

impl Told {
    async fn news(
        &mut self,
        control: &Control,
        env: &EnvId,
        run: &Run,
        live: &Live,
    ) -> Vec<RunProgress> {
        let mut news = Vec::new();
        for attempt in &run.attempts[self.attempts.min(run.attempts.len())..] {
            if let Some(instance) = &attempt.instance {
                news.extend(self.lines(control, env, instance).await);
            }
            if self.attempts + 1 < run.attempts.len() || run.again.is_some() {
                let attempt = Box::new(attempt.clone());
                news.push(RunProgress::Tried { attempt });
            }
            self.attempts += 1;
        }
        let mut seen = live.observed.instances.values();
        let goes_on =
            seen.find(|i| i.facts.role == Role::Run(run.id) && !run.has_tried(&i.facts.id));
        if let Some(instance) = goes_on {
            let instance = instance.facts.id.clone();
            news.extend(self.lines(control, env, &instance).await);
        }
        let named = |sentence: &&String| sentence.starts_with(&format!("{} waits", run.id));
        for on in live.keeping.iter().filter(named) {
            if self.waiting.insert(on.clone()) {
                news.push(RunProgress::Waiting { on: on.clone() });
            }
        }
        news
    }

    /// What an instance wrote since it was told.
    async fn lines(&mut self, control: &Control, env: &EnvId, id: &InstanceId) -> Vec<RunProgress> {
        let known = self.output.take().filter(|(known, _)| known == id);
        let mut reader = known.map_or_else(
            || {
                let query = ward_engine::LogQuery {
                    instances: Some([id.clone()].into()),
                    ..ward_engine::LogQuery::default()
                };
                control.engine().reader(env, query)
            },
            |(_, reader)| reader,
        );
        let looking = tokio::task::spawn_blocking(move || (reader.look(), reader));
        // A task that panicked would be a defect that is told as one: this goes on without its output.
        let Ok((lines, reader)) = looking.await else {
            return Vec::new();
        };
        self.output = Some((id.clone(), reader));
        let lines = lines.unwrap_or_default().into_iter();
        lines.map(|line| RunProgress::Output { line }).collect()
    }
}

fn decided(
    id: &EnvId,
    env: Option<&Environment>,
    actor: &Actor,
    request: &RunRequest,
) -> Result<Run, Refusal> {
    let conflict = |message: String| Refusal::new(RefusalKind::Conflict, message);
    let up = env.filter(|env| env.goal == Goal::Up);
    let serving = up.and_then(|env| Some((env, env.current_release()?)));
    let Some((env, release)) = serving else {
        let message = format!("no release of {id} serves, and a run is of one that does");
        return Err(conflict(message).hint("`ward status` shows how far it is"));
    };
    if env.runs.open.len() >= OPEN {
        let message = format!("{id} has {OPEN} runs that have not ended");
        return Err(
            conflict(message).hint("`ward job history` shows them, `ward job stop` ends one")
        );
    }
    let next = env.runs.last.next();
    match &request.what {
        What::Job(name) => {
            let job = release
                .spec
                .jobs
                .get(name)
                .ok_or_else(|| no_job(release, name))?;
            if let Some(open) = env.runs.of_job(name).next()
                && job.overlap == Overlap::Skip
            {
                let message = format!("{name} runs already: {} goes on", open.id);
                let hint =
                    "`ward job stop` ends it; `overlap = \"queue\"` lets runs wait for each other";
                return Err(conflict(message).hint(hint));
            }
            Ok(of_job((next, name, job), release.id, None, actor, now()))
        }
        What::Command { service, command } => {
            sensible(command, request.deadline)?;
            if !release.spec.services.contains_key(service) {
                return Err(no_service(release, service));
            }
            Ok(Run {
                id: next,
                job: None,
                due: None,
                service: service.clone(),
                release: release.id,
                command: command.clone(),
                deadline: request.deadline.unwrap_or(DEADLINE),
                retries: 0,
                overlap: Overlap::Allow,
                requested: now(),
                by: actor.who.clone(),
                attempts: Vec::new(),
                again: None,
                stopped: None,
            })
        }
    }
}

fn sensible(command: &[String], deadline: Option<Millis>) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(RefusalKind::Invalid, message));
    let bytes: usize = command.iter().map(|word| word.len() + 1).sum();
    match command.first() {
        None => invalid("there is no command to run".to_owned()),
        Some(program) if program.is_empty() => invalid("the program has no name".to_owned()),
        _ if command.iter().any(|word| word.contains('\0')) => {
            invalid("a NUL character cannot be an argument's".to_owned())
        }
        _ if bytes > COMMAND => invalid(format!(
            "the command has {bytes} bytes; {COMMAND} are the most"
        )),
        _ if deadline.is_some_and(|limit| !(Millis::secs(1)..=LONGEST).contains(&limit)) => {
            invalid("a deadline is 1s to 7d".to_owned())
        }
        _ => Ok(()),
    }
}

fn no_job(release: &Release, name: &Name) -> Refusal {
    let names = release.spec.jobs.keys().map(Name::as_str);
    let message = format!("{} of {} has no job {name}", release.id, release.spec.id);
    there_are(message, names, "its ward.toml declares none: `[job.NAME]`")
}

fn no_service(release: &Release, name: &Name) -> Refusal {
    let names = release.spec.services.keys().map(Name::as_str);
    let message = format!(
        "{} of {} has no service {name}",
        release.id, release.spec.id
    );
    there_are(message, names, "it has no service at all")
}

fn there_are<'a>(message: String, names: impl Iterator<Item = &'a str>, none: &str) -> Refusal {
    let names: Vec<&str> = names.collect();
    let hint = match names.is_empty() {
        true => none.to_owned(),
        false => format!("there are: {}", names.join(", ")),
    };
    Refusal::new(RefusalKind::NotFound, message).hint(hint)
}
