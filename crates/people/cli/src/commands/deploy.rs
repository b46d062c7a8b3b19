//! `deploy`, `rollback`, `rollforward`, `down`: what changes an environment.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ward_api::ClientError;
use ward_api::client::Lines;
use ward_types::id::EnvId;
use ward_types::view::{
    Data, DeployRequest, DownRequest, EachRequest, Held, KeptDeployRequest, Others, Progress,
    RollbackRequest, StatusView, Unchanged, Until,
};

use super::{Context, Trouble};
use crate::args;
use crate::platform;
use crate::printer::Status;

pub(crate) async fn deploy(context: &Context, deploy: args::Deploy) -> Result<Status, Trouble> {
    if let Some(file) = &deploy.plan {
        return super::plan::carry_out(context, file, &deploy).await;
    }
    platform::ensure(&context.home, &deploy.addresses, &context.printer).await?;
    let unchanged = if deploy.force {
        Unchanged::Redeploy
    } else {
        Unchanged::Keep
    };
    if let Some(build) = deploy.build {
        let env = deploy.env.unwrap_or_else(args::dev);
        if let Some(stack) = &build.stack {
            context.printer.about(&EnvId::new(stack, &env));
        }
        let request = KeptDeployRequest {
            build,
            env,
            why: deploy.why.text,
            unchanged,
            others: deploy.pace.others(),
            until: deploy.pace.until(),
            strategy: deploy.strategy,
        };
        let client = &context.client;
        let lines = client.post_lines("/v1/builds/deploy", &request).await?;
        return follow(context, lines).await;
    }
    if !deploy.envs.is_empty() {
        let request = EachRequest {
            dir: absolute(&deploy.dir)?,
            envs: deploy.envs,
            why: deploy.why.text,
            unchanged,
            others: deploy.pace.others(),
            strategy: deploy.strategy,
        };
        let client = &context.client;
        let lines = client.post_lines("/v1/deploy/each", &request).await?;
        return follow(context, lines).await;
    }
    let request = DeployRequest {
        dir: absolute(&deploy.dir)?,
        env: deploy.env.unwrap_or_else(args::dev),
        why: deploy.why.text,
        unchanged,
        others: deploy.pace.others(),
        until: deploy.pace.until(),
        rollback: Held::Superseded,
        strategy: deploy.strategy,
        made: None,
    };
    send(context, &request).await
}

pub(super) fn absolute(dir: &Path) -> Result<String, Trouble> {
    let dir = fs::canonicalize(dir).map_err(|error| {
        let hint = "name the folder that holds ward.toml".to_owned();
        Trouble::failure(
            format!("cannot open the folder {}: {error}", dir.display()),
            Some(hint),
        )
    })?;
    dir.to_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| Trouble::usage(format!("the path {} is not UTF-8", dir.display())))
}

pub(super) async fn send(context: &Context, request: &DeployRequest) -> Result<Status, Trouble> {
    crate::env::of_folder(context, &request.dir, &request.env);
    let lines = context.client.post_lines("/v1/deploy", request).await?;
    follow(context, lines).await
}

impl args::Pace {
    pub(super) fn others(&self) -> Others {
        match self.supersede {
            true => Others::Cancel,
            false => Others::Wait,
        }
    }

    pub(super) fn until(&self) -> Until {
        match self.no_wait {
            true => Until::Queued,
            false => Until::Verdict,
        }
    }
}

pub(crate) async fn go_to(
    context: &Context,
    path: &str,
    to: args::GoTo,
) -> Result<Status, Trouble> {
    let env = crate::env::find(context, to.env.env.as_deref()).await?;
    let request = RollbackRequest {
        env: Some(env),
        to: to.to,
        despite_schema: to.despite_schema,
        why: to.why.text,
        others: to.pace.others(),
        until: to.pace.until(),
    };
    follow(context, context.client.post_lines(path, &request).await?).await
}

pub(crate) async fn down(context: &Context, down: args::Down) -> Result<Status, Trouble> {
    let Some(status) = reached(context, &down).await? else {
        let done = Progress::Done {
            message: "nothing runs".to_owned(),
            addresses: Vec::new(),
        };
        context.printer.progress(&done);
        return Ok(Status::Success);
    };
    let env = match &down.env.env {
        Some(name) => Some(crate::env::find(context, Some(name)).await?),
        None => None,
    };
    let named = env.is_some() || !status.environments.is_empty();
    if down.purge
        && !down.yes
        && named
        && !confirmed(env.as_ref().map(|env| env.as_str()), &status)?
    {
        context.printer.say("nothing was changed");
        return Ok(Status::Failure);
    }
    let data = if down.purge { Data::Purge } else { Data::Keep };
    let whole = env.is_none();
    let request = DownRequest {
        env,
        data,
        why: down.why.text,
    };
    let ended = follow(
        context,
        context.client.post_lines("/v1/down", &request).await?,
    )
    .await?;
    if whole && ended == Status::Success {
        context.client.post::<()>("/v1/shutdown", &()).await?;
        gone(context, status.server.pid).await?;
        context.printer.done("the platform is stopped");
    }
    Ok(ended)
}

/// The status of the server that takes things down. Where none runs although instances do (it was
/// killed), or data shall go that only it knows, one is started for it; `None` when there is nothing.
async fn reached(context: &Context, down: &args::Down) -> Result<Option<StatusView>, Trouble> {
    match context.client.get::<StatusView>("/v1/status").await {
        Ok(status) => return Ok(Some(status)),
        Err(ClientError::NotRunning { .. }) => {}
        Err(other) => return Err(other.into()),
    }
    let data = down.purge && context.home.join("ward.db").exists();
    let gateway = ward_gateway::control::Control::new(&context.home);
    if !data && !platform::left_behind(&context.home) && gateway.observe().await.is_err() {
        return Ok(None);
    }
    if down.purge && !down.yes {
        askable(PURGES)?; // Before a server is started that nobody would stop.
    }
    platform::ensure(&context.home, &args::Addresses::ANY, &context.printer).await?;
    Ok(Some(context.client.get("/v1/status").await?))
}

/// Waits until the server's process is gone, so that `ward down && ward up` starts a new one.
pub(super) async fn gone(context: &Context, pid: u32) -> Result<(), Trouble> {
    let process = Path::new("/proc").join(pid.to_string());
    for _ in 0..500 {
        let answers = context.client.get::<StatusView>("/v1/status").await.is_ok();
        if !answers && !process.join("exe").exists() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let message =
        format!("the server (process {pid}) was asked to end, and has not ended within 5 s");
    let hint =
        format!("see server.log in the state folder; `kill -9 {pid}` ends it, and loses nothing");
    Err(Trouble::failure(message, Some(hint)))
}

/// What is said where nobody can be asked.
const PURGES: &str = "--purge removes data and secrets, and there is no terminal to ask at";

/// Whether somebody is there to be asked.
fn askable(refused: &str) -> Result<(), Trouble> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Trouble::failure(
        refused.to_owned(),
        Some("add --yes to go on without being asked".to_owned()),
    ))
}

/// Whether whoever is asked says yes.
pub(super) fn agreed(question: &str, refused: &str) -> Result<bool, Trouble> {
    askable(refused)?;
    let _ = write!(anstream::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn confirmed(env: Option<&str>, status: &StatusView) -> Result<bool, Trouble> {
    let all: Vec<&str> = status
        .environments
        .iter()
        .map(|env| env.id.as_str())
        .collect();
    let which = env.map_or_else(|| all.join(", "), str::to_owned);
    agreed(
        &format!(
            "Remove the data of {which} for good, and all secrets, also those that people set? Backups stay."
        ),
        PURGES,
    )
}

/// A build that ends within this is not worth a sentence of its own.
const QUIET: Duration = Duration::from_secs(1);

/// What was asked for does not end with the terminal that asked.
fn left_alone(context: &Context) -> Status {
    left(
        context,
        "`ward deployment watch` follows it, `ward deployment cancel` takes it back",
    )
}

/// The same, with what follows it.
pub(super) fn left(context: &Context, hint: &str) -> Status {
    let message = "it goes on without this terminal";
    context.printer.warning(message, hint);
    Status::Program(130) // As a shell says of what SIGINT ended.
}

pub(super) async fn follow(context: &Context, lines: Lines) -> Result<Status, Trouble> {
    let ended = followed(context, lines).await?;
    Ok(ended.unwrap_or_else(|| left_alone(context)))
}

/// Tells what comes; `None` where whoever is told leaves before the end.
pub(super) async fn followed(
    context: &Context,
    mut lines: Lines,
) -> Result<Option<Status>, Trouble> {
    let mut building = BTreeSet::new();
    let mut since = Instant::now();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let progress = tokio::select! {
            progress = lines.next::<Progress>() => progress?,
            _ = &mut interrupted => return Ok(None),
        };
        let Some(progress) = progress else { break };
        match &progress {
            Progress::Output { source, .. } => {
                if since.elapsed() > QUIET && building.insert(source.clone()) {
                    context.printer.building(source);
                }
            }
            Progress::Step { message, .. } => {
                building.extend(message.strip_suffix(": building").map(str::to_owned));
                since = Instant::now();
            }
            _ => since = Instant::now(),
        }
        if let Some(status) = context.printer.progress(&progress) {
            return Ok(Some(status));
        }
    }
    let hint = "the deployment goes on without this terminal; see `ward status`".to_owned();
    Err(Trouble::failure(
        "the server went away in the middle".to_owned(),
        Some(hint),
    ))
}
