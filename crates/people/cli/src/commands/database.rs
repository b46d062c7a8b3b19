//! `exec` and `db psql`: a program beside an instance, on the caller's own terminal.

use std::io::IsTerminal;

use ward_types::keeper::Disclosure;
use ward_types::view::{ExecProgram, ExecRequest, ExecTarget};

use super::{Context, Trouble, backups};
use crate::args::{Db, Exec};
use crate::exec;
use crate::printer::Status;

/// With it psql ends at the first statement that fails, with status 3, and not with 0 after the last.
const STOP_AT_ERRORS: [&str; 2] = ["-v", "ON_ERROR_STOP=1"];

pub(crate) async fn exec(context: &Context, args: Exec) -> Result<Status, Trouble> {
    let program = args.command.first().cloned().unwrap_or_default();
    let secrets = match args.secrets {
        true => Disclosure::Given,
        false => Disclosure::Withheld,
    };
    let request = ExecRequest {
        env: Some(crate::env::find(context, args.env.env.as_deref()).await?),
        component: args.component,
        program: ExecProgram::Named {
            program,
            arguments: Some(args.command.iter().skip(1).cloned().collect()),
        },
        secrets,
        why: args.why.text,
    };
    let target: ExecTarget = context.client.post("/v1/exec", &request).await?;
    exec::run(&target, args.command, Vec::new(), secrets).await
}

pub(crate) async fn database(context: &Context, db: Db) -> Result<Status, Trouble> {
    let (database, env, arguments, why) = match db {
        Db::Psql {
            database,
            env,
            arguments,
            why,
        } => (database, env, arguments, why.text),
        Db::Backup { database, env, why } => {
            return backups::backup(context, database, &env, why.text).await;
        }
        Db::Backups(env) => return backups::list(context, &env).await,
        Db::Restore(restore) => return backups::restore(context, restore).await,
    };
    let request = ExecRequest {
        env: Some(crate::env::find(context, env.env.as_deref()).await?),
        component: database,
        program: ExecProgram::DatabaseShell {
            arguments: Some(arguments.clone()),
        },
        secrets: Disclosure::Given,
        why,
    };
    let mut target: ExecTarget = context.client.post("/v1/exec", &request).await?;
    let command = target.command.take().ok_or_else(|| {
        Trouble::failure(
            "the server named no shell for this database".to_owned(),
            None,
        )
    })?;
    let mut argv = command.argv;
    if !std::io::stdin().is_terminal() {
        // Nobody sees an error and stops typing: what follows a statement that failed must not be run.
        argv.extend(STOP_AT_ERRORS.map(str::to_owned));
    }
    argv.extend(arguments);
    exec::run(
        &target,
        argv,
        command.env.into_iter().collect(),
        Disclosure::Given,
    )
    .await
}
