//! `plan`, `deploy --plan` and `env diff`: what would change, what differs, and to change exactly that.

use std::fs;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use ward_types::changes::{CarryOutRequest, EnvDiffView, Keep, Outcome, PlanRequest, PlanView};
use ward_types::view::Progress;

use super::deploy::{absolute, follow};
use super::{Context, Trouble};
use crate::args;
use crate::changes;
use crate::platform;
use crate::printer::Status;

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
    let read: File = serde_json::from_str(&text).map_err(|error| {
        let message = format!(
            "{} is no plan that this version of Ward can read: {error}",
            file.display()
        );
        Trouble::failure(
            message,
            Some("`ward plan --out FILE` writes one".to_owned()),
        )
    })?;
    Ok(shown(context, &read.plan.view, ""))
}

async fn make(context: &Context, plan: &args::Plan) -> Result<Status, Trouble> {
    let dir = absolute(&plan.dir)?;
    platform::ensure(&context.home, &plan.addresses, &context.printer).await?;
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
    let mut lines = context.client.post_lines("/v1/plan", &request).await?;
    while let Some(progress) = lines.next::<Progress>().await? {
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
                    let (out, until) = (out.display(), kept.valid_until);
                    context.printer.say(&format!(
                        "`ward deploy --plan {out}` carries out exactly this, until {until}"
                    ));
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
    let hint = "nothing was changed; see `ward status`".to_owned();
    Err(Trouble::failure(
        "the server went away in the middle".to_owned(),
        Some(hint),
    ))
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
        Outcome::Forbidden => Status::Failure,
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
