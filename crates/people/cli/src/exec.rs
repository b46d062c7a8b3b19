//! Runs a program beside an instance, on the caller's own descriptors.
//!
//! The keeper is asked directly: its socket takes three descriptors beside the request. With a terminal
//! on both ends a pseudo-terminal of its own stands between, so that Ctrl-C, job control and window
//! sizes work inside; otherwise the caller's descriptors travel as they are, and pipes stay pipes.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use ward_engine::client::KeeperClient;
use ward_types::keeper::{Disclosure, Exit, Reply, Request};
use ward_types::secret::Secret;
use ward_types::view::ExecTarget;

use crate::commands::Trouble;
use crate::printer::Status;
use crate::pty::Pty;

/// Runs `argv` in `target`, and ends as it ended.
///
/// # Errors
/// Why it could not be run.
pub(crate) async fn run(
    target: &ExecTarget,
    argv: Vec<String>,
    variables: Vec<(String, Secret)>,
    secrets: Disclosure,
) -> Result<Status, Trouble> {
    let client = KeeperClient::connect(Path::new(&target.dir))
        .map_err(|error| trouble(target, &error.to_string()))?;
    let env: BTreeMap<String, String> = variables
        .into_iter()
        .map(|(name, value)| (name, value.expose().to_owned()))
        .chain(terminal())
        .collect();
    let request = Request::Exec { argv, env, secrets };
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let reply = if stdin.is_terminal() && stdout.is_terminal() {
        let pty = Pty::open()
            .map_err(|error| trouble(target, &format!("no pseudo-terminal: {error}")))?;
        send(
            target,
            &client,
            &request,
            &[pty.inner(), pty.inner(), pty.inner()],
        )
        .await?;
        pty.carry(receive(target, &client)).await
    } else {
        send(
            target,
            &client,
            &request,
            &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        )
        .await?;
        receive(target, &client).await
    };
    match reply? {
        Reply::ExecDone {
            exit: Exit::Code(code),
        } => Ok(Status::Program(u8::try_from(code).unwrap_or(1))),
        Reply::ExecDone {
            exit: Exit::Signal(signal),
        } => Ok(Status::Program(u8::try_from(128 + signal).unwrap_or(255))),
        Reply::NotRun { message, status } => {
            Err(trouble(target, &message).ending_with(Status::Program(status)))
        }
        Reply::Refused { message } => Err(trouble(target, &message)),
        other => Err(trouble(target, &format!("its keeper answered {other:?}"))),
    }
}

fn terminal() -> Option<(String, String)> {
    std::env::var("TERM")
        .ok()
        .map(|term| ("TERM".to_owned(), term))
}

async fn send(
    target: &ExecTarget,
    client: &KeeperClient,
    request: &Request,
    fds: &[BorrowedFd<'_>],
) -> Result<(), Trouble> {
    client
        .send(request, fds)
        .await
        .map_err(|error| trouble(target, &error.to_string()))
}

async fn receive(target: &ExecTarget, client: &KeeperClient) -> Result<Reply, Trouble> {
    match client.recv().await {
        Ok(Some((reply, _))) => Ok(reply),
        Ok(None) => Err(trouble(target, "the instance ended")),
        Err(error) => Err(trouble(target, &error.to_string())),
    }
}

fn trouble(target: &ExecTarget, message: &str) -> Trouble {
    Trouble::failure(
        format!("cannot run it in {}: {message}", target.instance),
        None,
    )
}
