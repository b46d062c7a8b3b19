//! `plan`, `deploy --plan` and `env diff`: what would change, what differs, and to change exactly that.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use ward_api::ClientError;
use ward_api::client::Lines;
use ward_server::{Actor, Reading, ReadingOptions, StartError, as_written, once};
use ward_types::changes::{CarryOutRequest, EnvDiffView, Keep, Outcome, PlanRequest, PlanView};
use ward_types::id::Name;
use ward_types::view::Progress;

use super::deploy::{absolute, follow};
use super::processes::chain;
use super::status::moment;
use super::{Context, Trouble};
use crate::args;
use crate::changes;
use crate::platform;
use crate::printer::Status;
use crate::value::Signals;

pub(crate) async fn plan(context: &Context, plan: args::Plan) -> Result<Status, Trouble> {
    match &plan.show {
        Some(file) => show(context, file),
        None => make(context, &plan)
            .await
            .map_err(|trouble| trouble.ending_with(Status::Failure)),
    }
}

/// No plan is larger, in bytes.
const LARGEST: u64 = 16 << 20;

/// A plan that was written, also one that can be carried out no more: it says what it was.
fn show(context: &Context, file: &Path) -> Result<Status, Trouble> {
    #[derive(Deserialize)]
    struct Plan {
        view: PlanView,
    }
    #[derive(Deserialize)]
    struct File {
        plan: Plan,
    }
    let text = text(file)?;
    let read = once::read(&text).and_then(serde_json::from_value::<File>);
    let read = read.map_err(|error| {
        let message = format!(
            "{} is no plan that this version of Ward can read: {error}",
            file.display()
        );
        Trouble::failure(
            message,
            Some("`ward plan --out FILE` writes one".to_owned()),
        )
    })?;
    as_written(&text).map_err(|refusal| Trouble::failure(refusal.message, refusal.hint))?;
    Ok(shown(context, &read.plan.view, ""))
}

async fn make(context: &Context, plan: &args::Plan) -> Result<Status, Trouble> {
    let dir = absolute(&plan.dir)?;
    crate::env::of_folder(context, &dir, &plan.env);
    let request = PlanRequest {
        dir,
        env: plan.env.clone(),
        strategy: plan.strategy.clone(),
        keep: match plan.out {
            Some(_) => Keep::Yes,
            None => Keep::No,
        },
    };
    let mut told = asked(context, plan, &request).await?;
    while let Some(progress) = told.next().await? {
        match progress {
            Progress::Planned {
                plan: view,
                rendered,
                file,
            } => {
                if let (Some(out), Some(file)) = (&plan.out, file) {
                    written(out, &file)?;
                }
                let status = shown(context, &view, &rendered);
                if let (Some(out), Some(kept)) = (&plan.out, &view.kept) {
                    let (out, until) = (out.display(), moment(kept.valid_until));
                    context.printer.say(&match view.outcome.is_refused() {
                        false => format!(
                            "`ward deploy --plan {out}` carries out exactly this, until {until}"
                        ),
                        true => format!(
                            "the plan is in {out}; as things are `ward deploy --plan {out}` is refused, too"
                        ),
                    });
                }
                return Ok(status);
            }
            Progress::Failed { message, hint } => return Err(Trouble::failure(message, hint)),
            // One value is asked for, and not how it comes about.
            Progress::Step { .. } | Progress::Output { .. } | Progress::Waiting { .. }
                if context.printer.is_json() => {}
            // Whatever is wrong is no change: 2 says that there are some.
            other => {
                if context.printer.progress(&other).is_some() {
                    return Ok(Status::Failure);
                }
            }
        }
    }
    let (message, hint) = match told {
        Told::Server(_) => (
            "the server went away in the middle",
            "nothing was changed; see `ward status`",
        ),
        Told::Here { .. } => (
            "no plan was made: it ended in the middle",
            "nothing was changed; ask again, and report it if it ends again",
        ),
    };
    Err(Trouble::failure(message.to_owned(), Some(hint.to_owned())))
}

/// Who makes the plan, and tells how it goes.
enum Told {
    /// The server that runs.
    Server(Lines),
    /// This process, because none does.
    Here {
        told: mpsc::Receiver<Progress>,
        planning: JoinHandle<()>,
        signals: Signals,
    },
}

impl Told {
    async fn next(&mut self) -> Result<Option<Progress>, Trouble> {
        match self {
            Told::Server(lines) => Ok(lines.next().await?),
            Told::Here {
                told,
                planning,
                signals,
            } => tokio::select! {
                progress = told.recv() => Ok(progress),
                status = signals.any() => {
                    // What is being built ends with it.
                    planning.abort();
                    let _ = planning.await;
                    let message = "no plan was made; nothing was changed".to_owned();
                    Err(Trouble::failure(message, None).ending_with(status))
                }
            },
        }
    }
}

/// How long a state folder may be another's that neither answers nor ends.
const TAKEN_FOR: Duration = Duration::from_secs(20);

/// Between two looks whether it still is.
const AGAIN: Duration = Duration::from_millis(50);

/// Asks the server, and where none runs the state folder itself: a question starts no platform.
async fn asked(
    context: &Context,
    plan: &args::Plan,
    request: &PlanRequest,
) -> Result<Told, Trouble> {
    let deadline = tokio::time::Instant::now() + TAKEN_FOR;
    loop {
        match context.client.post_lines("/v1/plan", request).await {
            Ok(lines) => return Ok(Told::Server(lines)),
            Err(ClientError::NotRunning { .. }) => {}
            Err(other) => return Err(other.into()),
        }
        match Reading::open(reading(context, plan)?).await {
            Ok(reading) => return here(reading, request),
            Err(error) if error.is_taken() && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(unread(context, &error)),
        }
    }
}

fn reading(context: &Context, plan: &args::Plan) -> Result<ReadingOptions, Trouble> {
    let exe = std::env::current_exe()
        .map_err(|error| Trouble::failure(format!("cannot find the ward binary: {error}"), None))?;
    let addresses = &plan.addresses;
    let region = region()?;
    Ok(ReadingOptions {
        home: context.home.clone(),
        exe,
        addresses: [addresses.http(), addresses.https(), addresses.registry()],
        region,
    })
}

/// Where a Ward would be that is started in this shell.
fn region() -> Result<Option<Name>, Trouble> {
    let Ok(region) = std::env::var("WARD_REGION") else {
        return Ok(None);
    };
    let wrong = |error| {
        Trouble::failure(
            format!("WARD_REGION={region:?} names no region: {error}"),
            Some("it is a name such as eu; without the variable this Ward is in none".to_owned()),
        )
    };
    Name::parse(&region).map(Some).map_err(wrong)
}

fn here(reading: Reading, request: &PlanRequest) -> Result<Told, Trouble> {
    let actor = Actor::of_uid(rustix::process::geteuid().as_raw());
    let signals = Signals::listen()?;
    let (steps, told) = mpsc::channel(256);
    let request = request.clone();
    let planning = tokio::spawn(async move { reading.plan(actor, request, steps).await });
    Ok(Told::Here {
        told,
        planning,
        signals,
    })
}

fn unread(context: &Context, error: &StartError) -> Trouble {
    let home = context.home.display();
    let (message, hint) = match error.is_taken() {
        true => (
            format!("{home} is another process's just now, which does not answer"),
            "a server that starts or ends, or another `ward plan`, has it; ask again in a moment",
        ),
        false => (
            format!(
                "no platform runs, and {home} cannot be read: {}",
                chain(error)
            ),
            "`ward up --platform` starts one, and may say more",
        ),
    };
    Trouble::failure(message, Some(hint.to_owned()))
}

fn shown(context: &Context, plan: &PlanView, rendered: &str) -> Status {
    match context.printer.is_json() {
        true => context.printer.json(plan),
        false => changes::plan(&context.printer, plan, rendered),
    }
    match plan.outcome {
        // What other hands changed, and Ward has not put right yet, is a change of what runs.
        Outcome::Nothing if plan.drift.iter().any(|drift| !drift.put_right) => Status::Changes,
        Outcome::Nothing => Status::Success,
        Outcome::Changes => Status::Changes,
        Outcome::Forbidden | Outcome::Refused => Status::Failure,
    }
}

fn written(out: &Path, file: &str) -> Result<(), Trouble> {
    fs::write(out, file).map_err(|error| {
        let message = format!("the plan cannot be written to {}: {error}", out.display());
        Trouble::failure(message, Some("nothing was changed".to_owned()))
    })
}

fn text(file: &Path) -> Result<String, Trouble> {
    let trouble = |error: String| {
        let message = format!("the plan {} cannot be read: {error}", file.display());
        let hint = "`ward plan --out FILE` writes one";
        Trouble::failure(message, Some(hint.to_owned()))
    };
    let mut text = String::new();
    let opened = fs::File::open(file).map_err(|error| trouble(error.to_string()))?;
    let read = opened.take(LARGEST + 1).read_to_string(&mut text);
    match read.map_err(|error| trouble(error.to_string()))? as u64 {
        ..=LARGEST => Ok(text),
        _ => Err(trouble("it is larger than any plan".to_owned())),
    }
}

/// Carries out what a file says, and nothing else.
pub(crate) async fn carry_out(
    context: &Context,
    file: &Path,
    deploy: &args::Deploy,
) -> Result<Status, Trouble> {
    let request = CarryOutRequest {
        file: text(file)?,
        env: deploy.env.clone(),
        why: deploy.why.text.clone(),
        others: deploy.pace.others(),
        until: deploy.pace.until(),
    };
    platform::ensure(&context.home, &deploy.addresses, &context.printer).await?;
    follow(
        context,
        context
            .client
            .post_lines("/v1/plan/carry-out", &request)
            .await?,
    )
    .await
}

pub(crate) async fn env_diff(context: &Context, diff: &args::EnvDiff) -> Result<Status, Trouble> {
    compared(context, diff)
        .await
        .map_err(|trouble| trouble.ending_with(Status::Failure))
}

async fn compared(context: &Context, diff: &args::EnvDiff) -> Result<Status, Trouble> {
    let from = crate::env::named(context, Some(&diff.from)).await?;
    let to = crate::env::named(context, Some(&diff.to)).await?;
    let path = format!("/v1/environments/diff?from={from}&to={to}");
    let view: EnvDiffView = context.client.get(&path).await?;
    match context.printer.is_json() {
        true => context.printer.json(&view),
        false => changes::env_diff(&context.printer, &view),
    }
    Ok(match view.changes.is_empty() {
        true => Status::Success,
        false => Status::Changes,
    })
}
