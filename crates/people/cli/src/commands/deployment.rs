//! `deployment`: how one stands, how it goes, and what it shall do.

use owo_colors::OwoColorize;
use ward_types::id::EnvId;
use ward_types::view::{CancelRequest, DeploymentDetail, Steer, SteerRequest, ending};

use super::deploy::follow;
use super::pipeline::quoted;
use super::status::moment;
use super::{Context, Trouble};
use crate::args;
use crate::hints;
use crate::printer::Status;

pub(crate) async fn deployment(
    context: &Context,
    deployment: args::Deployment,
) -> Result<Status, Trouble> {
    match deployment {
        args::Deployment::Show(of) => show(context, &of).await,
        args::Deployment::Watch(of) => {
            let query = query(&environment(context, &of).await?, &of);
            let path = format!("/v1/deployments/watch{query}");
            follow(context, context.client.get_lines(&path).await?).await
        }
        args::Deployment::Pause(steered) => steer(context, steered, Steer::Pause).await,
        args::Deployment::Resume(steered) => steer(context, steered, Steer::Resume).await,
        args::Deployment::Promote { steered, stage } => {
            let steer_to = match stage {
                true => Steer::PromoteStage,
                false => Steer::Promote,
            };
            steer(context, steered, steer_to).await
        }
        args::Deployment::Cancel(args::Steered { of, why }) => {
            let request = CancelRequest {
                env: Some(environment(context, &of).await?),
                deployment: of.deployment,
                why: why.text,
            };
            let path = "/v1/deployments/cancel";
            let lines = context.client.post_lines(path, &request).await?;
            follow(context, lines).await
        }
    }
}

async fn steer(context: &Context, steered: args::Steered, steer: Steer) -> Result<Status, Trouble> {
    let request = SteerRequest {
        env: Some(environment(context, &steered.of).await?),
        deployment: steered.of.deployment,
        steer,
        why: steered.why.text,
    };
    let path = "/v1/deployments/steer";
    let detail: DeploymentDetail = context.client.post(path, &request).await?;
    if context.printer.is_json() {
        context.printer.json(&detail);
    } else {
        tell(context, &detail);
    }
    Ok(Status::Success)
}

async fn environment(context: &Context, of: &args::OfDeployment) -> Result<EnvId, Trouble> {
    crate::env::find(context, of.env.env.as_deref()).await
}

fn query(env: &EnvId, of: &args::OfDeployment) -> String {
    match of.deployment {
        Some(deployment) => format!("?env={env}&deployment={}", deployment.0),
        None => format!("?env={env}"),
    }
}

async fn show(context: &Context, of: &args::OfDeployment) -> Result<Status, Trouble> {
    let query = query(&environment(context, of).await?, of);
    let path = format!("/v1/deployments{query}");
    let detail: DeploymentDetail = context.client.get(&path).await?;
    if context.printer.is_json() {
        context.printer.json(&detail);
    } else {
        tell(context, &detail);
    }
    Ok(Status::Success)
}

fn tell(context: &Context, detail: &DeploymentDetail) {
    let deployment = &detail.deployment;
    let from = match deployment.from {
        Some(from) => format!("from {from} "),
        None => String::new(),
    };
    let how = deployment
        .verdict
        .map_or(deployment.phase.clone(), |verdict| {
            ending(verdict, deployment.cancelled.as_ref())
        });
    let data = |line: &str| context.printer.sentence(&hints::on(&detail.env, line));
    data(&format!(
        "{} of {}   {from}to {}   {}",
        deployment.id.bold(),
        detail.env,
        deployment.to,
        how.bold()
    ));
    let (reason, why) = (deployment.reason, quoted(&detail.why));
    data(&format!(
        "  {reason} asked for by {} at {}{why}",
        detail.by,
        moment(detail.requested)
    ));
    if let Some(plan) = &detail.plan {
        data(&format!("  carries out the plan {plan}"));
    }
    if let Some(ended) = detail.ended {
        data(&format!("  ended at {}", moment(ended)));
    }
    let known = deployment.verdict.is_some() && deployment.cancelled.is_some();
    if let Some(by) = detail.cancelled.as_ref().filter(|_| !known) {
        data(&format!("  cancelled by {by}"));
    }
    if let Some(by) = &detail.paused {
        let at = detail.paused_at.map(|at| format!(" at {}", moment(at)));
        let (at, why) = (at.unwrap_or_default(), quoted(&detail.paused_why));
        data(&format!("  paused by {by}{at}{why}"));
    }
    if let Some(why) = &detail.despite_schema {
        data(&format!("  despite the schema: {why}"));
    }
    if let Some(lease) = &detail.lease {
        data(&format!(
            "  carried on by the server {} (process {}), which gave its last sign of life {:.1} s ago",
            lease.term,
            lease.pid,
            lease.silent.duration().as_secs_f64()
        ));
    }
    for service in &detail.release_commands {
        data(&format!(
            "  `ward logs {service} --release {}` shows what its release command wrote",
            deployment.to
        ));
    }
    if deployment.verdict.is_none() {
        data(&format!(
            "  {} since {}",
            deployment.phase,
            moment(detail.phase_since)
        ));
    }
    for gap in &deployment.gaps {
        data(&format!("  {gap}"));
    }
    for sentence in &detail.waiting {
        data(&format!("  {sentence}"));
    }
    if let Some(failure) = &deployment.failure {
        data(&format!("  {}", failure.message));
        for line in &failure.output {
            context.printer.data(&format!("  | {line}"));
        }
        if let Some(hint) = &failure.hint {
            data(&format!("  {hint}"));
        }
    }
}
