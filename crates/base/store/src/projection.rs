//! The fold of the log as rows: to be read with any SQLite, and the witness of what was when the events
//! were altered.
//!
//! A row's body is the canonical JSON of the value; an environment's leaves out its releases and
//! deployments, which have rows of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{Connection, params};
use serde::de::DeserializeOwned;
use ward_types::event::{Event, State};
use ward_types::id::{DeploymentId, EnvId, ReleaseId};
use ward_types::release::Environment;

use crate::canonical::{self, NotCanonical};

/// The number of the fold: raised when `State::apply` gives another state for the same events or takes events that it did
/// not know, or a row's body changes. A database written by an older fold has its rows made anew at the start; one that
/// is newer is refused.
pub(crate) const FOLD: i64 = 21;

/// One row of the projections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    Environment(EnvId),
    Release(EnvId, ReleaseId),
    Deployment(EnvId, DeploymentId),
}

impl Row {
    /// The environment that it is of.
    pub(crate) fn env(&self) -> &EnvId {
        match self {
            Row::Environment(env) | Row::Release(env, _) | Row::Deployment(env, _) => env,
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Row::Environment(env) => write!(f, "the environment {env}"),
            Row::Release(env, release) => write!(f, "the release {release} of {env}"),
            Row::Deployment(env, deployment) => write!(f, "the deployment {deployment} of {env}"),
        }
    }
}

/// Why projections cannot be read or written.
#[derive(Debug)]
pub(crate) enum Failure {
    Database(rusqlite::Error),
    Json(String, serde_json::Error),
    NotCanonical(NotCanonical),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// The rows that an event can change in a state. Exhaustive, so that a new kind of event has to say its own.
pub(crate) fn touched(before: &State, event: &Event) -> Vec<Row> {
    match event {
        Event::EnvironmentDeleted { env } => {
            let releases = before.environments.get(env).map(|e| e.releases.keys());
            let releases = releases.into_iter().flatten();
            let gone = releases.map(|id| Row::Release(env.clone(), *id));
            gone.chain([Row::Environment(env.clone())]).collect()
        }
        Event::EnvironmentCreated { env, .. }
        | Event::EnvironmentAwaited { env }
        | Event::EnvironmentExtended { env, .. }
        | Event::ExpiryNear { env }
        | Event::EnvironmentSlept { env, .. }
        | Event::EnvironmentWoken { env, .. }
        | Event::EnvironmentEnding { env, .. }
        | Event::ConfigChanged { env, .. }
        | Event::SecretChanged { env, .. }
        | Event::SecretUnset { env, .. }
        | Event::PasswordWithdrawn { env, .. }
        | Event::GoalChanged { env, .. }
        | Event::DataFilled { env, .. }
        | Event::VolumeSnapshotted { env, .. }
        | Event::VolumeRestored { env, .. }
        | Event::VolumeDeleted { env, .. }
        | Event::BackupBegan { env, .. }
        | Event::BackupTaken { env, .. }
        | Event::BackupRestored { env, .. }
        | Event::BackupFailed { env, .. }
        | Event::DataPurged { env }
        | Event::SchemaChanging { env, .. }
        | Event::MaintenanceBegan { env, .. }
        | Event::MaintenanceEnded { env, .. }
        | Event::RunQueued { env, .. }
        | Event::RunTried { env, .. }
        | Event::RunStopped { env, .. }
        | Event::RunLeftOut { env, .. }
        | Event::PolicyWaived { env, .. }
        | Event::PolicyEnforced { env, .. }
        | Event::InstanceEnded { env, .. }
        | Event::InstanceGivenUp { env, .. } => {
            vec![Row::Environment(env.clone())]
        }
        Event::ReleaseRecorded { env, release } => vec![
            Row::Environment(env.clone()),
            Row::Release(env.clone(), release.id),
        ],
        Event::ReleaseRetired { env, release } => vec![
            Row::Environment(env.clone()),
            Row::Release(env.clone(), *release),
        ],
        Event::DeploymentQueued { env, deployment } => vec![
            Row::Environment(env.clone()),
            Row::Deployment(env.clone(), deployment.id),
        ],
        Event::DeploymentMoved {
            env, deployment, ..
        }
        | Event::DeploymentServed {
            env, deployment, ..
        }
        | Event::DeploymentPaused {
            env, deployment, ..
        }
        | Event::DeploymentResumed { env, deployment }
        | Event::DeploymentPromoted {
            env, deployment, ..
        }
        | Event::DeploymentCancelled {
            env, deployment, ..
        }
        | Event::ServiceExchanged {
            env, deployment, ..
        } => vec![
            Row::Environment(env.clone()),
            Row::Deployment(env.clone(), *deployment),
        ],
        Event::BuildEnded { .. }
        | Event::BuildMade { .. }
        | Event::BuildDropped { .. }
        | Event::SourceAdded { .. }
        | Event::SourceTokenSet { .. }
        | Event::SourceRemoved { .. }
        | Event::CommitSeen { .. }
        | Event::CommitMoved { .. }
        | Event::PipelineBegan { .. }
        | Event::PipelineReached { .. }
        | Event::PipelineMoved { .. }
        | Event::PipelineVoted { .. }
        | Event::CommandExecuted { .. }
        | Event::ServerStarted { .. }
        | Event::GatewayStarted { .. }
        | Event::SecretsRekeyed { .. }
        | Event::LogFoundAltered { .. } => Vec::new(),
    }
}

fn head(environment: &Environment) -> Environment {
    Environment {
        releases: BTreeMap::new(),
        deployments: BTreeMap::new(),
        id: environment.id.clone(),
        goal: environment.goal,
        taken_down: environment.taken_down,
        data: environment.data,
        data_gone: environment.data_gone,
        prepared: environment.prepared,
        builds: environment.builds,
        current: environment.current,
        previous: environment.previous,
        ended: environment.ended.clone(),
        last_ends: environment.last_ends.clone(),
        given_up: environment.given_up.clone(),
        schema: environment.schema.clone(),
        maintained: environment.maintained.clone(),
        waivers: environment.waivers.clone(),
        rules: environment.rules.clone(),
        configuration: environment.configuration.clone(),
        secrets: environment.secrets.clone(),
        snapshots: environment.snapshots.clone(),
        backups: environment.backups.clone(),
        life: environment.life.clone(),
        runs: environment.runs.clone(),
        sleep: environment.sleep.clone(),
    }
}

/// The body that a row should have; `None`: there should be no such row.
fn body(state: &State, row: &Row) -> Option<Result<Vec<u8>, NotCanonical>> {
    let environment = |env: &EnvId| state.environments.get(env);
    match row {
        Row::Environment(env) => Some(canonical::to_bytes(&head(environment(env)?))),
        Row::Release(env, id) => Some(canonical::to_bytes(environment(env)?.releases.get(id)?)),
        Row::Deployment(env, id) => {
            Some(canonical::to_bytes(environment(env)?.deployments.get(id)?))
        }
    }
}

/// Every row that the state should have.
pub(crate) fn rows(state: &State) -> Result<BTreeMap<Row, Vec<u8>>, NotCanonical> {
    let keys = state.environments.iter().flat_map(|(env, environment)| {
        let releases = environment
            .releases
            .keys()
            .map(|id| Row::Release(env.clone(), *id));
        let deployments = environment
            .deployments
            .keys()
            .map(|id| Row::Deployment(env.clone(), *id));
        std::iter::once(Row::Environment(env.clone()))
            .chain(releases)
            .chain(deployments)
    });
    keys.filter_map(|row| body(state, &row).map(|body| Ok((row, body?))))
        .collect()
}

/// Writes these rows as the state has them; one that the state does not have is removed.
pub(crate) fn write(db: &Connection, state: &State, rows: &BTreeSet<Row>) -> Result<(), Failure> {
    for row in rows {
        match body(state, row) {
            Some(body) => put(db, row, &body.map_err(Failure::NotCanonical)?)?,
            None => remove(db, row)?,
        };
    }
    Ok(())
}

fn remove(db: &Connection, row: &Row) -> rusqlite::Result<usize> {
    let (sql, env, number) = match row {
        Row::Environment(env) => ("DELETE FROM environments WHERE env = ?1 AND ?2 = 0", env, 0),
        Row::Release(env, id) => (
            "DELETE FROM releases WHERE env = ?1 AND number = ?2",
            env,
            id.0,
        ),
        Row::Deployment(env, id) => (
            "DELETE FROM deployments WHERE env = ?1 AND number = ?2",
            env,
            id.0,
        ),
    };
    db.prepare_cached(sql)?
        .execute(params![env.as_str(), number.cast_signed()])
}

fn put(db: &Connection, row: &Row, body: &[u8]) -> rusqlite::Result<usize> {
    match row {
        Row::Environment(env) => db
            .prepare_cached("INSERT OR REPLACE INTO environments (env, body) VALUES (?1, ?2)")?
            .execute(params![env.as_str(), body]),
        Row::Release(env, id) => db
            .prepare_cached(
                "INSERT OR REPLACE INTO releases (env, number, body) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![env.as_str(), id.0.cast_signed(), body]),
        Row::Deployment(env, id) => db
            .prepare_cached(
                "INSERT OR REPLACE INTO deployments (env, number, body) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![env.as_str(), id.0.cast_signed(), body]),
    }
}

/// Writes every row anew.
pub(crate) fn rebuild(db: &Connection, state: &State) -> Result<(), Failure> {
    db.execute_batch("DELETE FROM environments; DELETE FROM releases; DELETE FROM deployments;")?;
    for (row, body) in rows(state).map_err(Failure::NotCanonical)? {
        put(db, &row, &body)?;
    }
    Ok(())
}

/// Every row that is there, by the words of its key, as it is.
pub(crate) fn read(db: &Connection) -> rusqlite::Result<BTreeMap<String, Vec<u8>>> {
    let mut statement = db.prepare(
        "SELECT 'the environment ' || env, body FROM environments
         UNION ALL SELECT 'the release r' || number || ' of ' || env, body FROM releases
         UNION ALL SELECT 'the deployment d' || number || ' of ' || env, body FROM deployments",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// What the rows that are there say otherwise than those that should be, in sentences.
pub(crate) fn differences(
    expected: BTreeMap<Row, Vec<u8>>,
    mut found: BTreeMap<String, Vec<u8>>,
) -> Vec<String> {
    let mut differences = Vec::new();
    for (row, body) in expected {
        match found.remove(&row.to_string()) {
            Some(stored) if stored == body => {}
            Some(_) => differences.push(format!(
                "the projection of {row} is not what the events say"
            )),
            None => differences.push(format!("the projection of {row} is missing")),
        }
    }
    let unmade = |row| format!("there is a projection of {row}, which no event made");
    differences.extend(found.into_keys().map(unmade));
    differences
}

/// The state, from the rows.
pub(crate) fn load(db: &Connection) -> Result<State, Failure> {
    let mut state = State::default();
    for (what, body) in bodies(
        db,
        "SELECT 'the environment ' || env, body FROM environments",
    )? {
        let environment: Environment = parse(what, &body)?;
        state
            .environments
            .insert(environment.id.clone(), Arc::new(environment));
    }
    for environment in state.environments.values_mut() {
        let environment = Arc::make_mut(environment);
        let env = environment.id.as_str();
        for body in bodies_of(db, "SELECT body FROM releases WHERE env = ?1", env)? {
            let release: ward_types::release::Release =
                parse(format!("a release of {env}"), &body)?;
            environment.releases.insert(release.id, release);
        }
        for body in bodies_of(db, "SELECT body FROM deployments WHERE env = ?1", env)? {
            let deployment: ward_types::release::Deployment =
                parse(format!("a deployment of {env}"), &body)?;
            environment.deployments.insert(deployment.id, deployment);
        }
    }
    Ok(state)
}

fn parse<T: DeserializeOwned>(what: String, body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Json(what, error))
}

fn bodies(db: &Connection, sql: &str) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

fn bodies_of(db: &Connection, sql: &str, env: &str) -> rusqlite::Result<Vec<Vec<u8>>> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([env], |row| row.get(0))?;
    rows.collect()
}

impl Failure {
    /// The error of an operation on this database.
    pub(crate) fn error(self, action: &'static str, path: &std::path::Path) -> crate::Error {
        match self {
            Self::Database(source) => crate::Error::database(action, path)(source),
            Self::Json(what, source) => crate::Error::Row { what, source },
            Self::NotCanonical(source) => crate::Error::Unwritable {
                kind: "projection",
                source,
            },
        }
    }
}
