//! Each route, and the call on the server's [`Control`] that it stands for. No rule lives here.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use ward_server::{
    Actor, Control, Direction, Keys, LogQuery, Purged, Refusal, RefusalKind, Sought,
};
use ward_types::changes::{CarryOutRequest, EnvDiffView, PlanRequest};
use ward_types::environments::{
    CreateRequest, DeleteRequest, EnvironmentDetail, EnvironmentsView, ExtendRequest, NapRequest,
};
use ward_types::id::{DeploymentId, EnvId, Name, PipelineRunId, ReleaseId};
use ward_types::run::{Run, RunRequest, RunsView, StopRequest};
use ward_types::secrets::SecretName;
use ward_types::source::KeptBuild;
use ward_types::time::Timestamp;
use ward_types::view::{
    AddSource, AddedSource, AuditView, BackupRequest, BackupsView, BuildRequest, CancelRequest,
    ConfigRequest, ConfigVersion, ConfigView, DeleteVolumeRequest, DeployRequest, DeploymentDetail,
    DeploymentQuery, DownRequest, EachRequest, ErrorView, EventsView, ExecRequest, ExecTarget,
    HandedOver, KeptDeployRequest, MaintenanceAnswer, MaintenanceRequest, PipelineRequest,
    PipelineRunView, PolicyRequest, PolicyView, PromoteRequest, PushedRequest, RekeyRequest,
    RekeyView, ReleaseDetail, ReleaseView, RemoveSource, RestoreRequest, RollbackRequest,
    RotateRequest, SecretRequest, SecretVersionView, SecretsView, SetToken, SourceView, StatusView,
    SteerRequest, SyncRequest, TrafficView, VolumesView, VoteRequest, WaiveRequest,
};

/// A plan holds two releases whole, as text in a text.
const LARGEST_PLAN: usize = 64 << 20;

/// What every user of the machine may do: see pipelines, and give a word about one. Whether it counts is for the
/// pipeline to say. Each request must carry an [`Actor`] extension.
pub fn people(control: Control) -> Router {
    Router::new()
        .route("/v1/pipelines", get(pipelines))
        .route("/v1/pipelines/vote", post(vote))
        .method_not_allowed_fallback(not_for_people)
        .fallback(not_for_people)
        .with_state(control)
}

async fn not_for_people() -> Response {
    let view = ErrorView {
        message: "this socket is for `ward pipeline show`, `approve` and `reject` alone".to_owned(),
        hint: Some(
            "everything else is for whoever runs Ward, with its state folder as WARD_HOME"
                .to_owned(),
        ),
    };
    (StatusCode::FORBIDDEN, Json(view)).into_response()
}

/// The API as a router over `control`. Each request must carry an [`Actor`] extension.
pub fn router(control: Control) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/releases", get(releases))
        .route("/v1/releases/show", get(release))
        .route("/v1/deploy", post(deploy))
        .route("/v1/deploy/each", post(deploy_each))
        .route("/v1/promote", post(promote))
        .route("/v1/pipelines", get(pipelines).post(run_pipeline))
        .route("/v1/pipelines/vote", post(vote))
        .route("/v1/builds", get(builds).post(build))
        .route("/v1/builds/deploy", post(deploy_kept))
        .route("/v1/sources", get(sources).post(add_source))
        .route("/v1/sources/token", post(set_source_token))
        .route("/v1/sources/remove", post(remove_source))
        .route("/v1/sources/sync", post(sync_source))
        .route("/v1/sources/pushed", post(pushed))
        .route("/v1/plan", post(plan))
        .route(
            "/v1/plan/carry-out",
            post(carry_out).layer(DefaultBodyLimit::max(LARGEST_PLAN)),
        )
        .route("/v1/environments/diff", get(env_diff))
        .route("/v1/policy", post(policy))
        .route("/v1/policy/waive", post(waive))
        .route("/v1/rollback", post(rollback))
        .route("/v1/rollforward", post(rollforward))
        .route("/v1/deployments", get(deployment))
        .route("/v1/deployments/watch", get(watch))
        .route("/v1/deployments/cancel", post(cancel))
        .route("/v1/deployments/steer", post(steer))
        .route("/v1/config", get(configuration).post(configure))
        .route("/v1/config/history", get(configuration_history))
        .route("/v1/secrets", get(secrets).post(set_secrets))
        .route("/v1/secrets/history", get(secret_history))
        .route("/v1/secrets/rotate", post(rotate_secret))
        .route("/v1/secrets/rekey", post(rekey))
        .route("/v1/maintenance", post(maintain))
        .route("/v1/environments", get(environments))
        .route("/v1/environments/create", post(create))
        .route("/v1/environments/extend", post(extend))
        .route("/v1/environments/sleep", post(sleep))
        .route("/v1/environments/wake", post(wake))
        .route("/v1/environments/delete", post(delete))
        .route("/v1/backups", get(backups).post(backup))
        .route("/v1/volumes", get(volumes))
        .route("/v1/volumes/restore", post(restore_volume))
        .route("/v1/volumes/restorable", post(restorable))
        .route("/v1/volumes/delete", post(delete_volume))
        .route("/v1/down", post(down))
        .route("/v1/shutdown", post(shutdown))
        .route("/v1/handover", post(hand_over))
        .route("/v1/runs", get(runs).post(run))
        .route("/v1/runs/stop", post(stop_run))
        .route("/v1/events", get(events))
        .route("/v1/logs", get(logs))
        .route("/v1/access", get(access))
        .route("/v1/traffic", get(traffic))
        .route("/v1/exec", post(exec))
        .route("/v1/audit/verify", get(verify))
        .with_state(control)
}

/// A refusal on its way to the client.
struct Refused(Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.0.kind {
            RefusalKind::NotFound => StatusCode::NOT_FOUND,
            RefusalKind::Conflict => StatusCode::CONFLICT,
            RefusalKind::Invalid => StatusCode::BAD_REQUEST,
            RefusalKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let view = ErrorView {
            message: self.0.message,
            hint: self.0.hint,
        };
        (status, Json(view)).into_response()
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

type Answer<T> = Result<Json<T>, Refused>;

#[derive(Deserialize)]
struct OfEnv {
    env: Option<EnvId>,
}

#[derive(Deserialize)]
struct StatusQuery {
    env: Option<EnvId>,
    #[serde(default)]
    purged: bool,
    #[serde(default)]
    keys: bool,
}

#[derive(Deserialize)]
struct EventsQuery {
    env: Option<EnvId>,
    after: Option<u64>,
    limit: Option<usize>,
    #[serde(default)]
    follow: bool,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    by: Option<String>,
    release: Option<ReleaseId>,
    deployment: Option<DeploymentId>,
    /// The stack whose environments are meant, where none is named.
    stack: Option<Name>,
}

async fn status(
    State(control): State<Control>,
    Query(query): Query<StatusQuery>,
) -> Answer<StatusView> {
    let purged = match query.purged {
        true => Purged::Shown,
        false => Purged::Hidden,
    };
    let keys = match query.keys {
        true => Keys::LookedFor,
        false => Keys::Unasked,
    };
    let status = control.status(query.env.as_ref(), purged, keys);
    Ok(Json(status.await?))
}

/// What is read from the log, which may be long, where nobody else waits for it.
async fn reading<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Answer<T> {
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => Ok(Json(read?)),
        Err(ended) => Err(Refusal::failed("the log was not read", &ended).into()),
    }
}

#[derive(Deserialize)]
struct ReleasesQuery {
    env: Option<EnvId>,
    limit: Option<usize>,
}

async fn releases(
    State(control): State<Control>,
    Query(query): Query<ReleasesQuery>,
) -> Answer<Vec<ReleaseView>> {
    let env = control.environment(query.env.as_ref())?;
    let limit = query.limit.unwrap_or(usize::MAX);
    reading(move || control.releases(&env, limit)).await
}

#[derive(Deserialize)]
struct OneRelease {
    env: Option<EnvId>,
    release: ReleaseId,
}

async fn release(
    State(control): State<Control>,
    Query(query): Query<OneRelease>,
) -> Answer<ReleaseDetail> {
    let env = control.environment(query.env.as_ref())?;
    reading(move || control.release(&env, query.release)).await
}

async fn deploy(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<DeployRequest>,
) -> Response {
    streamed(|progress| control.deploy(actor, request, progress))
}

async fn deploy_each(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<EachRequest>,
) -> Response {
    streamed(|progress| control.deploy_each(actor, request, progress))
}

#[derive(Deserialize)]
struct RunQuery {
    run: Option<PipelineRunId>,
}

async fn pipelines(
    State(control): State<Control>,
    Query(query): Query<RunQuery>,
) -> Answer<Vec<PipelineRunView>> {
    Ok(Json(control.pipelines(query.run)?))
}

async fn run_pipeline(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<PipelineRequest>,
) -> Response {
    streamed(|progress| control.run_pipeline(actor, request, progress))
}

async fn vote(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<VoteRequest>,
) -> Answer<PipelineRunView> {
    Ok(Json(control.vote(&actor, &request).await?))
}

async fn promote(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<PromoteRequest>,
) -> Response {
    streamed(|progress| control.promote(actor, request, progress))
}

async fn builds(State(control): State<Control>) -> Answer<Vec<KeptBuild>> {
    Ok(Json(control.kept_builds()))
}

async fn build(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<BuildRequest>,
) -> Response {
    streamed(|progress| control.build(actor, request, progress))
}

async fn deploy_kept(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<KeptDeployRequest>,
) -> Response {
    streamed(|progress| control.deploy_kept(actor, request, progress))
}

#[derive(Deserialize)]
struct OfSource {
    name: Option<Name>,
}

async fn sources(
    State(control): State<Control>,
    Query(query): Query<OfSource>,
) -> Answer<Vec<SourceView>> {
    Ok(Json(control.sources(query.name.as_ref())?))
}

async fn add_source(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<AddSource>,
) -> Answer<AddedSource> {
    Ok(Json(control.add_source(&actor, request).await?))
}

async fn set_source_token(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<SetToken>,
) -> Answer<()> {
    Ok(Json(control.set_source_token(&actor, request).await?))
}

async fn remove_source(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<RemoveSource>,
) -> Answer<()> {
    Ok(Json(control.remove_source(&actor, &request).await?))
}

async fn sync_source(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<SyncRequest>,
) -> Response {
    streamed(|progress| control.sync_source(actor, request, progress))
}

async fn pushed(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<PushedRequest>,
) -> Response {
    streamed(|progress| control.pushed(actor, request, progress))
}

async fn plan(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<PlanRequest>,
) -> Response {
    streamed(|progress| control.plan(actor, request, progress))
}

async fn carry_out(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<CarryOutRequest>,
) -> Response {
    streamed(|progress| control.carry_out(actor, request, progress))
}

#[derive(Deserialize)]
struct TwoEnvironments {
    from: EnvId,
    to: EnvId,
}

async fn env_diff(
    State(control): State<Control>,
    Query(two): Query<TwoEnvironments>,
) -> Answer<EnvDiffView> {
    Ok(Json(control.env_diff(&two.from, &two.to)?))
}

async fn policy(
    State(control): State<Control>,
    Json(request): Json<PolicyRequest>,
) -> Answer<PolicyView> {
    Ok(Json(control.policy(&request)?))
}

async fn waive(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<WaiveRequest>,
) -> Answer<PolicyView> {
    Ok(Json(control.waive(&actor, &request).await?))
}

async fn rollback(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<RollbackRequest>,
) -> Response {
    streamed(|progress| control.go_to(actor, Direction::Back, request, progress))
}

async fn rollforward(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<RollbackRequest>,
) -> Response {
    streamed(|progress| control.go_to(actor, Direction::Forward, request, progress))
}

async fn deployment(
    State(control): State<Control>,
    Query(query): Query<DeploymentQuery>,
) -> Answer<DeploymentDetail> {
    Ok(Json(control.deployment(&query).await?))
}

async fn watch(
    State(control): State<Control>,
    Query(query): Query<DeploymentQuery>,
) -> Result<Response, Refused> {
    let (sender, receiver) = mpsc::channel(256);
    control.watch(&query, sender)?;
    Ok(lines(receiver))
}

async fn cancel(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<CancelRequest>,
) -> Response {
    streamed(|progress| control.cancel(actor, request, progress))
}

async fn steer(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<SteerRequest>,
) -> Answer<DeploymentDetail> {
    Ok(Json(control.steer(&actor, &request).await?))
}

async fn configure(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<ConfigRequest>,
) -> Response {
    streamed(|progress| control.configure(actor, request, progress))
}

async fn configuration(
    State(control): State<Control>,
    Query(query): Query<OfEnv>,
) -> Answer<ConfigView> {
    let env = control.environment(query.env.as_ref())?;
    Ok(Json(control.configuration(&env)?))
}

async fn configuration_history(
    State(control): State<Control>,
    Query(query): Query<OfEnv>,
) -> Answer<Vec<ConfigVersion>> {
    let env = control.environment(query.env.as_ref())?;
    Ok(Json(control.configuration_history(&env)?))
}

async fn set_secrets(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<SecretRequest>,
) -> Response {
    streamed(|progress| control.set_secrets(actor, request, progress))
}

async fn secrets(
    State(control): State<Control>,
    Query(query): Query<OfEnv>,
) -> Answer<SecretsView> {
    let env = control.environment(query.env.as_ref())?;
    Ok(Json(control.secrets(&env)?))
}

#[derive(Deserialize)]
struct OfSecret {
    env: Option<EnvId>,
    name: Option<SecretName>,
}

async fn secret_history(
    State(control): State<Control>,
    Query(query): Query<OfSecret>,
) -> Answer<BTreeMap<SecretName, Vec<SecretVersionView>>> {
    let env = control.environment(query.env.as_ref())?;
    Ok(Json(control.secret_history(&env, query.name.as_ref())?))
}

async fn rotate_secret(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<RotateRequest>,
) -> Response {
    streamed(|progress| control.rotate(actor, request, progress))
}

async fn rekey(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<RekeyRequest>,
) -> Answer<RekeyView> {
    Ok(Json(control.rekey(&actor, &request).await?))
}

async fn maintain(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<MaintenanceRequest>,
) -> Answer<MaintenanceAnswer> {
    Ok(Json(control.maintain(&actor, &request).await?))
}

async fn backups(
    State(control): State<Control>,
    Query(query): Query<OfEnv>,
) -> Answer<BackupsView> {
    Ok(Json(control.backups(query.env.as_ref())?))
}

async fn backup(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<BackupRequest>,
) -> Response {
    streamed(|progress| control.backup(actor, request, progress))
}

async fn volumes(
    State(control): State<Control>,
    Query(query): Query<OfEnv>,
) -> Answer<VolumesView> {
    Ok(Json(control.volumes(query.env.as_ref()).await?))
}

async fn restore_volume(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<RestoreRequest>,
) -> Answer<VolumesView> {
    Ok(Json(control.restore_volume(&actor, &request).await?))
}

async fn restorable(
    State(control): State<Control>,
    Json(request): Json<RestoreRequest>,
) -> Answer<VolumesView> {
    Ok(Json(control.may_restore_volume(&request)?))
}

async fn delete_volume(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<DeleteVolumeRequest>,
) -> Answer<VolumesView> {
    Ok(Json(control.delete_volume(&actor, &request).await?))
}

#[derive(Deserialize)]
struct EnvironmentsQuery {
    env: Option<EnvId>,
    #[serde(default)]
    gone: bool,
}

async fn environments(
    State(control): State<Control>,
    Query(query): Query<EnvironmentsQuery>,
) -> Answer<EnvironmentsView> {
    let gone = match query.gone {
        true => Purged::Shown,
        false => Purged::Hidden,
    };
    Ok(Json(control.environments(query.env.as_ref(), gone).await?))
}

async fn create(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<CreateRequest>,
) -> Response {
    streamed(|progress| control.create(actor, request, progress))
}

async fn extend(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<ExtendRequest>,
) -> Answer<EnvironmentDetail> {
    Ok(Json(control.extend(&actor, &request).await?))
}

async fn sleep(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<NapRequest>,
) -> Response {
    streamed(|progress| control.sleep(actor, request, progress))
}

async fn wake(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<NapRequest>,
) -> Response {
    streamed(|progress| control.wake(actor, request, progress))
}

async fn delete(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<DeleteRequest>,
) -> Response {
    streamed(|progress| control.delete(actor, request, progress))
}

async fn runs(State(control): State<Control>, Query(query): Query<OfEnv>) -> Answer<RunsView> {
    Ok(Json(control.runs(query.env.as_ref())?))
}

async fn run(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<RunRequest>,
) -> Response {
    streamed(|progress| control.run(actor, request, progress))
}

async fn stop_run(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<StopRequest>,
) -> Answer<Run> {
    Ok(Json(control.stop_run(&actor, &request).await?))
}

async fn down(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<DownRequest>,
) -> Response {
    streamed(|progress| control.down(actor, request, progress))
}

async fn shutdown(State(control): State<Control>) -> Answer<()> {
    control.shutdown().await?;
    Ok(Json(()))
}

async fn hand_over(State(control): State<Control>) -> Answer<HandedOver> {
    Ok(Json(control.hand_over()?))
}

async fn events(
    State(control): State<Control>,
    Query(query): Query<EventsQuery>,
) -> Result<Response, Refused> {
    let after = query.after;
    let sought = Sought {
        env: query.env,
        since: query.since,
        until: query.until,
        by: query.by,
        release: query.release,
        deployment: query.deployment,
    };
    let sought = control.of_one(sought, query.stack.as_ref())?;
    if query.follow {
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(async move { control.follow_events(after, &sought, sender).await });
        return Ok(lines(receiver));
    }
    let limit = query.limit.unwrap_or(100);
    let events = reading(move || {
        let records = control.sought_events(after, &sought, limit)?;
        Ok(EventsView { records })
    });
    Ok(events.await?.into_response())
}

async fn logs(
    State(control): State<Control>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Refused> {
    let (sender, receiver) = mpsc::channel(256);
    control.logs(query, sender)?;
    Ok(lines(receiver))
}

async fn access(
    State(control): State<Control>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Refused> {
    let (sender, receiver) = mpsc::channel(256);
    control.access(query, sender).await?;
    Ok(lines(receiver))
}

async fn traffic(
    State(control): State<Control>,
    Query(query): Query<OfEnv>,
) -> Answer<TrafficView> {
    Ok(Json(control.traffic(query.env.as_ref()).await?))
}

async fn exec(
    State(control): State<Control>,
    Extension(actor): Extension<Actor>,
    Json(request): Json<ExecRequest>,
) -> Answer<ExecTarget> {
    Ok(Json(control.exec(&actor, &request).await?))
}

async fn verify(State(control): State<Control>) -> Answer<AuditView> {
    Ok(Json(control.verify().await?))
}

/// Answers with what `operation` sends, one JSON object a line. The operation goes on when the client
/// goes away: a deployment belongs to its environment, not to a terminal.
fn streamed<T, F>(operation: impl FnOnce(mpsc::Sender<T>) -> F) -> Response
where
    T: Serialize + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(256);
    tokio::spawn(operation(sender));
    lines(receiver)
}

fn lines<T: Serialize + Send + 'static>(receiver: mpsc::Receiver<T>) -> Response {
    Body::from_stream(each(receiver)).into_response()
}

fn each<T: Serialize>(
    receiver: mpsc::Receiver<T>,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    futures_util::stream::unfold(receiver, |mut receiver| async {
        let value = receiver.recv().await?;
        Some((value, receiver))
    })
    .map(|value| {
        let mut line = serde_json::to_vec(&value).unwrap_or_default();
        line.push(b'\n');
        Ok(Bytes::from(line))
    })
}
