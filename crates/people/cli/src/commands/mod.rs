//! What each command does: it reads its arguments, asks the server, and prints. No rule lives here.

mod access;
mod backups;
pub(crate) mod build;
mod check;
mod config;
mod database;
mod deploy;
mod deployment;
mod doctor;
mod environments;
mod events;
mod hook;
mod logs;
mod maintenance;
mod pipeline;
mod plan;
mod policy;
pub(crate) mod processes;
mod promote;
mod releases;
mod runs;
mod secret;
mod sharing;
mod source;
mod status;
mod top;
mod trust;
mod up;
mod upgrade;
mod volumes;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use ward_api::{Client, ClientError};

use crate::args::{Cli, Command};
use crate::printer::{Printer, Status};

pub(crate) use policy::until;
#[cfg(test)]
pub(crate) use status::columns;

/// Why a command did not succeed, for a person to read.
#[derive(Debug)]
pub(crate) struct Trouble {
    status: Status,
    message: String,
    hint: Option<String>,
}

impl Trouble {
    /// It was tried.
    pub(crate) fn failure(message: String, hint: Option<String>) -> Self {
        Self {
            status: Status::Failure,
            message,
            hint,
        }
    }

    /// The same, with another end for the shell.
    pub(crate) fn ending_with(self, status: Status) -> Self {
        Self { status, ..self }
    }

    /// The same, with what to do next.
    pub(crate) fn with(self, hint: String) -> Self {
        let hint = Some(hint);
        Self { hint, ..self }
    }

    /// It could not be tried.
    pub(crate) fn usage(message: String) -> Self {
        Self {
            status: Status::Usage,
            message,
            hint: None,
        }
    }
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(view) => Self::failure(view.message, view.hint),
            ClientError::NotRunning { .. } => Self::failure(
                error.to_string(),
                Some(
                    "start it with `ward up --platform`, which deploys nothing; what runs goes on serving without it"
                        .to_owned(),
                ),
            ),
            ClientError::Silent { ref pid, .. } => {
                let pid = pid.as_deref().unwrap_or("PID");
                let hint = format!(
                    "it is stopped or hangs, and what it started goes on serving: `kill -CONT {pid}` lets a stopped \
                     one go on; `kill -9 {pid}` and `ward up --platform` put another in its place"
                );
                Self::failure(error.to_string(), Some(hint))
            }
            ClientError::Broken { ref source, .. } => Self::failure(
                format!("{error}: {source}"),
                Some(
                    "`ward up --platform` starts the server again, which goes on with what was under way, if it was recorded \
                     by then: `ward events` says so; server.log in the state folder may say more"
                        .to_owned(),
                ),
            ),
        }
    }
}

/// What a command needs to work.
pub(crate) struct Context {
    pub(crate) home: PathBuf,
    pub(crate) client: Client,
    pub(crate) printer: Printer,
}

/// Reads the command line and carries it out.
pub(crate) fn main() -> ExitCode {
    if std::env::args_os().len() < 2 {
        // clap's own way takes a variable such as WARD_HOME for an argument.
        let _ = Cli::command().print_help();
        return Status::Usage.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misread(&error),
    };
    let printer = Printer::new(&cli.global);
    let home = match crate::home::find(cli.global.home.as_deref()) {
        Ok(home) => home,
        Err(message) => return failed(&printer, &Trouble::usage(message)),
    };
    let context = Context {
        client: Client::new(&home),
        home,
        printer: printer.clone(),
    };
    match cli.command {
        Command::Gateway(log) => processes::gateway(&context, &log),
        Command::Serve(serve) => processes::serve(&context, serve),
        other => match run(&context, other) {
            Ok(status) => status.into(),
            Err(trouble) => failed(&printer, &trouble),
        },
    }
}

/// Where 2 says that there are changes, a misspelt flag is none.
fn misread(error: &clap::Error) -> ExitCode {
    let mut words = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .filter(|word| !word.starts_with('-'));
    let (first, second) = (words.next(), words.next());
    let differs = matches!(
        (first.as_deref(), second.as_deref()),
        (Some("plan"), _) | (Some("env"), Some("diff"))
    );
    let _ = error.print();
    match error.exit_code() {
        0 => Status::Success.into(),
        _ if differs => Status::Failure.into(),
        _ => Status::Usage.into(),
    }
}

fn failed(printer: &Printer, trouble: &Trouble) -> ExitCode {
    printer.error(&trouble.message, trouble.hint.as_deref());
    trouble.status.into()
}

fn run(context: &Context, command: Command) -> Result<Status, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Trouble::failure(format!("cannot start: {error}"), None))?;
    let status = runtime.block_on(dispatch(context, command));
    // A read of standard input that is still under way must not keep the program from ending.
    runtime.shutdown_background();
    status
}

async fn dispatch(context: &Context, command: Command) -> Result<Status, Trouble> {
    match command {
        Command::Up(up) => up::up(context, up).await,
        Command::Deploy(deploy) => deploy::deploy(context, deploy).await,
        Command::Promote(promote) => promote::promote(context, promote).await,
        Command::Build(asked) => build::build(context, *asked).await,
        Command::Source(asked) => source::source(context, asked).await,
        Command::Hook(asked) => hook::hook(context, asked).await,
        Command::Pipeline(asked) => pipeline::pipeline(context, asked).await,
        Command::Plan(plan) => plan::plan(context, plan).await,
        Command::Policy(asked) => policy::policy(context, asked).await,
        Command::Rollback(to) => deploy::go_to(context, "/v1/rollback", to).await,
        Command::Rollforward(to) => deploy::go_to(context, "/v1/rollforward", to).await,
        Command::Deployment(deployment) => deployment::deployment(context, deployment).await,
        Command::Maintenance(asked) => maintenance::maintenance(context, asked).await,
        Command::Config(asked) => config::config(context, asked).await,
        Command::Secret(asked) => secret::secret(context, asked).await,
        Command::Down(down) => deploy::down(context, down).await,
        Command::Upgrade(upgrade) => upgrade::upgrade(context, &upgrade).await,
        Command::Check(check) => check::check(context, &check).await,
        Command::Env(asked) => environments::environments(context, asked).await,
        Command::Releases(asked) => releases::releases(context, asked).await,
        Command::Status(env) => status::status(context, env).await,
        Command::Logs(logs) => logs::logs(context, logs).await,
        Command::Top(top) => top::top(context, top).await,
        Command::Exec(exec) => database::exec(context, exec).await,
        Command::Db(db) => database::database(context, db).await,
        Command::Volume(asked) => volumes::volume(context, asked).await,
        Command::Run(run) => runs::run(context, run).await,
        Command::Job(job) => runs::job(context, job).await,
        Command::Events(events) => events::events(context, events).await,
        Command::Audit(audit) => events::audit(context, &audit).await,
        Command::Doctor => doctor::doctor(context).await,
        Command::Trust(trust) => trust::trust(context, &trust),
        Command::Serve(_) | Command::Gateway(_) | Command::Keeper => Ok(Status::Usage),
    }
}
