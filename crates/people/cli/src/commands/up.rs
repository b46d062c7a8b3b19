//! `up`: the platform, and what shall be up.

use std::fs;

use ward_types::id::EnvId;
use ward_types::release::Goal;
use ward_types::view::{
    DeployRequest, EnvironmentView, Held, Others, ReleaseView, RollbackRequest, StatusView,
    Unchanged, Until,
};

use super::{Context, Trouble, deploy, status};
use crate::args;
use crate::platform;
use crate::printer::Status;

pub(crate) async fn up(context: &Context, up: args::Up) -> Result<Status, Trouble> {
    let here = fs::exists("ward.toml").unwrap_or(false);
    let dir = match up.platform || up.all {
        true => None,
        false => up.dir.or_else(|| here.then(|| ".".into())),
    };
    let server = platform::ensure(&context.home, &up.addresses, &context.printer).await?;
    if up.all {
        return all(context, &up.why.text).await;
    }
    match dir {
        Some(dir) => {
            let request = DeployRequest {
                dir: deploy::absolute(&dir)?,
                env: up.env,
                why: up.why.text,
                unchanged: Unchanged::Keep,
                others: Others::Wait,
                until: Until::Verdict,
                rollback: Held::Kept,
                strategy: None,
                made: None,
            };
            deploy::send(context, &request).await
        }
        None => {
            if !up.platform {
                context
                    .printer
                    .say("bring an environment up with `ward up DIR`, the folder of a ward.toml");
            }
            if context.printer.is_json() {
                context.printer.json(&server); // Its log's state is in it.
            } else {
                status::log(&context.printer, &server);
            }
            Ok(Status::Success)
        }
    }
}

/// Brings up everything that is down, each as it was; what does not come up keeps the others from nothing.
async fn all(context: &Context, why: &str) -> Result<Status, Trouble> {
    let status: StatusView = context.client.get("/v1/status").await?;
    let is_down = |env: &EnvironmentView| env.goal == Goal::Down;
    let down: Vec<EnvId> = status
        .environments
        .into_iter()
        .filter(is_down)
        .map(|env| env.id)
        .collect();
    if down.is_empty() {
        context.printer.say("nothing is down");
        return Ok(Status::Success);
    }
    let mut failed = Vec::new();
    for env in down {
        context.printer.say(&format!("{env}:"));
        match as_it_was(context, &env, why).await {
            Ok(Status::Success) => {}
            Ok(status @ Status::Program(_)) => return Ok(status), // Whoever asked has left.
            Ok(_) => failed.push(env),
            Err(trouble) => {
                super::failed(&context.printer, &trouble);
                failed.push(env);
            }
        }
    }
    if failed.is_empty() {
        return Ok(Status::Success);
    }
    let names: Vec<&str> = failed.iter().map(EnvId::as_str).collect();
    let message = format!("{} did not come up", names.join(", "));
    let hint =
        "what went wrong is said above; the same command tries those again that are down still, \
                `ward status` shows the others"
            .to_owned();
    Err(Trouble::failure(message, Some(hint)))
}

/// Brings one up with the release that served last in it.
async fn as_it_was(context: &Context, env: &EnvId, why: &str) -> Result<Status, Trouble> {
    let path = format!("/v1/releases?env={env}");
    let releases: Vec<ReleaseView> = context.client.get(&path).await?;
    let Some(last) = releases.iter().find(|one| one.current) else {
        // There is nothing that it was: it is not for this to fail until somebody deploys or deletes it.
        context.printer.say(&format!(
            "no release has served in {env} yet; `ward deploy --env {}` in its folder brings it up",
            env.env()
        ));
        return Ok(Status::Success);
    };
    let request = RollbackRequest {
        env: Some(env.clone()),
        to: Some(last.id),
        despite_schema: None,
        why: why.to_owned(),
        others: Others::Wait,
        until: Until::Verdict,
    };
    let lines = context.client.post_lines("/v1/rollback", &request).await?;
    deploy::follow(context, lines).await
}
